package jws_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"sallyport/tokens/jws"
)

func allSigners(t testing.TB) []signer {
	return []signer{
		newRSA(t, jwt.SigningMethodRS256), newRSA(t, jwt.SigningMethodRS384), newRSA(t, jwt.SigningMethodRS512),
		newRSA(t, jwt.SigningMethodPS256), newRSA(t, jwt.SigningMethodPS384), newRSA(t, jwt.SigningMethodPS512),
		newECDSA(t, jwt.SigningMethodES256, elliptic.P256()), newECDSA(t, jwt.SigningMethodES384, elliptic.P384()),
		newECDSA(t, jwt.SigningMethodES512, elliptic.P521()), newEd25519(t),
	}
}

func TestEveryAlgorithmVerifiesThroughAPublishedSet(t *testing.T) {
	for _, s := range allSigners(t) {
		t.Run(s.method.Alg(), func(t *testing.T) {
			set, err := jws.ParseSet(publish(t, jws.Key{ID: "k", Public: s.public}))
			if err != nil {
				t.Fatal(err)
			}
			raw := s.compact(t, fmt.Sprintf(`{"alg":%q,"kid":"k"}`, s.method.Alg()), `{"sub":"a"}`)
			payload, err := set.Verify(mustParse(t, raw), jws.Asymmetric()...)
			if err != nil || string(payload) != `{"sub":"a"}` {
				t.Fatalf("%s, %v", payload, err)
			}
			if _, err := set.Verify(mustParse(t, raw)); !errors.Is(err, jws.ErrAlgorithm) {
				t.Errorf("nothing allowed gave %v", err)
			}
			changed := mustParse(t, strings.Replace(raw, b64(`{"sub":"a"}`), b64(`{"sub":"b"}`), 1))
			if _, err := set.Verify(changed, jws.Asymmetric()...); !errors.Is(err, jws.ErrSignature) {
				t.Errorf("a changed payload gave %v", err)
			}
		})
	}
}

