package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport/identity"
	"sallyport/providers"
)

func TestOID02_OneBrokenClaimIsRefused(t *testing.T) {
	now := time.Now().Unix()
	claim := func(name string, value any) func(map[string]any) {
		return func(c map[string]any) { c[name] = value }
	}
	without := func(name string) func(map[string]any) { return func(c map[string]any) { delete(c, name) } }
	tests := map[string]func(c map[string]any){
		"no iss":                          without("iss"),
		"another iss":                     claim("iss", "https://b.example.test"),
		"iss with a slash more":           func(c map[string]any) { c["iss"] = c["iss"].(string) + "/" },
		"iss as a list":                   claim("iss", []string{"x"}),
		"no aud":                          without("aud"),
		"another aud":                     claim("aud", "other"),
		"an empty aud":                    claim("aud", []string{}),
		"aud as a number":                 claim("aud", 7),
		"several aud without azp":         claim("aud", []string{"sallyport", "other"}),
		"azp of another client":           claim("azp", "other"),
		"an empty azp":                    claim("azp", ""),
		"azp as null":                     claim("azp", nil),
		"no exp":                          without("exp"),
		"exp two minutes ago":             claim("exp", now-120),
		"exp as text":                     claim("exp", "9999999999"),
		"exp in the year 10000":           claim("exp", 253402300800*1000),
		"exp before iat":                  func(c map[string]any) { c["iat"], c["exp"] = now+50, now+10 },
		"no iat":                          without("iat"),
		"iat two minutes ahead":           claim("iat", now+120),
		"iat an hour ago":                 claim("iat", now-3600),
		"nbf two minutes ahead":           claim("nbf", now+120),
		"auth_time two minutes ahead":     claim("auth_time", now+120),
		"no nonce":                        without("nonce"),
		"another nonce":                   claim("nonce", "another-nonce-with-128-bits-of-it"),
		"an empty nonce":                  claim("nonce", ""),
		"nonce as a list":                 func(c map[string]any) { c["nonce"] = []any{c["nonce"]} },
		"no sub":                          without("sub"),
		"an empty sub":                    claim("sub", ""),
		"sub as a number":                 claim("sub", 7),
		"sub of 256 bytes":                claim("sub", strings.Repeat("s", 256)),
		"sub with a line end":             claim("sub", "u-alice\n"),
		"at_hash of another access token": claim("at_hash", b64(make([]byte, 16))),
		"at_hash as a number":             claim("at_hash", 7),
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.claims = change
			_, err := f.signIn(f.open(nil), nil)
			refused(t, err, identity.ErrBadCredentials, providers.CodeReplyInvalid)
		})
	}
}

