package broker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/mapping"
	"sallyport/providers"
	"sallyport/storage"
	"sallyport/storage/sqlite"
	"sallyport/tokens"
)

// clock is the house's clock; only the test moves it.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC).UnixMilli())
	return c
}

func (c *clock) Now() time.Time          { return time.UnixMilli(c.ms.Load()).UTC() }
func (c *clock) Advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// faults stands before the real store and breaks what a test asks it to break; nil hooks break nothing.
type faults struct {
	broker.Store
	mu sync.Mutex
	// any fails whole transactions; appending and changes fail those statements; read sees what was read of sessions,
	// keys and signing keys before the broker does.
	any       func() error
	appending func(audit.Event) error
	changes   func() error
	read      func(what string)
	// clock is the store's, where it is not this process's own.
	clock *clock
}

func (f *faults) set(change func(f *faults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *faults) hooks() (whole, changes func() error, appending func(audit.Event) error, read func(string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.any, f.changes, f.appending, f.read
}

func (f *faults) wrap(ctx context.Context, run func(context.Context, func(broker.Tx) error) error, fn func(broker.Tx) error) error {
	if whole, _, _, _ := f.hooks(); whole != nil {
		if err := whole(); err != nil {
			return err
		}
	}
	return run(ctx, func(tx broker.Tx) error { return fn(&faultyTx{tx, f}) })
}

func (f *faults) Update(ctx context.Context, fn func(broker.Tx) error) error {
	return f.wrap(ctx, f.Store.Update, fn)
}

func (f *faults) View(ctx context.Context, fn func(broker.Tx) error) error {
	return f.wrap(ctx, f.Store.View, fn)
}

type faultyTx struct {
	broker.Tx
	f *faults
}

func (t *faultyTx) Append(ctx context.Context, e audit.Event) error {
	if _, _, appending, _ := t.f.hooks(); appending != nil {
		if err := appending(e); err != nil {
			return err
		}
	}
	return t.Tx.Append(ctx, e)
}

func (t *faultyTx) Changes(ctx context.Context, since time.Time) ([]broker.Change, error) {
	if _, changes, _, _ := t.f.hooks(); changes != nil {
		if err := changes(); err != nil {
			return nil, err
		}
	}
	return t.Tx.Changes(ctx, since)
}

func (t *faultyTx) Now(ctx context.Context) (time.Time, error) {
	t.f.mu.Lock()
	c := t.f.clock
	t.f.mu.Unlock()
	if c != nil {
		return c.Now(), nil
	}
	return t.Tx.Now(ctx)
}

func (t *faultyTx) saw(what string) {
	if _, _, _, read := t.f.hooks(); read != nil {
		read(what)
	}
}

func (t *faultyTx) Grants(ctx context.Context, accountID string) ([]people.ManualGrant, error) {
	g, err := t.Tx.Grants(ctx, accountID) // the last thing a view of a session or key is made of
	t.saw("view")
	return g, err
}

func (t *faultyTx) SigningKeys(ctx context.Context) ([]tokens.StoredKey, error) {
	k, err := t.Tx.SigningKeys(ctx)
	t.saw("signing keys")
	return k, err
}

// keeper is a local provider whose hash is the password itself: what is tested here is what the broker does with it.
type keeper struct {
	id    string
	store broker.Store
	calls atomic.Int64
	// between, when set, runs after the password was found right.
	between func()
}

func (k *keeper) Info() providers.Info { return providers.Info{ID: k.id, Type: "local", Title: k.id} }

func (k *keeper) MadeWith(a identity.Assertion, hash string) bool { return string(a.Upstream) == hash }

func (k *keeper) HashPassword(_ context.Context, password string, about ...string) (string, error) {
	if len(password) < 8 || slices.Contains(about, password) {
		return "", identity.WithCode("password_too_short", identity.ErrInvalid)
	}
	return "plain:" + password, nil
}

func (k *keeper) Authenticate(ctx context.Context, username, password string) (identity.Assertion, error) {
	k.calls.Add(1)
	key, err := people.CanonicalName(username)
	if err != nil {
		return identity.Assertion{}, identity.ErrBadCredentials
	}
	var p people.LocalPerson
	err = k.store.View(ctx, func(tx broker.Tx) (err error) {
		p, err = tx.LocalPerson(ctx, k.id, key)
		return err
	})
	if errors.Is(err, identity.ErrNotFound) || err == nil && p.PasswordHash != "plain:"+password {
		return identity.Assertion{}, identity.ErrBadCredentials
	}
	if err != nil {
		return identity.Assertion{}, err
	}
	if k.between != nil {
		k.between()
	}
	return identity.Assertion{Upstream: []byte(p.PasswordHash), Identity: identity.Identity{
		Provider: k.id, Subject: p.Subject, Username: p.Username, Name: p.Name, Email: p.Email, Groups: p.Groups,
		AMR: []string{"pwd"},
	}}, nil
}

// door is an upstream with a list of people: by password, or by the code that a browser brings back.
type door struct {
	id    string
	calls atomic.Int64
	mu    sync.Mutex
	known map[string]identity.Identity
	down  error
}

func newDoor(id string) *door { return &door{id: id, known: map[string]identity.Identity{}} }

func (d *door) Info() providers.Info { return providers.Info{ID: d.id, Type: "test", Title: d.id} }

// knows lets somebody in who says secret.
func (d *door) knows(secret string, i identity.Identity) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i.Provider = d.id
	d.known[secret] = i
}

func (d *door) open(secret string) (identity.Assertion, error) {
	d.calls.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down != nil {
		return identity.Assertion{}, d.down
	}
	i, ok := d.known[secret]
	if !ok {
		return identity.Assertion{}, identity.ErrBadCredentials
	}
	return identity.Assertion{Identity: i}, nil
}

type passwordDoor struct{ *door }

func (d passwordDoor) Authenticate(_ context.Context, username, password string) (identity.Assertion, error) {
	return d.open(username + "/" + password)
}

type redirectDoor struct{ *door }

func (d redirectDoor) Begin(_ context.Context, f providers.Flow) (providers.Challenge, error) {
	if d.down != nil {
		return providers.Challenge{}, d.down
	}
	return providers.Challenge{URL: "https://partner.example.test/?state=" + f.ID, Pending: []byte("pending")}, nil
}

func (d redirectDoor) Finish(_ context.Context, _ providers.Flow, _ []byte, reply url.Values) (identity.Assertion, error) {
	return d.open(reply.Get("code"))
}

const (
	issuer   = "https://sso.example.test"
	password = "correct horse"
	// secretA and secretB are the HS256 keys of two applications.
	secretA = "0123456789abcdef0123456789abcdef-A"
	secretB = "0123456789abcdef0123456789abcdef-B"
)

// settings are what a test may configure differently.
type settings struct {
	issuer     string
	rules      []mapping.Rule
	providers  []providers.Provider
	qualify    map[string]bool
	session    broker.Limits
	apps       []*broker.Application
	embedders  []*broker.Embedder
	generation int64
}

func roles() []mapping.Role {
	return []mapping.Role{
		{Name: "admin", Inherits: []string{"operator"}, Permissions: []string{"*:*"}},
		{Name: "operator", Inherits: []string{"viewer"}, Permissions: []string{"hosts:write"}},
		{Name: "viewer", Permissions: []string{"hosts:read"}},
		{Name: "keeper", Permissions: []string{"sallyport:*"}},
	}
}

func rules() []mapping.Rule {
	return []mapping.Rule{
		{Provider: "local", Group: "viewers", Roles: []string{"viewer"}},
		{Provider: "local", Group: "operators", Roles: []string{"operator"}},
		{Provider: "local", Group: "admins", Roles: []string{"admin"}},
		{Provider: "local", Group: "keepers", Roles: []string{"keeper"}},
		{Provider: "corp", GroupDN: "CN=Viewers,DC=corp,DC=example", Roles: []string{"viewer"}},
		{Provider: "partner", Group: "viewers", Roles: []string{"viewer"}},
		{Provider: "contractors", Group: "viewers", Roles: []string{"viewer"}},
		{Provider: "*", Group: "barred", Deny: true},
	}
}

// corpViewers is how the directory spells the group.
const corpViewers = "cn=viewers, dc=corp, dc=example"

func profile() *broker.Profile {
	return &broker.Profile{Name: "default", KeyPrefix: "sp"}
}

func claims() []broker.Claim {
	return []broker.Claim{
		{Source: "username", Name: "preferred_username"}, {Source: "roles", Name: "roles", Shape: "list"},
	}
}

func application(id, address string, require ...string) *broker.Application {
	a := &broker.Application{
		ID: id, Title: id, Audience: "https://" + id + ".example.test", Require: require, Algorithm: tokens.ES256,
		TokenLifetime: 15 * time.Minute, Session: broker.Limits{Idle: 30 * time.Minute, Lifetime: 8 * time.Hour}, Profile: profile(), Claims: claims(),
	}
	if address != "" {
		a.URL, _ = url.Parse(address)
	}
	return a
}

func hmacApplication(id, secret string) *broker.Application {
	a := application(id, "https://"+id+".example.test/")
	a.Algorithm, a.Secret = tokens.HS256, []byte(secret)
	return a
}

// house is a broker on a real store in a real file, with its doors and applications.
type house struct {
	t testing.TB
	*broker.Broker
	clock  *clock
	store  *faults
	path   string
	key    *storage.MasterKey
	config settings

	local             *keeper
	corp, contractors passwordDoor
	partner           redirectDoor
	traces            atomic.Int64
}

// newHouse builds a house and polls once, so that its caches are in use.
func newHouse(t testing.TB, change ...func(s *settings)) *house {
	t.Helper()
	key, err := storage.NewMasterKey()
	if err != nil {
		t.Fatal(err)
	}
	h := openHouse(t, filepath.Join(t.TempDir(), "house.db"), key, newClock(), change...)
	return h
}

// beside is another process on the same database file, with the same configuration and clock.
func (h *house) beside() *house {
	h.t.Helper()
	return openHouse(h.t, h.path, h.key, h.clock, func(s *settings) {
		s.rules, s.session, s.qualify = h.config.rules, h.config.session, h.config.qualify
	})
}

func openHouse(t testing.TB, path string, key *storage.MasterKey, c *clock, change ...func(s *settings)) *house {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, MasterKey: key, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &house{
		t: t, clock: c, store: &faults{Store: store}, path: path, key: key,
		local: &keeper{id: "local", store: store}, corp: passwordDoor{newDoor("corp")},
		contractors: passwordDoor{newDoor("contractors")}, partner: redirectDoor{newDoor("partner")},
	}
	h.Broker = broker.New(broker.Options{Store: h.store, Log: h.log(), Now: c.Now})
	h.config = settings{
		issuer: issuer, rules: rules(), providers: []providers.Provider{h.local, h.corp, h.contractors, h.partner},
		qualify: map[string]bool{"contractors": true}, session: broker.Limits{Idle: 30 * time.Minute, Lifetime: 8 * time.Hour},
		apps: []*broker.Application{
			application("app", "https://app.example.test/", "viewer"),
			application("reports", "https://reports.example.test/reports/", "operator"),
			application("open", "https://open.example.test/"),
			hmacApplication("hmac-a", secretA), hmacApplication("hmac-b", secretB),
		},
		generation: 1,
	}
	h.reload(change...)
	h.poll()
	return h
}

// reload puts a changed configuration in force.
func (h *house) reload(change ...func(s *settings)) {
	h.t.Helper()
	for _, c := range change {
		c(&h.config)
	}
	s := h.config
	mapper, err := mapping.Compile(roles(), nil, s.rules)
	if err != nil {
		h.t.Fatal(err)
	}
	set, err := providers.NewSet(s.providers...)
	if err != nil {
		h.t.Fatal(err)
	}
	address, err := url.Parse(s.issuer)
	if err != nil {
		h.t.Fatal(err)
	}
	snap := &broker.Snapshot{
		Generation: s.generation, Issuer: address, Mapper: mapper, Providers: set, QualifyNames: s.qualify,
		DefaultProvider: "local", Domains: map[string]string{"corp.example": "corp", "partner.example": "partner"},
		Session: s.session, Keys: broker.KeyRules{DefaultLifetime: 24 * time.Hour, MaxLifetime: 90 * 24 * time.Hour},
		SelfApplication: &broker.Application{
			ID: broker.Self, Title: "Sallyport", Audience: s.issuer, Algorithm: tokens.ES256,
			TokenLifetime: 15 * time.Minute, Session: s.session, Profile: profile(), Claims: claims(),
		},
	}
	snap.Embedders = s.embedders
	if _, err := h.Load(h.t.Context(), snap.WithApplications(s.apps)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) poll() {
	h.t.Helper()
	if err := h.Poll(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// pass lets time go by in a process that polls as it should.
func (h *house) pass(d time.Duration) {
	h.t.Helper()
	h.clock.Advance(d)
	h.poll()
}

// visit is a request from 192.0.2.7 with a trace id of its own.
func (h *house) visit() broker.Visit {
	return broker.Visit{
		Snapshot: h.Current(), Address: "192.0.2.7", UserAgent: "test", TraceID: fmt.Sprintf("trace-%d", h.traces.Add(1)),
	}
}

func (h *house) app(id string) *broker.Application {
	h.t.Helper()
	a, err := h.Current().Application(id)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func (h *house) addPerson(name string, groups ...string) people.Account {
	h.t.Helper()
	return h.add(broker.NewPerson{Username: name, Name: strings.ToUpper(name), Password: password, Groups: groups})
}

func (h *house) addAdministrator(name string, groups ...string) people.Account {
	h.t.Helper()
	return h.add(broker.NewPerson{Username: name, Password: password, Groups: groups, Administrator: true})
}

func (h *house) add(n broker.NewPerson) people.Account {
	h.t.Helper()
	a, err := h.AddPerson(h.t.Context(), h.visit(), "cli", n)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func (h *house) atBroker() broker.Attempt {
	return broker.Attempt{Application: h.Current().SelfApplication, Kind: sessions.Browser}
}

func (h *house) atAPI(app string) broker.Attempt {
	h.t.Helper()
	return broker.Attempt{Application: h.app(app), Kind: sessions.API}
}

// signIn is a local person's sign-in at our pages.
func (h *house) signIn(name string) broker.Outcome {
	h.t.Helper()
	return h.signInAs(h.atBroker(), "", name)
}

func (h *house) signInAs(at broker.Attempt, provider, name string) broker.Outcome {
	h.t.Helper()
	out, err := h.SignInWithPassword(h.t.Context(), h.visit(), at, provider, name, password)
	if err != nil {
		h.t.Fatalf("sign-in of %s: %v", name, err)
	}
	return out
}

// token is a bearer token of the outcome's session.
func (h *house) token(out broker.Outcome, app string) string {
	h.t.Helper()
	made, err := h.IssueToken(h.t.Context(), out.Principal, h.app(app))
	if err != nil {
		h.t.Fatal(err)
	}
	return made.Token
}

const verifier = "a-verifier-of-the-application-host-with-enough-bits"

// handOver returns an open hand-over code.
func (h *house) handOver(out broker.Outcome, app string) string {
	h.t.Helper()
	code, err := h.HandOver(h.t.Context(), h.visit(), out.Principal, h.app(app), broker.Challenge(verifier))
	if err != nil {
		h.t.Fatal(err)
	}
	return code
}

// child is the outcome's sign-in carried to an application's host.
func (h *house) child(out broker.Outcome, app string) broker.Outcome {
	h.t.Helper()
	child, err := h.Redeem(h.t.Context(), h.visit(), h.app(app), h.handOver(out, app), verifier)
	if err != nil {
		h.t.Fatal(err)
	}
	return child
}

// newKey is an API key of the outcome's person.
func (h *house) newKey(out broker.Outcome, app string, roles ...string) (sessions.Key, string) {
	h.t.Helper()
	k, whole, err := h.CreateKey(h.t.Context(), h.visit(), out.Principal, broker.NewKey{Name: "ci", Application: h.app(app), Roles: roles})
	if err != nil {
		h.t.Fatal(err)
	}
	return k.Key, whole
}

// credential is one way of showing who one is, with the application it is shown to.
type credential struct {
	carrier broker.Carrier
	value   string
	app     string
}

func cookie(out broker.Outcome) credential {
	return credential{broker.Cookie, out.Token, out.Session.Application}
}

func (h *house) bearer(out broker.Outcome) credential {
	h.t.Helper()
	return credential{broker.Bearer, h.token(out, out.Session.Application), out.Session.Application}
}

func apiKey(whole, app string) credential { return credential{broker.APIKey, whole, app} }

func (h *house) show(c credential) (identity.Principal, error) {
	h.t.Helper()
	return h.Authenticate(h.t.Context(), h.visit(), broker.NewCredential(c.carrier, c.value), h.app(c.app))
}

// opens wants the credential to open its application.
func (h *house) opens(c credential) identity.Principal {
	h.t.Helper()
	p, err := h.show(c)
	if err != nil {
		h.t.Fatalf("credential at %s: %v", c.app, err)
	}
	return p
}

// refuses wants the credential refused with one of the sentinels of a refusal, never with a fault.
func (h *house) refuses(c credential) {
	h.t.Helper()
	p, err := h.show(c)
	switch {
	case err == nil:
		h.t.Fatalf("credential opened %s as %+v", c.app, p)
	case p.Subject != "" || p.SessionID != "" || p.KeyID != "":
		h.t.Fatalf("a refusal came with a principal: %+v", p)
	case !errors.Is(err, identity.ErrBadCredentials) && !errors.Is(err, identity.ErrExpired) && !errors.Is(err, identity.ErrDenied):
		h.t.Fatalf("refused with %v", err)
	}
}

// events returns all audit events, oldest first.
func (h *house) events(types ...audit.Type) []audit.Event {
	h.t.Helper()
	var all []audit.Event
	err := h.store.Store.View(h.t.Context(), func(tx broker.Tx) (err error) {
		all, err = tx.Events(h.t.Context(), 0, 10_000)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	slices.Reverse(all)
	if len(types) > 0 {
		all = slices.DeleteFunc(all, func(e audit.Event) bool { return !slices.Contains(types, e.Type) })
	}
	return all
}

func (h *house) log() *slog.Logger { return slog.New(slog.DiscardHandler) }

// wantErr checks sentinel and code of an error.
func wantErr(t testing.TB, err, sentinel error, code string) {
	t.Helper()
	if !errors.Is(err, sentinel) || identity.CodeOf(err) != code {
		t.Fatalf("error is %v (code %q), want %v (code %q)", err, identity.CodeOf(err), sentinel, code)
	}
}

// parallel runs fn n times at once and returns how many succeeded.
func parallel(n int, fn func(i int) error) (won int, lost []error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			err := fn(i)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else {
				lost = append(lost, err)
			}
		})
	}
	close(start)
	wg.Wait()
	return won, lost
}
