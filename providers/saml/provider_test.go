package saml

import (
	"compress/flate"
	"context"
	"encoding/base64"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"sallyport/identity"
	"sallyport/providers"
)

func TestBeginSendsARequestThatNamesUsAndTheEndpoint(t *testing.T) {
	p := openProvider(t, nil, ours(t))
	challenge, err := p.Begin(context.Background(), theFlow())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(challenge.URL)
	if err != nil || u.Host != "idp.example.com" || u.Query().Get("tenant") != "1" || u.Query().Get("RelayState") != testFlow {
		t.Fatalf("url %q, err %v", challenge.URL, err)
	}
	deflated, err := base64.StdEncoding.DecodeString(u.Query().Get("SAMLRequest"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(flate.NewReader(strings.NewReader(string(deflated))))
	if err != nil {
		t.Fatal(err)
	}
	request := document(t, raw).Root()
	memory, err := p.readPending(theFlow(), challenge.Pending)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ID": memory.Request, "Version": "2.0", "AssertionConsumerServiceURL": testACS, "ProtocolBinding": bindingPOST,
		"Destination": "https://idp.example.com/sso?tenant=1", "IssueInstant": "2026-05-06T12:00:00Z",
	} {
		got := attr(request, name)
		if name == "IssueInstant" {
			at, err := instant(request, name)
			if err != nil || !at.Equal(testNow()) {
				t.Errorf("IssueInstant %q", got)
			}
		} else if got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := request.FindElement("./saml:Issuer").Text(); got != testOwn {
		t.Errorf("Issuer %q", got)
	}
	if got := request.FindElement("./samlp:NameIDPolicy").SelectAttrValue("Format", ""); got != formatPersistent {
		t.Errorf("Format %q", got)
	}
	again, err := p.Begin(context.Background(), theFlow())
	if err != nil || string(again.Pending) == string(challenge.Pending) || len(memory.Request) != 65 {
		t.Errorf("two requests share an id, or it is short: %q, err %v", memory.Request, err)
	}
}

func TestBeginRefusesAFlowThatCanBeGuessed(t *testing.T) {
	p := openProvider(t, nil, ours(t))
	for name, f := range map[string]providers.Flow{
		"a short id":           {ID: "short", CallbackURL: testACS},
		"an id that is long":   {ID: strings.Repeat("x", 81), CallbackURL: testACS},
		"no callback":          {ID: testFlow},
		"a callback by http":   {ID: testFlow, CallbackURL: "http://sso.example.com/saml/corp/acs"},
		"a callback with user": {ID: testFlow, CallbackURL: "https://a@sso.example.com/saml/corp/acs"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := p.Begin(context.Background(), f); err == nil {
				t.Error("no error")
			}
		})
	}
}

func describe(certificates ...string) string {
	return `<?xml version="1.0"?><!-- made by hand --><md:EntityDescriptor xmlns:md="` + nsMetadata + `" xmlns:ds="` + nsDsig +
		`" entityID="` + testIssuer + `"><md:IDPSSODescriptor protocolSupportEnumeration="` + nsProtocol + `">` +
		strings.Join(certificates, "") +
		`<md:SingleSignOnService Binding="` + bindingPOST + `" Location="https://idp.example.com/post"/>` +
		`<md:SingleSignOnService Binding="` + bindingRedirect + `" Location="https://idp.example.com/redirect"/>` +
		`</md:IDPSSODescriptor></md:EntityDescriptor>`
}

func (s signer) descriptor(use string) string {
	if use != "" {
		use = ` use="` + use + `"`
	}
	return `<md:KeyDescriptor` + use + `><ds:KeyInfo><ds:X509Data><ds:X509Certificate>
  ` + base64.StdEncoding.EncodeToString(s.certificate.Raw) + `
</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>`
}

func TestSML10_MetadataIsReadOrRefused(t *testing.T) {
	right, other := ours(t), foreign(t)
	good := describe(right.descriptor("signing"))
	to := func(old, with string) string { return swap(t, good, old, with) }
	elsewhere := swap(t, good, testIssuer, "https://other.example.com")
	for name, row := range map[string]struct {
		raw, words   string
		certificates int
	}{
		"signing":                          {good, "", 1},
		"without use":                      {describe(right.descriptor("")), "", 1},
		"two at once":                      {describe(right.descriptor("signing"), other.descriptor("")), "", 2},
		"a byte order mark":                {"\ufeff" + good, "", 1},
		"valid for a while":                {to(`entityID=`, `validUntil="2026-05-07T00:00:00Z" entityID=`), "", 1},
		"for encryption only":              {describe(right.descriptor("encryption")), "no usable certificate", 0},
		"no certificate":                   {describe(), "no usable certificate", 0},
		"validUntil has passed":            {to(`entityID=`, `validUntil="2026-05-06T12:00:00Z" entityID=`), "validUntil", 0},
		"the role's validUntil has passed": {to(`<md:IDPSSODescriptor `, `<md:IDPSSODescriptor validUntil="2026-05-06T12:00:00Z" `), "validUntil", 0},
		"validUntil is no time":            {to(`entityID=`, `validUntil="soon" entityID=`), "validUntil", 0},
		"an http location":                 {to(`https://idp.example.com/redirect`, `http://idp.example.com/redirect`), "must be https", 0},
		"a script as location":             {to(`https://idp.example.com/post`, `javascript:alert(1)`), "absolute URL", 0},
		"no redirect endpoint":             {to(bindingRedirect, bindingPOST+"x"), "HTTP-Redirect", 0},
		"another entity":                   {to(testIssuer, "https://other.example.com"), "another entity", 0},
		"no entity":                        {to(` entityID="`+testIssuer+`"`, ``), "entityID", 0},
		"another protocol":                 {to(`"`+nsProtocol+`"`, `"urn:x"`), "does not speak", 0},
		"not metadata":                     {`<x/>`, "EntityDescriptor", 0},
		"the entity in a list":             {list("", good), "", 1},
		"the entity in a list of lists":    {list("", elsewhere+list("", good)), "", 1},
		"the entity twice in a list":       {list("", good+list("", good)), "2 times, not once", 0},
		"a list without the entity":        {list("", elsewhere), "0 times, not once", 0},
		"a list that has ended":            {list(`validUntil="2026-05-06T12:00:00Z"`, good), "validUntil", 0},
		"a list in one that has ended":     {list(`validUntil="2026-05-06T12:00:00Z"`, list("", good)), "validUntil", 0},
		"html":                             {`<!DOCTYPE html><p>`, "document type", 0},
		"a comment in the certificate":     {to(`<ds:X509Certificate>`, `<ds:X509Certificate><!-- -->`), "something else than text", 0},
		"a certificate that is none":       {to(`<ds:X509Certificate>`, `<ds:X509Certificate>AAAA`), "cannot be read", 0},
		"more than the maximum":            {good + strings.Repeat(" ", maxMetadata), "larger than", 0},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := parseMetadata([]byte(row.raw), testIssuer, testNow())
			if row.words != "" {
				if err == nil || !strings.Contains(err.Error(), row.words) {
					t.Fatalf("got %v, want an error that says %q", err, row.words)
				}
				return
			}
			if err != nil || len(found.keys.certificates) != row.certificates ||
				found.ssoURL != "https://idp.example.com/redirect" {
				t.Fatalf("got %+v, %v", found, err)
			}
		})
	}
}