func TestKeysChooseAlgorithms(t *testing.T) {
	ec, rs, ed := newECDSA(t, jwt.SigningMethodES256, elliptic.P256()), newRSA(t, jwt.SigningMethodRS256), newEd25519(t)
	rs512 := signer{jwt.SigningMethodRS512, rs.private, rs.public}
	set := mustSet(t,
		jws.Key{ID: "ec", Public: ec.public}, jws.Key{ID: "rs", Algorithm: "RS256", Public: rs.public},
		jws.Key{ID: "ed", Public: ed.public})
	der, err := x509.MarshalPKIXPublicKey(rs.public)
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	hmacWith := func(secret []byte) signer { return signer{jwt.SigningMethodHS256, secret, nil} }
	none := b64(`{"alg":"none","kid":"ec"}`) + "." + b64(`{}`) + ".AA"

	for name, c := range map[string]struct {
		raw     string
		allowed []string
		want    error
	}{
		"alg none":                            {none, []string{"none", "ES256"}, jws.ErrAlgorithm},
		"HMAC with the PEM of the public key": {hmacWith(asPEM).compact(t, `{"alg":"HS256","kid":"rs"}`, `{}`), []string{"HS256", "RS256"}, jws.ErrAlgorithm},
		"HMAC with the DER of the public key": {hmacWith(der).compact(t, `{"alg":"HS256","kid":"rs"}`, `{}`), []string{"HS256", "RS256"}, jws.ErrAlgorithm},
		"HMAC with the bytes of an Ed25519 key": {
			hmacWith(ed.public.(ed25519.PublicKey)).compact(t, `{"alg":"HS256","kid":"ed"}`, `{}`), []string{"HS256", "EdDSA"}, jws.ErrAlgorithm,
		},
		"an algorithm that is not allowed":     {ec.compact(t, `{"alg":"ES256","kid":"ec"}`, `{}`), []string{"RS256", "EdDSA"}, jws.ErrAlgorithm},
		"an algorithm in another case":         {ec.compact(t, `{"alg":"es256","kid":"ec"}`, `{}`), jws.Asymmetric(), jws.ErrAlgorithm},
		"the kid of a key of another type":     {ec.compact(t, `{"alg":"ES256","kid":"rs"}`, `{}`), jws.Asymmetric(), jws.ErrAlgorithm},
		"another algorithm than the key's own": {rs512.compact(t, `{"alg":"RS512","kid":"rs"}`, `{}`), jws.Asymmetric(), jws.ErrAlgorithm},
		"an unknown kid":                       {ec.compact(t, `{"alg":"ES256","kid":"other"}`, `{}`), jws.Asymmetric(), jws.ErrUnknownKey},
		"a kid in another case":                {ec.compact(t, `{"alg":"ES256","kid":"EC"}`, `{}`), jws.Asymmetric(), jws.ErrUnknownKey},
		"a foreign key under a known kid": {
			newECDSA(t, jwt.SigningMethodES256, elliptic.P256()).compact(t, `{"alg":"ES256","kid":"ec"}`, `{}`), jws.Asymmetric(), jws.ErrSignature,
		},
		"a key that the message brings along": {
			newEd25519(t).compact(t, `{"alg":"EdDSA","kid":"ed","jwk":{"kty":"OKP","crv":"Ed25519","x":"AA"}}`, `{}`), jws.Asymmetric(), jws.ErrSignature,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := set.Verify(mustParse(t, c.raw), c.allowed...); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestWithoutKidExactlyOneKeyMustFit(t *testing.T) {
	a, b := newEd25519(t), newEd25519(t)
	ec := newECDSA(t, jwt.SigningMethodES256, elliptic.P256())
	m := mustParse(t, a.compact(t, `{"alg":"EdDSA"}`, `{}`))
	if _, err := mustSet(t, jws.Key{ID: "a", Public: a.public}, jws.Key{ID: "c", Public: ec.public}).Verify(m, "EdDSA"); err != nil {
		t.Errorf("one fits: %v", err)
	}
	two := mustSet(t, jws.Key{ID: "a", Public: a.public}, jws.Key{ID: "b", Public: b.public})
	if _, err := two.Verify(m, "EdDSA"); !errors.Is(err, jws.ErrUnknownKey) {
		t.Errorf("two fit: %v", err)
	}
	if _, err := mustSet(t, jws.Key{ID: "c", Public: ec.public}).Verify(m, "EdDSA"); !errors.Is(err, jws.ErrUnknownKey) {
		t.Errorf("none fits: %v", err)
	}
	// A key without kid is none for a message that names one.
	named := mustParse(t, a.compact(t, `{"alg":"EdDSA","kid":"a"}`, `{}`))
	if _, err := mustSet(t, jws.Key{Public: a.public}).Verify(named, "EdDSA"); !errors.Is(err, jws.ErrUnknownKey) {
		t.Errorf("a kid found a key without: %v", err)
	}
}

func TestTwoKeysMayShareAKid(t *testing.T) {
	a, b := newEd25519(t), newEd25519(t)
	set := mustSet(t, jws.Key{ID: "k", Public: a.public}, jws.Key{ID: "k", Public: b.public})
	if _, err := set.Verify(mustParse(t, b.compact(t, `{"alg":"EdDSA","kid":"k"}`, `{}`)), "EdDSA"); err != nil {
		t.Error(err)
	}
	same := jws.Key{ID: "k", Public: a.public}
	if _, err := jws.NewSet(same, same, same, same, same); !errors.Is(err, jws.ErrKey) {
		t.Errorf("five under one kid: %v", err)
	}
}

func TestECDSASignaturesHaveOneLength(t *testing.T) {
	s := newECDSA(t, jwt.SigningMethodES256, elliptic.P256())
	set := mustSet(t, jws.Key{ID: "k", Public: s.public})
	input := b64(`{"alg":"ES256","kid":"k"}`) + "." + b64(`{}`)
	sum := sha256.Sum256([]byte(input))
	der, err := ecdsa.SignASN1(rand.Reader, s.private.(*ecdsa.PrivateKey), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	plain, err := s.method.Sign(input, s.private)
	if err != nil {
		t.Fatal(err)
	}
	for name, signature := range map[string][]byte{
		"DER":             der,
		"one byte longer": append([]byte{0}, plain...),
		"cut":             plain[:63],
		"all zero":        make([]byte, 64),
	} {
		m := mustParse(t, input+"."+base64.RawURLEncoding.EncodeToString(signature))
		if _, err := set.Verify(m, "ES256"); !errors.Is(err, jws.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPSSWantsTheSaltOfTheStandard(t *testing.T) {
	s := newRSA(t, &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: jwt.SigningMethodPS256.SigningMethodRSA, Options: &rsa.PSSOptions{SaltLength: 20},
	})
	set := mustSet(t, jws.Key{ID: "k", Public: s.public})
	m := mustParse(t, s.compact(t, `{"alg":"PS256","kid":"k"}`, `{}`))
	if _, err := set.Verify(m, "PS256"); !errors.Is(err, jws.ErrSignature) {
		t.Errorf("got %v", err)
	}
}

func TestNewSetRefusesUnusableKeys(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec := newECDSA(t, jwt.SigningMethodES256, elliptic.P256())
	for name, k := range map[string]jws.Key{
		"nothing":                    {},
		"a secret":                   {Public: []byte(strings.Repeat("x", 32))},
		"a private key":              {Public: ec.private},
		"RSA of 1024 bits":           {Public: &weak.PublicKey},
		"RSA with exponent 1":        {Public: &rsa.PublicKey{N: newRSA(t, nil).public.(*rsa.PublicKey).N, E: 1}},
		"curve P-224":                {Public: &p224.PublicKey},
		"no curve":                   {Public: &ecdsa.PublicKey{}},
		"a short Ed25519 key":        {Public: ed25519.PublicKey("short")},
		"an algorithm of a other":    {Public: ec.public, Algorithm: "RS256"},
		"an algorithm of its family": {Public: ec.public, Algorithm: "ES384"},
		"HMAC with a public key":     {Public: ec.public, Algorithm: "HS256"},
		"none":                       {Public: ec.public, Algorithm: "none"},
	} {
		if _, err := jws.NewSet(k); !errors.Is(err, jws.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestZeroValuesVerifyNothing(t *testing.T) {
	s := newEd25519(t)
	m := mustParse(t, s.compact(t, `{"alg":"EdDSA"}`, `{}`))
	if _, err := (jws.Set{}).Verify(m, "EdDSA"); !errors.Is(err, jws.ErrUnknownKey) {
		t.Errorf("an empty set: %v", err)
	}
	set := mustSet(t, jws.Key{Public: s.public})
	if _, err := set.Verify(jws.Message{Header: m.Header, Payload: m.Payload}, "EdDSA"); !errors.Is(err, jws.ErrMalformed) {
		t.Errorf("a message that nobody parsed: %v", err)
	}
}

// TestEMB01_AKeyThatEverybodyHasIsNoSecret: what stands between the lines of a PEM file, as bytes and as text.
func TestEMB01_AKeyThatEverybodyHasIsNoSecret(t *testing.T) {
	r, es, ed := newRSA(t, jwt.SigningMethodRS256), newECDSA(t, jwt.SigningMethodES256, elliptic.P256()), newEd25519(t)
	der := func(raw []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	rsaKey, ecKey := r.private.(*rsa.PrivateKey), es.private.(*ecdsa.PrivateKey)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	for name, raw := range map[string][]byte{
		"a public RSA key":             der(x509.MarshalPKIXPublicKey(r.public)),
		"a public RSA key in PKCS #1":  x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey),
		"a public ECDSA key":           der(x509.MarshalPKIXPublicKey(es.public)),
		"a public Ed25519 key":         der(x509.MarshalPKIXPublicKey(ed.public)),
		"a certificate":                der(x509.CreateCertificate(rand.Reader, template, template, es.public, es.private)),
		"a private RSA key":            der(x509.MarshalPKCS8PrivateKey(rsaKey)),
		"a private RSA key in PKCS #1": x509.MarshalPKCS1PrivateKey(rsaKey),
		"a private ECDSA key":          der(x509.MarshalPKCS8PrivateKey(ecKey)),
		"a private ECDSA key in SEC 1": der(x509.MarshalECPrivateKey(ecKey)),
	} {
		body, _ := strings.CutPrefix(string(pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: raw})), "-----BEGIN X-----\n")
		body, _ = strings.CutSuffix(body, "-----END X-----\n")
		for how, secret := range map[string]string{
			"DER": string(raw), "base64": base64.StdEncoding.EncodeToString(raw), "lines of base64": body,
		} {
			if err := jws.CheckSecret([]byte(secret)); !errors.Is(err, jws.ErrKey) {
				t.Errorf("%s as %s: %v", name, how, err)
			}
		}
	}
	for name, secret := range map[string]string{
		"bytes that begin like DER": "\x30\x1e" + strings.Repeat("s", 30),
		"text that begins like DER": "MFkw" + strings.Repeat("s", 40),
	} {
		if err := jws.CheckSecret([]byte(secret)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHMACNeedsASecretAndItsAlgorithm(t *testing.T) {
	secret := []byte(strings.Repeat("s", 32))
	s := signer{jwt.SigningMethodHS256, secret, nil}
	m := mustParse(t, s.compact(t, `{"alg":"HS256"}`, `{"a":1}`))
	if payload, err := jws.VerifyHMAC(m, secret, "HS256"); err != nil || string(payload) != `{"a":1}` {
		t.Errorf("%s, %v", payload, err)
	}
	ed := mustParse(t, newEd25519(t).compact(t, `{"alg":"EdDSA"}`, `{}`))
	for name, c := range map[string]struct {
		m       jws.Message
		secret  []byte
		allowed []string
		want    error
	}{
		"another secret":                   {m, []byte(strings.Repeat("x", 32)), []string{"HS256"}, jws.ErrSignature},
		"a short secret":                   {m, secret[:31], []string{"HS256"}, jws.ErrKey},
		"no secret":                        {m, nil, []string{"HS256"}, jws.ErrKey},
		"a public key as secret":           {m, []byte("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END"), []string{"HS256"}, jws.ErrKey},
		"an algorithm that is not allowed": {m, secret, []string{"HS512"}, jws.ErrAlgorithm},
		"nothing allowed":                  {m, secret, nil, jws.ErrAlgorithm},
		"a signature":                      {ed, secret, []string{"EdDSA", "HS256"}, jws.ErrAlgorithm},
		"a message that nobody parsed":     {jws.Message{Header: m.Header}, secret, []string{"HS256"}, jws.ErrSignature},
	} {
		if _, err := jws.VerifyHMAC(c.m, c.secret, c.allowed...); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}
