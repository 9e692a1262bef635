package saml

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// The fixed words of the protocol.
const (
	version           = "2.0"
	statusPrefix      = "urn:oasis:names:tc:SAML:2.0:status:"
	statusSuccess     = statusPrefix + "Success"
	methodBearer      = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	formatEntity      = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
	formatPersistent  = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	formatTransient   = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
	formatEmail       = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
	formatUnspecified = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
)

// statusWords are the reasons that are told to the operator.
const statusWords = `Requester Responder VersionMismatch AuthnFailed InvalidAttrNameOrValue InvalidNameIDPolicy
	NoAuthnContext NoAvailableIDP NoPassive NoSupportedIDP ProxyCountExceeded RequestDenied RequestUnsupported
	RequestVersionDeprecated RequestVersionTooHigh RequestVersionTooLow UnknownAttrProfile UnknownPrincipal
	UnsupportedBinding`

// maxText bounds one value that we give a meaning to, in bytes; maxValue one group or further attribute.
const (
	maxText  = 1024
	maxValue = 4096
)

// expectation is what a response must be for.
type expectation struct {
	keys
	decrypter

	// issuer is the provider's entity id, audience ours; acs is where the response was posted and request what it answers.
	issuer, audience, acs, request string
	skew                           time.Duration
}

// verified is an assertion that passed every check. Only accept makes one.
type verified struct {
	id, nameID, nameFormat, sessionIndex, contextClass string
	authnInstant, until                                time.Time
	hasNameID                                          bool
	statements                                         []*etree.Element
}

// errStatus: upstream answered, and the answer is no.
var errStatus = errors.New("the provider answered with another status than success")

// What is wrong with where signatures and encryption stand.
var (
	errUnsigned  = errors.New("neither the Response nor the Assertion is signed")
	errElsewhere = errors.New("a signature stands somewhere else than in the Response or the Assertion")
	errHidden    = errors.New("an EncryptedID or EncryptedAttribute is not taken; have the provider encrypt the Assertion")
)

// decode reads the form field of the HTTP-POST binding. The bound comes before the decoding.
func decode(field string) ([]byte, error) {
	if len(field) > base64.StdEncoding.EncodedLen(maxMessage)+maxMessage/16 {
		return nil, errors.New("the response is too large")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(field), ""))
	if err != nil {
		return nil, errors.New("the response is not base64")
	}
	return raw, nil
}

// accept is the whole reader: from bytes to an assertion that is meant for us, now, in this flow. Whatever a library does
// with hostile bytes, the caller gets a refusal.
func (e expectation) accept(raw []byte) (v verified, err error) {
	defer func() {
		if r := recover(); r != nil {
			v, err = verified{}, errors.New("the response could not be read")
		}
	}()
	root, found, err := parse(raw)
	switch {
	case err != nil:
		return verified{}, err
	case !is(root, nsProtocol, "Response") || found.responses != 1:
		return verified{}, errors.New("the document is not one Response")
	case found.hidden != 0:
		return verified{}, errHidden
	}
	envelope := root
	if signed(root) {
		if envelope, err = e.verify(root); err != nil {
			return verified{}, err
		}
	}
	if err := e.checkResponse(envelope, signed(root)); err != nil {
		return verified{}, err
	}
	if found.assertions+found.encrypted != 1 {
		return verified{}, errors.New("the response does not have exactly one Assertion, plain or encrypted")
	}
	covered := e.covered
	if found.encrypted == 1 {
		covered = e.coveredInside
	}
	assertion, err := covered(root, envelope, found)
	if err != nil {
		return verified{}, err
	}
	return e.checkAssertion(assertion)
}

// covered returns the assertion out of what a signature covers. An assertion's own signature is checked where it stood
// in the message: canonical bytes of the response may have lost prefixes it speaks of.
func (e expectation) covered(root, envelope *etree.Element, found census) (*etree.Element, error) {
	assertion, err := only(root, nsAssertion, "Assertion")
	if err != nil {
		return nil, err
	}
	switch {
	case found.signatures != count(signed(root), signed(assertion)):
		return nil, errElsewhere
	case signed(assertion):
		return e.verify(assertion)
	case signed(root):
		return only(envelope, nsAssertion, "Assertion")
	default:
		return nil, errUnsigned
	}
}

