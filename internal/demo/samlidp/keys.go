package samlidp

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
)

const (
	formatPersistent = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	formatEntity     = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
	metadataLife     = 24 * time.Hour
)

// newIdentityProvider makes the key pair of this run. It is RSA because goxmldsig writes ECDSA signatures as certificates
// have them, not as XML Signature section 6.4.3 does.
func newIdentityProvider(base string, sp *registration, now func() time.Time) (*saml.IdentityProvider, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Demo SAML identity provider"},
		NotBefore: now().Add(-time.Hour), NotAfter: now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	root, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("public url: %w", err)
	}
	return &saml.IdentityProvider{
		Signer: key, Certificate: certificate,
		MetadataURL: *root.JoinPath("metadata"), SSOURL: *root.JoinPath("sso"),
		ServiceProviderProvider: sp,
		// Empty would mean SHA-1.
		SignatureMethod: dsig.RSASHA256SignatureMethod,
	}, nil
}

// metadataOf describes only what the provider does: it takes no POST, decrypts nothing and has no transient names.
func metadataOf(idp *saml.IdentityProvider, now time.Time) *saml.EntityDescriptor {
	d := idp.Metadata()
	d.ValidUntil, d.CacheDuration = now.Add(metadataLife).UTC(), metadataLife
	role := &d.IDPSSODescriptors[0]
	role.NameIDFormats = []saml.NameIDFormat{formatPersistent}
	role.SingleSignOnServices = []saml.Endpoint{{Binding: saml.HTTPRedirectBinding, Location: idp.SSOURL.String()}}
	signing := role.KeyDescriptors[:0]
	for _, k := range role.KeyDescriptors {
		if k.Use == "signing" {
			signing = append(signing, k)
		}
	}
	role.KeyDescriptors = signing
	return d
}
