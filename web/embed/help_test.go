package embed_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/mapping"
	"sallyport/providers"
	"sallyport/providers/jwt"
	"sallyport/storage"
	"sallyport/storage/sqlite"
	"sallyport/tokens"
	"sallyport/web/embed"
	"sallyport/web/static"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// The hosts, all served by one server. Two are on one site with the application, the others on sites of their own.
const (
	ssoHost    = "sso.corp.test"
	appHost    = "app.corp.test"
	portalHost = "portal.corp.test"
	otherHost  = "portal.other.test"
	evilHost   = "evil.example"
)

// key is the embedding application's, 32 bytes.
var key = []byte(strings.Repeat("k", 32))

// house is a broker with this surface, framed applications and embedding pages, over TLS.
type house struct {
	t      testing.TB
	scheme string
	broker *broker.Broker
	server *httptest.Server
	port   string
	log    *lines
	issuer *http.ServeMux
	apps   *http.ServeMux
	web    *wire.House

	mu     sync.Mutex
	seen   []string // every request: method, address, referer, cookies
	minted []string // every token that was handed out
	claims map[string]any
}

// newHouse starts one. change alters the embedders.
func newHouse(t testing.TB, change func(all map[string]*broker.Embedder)) *house {
	t.Helper()
	return start(t, "https", change)
}

