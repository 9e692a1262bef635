// Package bench measures what needs more than one package: the way back (broker and web) against a bare handler, in one
// run, as ratios. It holds no code but its benchmarks and passes or fails nothing.
package bench

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
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

const issuer = "https://sso.example.test"

// house is a broker on a real store, polling, with one person and three applications: app, wiki whose cookie holds its
// token, and board that a portal frames.
type house struct {
	*broker.Broker
	store   broker.Store
	app     *broker.Application
	wiki    *broker.Application
	board   *broker.Application
	profile *broker.Profile
	claims  []broker.Claim
	in      broker.Outcome
}

type door struct{}

func (door) Info() providers.Info { return providers.Info{ID: "corp", Type: "bench", Title: "Corp"} }

// portal vouches for the person, whatever the token.
type portal struct{}

func (portal) Info() providers.Info {
	return providers.Info{ID: "portal-keys", Type: "bench", Title: "Portal"}
}

func (portal) Once(identity.Assertion) (string, time.Time, bool, error) {
	return broker.NewID(), time.Now().Add(time.Minute), true, nil
}

func (portal) VerifyToken(context.Context, string) (identity.Assertion, error) {
	return identity.Assertion{Identity: identity.Identity{
		Provider: "portal-keys", Subject: "1", Username: "ada", Groups: []string{"operators"},
	}}, nil
}

func (portal) Binding(identity.Assertion) (nonce, application string) { return "", "" }

const portalOrigin = "https://portal.example.net"

func newHouse(b *testing.B) *house {
	b.Helper()
	return newHouseOn(b, openSQLite(b, filepath.Join(b.TempDir(), "house.db"), newKey(b)))
}

func newKey(b *testing.B) *storage.MasterKey {
	b.Helper()
	key, err := storage.NewMasterKey()
	if err != nil {
		b.Fatal(err)
	}
	return key
}

func openSQLite(b *testing.B, path string, key *storage.MasterKey) broker.Store {
	b.Helper()
	store, err := sqlite.Open(b.Context(), sqlite.Options{Path: path, MasterKey: key})
	if err != nil {
		b.Fatal(err)
	}
	return store
}

