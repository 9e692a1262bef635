package idp

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/identity"
	"sallyport/providers"
	"sallyport/providers/oidc"
)

const (
	callback  = "http://127.0.0.1:9/callback/contoso"
	afterward = "http://127.0.0.1:9/signed-out"
	flowID    = "a-state-with-more-than-128-bits"
	secret    = "demo client/secret+1"
)

type clock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

func start(t *testing.T) (*Server, *clock) {
	t.Helper()
	c := &clock{}
	s, err := Start(context.Background(), Options{
		Listen: "127.0.0.1:0",
		People: []Person{
			{Username: "alice", Name: "Alice Example", Email: "alice@contoso.test", Password: "alice-demo", Groups: []string{"soc-admins"}},
			{Username: "bob", Name: "Bob <b>Example</b>", Password: "bob-demo"},
		},
		Clients: []Client{
			{ID: "sallyport", Secret: secret, RedirectURIs: []string{callback}, PostLogoutRedirectURIs: []string{afterward}},
			{ID: "public", RedirectURIs: []string{callback + "?kept=1"}},
		},
		Now: c.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, c
}

func open(t *testing.T, s *Server, c oidc.Config) *oidc.Provider {
	t.Helper()
	c.Issuer = s.Issuer()
	p, err := c.Open(context.Background(), "contoso", "", providers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return p.(*oidc.Provider)
}

func confidential() oidc.Config {
	return oidc.Config{
		ClientID: "sallyport", ClientSecret: identity.NewSecret(secret),
		Scopes: []string{"openid", "profile", "email", "groups", "offline_access"},
	}
}

// browser stops at the application's address.
type browser struct {
	t      *testing.T
	client *http.Client
	last   *url.URL // where it was sent outside
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t}
	b.client = &http.Client{Jar: jar, Timeout: 10 * time.Second, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Port() == "9" {
			b.last = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return b
}

func (b *browser) read(resp *http.Response, err error) (int, string) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (b *browser) get(address string) (int, string) {
	b.t.Helper()
	b.last = nil
	return b.read(b.client.Get(address))
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// submit posts the page's hidden fields and more.
func (b *browser) submit(address, page string, more url.Values) (int, string) {
	b.t.Helper()
	form := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(page, -1) {
		form.Set(m[1], strings.NewReplacer("&#43;", "+", "&amp;", "&").Replace(m[2]))
	}
	for k, v := range more {
		form[k] = v
	}
	b.last = nil
	return b.read(b.client.PostForm(address, form))
}

func flow() providers.Flow { return providers.Flow{ID: flowID, CallbackURL: callback} }

// signIn goes all the way through the form.
func signIn(t *testing.T, s *Server, p *oidc.Provider, username, password string) (identity.Assertion, error) {
	t.Helper()
	challenge, err := p.Begin(context.Background(), flow())
	if err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	_, page := b.get(challenge.URL)
	status, body := b.submit(s.Issuer()+"/authorize", page, url.Values{"username": {username}, "password": {password}})
	if b.last == nil {
		t.Fatalf("not sent back: %d %s", status, body)
	}
	return p.Finish(context.Background(), flow(), challenge.Pending, b.last.Query())
}

func TestSignInThroughOurOwnDoor(t *testing.T) {
	s, _ := start(t)
	p := open(t, s, confidential())
	if err := p.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	a, err := signIn(t, s, p, "alice", "alice-demo")
	if err != nil {
		t.Fatal(err)
	}
	got := a.Identity
	want := identity.Identity{
		Provider: "contoso", Subject: subjectOf("alice"), Username: "alice", Name: "Alice Example",
		Email: "alice@contoso.test", EmailVerified: true, Groups: []string{"soc-admins"}, AMR: []string{"pwd"},
		AuthTime: got.AuthTime, Attributes: got.Attributes,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if a.UpstreamSession == "" || time.Since(got.AuthTime) > time.Minute {
		t.Errorf("sid %q, auth_time %v", a.UpstreamSession, got.AuthTime)
	}

	fresh, err := p.Refresh(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a.Identity, fresh.Identity); diff != "" {
		t.Error(diff)
	}
	if _, err := p.Refresh(context.Background(), a); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("an old refresh token: %v", err)
	}
	if _, err := p.Refresh(context.Background(), fresh); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("its family after the reuse: %v", err)
	}
}

func TestClientsOfEveryKindSignIn(t *testing.T) {
	s, _ := start(t)
	post := confidential()
	post.ClientAuth = "post"
	if a, err := signIn(t, s, open(t, s, post), "bob", "bob-demo"); err != nil || a.Identity.EmailVerified || len(a.Identity.Groups) != 0 {
		t.Errorf("post: %v, %+v", err, a.Identity)
	}
	wrong := confidential()
	wrong.ClientSecret = identity.NewSecret("wrong")
	if _, err := signIn(t, s, open(t, s, wrong), "bob", "bob-demo"); identity.CodeOf(err) != "provider_misconfigured" {
		t.Errorf("a wrong secret: %v", err)
	}
	p := open(t, s, oidc.Config{ClientID: "public"})
	f := providers.Flow{ID: flowID, CallbackURL: callback + "?kept=1"}
	challenge, err := p.Begin(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	_, page := b.get(challenge.URL)
	b.submit(s.Issuer()+"/authorize", page, url.Values{"username": {"alice"}, "password": {"alice-demo"}})
	if b.last == nil || b.last.Query().Get("kept") != "1" {
		t.Fatalf("sent to %v", b.last)
	}
	reply := b.last.Query()
	reply.Del("kept")
	if _, err := p.Finish(context.Background(), f, challenge.Pending, reply); err != nil {
		t.Errorf("public: %v", err)
	}
}

func TestCodesAreUsedOnceAndSoon(t *testing.T) {
	s, c := start(t)
	p := open(t, s, confidential())
	for _, wait := range []time.Duration{0, codeLife + time.Second} {
		challenge, err := p.Begin(context.Background(), flow())
		if err != nil {
			t.Fatal(err)
		}
		b := newBrowser(t)
		_, page := b.get(challenge.URL)
		b.submit(s.Issuer()+"/authorize", page, url.Values{"username": {"alice"}, "password": {"alice-demo"}})
		reply := b.last.Query()
		if wait == 0 {
			a, err := p.Finish(context.Background(), flow(), challenge.Pending, reply)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Finish(context.Background(), flow(), challenge.Pending, reply); !errors.Is(err, identity.ErrExpired) {
				t.Errorf("twice: %v", err)
			}
			if _, err := p.Refresh(context.Background(), a); !errors.Is(err, identity.ErrNotFound) {
				t.Errorf("tokens of a code that was used twice: %v", err)
			}
			continue
		}
		c.advance(wait)
		if _, err := p.Finish(context.Background(), flow(), challenge.Pending, reply); !errors.Is(err, identity.ErrExpired) {
			t.Errorf("late: %v", err)
		}
	}
}

func TestASignedInBrowserIsNotAskedAgainUnlessTheRequestSaysSo(t *testing.T) {
	s, _ := start(t)
	p := open(t, s, confidential())
	b := newBrowser(t)
	challenge, err := p.Begin(context.Background(), flow())
	if err != nil {
		t.Fatal(err)
	}
	_, page := b.get(challenge.URL)
	status, page := b.submit(s.Issuer()+"/authorize", page, url.Values{"username": {"alice"}, "password": {"wrong"}})
	if status != http.StatusUnauthorized || b.last != nil || !strings.Contains(page, `role="alert"`) || !strings.Contains(page, `value="alice"`) {
		t.Fatalf("a wrong password: %d, sent to %v", status, b.last)
	}
	b.submit(s.Issuer()+"/authorize", page, url.Values{"username": {"alice"}, "password": {"alice-demo"}})
	if b.last == nil {
		t.Fatal("the form did not carry the request on")
	}
	if b.get(challenge.URL); b.last == nil || b.last.Query().Get("code") == "" {
		t.Error("a signed-in browser is asked again")
	}
	for _, more := range []string{"&prompt=login", "&max_age=0"} {
		if b.get(challenge.URL + more); b.last != nil {
			t.Errorf("%s: no form", more)
		}
	}
	b.get(challenge.URL + "&prompt=none")
	if b.last.Query().Get("code") == "" {
		t.Error("prompt=none with a session gives no code")
	}
	other := newBrowser(t)
	other.get(challenge.URL + "&prompt=none")
	if got := other.last.Query().Get("error"); got != "login_required" {
		t.Errorf("prompt=none without a session: %q", got)
	}
	_, page = other.get(challenge.URL)
	other.submit(s.Issuer()+"/authorize", page, url.Values{"cancel": {"1"}})
	if _, err := p.Finish(context.Background(), flow(), challenge.Pending, other.last.Query()); !errors.Is(err, identity.ErrDenied) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestAuthorizationRequestsThatAreRefused(t *testing.T) {
	s, _ := start(t)
	good := url.Values{
		"client_id": {"sallyport"}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid"},
		"state": {flowID}, "code_challenge": {strings.Repeat("a", 43)}, "code_challenge_method": {"S256"},
	}
	onPage := map[string]func(url.Values){
		"an unknown client":            func(v url.Values) { v.Set("client_id", "<script>") },
		"a redirect uri of nobody":     func(v url.Values) { v.Set("redirect_uri", callback+"/") },
		"another client's":             func(v url.Values) { v.Set("redirect_uri", callback+"?kept=1") },
		"a parameter that comes twice": func(v url.Values) { v.Add("state", "x") },
	}
	toClient := map[string]struct {
		change func(url.Values)
		code   string
	}{
		"no PKCE":    {func(v url.Values) { v.Del("code_challenge") }, "invalid_request"},
		"plain PKCE": {func(v url.Values) { v.Set("code_challenge_method", "plain") }, "invalid_request"},
		"the implicit flow": {
			func(v url.Values) { v.Set("response_type", "id_token token") }, "unsupported_response_type",
		},
		"a form post":      {func(v url.Values) { v.Set("response_mode", "form_post") }, "invalid_request"},
		"no openid":        {func(v url.Values) { v.Set("scope", "profile") }, "invalid_scope"},
		"a request object": {func(v url.Values) { v.Set("request", "x") }, "request_not_supported"},
		"a request uri":    {func(v url.Values) { v.Set("request_uri", "x") }, "request_uri_not_supported"},
		"an odd max_age":   {func(v url.Values) { v.Set("max_age", "-1") }, "invalid_request"},
	}
	b := newBrowser(t)
	for name, change := range onPage {
		v := clone(good)
		change(v)
		status, page := b.get(s.Issuer() + "/authorize?" + v.Encode())
		if status != http.StatusBadRequest || b.last != nil || strings.Contains(page, "<script>") {
			t.Errorf("%s: %d, sent to %v", name, status, b.last)
		}
	}
	for name, test := range toClient {
		v := clone(good)
		test.change(v)
		b.get(s.Issuer() + "/authorize?" + v.Encode())
		if b.last == nil {
			t.Errorf("%s: not sent back", name)
			continue
		}
		q := b.last.Query()
		if q.Get("error") != test.code || q.Get("state") != flowID || q.Get("iss") != s.Issuer() {
			t.Errorf("%s: sent back with %v", name, q)
		}
	}
}

func clone(v url.Values) url.Values {
	out := url.Values{}
	for k, l := range v {
		out[k] = append([]string(nil), l...)
	}
	return out
}

func TestTokenRequestsThatAreRefused(t *testing.T) {
	s, _ := start(t)
	tests := map[string]struct {
		form   url.Values
		basic  bool
		status int
		code   string
	}{
		"no client":           {url.Values{"grant_type": {"authorization_code"}}, false, 401, "invalid_client"},
		"two ways at once":    {url.Values{"client_secret": {secret}}, true, 400, "invalid_request"},
		"two clients at once": {url.Values{"client_id": {"public"}}, true, 400, "invalid_request"},
		"a password grant":    {url.Values{"grant_type": {"password"}}, true, 400, "unsupported_grant_type"},
		"an unknown code": {
			url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}, true, 400, "invalid_grant",
		},
		"a code twice": {url.Values{"code": {"x", "y"}}, true, 400, "invalid_request"},
		"a secret for the public client": {
			url.Values{"client_id": {"public"}, "client_secret": {"x"}}, false, 401, "invalid_client",
		},
	}
	for name, test := range tests {
		req, err := http.NewRequest(http.MethodPost, s.Issuer()+"/token", strings.NewReader(test.form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if test.basic {
			req.SetBasicAuth("sallyport", url.QueryEscape(secret))
		}
		b := newBrowser(t)
		status, body := b.read(b.client.Do(req))
		if status != test.status || !strings.Contains(body, `"`+test.code+`"`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

func TestACodeIsBoundToVerifierClientAndAddress(t *testing.T) {
	s, _ := start(t)
	p := open(t, s, confidential())
	for name, change := range map[string]func(url.Values){
		"verifier": func(v url.Values) { v.Set("code_verifier", strings.Repeat("v", 43)) },
		"address":  func(v url.Values) { v.Set("redirect_uri", callback+"?kept=1") },
		"client":   func(v url.Values) { v.Set("client_id", "public"); v.Del("client_secret") },
	} {
		b := newBrowser(t)
		verifier := strings.Repeat("w", 50)
		challenge, err := p.Begin(context.Background(), flow())
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(challenge.URL)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set("code_challenge", s256(verifier))
		u.RawQuery = q.Encode()
		_, page := b.get(u.String())
		b.submit(s.Issuer()+"/authorize", page, url.Values{"username": {"alice"}, "password": {"alice-demo"}})
		form := url.Values{
			"grant_type": {"authorization_code"}, "code": {b.last.Query().Get("code")}, "redirect_uri": {callback},
			"code_verifier": {verifier}, "client_id": {"sallyport"}, "client_secret": {secret},
		}
		bent := clone(form)
		change(bent)
		if status, body := b.read(b.client.PostForm(s.Issuer()+"/token", bent)); status != 400 || !strings.Contains(body, "invalid_grant") {
			t.Errorf("another %s: %d %s", name, status, body)
		}
		if status, _ := b.read(b.client.PostForm(s.Issuer()+"/token", form)); status != 400 {
			t.Errorf("another %s: the failed try did not spend the code", name)
		}
	}
}

func TestPagesAreClosedToOtherSites(t *testing.T) {
	s, _ := start(t)
	req, err := http.NewRequest(http.MethodPost, s.Issuer()+"/authorize", strings.NewReader("username=alice"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b := newBrowser(t)
	if status, _ := b.read(b.client.Do(req)); status != http.StatusForbidden {
		t.Errorf("a cross-site form: %d", status)
	}
	for _, path := range []string{"/", "/style.css", "/jwks", "/logout"} {
		resp, err := b.client.Get(s.Issuer() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s: %d, %v", path, resp.StatusCode, resp.Header)
		}
	}
	if status, _ := b.get(s.Issuer() + "/userinfo"); status != http.StatusUnauthorized {
		t.Errorf("userinfo without a token: %d", status)
	}
}

func TestLogoutEndsTheSessionAndReturnsToRegisteredAddressesOnly(t *testing.T) {
	s, _ := start(t)
	hint, err := s.signer.sign(map[string]any{"iss": s.Issuer(), "aud": "sallyport", "sub": "x"})
	if err != nil {
		t.Fatal(err)
	}
	query := func(hint, target string) string {
		return s.Issuer() + "/logout?" + url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {target}, "state": {"s"}}.Encode()
	}
	b := newBrowser(t)
	if b.get(query(hint, afterward)); b.last == nil || b.last.String() != afterward+"?state=s" {
		t.Errorf("with a hint: sent to %v", b.last)
	}
	for name, address := range map[string]string{
		"a foreign address": query(hint, "http://127.0.0.1:9/elsewhere"), "a forged hint": query(hint[:len(hint)-6]+"AAAAAA", afterward),
		"no hint": query("", afterward),
	} {
		status, page := b.get(address)
		if status != http.StatusOK || b.last != nil || !strings.Contains(page, "Do you want to sign out") {
			t.Errorf("%s: %d, sent to %v", name, status, b.last)
		}
	}

	p := open(t, s, confidential())
	challenge, err := p.Begin(context.Background(), flow())
	if err != nil {
		t.Fatal(err)
	}
	_, page := b.get(challenge.URL)
	b.submit(s.Issuer()+"/authorize", page, url.Values{"username": {"alice"}, "password": {"alice-demo"}})
	_, page = b.get(s.Issuer() + "/logout")
	if status, page := b.submit(s.Issuer()+"/logout", page, nil); status != http.StatusOK || !strings.Contains(page, "signed out") {
		t.Errorf("confirmed: %d", status)
	}
	if b.get(challenge.URL); b.last != nil {
		t.Error("the session outlived the sign-out")
	}
}

func TestStartRefusesWhatIsNotADemo(t *testing.T) {
	for name, o := range map[string]Options{
		"every interface":               {Listen: "0.0.0.0:0"},
		"a host name":                   {Listen: "example.test:0"},
		"no port":                       {Listen: "127.0.0.1"},
		"a public url with a path":      {Listen: "127.0.0.1:0", PublicURL: "http://idp.localhost/x"},
		"a public url that is none":     {Listen: "127.0.0.1:0", PublicURL: "idp.localhost"},
		"a person without a password":   {Listen: "127.0.0.1:0", People: []Person{{Username: "x"}}},
		"a client without redirect uri": {Listen: "127.0.0.1:0", Clients: []Client{{ID: "x"}}},
	} {
		if s, err := Start(context.Background(), o); err == nil {
			_ = s.Close()
			t.Errorf("%s: started", name)
		}
	}
}

func TestTheServerEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s, err := Start(ctx, Options{Listen: "127.0.0.1:0", PublicURL: "http://idp.localhost:8444/"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Issuer() != "http://idp.localhost:8444" {
		t.Errorf("issuer %q", s.Issuer())
	}
	cancel()
	<-s.http.Done()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return encode(sum[:])
}
