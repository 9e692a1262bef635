package web_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/internal/mail"
	"sallyport/internal/testenv"
	"sallyport/providers"
	"sallyport/web"
	"sallyport/web/static"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// postal sends codes over a real socket, as the program does.
type postal struct {
	words  *templates.Renderer
	sender *mail.Sender
}

func (p postal) SendCode(ctx context.Context, m broker.CodeMail) error {
	subject, text, err := p.words.CodeMail(m.Language, templates.CodeMail{
		Code: m.Code, Name: m.Name, Address: m.Address, Application: m.Application, Key: m.Key, Minutes: m.Minutes,
	})
	if err != nil {
		return err
	}
	return p.sender.Send(ctx, mail.Message{To: m.To, Subject: subject, Text: text})
}

// mailHouse is a house with a mail server where sign-ins are confirmed by e-mail.
func mailHouse(t testing.TB, p plan) (*house, *testenv.SMTPServer) {
	t.Helper()
	ca := testenv.NewCA(t)
	cert := ca.Server(t)
	server := testenv.SMTP(t, testenv.SMTPOptions{Certificate: &cert, Username: "sso", Password: "mail secret"})
	sender, err := mail.New(mail.Options{
		Host: server.Host, Port: server.Port, Roots: ca.PEM, Username: "sso", Password: "mail secret",
		From: "Sign-in <sso@house.example>",
	})
	if err != nil {
		t.Fatal(err)
	}
	words, err := templates.New(templates.Options{Static: static.URL})
	if err != nil {
		t.Fatal(err)
	}
	p.proxies = loopback()
	h := build(t, p)
	snap := h.broker.Current()
	snap.SelfApplication.ConfirmByEmail = true
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.broker = broker.New(broker.Options{
		Store: h.store, Log: log, Now: h.clock.now, Node: "post", Mailer: postal{words, sender},
	})
	if _, err := h.broker.Load(t.Context(), snap); err != nil {
		t.Fatal(err)
	}
	keys, err := h.broker.WebKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	spelled := profile()
	spelled.Routes["confirm"] = "/confirm"
	maps.Copy(spelled.Request, map[string]string{"verification_id": "verification_id", "code": "code"})
	spelled.Reply["verification_id"] = "verification_id"
	h.handler = web.New(&wire.House{
		Broker: h.broker, Log: log, Now: h.clock.now, Pages: words, HostPages: words,
		Flows: wire.NewFlows(keys, h.clock.now), Guard: wire.NewGuard(keys.CSRF), TrustedProxies: p.proxies,
	}, spelled)
	h.server = httptest.NewServer(http.HandlerFunc(h.front))
	t.Cleanup(h.server.Close)
	h.poll()
	return h, server
}

var eightDigits = regexp.MustCompile(`(?m)^ {4}([0-9]{8})$`)

// codeIn reads the code from the next e-mail.
func codeIn(t testing.TB, s *testenv.SMTPServer) string {
	t.Helper()
	m := s.Next(t)
	found := eightDigits.FindStringSubmatch(m.Text)
	if found == nil || !m.TLS || m.User != "sso" {
		t.Fatalf("no code in an e-mail as it should be: %+v", m)
	}
	return found[1]
}

// enter types a code into the page.
func (b *browser) enter(p *page, code string) *page {
	b.t.Helper()
	return b.submit(p, "/login/confirm", field("code", code))
}

func otherCode(code string) string {
	if strings.HasPrefix(code, "9") {
		return "0" + code[1:]
	}
	return "9" + code[1:]
}

func TestLOC07_ASignInIsConfirmedFromAMailbox(t *testing.T) {
	h, post := mailHouse(t, plan{})
	b := h.browser()
	b.language = "de"
	p := b.signIn(b.visit("http://app.localhost/hosts?x=1"), "lena")
	if p.url.Path != "/login/confirm" || b.cookie() != "" {
		t.Fatalf("after the password: %d at %s, cookie %q", p.status, p.url, b.cookie())
	}
	p.shows("l***@house.example", "Host manager", "Code aus der E-Mail", `autocomplete="one-time-code"`, `inputmode="numeric"`)
	if q := b.visit("/me"); q.url.Path != "/login" {
		t.Fatalf("opens without the code: %s", q.url)
	}
	m := post.Next(t)
	if m.To[0] != "lena@house.example" || m.Subject != "Ihr Code für Test house" || !strings.Contains(m.Text, "Guten Tag Lena,") {
		t.Fatalf("mail: %+v", m)
	}
	code := eightDigits.FindStringSubmatch(m.Text)[1]
	b.enter(p, otherCode(code)).want(401, "code_wrong").shows("nicht der Code")
	if end := b.enter(p, code[:4]+" "+code[4:]); end.url.Host != appHost || end.url.RequestURI() != "/hosts?x=1" {
		t.Fatalf("ends at %s: %s", end.url, end.body)
	}
	b.visit("/me").want(200, "").shows("Lena")
	if flows := b.flows(issuerHost); len(flows) > 1 { // the one of the visit to /me without the code
		t.Errorf("flows left: %v", flows)
	}
	for name, where := range map[string]string{"log": h.log.String(), "store": h.dump()} {
		if strings.Contains(where, code) {
			t.Errorf("the %s holds the code", name)
		}
	}
}