func TestOID02_WhatTheStandardAllowsIsAccepted(t *testing.T) {
	now := time.Now().Unix()
	sum := sha256.Sum256([]byte(testAccess))
	tests := map[string]func(c map[string]any){
		"several audiences with azp":           func(c map[string]any) { c["aud"], c["azp"] = []string{"other", "sallyport"}, "sallyport" },
		"one audience in a list":               func(c map[string]any) { c["aud"] = []string{"sallyport"} },
		"the right at_hash":                    func(c map[string]any) { c["at_hash"] = b64(sum[:16]) },
		"expired within the leeway":            func(c map[string]any) { c["iat"], c["exp"] = now-300, now-30 },
		"issued ahead within the leeway":       func(c map[string]any) { c["iat"] = now + 30 },
		"a sub of 255 bytes":                   func(c map[string]any) { c["sub"] = strings.Repeat("s", 255) },
		"dated back five minutes with nbf":     func(c map[string]any) { c["iat"], c["nbf"] = now-300, now-300 },
		"nothing about the person but the sub": func(c map[string]any) { delete(c, "email"); delete(c, "groups"); delete(c, "auth_time") },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.claims = change
			if _, err := f.signIn(f.open(nil), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOID02_MaxAgeNeedsAYoungAuthTime(t *testing.T) {
	age := 10 * time.Minute
	now := time.Now().Unix()
	tests := map[string]struct {
		authTime any
		ok       bool
	}{
		"young": {now - 30, true}, "old": {now - 3600, false}, "absent": {nil, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.claims = func(c map[string]any) {
				c["auth_time"] = test.authTime
				if test.authTime == nil {
					delete(c, "auth_time")
				}
			}
			_, err := f.signIn(f.open(func(c *Config) { c.MaxAge = &age }), nil)
			if test.ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refused(t, err, identity.ErrBadCredentials, providers.CodeReplyInvalid)
		})
	}
}

func TestOID02_SignatureAndAlgorithmAreOurChoice(t *testing.T) {
	otherKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	type sign func(t *testing.T, f *fake, head, claims map[string]any) string
	tests := map[string]sign{
		"alg none": func(t *testing.T, _ *fake, _, claims map[string]any) string {
			return b64([]byte(`{"alg":"none"}`)) + "." + b64(mustJSON(t, claims)) + "."
		},
		"alg none with a signature": func(t *testing.T, f *fake, head, claims map[string]any) string {
			return signES256(t, f.key, with(head, map[string]any{"alg": "none"}), claims)
		},
		"HS256 with the client secret": func(t *testing.T, _ *fake, head, claims map[string]any) string {
			signed := b64(mustJSON(t, with(head, map[string]any{"alg": "HS256"}))) + "." + b64(mustJSON(t, claims))
			mac := hmac.New(sha256.New, []byte(testSecret))
			mac.Write([]byte(signed))
			return signed + "." + b64(mac.Sum(nil))
		},
		"an algorithm that is not the key's": func(t *testing.T, f *fake, head, claims map[string]any) string {
			return signES256(t, f.key, with(head, map[string]any{"alg": "RS256"}), claims)
		},
		"another key under the same kid": func(t *testing.T, _ *fake, head, claims map[string]any) string {
			return signES256(t, otherKey, head, claims)
		},
		"an unknown kid": func(t *testing.T, f *fake, head, claims map[string]any) string {
			return signES256(t, f.key, with(head, map[string]any{"kid": "k2"}), claims)
		},
		"a key inside the message": func(t *testing.T, _ *fake, head, claims map[string]any) string {
			point, _ := otherKey.PublicKey.Bytes()
			jwk := map[string]any{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}
			return signES256(t, otherKey, with(head, map[string]any{"jwk": jwk}), claims)
		},
		"an access token of the same issuer": func(t *testing.T, f *fake, head, claims map[string]any) string {
			return signES256(t, f.key, with(head, map[string]any{"typ": "at+jwt"}), claims)
		},
		"a claim that stands twice": func(t *testing.T, f *fake, head, claims map[string]any) string {
			body := string(mustJSON(t, claims))
			return signRaw(t, f.key, mustJSON(t, head), []byte(`{"sub":"u-admin",`+body[1:]))
		},
		"a changed payload": func(t *testing.T, f *fake, head, claims map[string]any) string {
			parts := strings.Split(signES256(t, f.key, head, claims), ".")
			parts[1] = b64(mustJSON(t, with(claims, map[string]any{"sub": "u-admin"})))
			return strings.Join(parts, ".")
		},
	}
	for name, sign := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.tokens = func(answer map[string]any) {
				now := time.Now().Unix()
				claims := map[string]any{
					"iss": f.issuer, "sub": "u-alice", "aud": "sallyport", "iat": now, "exp": now + 300, "nonce": f.nonce,
				}
				answer["id_token"] = sign(t, f, map[string]any{"alg": "ES256", "kid": "k1", "typ": "JWT"}, claims)
			}
			_, err := f.signIn(f.open(nil), nil)
			refused(t, err, identity.ErrBadCredentials, providers.CodeReplyInvalid)
		})
	}
}

