package saml

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

const (
	algExclusive = "http://www.w3.org/2001/10/xml-exc-c14n#"
	algEnveloped = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
	algSHA1      = "http://www.w3.org/2000/09/xmldsig#sha1"
	maxPrefixes  = 512
)

// keys are what a signature of the provider may be checked with, never anything out of the message.
type keys struct {
	certificates []*x509.Certificate
	allowSHA1    bool
	now          time.Time
}

// errUnknownKey: the signature may be right, by a key that we have not been told of.
var errUnknownKey = errors.New("no configured certificate verifies the signature")

// signatureAllowed and digestAllowed are the allow-lists; they start at SHA-256 (SML-02).
func signatureAllowed(method string, sha1 bool) bool {
	switch method {
	case dsig.RSASHA256SignatureMethod, dsig.RSASHA384SignatureMethod, dsig.RSASHA512SignatureMethod,
		dsig.ECDSASHA256SignatureMethod, dsig.ECDSASHA384SignatureMethod, dsig.ECDSASHA512SignatureMethod:
		return true
	case dsig.RSASHA1SignatureMethod, dsig.ECDSASHA1SignatureMethod:
		return sha1
	default:
		return false
	}
}

func digestAllowed(method string, sha1 bool) bool {
	switch method {
	case "http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2001/04/xmldsig-more#sha384",
		"http://www.w3.org/2001/04/xmlenc#sha512":
		return true
	case algSHA1:
		return sha1
	default:
		return false
	}
}

// signed reports whether an element has a signature of its own.
func signed(el *etree.Element) bool { return len(children(el, nsDsig, "Signature")) > 0 }

// verify checks the element's own signature and returns what the signature covers, parsed anew from the very bytes that
// were digested: the only thing that may be read afterwards (SML-01).
func (k keys) verify(el *etree.Element) (*etree.Element, error) {
	position, err := k.check(el)
	if err != nil {
		return nil, err
	}
	// goxmldsig is given a copy that stands for itself: every namespace in scope declared, and no KeyInfo, which names
	// keys that we do not take from a message and would keep two certificates from being tried.
	lone := detach(el)
	value, err := strip(lone.ChildElements()[position])
	if err != nil {
		return nil, err
	}
	encoded := value.Text()
	outside := 0
	for _, certificate := range k.certificates {
		if k.now.Before(certificate.NotBefore) || k.now.After(certificate.NotAfter) {
			outside++
			continue
		}
		value.SetText(forKey(certificate.PublicKey, encoded))
		context := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{
			Roots: []*x509.Certificate{certificate},
		})
		context.IdAttribute = "ID"
		context.Clock = dsig.NewFakeClockAt(k.now)
		covered, err := context.Validate(lone)
		if err != nil {
			continue
		}
		if covered == nil || !is(covered, el.NamespaceURI(), el.Tag) || attr(covered, "ID") != attr(el, "ID") ||
			signed(covered) {
			return nil, errors.New("the signature covers something else")
		}
		return covered, nil
	}
	if outside > 0 {
		return nil, fmt.Errorf("%w (%d of %d are outside their dates)", errUnknownKey, outside, len(k.certificates))
	}
	return nil, errUnknownKey
}

// check looks at the shape of the one signature, before any cryptography: what it refers to and by which algorithms. It
// returns the signature's position among the child elements.
func (k keys) check(el *etree.Element) (int, error) {
	sig, err := only(el, nsDsig, "Signature")
	if err != nil {
		return 0, err
	}
	// The schema has it right after the Issuer.
	position := -1
	for i, c := range el.ChildElements() {
		if c == sig {
			position = i
		}
	}
	if position > 1 {
		return 0, errors.New("the signature is not where the schema has it")
	}
	if err := shape(sig, "SignedInfo", "SignatureValue", "KeyInfo?"); err != nil {
		return 0, err
	}
	info, err := only(sig, nsDsig, "SignedInfo")
	if err != nil {
		return 0, err
	}
	if err := shape(info, "CanonicalizationMethod", "SignatureMethod", "Reference"); err != nil {
		return 0, err
	}
	parts := info.ChildElements()
	method := parts[1]
	switch {
	case attr(parts[0], "Algorithm") != algExclusive:
		return 0, errors.New("the canonicalization of the signature is not allowed")
	case !signatureAllowed(attr(method, "Algorithm"), k.allowSHA1) || len(method.ChildElements()) != 0:
		return 0, errors.New("the signature algorithm is not allowed")
	}
	return position, k.checkReference(parts[2], attr(el, "ID"))
}

