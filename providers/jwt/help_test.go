package jwt_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	gojwt "github.com/golang-jwt/jwt/v5"

	"sallyport/identity"
	"sallyport/providers"
	"sallyport/providers/jwt"
)

const (
	portal = "https://portal.example"
	house  = "https://login.example"
)

// clock is a house's clock that tests move.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(1_800_000_000)
	return c
}

func (c *clock) now() time.Time          { return time.Unix(c.at.Load(), 0).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d / time.Second)) }

// secretOf returns n bytes of a secret, the same for the same letter.
func secretOf(letter string, n int) []byte { return []byte(strings.Repeat(letter, n)) }

func hmacKey(id, letter string) jwt.Key {
	return jwt.Key{ID: id, HMAC: identity.NewSecret(base64.StdEncoding.EncodeToString(secretOf(letter, 32)))}
}

// embedder signs what a test says, however wrong it is.
type embedder struct {
	method gojwt.SigningMethod
	key    any
	public any
}

func hmacEmbedder(letter string) embedder {
	return embedder{method: gojwt.SigningMethodHS256, key: secretOf(letter, 32)}
}

func ecdsaEmbedder(t testing.TB) embedder {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return embedder{method: gojwt.SigningMethodES256, key: k, public: &k.PublicKey}
}

func ed25519Embedder(t testing.TB) embedder {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return embedder{method: gojwt.SigningMethodEdDSA, key: private, public: public}
}

// rsaEmbedder reads a key, since making one takes long.
func rsaEmbedder(t testing.TB) embedder {
	t.Helper()
	data, err := os.ReadFile("../../tokens/testdata/rs256.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	k, ok := private.(*rsa.PrivateKey)
	if !ok {
		t.Fatal("not an RSA key")
	}
	return embedder{method: gojwt.SigningMethodRS256, key: k, public: k.Public()}
}

func publicPEM(t testing.TB, public crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// raw signs header and payload as they stand.
func (e embedder) raw(t testing.TB, header, payload string) string {
	t.Helper()
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	signature, err := e.method.Sign(input, e.key)
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64(signature)
}

type claims map[string]any

// with returns the claims with some changed; a nil value takes one out.
func (c claims) with(changes claims) claims {
	out := maps.Clone(c)
	for name, value := range changes {
		if value == nil {
			delete(out, name)
		} else {
			out[name] = value
		}
	}
	return out
}

func (e embedder) sign(t testing.TB, c claims) string {
	t.Helper()
	return e.signAs(t, map[string]any{"alg": e.method.Alg(), "typ": "JWT"}, c)
}

func (e embedder) signAs(t testing.TB, header map[string]any, c claims) string {
	t.Helper()
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return e.raw(t, string(h), string(payload))
}

// good is a token's claims with which nothing is wrong, made now.
func good(c *clock) claims {
	now := c.now().Unix()
	return claims{
		"iss": portal, "aud": house, "sub": "u-17", "iat": now, "exp": now + 120, "jti": "one",
		"name": "Ada Lovelace", "email": "ada@portal.example", "preferred_username": "ada",
		"roles": []string{"Analysts", "Staff"},
	}
}

func config(keys ...jwt.Key) jwt.Config {
	return jwt.Config{Issuer: portal, Audience: house, Keys: keys}
}

func open(t testing.TB, c *clock, cfg jwt.Config) *jwt.Provider {
	t.Helper()
	p, err := cfg.Open(t.Context(), "portal", "", providers.Env{Now: c.now, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	door, ok := p.(*jwt.Provider)
	if !ok {
		t.Fatalf("opened a %T", p)
	}
	return door
}

func mustVerify(t testing.TB, p *jwt.Provider, raw string) identity.Assertion {
	t.Helper()
	a, err := p.VerifyToken(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// These are the only ways in which a token may be turned away.
var (
	wantMalformed   = refusal{identity.ErrBadCredentials, "jwt_malformed"}
	wantSignature   = refusal{identity.ErrBadCredentials, "jwt_signature"}
	wantAlgorithm   = refusal{identity.ErrBadCredentials, "jwt_alg"}
	wantTTL         = refusal{identity.ErrBadCredentials, "jwt_ttl"}
	wantClaim       = refusal{identity.ErrBadCredentials, "jwt_claim"}
	wantExpired     = refusal{identity.ErrExpired, "jwt_expired"}
	wantNotYet      = refusal{identity.ErrExpired, "jwt_not_yet"}
	wantUnavailable = refusal{identity.ErrUnavailable, "provider_unavailable"}
)

type refusal struct {
	sentinel error
	code     string
}

// mustRefuse checks sentinel and code, and that the text has the words and nothing of the token.
func mustRefuse(t testing.TB, p *jwt.Provider, raw string, want refusal, words string) {
	t.Helper()
	a, err := p.VerifyToken(t.Context(), raw)
	checkRefusal(t, a, err, raw, want)
	if err != nil && !strings.Contains(err.Error(), words) {
		t.Errorf("error %q does not say %q", err, words)
	}
}

func checkRefusal(t testing.TB, a identity.Assertion, err error, raw string, want refusal) {
	t.Helper()
	if !errors.Is(err, want.sentinel) || identity.CodeOf(err) != want.code {
		t.Fatalf("got %v, want %v coded %s", err, want.sentinel, want.code)
	}
	if a.Identity.Subject != "" || a.Upstream != nil {
		t.Errorf("a refusal came with an assertion: %+v", a)
	}
	for _, part := range strings.Split(raw, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			t.Errorf("error %q holds a part of the token", err)
		}
	}
	for _, said := range []string{"u-17", "Ada", "ada@", "CANARY"} {
		if strings.Contains(err.Error(), said) {
			t.Errorf("error %q holds content of the token", err)
		}
	}
}

// publish writes a JWK set.
func publish(t testing.TB, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: append([]jose.JSONWebKey{}, keys...)})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func background() context.Context { return context.Background() }
