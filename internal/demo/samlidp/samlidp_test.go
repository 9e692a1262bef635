package samlidp

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beevik/etree"
	crewjam "github.com/crewjam/saml"
	"github.com/google/go-cmp/cmp"

	"sallyport/identity"
	"sallyport/providers"
	"sallyport/providers/saml"
)

const (
	acs    = "http://sso.localhost:9/saml/partner/acs"
	own    = "http://sso.localhost:9/saml/partner/metadata"
	flowID = "a-flow-with-more-than-128-bits"
)

func people() []Person {
	return []Person{
		{
			Username: "mira", Name: "Mira <b>Mustermann</b> & Söhne", Email: "mira@supplier.example", Password: "mira-demo",
			Groups: []string{"cn=engineers,dc=example", "everyone"},
		},
		{Username: "noel", Password: "noel-demo"},
	}
}

func start(t *testing.T, change func(*Options)) *Server {
	t.Helper()
	o := Options{Listen: "127.0.0.1:0", People: people(), ServiceProvider: ServiceProvider{EntityID: own, ACSURL: acs}}
	if change != nil {
		change(&o)
	}
	s, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// door opens the real thing on the other side, from the provider's metadata.
func door(t *testing.T, s *Server) *saml.Provider {
	t.Helper()
	c := &saml.Config{
		Metadata:   saml.Metadata{URL: s.MetadataURL()},
		Attributes: saml.Attributes{Username: "uid", Name: "displayName", Email: "mail", Groups: "groups"},
	}
	opened, err := c.Open(t.Context(), "partner", "", providers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	p, ok := opened.(*saml.Provider)
	if !ok {
		t.Fatalf("%T", opened)
	}
	return p
}

func flow() providers.Flow { return providers.Flow{ID: flowID, CallbackURL: acs} }

func begin(t *testing.T, p *saml.Provider) providers.Challenge {
	t.Helper()
	c, err := p.Begin(t.Context(), flow())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// browser keeps cookies and follows redirects.
type browser struct {
	t      *testing.T
	client *http.Client
}

func newBrowser(t *testing.T) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return browser{t, &http.Client{Jar: jar, Timeout: 5 * time.Second}}
}

func (b browser) do(r *http.Request) (int, string, http.Header) {
	b.t.Helper()
	answer, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer.StatusCode, string(body), answer.Header
}

func (b browser) get(address string) (int, string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	status, body, _ := b.do(r)
	return status, body
}

func (b browser) post(address string, form url.Values) (int, string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body, _ := b.do(r)
	return status, body
}

// field returns the value of a hidden field, as a browser would send it.
func field(t *testing.T, body, name string) string {
	t.Helper()
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no field %s in %s", name, body)
	}
	return html.UnescapeString(m[1])
}

// signIn types name and password and returns what is posted to the service provider.
func (b browser) signIn(s *Server, address, username, password string) url.Values {
	b.t.Helper()
	_, body := b.get(address)
	_, body = b.post(s.URL()+"/login", url.Values{
		"request": {field(b.t, body, "request")}, "username": {username}, "password": {password},
	})
	return reply(b.t, body)
}

func reply(t *testing.T, body string) url.Values {
	t.Helper()
	if action := regexp.MustCompile(`action="([^"]*)"`).FindStringSubmatch(body); action == nil || action[1] != acs {
		t.Fatalf("the form goes to %v, want %s: %s", action, acs, body)
	}
	out := url.Values{"SAMLResponse": {field(t, body, "SAMLResponse")}}
	if strings.Contains(body, "RelayState") {
		out.Set("RelayState", field(t, body, "RelayState"))
	}
	return out
}

func TestTheDoorTakesWhatTheProviderAnswers(t *testing.T) {
	s := start(t, nil)
	p := door(t, s)
	b := newBrowser(t)
	c := begin(t, p)
	a, err := p.Finish(t.Context(), flow(), c.Pending, b.signIn(s, c.URL, "mira", "mira-demo"))
	if err != nil {
		t.Fatal(err)
	}
	got := a.Identity
	if len(got.Subject) != 43 || got.AuthTime.IsZero() || a.UpstreamSession == "" {
		t.Errorf("subject %q, signed in at %v, session %q", got.Subject, got.AuthTime, a.UpstreamSession)
	}
	subject := got.Subject
	got.Subject, got.AuthTime = "", time.Time{}
	want := identity.Identity{
		Provider: "partner", Username: "mira", Name: people()[0].Name, Email: "mira@supplier.example",
		Groups: people()[0].Groups, AMR: []string{"pwd"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}

	t.Run("once signed in nothing is typed again and the name stays", func(t *testing.T) {
		c := begin(t, p)
		_, body := b.get(c.URL)
		again, err := p.Finish(t.Context(), flow(), c.Pending, reply(t, body))
		if err != nil || again.Identity.Subject != subject || again.UpstreamSession != a.UpstreamSession {
			t.Errorf("subject %q, session %q, err %v", again.Identity.Subject, again.UpstreamSession, err)
		}
	})
	t.Run("somebody else has another name, and no attributes but what there is", func(t *testing.T) {
		c := begin(t, p)
		other, err := p.Finish(t.Context(), flow(), c.Pending, newBrowser(t).signIn(s, c.URL, "noel", "noel-demo"))
		if err != nil || other.Identity.Subject == subject || other.Identity.Username != "noel" || other.Identity.Groups != nil {
			t.Errorf("%+v, err %v", other.Identity, err)
		}
	})
	t.Run("the answer to one request is none to another", func(t *testing.T) {
		first, second := begin(t, p), begin(t, p)
		_, body := b.get(first.URL)
		if _, err := p.Finish(t.Context(), flow(), second.Pending, reply(t, body)); !errors.Is(err, identity.ErrBadCredentials) {
			t.Errorf("err %v", err)
		}
	})
	t.Run("after signing out here the form is back", func(t *testing.T) {
		if status, body := b.post(s.URL()+"/logout", nil); status != http.StatusOK || !strings.Contains(body, "Nobody is signed in") {
			t.Errorf("%d %s", status, body)
		}
		if _, body := b.get(begin(t, p).URL); !strings.Contains(body, `name="password"`) {
			t.Errorf("no form: %s", body)
		}
	})
}

func TestThousandsOfGroupsStillSignIn(t *testing.T) {
	groups := make([]string, 2000)
	for i := range groups {
		groups[i] = "cn=group " + strings.Repeat("x", i%40) + ",ou=groups,dc=example"
	}
	s := start(t, func(o *Options) {
		o.People = []Person{{Username: "mira", Password: "mira-demo", Groups: groups}}
	})
	p := door(t, s)
	c := begin(t, p)
	a, err := p.Finish(t.Context(), flow(), c.Pending, newBrowser(t).signIn(s, c.URL, "mira", "mira-demo"))
	if err != nil || len(a.Identity.Groups) != len(groups) {
		t.Fatalf("%d groups, err %v", len(a.Identity.Groups), err)
	}
}

func TestCancelIsTheProvidersNo(t *testing.T) {
	s := start(t, nil)
	p := door(t, s)
	c := begin(t, p)
	b := newBrowser(t)
	_, body := b.get(c.URL)
	_, body = b.post(s.URL()+"/login", url.Values{"request": {field(t, body, "request")}, "cancel": {"1"}})
	answer := reply(t, body)
	_, err := p.Finish(t.Context(), flow(), c.Pending, answer)
	if identity.CodeOf(err) != "provider_refused" || !errors.Is(err, identity.ErrDenied) {
		t.Fatalf("err %v", err)
	}
	if got := parse(t, answer).FindElement("/Response/Status/StatusCode/StatusCode").SelectAttrValue("Value", ""); got != crewjam.StatusAuthnFailed {
		t.Errorf("status %q", got)
	}
}

func TestTheServiceProvidersMetadataIsFetchedAtTheFirstRequest(t *testing.T) {
	var fetched, failing atomic.Int32
	failing.Store(1)
	document := func(http.ResponseWriter, *http.Request) {}
	sp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched.Add(1)
		if failing.Load() == 1 {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		document(w, r)
	}))
	t.Cleanup(sp.Close)
	s := start(t, func(o *Options) {
		o.ServiceProvider = ServiceProvider{MetadataURL: strings.Replace(sp.URL, "127.0.0.1", "sso.localhost", 1) + "/saml/partner/metadata"}
	})
	p := door(t, s)
	document = func(w http.ResponseWriter, _ *http.Request) {
		out, err := p.ServiceMetadata(own, acs)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(out)
	}
	if fetched.Load() != 0 {
		t.Fatal("fetched before anybody asked")
	}
	b := newBrowser(t)
	if status, _ := b.get(begin(t, p).URL); status != http.StatusBadRequest {
		t.Fatalf("status %d while the service provider is not there", status)
	}
	failing.Store(0)
	c := begin(t, p)
	if _, err := p.Finish(t.Context(), flow(), c.Pending, b.signIn(s, c.URL, "mira", "mira-demo")); err != nil {
		t.Fatal(err)
	}
	b.get(begin(t, p).URL)
	if got := fetched.Load(); got != 2 {
		t.Errorf("fetched %d times, want once in vain and once for good", got)
	}
}