func (k keys) checkReference(ref *etree.Element, id string) error {
	if id == "" || attr(ref, "URI") != "#"+id {
		return errors.New("the signature refers to another element")
	}
	if err := shape(ref, "Transforms", "DigestMethod", "DigestValue"); err != nil {
		return err
	}
	parts := ref.ChildElements()
	if err := shape(parts[0], "Transform", "Transform"); err != nil {
		return err
	}
	transforms := parts[0].ChildElements()
	switch {
	case attr(transforms[0], "Algorithm") != algEnveloped || len(transforms[0].ChildElements()) != 0,
		attr(transforms[1], "Algorithm") != algExclusive:
		return errors.New("the transforms of the signature are not allowed")
	case !digestAllowed(attr(parts[1], "Algorithm"), k.allowSHA1):
		return errors.New("the digest algorithm is not allowed")
	}
	for _, c := range transforms[1].ChildElements() {
		if !is(c, algExclusive, "InclusiveNamespaces") || len(attr(c, "PrefixList")) > maxPrefixes {
			return errors.New("the transforms of the signature are not allowed")
		}
	}
	return nil
}

// shape wants exactly these child elements of the signature namespace, in this order; a name with a question mark may be
// absent at the end.
func shape(el *etree.Element, names ...string) error {
	got := el.ChildElements()
	if last := names[len(names)-1]; strings.HasSuffix(last, "?") {
		names[len(names)-1] = strings.TrimSuffix(last, "?")
		if len(got) == len(names)-1 {
			names = names[:len(names)-1]
		}
	}
	if len(got) != len(names) {
		return fmt.Errorf("%s does not have the shape of a signature", kindOf(el))
	}
	for i, name := range names {
		if !is(got[i], nsDsig, name) {
			return fmt.Errorf("%s does not have the shape of a signature", kindOf(el))
		}
	}
	return nil
}

// detach copies an element and declares on it what its ancestors do.
func detach(el *etree.Element) *etree.Element {
	lone := el.Copy()
	declare(lone, inScope(el))
	return lone
}

// inScope returns the prefixes that an element and those around it declare.
func inScope(el *etree.Element) map[string]string {
	found := map[string]string{}
	for ; el != nil; el = el.Parent() {
		for _, a := range el.Attr {
			prefix, ok := declares(a)
			if _, nearer := found[prefix]; ok && !nearer {
				found[prefix] = a.Value
			}
		}
	}
	return found
}

// declare says on an element what these prefixes are, as far as it does not say so itself.
func declare(el *etree.Element, prefixes map[string]string) {
	own := map[string]bool{}
	for _, a := range el.Attr {
		if prefix, ok := declares(a); ok {
			own[prefix] = true
		}
	}
	for _, prefix := range slices.Sorted(maps.Keys(prefixes)) {
		name := "xmlns"
		if prefix != "" {
			name += ":" + prefix
		}
		if !own[prefix] {
			el.CreateAttr(name, prefixes[prefix])
		}
	}
}

// declares returns the prefix a namespace declaration is for.
func declares(a etree.Attr) (string, bool) {
	switch {
	case a.Space == "xmlns":
		return a.Key, true
	case a.Space == "" && a.Key == "xmlns":
		return "", true
	default:
		return "", false
	}
}

// strip takes KeyInfo out of a signature, and the white space people indent base64 with. Neither is signed. It returns the
// element with the value.
func strip(sig *etree.Element) (*etree.Element, error) {
	for _, c := range children(sig, nsDsig, "KeyInfo") {
		sig.RemoveChild(c)
	}
	value, err := only(sig, nsDsig, "SignatureValue")
	if err != nil {
		return nil, err
	}
	encoded, err := text(value)
	if err != nil {
		return nil, err
	}
	value.SetText(strings.Join(strings.Fields(encoded), ""))
	return value, nil
}

// forKey spells the value as goxmldsig reads it: XML Signature has the two numbers of an ECDSA signature side by side
// (section 6.4.3), the library wants the ASN.1 of certificates. What is no such value stays and fails.
func forKey(public any, encoded string) string {
	key, ok := public.(*ecdsa.PublicKey)
	if !ok {
		return encoded
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	size := (key.Curve.Params().BitSize + 7) / 8
	if err != nil || len(raw) != 2*size {
		return ""
	}
	numbers := struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:size]), new(big.Int).SetBytes(raw[size:])}
	der, err := asn1.Marshal(numbers)
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(der)
}
