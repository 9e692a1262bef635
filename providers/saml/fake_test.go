package saml

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	mathrand "math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"sallyport/identity"
	"sallyport/providers"
)

const (
	testIssuer = "https://idp.example.com/metadata"
	testACS    = "https://sso.example.com/saml/corp/acs"
	testOwn    = "https://sso.example.com/saml/corp/metadata"
	testFlow   = "flow-0123456789-0123456789"
	testReq    = "_0123456789abcdef0123456789abcdef"
)

func testNow() time.Time { return time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC) }

// signer is a key with its certificate.
type signer struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

func newSigner(t testing.TB, key crypto.Signer) signer {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "idp"},
		NotBefore: testNow().AddDate(-1, 0, 0), NotAfter: testNow().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key: key, certificate: certificate}
}

// rsaKeys makes the four RSA keys of these tests once. They are the same in every process, so that what one worker of the
// fuzzer found says something to the others.
var rsaKeys = sync.OnceValue(func() [4]*rsa.PrivateKey {
	var out [4]*rsa.PrivateKey
	source := mathrand.NewChaCha8([32]byte{})
	for i := range out {
		p, q := prime(source), prime(source)
		one := big.NewInt(1)
		totient := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		out[i] = &rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537},
			D:         new(big.Int).ModInverse(big.NewInt(65537), totient), Primes: []*big.Int{p, q},
		}
		out[i].Precompute()
		if err := out[i].Validate(); err != nil {
			panic(err)
		}
	}
	return out
})

// prime returns a prime of 1024 bits, for tests only.
func prime(source *mathrand.ChaCha8) *big.Int {
	for {
		b := make([]byte, 128)
		_, _ = source.Read(b)
		b[0] |= 0xc0
		b[127] |= 1
		if p := new(big.Int).SetBytes(b); p.ProbablyPrime(0) {
			return p
		}
	}
}

// ours and foreign are the provider's key and somebody else's, mine and mineNext the keys that it encrypts for.
func ours(t testing.TB) signer     { return newSigner(t, rsaKeys()[0]) }
func foreign(t testing.TB) signer  { return newSigner(t, rsaKeys()[1]) }
func mine(t testing.TB) signer     { return newSigner(t, rsaKeys()[2]) }
func mineNext(t testing.TB) signer { return newSigner(t, rsaKeys()[3]) }

func elliptical(t testing.TB) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newSigner(t, key)
}

func (s signer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.certificate.Raw})
}

// message is a response nothing is wrong with, before it is signed.
func message() string {
	return `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ` +
		`xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_response" Version="2.0" ` +
		`IssueInstant="2026-05-06T11:59:58Z" Destination="` + testACS + `" InResponseTo="` + testReq + `">` +
		`<saml:Issuer>` + testIssuer + `</saml:Issuer>` +
		`<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>` +
		`<saml:Assertion ID="_assertion" Version="2.0" IssueInstant="2026-05-06T11:59:59Z">` +
		`<saml:Issuer>` + testIssuer + `</saml:Issuer>` +
		`<saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">p-4711</saml:NameID>` +
		`<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">` +
		`<saml:SubjectConfirmationData NotOnOrAfter="2026-05-06T12:05:00Z" Recipient="` + testACS + `" ` +
		`InResponseTo="` + testReq + `"/></saml:SubjectConfirmation></saml:Subject>` +
		`<saml:Conditions NotBefore="2026-05-06T11:59:00Z" NotOnOrAfter="2026-05-06T12:06:00Z">` +
		`<saml:AudienceRestriction><saml:Audience>` + testOwn + `</saml:Audience></saml:AudienceRestriction>` +
		`</saml:Conditions>` +
		`<saml:AuthnStatement AuthnInstant="2026-05-06T11:58:00Z" SessionIndex="s-1" ` +
		`SessionNotOnOrAfter="2026-05-06T20:00:00Z"><saml:AuthnContext><saml:AuthnContextClassRef>` +
		`urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml:AuthnContextClassRef>` +
		`</saml:AuthnContext></saml:AuthnStatement>` +
		`<saml:AttributeStatement>` + attribute("uid", "", "ada") + attribute("urn:oid:2.16.840.1.113730.3.1.241",
		"displayName", "Ada Lovelace") + attribute("mail", "", "ada@example.com") +
		attribute("groups", "", "engineers", "cn=ops,dc=example") + attribute("employee", "", "e-1") +
		`</saml:AttributeStatement></saml:Assertion></samlp:Response>`
}

func attribute(name, friendly string, values ...string) string {
	var b strings.Builder
	b.WriteString(`<saml:Attribute Name="` + name + `"`)
	if friendly != "" {
		b.WriteString(` FriendlyName="` + friendly + `"`)
	}
	b.WriteString(`>`)
	for _, v := range values {
		b.WriteString(`<saml:AttributeValue>` + v + `</saml:AttributeValue>`)
	}
	return b.String() + `</saml:Attribute>`
}

// swap replaces one text that must be there exactly once, so that a row which no longer breaks anything is noticed.
func swap(t testing.TB, s, old, with string) string {
	t.Helper()
	if strings.Count(s, old) != 1 {
		t.Fatalf("%q stands %d times in the message, want once", old, strings.Count(s, old))
	}
	return strings.Replace(s, old, with, 1)
}