func TestMetadataOfAServiceProviderThatCannotBeServedIsRefused(t *testing.T) {
	const head = `<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="` + own + `">`
	endpoint := func(binding, location string) string {
		return `<md:AssertionConsumerService Binding="urn:oasis:names:tc:SAML:2.0:bindings:` + binding + `" Location="` + location + `" index="0"/>`
	}
	const role = `<md:SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">`
	const tail = `</md:SPSSODescriptor></md:EntityDescriptor>`
	for name, tc := range map[string]struct {
		document string
		ok       bool
	}{
		"one endpoint for POST":             {head + role + endpoint("HTTP-POST", acs) + tail, true},
		"no endpoint":                       {head + role + tail, false},
		"an endpoint for artifacts only":    {head + role + endpoint("HTTP-Artifact", acs) + tail, false},
		"an endpoint that is no web page":   {head + role + endpoint("HTTP-POST", "javascript:alert(1)") + tail, false},
		"no entity id":                      {strings.Replace(head, `entityID="`+own+`"`, "", 1) + role + endpoint("HTTP-POST", acs) + tail, false},
		"requests that want to be verified": {head + strings.Replace(role, ">", ` AuthnRequestsSigned="true">`, 1) + endpoint("HTTP-POST", acs) + tail, false},
		"something else":                    {"hello", false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := readMetadata([]byte(tc.document)); (err == nil) != tc.ok {
				t.Errorf("err %v", err)
			}
		})
	}
}