// list is an EntitiesDescriptor.
func list(attributes, entities string) string {
	return `<md:EntitiesDescriptor xmlns:md="` + nsMetadata + `" ` + attributes + `>` +
		strings.ReplaceAll(entities, `<?xml version="1.0"?>`, "") + `</md:EntitiesDescriptor>`
}

func TestSML10_AListOfEntitiesNeedsToBeToldWhich(t *testing.T) {
	_, err := parseMetadata([]byte(list("", describe(ours(t).descriptor("")))), "", testNow())
	if err == nil || !strings.Contains(err.Error(), "entity_id must say") {
		t.Errorf("got %v", err)
	}
}

func TestMetadataMayBeAFile(t *testing.T) {
	by, dir := ours(t), t.TempDir()
	name := filepath.Join(dir, "idp.xml")
	c := &Config{Metadata: Metadata{File: "idp.xml"}}
	if _, err := c.Open(context.Background(), "corp", "", providers.Env{Dir: dir}); err == nil {
		t.Error("a file that is missing was taken")
	}
	if err := os.WriteFile(name, []byte(describe(by.descriptor(""))), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := c.Open(context.Background(), "corp", "", providers.Env{Dir: dir, Now: testNow})
	if err != nil {
		t.Fatal(err)
	}
	own, _ := p.(*Provider)
	if _, err := finish(t, own, signing{by: by, response: true}.sign(t, message())); err != nil {
		t.Error(err)
	}
}

func TestCheckSaysThatEveryCertificateHasExpired(t *testing.T) {
	p := openProvider(t, nil, ours(t))
	if err := p.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.now = func() time.Time { return testNow().AddDate(2, 0, 0) }
	wantRefused(t, p.Check(context.Background()), identity.ErrUnavailable, providers.CodeUnavailable, "expired")
}

func TestConfigurationMistakesNameTheirKey(t *testing.T) {
	const explicit = "entity_id: e\nsso_url: https://idp/sso\ncertificates: [a.pem]\n"
	for name, row := range map[string]struct{ document, key string }{
		"nothing at all":               {"{}", "entity_id: is required"},
		"a file and a url":             {"metadata: {file: a, url: https://idp/}", "metadata: "},
		"metadata by http":             {"metadata: {url: http://idp/}", "metadata.url: must be https"},
		"authorities without url":      {"metadata: {file: a, ca_file: b}", "metadata.ca_file: "},
		"metadata and an endpoint":     {"metadata: {file: a}\nsso_url: https://idp/", "sso_url: "},
		"metadata and certificates":    {"metadata: {file: a}\ncertificates: [a.pem]", "certificates: "},
		"an endpoint by http":          {"entity_id: e\nsso_url: http://idp/sso\ncertificates: [a.pem]", "sso_url: must be https"},
		"no certificates":              {"entity_id: e\nsso_url: https://idp/sso", "certificates: is required"},
		"too many certificates":        {"entity_id: e\nsso_url: https://idp/sso\ncertificates: [a,a,a,a,a,a,a,a,a]", "certificates: more than"},
		"an unknown format":            {explicit + "name_id_format: x509", "name_id_format: "},
		"a transient subject":          {explicit + "name_id_format: transient", "name_id_format: a transient"},
		"an unknown subject":           {explicit + "subject: mail", "subject: "},
		"a subject without name":       {explicit + "subject: 'attribute '", "subject: "},
		"an address as subject":        {explicit + "subject: attribute mail\nattributes: {email: mail}", "subject: names and addresses"},
		"an attribute with a space":    {explicit + "attributes: {groups: ' x'}", "attributes: "},
		"an empty extra":               {explicit + "extra: ['']", "extra: "},
		"a skew that is too long":      {explicit + "skew: 3m", "skew: "},
		"a skew into the past":         {explicit + "skew: -1s", "skew: "},
		"a key that there is not":      {explicit + "allow_cbc: true", "allow_cbc"},
		"a transient NameID otherwise": {explicit + "subject: attribute id\nname_id_format: transient", ""},
		"the explicit form":            {explicit + "skew: 2m", ""},
		"the short form":               {"metadata: {url: https://idp/}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var c Config
			decoder := yaml.NewDecoder(strings.NewReader(row.document))
			decoder.KnownFields(true)
			err := decoder.Decode(&c)
			if err == nil {
				err = c.Validate()
			}
			if row.key == "" && err != nil || row.key != "" && (err == nil || !strings.Contains(err.Error(), row.key)) {
				t.Errorf("got %v, want %q", err, row.key)
			}
		})
	}
}

func TestWarningsNameTheirKey(t *testing.T) {
	for key, c := range map[string]*Config{
		"metadata.url: ":   {Metadata: Metadata{URL: "http://localhost/"}},
		"sso_url: ":        {SSOURL: "http://localhost/"},
		"name_id_format: ": {NameIDFormat: "email"},
	} {
		if got := c.Warnings(); len(got) != 1 || !strings.HasPrefix(got[0], key) {
			t.Errorf("%s has warnings %q", key, got)
		}
	}
	if got := (&Config{}).Warnings(); len(got) != 0 {
		t.Errorf("warnings %q of nothing", got)
	}
}

func TestCertificatesThatCannotBeUsedAreRefused(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"no PEM": "x", "a key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"not a certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "a.pem"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := readCertificates([]string{"a.pem"}, dir); err == nil {
				t.Error("no error")
			}
		})
	}
}
