package saml

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

const (
	bindingRedirect = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	bindingPOST     = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
	maxMetadata     = 1 << 20
)

// idp is what we know of the provider.
type idp struct {
	entityID, ssoURL string
	keys             keys
	// validUntil is when the metadata ends; zero where it does not say.
	validUntil time.Time
}

// errNoCertificate: the metadata was read, and there is nothing to check a signature with. That is an answer: the provider
// took its keys away, so a copy that still has them must not live on.
var errNoCertificate = errors.New("the metadata has no usable certificate for signing")

// ended reports whether the metadata says of itself that it is no longer to be used.
func (i *idp) ended(now time.Time) bool { return !i.validUntil.IsZero() && !now.Before(i.validUntil) }

// parseMetadata reads one EntityDescriptor with an IDPSSODescriptor (saml-metadata section 2.4.3). wantEntity, when set,
// is the entity it must describe.
func parseMetadata(raw []byte, wantEntity string, now time.Time) (*idp, error) {
	root, _, err := read(raw, maxMetadata, true)
	if err != nil {
		return nil, err
	}
	if !is(root, nsMetadata, "EntityDescriptor") {
		return nil, errors.New("the metadata is not one EntityDescriptor")
	}
	role, err := only(root, nsMetadata, "IDPSSODescriptor")
	if err != nil {
		return nil, errors.New("the metadata does not have one IDPSSODescriptor")
	}
	found := &idp{entityID: attr(root, "entityID")}
	switch {
	case found.entityID == "" || len(found.entityID) > maxText:
		return nil, errors.New("the metadata has no usable entityID")
	case wantEntity != "" && found.entityID != wantEntity:
		return nil, errors.New("the metadata is of another entity than entity_id says")
	case !slices.Contains(strings.Fields(attr(role, "protocolSupportEnumeration")), nsProtocol):
		return nil, errors.New("the provider does not speak SAML 2.0")
	}
	for _, el := range []*etree.Element{root, role} {
		if err := found.limit(el); err != nil {
			return nil, err
		}
	}
	if found.ended(now) {
		return nil, errors.New("the metadata's validUntil has passed")
	}
	if err := found.endpoint(role); err != nil {
		return nil, err
	}
	return found, found.signers(role)
}

// limit takes the earliest validUntil.
func (i *idp) limit(el *etree.Element) error {
	if !hasAttr(el, "validUntil") {
		return nil
	}
	until, err := instant(el, "validUntil")
	if err != nil {
		return err
	}
	if i.validUntil.IsZero() || until.Before(i.validUntil) {
		i.validUntil = until
	}
	return nil
}

// endpoint wants the sign-on service for HTTP-Redirect, and every sign-on location to be one a browser may be sent to.
func (i *idp) endpoint(role *etree.Element) error {
	for _, s := range children(role, nsMetadata, "SingleSignOnService") {
		location := attr(s, "Location")
		if err := checkEndpoint(location); err != nil {
			return fmt.Errorf("a SingleSignOnService %w", err)
		}
		if i.ssoURL == "" && attr(s, "Binding") == bindingRedirect {
			i.ssoURL = location
		}
	}
	if i.ssoURL == "" {
		return errors.New("the metadata has no SingleSignOnService for HTTP-Redirect")
	}
	return nil
}

// signers takes the certificates for signing and those without use (SML-10). One we cannot use is passed over while
// there is another: providers list keys of kinds we do not take beside those we do.
func (i *idp) signers(role *etree.Element) error {
	cause := errNoCertificate
	for _, k := range children(role, nsMetadata, "KeyDescriptor") {
		if hasAttr(k, "use") && attr(k, "use") != "signing" {
			continue
		}
		for _, info := range children(k, nsDsig, "KeyInfo") {
			for _, data := range children(info, nsDsig, "X509Data") {
				for _, el := range children(data, nsDsig, "X509Certificate") {
					if err := i.signer(el); err != nil {
						cause = fmt.Errorf("%w: %w", errNoCertificate, err)
					}
				}
			}
		}
	}
	switch {
	case len(i.keys.certificates) == 0:
		return cause
	case len(i.keys.certificates) > maxCertificates:
		return fmt.Errorf("the metadata has more than %d certificates", maxCertificates)
	}
	return nil
}

func (i *idp) signer(el *etree.Element) error {
	encoded, err := text(el)
	if err != nil {
		return err
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(encoded), ""))
	if err != nil {
		return errors.New("a certificate is not base64")
	}
	certificate, err := usable(der)
	if err == nil {
		i.keys.certificates = append(i.keys.certificates, certificate)
	}
	return err
}

// checkEndpoint accepts absolute https URLs without user or fragment, and http ones on loopback.
func checkEndpoint(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return errors.New("must be an absolute URL with a host")
	case u.User != nil || strings.Contains(s, "#"):
		return errors.New("must have no user or fragment")
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u):
		return nil
	default:
		return errors.New("must be https; http is for localhost only")
	}
}

func isLoopback(u *url.URL) bool {
	if isLocalhostName(u.Hostname()) {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}

func isLocalhostName(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// ownMetadata describes us to the provider: one endpoint, signed assertions wanted.
func ownMetadata(entityID, acsURL, format string) ([]byte, error) {
	doc := etree.NewDocument()
	doc.CreateProcInst("xml", `version="1.0" encoding="UTF-8"`)
	entity := doc.CreateElement("md:EntityDescriptor")
	entity.CreateAttr("xmlns:md", nsMetadata)
	entity.CreateAttr("entityID", entityID)
	role := entity.CreateElement("md:SPSSODescriptor")
	role.CreateAttr("AuthnRequestsSigned", "false")
	role.CreateAttr("WantAssertionsSigned", "true")
	role.CreateAttr("protocolSupportEnumeration", nsProtocol)
	if format != "" {
		role.CreateElement("md:NameIDFormat").SetText(format)
	}
	acs := role.CreateElement("md:AssertionConsumerService")
	acs.CreateAttr("Binding", bindingPOST)
	acs.CreateAttr("Location", acsURL)
	acs.CreateAttr("index", "0")
	acs.CreateAttr("isDefault", "true")
	doc.Indent(2)
	return doc.WriteToBytes()
}