// request is one that nothing is wrong with, before it is changed.
func request(t *testing.T, s *Server, change func(*crewjam.AuthnRequest)) url.Values {
	t.Helper()
	r := &crewjam.AuthnRequest{
		ID: "_0123456789abcdef", Version: "2.0", IssueInstant: time.Now().UTC(), Destination: s.URL() + "/sso",
		ProtocolBinding: crewjam.HTTPPostBinding, AssertionConsumerServiceURL: acs,
		Issuer: &crewjam.Issuer{Value: own},
	}
	if change != nil {
		change(r)
	}
	doc := etree.NewDocument()
	doc.SetRoot(r.Element())
	raw, err := doc.WriteToBytes()
	if err != nil {
		t.Fatal(err)
	}
	return url.Values{"SAMLRequest": {deflated(t, raw)}, "RelayState": {"state"}}
}

func deflated(t testing.TB, raw []byte) string {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes())
}

func TestSML13_OnlyTheRegisteredServiceProviderIsAnswered(t *testing.T) {
	s := start(t, nil)
	for name, change := range map[string]func(*crewjam.AuthnRequest){
		"an unknown issuer":       func(r *crewjam.AuthnRequest) { r.Issuer.Value = "http://other.localhost/metadata" },
		"no issuer":               func(r *crewjam.AuthnRequest) { r.Issuer = &crewjam.Issuer{} },
		"a foreign endpoint":      func(r *crewjam.AuthnRequest) { r.AssertionConsumerServiceURL = "http://evil.example/acs" },
		"an endpoint that longer": func(r *crewjam.AuthnRequest) { r.AssertionConsumerServiceURL = acs + "/" },
		"a foreign index": func(r *crewjam.AuthnRequest) {
			r.AssertionConsumerServiceURL, r.AssertionConsumerServiceIndex = "", "7"
		},
		"no id":                 func(r *crewjam.AuthnRequest) { r.ID = "" },
		"another version":       func(r *crewjam.AuthnRequest) { r.Version = "1.1" },
		"another destination":   func(r *crewjam.AuthnRequest) { r.Destination = "http://127.0.0.1:1/sso" },
		"yesterday's":           func(r *crewjam.AuthnRequest) { r.IssueInstant = r.IssueInstant.Add(-24 * time.Hour) },
		"tomorrow's":            func(r *crewjam.AuthnRequest) { r.IssueInstant = r.IssueInstant.Add(24 * time.Hour) },
		"an answer by artifact": func(r *crewjam.AuthnRequest) { r.ProtocolBinding = crewjam.HTTPArtifactBinding },
	} {
		t.Run(name, func(t *testing.T) {
			status, body := newBrowser(t).get(s.URL() + "/sso?" + request(t, s, change).Encode())
			if status != http.StatusBadRequest || strings.Contains(body, "<form") {
				t.Errorf("%d %s", status, body)
			}
		})
	}
	t.Run("the unchanged one is taken", func(t *testing.T) {
		if status, _ := newBrowser(t).get(s.URL() + "/sso?" + request(t, s, nil).Encode()); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	})
}

