package jwt_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

func TestEMB01_EveryKindOfKeyVerifiesWithItsOwnAlgorithmOnly(t *testing.T) {
	c := newClock()
	r, es, ed := rsaEmbedder(t), ecdsaEmbedder(t), ed25519Embedder(t)
	pss := embedder{method: gojwt.SigningMethodPS256, key: r.key}
	hs512 := embedder{method: gojwt.SigningMethodHS512, key: secretOf("a", 32)}
	for name, tt := range map[string]struct {
		key     jwt.Key
		opens   embedder
		refused []embedder
	}{
		"HMAC":            {hmacKey("", "a"), hmacEmbedder("a"), []embedder{hs512, hmacEmbedder("b"), r, es}},
		"HMAC with HS512": {jwt.Key{HMAC: hmacKey("", "a").HMAC, Algorithm: "HS512"}, hs512, []embedder{hmacEmbedder("a")}},
		"RSA":             {jwt.Key{PEM: publicPEM(t, r.public)}, r, []embedder{pss, es, hmacEmbedder("a")}},
		"RSA with PS256":  {jwt.Key{PEM: publicPEM(t, r.public), Algorithm: "PS256"}, pss, []embedder{r}},
		"ECDSA":           {jwt.Key{PEM: publicPEM(t, es.public)}, es, []embedder{ecdsaEmbedder(t), ed, r}},
		"Ed25519":         {jwt.Key{PEM: publicPEM(t, ed.public)}, ed, []embedder{ed25519Embedder(t), es}},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, c, config(tt.key))
			mustVerify(t, p, tt.opens.sign(t, good(c)))
			for _, e := range tt.refused {
				want := wantAlgorithm
				if e.method.Alg() == tt.opens.method.Alg() {
					want = wantSignature
				}
				mustRefuse(t, p, e.sign(t, good(c)), want, "")
			}
		})
	}
}

func TestEMB01_APublicKeyIsNoSecretAndNoneIsUnreachable(t *testing.T) {
	c := newClock()
	r := rsaEmbedder(t)
	text := publicPEM(t, r.public)
	block, _ := pem.Decode([]byte(text))
	p := open(t, c, config(jwt.Key{PEM: text}))
	both := open(t, c, config(jwt.Key{PEM: text}, hmacKey("", "a")))
	for name, secret := range map[string][]byte{"its PEM": []byte(text), "its DER": block.Bytes} {
		t.Run(name, func(t *testing.T) {
			forged := embedder{method: gojwt.SigningMethodHS256, key: secret}.sign(t, good(c))
			mustRefuse(t, p, forged, wantAlgorithm, "it says HS256, the keys are for RS256")
			mustRefuse(t, both, forged, wantSignature, "signature")
		})
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "HS1", "RS1", "hs256"} {
		unsigned := embedder{method: gojwt.SigningMethodNone, key: gojwt.UnsafeAllowNoneSignatureType}
		bare := unsigned.signAs(t, map[string]any{"alg": alg}, good(c))
		for _, door := range []*jwt.Provider{p, both} {
			mustRefuse(t, door, bare, wantMalformed, "")
			mustRefuse(t, door, bare+b64([]byte("x")), wantAlgorithm, "it says another, the keys are for")
		}
	}
}

func TestEMB01_KeysOverlapAndARemovedOneEndsAtOnce(t *testing.T) {
	c := newClock()
	was, is := ecdsaEmbedder(t), ecdsaEmbedder(t)
	oldKey, newKey := jwt.Key{PEM: publicPEM(t, was.public)}, jwt.Key{PEM: publicPEM(t, is.public)}
	for name, ids := range map[string][2]string{
		"without ids": {}, "with ids": {"k1", "k2"}, "both of one id": {"k", "k"},
	} {
		t.Run(name, func(t *testing.T) {
			oldKey.ID, newKey.ID = ids[0], ids[1]
			header := func(id string) map[string]any {
				if id == "" {
					return map[string]any{"alg": "ES256"}
				}
				return map[string]any{"alg": "ES256", "kid": id}
			}
			before, after := was.signAs(t, header(ids[0]), good(c)), is.signAs(t, header(ids[1]), good(c))
			both := open(t, c, config(oldKey, newKey))
			mustVerify(t, both, before)
			mustVerify(t, both, after)
			mustVerify(t, both, is.sign(t, good(c))) // an embedder that names no kid
			only := open(t, c, config(newKey))
			mustVerify(t, only, after)
			mustRefuse(t, only, before, wantSignature, "")
		})
	}
}

