package portal

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/identity"
	"sallyport/internal/testenv"
	"sallyport/providers"
	"sallyport/providers/jwt"
)

const (
	issuer = "http://sso.localhost:8080"
	origin = "http://portal.localhost:8080"
)

func options() Options {
	return Options{
		Issuer: issuer, Origin: origin, Embedder: "portal",
		Application: Application{ID: "app", Title: "Host <manager>", Origin: "http://app.localhost:8080"},
		People: []Person{
			{Username: "pia", Name: "Pia \"<b>\" Portal", Email: "pia@portal.example", Roles: []string{"analyst", "viewer"}},
			{Username: "quinn"},
		},
	}
}

func open(t *testing.T, change func(*Options)) *Portal {
	t.Helper()
	o := options()
	if change != nil {
		change(&o)
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ask sends one request to the portal as its own page would, unless change says otherwise.
func ask(t *testing.T, p *Portal, method, path, body, who string, change func(http.Header)) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, origin+path, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Origin", origin)
		r.Header.Set("Content-Type", "application/json")
	}
	if who != "" {
		r.AddCookie(cookie(p.sealed(who)))
	}
	if change != nil {
		change(r.Header)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// token reads the answer of POST /token.
func token(t *testing.T, r *http.Response) string {
	t.Helper()
	var answer map[string]string
	if err := json.Unmarshal([]byte(text(t, r)), &answer); err != nil || r.StatusCode != http.StatusOK || len(answer) != 1 {
		t.Fatalf("%d %v %v", r.StatusCode, answer, err)
	}
	return answer["jwt"]
}

// door opens the real thing on the other side.
func door(t *testing.T, key string) providers.TokenProvider {
	t.Helper()
	c := &jwt.Config{Issuer: origin, Audience: issuer, Keys: []jwt.Key{{HMAC: identity.NewSecret(key)}}}
	opened, err := c.Open(t.Context(), "portal", "", providers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	p, ok := opened.(providers.TokenProvider)
	if !ok {
		t.Fatalf("%T", opened)
	}
	return p
}

func TestTheDoorTakesThePortalsToken(t *testing.T) {
	p := open(t, nil)
	a, err := door(t, p.Key()).VerifyToken(t.Context(), token(t, ask(t, p, http.MethodPost, "/token", `{"challenge":"c-1"}`, "pia", nil)))
	if err != nil {
		t.Fatal(err)
	}
	got := a.Identity
	want := identity.Identity{
		Provider: "portal", Subject: "pia", Username: "pia", Name: options().People[0].Name, Email: "pia@portal.example",
		Groups: []string{"analyst", "viewer"},
	}
	got.Attributes, got.AuthTime = nil, time.Time{}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := door(t, open(t, nil).Key()).VerifyToken(t.Context(), token(t, ask(t, p, http.MethodPost, "/token", `{}`, "pia", nil))); err == nil {
		t.Error("another run's key takes it as well")
	}
}

func TestEachTokenIsItsOwnAndShort(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	p := open(t, func(o *Options) { o.Now = func() time.Time { return now } })
	read := func() map[string]any {
		parts := strings.Split(token(t, ask(t, p, http.MethodPost, "/token", `{"challenge":"c-1"}`, "quinn", nil)), ".")
		raw, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		var c map[string]any
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second := read(), read()
	if first["jti"] == second["jti"] || first["jti"] == "" {
		t.Errorf("jti %v and %v", first["jti"], second["jti"])
	}
	delete(first, "jti")
	want := map[string]any{
		"iss": origin, "aud": issuer, "sub": "quinn", "preferred_username": "quinn", "roles": []any{}, "nonce": "c-1", "application": "app",
		"iat": 1_800_000_000.0, "exp": 1_800_000_060.0,
	}
	if d := cmp.Diff(want, first); d != "" {
		t.Error(d)
	}
}

func TestATokenIsMintedForThePortalsOwnPageOnly(t *testing.T) {
	p := open(t, nil)
	for name, tc := range map[string]struct {
		method, body, who string
		change            func(http.Header)
		want              int
	}{
		"by GET":                   {http.MethodGet, "", "pia", nil, http.StatusMethodNotAllowed},
		"nobody signed in":         {http.MethodPost, "{}", "", nil, http.StatusUnauthorized},
		"from another site":        {http.MethodPost, "{}", "pia", func(h http.Header) { h.Set("Sec-Fetch-Site", "cross-site") }, http.StatusForbidden},
		"from another host of it":  {http.MethodPost, "{}", "pia", func(h http.Header) { h.Set("Sec-Fetch-Site", "same-site") }, http.StatusForbidden},
		"from the address bar":     {http.MethodPost, "{}", "pia", func(h http.Header) { h.Set("Sec-Fetch-Site", "none") }, http.StatusForbidden},
		"from nowhere":             {http.MethodPost, "{}", "pia", func(h http.Header) { h.Del("Sec-Fetch-Site"); h.Del("Origin") }, http.StatusForbidden},
		"an old browser elsewhere": {http.MethodPost, "{}", "pia", func(h http.Header) { h.Del("Sec-Fetch-Site"); h.Set("Origin", issuer) }, http.StatusForbidden},
		"a form":                   {http.MethodPost, "{}", "pia", func(h http.Header) { h.Set("Content-Type", "text/plain") }, http.StatusBadRequest},
		"no question":              {http.MethodPost, "", "pia", nil, http.StatusBadRequest},
		"two questions":            {http.MethodPost, "{}{}", "pia", nil, http.StatusBadRequest},
		"a question of its own":    {http.MethodPost, `{"sub":"quinn"}`, "pia", nil, http.StatusBadRequest},
		"too long a challenge":     {http.MethodPost, `{"challenge":"` + strings.Repeat("x", 200) + `"}`, "pia", nil, http.StatusBadRequest},
		"megabytes":                {http.MethodPost, `{"challenge":"` + strings.Repeat("x", 1<<20) + `"}`, "pia", nil, http.StatusBadRequest},
		"a cookie made up":         {http.MethodPost, "{}", "", func(h http.Header) { h.Set("Cookie", cookieName+"=cGlh.cGlh") }, http.StatusUnauthorized},
		"a cookie without seal":    {http.MethodPost, "{}", "", func(h http.Header) { h.Set("Cookie", cookieName+"=cGlh") }, http.StatusUnauthorized},
		"a cookie of another run": {http.MethodPost, "{}", "", func(h http.Header) {
			h.Set("Cookie", cookieName+"="+open(t, nil).sealed("pia"))
		}, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			r := ask(t, p, tc.method, "/token", tc.body, tc.who, tc.change)
			if body := text(t, r); r.StatusCode != tc.want || strings.Contains(body, "eyJ") {
				t.Errorf("%d %s", r.StatusCode, body)
			}
		})
	}
	t.Run("an old browser's own page", func(t *testing.T) {
		token(t, ask(t, p, http.MethodPost, "/token", "{}", "pia", func(h http.Header) { h.Del("Sec-Fetch-Site") }))
	})
}

func TestTheListDecidesWhoIsSignedIn(t *testing.T) {
	p := open(t, nil)
	form := func(h http.Header) { h.Set("Content-Type", "application/x-www-form-urlencoded") }
	r := ask(t, p, http.MethodPost, "/person", url.Values{"person": {"pia"}}.Encode(), "", form)
	if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/" || len(r.Cookies()) != 1 {
		t.Fatalf("%d %v", r.StatusCode, r.Header)
	}
	c := r.Cookies()[0]
	if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Name != cookieName {
		t.Errorf("cookie %v", c)
	}
	body := text(t, ask(t, p, http.MethodGet, "/", "", "", func(h http.Header) { h.Set("Cookie", c.Name+"="+c.Value) }))
	for _, want := range []string{
		`<bdi id="who">Pia &#34;&lt;b&gt;&#34; Portal</bdi>`, `title="Host &lt;manager&gt;"`,
		`src="http://app.localhost:8080/.sallyport/embed/v1/frame?application=app&amp;to=%2F"`,
		`data-sdk="http://sso.localhost:8080/embed/v1/parent.js"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	first := ask(t, p, http.MethodGet, "/", "", "", nil) // a first visit: somebody is there already
	if body := text(t, first); len(first.Cookies()) != 1 || !strings.Contains(body, "<iframe") {
		t.Errorf("a first visit: %v %s", first.Header, body)
	}
	left := ask(t, p, http.MethodPost, "/person", "person=", "pia", form)
	if len(left.Cookies()) != 1 {
		t.Fatalf("nobody: %v", left.Header)
	}
	nobody := left.Cookies()[0]
	body = text(t, ask(t, p, http.MethodGet, "/", "", "", func(h http.Header) { h.Set("Cookie", nobody.Name+"="+nobody.Value) }))
	if strings.Contains(body, "<iframe") || strings.Contains(body, "<script") {
		t.Errorf("a frame for nobody: %s", body)
	}
	if r := ask(t, p, http.MethodPost, "/person", "person=eve", "", form); r.StatusCode != http.StatusBadRequest || len(r.Cookies()) != 0 {
		t.Errorf("a stranger: %d", r.StatusCode)
	}
	foreign := func(h http.Header) { form(h); h.Set("Sec-Fetch-Site", "cross-site") }
	if r := ask(t, p, http.MethodPost, "/person", "person=pia", "", foreign); r.StatusCode != http.StatusForbidden {
		t.Errorf("somebody else's form: %d", r.StatusCode)
	}
}

func TestThePolicyAllowsTheBrokersScriptAndTheApplicationsFrame(t *testing.T) {
	h := ask(t, open(t, nil), http.MethodGet, "/", "", "pia", nil).Header
	want := "default-src 'none'; script-src 'self' http://sso.localhost:8080; style-src 'self'; connect-src 'self'; " +
		"frame-src http://app.localhost:8080; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	if got := h.Get("Content-Security-Policy"); got != want {
		t.Error(got)
	}
	if h.Get("Cache-Control") != "no-store" || h.Get("X-Frame-Options") != "DENY" {
		t.Error(h)
	}
}

func TestMistakesInTheOptionsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"a short key":             func(o *Options) { o.Key = base64.StdEncoding.EncodeToString(make([]byte, 31)) },
		"a key in other letters":  func(o *Options) { o.Key = strings.Repeat("!", 44) },
		"nobody":                  func(o *Options) { o.People = nil },
		"somebody without a name": func(o *Options) { o.People[1].Username = "" },
		"an origin with a path":   func(o *Options) { o.Origin += "/" },
		"an origin that adds to the policy": func(o *Options) {
			o.Application.Origin = "http://a;script-src *"
		},
		"no issuer":      func(o *Options) { o.Issuer = "" },
		"no embedder":    func(o *Options) { o.Embedder = "" },
		"no application": func(o *Options) { o.Application.ID = "" },
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			change(&o)
			if _, err := New(o); err == nil {
				t.Error("taken")
			}
		})
	}
	given := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	if got := open(t, func(o *Options) { o.Key = given }).Key(); got != given {
		t.Errorf("key %q", got)
	}
}

// standIn is what the portal loads from the broker, as far as this page sees it: it asks for a token as the frame would.
const standIn = `
export async function attach(iframe, options) {
  const { jwt } = await options.getToken({ reason: "initial", challenge: "c-1", application: options.application, signal: AbortSignal.timeout(5000) });
  if (options.embedder === "refuse") {
    throw Object.assign(new Error("No rule matched."), { code: "NO_ROLES" });
  }
  const claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(jwt.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0))));
  return { mode: "cookie", user: { sub: claims.sub, name: claims.name, roles: claims.roles }, iframe, logout: async () => options.on.ended({ reason: "logout" }) };
}`

// site serves portal, broker and application on one listener, each under its name.
func site(t *testing.T, change func(*Options)) (address string) {
	t.Helper()
	var portal *Portal
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch host, _, _ := strings.Cut(r.Host, ":"); {
		case host == "portal.localhost":
			portal.ServeHTTP(w, r)
		case r.URL.Path == "/embed/v1/parent.js":
			w.Header().Set("Content-Type", "text/javascript")
			w.Header().Set("Access-Control-Allow-Origin", "*")
			_, _ = io.WriteString(w, standIn)
		case strings.HasPrefix(r.URL.Path, "/.sallyport/embed/v1/frame"):
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<!doctype html><title>framed</title><p>framed</p>")
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	port := server.URL[strings.LastIndex(server.URL, ":"):]
	portal = open(t, func(o *Options) {
		o.Issuer, o.Origin = "http://sso.localhost"+port, "http://portal.localhost"+port
		o.Application.Origin = "http://app.localhost" + port
		if change != nil {
			change(o)
		}
	})
	return "http://portal.localhost" + port + "/"
}

func TestBrowser_ThePageHandsATokenToTheFrameAndSignsItOut(t *testing.T) {
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	b.Open(site(t, nil))
	b.WaitText("Signed in as Pia")
	b.Eval(`document.getElementById("person").value = ""; document.querySelector("form").requestSubmit()`)
	b.WaitText("Nobody is signed in")
	b.Eval(`document.getElementById("person").value = "pia"; document.querySelector("form").requestSubmit()`)
	b.WaitText("Signed in as Pia")
	b.Eval(`document.getElementById("leave").click()`)
	b.WaitText("Signed out of the frame")
	if v := b.Violations(); len(v) != 0 {
		t.Error(v)
	}
	if e := b.ConsoleErrors(); len(e) != 0 {
		t.Error(e)
	}
	b.Viewport(320, 800)
	if wide := b.Eval("document.documentElement.scrollWidth"); wide != 320.0 {
		t.Errorf("the page is %v wide in a window of 320", wide)
	}
}

func TestBrowser_ARefusalIsToldWithItsCode(t *testing.T) {
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	b.Open(site(t, func(o *Options) { o.Embedder = "refuse" }))
	b.Eval(`document.getElementById("person").value = "quinn"; document.querySelector("form").requestSubmit()`)
	b.WaitText("The frame could not sign you in. No rule matched. (NO_ROLES)")
}

func TestBrowser_WithoutTheBrokersScriptThePageSaysSo(t *testing.T) {
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	b.Open(site(t, func(o *Options) { o.Issuer += "/elsewhere" }))
	b.Eval(`document.getElementById("person").value = "quinn"; document.querySelector("form").requestSubmit()`)
	b.WaitText("The frame could not sign you in.")
}
