package jwt_test

import (
	"crypto/elliptic"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"sallyport/identity"
	"sallyport/providers/jwt"
)

// malleate writes the second valid signature of an ES256 token: (r, n-s) instead of (r, s).
func malleate(t *testing.T, raw string) string {
	t.Helper()
	cut := strings.LastIndexByte(raw, '.') + 1
	signature, err := base64.RawURLEncoding.DecodeString(raw[cut:])
	if err != nil || len(signature) != 64 {
		t.Fatalf("no ES256 signature: %v", err)
	}
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return raw[:cut] + b64(signature)
}

// onceOf verifies a token and returns what it is to be remembered by.
func onceOf(t *testing.T, p *jwt.Provider, raw string) (string, time.Time) {
	t.Helper()
	id, until, once, err := p.Once(mustVerify(t, p, raw))
	if err != nil || !once || !strings.HasPrefix(id, "jwt:") {
		t.Fatalf("to be remembered by %q: %v, %v", id, once, err)
	}
	return id, until
}

func TestEMB02_EverySpellingOfATokenHasOneID(t *testing.T) {
	c := newClock()
	es := ecdsaEmbedder(t)
	cfg := config(jwt.Key{PEM: publicPEM(t, es.public)})
	cfg.Compat.Missing = []string{"jti"}
	one, other := open(t, c, cfg), open(t, c, cfg) // two nodes
	for name, content := range map[string]claims{"with jti": good(c), "by digest": good(c).with(claims{"jti": nil})} {
		t.Run(name, func(t *testing.T) {
			raw := es.sign(t, content)
			second := malleate(t, raw)
			if raw == second {
				t.Fatal("the signature was not changed")
			}
			want, until := onceOf(t, one, raw)
			for _, again := range []string{raw, second} {
				if got, _ := onceOf(t, other, again); got != want {
					t.Errorf("id %q, then %q", want, got)
				}
			}
			if !until.Equal(c.now().Add(150 * time.Second)) {
				t.Errorf("remembered until %v, want exp and skew", until)
			}
		})
	}
}

func TestEMB02_ATokenSignedAnewUnderOneJTIIsTheSame(t *testing.T) {
	c := newClock()
	p := open(t, c, config(hmacKey("", "a")))
	e := hmacEmbedder("a")
	first, _ := onceOf(t, p, e.sign(t, good(c)))
	again, _ := onceOf(t, p, e.sign(t, good(c).with(claims{"sub": "u-18", "exp": c.now().Unix() + 200})))
	if first != again {
		t.Error("one jti has two ids")
	}
	next, _ := onceOf(t, p, e.sign(t, good(c).with(claims{"jti": "two"})))
	if first == next {
		t.Error("two jtis have one id")
	}
}

func TestEMB02_TheIDIsTheIssuersOwn(t *testing.T) {
	c := newClock()
	e := hmacEmbedder("a")
	mine, _ := onceOf(t, open(t, c, config(hmacKey("", "a"))), e.sign(t, good(c)))
	cfg := config(hmacKey("", "a"))
	cfg.Issuer = "https://other.example"
	theirs, _ := onceOf(t, open(t, c, cfg), e.sign(t, good(c).with(claims{"iss": cfg.Issuer})))
	if mine == theirs {
		t.Error("two issuers with one jti keep each other out")
	}
}

func TestEMB02_AJTIIsNeverTakenForADigest(t *testing.T) {
	c := newClock()
	e := hmacEmbedder("a")
	cfg := config(hmacKey("", "a"))
	cfg.Compat.Missing = []string{"jti"}
	p := open(t, c, cfg)
	bare := good(c).with(claims{"jti": nil})
	first, _ := onceOf(t, p, e.sign(t, bare))
	for _, change := range []claims{{"sub": "u-18"}, {"exp": c.now().Unix() + 121}, {"jti": first}} {
		if got, _ := onceOf(t, p, e.sign(t, bare.with(change))); got == first {
			t.Errorf("the token with %v has the id of another", change)
		}
	}
}

func TestEMB02_ATokenIsNotForgottenBeforeItExpires(t *testing.T) {
	c := newClock()
	p := open(t, c, config(hmacKey("", "a")))
	raw := hmacEmbedder("a").sign(t, good(c).with(claims{"exp": float64(c.now().Unix()) + 60.25}))
	_, until := onceOf(t, p, raw)
	c.advance(until.Sub(c.now()))
	mustRefuse(t, p, raw, wantExpired, "expired")
}

func TestEMB02_WhereReplayIsOffNothingIsRemembered(t *testing.T) {
	c := newClock()
	cfg := config(hmacKey("", "a"))
	cfg.Replay = "off"
	p := open(t, c, cfg)
	id, until, once, err := p.Once(mustVerify(t, p, hmacEmbedder("a").sign(t, good(c))))
	if err != nil || once || id != "" || !until.IsZero() {
		t.Errorf("remembered by %q until %v: %v, %v", id, until, once, err)
	}
}

func TestEMB02_AnAssertionOfAnotherDoorIsRefused(t *testing.T) {
	c := newClock()
	for _, replay := range []string{"strict", "off"} {
		cfg := config(hmacKey("", "a"))
		cfg.Replay = replay
		p := open(t, c, cfg)
		mine := mustVerify(t, p, hmacEmbedder("a").sign(t, good(c).with(claims{"nonce": "n"})))
		theirs := mine
		theirs.Identity.Provider = "other"
		broken := []identity.Assertion{theirs}
		for _, memory := range []string{
			"", "{}", "x", `{"refresh_token":"r"}`, `{"jwt_once":7,"jwt_until":1}`, `{"jwt_once":"","jwt_until":1}`,
			`{"jwt_once":"x"}`, `{"jwt_once":"x","jwt_until":-1}`,
		} {
			changed := mine
			changed.Upstream = []byte(memory)
			broken = append(broken, changed)
		}
		for _, a := range broken {
			if id, _, once, err := p.Once(a); err == nil || once || id != "" {
				t.Errorf("replay %s: %s of %s gave %q, %v", replay, a.Upstream, a.Identity.Provider, id, once)
			}
			if nonce, application := p.Binding(a); nonce+application != "" {
				t.Errorf("bound to %q and %q by %s", nonce, application, a.Upstream)
			}
		}
	}
}

func TestEMB04_WhatATokenIsBoundToIsKeptForWhoeverHoldsItAgainstTheFrame(t *testing.T) {
	c := newClock()
	e := hmacEmbedder("a")
	for _, replay := range []string{"strict", "off"} {
		cfg := config(hmacKey("", "a"))
		cfg.Replay = replay
		p := open(t, c, cfg)
		for name, bound := range map[string]claims{
			"to nothing": {}, "to a challenge": {"nonce": "n-0S6"}, "to an application": {"application": "reports"},
			"to both": {"nonce": "n-0S6", "application": "reports"},
		} {
			a := mustVerify(t, p, e.sign(t, good(c).with(bound)))
			nonce, application := p.Binding(a)
			if wantNonce, _ := bound["nonce"].(string); nonce != wantNonce {
				t.Errorf("replay %s, bound %s: nonce %q", replay, name, nonce)
			}
			if want, _ := bound["application"].(string); application != want {
				t.Errorf("replay %s, bound %s: application %q", replay, name, application)
			}
			if _, there := a.Identity.Attributes["application"]; there {
				t.Errorf("bound %s: it is said of the person", name)
			}
		}
	}
}