// coveredInside is covered for an encrypted assertion. What comes out of it is another document, foreign like the first:
// it passes the same bounds, and is read only if its own signature or that of the Response covers it.
func (e expectation) coveredInside(root, envelope *etree.Element, found census) (*etree.Element, error) {
	if found.signatures != count(signed(root)) {
		return nil, errElsewhere
	}
	box, err := only(envelope, nsAssertion, "EncryptedAssertion")
	if err != nil {
		return nil, err
	}
	plain, err := e.decrypt(box, signed(root))
	if err != nil {
		return nil, err
	}
	assertion, inside, err := parseWithin(plain, inScope(box))
	switch {
	case err != nil || !is(assertion, nsAssertion, "Assertion"), inside.assertions != 1, inside.encrypted+inside.responses != 0:
		return nil, errDecrypt // with AES-CBC this is how a wrong key may look
	case inside.hidden != 0:
		return nil, errHidden
	case inside.signatures != count(signed(assertion)):
		return nil, errElsewhere
	case signed(assertion):
		return e.verify(assertion)
	case signed(root):
		return assertion, nil
	default:
		return nil, errUnsigned
	}
}

// count returns how many of these are so.
func count(all ...bool) int {
	n := 0
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}

// checkResponse looks at the envelope (saml-core section 3.2.2, saml-bindings section 3.5.5). A signed one must say where
// it was sent.
func (e expectation) checkResponse(r *etree.Element, isSigned bool) error {
	if err := e.checkHead(r, "Response", false); err != nil {
		return err
	}
	switch {
	case (isSigned || hasAttr(r, "Destination")) && attr(r, "Destination") != e.acs:
		return errors.New("the Destination of the Response is not this endpoint")
	case attr(r, "InResponseTo") == "":
		return errors.New("the Response answers no request; only sign-ins that begin here are taken")
	case attr(r, "InResponseTo") != e.request:
		return errors.New("the Response answers another request")
	}
	status, err := only(r, nsProtocol, "Status")
	if err != nil {
		return err
	}
	code, err := only(status, nsProtocol, "StatusCode")
	if err != nil {
		return err
	}
	if attr(code, "Value") != statusSuccess {
		return refusal(code)
	}
	return nil
}

// refusal says in the standard's words why the provider said no (saml-core section 3.2.2.2): the reason where there is
// one, else the class. Other words and messages are foreign text.
func refusal(code *etree.Element) error {
	for _, c := range append(children(code, nsProtocol, "StatusCode"), code) {
		word, _ := strings.CutPrefix(attr(c, "Value"), statusPrefix)
		if slices.Contains(strings.Fields(statusWords), word) {
			return fmt.Errorf("%w: %s", errStatus, word)
		}
	}
	return errStatus
}

// checkHead looks at what Response and Assertion have in common. The Response may leave its Issuer out.
func (e expectation) checkHead(el *etree.Element, what string, needIssuer bool) error {
	if attr(el, "Version") != version || attr(el, "ID") == "" {
		return errors.New("the " + what + " has no ID or another version than 2.0")
	}
	issued, err := instant(el, "IssueInstant")
	if err != nil {
		return err
	}
	if issued.After(e.now.Add(e.skew)) {
		return errors.New("the " + what + " is from the future")
	}
	issuers := children(el, nsAssertion, "Issuer")
	if len(issuers) == 0 && !needIssuer {
		return nil
	}
	if len(issuers) != 1 {
		return errors.New("the " + what + " does not have one Issuer")
	}
	name, err := text(issuers[0])
	if err != nil {
		return err
	}
	if name != e.issuer || hasAttr(issuers[0], "Format") && attr(issuers[0], "Format") != formatEntity {
		return errors.New("the Issuer of the " + what + " is not the configured provider")
	}
	return nil
}