func signRaw(t *testing.T, key *ecdsa.PrivateKey, head, claims []byte) string {
	t.Helper()
	signed := b64(head) + "." + b64(claims)
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

func TestOID02_AnAlgorithmThatIsNotAllowedHereIsRefused(t *testing.T) {
	f := newFake(t)
	f.discovery = func(doc map[string]any) { delete(doc, "id_token_signing_alg_values_supported") }
	_, err := f.signIn(f.open(func(c *Config) { c.Algorithms = []string{"RS256"} }), nil)
	refused(t, err, identity.ErrBadCredentials, providers.CodeReplyInvalid)
}

func TestOID04_BadTokensCauseAtMostTwoFetchesOfTheKeys(t *testing.T) {
	f := newFake(t)
	f.header = func(h map[string]any) { h["kid"] = "unknown" }
	d := f.open(nil)
	for range 500 {
		_, err := f.signIn(d, nil)
		refused(t, err, identity.ErrBadCredentials, providers.CodeReplyInvalid)
	}
	if got := f.count("/jwks"); got > 2 {
		t.Errorf("500 bad tokens caused %d fetches", got)
	}
}

func TestOID04_KnownKeysWorkWhileTheKeySetIsDown(t *testing.T) {
	f := newFake(t)
	d := f.open(nil)
	if _, err := f.signIn(d, nil); err != nil {
		t.Fatal(err)
	}
	down := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	f.set(func() { f.override["/jwks"], f.override[wellKnown] = down, down })
	d.clock.advance(2 * time.Minute)
	if _, err := f.signIn(d, nil); err != nil {
		t.Errorf("with a copy of the keys: %v", err)
	}
	fresh := newFake(t)
	fresh.override["/jwks"] = down
	_, err := fresh.signIn(fresh.open(nil), nil)
	refused(t, err, identity.ErrUnavailable, providers.CodeUnavailable)
}

func TestOID05_AKeyThatLeftIsRefusedAndANewOneIsFound(t *testing.T) {
	f := newFake(t)
	d := f.open(nil)
	if _, err := f.signIn(d, nil); err != nil {
		t.Fatal(err)
	}
	old := f.key
	f.newKey("k2")
	if _, err := f.signIn(d, nil); err != nil {
		t.Errorf("a key published since: %v", err)
	}
	f.tokens = func(answer map[string]any) {
		now := time.Now().Unix()
		answer["id_token"] = signES256(t, old, map[string]any{"alg": "ES256", "kid": "k1"}, map[string]any{
			"iss": f.issuer, "sub": "u-alice", "aud": "sallyport", "iat": now, "exp": now + 300, "nonce": f.nonce,
		})
	}
	_, err := f.signIn(d, nil)
	refused(t, err, identity.ErrBadCredentials, providers.CodeReplyInvalid)
}

func TestOID05_OneIssuersKeysNeverVerifyAnothersTokens(t *testing.T) {
	a, b := newFake(t), newFake(t) // both call their key k1
	a.tokens = func(answer map[string]any) {
		now := time.Now().Unix()
		answer["id_token"] = signES256(t, b.key, map[string]any{"alg": "ES256", "kid": "k1"}, map[string]any{
			"iss": a.issuer, "sub": "u-alice", "aud": "sallyport", "iat": now, "exp": now + 300, "nonce": a.nonce,
		})
	}
	db := b.open(nil)
	if _, err := b.signIn(db, nil); err != nil {
		t.Fatal(err)
	}
	_, err := a.signIn(a.open(nil), nil)
	refused(t, err, identity.ErrBadCredentials, providers.CodeReplyInvalid)
}

func TestAFinishThatIsCancelledIsNoAnswer(t *testing.T) {
	f := newFake(t)
	d := f.open(nil)
	challenge := f.begin(d)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := d.Finish(ctx, flow(), challenge.Pending, url.Values{"state": {testState}, "code": {testCode}})
	refused(t, err, identity.ErrUnavailable, providers.CodeUnavailable)
}