func TestLOC07_ACodeIsGoodInTheBrowserThatAskedOnly(t *testing.T) {
	h, post := mailHouse(t, plan{})
	b, thief := h.browser(), h.browser()
	mine := b.signIn(b.visit("/login"), "lena")
	code := codeIn(t, post)
	thief.post("/login/confirm", mine.form("/login/confirm", field("code", code))).want(401, "flow_unknown")
	if p := thief.visit(mine.url.String()); p.url.Path != "/login" {
		t.Errorf("another browser sees the page: %s", p.url)
	}
	theirs := thief.signIn(thief.visit("/login"), "lena")
	codeIn(t, post)
	thief.enter(theirs, code).want(401, "code_wrong")
	b.enter(mine, code).want(200, "").shows("Lena")
	// Back, and the button again: the browser has arrived.
	b.enter(mine, code).want(200, "").shows("Lena")
}

func TestLOC07_TheFourthWrongCodeIsRefusedUnseen_Page(t *testing.T) {
	h, post := mailHouse(t, plan{})
	b := h.browser()
	p := b.signIn(b.visit("/login"), "lena")
	code := codeIn(t, post)
	for range 3 {
		p = b.enter(p, otherCode(code)).want(401, "code_wrong")
	}
	p = b.enter(p, code).want(429, "too_many_codes").shows("Too many codes")
	if p.header.Get("Retry-After") == "" {
		t.Error("nobody says when to come back")
	}
	if b.cookie() != "" {
		t.Error("a cookie all the same")
	}
}

func TestConfirm_AnotherCodeIsSentAndTheOneBeforeIsOver(t *testing.T) {
	h, post := mailHouse(t, plan{})
	b := h.browser()
	p := b.signIn(b.visit("/login"), "lena")
	first := codeIn(t, post)
	p = b.submit(p, "/login/confirm/again", nil).want(200, "").shows("Another code is on its way")
	second := codeIn(t, post)
	b.enter(p, first).want(401, "code_wrong")
	b.enter(p, second).want(200, "").shows("Lena")
	for range 5 {
		again := h.browser()
		again.signIn(again.visit("/login"), "lena")
		codeIn(t, post)
	}
	last := h.browser()
	last.signIn(last.visit("/login"), "lena").want(429, "too_many_codes")
	post.None(t)
	// DOS-05: a browser that confirmed a sign-in of hers before has a share of its own.
	p = b.signIn(b.visit("/login?choose=1"), "lena")
	b.enter(p, codeIn(t, post)).want(200, "").shows("Lena")
}

func TestConfirm_ACodeDoesNotLiveForever(t *testing.T) {
	h, post := mailHouse(t, plan{})
	b := h.browser()
	p := b.signIn(b.visit("/login"), "lena")
	code := codeIn(t, post)
	h.clock.advance(10*time.Minute + time.Second)
	h.poll()
	b.enter(p, code).want(401, "flow_unknown")
}

