package saml

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/beevik/etree"

	"sallyport/identity"
	"sallyport/providers"
)

// upstream is the memory of this door: what replay and logout need to know of an assertion.
type upstream struct {
	Issuer      string    `json:"issuer"`
	AssertionID string    `json:"assertion_id"`
	Until       time.Time `json:"until"`
	NameID      string    `json:"name_id,omitempty"`
	Format      string    `json:"name_id_format,omitempty"`
}

// Once returns the id by which an assertion is remembered, made of kind, entity id and assertion ID, and until when: the
// end of its validity with the skew, after which its own times refuse it. Every assertion of this door signs in once
// only (SML-07). One that no provider of this kind made is refused (provider_reply_invalid).
func (p *Provider) Once(a identity.Assertion) (id string, until time.Time, once bool, err error) {
	var memory upstream
	if json.Unmarshal(a.Upstream, &memory) != nil ||
		memory.Issuer == "" || memory.AssertionID == "" || memory.Until.IsZero() {
		return "", time.Time{}, true, providers.ReplyInvalid("the assertion's memory cannot be read")
	}
	// Neither part can hold a NUL: XML has none.
	sum := sha256.Sum256([]byte(memory.Issuer + "\x00" + memory.AssertionID))
	return Kind + ":" + base64.RawURLEncoding.EncodeToString(sum[:]), memory.Until, true, nil
}

// assertion says what a verified assertion says about a person.
func (p *Provider) assertion(issuer string, v verified) (identity.Assertion, error) {
	all, err := readAttributes(v.statements, p.config.wanted())
	if err != nil {
		return identity.Assertion{}, err
	}
	who := identity.Identity{Provider: p.info.ID, AuthTime: v.authnInstant, AMR: methods(v.contextClass)}
	if who.Subject, err = p.subject(v, all); err != nil {
		return identity.Assertion{}, err
	}
	names := p.config.Attributes
	for _, field := range []struct {
		name string
		into *string
	}{{names.Username, &who.Username}, {names.Name, &who.Name}, {names.Email, &who.Email}} {
		if *field.into, err = all.one(field.name); err != nil {
			return identity.Assertion{}, err
		}
	}
	who.EmailVerified = p.config.EmailVerified && who.Email != ""
	who.Groups = all.list(names.Groups)
	for _, name := range p.config.Extra {
		if values := all.list(name); len(values) > 0 {
			if who.Attributes == nil {
				who.Attributes = map[string][]string{}
			}
			who.Attributes[name] = values
		}
	}
	kept, err := json.Marshal(upstream{
		Issuer: issuer, AssertionID: v.id, Until: v.until, NameID: v.nameID, Format: v.nameFormat,
	})
	if err != nil {
		return identity.Assertion{}, fmt.Errorf("saml: %w", err)
	}
	return identity.Assertion{Identity: who, UpstreamSession: v.sessionIndex, Upstream: kept}, nil
}

// subject is the NameID in the one format that was configured, or the one value of the configured attribute.
func (p *Provider) subject(v verified, all attributes) (string, error) {
	name, fromAttribute := p.config.subjectAttribute()
	if !fromAttribute {
		switch {
		case !v.hasNameID:
			return "", errors.New("the Subject has no NameID")
		case v.nameFormat == formatTransient:
			return "", errors.New("the NameID is transient and so names nobody the next time")
		case v.nameFormat != nameFormat(p.config.NameIDFormat):
			return "", errors.New("the NameID has another format than the configured one")
		}
		return v.nameID, nil
	}
	return all.exact(name)
}

// methods says how the person proved who they are, in the words of RFC 8176, where the class says it.
func methods(class string) []string {
	switch class {
	case "urn:oasis:names:tc:SAML:2.0:ac:classes:Password",
		"urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport":
		return []string{"pwd"}
	case "https://refeds.org/profile/mfa", "http://schemas.microsoft.com/claims/multipleauthn":
		return []string{"mfa"}
	default:
		return nil
	}
}

// checkSubject refuses what somebody, here or upstream, could take for another subject: people and programs pass over
// white space and control characters.
func checkSubject(what, s string) error {
	switch {
	case s == "":
		return errors.New(what + " is empty")
	case len(s) > maxText:
		return errors.New(what + " is too long")
	case strings.TrimSpace(s) != s:
		return errors.New(what + " has white space around it")
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New(what + " has control characters in it")
	default:
		return nil
	}
}

// attributes are the configured attributes by configured name: of each its values as they are spelled.
type attributes struct{ byName, byFriendly map[string][][]string }

// get returns the attributes with this Name; where there are none, with this FriendlyName. The exact name wins, or an
// attribute could pass for another by calling itself so.
func (a attributes) get(name string) [][]string {
	if name == "" {
		return nil
	}
	if found, ok := a.byName[name]; ok {
		return found
	}
	return a.byFriendly[name]
}

// list returns all values without the white space around them. Empty ones are no values.
func (a attributes) list(name string) []string {
	var out []string
	for _, values := range a.get(name) {
		for _, value := range values {
			if value = strings.TrimSpace(value); value != "" {
				out = append(out, value)
			}
		}
	}
	return out
}

// one returns the first value, "" for none. Which of two attributes is meant nobody has said.
func (a attributes) one(name string) (string, error) {
	if len(a.get(name)) > 1 {
		return "", errors.New("an attribute of which one value is read stands there twice")
	}
	values := a.list(name)
	switch {
	case len(values) == 0:
		return "", nil
	case len(values[0]) > maxText:
		return "", errors.New("a name or address is too long")
	default:
		return values[0], nil
	}
}

// exact returns the only value of the only attribute with this Name, as it is spelled. A FriendlyName says nothing here: it
// is for people to read (saml-core section 2.7.3.1), and an account hangs on the value.
func (a attributes) exact(name string) (string, error) {
	found := a.byName[name]
	if len(found) != 1 || len(found[0]) != 1 {
		return "", errors.New("the subject's attribute does not have exactly one value")
	}
	return found[0][0], checkSubject("the subject's attribute", found[0][0])
}

// readAttributes reads those that configuration names; the others are not looked at.
func readAttributes(statements []*etree.Element, wanted map[string]bool) (attributes, error) {
	all := attributes{byName: map[string][][]string{}, byFriendly: map[string][][]string{}}
	for _, s := range statements {
		for _, el := range children(s, nsAssertion, "Attribute") {
			name, friendly := attr(el, "Name"), attr(el, "FriendlyName")
			if !wanted[name] && !wanted[friendly] {
				continue
			}
			values, err := readValues(el)
			if err != nil {
				return attributes{}, err
			}
			if wanted[name] {
				all.byName[name] = append(all.byName[name], values)
			}
			if wanted[friendly] {
				all.byFriendly[friendly] = append(all.byFriendly[friendly], values)
			}
		}
	}
	return all, nil
}

// readValues reads values as text. Structured ones have no meaning we know, and leaving one out of a list of groups could
// mean more rights.
func readValues(el *etree.Element) ([]string, error) {
	values := make([]string, 0, len(el.Child))
	for _, c := range children(el, nsAssertion, "AttributeValue") {
		value, err := text(c)
		switch {
		case err != nil:
			return nil, err
		case len(value) > maxValue:
			return nil, fmt.Errorf("an attribute has a value longer than %d bytes", maxValue)
		}
		values = append(values, value)
	}
	return values, nil
}
