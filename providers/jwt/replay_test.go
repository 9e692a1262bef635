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

func replayOf(t *testing.T, p *jwt.Provider, raw string) (string, time.Time) {
	t.Helper()
	key, until, ok := jwt.Replay(mustVerify(t, p, raw))
	if !ok || key == "" {
		t.Fatal("the token is not to be remembered")
	}
	return key, until
}

func TestEMB02_EverySpellingOfATokenHasOneReplayKey(t *testing.T) {
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
			want, until := replayOf(t, one, raw)
			for _, again := range []string{raw, second} {
				if got, _ := replayOf(t, other, again); got != want {
					t.Errorf("replay key %q, then %q", want, got)
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
	first, _ := replayOf(t, p, e.sign(t, good(c)))
	again, _ := replayOf(t, p, e.sign(t, good(c).with(claims{"sub": "u-18", "exp": c.now().Unix() + 200})))
	if first != again {
		t.Error("one jti has two replay keys")
	}
	next, _ := replayOf(t, p, e.sign(t, good(c).with(claims{"jti": "two"})))
	if first == next {
		t.Error("two jtis have one replay key")
	}
}

func TestEMB02_TheReplayKeyIsTheIssuersOwn(t *testing.T) {
	c := newClock()
	e := hmacEmbedder("a")
	mine, _ := replayOf(t, open(t, c, config(hmacKey("", "a"))), e.sign(t, good(c)))
	cfg := config(hmacKey("", "a"))
	cfg.Issuer = "https://other.example"
	theirs, _ := replayOf(t, open(t, c, cfg), e.sign(t, good(c).with(claims{"iss": cfg.Issuer})))
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
	first, _ := replayOf(t, p, e.sign(t, bare))
	for _, change := range []claims{{"sub": "u-18"}, {"exp": c.now().Unix() + 121}, {"jti": first}} {
		if got, _ := replayOf(t, p, e.sign(t, bare.with(change))); got == first {
			t.Errorf("the token with %v has the replay key of another", change)
		}
	}
}

func TestEMB02_ATokenIsNotForgottenBeforeItExpires(t *testing.T) {
	c := newClock()
	p := open(t, c, config(hmacKey("", "a")))
	raw := hmacEmbedder("a").sign(t, good(c).with(claims{"exp": float64(c.now().Unix()) + 60.25}))
	_, until := replayOf(t, p, raw)
	c.advance(until.Sub(c.now()))
	mustRefuse(t, p, raw, wantExpired, "exp")
}

func TestEMB02_WhereReplayIsOffNothingIsRemembered(t *testing.T) {
	c := newClock()
	cfg := config(hmacKey("", "a"))
	cfg.Replay = "off"
	a := mustVerify(t, open(t, c, cfg), hmacEmbedder("a").sign(t, good(c)))
	if _, _, ok := jwt.Replay(a); ok {
		t.Error("remembered all the same")
	}
}

func TestReplayKnowsNothingOfOtherDoors(t *testing.T) {
	for _, memory := range []string{"", "{}", "x", `{"refresh_token":"r"}`, `{"jwt_replay":7}`, `{"jwt_replay":""}`} {
		if key, _, ok := jwt.Replay(identity.Assertion{Upstream: []byte(memory)}); ok || key != "" {
			t.Errorf("%q gave %q", memory, key)
		}
	}
}
