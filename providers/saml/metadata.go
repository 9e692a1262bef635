package saml

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"

	"sallyport/providers"
)

const (
	bindingRedirect = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	bindingPOST     = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
	maxMetadata     = 1 << 20
	// endsSoon is how long before a certificate's end an operator is told.
	endsSoon = 30 * 24 * time.Hour
)

// idp is what we know of the provider.
type idp struct {
	entityID, ssoURL string
	keys             keys
	// wantsSigned: the provider says that it takes signed requests only.
	wantsSigned bool
	// validUntil is when the metadata ends; zero where it does not say.
	validUntil time.Time
}

// errNoCertificate: the metadata was read, and there is nothing to check a signature with. That is an answer: the provider
// took its keys away, so a copy that still has them must not live on.
var errNoCertificate = errors.New("the metadata has no usable certificate for signing")

// ended reports whether the metadata says of itself that it is no longer to be used.
func (i *idp) ended(now time.Time) bool { return !i.validUntil.IsZero() && !now.Before(i.validUntil) }

// ending names the certificates that end soon. One that is not replaced in time ends every sign-in.
func (i *idp) ending(now time.Time) []string {
	var out []string
	for _, c := range i.keys.certificates {
		if now.Before(c.NotAfter) && c.NotAfter.Sub(now) <= endsSoon {
			sum := sha256.Sum256(c.Raw)
			out = append(out, fmt.Sprintf("the provider's certificate with the SHA-256 fingerprint %s… ends on %s",
				hex.EncodeToString(sum[:8]), c.NotAfter.UTC().Format(time.DateOnly)))
		}
	}
	return out
}

// parseMetadata reads one EntityDescriptor with an IDPSSODescriptor (saml-metadata section 2.4.3). wantEntity, when set,
// is the entity it must describe, or the one that is meant among many.
func parseMetadata(raw []byte, wantEntity string, now time.Time) (*idp, error) {
	root, _, err := read(raw, maxMetadata, true)
	if err != nil {
		return nil, err
	}
	path, err := pick(root, wantEntity)
	if err != nil {
		return nil, err
	}
	entity := path[len(path)-1]
	role, err := only(entity, nsMetadata, "IDPSSODescriptor")
	if err != nil {
		return nil, errors.New("the metadata does not have one IDPSSODescriptor")
	}
	found := &idp{entityID: attr(entity, "entityID")}
	switch {
	case found.entityID == "" || len(found.entityID) > maxText:
		return nil, errors.New("the metadata has no usable entityID")
	case wantEntity != "" && found.entityID != wantEntity:
		return nil, errors.New("the metadata is of another entity than entity_id says")
	case !slices.Contains(strings.Fields(attr(role, "protocolSupportEnumeration")), nsProtocol):
		return nil, errors.New("the provider does not speak SAML 2.0")
	}
	for _, el := range append(path, role) {
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
	wanted := attr(role, "WantAuthnRequestsSigned")
	found.wantsSigned = wanted == "true" || wanted == "1"
	if err := found.signers(role); err != nil {
		return nil, err
	}
	return found, nil
}

// pick returns the EntityDescriptor that is meant and, before it, the lists it stands in. A list must hold it once.
func pick(root *etree.Element, want string) ([]*etree.Element, error) {
	switch {
	case is(root, nsMetadata, "EntityDescriptor"):
		return []*etree.Element{root}, nil
	case !is(root, nsMetadata, "EntitiesDescriptor"):
		return nil, errors.New("the metadata is neither an EntityDescriptor nor an EntitiesDescriptor")
	case want == "":
		return nil, errors.New("the metadata is of many entities; entity_id must say which is meant")
	}
	found := paths(root, want)
	if len(found) != 1 {
		return nil, fmt.Errorf("the metadata has the entity that entity_id names %d times, not once", len(found))
	}
	return found[0], nil
}

// paths returns the ways from a list down to entities of this id. The scanner has bounded the depth.
func paths(list *etree.Element, want string) [][]*etree.Element {
	var out [][]*etree.Element
	for _, entity := range children(list, nsMetadata, "EntityDescriptor") {
		if attr(entity, "entityID") == want {
			out = append(out, []*etree.Element{list, entity})
		}
	}
	for _, inner := range children(list, nsMetadata, "EntitiesDescriptor") {
		for _, path := range paths(inner, want) {
			out = append(out, append([]*etree.Element{list}, path...))
		}
	}
	return out
}

// entityOf returns which entity metadata is of, usable or not; "" where it is of none or many.
func entityOf(raw []byte) string {
	root, _, err := read(raw, maxMetadata, true)
	if err != nil || !is(root, nsMetadata, "EntityDescriptor") {
		return ""
	}
	return attr(root, "entityID")
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
		if err := providers.CheckURL(location); err != nil {
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
