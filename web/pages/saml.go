package pages

import (
	"net/http"
	"net/url"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// MaxACS bounds what may be posted to an assertion consumer service, in bytes: a message of 2 MiB in base64, with the
// escapes of a form (SML-09).
const MaxACS = 4 << 20

// ACS lists the routes that SAML identity providers speak to. They are a surface of their own because their bodies may be
// larger than any form of ours.
func (p *Pages) ACS() map[string]wire.Handler {
	return map[string]wire.Handler{
		"POST /saml/{provider}/acs":     p.assertionConsumer,
		"GET /saml/{provider}/metadata": p.serviceMetadata,
	}
}

// assertionConsumer takes a browser back from its SAML provider: a form posted from another site, which the signed
// message in it and the flow's own cookie prove (SML-06).
func (p *Pages) assertionConsumer(w http.ResponseWriter, r *http.Request) error {
	provider := r.PathValue("provider")
	if door, ok := wire.Of(r).DoorByID(provider); !ok || !door.Posts {
		return identity.WithCode("provider_unknown", identity.ErrNotFound)
	}
	state, err := wire.FormField(r, "RelayState")
	if err != nil {
		return err
	}
	if len(state) != len(broker.NewID()) {
		// Nobody left from here with this: a sign-in that began at the provider. Its message opens nothing; the sign-in
		// begins again from our side, where it can be tied to this browser.
		return seeOther(w, r, templates.PathLogin+"?"+url.Values{"idp_hint": {provider}}.Encode())
	}
	return p.takeBack(w, r, state, r.PostForm)
}

// serviceMetadata tells a SAML provider who we are.
func (p *Pages) serviceMetadata(w http.ResponseWriter, r *http.Request) error {
	document, err := p.house.Broker.ServiceMetadata(wire.Of(r).Visit, r.PathValue("provider"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/samlmetadata+xml")
	_, err = w.Write(document) //nolint:gosec // made by an XML writer, of addresses and certificates from configuration
	return err
}