func TestConfirm_OfAProvidersSignInToo(t *testing.T) {
	h, post := mailHouse(t, plan{doors: func(h *house) []providers.Provider {
		return []providers.Provider{
			&keeper{h: h, id: "local"}, &upstream{h: h, id: "idp-a", kind: "oidc"},
			&posting{upstream{h: h, id: "saml-a", kind: "saml"}},
		}
	}})
	t.Run("by redirect", func(t *testing.T) {
		h.codes["alice"] = identity.Identity{
			Subject: "a-1", Username: "alice", Name: "Alice Ahlborn", Email: "alice@partner.example", EmailVerified: true,
			Groups: []string{"operator"},
		}
		b := h.browser()
		p := b.viaProvider(b.visit("/login?choose=1"), "idp-a", "alice")
		if p.url.Path != "/login/confirm" {
			t.Fatalf("%d at %s", p.status, p.url)
		}
		b.enter(p, codeIn(t, post)).want(200, "").shows("Alice Ahlborn")
	})
	t.Run("by a form from another site, and the session of before ends", func(t *testing.T) {
		b := h.browser()
		b.enter(b.signIn(b.visit("/login"), "lena"), codeIn(t, post)).want(200, "")
		old := b.copy()
		h.codes["sam"] = identity.Identity{
			Subject: "s-1", Username: "sam", Name: "Sam Sommer", Email: "sam@contoso.example", EmailVerified: true, Groups: []string{"viewer"},
		}
		acs, form := b.leaves("saml-a", "sam")
		p := b.postFrom(samlSite, acs, form)
		if p.url.Path != "/login/confirm" {
			t.Fatalf("%d at %s", p.status, p.url)
		}
		old.get("/me").want(200, "") // nothing ends before the code
		b.enter(p, codeIn(t, post)).want(200, "").shows("Sam Sommer")
		if q := old.visit("/me"); q.url.Path != "/login" {
			t.Errorf("SES-02: the old cookie opens %s", q.url)
		}
	})
	t.Run("an address that the provider does not vouch for gets no code", func(t *testing.T) {
		h.codes["nora"] = identity.Identity{
			Subject: "n-1", Username: "nora", Email: "nora@partner.example", Groups: []string{"viewer"},
		}
		b := h.browser()
		b.viaProvider(b.visit("/login?choose=1"), "idp-a", "nora").want(403, "email_missing")
		post.None(t)
	})
	t.Run("who has no address is told so", func(t *testing.T) {
		b := h.browser()
		b.viaProvider(b.visit("/login?choose=1"), "idp-a", "omar").want(403, "email_missing").shows("no address of yours")
	})
}

func TestSES02_AConfirmedStepUpReplacesTheSession(t *testing.T) {
	h, post := mailHouse(t, plan{})
	b := h.browser()
	b.enter(b.signIn(b.visit("/login"), "lena"), codeIn(t, post)).want(200, "")
	old := b.copy()
	p := b.signIn(b.visit("/login?choose=1"), "lena")
	code := codeIn(t, post)
	b.enter(p, otherCode(code)).want(401, "code_wrong")
	old.get("/me").want(200, "")
	b.enter(p, code).want(200, "")
	if old.cookie() == b.cookie() {
		t.Fatal("the cookie is the same")
	}
	if q := old.visit("/me"); q.url.Path != "/login" {
		t.Errorf("the old cookie opens %s", q.url)
	}
}

func TestConfirm_AMailServerThatIsAwayIsSaidSo(t *testing.T) {
	h := build(t, plan{proxies: loopback()})
	h.broker.Current().SelfApplication.ConfirmByEmail = true
	b := h.browser()
	b.signIn(b.visit("/login"), "lena").want(503, "mail_unavailable").shows("could not send you the e-mail")
	if b.cookie() != "" {
		t.Error("a cookie all the same")
	}
}

func TestConfirm_TheFormOfAnotherSiteIsRefused(t *testing.T) {
	h, post := mailHouse(t, plan{})
	b := h.browser()
	p := b.signIn(b.visit("/login"), "lena")
	codeIn(t, post)
	for _, path := range []string{"/login/confirm", "/login/confirm/again"} {
		b.postFrom("https://evil.example", issuer+path, p.form(path, nil)).want(403, "csrf")
	}
	b.post("/login/confirm", url.Values{"flow": {"nobody's"}, "code": {"1"}}).want(401, "flow_unknown")
	plain := h.browser().visit("/login") // a flow that waits for nothing
	h2 := h.browser()
	h2.jar = map[string]map[string]string{}
	h2.post("/login/confirm", url.Values{"flow": plain.form("/login", nil)["flow"], "code": {"1"}}).want(401, "flow_unknown")
	if q := b.visit("/login/confirm?flow=nothing"); q.url.Path != "/login" {
		t.Errorf("a page for nothing: %s", q.url)
	}
	post.None(t)
}

func TestKEY03_AKeyIsConfirmedOnThePage(t *testing.T) {
	h, post := mailHouse(t, plan{})
	h.broker.Current().SelfApplication.ConfirmByEmail = false
	h.broker.Current().Keys.ConfirmByEmail = true
	b := h.signedIn("lena")
	p := b.submit(b.visit("/me"), "/me/keys/create", url.Values{"name": {"nightly"}, "days": {"30"}, "role": {"viewer"}, "application": {broker.Self}})
	p.want(201, "").shows("Confirm the new key", "Not confirmed")
	key := regexp.MustCompile(`sp_[a-z2-7]{26}_[a-z2-7]+`).FindString(p.body)
	code := codeIn(t, post)
	try := func() int {
		program := h.program()
		r := program.request(http.MethodGet, "/api/auth/me", nil)
		r.Header.Set("X-Api-Key", key)
		return program.do(r).status
	}
	if s := try(); s != http.StatusUnauthorized {
		t.Fatalf("a key that waits: %d", s)
	}
	p = b.submit(p, "/me/keys/confirm", field("code", otherCode(code))).want(401, "code_wrong")
	if strings.Contains(p.body, key) {
		t.Error("the key is shown again")
	}
	b.submit(p, "/me/keys/confirm", field("code", code)).want(200, "").shows("The key is confirmed")
	if s := try(); s != http.StatusOK {
		t.Fatalf("a confirmed key: %d", s)
	}
}

