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

// signatureAlgorithm and digestAllowed are the allow-lists; they start at SHA-256 (SML-02). What is not on the first is
// x509.UnknownSignatureAlgorithm.
func signatureAlgorithm(method string, sha1 bool) x509.SignatureAlgorithm {
	switch method {
	case dsig.RSASHA256SignatureMethod:
		return x509.SHA256WithRSA
	case dsig.RSASHA384SignatureMethod:
		return x509.SHA384WithRSA
	case dsig.RSASHA512SignatureMethod:
		return x509.SHA512WithRSA
	case dsig.ECDSASHA256SignatureMethod:
		return x509.ECDSAWithSHA256
	case dsig.ECDSASHA384SignatureMethod:
		return x509.ECDSAWithSHA384
	case dsig.ECDSASHA512SignatureMethod:
		return x509.ECDSAWithSHA512
	}
	switch {
	case sha1 && method == dsig.RSASHA1SignatureMethod:
		return x509.SHA1WithRSA
	case sha1 && method == dsig.ECDSASHA1SignatureMethod:
		return x509.ECDSAWithSHA1
	default:
		return x509.UnknownSignatureAlgorithm
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
	sig := el.ChildElements()[position]
	value, err := bytesOf(sig, nsDsig, "SignatureValue")
	if err != nil {
		return nil, err
	}
	certificate, err := k.signer(sig, value)
	if err != nil {
		return nil, err
	}
	context := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{
		Roots: []*x509.Certificate{certificate},
	})
	context.IdAttribute = "ID"
	context.Clock = dsig.NewFakeClockAt(k.now)
	// goxmldsig is given a copy that stands for itself: every namespace in scope declared, and the signature in its words.
	lone := detach(el)
	respell(lone.ChildElements()[position], forKey(certificate.PublicKey, value))
	covered, err := context.Validate(lone)
	if err != nil {
		return nil, errors.New("the element is not what was signed") // the cause is foreign text
	}
	if covered == nil || !is(covered, el.NamespaceURI(), el.Tag) || attr(covered, "ID") != attr(el, "ID") ||
		signed(covered) {
		return nil, errors.New("the signature covers something else")
	}
	return covered, nil
}

// signer returns the certificate whose key made the signature of SignedInfo. That chooses, and proves nothing: goxmldsig
// checks it all once more. But it takes the whole element apart several times over for that, and whoever can post here
// could have it do so for every certificate, and for messages that nobody signed (SML-09).
func (k keys) signer(sig *etree.Element, value []byte) (*x509.Certificate, error) {
	info := sig.ChildElements()[0] // check has seen to the shape
	algorithm := signatureAlgorithm(attr(info.ChildElements()[1], "Algorithm"), k.allowSHA1)
	canonical, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(detach(info))
	if err != nil {
		return nil, errors.New("SignedInfo cannot be canonicalized")
	}
	outside := 0
	for _, certificate := range k.certificates {
		if k.now.Before(certificate.NotBefore) || k.now.After(certificate.NotAfter) {
			outside++
			continue
		}
		if certificate.CheckSignature(algorithm, canonical, forKey(certificate.PublicKey, value)) == nil {
			return certificate, nil
		}
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
	case attr(parts[0], "Algorithm") != algExclusive || !onlyPrefixes(parts[0]):
		return 0, errors.New("the canonicalization of the signature is not allowed")
	case signatureAlgorithm(attr(method, "Algorithm"), k.allowSHA1) == x509.UnknownSignatureAlgorithm,
		len(method.ChildElements()) != 0:
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
		attr(transforms[1], "Algorithm") != algExclusive || !onlyPrefixes(transforms[1]):
		return errors.New("the transforms of the signature are not allowed")
	case !digestAllowed(attr(parts[1], "Algorithm"), k.allowSHA1), len(parts[1].ChildElements()) != 0,
		len(parts[2].ChildElements()) != 0:
		return errors.New("the digest algorithm is not allowed")
	}
	return nil
}

// onlyPrefixes: a canonicalization may have one list of prefixes that it includes, and nothing else.
func onlyPrefixes(method *etree.Element) bool {
	inside := method.ChildElements()
	return len(inside) == 0 || len(inside) == 1 && is(inside[0], algExclusive, "InclusiveNamespaces") &&
		len(inside[0].ChildElements()) == 0 && len(attr(inside[0], "PrefixList")) <= maxPrefixes
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

// respell writes the value as goxmldsig reads it, and takes KeyInfo out: it names keys, which we do not take from a message.
// Neither is signed.
func respell(sig *etree.Element, value []byte) {
	parts := sig.ChildElements()
	parts[1].SetText(base64.StdEncoding.EncodeToString(value))
	for _, c := range parts[2:] {
		sig.RemoveChild(c)
	}
}

// forKey spells the value as certificates have it: XML Signature has the two numbers of an ECDSA signature side by side
// (section 6.4.3), certificates have ASN.1. What is no such value becomes none.
func forKey(public any, value []byte) []byte {
	key, ok := public.(*ecdsa.PublicKey)
	if !ok {
		return value
	}
	size := (key.Curve.Params().BitSize + 7) / 8
	if len(value) != 2*size {
		return nil
	}
	numbers := struct{ R, S *big.Int }{new(big.Int).SetBytes(value[:size]), new(big.Int).SetBytes(value[size:])}
	der, err := asn1.Marshal(numbers)
	if err != nil {
		return nil
	}
	return der
}
