package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/identity"
	"sallyport/providers"
)

// What travels in tests; none of it may show up in an error or a log line.
const (
	testCode    = "canary-code-4711"
	testAccess  = "canary-access-token-4711"
	testRefresh = "canary-refresh-token-4711"
	testSecret  = "canary client/secret+4711"
	testState   = "state-with-more-than-128-bits-4711"
	callbackURL = "https://sso.example.test/callback/corp"
)

// fake is an OpenID provider with one broken thing: each test sets the hook it needs.
type fake struct {
	t      *testing.T
	srv    *httptest.Server
	issuer string

	mu         sync.Mutex
	key        *ecdsa.PrivateKey
	kid        string
	nonce      string
	discovery  func(doc map[string]any)
	header     func(h map[string]any)
	claims     func(c map[string]any)
	tokens     func(answer map[string]any)
	info       map[string]any // nil: no such endpoint
	override   map[string]http.HandlerFunc
	requests   map[string]int
	lastForm   url.Values
	lastHeader http.Header
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, override: map[string]http.HandlerFunc{}, requests: map[string]int{}}
	f.newKey("k1")
	f.srv = httptest.NewServer(f)
	t.Cleanup(f.srv.Close)
	f.issuer = f.srv.URL
	return f
}

func (f *fake) newKey(kid string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.key, f.kid = key, kid
}

// set changes hooks while the server runs.
func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) count(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[path]
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests[r.URL.Path]++
	special := f.override[r.URL.Path]
	f.mu.Unlock()
	if special != nil {
		special(w, r)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.URL.Path {
	case wellKnown:
		f.answer(w, f.document())
	case "/jwks":
		f.answer(w, f.jwks())
	case "/token":
		_ = r.ParseForm()
		f.lastForm, f.lastHeader = r.PostForm, r.Header.Clone()
		f.answer(w, f.tokenAnswer())
	case "/userinfo":
		f.lastHeader = r.Header.Clone()
		f.answer(w, f.info)
	default:
		http.NotFound(w, r)
	}
}

func (f *fake) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		f.t.Error(err)
	}
}

func (f *fake) document() map[string]any {
	doc := map[string]any{
		"issuer": f.issuer, "authorization_endpoint": f.issuer + "/authorize", "token_endpoint": f.issuer + "/token",
		"jwks_uri": f.issuer + "/jwks", "id_token_signing_alg_values_supported": []string{"ES256"},
	}
	if f.info != nil {
		doc["userinfo_endpoint"] = f.issuer + "/userinfo"
	}
	if f.discovery != nil {
		f.discovery(doc)
	}
	return doc
}

func (f *fake) jwks() map[string]any {
	point, err := f.key.PublicKey.Bytes()
	if err != nil {
		f.t.Error(err)
	}
	return map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": f.kid, "x": b64(point[1:33]), "y": b64(point[33:]),
	}}}
}

func (f *fake) tokenAnswer() map[string]any {
	answer := map[string]any{
		"access_token": testAccess, "token_type": "Bearer", "expires_in": 300, "id_token": f.idToken(),
	}
	if f.tokens != nil {
		f.tokens(answer)
	}
	return answer
}

func (f *fake) idToken() string {
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": f.issuer, "sub": "u-alice", "aud": "sallyport", "iat": now, "exp": now + 300, "nonce": f.nonce,
		"groups": []string{"engineering", "everyone"}, "preferred_username": "alice", "name": "Alice Example",
		"email": "alice@example.test", "email_verified": true, "sid": "upstream-session-1", "auth_time": now - 5,
		"amr": []string{"pwd"},
	}
	if f.claims != nil {
		f.claims(claims)
	}
	head := map[string]any{"alg": "ES256", "kid": f.kid, "typ": "JWT"}
	if f.header != nil {
		f.header(head)
	}
	return signES256(f.t, f.key, head, claims)
}

func signES256(t *testing.T, key *ecdsa.PrivateKey, head, claims map[string]any) string {
	t.Helper()
	signed := b64(mustJSON(t, head)) + "." + b64(mustJSON(t, claims))
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + b64(signature)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// clock is a time that tests move.
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

// logs collects what a provider logs.
type logs struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// door is an opened provider with its clock and log.
type door struct {
	*Provider
	clock *clock
	logs  *logs
}

// open opens a confidential client of the fake; change may be nil.
func (f *fake) open(change func(c *Config)) door {
	f.t.Helper()
	c := &Config{Issuer: f.issuer, ClientID: "sallyport", ClientSecret: identity.NewSecret(testSecret)}
	if change != nil {
		change(c)
	}
	d := door{clock: &clock{}, logs: &logs{}}
	log := slog.New(slog.NewTextHandler(d.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p, err := c.Open(context.Background(), "corp", "Contoso", providers.Env{Log: log, Now: d.clock.now})
	if err != nil {
		f.t.Fatal(err)
	}
	provider, ok := p.(*Provider)
	if !ok {
		f.t.Fatalf("Open returned %T", p)
	}
	d.Provider = provider
	return d
}

func flow() providers.Flow { return providers.Flow{ID: testState, CallbackURL: callbackURL} }

// begin starts a flow and tells the fake its nonce.
func (f *fake) begin(d door) providers.Challenge {
	f.t.Helper()
	challenge, err := d.Begin(context.Background(), flow())
	if err != nil {
		f.t.Fatal(err)
	}
	u, err := url.Parse(challenge.URL)
	if err != nil {
		f.t.Fatal(err)
	}
	f.set(func() { f.nonce = u.Query().Get("nonce") })
	return challenge
}

// signIn runs a whole flow; change may bend the response, and may be nil.
func (f *fake) signIn(d door, change func(reply url.Values)) (identity.Assertion, error) {
	f.t.Helper()
	challenge := f.begin(d)
	reply := url.Values{"state": {testState}, "code": {testCode}}
	if change != nil {
		change(reply)
	}
	a, err := d.Finish(context.Background(), flow(), challenge.Pending, reply)
	f.keepsSecrets(d, err)
	return a, err
}

// keepsSecrets fails the test when a secret is in an error or in the log.
func (f *fake) keepsSecrets(d door, err error) {
	f.t.Helper()
	text := d.logs.String()
	if err != nil {
		text += err.Error()
	}
	for _, secret := range []string{testCode, testAccess, testRefresh, testSecret, testState, "canary"} {
		if strings.Contains(text, secret) {
			f.t.Errorf("%q is in an error or a log line: %s", secret, text)
		}
	}
}

func with(base map[string]any, more map[string]any) map[string]any {
	out := maps.Clone(base)
	maps.Copy(out, more)
	return out
}