func TestLOC07_AnAPIsSignInIsConfirmedByWhomItAnswered(t *testing.T) {
	h, post := mailHouse(t, plan{})
	call := func(method, path, bearer string, body map[string]string) (int, map[string]any) {
		t.Helper()
		program := h.program()
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r := program.request(method, path, strings.NewReader(string(raw)))
		r.Header.Set("Content-Type", "application/json")
		if bearer != "" {
			r.Header.Set("Authorization", "Bearer "+bearer)
		}
		p := program.do(r)
		var out map[string]any
		if err := json.Unmarshal([]byte(p.body), &out); err != nil {
			t.Fatalf("%s %s: %d %s", method, path, p.status, p.body)
		}
		return p.status, out
	}
	login := func(name string) (id, token string) {
		t.Helper()
		status, out := call(http.MethodPost, "/api/auth/login", "", map[string]string{"username": name, "password": password(name)})
		id, _ = out["verification_id"].(string)
		token, _ = out["access_token"].(string)
		if status != http.StatusAccepted || id == "" || out["refresh_token"] != nil || out["user"] != nil ||
			out["token_type"] != "Bearer" || out["expires_in"] != 600.0 {
			t.Fatalf("sign-in: %d %v", status, out)
		}
		// No JWT: whoever verifies those by the JWK set would take it before the code.
		if !regexp.MustCompile(`^sppc_[A-Za-z0-9_-]{43}$`).MatchString(token) {
			t.Fatalf("waits with %q", token)
		}
		return id, token
	}
	id, token := login("lena")
	code := codeIn(t, post)
	_, other := login("vera")
	codeIn(t, post)
	if status, _ := call(http.MethodGet, "/api/auth/me", token, nil); status != http.StatusUnauthorized {
		t.Fatalf("a token that waits opens: %d", status)
	}
	confirm := func(bearer, code string) (int, map[string]any) {
		t.Helper()
		return call(http.MethodPost, "/api/auth/confirm", bearer, map[string]string{"verification_id": id, "code": code})
	}
	for name, c := range map[string]struct {
		bearer, code string
		status       int
		want         string
	}{
		"without a token":         {"", code, 401, "unauthenticated"},
		"with a token of nobody":  {"x.y.z", code, 401, "credential_invalid"},
		"with somebody else's":    {other, code, 401, "code_expired"},
		"with another code":       {token, otherCode(code), 401, "code_wrong"},
		"with no code whatsoever": {token, "", 401, "code_wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			if status, out := confirm(c.bearer, c.code); status != c.status || out["code"] != c.want {
				t.Errorf("%d %v", status, out)
			}
		})
	}
	id, token = login("root")
	status, out := confirm(token, codeIn(t, post))
	if status != http.StatusOK || out["refresh_token"] == nil || out["access_token"] == nil {
		t.Fatalf("%d %v", status, out)
	}
	if status, _ := call(http.MethodGet, "/api/auth/me", out["access_token"].(string), nil); status != http.StatusOK {
		t.Errorf("a confirmed token: %d", status)
	}
	if status, _ := call(http.MethodGet, "/api/auth/me", token, nil); status != http.StatusUnauthorized {
		t.Errorf("what waited opens: %d", status)
	}
	if status, out := confirm(token, "12345678"); status != http.StatusUnauthorized || out["code"] != "credential_invalid" {
		t.Errorf("what waited, again: %d %v", status, out)
	}
	t.Run("it is refused as a cookie, and in an address", func(t *testing.T) {
		_, token := login("vera")
		codeIn(t, post)
		program := h.program()
		r := program.request(http.MethodGet, "/api/auth/me", nil)
		r.Header.Set("Cookie", wire.CookieName(h.broker.Current().SelfApplication)+"="+token)
		if p := program.do(r); p.status != http.StatusUnauthorized {
			t.Errorf("as a cookie: %d", p.status)
		}
		r = program.request(http.MethodGet, "/api/auth/me?access_token="+token, nil)
		if p := program.do(r); p.status != http.StatusBadRequest {
			t.Errorf("in an address: %d", p.status)
		}
	})
}