func TestEMB01_AKidNamesOneOfTheConfiguredKeysAndNothingElse(t *testing.T) {
	c := newClock()
	e := hmacEmbedder("a")
	signed := func(kid string) string {
		return e.signAs(t, map[string]any{"alg": "HS256", "kid": kid, "jku": "https://CANARY.example"}, good(c))
	}
	named := open(t, c, config(hmacKey("k1", "a"), hmacKey("k2", "b")))
	mustVerify(t, named, signed("k1"))
	mustRefuse(t, named, signed("k2"), wantSignature, "signature")
	mustRefuse(t, named, signed("CANARY"), wantSignature, "unknown key")
	mustVerify(t, open(t, c, config(hmacKey("", "a"))), signed("whatever"))
	es := ecdsaEmbedder(t)
	nameless := open(t, c, config(jwt.Key{PEM: publicPEM(t, es.public)}))
	mustVerify(t, nameless, es.signAs(t, map[string]any{"alg": "ES256", "kid": "whatever"}, good(c)))
}

func TestAKeySetInAFileIsRead(t *testing.T) {
	c := newClock()
	es, other := ecdsaEmbedder(t), ecdsaEmbedder(t)
	dir := t.TempDir()
	write := func(data []byte) {
		if err := os.WriteFile(filepath.Join(dir, "keys.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := jwt.Config{Issuer: portal, Audience: house, JWKSFile: "keys.json"}
	env := providers.Env{Now: c.now, Dir: dir}
	for name, data := range map[string][]byte{
		"no key":     publish(t),
		"no JSON":    []byte("x"),
		"a secret":   []byte(`{"keys":[{"kty":"oct","k":"` + b64(secretOf("a", 32)) + `"}]}`),
		"too much":   []byte(strings.Repeat(" ", 256<<10) + "{}"),
		"no file":    nil,
		"a weak key": []byte(`{"keys":[{"kty":"RSA","n":"` + b64(secretOf("a", 128)) + `","e":"AQAB"}]}`),
	} {
		if data != nil {
			write(data)
		} else {
			_ = os.Remove(filepath.Join(dir, "keys.json"))
		}
		_, err := cfg.Open(t.Context(), "portal", "", env)
		if err == nil || !strings.HasPrefix(err.Error(), "jwks_file:") {
			t.Errorf("%s: opened with %v", name, err)
		}
	}
	write(publish(t, jose.JSONWebKey{Key: es.public, KeyID: "k1", Use: "sig"}))
	opened, err := cfg.Open(t.Context(), "portal", "", env)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := opened.(*jwt.Provider)
	if !ok {
		t.Fatalf("opened a %T", opened)
	}
	mustVerify(t, p, es.signAs(t, map[string]any{"alg": "ES256", "kid": "k1"}, good(c)))
	mustVerify(t, p, es.sign(t, good(c)))
	mustRefuse(t, p, other.sign(t, good(c)), wantSignature, "signature")
	mustRefuse(t, p, hmacEmbedder("a").sign(t, good(c)), wantAlgorithm, "algorithm")
	if err := p.Check(t.Context()); err != nil {
		t.Errorf("check without anything upstream: %v", err)
	}
}

// published is an embedding application that publishes its keys.
type published struct {
	*httptest.Server
	set     atomic.Pointer[[]byte]
	fetches atomic.Int32
}

func newPublished(t *testing.T, keys ...jose.JSONWebKey) *published {
	t.Helper()
	s := &published{}
	s.put(publish(t, keys...))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.fetches.Add(1)
		_, _ = w.Write(*s.set.Load())
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *published) put(set []byte) { s.set.Store(&set) }

func TestEMB01_APublishedKeySetIsFetchedAndAKeyThatLeftItEnds(t *testing.T) {
	c := newClock()
	was, is := ecdsaEmbedder(t), ecdsaEmbedder(t)
	k1 := jose.JSONWebKey{Key: was.public, KeyID: "k1", Use: "sig", Algorithm: "ES256"}
	k2 := jose.JSONWebKey{Key: is.public, KeyID: "k2", Use: "sig", Algorithm: "ES256"}
	before := func() string { return was.signAs(t, map[string]any{"alg": "ES256", "kid": "k1"}, good(c)) }
	after := func() string { return is.signAs(t, map[string]any{"alg": "ES256", "kid": "k2"}, good(c)) }

	s := newPublished(t, k1)
	// By name, which our own dialler takes for this machine.
	address := strings.Replace(s.URL, "127.0.0.1", "keys.localhost", 1) + "/jwks"
	p := open(t, c, jwt.Config{Issuer: portal, Audience: house, JWKSURL: address})
	mustRefuse(t, p, hmacEmbedder("a").sign(t, good(c)), wantAlgorithm, "algorithm")
	if n := s.fetches.Load(); n != 0 {
		t.Errorf("opening, or a message with HMAC, fetched the set %d times", n)
	}
	mustVerify(t, p, before())
	s.put(publish(t, k1, k2))
	mustVerify(t, p, after()) // an unknown kid has the set fetched
	mustVerify(t, p, before())
	s.put(publish(t, k2))
	c.advance(10*time.Minute + time.Second)
	mustRefuse(t, p, before(), wantSignature, "unknown key")
	mustVerify(t, p, after())

	s.put(publish(t, k1, k2))
	if err := p.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, p, before())
	s.put(publish(t))
	mustBeDown(t, p, "provider_misconfigured", "no usable key")
	mustRefuse(t, p, before(), wantSignature, "unknown key")
}

func TestAKeySetThatWasNeverReadIsNoAnswerAboutTheToken(t *testing.T) {
	c := newClock()
	es := ecdsaEmbedder(t)
	s := newPublished(t)
	s.put([]byte("CANARY"))
	cfg := config(hmacKey("", "a"))
	cfg.JWKSURL = s.URL
	p := open(t, c, cfg)
	mustRefuse(t, p, es.sign(t, good(c)), wantUnavailable, "")
	mustVerify(t, p, hmacEmbedder("a").sign(t, good(c))) // a configured key needs nobody
	mustBeDown(t, p, "provider_unavailable", "malformed")
	s.Close()
	mustBeDown(t, p, "provider_unavailable", "refused")
}

// mustBeDown checks that Check says so in these words, and nothing that the peer wrote.
func mustBeDown(t *testing.T, p *jwt.Provider, code, words string) {
	t.Helper()
	err := p.Check(t.Context())
	if !errors.Is(err, identity.ErrUnavailable) || identity.CodeOf(err) != code {
		t.Fatalf("check: %v", err)
	}
	if !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("check says %q, want %q", err, words)
	}
}

func TestARedirectElsewhereIsNotFollowed(t *testing.T) {
	c := newClock()
	es := ecdsaEmbedder(t)
	theirs := newPublished(t, jose.JSONWebKey{Key: es.public, Use: "sig"})
	s := httptest.NewServer(http.RedirectHandler(theirs.URL+"/CANARY", http.StatusFound))
	t.Cleanup(s.Close)
	p := open(t, c, jwt.Config{Issuer: portal, Audience: house, JWKSURL: s.URL})
	mustRefuse(t, p, es.sign(t, good(c)), wantUnavailable, "")
	mustBeDown(t, p, "provider_unavailable", "no valid http answer")
	if n := theirs.fetches.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}

func TestAuthoritiesThatCannotBeReadAreRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "empty.pem"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"empty.pem", "none.pem"} {
		cfg := jwt.Config{Issuer: portal, Audience: house, JWKSURL: "https://portal.example/jwks", CAFile: file}
		_, err := cfg.Open(t.Context(), "portal", "", providers.Env{Dir: dir})
		if err == nil || !strings.HasPrefix(err.Error(), "ca_file:") {
			t.Errorf("%s: opened with %v", file, err)
		}
	}
}

