package testenv

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOIDCProviderStopsAndStartsOnTheSamePort(t *testing.T) {
	p := OIDCProvider(t, OIDCOptions{Algorithm: "EdDSA", RedirectURIs: []string{"http://127.0.0.1:1/callback"}})
	p.Stop()
	if err := discoveryAnswers(p.Issuer); err == nil {
		t.Fatal("the provider still answers after Stop")
	}
	p.Start(t)
	if err := discoveryAnswers(p.Issuer); err != nil {
		t.Fatal(err)
	}
}

func TestOtherVerifiersAcceptAGoodTokenAndRefuseABrokenOne(t *testing.T) {
	jwks, token := signedToken(t)
	want := "u-1"
	if got := JoseVerify(t, jwks, token, "https://issuer.test", "app"); !cmp.Equal(got["sub"], any(want)) {
		t.Errorf("jose reads sub %v, want %q", got["sub"], want)
	}
	if got := PyJWTVerify(t, jwks, token, "https://issuer.test", "app"); !cmp.Equal(got["sub"], any(want)) {
		t.Errorf("PyJWT reads sub %v, want %q", got["sub"], want)
	}
	broken := token[:len(token)-8] + "AAAAAAAA"
	node, modules := Need(t, "jose", "node")[0], needNPM(t, "jose")
	if _, err := runVerifier(node, scriptFile(t, "jose-verify.mjs"), modules, jwks, broken, "https://issuer.test", "app"); err == nil {
		t.Error("jose accepts a broken signature")
	}
	if _, err := runVerifier("/usr/bin/python3", scriptFile(t, "pyjwt-verify.py"), jwks, token, "https://issuer.test", "other"); err == nil {
		t.Error("PyJWT accepts a foreign audience")
	}
}

// signedToken makes an ES256 key, writes its JWKS and signs a token with it.
func signedToken(t *testing.T) (jwksFile, token string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	jwks := encodeJSON(t, map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1", "x": enc(public[1:33]), "y": enc(public[33:]),
	}}})
	jwksFile = filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(jwksFile, jwks, 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	head := encodeJSON(t, map[string]any{"alg": "ES256", "kid": "k1", "typ": "JWT"})
	body := encodeJSON(t, map[string]any{"iss": "https://issuer.test", "aud": "app", "sub": "u-1", "iat": now, "exp": now + 60})
	signed := enc(head) + "." + enc(body)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return jwksFile, signed + "." + enc(fixed(r, s))
}

func fixed(r, s *big.Int) []byte {
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out
}

func encodeJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
