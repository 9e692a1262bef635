package web_test

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
	"sallyport/mapping"
	"sallyport/providers"
	"sallyport/storage"
	"sallyport/storage/sqlite"
	"sallyport/tokens"
	"sallyport/web"
	"sallyport/web/static"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// The hosts of the test house.
const (
	issuerHost  = "sso.localhost"
	appHost     = "app.localhost"
	reportsHost = "reports.localhost"
	sharedHost  = "shared.localhost"
	issuer      = "http://" + issuerHost
)

// house is a whole broker with its surfaces on a real store, answering on a real socket.
type house struct {
	t       testing.TB
	broker  *broker.Broker
	store   *breakable
	path    string
	clock   *clock
	handler *web.Handler
	server  *httptest.Server
	log     *lines
	panics  bool
	codes   codes
}

// codes are the people at the upstream providers of the tests: authorization code → who.
type codes map[string]identity.Identity

// plan is what a test wants different.
type plan struct {
	issuer  string
	proxies []netip.Prefix
	doors   func(h *house) []providers.Provider
	// noOne leaves the people out.
	noOne bool
}

// loopback is the proxy that most houses trust.
func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }

func newHouse(t testing.TB) *house { return build(t, plan{proxies: loopback()}) }

func build(t testing.TB, p plan) *house {
	t.Helper()
	h := &house{t: t, clock: &clock{}, log: &lines{}}
	h.clock.set(time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC))
	h.codes = codes{
		"alice": {
			Subject: "a-1", Username: "alice", Name: "Alice Ahlborn", Email: "alice@partner.example", Groups: []string{"operator"},
		},
		"omar": {Subject: "o-1", Username: "omar", Name: "Omar Osman", Groups: []string{"viewer"}},
	}
	key, err := storage.NewMasterKey()
	if err != nil {
		t.Fatal(err)
	}
	h.path = filepath.Join(t.TempDir(), "data", "sallyport.db")
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: h.path, MasterKey: key, Now: h.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	h.store = &breakable{Store: store}
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.broker = broker.New(broker.Options{Store: h.store, Log: log, Now: h.clock.now, Node: "test"})
	t.Cleanup(func() { _ = store.Close() })

	all := []providers.Provider{
		&keeper{h: h, id: "local"}, &upstream{h: h, id: "idp-a", kind: "oidc"}, &upstream{h: h, id: "idp-b", kind: "oidc"},
	}
	if p.doors != nil {
		all = p.doors(h)
	}
	set, err := providers.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	if p.issuer == "" {
		p.issuer = issuer
	}
	if _, err := h.broker.Load(t.Context(), snapshot(t, p.issuer, set)); err != nil {
		t.Fatal(err)
	}
	h.mount(log, p.proxies)
	if !p.noOne {
		h.add("lena", "operator")
		h.add("vera", "viewer")
		h.add("nina")
		h.addAdministrator("root")
	}
	h.poll()
	return h
}