func TestAPrivateAuthorityIsTrustedWhereItIsNamed(t *testing.T) {
	c := newClock()
	es := ecdsaEmbedder(t)
	set := publish(t, jose.JSONWebKey{Key: es.public, Use: "sig"})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(set)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of the handshake that we refuse
	s.StartTLS()
	t.Cleanup(s.Close)
	cfg := jwt.Config{Issuer: portal, Audience: house, JWKSURL: s.URL}
	mustRefuse(t, open(t, c, cfg), es.sign(t, good(c)), wantUnavailable, "")
	cfg.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(cfg.CAFile, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, open(t, c, cfg), es.sign(t, good(c)))
}

func TestEMB01_AKeyThatMustNotVerifyIsRefusedAtConfiguration(t *testing.T) {
	r, es := rsaEmbedder(t), ecdsaEmbedder(t)
	private, err := x509.MarshalPKCS8PrivateKey(es.key)
	if err != nil {
		t.Fatal(err)
	}
	secret := hmacKey("", "a").HMAC
	base := func(data []byte) identity.Secret {
		return identity.NewSecret(base64.StdEncoding.EncodeToString(data))
	}
	for name, tt := range map[string]struct {
		key   jwt.Key
		where string // where the error begins
	}{
		"no key at all": {jwt.Key{ID: "k"}, "keys[0].hmac: exactly one"},
		"two at once": {
			jwt.Key{HMAC: secret, PEM: publicPEM(t, es.public)}, "keys[0].hmac: exactly one",
		},
		"a secret of 31 bytes": {jwt.Key{HMAC: base(secretOf("a", 31))}, "keys[0].hmac: "},
		"a secret of 32 letters": {
			jwt.Key{HMAC: identity.NewSecret(strings.Repeat("a", 32))}, "keys[0].hmac: ",
		},
		"a secret that is no base64": {
			jwt.Key{HMAC: identity.NewSecret(strings.Repeat("!", 64))}, "keys[0].hmac: must be base64",
		},
		"a secret with spare bits": {
			jwt.Key{HMAC: identity.NewSecret(strings.TrimSuffix(b64(secretOf("a", 32)), "E") + "F")},
			"keys[0].hmac: must be base64",
		},
		"a secret over two lines": {
			jwt.Key{HMAC: identity.NewSecret(b64(secretOf("a", 33)) + "\n")}, "keys[0].hmac: must be base64",
		},
		"a secret that is a public key":                       {jwt.Key{HMAC: base([]byte(publicPEM(t, r.public)))}, "keys[0].hmac: "},
		"a secret that is what stands in a public key's PEM":  {jwt.Key{HMAC: base(bodyOf(t, publicPEM(t, es.public)))}, "keys[0].hmac: key is not usable: an HMAC secret must not be a key"},
		"a secret that is what stands in a private key's PEM": {jwt.Key{HMAC: base(private)}, "keys[0].hmac: key is not usable: an HMAC secret must not be a key"},
		"a secret with an RSA algorithm":                      {jwt.Key{HMAC: secret, Algorithm: "RS256"}, "keys[0].algorithm: "},
		"a public key with HMAC": {
			jwt.Key{PEM: publicPEM(t, r.public), Algorithm: "HS256"}, "keys[0].algorithm: ",
		},
		"a public key with none": {
			jwt.Key{PEM: publicPEM(t, r.public), Algorithm: "none"}, "keys[0].algorithm: ",
		},
		"a key with another's algorithm": {
			jwt.Key{PEM: publicPEM(t, es.public), Algorithm: "RS256"}, "keys[0].pem: ",
		},
		"a private key": {jwt.Key{PEM: string(pem.EncodeToMemory(
			&pem.Block{Type: "PRIVATE KEY", Bytes: private}))}, "keys[0].pem: is a private key"},
		"two keys in one": {
			jwt.Key{PEM: publicPEM(t, es.public) + publicPEM(t, r.public)}, "keys[0].pem: holds more",
		},
		"no PEM": {jwt.Key{PEM: "CANARY"}, "keys[0].pem: is not PEM"},
		"PEM of something else": {
			jwt.Key{PEM: "-----BEGIN X-----\nAAAA\n-----END X-----\n"}, "keys[0].pem: is neither",
		},
		"an id with a line end":          {jwt.Key{ID: "a\nb", PEM: publicPEM(t, es.public)}, "keys[0].id: "},
		"a secret that was not resolved": {unresolved(t), "keys[0].hmac: was never resolved"},
		"a file that is not there":       {jwt.Key{PEMFile: "none.pem"}, "keys[0].pem_file: "},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(tt.key)
			_, err := cfg.Open(t.Context(), "portal", "", providers.Env{Dir: t.TempDir()})
			if err == nil || !strings.HasPrefix(err.Error(), tt.where) {
				t.Errorf("opened with %v, want %q", err, tt.where)
			}
			if err != nil && strings.Contains(err.Error(), strings.Repeat("a", 8)) {
				t.Errorf("error %q holds the secret", err)
			}
		})
	}
}