// newHouseOn takes the store over: it is closed with the benchmark.
func newHouseOn(b *testing.B, store broker.Store) *house {
	b.Helper()
	h := &house{store: store, profile: &broker.Profile{
		Name: "default", BasePath: "/api/auth", KeyPrefix: "sp", CSRFHeader: "X-CSRF-Token", KeyHeaders: []string{"Authorization", "X-Api-Key"},
	}, claims: []broker.Claim{{Source: "username", Name: "preferred_username"}, {Source: "roles", Name: "roles", Shape: "list"}}}
	h.Broker = broker.New(broker.Options{Store: store, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if _, err := h.Load(b.Context(), h.snapshot(b)); err != nil {
		b.Fatal(err)
	}
	if err := h.Poll(b.Context()); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Run(ctx)
	}()
	b.Cleanup(func() {
		cancel()
		<-done
		_ = store.Close()
	})
	h.in = h.signIn(b)
	return h
}

func (h *house) snapshot(b *testing.B) *broker.Snapshot {
	b.Helper()
	mapper, err := mapping.Compile([]mapping.Role{
		{Name: "operator", Inherits: []string{"viewer"}, Permissions: []string{"hosts:*"}}, {Name: "viewer", Permissions: []string{"*:read"}},
	}, nil, []mapping.Rule{
		{Provider: "corp", Group: "operators", Roles: []string{"operator"}},
		{Provider: "portal-keys", Group: "operators", Roles: []string{"operator"}},
	})
	if err != nil {
		b.Fatal(err)
	}
	set, err := providers.NewSet(door{}, portal{})
	if err != nil {
		b.Fatal(err)
	}
	address, _ := url.Parse(issuer)
	limits := broker.Limits{Idle: 4 * time.Hour, Lifetime: 8 * time.Hour}
	application := func(id string, profile *broker.Profile) *broker.Application {
		at, _ := url.Parse("https://" + id + ".example.test/")
		return &broker.Application{
			ID: id, Title: id, URL: at, Audience: at.String(), Require: []string{"viewer"}, Algorithm: tokens.ES256,
			TokenLifetime: 15 * time.Minute, Session: limits, Profile: profile, Claims: h.claims,
		}
	}
	inCookie := *h.profile
	inCookie.Cookie.Token = true
	h.app, h.wiki, h.board = application("app", h.profile), application("wiki", &inCookie), application("board", h.profile)
	snap := &broker.Snapshot{
		Generation: 1, Issuer: address, Mapper: mapper, Providers: set, DefaultProvider: "corp", Session: limits,
		Embedders: []*broker.Embedder{{
			ID: "portal", Title: "Portal", Relation: broker.CrossSite, Origins: []string{portalOrigin}, Applications: []string{"board"},
			Provider: "portal-keys", Session: limits,
		}},
		Keys: broker.KeyRules{DefaultLifetime: 8 * time.Hour, MaxLifetime: 8 * time.Hour},
		SelfApplication: &broker.Application{
			ID: broker.Self, Title: "Sallyport", Audience: issuer, Algorithm: tokens.ES256, TokenLifetime: 15 * time.Minute,
			Session: limits, Profile: h.profile, Claims: h.claims,
		},
	}
	return snap.WithApplications([]*broker.Application{h.app, h.wiki, h.board})
}

func (h *house) visit() broker.Visit {
	return broker.Visit{Snapshot: h.Current(), Address: "127.0.0.1"}
}

func (h *house) signIn(b *testing.B) broker.Outcome {
	b.Helper()
	out, err := h.SignIn(b.Context(), h.visit(), broker.Attempt{Application: h.Current().SelfApplication, Kind: sessions.Browser},
		identity.Assertion{Identity: identity.Identity{
			Provider: "corp", Subject: "1", Username: "ada", Name: "Ada Lovelace", Email: "ada@corp.example", Groups: []string{"operators", "staff"},
		}})
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// carrier is a credential of the person at an application, as headers.
type carrier struct {
	name   string
	app    *broker.Application
	header http.Header
}

// carriers are all kinds there are.
func (h *house) carriers(b *testing.B) []carrier {
	b.Helper()
	child, inCookie := h.redeem(b, h.app), h.redeem(b, h.wiki)
	token, err := h.IssueToken(b.Context(), child.Principal, h.app)
	if err != nil {
		b.Fatal(err)
	}
	held, err := h.IssueToken(b.Context(), inCookie.Principal, h.wiki)
	if err != nil {
		b.Fatal(err)
	}
	_, key, err := h.CreateKey(b.Context(), h.visit(), h.in.Principal, broker.NewKey{Name: "ci", Application: h.app})
	if err != nil {
		b.Fatal(err)
	}
	by := h.Current().Embedders[0]
	at := broker.EmbedAttempt{Embedder: by, Application: h.board, Origin: portalOrigin}
	framed, err := h.SignInEmbedded(b.Context(), h.visit(), at, "token")
	if err != nil {
		b.Fatal(err)
	}
	cookie := func(name, value string) http.Header {
		return http.Header{"Cookie": {"theme=dark; " + name + "=" + value}}
	}
	return []carrier{
		{"jwt", h.app, http.Header{"Authorization": {"Bearer " + token.Token}}},
		{"cookie", h.app, cookie(wire.CookieName(h.app), child.Token)},
		{"key", h.app, http.Header{"X-Api-Key": {key}}},
		{"jwt-cookie", h.wiki, cookie(wire.CookieName(h.wiki), held.Token)},
		{"embed-cookie", h.board, cookie(wire.EmbedCookieName(by), framed.Token)},
	}
}

// redeem takes the person over to an application's host.
func (h *house) redeem(b *testing.B, app *broker.Application) broker.Outcome {
	b.Helper()
	code, err := h.HandOver(b.Context(), h.visit(), h.in.Principal, app, broker.Challenge("verifier"))
	if err != nil {
		b.Fatal(err)
	}
	out, err := h.Redeem(b.Context(), h.visit(), app, code, "verifier")
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// credential reads one as web does.
func (h *house) credential(b *testing.B, c carrier) broker.Credential {
	b.Helper()
	credential, err := wire.Credential(h.surfaces(b).Enter(&http.Request{URL: &url.URL{Path: "/"}, Header: c.header}), c.app)
	if err != nil {
		b.Fatal(err)
	}
	return credential
}

func (h *house) surfaces(b *testing.B) *wire.House {
	b.Helper()
	keys, err := h.WebKeys(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	pages, err := templates.New(templates.Options{Static: static.URL})
	if err != nil {
		b.Fatal(err)
	}
	return &wire.House{
		Broker: h.Broker, Log: slog.New(slog.DiscardHandler), Now: time.Now, Pages: pages, HostPages: pages,
		Flows: wire.NewFlows(keys, time.Now), Guard: wire.NewGuard(keys.CSRF),
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Count:          func(string, int) {},
	}
}

func (h *house) web(b *testing.B) http.Handler {
	b.Helper()
	return web.New(h.surfaces(b), h.profile)
}

// writer is a ResponseWriter that is used again.
type writer struct {
	header http.Header
	status int
}

func (w *writer) Header() http.Header         { return w.header }
func (w *writer) Write(p []byte) (int, error) { return len(p), nil }
func (w *writer) WriteHeader(status int)      { w.status = status }

func bare() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
}

// turns is how often one side runs before it is the other's turn: long enough to be measured, short enough that both
// see the same machine.
const turns = 32

// ratio measures both sides in turns and reports the bare time as a share of ours, and our time and allocations.
func ratio(b *testing.B, ours, theirs func()) {
	b.Helper()
	allocs := testing.AllocsPerRun(100, ours)
	var oursTook, theirsTook time.Duration
	n := 0
	for b.Loop() {
		began := time.Now()
		for range turns {
			ours()
		}
		middle := time.Now()
		for range turns {
			theirs()
		}
		oursTook += middle.Sub(began)
		theirsTook += time.Since(middle)
		n += turns
	}
	b.ReportMetric(float64(theirsTook)/float64(oursTook), "ratio")
	b.ReportMetric(float64(oursTook.Nanoseconds())/float64(n), "ours-ns/op")
	b.ReportMetric(float64(theirsTook.Nanoseconds())/float64(n), "bare-ns/op")
	b.ReportMetric(allocs, "ours-allocs/op")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkAuthenticate is the decision alone against an empty handler in process: what it adds, not what it is worth.
func BenchmarkAuthenticate(b *testing.B) {
	h := newHouse(b)
	empty, w, r := bare(), &writer{header: http.Header{}}, &http.Request{}
	for _, shown := range h.carriers(b) {
		b.Run(shown.name, func(b *testing.B) {
			c, at := h.credential(b, shown), h.visit()
			ratio(b, func() {
				if _, err := h.Authenticate(b.Context(), at, c, shown.app); err != nil {
					b.Fatal(err)
				}
			}, func() { empty.ServeHTTP(w, r) })
		})
	}
}

func request(b *testing.B, c carrier) *http.Request {
	b.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, issuer+"/authz/nginx", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	r.RequestURI, r.RemoteAddr = "/authz/nginx", "127.0.0.1:40000"
	r.Header = c.header.Clone()
	r.Header.Set("X-Original-Url", c.app.URL.String()+"hosts/17?tab=packages")
	r.Header.Set("X-Original-Method", http.MethodGet)
	r.Header.Set("User-Agent", "nginx")
	return r
}

// BenchmarkForwardAuthInProcess is the whole handler without sockets.
func BenchmarkForwardAuthInProcess(b *testing.B) {
	h := newHouse(b)
	handler, empty := h.web(b), bare()
	for _, shown := range h.carriers(b) {
		b.Run(shown.name, func(b *testing.B) {
			r, w := request(b, shown), &writer{header: http.Header{}}
			ratio(b, func() {
				clear(w.header)
				handler.ServeHTTP(w, r)
				if w.status != http.StatusNoContent || len(w.header["X-Auth-Roles"]) != 1 {
					b.Fatalf("answered %d, %v", w.status, w.header)
				}
			}, func() { empty.ServeHTTP(w, r) })
		})
	}
}

// client is one connection of a proxy that keeps it open, with as little of its own as possible.
type client struct {
	conn    net.Conn
	answers *bufio.Reader
	request []byte
}

func connect(b *testing.B, handler http.Handler, c carrier) *client {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = conn.Close()
		_ = server.Close()
		<-done
	})
	raw := "GET /authz/nginx HTTP/1.1\r\nHost: sso.example.test\r\n"
	for name, values := range request(b, c).Header {
		raw += name + ": " + values[0] + "\r\n"
	}
	return &client{conn: conn, answers: bufio.NewReader(conn), request: []byte(raw + "\r\n")}
}

// ask sends the request and reads the answer's head; a 204 has no body.
func (c *client) ask(b *testing.B) {
	if _, err := c.conn.Write(c.request); err != nil {
		b.Fatal(err)
	}
	for first := true; ; first = false {
		line, err := c.answers.ReadSlice('\n')
		if err != nil {
			b.Fatal(err)
		}
		if first && string(line) != "HTTP/1.1 204 No Content\r\n" {
			b.Fatalf("answered %q", line)
		}
		if len(line) == 2 {
			return
		}
	}
}

// BenchmarkForwardAuth is what a proxy sees: real sockets, the same request to both.
func BenchmarkForwardAuth(b *testing.B) {
	h := newHouse(b)
	handler := h.web(b)
	for _, shown := range h.carriers(b) {
		b.Run(shown.name, func(b *testing.B) {
			ours, theirs := connect(b, handler, shown), connect(b, bare(), shown)
			ratio(b, func() { ours.ask(b) }, func() { theirs.ask(b) })
		})
	}
}

// BenchmarkIssueToken is a token of a session against the signature alone.
func BenchmarkIssueToken(b *testing.B) {
	h := newHouse(b)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256(make([]byte, 700))
	ratio(b, func() {
		if _, err := h.IssueToken(b.Context(), h.in.Principal, h.Current().SelfApplication); err != nil {
			b.Fatal(err)
		}
	}, func() {
		if _, err := ecdsa.SignASN1(rand.Reader, key, sum[:]); err != nil {
			b.Fatal(err)
		}
	})
}

// fill puts n sessions of n people into the store and shows each once, so that all are in the cache. It returns their
// cookies and what one of them costs in memory.
func (h *house) fill(b *testing.B, n int) (cookies []broker.Credential, bytesEach float64) {
	b.Helper()
	const batch = 2000
	values := make([]string, 0, n)
	now := time.Now()
	for len(values) < n {
		first := len(values)
		for range min(batch, n-first) {
			values = append(values, broker.NewSecret())
		}
		err := h.store.Update(b.Context(), func(tx broker.Tx) error {
			for i, value := range values[first:] {
				if err := person(b.Context(), tx, fmt.Sprintf("person-%d", first+i), value, now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	before := heap()
	for _, value := range values {
		c := broker.NewCredential(broker.Cookie, value)
		if _, err := h.Authenticate(b.Context(), h.visit(), c, h.Current().SelfApplication); err != nil {
			b.Fatal(err)
		}
		cookies = append(cookies, c)
	}
	return cookies, (heap() - before) / float64(n)
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// person writes an account with its identity and a session.
func person(ctx context.Context, tx broker.Tx, name, cookie string, now time.Time) error {
	a := people.Account{ID: broker.NewID(), Username: name, UsernameKey: name, CreatedAt: now}
	if err := tx.CreateAccount(ctx, a); err != nil {
		return err
	}
	if err := tx.CreateIdentity(ctx, people.LinkedIdentity{
		Provider: "corp", Subject: name, AccountID: a.ID, FetchedAt: now, CreatedAt: now, Generation: 1,
		Snapshot: identity.Identity{Provider: "corp", Subject: name, Username: name, Groups: []string{"operators", "staff"}},
	}); err != nil {
		return err
	}
	return tx.CreateSession(ctx, sessions.Session{
		ID: broker.NewID(), Kind: sessions.Browser, State: sessions.Active, AccountID: a.ID, Provider: "corp", Subject: name,
		Application: broker.Self, AuthTime: now, CreatedAt: now, LastSeenAt: now, IdleTimeout: 30 * time.Minute, ExpiresAt: now.Add(8 * time.Hour),
	}, cookie)
}

// BenchmarkSessions compares a house of 100,000 sessions with one of 1,000: the share of the speed that is left, for
// answers from the cache and for answers from the store.
func BenchmarkSessions(b *testing.B) {
	few, many := newHouse(b), newHouse(b)
	fewCookies, _ := few.fill(b, 1_000)
	manyCookies, each := many.fill(b, 100_000)
	next := func(h *house, cookies []broker.Credential, reload bool) func() {
		snap := h.Current()
		if reload { // a snapshot that is not in force is answered from the store
			snap = h.snapshot(b)
		}
		i := 0
		return func() {
			i = (i + 7919) % len(cookies)
			if _, err := h.Authenticate(b.Context(), broker.Visit{Snapshot: snap}, cookies[i], snap.SelfApplication); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("cached", func(b *testing.B) {
		ratio(b, next(many, manyCookies, false), next(few, fewCookies, false))
		b.ReportMetric(each, "bytes/session")
	})
	b.Run("stored", func(b *testing.B) {
		ratio(b, next(many, manyCookies, true), next(few, fewCookies, true))
	})
}

// perSession is how often one session is refreshed before it is another's turn: it may not be refreshed for ever within a
// minute.
const perSession = 40

// BenchmarkRefresh is a refresh, two durable writes and the next tokens, against the signature alone.
func BenchmarkRefresh(b *testing.B) {
	h := newHouse(b)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256(make([]byte, 700))
	var have broker.Refreshed
	left := 0
	begin := func() {
		in, err := h.SignIn(b.Context(), h.visit(), broker.Attempt{Application: h.app, Kind: sessions.API},
			identity.Assertion{Identity: identity.Identity{Provider: "corp", Subject: "1", Username: "ada", Groups: []string{"operators"}}})
		if err == nil {
			have, err = h.IssueTokens(b.Context(), in.Principal, h.app)
		}
		if err != nil {
			b.Fatal(err)
		}
		left = perSession
	}
	ratio(b, func() {
		if left == 0 {
			begin()
		}
		left--
		if have, err = h.Refresh(b.Context(), h.visit(), h.app, have.RefreshToken); err != nil {
			b.Fatal(err)
		}
	}, func() {
		if _, err := ecdsa.SignASN1(rand.Reader, key, sum[:]); err != nil {
			b.Fatal(err)
		}
	})
}
