package jws_test

import (
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
	"os"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"sallyport/tokens/jws"
)

// signer signs what a test says, however wrong it is.
type signer struct {
	method  jwt.SigningMethod
	private any
	public  any
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// compact signs header and payload as they stand.
func (s signer) compact(t testing.TB, header, payload string) string {
	t.Helper()
	input := b64(header) + "." + b64(payload)
	signature, err := s.method.Sign(input, s.private)
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func newECDSA(t testing.TB, m jwt.SigningMethod, c elliptic.Curve) signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{method: m, private: k, public: &k.PublicKey}
}

func newEd25519(t testing.TB) signer {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{method: jwt.SigningMethodEdDSA, private: private, public: public}
}

// newRSA reads a key, since making one takes long.
func newRSA(t testing.TB, m jwt.SigningMethod) signer {
	t.Helper()
	data, err := os.ReadFile("../testdata/rs256.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return signer{method: m, private: k, public: k.(crypto.Signer).Public().(*rsa.PublicKey)}
}

func mustParse(t testing.TB, raw string) jws.Message {
	t.Helper()
	m, err := jws.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustSet(t testing.TB, keys ...jws.Key) jws.Set {
	t.Helper()
	s, err := jws.NewSet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// publish writes a JWK set.
func publish(t testing.TB, keys ...jws.Key) []byte {
	t.Helper()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public, KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"})
	}
	data, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