// bodyOf is what stands in the first block of PEM.
func bodyOf(t *testing.T, text string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatal("no PEM")
	}
	return block.Bytes
}

func unresolved(t *testing.T) jwt.Key {
	t.Helper()
	var k jwt.Key
	if err := k.HMAC.UnmarshalText([]byte("env:PORTAL")); err != nil {
		t.Fatal(err)
	}
	return k
}

func TestASecretMayBeWrittenInEitherAlphabet(t *testing.T) {
	c := newClock()
	secret := secretOf("\xfb\xff", 17) // 34 bytes: with + and / or - and _, and with padding
	e := embedder{method: gojwt.SigningMethodHS256, key: secret}
	for _, encoding := range []*base64.Encoding{
		base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding,
	} {
		key := jwt.Key{HMAC: identity.NewSecret(encoding.EncodeToString(secret))}
		mustVerify(t, open(t, c, config(key)), e.sign(t, good(c)))
	}
}

func TestAPublicKeyMayStandInAFileOrACertificate(t *testing.T) {
	c := newClock()
	r := rsaEmbedder(t)
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	t.Cleanup(s.Close)
	leaf := s.TLS.Certificates[0]
	for name, tt := range map[string]struct {
		text string
		e    embedder
	}{
		"a public key": {publicPEM(t, r.public), r},
		"a certificate": {
			string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})),
			embedder{method: gojwt.SigningMethodRS256, key: leaf.PrivateKey},
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key.pem")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			mustVerify(t, open(t, c, config(jwt.Key{PEMFile: file})), tt.e.sign(t, good(c)))
		})
	}
}