// signing says what of a message is signed and how.
type signing struct {
	by                  signer
	assertion, response bool
	method              string
	// prefixes are included in the canonical form of what is signed.
	prefixes string
	// edit changes SignedInfo before it is signed.
	edit func(*etree.Element)
}

// sign puts signatures where the schema has them.
func (o signing) sign(t testing.TB, message string) []byte {
	t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromString(message); err != nil {
		t.Fatal(err)
	}
	if o.assertion {
		o.enclose(t, doc.FindElement("//saml:Assertion"))
	}
	if o.response {
		o.enclose(t, doc.Root())
	}
	out, err := doc.WriteToBytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (o signing) enclose(t testing.TB, el *etree.Element) {
	t.Helper()
	context, err := dsig.NewSigningContext(o.by.key, [][]byte{o.by.certificate.Raw})
	if err != nil {
		t.Fatal(err)
	}
	context.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(o.prefixes)
	if o.method != "" {
		if err := context.SetSignatureMethod(o.method); err != nil {
			t.Fatal(err)
		}
	}
	sig, err := context.ConstructSignature(detach(el), true)
	if err != nil {
		t.Fatal(err)
	}
	if o.edit != nil || o.prefixes != "" {
		o.again(t, context, sig)
	}
	if _, ok := o.by.key.(*ecdsa.PrivateKey); ok {
		value := sig.FindElement("./SignatureValue")
		value.SetText(numbersOf(t, value.Text()))
	}
	el.InsertChildAt(1, sig)
}

// again signs a SignedInfo that was changed: what goxmldsig would not write by itself.
func (o signing) again(t testing.TB, context *dsig.SigningContext, sig *etree.Element) {
	t.Helper()
	info := sig.FindElement("./SignedInfo")
	if o.prefixes != "" {
		list := info.FindElements(".//Transform")[1].CreateElement("InclusiveNamespaces")
		list.CreateAttr("xmlns", algExclusive)
		list.CreateAttr("PrefixList", o.prefixes)
	}
	if o.edit != nil {
		o.edit(info)
	}
	canonical, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(detach(info))
	if err != nil {
		t.Fatal(err)
	}
	value, err := context.SignString(string(canonical))
	if err != nil {
		t.Fatal(err)
	}
	sig.FindElement("./SignatureValue").SetText(base64.StdEncoding.EncodeToString(value))
}

// numbersOf spells an ECDSA signature as XML Signature has it.
func numbersOf(t testing.TB, encoded string) string {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := sideBySide(der, 32)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// openProvider makes a provider by hand-written configuration with these certificates.
func openProvider(t testing.TB, change func(*Config), certificates ...signer) *Provider {
	t.Helper()
	dir := t.TempDir()
	c := &Config{
		EntityID: testIssuer, SSOURL: "https://idp.example.com/sso?tenant=1",
		Attributes: Attributes{Username: "uid", Name: "displayName", Email: "mail", Groups: "groups"},
		Extra:      []string{"employee"},
	}
	for i, s := range certificates {
		name := string(rune('a'+i)) + ".pem"
		if err := os.WriteFile(filepath.Join(dir, name), s.pem(), 0o600); err != nil {
			t.Fatal(err)
		}
		c.Certificates = append(c.Certificates, name)
	}
	if change != nil {
		change(c)
	}
	p, err := c.Open(context.Background(), "corp", "Corp", providers.Env{Now: testNow, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return p.(*Provider)
}

// files writes the key and its certificate where only we can read them.
func (s signer) files(t testing.TB) KeyPair {
	t.Helper()
	dir := t.TempDir()
	pair := KeyPair{KeyFile: filepath.Join(dir, "key.pem"), CertificateFile: filepath.Join(dir, "certificate.pem")}
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for name, content := range map[string][]byte{pair.KeyFile: key, pair.CertificateFile: s.pem()} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pair
}

// decrypting configures keys to decrypt with.
func decrypting(t testing.TB, all ...signer) func(*Config) {
	t.Helper()
	return func(c *Config) {
		for _, s := range all {
			c.Decryption = append(c.Decryption, s.files(t))
		}
	}
}

func testPending() []byte {
	return []byte(`{"provider":"corp","request":"` + testReq + `","acs":"` + testACS + `"}`)
}

func theFlow() providers.Flow { return providers.Flow{ID: testFlow, CallbackURL: testACS} }

func replyWith(raw []byte) url.Values {
	return url.Values{"SAMLResponse": {base64.StdEncoding.EncodeToString(raw)}, "RelayState": {testFlow}}
}

func finish(t testing.TB, p *Provider, raw []byte) (identity.Assertion, error) {
	t.Helper()
	return p.Finish(context.Background(), theFlow(), testPending(), replyWith(raw))
}

// wantRefused checks sentinel, code and, so that each row fails for its own reason, the words.
func wantRefused(t testing.TB, err error, sentinel error, code, words string) {
	t.Helper()
	if !errors.Is(err, sentinel) || identity.CodeOf(err) != code || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want %v coded %s that says %q", err, sentinel, code, words)
	}
}

func wantInvalid(t testing.TB, err error, words string) {
	t.Helper()
	wantRefused(t, err, identity.ErrBadCredentials, providers.CodeReplyInvalid, words)
}
