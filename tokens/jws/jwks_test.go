package jws_test

import (
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"sallyport/tokens/jws"
)

// jwk returns a public key as a JWK, with members added in front.
func jwk(t testing.TB, public any, more string) string {
	t.Helper()
	data, err := json.Marshal(jose.JSONWebKey{Key: public})
	if err != nil {
		t.Fatal(err)
	}
	if more == "" {
		return string(data)
	}
	return "{" + more + "," + string(data[1:])
}

func TestParseSetLeavesOutWhatIsNotForVerifying(t *testing.T) {
	ec := newECDSA(t, jwt.SigningMethodES256, elliptic.P256()).public
	good := jwk(t, ec, `"kid":"good"`)
	for name, c := range map[string]struct {
		key  string
		keep bool
	}{
		"a bare key":                     {jwk(t, ec, ""), true},
		"use sig":                        {jwk(t, ec, `"use":"sig","key_ops":["verify"],"alg":"ES256"`), true},
		"certificates and URLs, ignored": {jwk(t, ec, `"x5c":["garbage"],"x5u":"https://evil.example/","x5t":"?"`), true},
		"use enc":                        {jwk(t, ec, `"use":"enc"`), false},
		"an unknown use":                 {jwk(t, ec, `"use":"SIG"`), false},
		"an empty use":                   {jwk(t, ec, `"use":""`), false},
		"key_ops without verify":         {jwk(t, ec, `"key_ops":["sign","encrypt"]`), false},
		"no key_ops":                     {jwk(t, ec, `"key_ops":[]`), false},
		"another algorithm's curve":      {jwk(t, ec, `"alg":"ES384"`), false},
		"alg HS256":                      {jwk(t, ec, `"alg":"HS256"`), false},
		"alg none":                       {jwk(t, ec, `"alg":"none"`), false},
		"a number as kid":                {jwk(t, ec, `"kid":1`), false},
		"an unknown type":                {`{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}`, false},
		"no type":                        {`{"crv":"P-256"}`, false},
		"curve secp256k1":                {strings.Replace(jwk(t, ec, ""), "P-256", "secp256k1", 1), false},
		"curve Ed448":                    {`{"kty":"OKP","crv":"Ed448","x":"` + strings.Repeat("A", 76) + `"}`, false},
		"curve X25519":                   {`{"kty":"OKP","crv":"X25519","x":"` + strings.Repeat("A", 43) + `"}`, false},
		"a point that is on no curve":    {`{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}`, false},
		"RSA of 512 bits":                {`{"kty":"RSA","e":"AQAB","n":"` + strings.Repeat("_", 85) + `w"}`, false},
		"RSA without exponent":           {`{"kty":"RSA","n":"` + strings.Repeat("_", 342) + `"}`, false},
		"padded numbers":                 {`{"kty":"EC","crv":"P-256","x":"AA==","y":"AA=="}`, false},
		"a string as key":                {`"key"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := jws.ParseSet([]byte(`{"keys":[` + c.key + `,` + good + `]}`))
			if err != nil {
				t.Fatal(err)
			}
			want := 1
			if c.keep {
				want = 2
			}
			if set.Len() != want || len(set.Skipped()) != 2-want {
				t.Errorf("%d keys, skipped %q", set.Len(), set.Skipped())
			}
		})
	}
}

func TestParseSetRefusesTheWholeSet(t *testing.T) {
	ec := newECDSA(t, jwt.SigningMethodES256, elliptic.P256())
	good := jwk(t, ec.public, "")
	var manyKeys []string
	for i := range jws.MaxSetKeys + 1 {
		manyKeys = append(manyKeys, fmt.Sprintf(`{"kty":"new","kid":"%d"}`, i))
	}
	same := strings.TrimSuffix(strings.Repeat(jwk(t, ec.public, `"kid":"same"`)+",", 5), ",")
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"a private key":                     {`{"keys":[` + good + `,` + jwk(t, ec.private, "") + `]}`, jws.ErrSecretKey},
		"a private key for encryption":      {`{"keys":[` + jwk(t, ec.private, `"use":"enc"`) + `]}`, jws.ErrSecretKey},
		"a private RSA key":                 {`{"keys":[` + jwk(t, newRSA(t, nil).private, "") + `]}`, jws.ErrSecretKey},
		"a private Ed25519 key":             {`{"keys":[` + jwk(t, newEd25519(t).private, "") + `]}`, jws.ErrSecretKey},
		"a symmetric key":                   {`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`, jws.ErrSecretKey},
		"a symmetric key under a new type":  {`{"keys":[{"kty":"new","k":"c2VjcmV0"}]}`, jws.ErrSecretKey},
		"a lone private member":             {`{"keys":[{"kty":"RSA","dp":null}]}`, jws.ErrSecretKey},
		"too many keys":                     {`{"keys":[` + strings.Join(manyKeys, ",") + `]}`, jws.ErrMalformed},
		"too many bytes":                    {`{"keys":[]}` + strings.Repeat(" ", jws.MaxSetBytes), jws.ErrMalformed},
		"five keys under one kid":           {`{"keys":[` + same + `]}`, jws.ErrKey},
		"no keys":                           {`{}`, jws.ErrMalformed},
		"null keys":                         {`{"keys":null}`, jws.ErrMalformed},
		"keys in another case":              {`{"Keys":[` + good + `]}`, jws.ErrMalformed},
		"two keys members":                  {`{"keys":[],"keys":[` + good + `]}`, jws.ErrMalformed},
		"a key with a duplicate name":       {`{"keys":[` + jwk(t, ec.public, `"kty":"EC"`) + `]}`, jws.ErrMalformed},
		"an object as keys":                 {`{"keys":{}}`, jws.ErrMalformed},
		"a list":                            {`[` + good + `]`, jws.ErrMalformed},
		"a page that says please log in":    {`<html>`, jws.ErrMalformed},
		"nothing":                           {``, jws.ErrMalformed},
		"a single key that is not in a set": {good, jws.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := jws.ParseSet([]byte(c.in)); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestAnEmptySetIsValidAndVerifiesNothing(t *testing.T) {
	set, err := jws.ParseSet([]byte(`{"keys":[]}`))
	if err != nil || set.Len() != 0 {
		t.Fatalf("%d keys, %v", set.Len(), err)
	}
	m := mustParse(t, newEd25519(t).compact(t, `{"alg":"EdDSA"}`, `{}`))
	if _, err := set.Verify(m, "EdDSA"); !errors.Is(err, jws.ErrUnknownKey) {
		t.Errorf("got %v", err)
	}
}

func FuzzParseSet(f *testing.F) {
	f.Add(publish(f, jws.Key{ID: "k", Public: newEd25519(f).public}))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"RSA","n":"AQ","e":"AQ"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := jws.ParseSet(data)
		if err != nil {
			return
		}
		// Whatever was read can be held to the rules for configured keys.
		if _, err := jws.NewSet(set.Keys()...); err != nil {
			t.Fatal(err)
		}
	})
}