func TestSML13_AMalformedRequestIsA400(t *testing.T) {
	s := start(t, nil)
	good := request(t, s, nil)
	for name, query := range map[string]url.Values{
		"nothing":               {},
		"no base64":             {"SAMLRequest": {"%%%"}},
		"not compressed":        {"SAMLRequest": {base64.StdEncoding.EncodeToString([]byte("<a/>"))}},
		"no XML":                {"SAMLRequest": {deflated(t, []byte("hello"))}},
		"another message":       {"SAMLRequest": {deflated(t, []byte(`<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"/>`))}},
		"an empty request":      {"SAMLRequest": {deflated(t, []byte(`<samlp:AuthnRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"/>`))}},
		"two requests":          {"SAMLRequest": {good.Get("SAMLRequest"), good.Get("SAMLRequest")}},
		"two states":            {"SAMLRequest": {good.Get("SAMLRequest")}, "RelayState": {"a", "b"}},
		"a state without end":   {"SAMLRequest": {good.Get("SAMLRequest")}, "RelayState": {strings.Repeat("x", maxState+1)}},
		"twelve megabytes of a": {"SAMLRequest": {deflated(t, bytes.Repeat([]byte("a"), 12<<20))}},
	} {
		t.Run(name, func(t *testing.T) {
			if status, body := newBrowser(t).get(s.URL() + "/sso?" + query.Encode()); status != http.StatusBadRequest {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}

func parse(t *testing.T, answer url.Values) *etree.Document {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(answer.Get("SAMLResponse"))
	if err != nil {
		t.Fatal(err)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestSML14_TheResponseSaysWhatItMustAndNothingOfThisMachine(t *testing.T) {
	s := start(t, nil)
	answer := newBrowser(t).signIn(s, s.URL()+"/sso?"+request(t, s, nil).Encode(), "mira", "mira-demo")
	doc := parse(t, answer)
	for _, path := range []string{"/Response", "/Response/Assertion"} {
		signature := doc.FindElement(path).ChildElements()[1]
		if signature.Tag != "Signature" {
			t.Fatalf("%s: %s stands after the Issuer", path, signature.Tag)
		}
		for inside, want := range map[string]string{
			"SignedInfo/SignatureMethod":        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
			"SignedInfo/Reference/DigestMethod": "http://www.w3.org/2001/04/xmlenc#sha256",
		} {
			if got := signature.FindElement(inside).SelectAttrValue("Algorithm", ""); got != want {
				t.Errorf("%s %s is %s", path, inside, got)
			}
		}
	}
	assertion := doc.FindElement("/Response/Assertion")
	name := assertion.FindElement("Subject/NameID")
	if name.SelectAttrValue("Format", "") != formatPersistent || name.SelectAttrValue("SPNameQualifier", "") != own || strings.Contains(name.Text(), "mira") {
		t.Errorf("NameID %s of %v", name.Text(), name.Attr)
	}
	data := assertion.FindElement("Subject/SubjectConfirmation/SubjectConfirmationData")
	end, err := time.Parse(time.RFC3339Nano, data.SelectAttrValue("NotOnOrAfter", ""))
	if err != nil || time.Until(end) > 5*time.Minute {
		t.Errorf("ends %v, err %v", end, err)
	}
	if data.SelectAttrValue("Recipient", "") != acs || data.SelectAttrValue("InResponseTo", "") != "_0123456789abcdef" {
		t.Errorf("confirmation %v", data.Attr)
	}
	if got := assertion.FindElement("Conditions/AudienceRestriction/Audience").Text(); got != own {
		t.Errorf("audience %q", got)
	}
	if assertion.FindElement("//SubjectLocality") != nil {
		t.Error("the browser's address is in the assertion")
	}
}

func TestSML14_RelayStateArrivesUnchangedAndInert(t *testing.T) {
	s := start(t, nil)
	query := request(t, s, nil)
	const state = `"><script>alert(1)</script>&amp;`
	query.Set("RelayState", state)
	b := newBrowser(t)
	_, body := b.get(s.URL() + "/sso?" + query.Encode())
	_, body = b.post(s.URL()+"/login", url.Values{
		"request": {field(t, body, "request")}, "username": {"mira"}, "password": {"mira-demo"},
	})
	if strings.Contains(body, "<script>") || reply(t, body).Get("RelayState") != state {
		t.Error(body)
	}
}

func TestTheFormIsAnsweredOnceByWhoeverKnowsThePassword(t *testing.T) {
	s := start(t, nil)
	b := newBrowser(t)
	_, body := b.get(s.URL() + "/sso?" + request(t, s, nil).Encode())
	handle := field(t, body, "request")
	try := func(username, password string) (int, string) {
		return b.post(s.URL()+"/login", url.Values{"request": {handle}, "username": {username}, "password": {password}})
	}
	for name, typed := range map[string][2]string{
		"a wrong password":    {"mira", "noel-demo"},
		"no password":         {"mira", ""},
		"an unknown name":     {"eve", ""},
		"markup for the name": {`"><script>`, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := try(typed[0], typed[1])
			if status != http.StatusUnauthorized || strings.Contains(body, "SAMLResponse") || strings.Contains(body, "><script>") {
				t.Errorf("%d %s", status, body)
			}
		})
	}
	if status, _ := try("mira", "mira-demo"); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if status, body := try("mira", "mira-demo"); status != http.StatusBadRequest || strings.Contains(body, "SAMLResponse") {
		t.Errorf("a second answer: %d", status)
	}
}

func TestTheFormIsOnlyOursToSend(t *testing.T) {
	s := start(t, nil)
	for _, path := range []string{"/login", "/logout"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+path, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Origin", "https://evil.example")
		if status, _, _ := newBrowser(t).do(r); status != http.StatusForbidden {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestWhatTheServiceProviderAsksForIsHonoured(t *testing.T) {
	s := start(t, nil)
	yes := true
	email := "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
	b := newBrowser(t)
	ask := func(change func(*crewjam.AuthnRequest)) string {
		_, body := b.get(s.URL() + "/sso?" + request(t, s, change).Encode())
		return body
	}
	detail := func(body string) string {
		return parse(t, reply(t, body)).FindElement("/Response/Status/StatusCode/StatusCode").SelectAttrValue("Value", "")
	}
	passive := func(r *crewjam.AuthnRequest) { r.IsPassive = &yes }
	if got := detail(ask(passive)); got != crewjam.StatusNoPassive {
		t.Errorf("passive while nobody is signed in: %s", got)
	}
	if got := detail(ask(func(r *crewjam.AuthnRequest) { r.NameIDPolicy = &crewjam.NameIDPolicy{Format: &email} })); got != crewjam.StatusInvalidNameIDPolicy {
		t.Errorf("a name that is an address: %s", got)
	}
	b.signIn(s, s.URL()+"/sso?"+request(t, s, nil).Encode(), "mira", "mira-demo")
	if body := ask(passive); !strings.Contains(body, "SAMLResponse") {
		t.Error("passive, and somebody is signed in: ", body)
	}
	if body := ask(func(r *crewjam.AuthnRequest) { r.ForceAuthn = &yes }); !strings.Contains(body, `name="password"`) {
		t.Error("forced: ", body)
	}
}

func TestMetadataPromisesOnlyWhatIsDone(t *testing.T) {
	s := start(t, nil)
	_, body := newBrowser(t).get(s.MetadataURL())
	var d crewjam.EntityDescriptor
	if err := xml.Unmarshal([]byte(body), &d); err != nil {
		t.Fatal(err)
	}
	role := d.IDPSSODescriptors[0]
	if d.EntityID != s.EntityID() || len(role.SingleSignOnServices) != 1 || len(role.KeyDescriptors) != 1 ||
		role.KeyDescriptors[0].Use != "signing" || role.NameIDFormats[0] != formatPersistent {
		t.Errorf("%s", body)
	}
}

func TestHeadersAreStrict(t *testing.T) {
	s := start(t, nil)
	for _, path := range []string{"/", "/style.css", "/post.js", "/metadata", "/sso"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, body, h := newBrowser(t).do(r)
		policy := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || h.Get("X-Frame-Options") != "DENY" ||
			h.Get("Cache-Control") != "no-store" || strings.Contains(body, "<style") || strings.Contains(body, " style=") {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func TestMistakesInTheOptionsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"an address others can reach":  func(o *Options) { o.Listen = "0.0.0.0:0" },
		"no address":                   func(o *Options) { o.Listen = "" },
		"a public url with a path":     func(o *Options) { o.PublicURL = "http://saml.localhost/x" },
		"somebody without a password":  func(o *Options) { o.People[1].Password = "" },
		"no service provider":          func(o *Options) { o.ServiceProvider = ServiceProvider{} },
		"a service provider twice":     func(o *Options) { o.ServiceProvider.MetadataURL = own },
		"an entity without an address": func(o *Options) { o.ServiceProvider.ACSURL = "" },
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Listen: "127.0.0.1:0", People: people(), ServiceProvider: ServiceProvider{EntityID: own, ACSURL: acs}}
			change(&o)
			if s, err := Start(t.Context(), o); err == nil {
				_ = s.Close()
				t.Error("started")
			}
		})
	}
}

func TestSessionsAndFormsEnd(t *testing.T) {
	now := time.Now()
	s := newState(func() time.Time { return now })
	secret, err := s.openSession(session{username: "mira"})
	if err != nil {
		t.Fatal(err)
	}
	handle, err := s.ask(&crewjam.IdpAuthnRequest{})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(questionLife)
	if s.asked(handle) {
		t.Error("the form is still open")
	}
	if _, ok := s.session(secret); !ok {
		t.Error("the session ended too soon")
	}
	now = now.Add(sessionLife)
	if _, ok := s.session(secret); ok {
		t.Error("the session never ends")
	}
	for range maxKept {
		if _, err := s.openSession(session{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.openSession(session{}); !errors.Is(err, errFull) {
		t.Errorf("err %v", err)
	}
	now = now.Add(2 * sessionLife)
	if _, err := s.openSession(session{}); err != nil {
		t.Errorf("err %v", err)
	}
}

func FuzzReadRequest(f *testing.F) {
	s, err := newServer(Options{Listen: "127.0.0.1:0", People: people(), ServiceProvider: ServiceProvider{EntityID: own, ACSURL: acs}})
	if err != nil {
		f.Fatal(err)
	}
	s.url = "http://127.0.0.1:1"
	if s.idp, err = newIdentityProvider(s.url, s.sp, s.now); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`<samlp:AuthnRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ` +
		`ID="_1" Version="2.0" IssueInstant="2026-05-06T12:00:00Z" AssertionConsumerServiceURL="` + acs + `"><saml:Issuer>` + own + `</saml:Issuer></samlp:AuthnRequest>`))
	f.Add([]byte(`<samlp:AuthnRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"/>`))
	s.now = func() time.Time { return time.Date(2026, 5, 6, 12, 0, 1, 0, time.UTC) }
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := httptest.NewRequest(http.MethodGet, "/sso?"+url.Values{"SAMLRequest": {deflated(t, raw)}}.Encode(), nil)
		q, err := s.readRequest(r)
		if err != nil {
			return
		}
		if q.ACSEndpoint.Location != acs || q.ServiceProviderMetadata.EntityID != own || q.Request.ID == "" {
			t.Errorf("taken: %s", raw)
		}
	})
}