func start(t testing.TB, scheme string, change func(all map[string]*broker.Embedder)) *house {
	t.Helper()
	h := &house{t: t, scheme: scheme, log: &lines{}, claims: map[string]any{}}
	h.server = httptest.NewUnstartedServer(http.HandlerFunc(h.front))
	h.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // browsers hang up as they like
	_, h.port, _ = strings.Cut(h.server.Listener.Addr().String(), ":")

	masterKey, err := storage.NewMasterKey()
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(t.Context(), sqlite.Options{
		Path: filepath.Join(t.TempDir(), "data", "sallyport.db"), MasterKey: masterKey, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.broker = broker.New(broker.Options{Store: store, Log: log, Now: time.Now, Node: "test"})
	h.load(1, change)
	h.mount(log)
	if scheme == "https" {
		h.server.StartTLS()
	} else {
		h.server.Start()
	}
	t.Cleanup(h.server.Close)
	return h
}

// at is an address on a host.
func (h *house) at(host, path string) string { return h.scheme + "://" + host + ":" + h.port + path }

// load puts a configuration in force.
func (h *house) load(generation int64, change func(all map[string]*broker.Embedder)) {
	h.t.Helper()
	door, err := (&jwt.Config{
		Issuer: "https://portal.example", Audience: "https://sso.corp.test",
		Keys: []jwt.Key{{ID: "one", HMAC: identity.NewSecret(base64.StdEncoding.EncodeToString(key))}},
	}).Open(h.t.Context(), "portal-jwt", "Portal", providers.Env{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		h.t.Fatal(err)
	}
	set, err := providers.NewSet(door)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.broker.Load(h.t.Context(), h.snapshot(generation, set, change)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) snapshot(generation int64, set *providers.Set, change func(map[string]*broker.Embedder)) *broker.Snapshot {
	h.t.Helper()
	mapper, err := mapping.Compile([]mapping.Role{
		{Name: "operator", Inherits: []string{"viewer"}, Permissions: []string{"hosts:*"}},
		{Name: "viewer", Permissions: []string{"*:read"}},
	}, nil, []mapping.Rule{{Provider: "*", Copy: "groups", Only: []string{"operator", "viewer"}}})
	if err != nil {
		h.t.Fatal(err)
	}
	limits := broker.Limits{Idle: 30 * time.Minute, Lifetime: 8 * time.Hour}
	profile := &broker.Profile{Name: "default", Error: "problem"}
	issuer := h.url(ssoHost, "")
	s := &broker.Snapshot{
		Generation: generation, Hash: fmt.Sprint(generation), Issuer: issuer, Mapper: mapper, Providers: set, Session: limits, Brand: "Test",
		SelfApplication: &broker.Application{
			ID: broker.Self, Audience: issuer.String(), Algorithm: tokens.ES256, TokenLifetime: time.Minute, Session: limits, Profile: profile,
		},
	}
	embedders := h.embedders()
	if change != nil {
		change(embedders)
	}
	for _, id := range []string{"elsewhere", "inside", "portal"} {
		if e := embedders[id]; e != nil {
			s.Embedders = append(s.Embedders, e)
		}
	}
	var apps []*broker.Application
	for id, address := range map[string]*url.URL{
		"app": h.url(appHost, "/"), "lonely": h.url("lonely.corp.test", "/"), "inside": h.url(portalHost, "/investigate/"),
		"one": h.url("shared.corp.test", "/one/"), "two": h.url("shared.corp.test", "/two/"),
	} {
		apps = append(apps, &broker.Application{
			ID: id, Title: "The " + id, URL: address, Audience: id, Require: []string{"viewer"}, Algorithm: tokens.ES256,
			TokenLifetime: time.Minute, Session: limits, Profile: profile,
		})
	}
	return s.WithApplications(apps)
}

func (h *house) url(host, path string) *url.URL {
	return &url.URL{Scheme: h.scheme, Host: host + ":" + h.port, Path: path}
}

// embedders are one of each relation.
func (h *house) embedders() map[string]*broker.Embedder {
	session := broker.Limits{Idle: 10 * time.Minute, Lifetime: time.Hour}
	return map[string]*broker.Embedder{
		"portal": {
			ID: "portal", Relation: broker.SameSite, Origins: []string{h.at(portalHost, "")}, Applications: []string{"app", "one", "two"},
			Provider: "portal-jwt", Session: session,
		},
		"elsewhere": {
			ID: "elsewhere", Relation: broker.CrossSite, Origins: []string{h.at(otherHost, "")}, Applications: []string{"app"},
			Provider: "portal-jwt", Session: session, MaxRoles: []string{"viewer"},
		},
		"inside": {
			ID: "inside", Relation: broker.Proxied, Origins: []string{h.at(portalHost, "")}, Applications: []string{"inside"},
			Provider: "portal-jwt", Session: session, Mount: "/investigate", Global: "sireninvestigate",
		},
	}
}

func (h *house) mount(log *slog.Logger) {
	h.t.Helper()
	keys, err := h.broker.WebKeys(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	pages, err := templates.New(templates.Options{Static: static.URL})
	if err != nil {
		h.t.Fatal(err)
	}
	h.web = &wire.House{
		Broker: h.broker, Log: log, Now: time.Now, Pages: pages, HostPages: pages,
		Flows: wire.NewFlows(keys, time.Now), Guard: wire.NewGuard(keys.CSRF),
	}
	h.issuer, h.apps = http.NewServeMux(), http.NewServeMux()
	surface := embed.New(h.web)
	for pattern, handler := range surface.Routes() {
		h.apps.Handle(pattern, h.web.Page("embed", handler))
	}
	for pattern, handler := range surface.Scripts() {
		h.issuer.Handle(pattern, h.web.Page("embed", handler))
	}
}

// front is the network: every host, and the proxies before them.
func (h *house) front(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.seen = append(h.seen, fmt.Sprintf("%s %s%s referer=%s cookies=%v", r.Method, r.Host, r.RequestURI, r.Referer(), r.Cookies()))
	h.mu.Unlock()
	host, _, _ := strings.Cut(r.Host, ":")
	if host == portalHost {
		if rest, inside := strings.CutPrefix(r.URL.Path, "/investigate"); inside {
			if strings.HasPrefix(rest, "/.sallyport/") { // as the proxy before both strips it
				r.URL.Path = rest
			}
			h.application(w, r, "inside")
			return
		}
	}
	switch host {
	case ssoHost:
		h.ours(h.issuer, w, r)
	case appHost:
		h.application(w, r, "app")
	case portalHost, otherHost, evilHost:
		h.embedding(w, r)
	default:
		h.ours(h.apps, w, r)
	}
}

// ours sets what the whole web surface sets before any other.
func (h *house) ours(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	w.Header().Set("X-Frame-Options", "DENY")
	w.Header().Set("Cache-Control", "no-store")
	mux.ServeHTTP(w, h.web.Enter(r))
}

// application is a framed application behind its gateway.
func (h *house) application(w http.ResponseWriter, r *http.Request, id string) {
	if strings.HasPrefix(r.URL.Path, "/.sallyport/") {
		h.ours(h.apps, w, r)
		return
	}
	r = h.web.Enter(r)
	app, err := wire.Of(r).Application(id)
	if err != nil {
		h.t.Error(err)
	}
	c, err := wire.Credential(r, app)
	var p identity.Principal
	if err == nil {
		p, err = h.broker.Authenticate(r.Context(), wire.Of(r).Visit, c, app)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, "<!doctype html><title>t</title><p>nobody here")
		return
	}
	_, _ = fmt.Fprintf(w, "<!doctype html><title>t</title><link rel=icon href=data:,><p>welcome %s, %v, at %s", p.Name, p.Roles, r.URL.Path)
}

// embedding is an embedding application: a page that can attach, and a backend that signs.
func (h *house) embedding(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/token":
		var asked struct{ Challenge string }
		body, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(body, &asked)
		claims := map[string]any{}
		if asked.Challenge != "" {
			claims["nonce"] = asked.Challenge
		}
		_, _ = fmt.Fprint(w, h.token(claims))
	default:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, parentPage, h.at(ssoHost, "/embed/v1/parent.js"))
	}
}

// parentPage has the module, and ways to use it that a test calls.
const parentPage = `<!doctype html><title>parent</title><link rel=icon href=data:,><h1>parent</h1><div id=place></div>
<script type="module">
import { attach, mount } from "%s";
const getToken = async ({ challenge }) => (await fetch("/token", { method: "POST", body: JSON.stringify({ challenge }) })).text();
const show = (e) => e.code + " " + e.message + " " + (e.traceId ?? "");
window.events = [];
const on = Object.fromEntries(["ready", "ended", "error"].map((n) => [n, (e) => events.push(n + " " + (e.reason ?? e.error?.code ?? ""))]));
window.frameAt = (src) => { const f = document.createElement("iframe"); f.src = src; document.body.append(f); window.frame = f; return f; };
window.tryAttach = (src, more) => attach(frameAt(src), { application: "app", getToken, title: "App", on, ...more })
  .then((h) => { window.handle = h; return "ready " + h.mode + " " + h.user.name; }, show);
window.tryMount = (url, more) => mount({ container: place, url, application: "app", getToken, title: "App", on, ...more })
  .then((h) => { window.handle = h; window.frame = h.iframe; return "ready " + h.mode + " " + h.user.name; }, show);
window.loaded = true;
</script>`

// token signs claims over good ones; a nil value leaves a claim out.
func (h *house) token(claims map[string]any) string {
	now := time.Now().Unix()
	all := map[string]any{
		"iss": "https://portal.example", "aud": "https://sso.corp.test", "sub": "u-1", "iat": now, "exp": now + 60, "jti": random(),
		"name": "Ada Example", "preferred_username": "ada", "roles": []string{"operator"},
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, change := range []map[string]any{h.claims, claims} {
		for name, value := range change {
			if all[name] = value; value == nil {
				delete(all, name)
			}
		}
	}
	signed := sign(`{"alg":"HS256","kid":"one","typ":"JWT"}`, all)
	h.minted = append(h.minted, signed)
	return signed
}

func sign(header string, claims map[string]any) string {
	payload, _ := json.Marshal(claims)
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func random() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// requests are all so far that contain part.
func (h *house) requests(part string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, r := range h.seen {
		if strings.Contains(r, part) {
			out = append(out, r)
		}
	}
	return out
}

// said is an answer.
type said struct {
	t      testing.TB
	status int
	header http.Header
	cookie []*http.Cookie
	body   string
	fields map[string]any
}

// ask sends one request without a browser: alter may change everything.
func (h *house) ask(method, address, body string, alter ...func(r *http.Request)) said {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Host = r.URL.Host
	r.URL.Host = h.server.Listener.Addr().String()
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for _, a := range alter {
		a(r)
	}
	answer, err := h.server.Client().Transport.RoundTrip(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer answer.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(answer.Body); err != nil {
		h.t.Fatal(err)
	}
	s := said{t: h.t, status: answer.StatusCode, header: answer.Header, cookie: answer.Cookies(), body: b.String()}
	_ = json.Unmarshal(b.Bytes(), &s.fields)
	return s
}

// problem wants a refusal with a code, and no cookie.
func (s said) problem(status int, code string) said {
	s.t.Helper()
	if s.status != status || s.fields["code"] != code || len(s.cookie) > 0 {
		s.t.Errorf("answer is %d %v with %d cookies, want %d %s: %s", s.status, s.fields["code"], len(s.cookie), status, code, s.body)
	}
	if s.fields["trace_id"] == "" || s.header.Get("Content-Type") != "application/problem+json" {
		s.t.Errorf("no problem body: %s", s.body)
	}
	return s
}

func (s said) ok(status int) said {
	s.t.Helper()
	if s.status != status {
		s.t.Fatalf("answer is %d, want %d: %s", s.status, status, s.body)
	}
	return s
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) {
		if r.Header.Del(name); value != "" {
			r.Header.Set(name, value)
		}
	}
}

func withCookies(all []*http.Cookie) func(*http.Request) {
	return func(r *http.Request) {
		for _, c := range all {
			r.AddCookie(c)
		}
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
