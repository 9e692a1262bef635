package saml

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"

	"github.com/beevik/etree"
	crewjam "github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
)

// newRequestID returns 256 random bits as an XML identifier, which may not begin with a digit.
func newRequestID() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return "_" + hex.EncodeToString(b)
}

// request returns the authentication request id (saml-core section 3.4.1).
func (p *Provider) request(id, issuer, acsURL, destination string) *crewjam.AuthnRequest {
	r := &crewjam.AuthnRequest{
		ID: id, Version: version, IssueInstant: p.now().UTC(), Destination: destination,
		ProtocolBinding: bindingPOST, AssertionConsumerServiceURL: acsURL,
		Issuer: &crewjam.Issuer{Format: formatEntity, Value: issuer},
	}
	if format := nameFormat(p.config.NameIDFormat); format != "" {
		create := true
		r.NameIDPolicy = &crewjam.NameIDPolicy{Format: &format, AllowCreate: &create}
	}
	return r
}

// redirect spells a request as the address that the browser is sent to (saml-bindings section 3.4.4), signed where there
// is a key: the signature is over the query exactly as it is sent, in the order that the binding wants.
func redirect(r *crewjam.AuthnRequest, state string, signing *keyPair) (string, error) {
	deflated, err := deflate(r.Element())
	if err != nil {
		return "", err
	}
	query := "SAMLRequest=" + url.QueryEscape(base64.StdEncoding.EncodeToString(deflated)) +
		"&RelayState=" + url.QueryEscape(state)
	if signing != nil {
		if query, err = signing.signQuery(query); err != nil {
			return "", err
		}
	}
	separator := "?"
	if strings.Contains(r.Destination, "?") {
		separator = "&"
	}
	return r.Destination + separator + query, nil
}

func deflate(el *etree.Element) ([]byte, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	doc := etree.NewDocument()
	doc.SetRoot(el)
	if _, err := doc.WriteTo(w); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// signQuery appends SigAlg and Signature (saml-bindings section 3.4.4.1). SHA-256, by the key's own kind.
func (k keyPair) signQuery(query string) (string, error) {
	algorithm := dsig.RSASHA256SignatureMethod
	key, elliptic := k.key.(*ecdsa.PrivateKey)
	if elliptic {
		algorithm = dsig.ECDSASHA256SignatureMethod
	}
	query += "&SigAlg=" + url.QueryEscape(algorithm)
	sum := sha256.Sum256([]byte(query))
	value, err := k.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err == nil && elliptic {
		value, err = sideBySide(value, (key.Curve.Params().BitSize+7)/8)
	}
	if err != nil {
		return "", fmt.Errorf("signing the request: %w", err)
	}
	return query + "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(value)), nil
}

// sideBySide spells an ECDSA signature as XML Signature has it (section 6.4.3): two numbers of fixed size.
func sideBySide(der []byte, size int) ([]byte, error) {
	var numbers struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &numbers); err != nil || len(rest) != 0 {
		return nil, errors.New("not an ECDSA signature")
	}
	raw := make([]byte, 2*size)
	numbers.R.FillBytes(raw[:size])
	numbers.S.FillBytes(raw[size:])
	return raw, nil
}
