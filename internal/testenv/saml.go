package testenv

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"html"
	"io"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// SAMLKey is an RSA key with a certificate it signed itself, which is what SAML metadata carries.
type SAMLKey struct {
	// PrivatePEM is the key (PKCS #8), CertificatePEM the certificate; it is valid for a day.
	PrivatePEM, CertificatePEM []byte
}

// NewSAMLKey makes a key of 2048 bits.
func NewSAMLKey(t testing.TB) SAMLKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "Sallyport test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return SAMLKey{
		PrivatePEM:     pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		CertificatePEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
	}
}

// Files writes the key and the certificate as dir/NAME.key and dir/NAME.pem.
func (k SAMLKey) Files(t testing.TB, dir, name string) (keyFile, certificateFile string) {
	t.Helper()
	keyFile, certificateFile = filepath.Join(dir, name+".key"), filepath.Join(dir, name+".pem")
	for file, content := range map[string][]byte{keyFile: k.PrivatePEM, certificateFile: k.CertificatePEM} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return keyFile, certificateFile
}

// Base64 is the certificate without PEM's lines, as metadata and signatures have it.
func (k SAMLKey) Base64() string {
	var lines []string
	for line := range strings.Lines(string(k.CertificatePEM)) {
		if !strings.HasPrefix(line, "-----") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "")
}

// NewBrowserClient is a client with cookies of its own that follows redirects, like a browser without script.
func NewBrowserClient(t testing.TB) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, Timeout: 30 * time.Second}
}

// SignIn walks through the identity provider's pages from redirectURL on, as client, which needs a cookie jar: it fills
// in the login page, unless the client is signed in there already. It returns the form that a browser would post next,
// and where to. What the provider answers instead fails the test.
func (p *SimpleSAML) SignIn(t testing.TB, client *http.Client, redirectURL, username, password string) (
	acsURL string, form url.Values,
) {
	t.Helper()
	browser := *client
	browser.CheckRedirect = nil
	page := load(t, &browser, redirectURL, nil)
	if login := page.form("password"); login.fields != nil {
		login.fields.Set("username", username)
		login.fields.Set("password", password)
		page = load(t, &browser, login.action, login.fields)
	}
	next := page.form("SAMLResponse")
	if next.fields == nil {
		t.Fatalf("SimpleSAMLphp does not sign %s in, it answers %d at %s:\n%s", username, page.status, page.url, page.body)
	}
	return next.action, next.fields
}

// samlPage is an answer of the identity provider.
type samlPage struct {
	url    *url.URL
	status int
	body   []byte
}

// load asks for a page, or posts a form where there is one, and reads the answer to its end.
func load(t testing.TB, client *http.Client, address string, form url.Values) samlPage {
	t.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		t.Fatal(err)
	}
	return samlPage{url: resp.Request.URL, status: resp.StatusCode, body: body}
}

// htmlForm is a form as it would be sent if nothing was typed.
type htmlForm struct {
	action string
	fields url.Values
}

// form returns the form that has a field of this name; without one its fields are nil. It reads what SimpleSAMLphp's
// templates write, which is tidy, not HTML at large.
func (p samlPage) form(field string) htmlForm {
	forms := regexp.MustCompile(`(?is)<form\b([^>]*)>(.*?)</form>`)
	inputs := regexp.MustCompile(`(?is)<input\b[^>]*>`)
	for _, m := range forms.FindAllStringSubmatch(string(p.body), -1) {
		fields := url.Values{}
		for _, input := range inputs.FindAllString(m[2], -1) {
			if name := htmlAttribute(input, "name"); name != "" && htmlAttribute(input, "type") != "checkbox" {
				fields.Add(name, htmlAttribute(input, "value"))
			}
		}
		action, err := p.url.Parse(htmlAttribute(m[1], "action"))
		if err == nil && fields.Has(field) {
			return htmlForm{action: action.String(), fields: fields}
		}
	}
	return htmlForm{}
}

// htmlAttribute returns the value of an attribute of a tag, "" when it has none.
func htmlAttribute(tag, name string) string {
	m := regexp.MustCompile(`(?is)\s` + name + `\s*=\s*"([^"]*)"`).FindStringSubmatch(tag)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}