// mount makes the surfaces and their server.
func (h *house) mount(log *slog.Logger, proxies []netip.Prefix) {
	h.t.Helper()
	keys, err := h.broker.WebKeys(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	pages, err := templates.New(templates.Options{Static: static.URL})
	if err != nil {
		h.t.Fatal(err)
	}
	hostPages, err := templates.New(templates.Options{
		Static: func(name string) string { return web.HostStatic + static.URL(name) },
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.handler = web.New(&wire.House{
		Broker: h.broker, Log: log, Now: h.clock.now, Pages: pages, HostPages: hostPages,
		Flows: wire.NewFlows(keys, h.clock.now), Guard: wire.NewGuard(keys.CSRF), TrustedProxies: proxies,
	}, profile())
	h.server = httptest.NewServer(http.HandlerFunc(h.front))
	h.t.Cleanup(h.server.Close)
}

// front is what stands in a house's network: the broker, gateways before applications, identity providers elsewhere.
func (h *house) front(w http.ResponseWriter, r *http.Request) {
	app := r.Host == appHost || r.Host == reportsHost || r.Host == sharedHost
	switch {
	case strings.HasSuffix(r.Host, ".idp.test"):
		q := r.URL.Query()
		to := q.Get("redirect_uri") + "?" + url.Values{"state": q["state"], "code": {q.Get("login_hint")}, "iss": q["me"]}.Encode()
		http.Redirect(w, r, to, http.StatusFound)
	case app && !strings.HasPrefix(r.URL.Path, "/.sallyport/"):
		h.gateway(w, r)
	default:
		h.handler.ServeHTTP(w, r)
	}
}

// gateway is nginx with auth_request: it asks, and passes on or lets people sign in.
func (h *house) gateway(w http.ResponseWriter, r *http.Request) {
	ask := r.Clone(r.Context())
	ask.Host, ask.Method, ask.Body = issuerHost, http.MethodGet, http.NoBody
	ask.URL = &url.URL{Path: "/authz/nginx"}
	ask.Header.Set("X-Original-URL", "http://"+r.Host+r.RequestURI)
	ask.Header.Set("X-Original-Method", r.Method)
	said := httptest.NewRecorder()
	h.handler.ServeHTTP(said, ask)
	switch said.Code {
	case http.StatusNoContent:
		_, _ = fmt.Fprintf(w, "welcome %s to %s", said.Header().Get("X-Auth-User"), r.Host)
	case http.StatusUnauthorized, http.StatusForbidden:
		in := r.Clone(r.Context())
		in.URL = &url.URL{Path: "/.sallyport/login"}
		in.Header.Set("X-Original-URL", "http://"+r.Host+r.RequestURI)
		in.Header.Set("X-Original-Method", r.Method)
		h.handler.ServeHTTP(w, in)
	default:
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func profile() *broker.Profile {
	same := func(names ...string) map[string]string {
		m := map[string]string{}
		for _, n := range names {
			m[n] = n
		}
		return m
	}
	return &broker.Profile{
		Name: "default", BasePath: "/api/auth", KeyHeaders: []string{"Authorization", "X-Api-Key"}, KeyPrefix: "sp",
		CSRFHeader: "X-CSRF-Token", Error: "problem",
		Routes: map[string]string{
			"login": "/login", "logout": "/logout", "csrf": "/csrf", "me": "/me", "validate": "/validate",
			"permissions": "/permissions", "sessions": "/sessions", "sso_login": "/sso/login", "api_keys": "/api-keys",
			"refresh": "/refresh", "confirm": "/confirm", "revoke": "/revoke", "revocations": "/revocations", "ticket": "/ticket",
		},
		Request: same("username", "password", "provider", "application", "refresh_token", "verification_id", "code"),
		Reply:   same("access_token", "token_type", "expires_in", "user", "refresh_token", "verification_id"),
		User:    same("id", "username", "name", "email", "roles", "permissions"),
	}
}

func claims() []broker.Claim {
	return []broker.Claim{{Source: "username", Name: "preferred_username"}, {Source: "roles", Name: "roles", Shape: "list"}}
}

func snapshot(t testing.TB, at string, set *providers.Set) *broker.Snapshot {
	t.Helper()
	mapper, err := mapping.Compile([]mapping.Role{
		{Name: "admin", Inherits: []string{"operator"}, Permissions: []string{"*:*"}},
		{Name: "operator", Inherits: []string{"viewer"}, Permissions: []string{"hosts:*"}},
		{Name: "viewer", Permissions: []string{"*:read"}},
	}, nil, []mapping.Rule{{Provider: "*", Copy: "groups", Only: []string{"admin", "operator", "viewer"}}})
	if err != nil {
		t.Fatal(err)
	}
	limits := broker.Limits{Idle: 30 * time.Minute, Lifetime: 8 * time.Hour}
	s := &broker.Snapshot{
		Generation: 1, Hash: "test", Issuer: mustURL(t, at), Mapper: mapper, Providers: set,
		QualifyNames: map[string]bool{"idp-b": true}, DefaultProvider: "local",
		Domains: map[string]string{"partner.example": "idp-a"}, Session: limits,
		Keys:  broker.KeyRules{DefaultLifetime: 90 * 24 * time.Hour, MaxLifetime: 365 * 24 * time.Hour},
		Brand: "Test house", Support: "Call 1234",
	}
	s.SelfApplication = &broker.Application{
		ID: broker.Self, Title: "Test house", Audience: at, Algorithm: tokens.ES256, TokenLifetime: 15 * time.Minute,
		Session: limits, Profile: profile(), Claims: claims(),
	}
	app := func(id, title, address string, require ...string) *broker.Application {
		a := &broker.Application{
			ID: id, Title: title, Audience: id, Require: require, Algorithm: tokens.ES256, TokenLifetime: 15 * time.Minute,
			Session: limits, Profile: profile(), Claims: claims(),
		}
		if address != "" {
			a.URL = mustURL(t, address)
		}
		return a
	}
	reports := app("reports", "Reports", "http://"+reportsHost+"/", "operator")
	reports.ForwardToken = true
	return s.WithApplications([]*broker.Application{
		app("app", "Host manager", "http://"+appHost+"/", "viewer"), reports, app("tool", "Tool", ""),
		app("one", "One", "http://"+sharedHost+"/one/"), app("two", "Two", "http://"+sharedHost+"/two/", "admin"),
	})
}

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// password of everybody in the house.
func password(name string) string { return name + " has a long password" }

func (h *house) visit() broker.Visit { return broker.Visit{Snapshot: h.broker.Current()} }

func (h *house) add(name string, groups ...string) { h.addPerson(name, false, groups) }

func (h *house) addAdministrator(name string) { h.addPerson(name, true, []string{"admin"}) }

func (h *house) addPerson(name string, admin bool, groups []string) {
	h.t.Helper()
	_, err := h.broker.AddPerson(h.t.Context(), h.visit(), "test", broker.NewPerson{
		Username: name, Name: strings.ToUpper(name[:1]) + name[1:], Email: name + "@house.example",
		Password: password(name), Groups: groups, Administrator: admin,
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// poll makes the broker hear of changes now, as its background work does each second.
func (h *house) poll() {
	h.t.Helper()
	if err := h.broker.Poll(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// dump is all that the store holds, as text.
func (h *house) dump() string {
	h.t.Helper()
	db := h.open()
	tables := h.column(db, `SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name`)
	var b strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&b, "== %s\n", table)
		for _, row := range h.rows(db, table) {
			fmt.Fprintln(&b, row)
		}
	}
	return b.String()
}

// counts says how many rows each table has.
func (h *house) counts() map[string]int {
	h.t.Helper()
	db := h.open()
	out := map[string]int{}
	for _, table := range h.column(db, `SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name`) {
		out[table] = len(h.rows(db, table))
	}
	return out
}

func (h *house) open() *sql.DB {
	h.t.Helper()
	db, err := sql.Open("sqlite", "file:"+h.path+"?mode=ro")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = db.Close() })
	return db
}

func (h *house) column(db *sql.DB, query string) []string {
	h.t.Helper()
	rows, err := db.QueryContext(h.t.Context(), query)
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			h.t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		h.t.Fatal(err)
	}
	return out
}

func (h *house) rows(db *sql.DB, table string) []string {
	h.t.Helper()
	rows, err := db.QueryContext(h.t.Context(), `SELECT * FROM "`+table+`"`)
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		h.t.Fatal(err)
	}
	var out []string
	for rows.Next() {
		values := make([]any, len(names))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			h.t.Fatal(err)
		}
		var b strings.Builder
		for i, v := range values {
			if p, ok := v.(*any); ok {
				fmt.Fprintf(&b, "%s=%v ", names[i], *p)
			}
		}
		out = append(out, b.String())
	}
	if err := rows.Err(); err != nil {
		h.t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// clock is the one clock of the house.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.UnixMilli(c.at.Load()).UTC() }
func (c *clock) set(t time.Time)         { c.at.Store(t.UnixMilli()) }
func (c *clock) advance(d time.Duration) { c.at.Add(d.Milliseconds()) }

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

// breakable is a store that can stop answering.
type breakable struct {
	broker.Store
	broken atomic.Bool
}

var errGone = fmt.Errorf("disk on fire at /secret/path: %w", identity.ErrUnavailable)

func (b *breakable) Update(ctx context.Context, fn func(tx broker.Tx) error) error {
	if b.broken.Load() {
		return errGone
	}
	return b.Store.Update(ctx, fn)
}

func (b *breakable) View(ctx context.Context, fn func(tx broker.Tx) error) error {
	if b.broken.Load() {
		return errGone
	}
	return b.Store.View(ctx, fn)
}

// keeper is a local provider without the cost of hashing.
type keeper struct {
	h  *house
	id string
}

var _ providers.PasswordKeeper = (*keeper)(nil)

func (k *keeper) Info() providers.Info {
	return providers.Info{ID: k.id, Type: "local", Title: "House accounts"}
}

func (k *keeper) MadeWith(a identity.Assertion, hash string) bool { return string(a.Upstream) == hash }

func (k *keeper) MinLength() int { return 15 }

func (k *keeper) Authenticate(ctx context.Context, username, typed string) (identity.Assertion, error) {
	if username == "panic" {
		panic("a provider with a bug, holding " + typed)
	}
	key, err := people.CanonicalName(username)
	if err != nil {
		return identity.Assertion{}, identity.ErrBadCredentials
	}
	var p people.LocalPerson
	err = k.h.store.View(ctx, func(tx broker.Tx) (err error) {
		p, err = tx.LocalPerson(ctx, k.id, key)
		return err
	})
	if errors.Is(err, identity.ErrUnavailable) {
		return identity.Assertion{}, identity.WithCode("provider_unavailable", err)
	}
	if err != nil || typed == "" || subtle.ConstantTimeCompare([]byte(p.PasswordHash), []byte("kept:"+typed)) != 1 {
		return identity.Assertion{}, identity.ErrBadCredentials
	}
	return identity.Assertion{Upstream: []byte(p.PasswordHash), Identity: identity.Identity{
		Provider: k.id, Subject: p.Subject, Username: p.Username, Name: p.Name, Email: p.Email, Groups: p.Groups,
		AMR: []string{"pwd"}, AuthTime: k.h.clock.now(),
	}}, nil
}

func (k *keeper) HashPassword(_ context.Context, typed string, _ ...string) (string, error) {
	if len(typed) < k.MinLength() {
		return "", identity.WithCode("password_too_short", fmt.Errorf("password: %w", identity.ErrInvalid))
	}
	return "kept:" + typed, nil
}

// upstream is an identity provider that browsers are sent to. The authorization code names who signs in there; some
// names are troubles.
type upstream struct {
	h        *house
	id, kind string
}

var _ providers.RedirectProvider = (*upstream)(nil)

func (u *upstream) Info() providers.Info {
	return providers.Info{ID: u.id, Type: u.kind, Title: "Partner " + u.id}
}

func (u *upstream) Begin(_ context.Context, f providers.Flow) (providers.Challenge, error) {
	if u.h.panics {
		panic("begin with a bug")
	}
	pending, err := json.Marshal(map[string]string{"flow": f.ID, "provider": u.id})
	q := url.Values{"state": {f.ID}, "redirect_uri": {f.CallbackURL}, "login_hint": {f.LoginHint}, "me": {u.id}}
	return providers.Challenge{URL: "http://" + u.id + ".idp.test/authorize?" + q.Encode(), Pending: pending}, err
}

func (u *upstream) Finish(
	_ context.Context, f providers.Flow, pending []byte, reply url.Values,
) (identity.Assertion, error) {
	var kept map[string]string
	err := json.Unmarshal(pending, &kept)
	if err != nil || kept["flow"] != f.ID || kept["provider"] != u.id || reply.Get("iss") != u.id {
		return identity.Assertion{}, identity.WithCode("reply_invalid", identity.ErrBadCredentials)
	}
	switch code := reply.Get("code"); code {
	case "panic":
		panic("finish with a bug, holding the code " + code)
	case "refuse":
		return identity.Assertion{}, identity.WithCode("provider_refused", identity.ErrDenied)
	case "down":
		return identity.Assertion{}, identity.WithCode("provider_unavailable", identity.ErrUnavailable)
	default:
		who, ok := u.h.codes[code]
		if !ok {
			return identity.Assertion{}, identity.WithCode("reply_invalid", identity.ErrBadCredentials)
		}
		who.Provider = u.id
		return identity.Assertion{Identity: who}, nil
	}
}
