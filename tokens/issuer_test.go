package tokens

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sallyport/tokens/jws"
)

// readable writes header and claims as people read them.
func readable(t *testing.T, token string) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, part := range strings.Split(token, ".")[:2] {
		data, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Indent(&out, data, "", "  "); err != nil {
			t.Fatal(err)
		}
		out.WriteByte('\n')
	}
	return out.Bytes()
}

func TestOPT06_WhatAnAccessTokenSays(t *testing.T) {
	issuer := fixedIssuer(t, fixedRing(t))
	minimal := Spec{Subject: "acc_7", Audience: testAudience, ClientID: "app", SessionID: "ses_9", Lifetime: time.Minute + 999*time.Millisecond}
	for name, c := range map[string]struct {
		alg  Algorithm
		spec Spec
	}{
		"es256-full": {ES256, fullSpec()}, "eddsa-minimal": {EdDSA, minimal}, "rs256-minimal": {RS256, minimal},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := issuer.Issue(c.alg, c.spec)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".golden.json", readable(t, out.Token))
			if !out.IssuedAt.Equal(moment().Truncate(time.Second)) ||
				!out.ExpiresAt.Equal(out.IssuedAt.Add(c.spec.Lifetime.Truncate(time.Second))) {
				t.Errorf("issued %v, expires %v", out.IssuedAt, out.ExpiresAt)
			}
			// Somebody else's parser with all its checks agrees.
			k, _ := issuer.ring.Current(c.alg, "")
			_, err = jwt.Parse(out.Token, func(*jwt.Token) (any, error) { return k.Public, nil },
				jwt.WithValidMethods([]string{string(c.alg)}), jwt.WithIssuer(testIssuer), jwt.WithAudience(testAudience),
				jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding(), jwt.WithTimeFunc(fixedClock(moment())))
			if err != nil {
				t.Error(err)
			}
		})
	}
	out, err := issuer.IssueHMAC([]byte(strings.Repeat("s", 32)), "app-2026", minimal)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "hs256-minimal.golden.json", readable(t, out.Token))
}

func TestIssueRefusesWhatMakesNoSoundToken(t *testing.T) {
	issuer := fixedIssuer(t, fixedRing(t))
	claims := func(name string, value any) func(*Spec) {
		return func(s *Spec) { s.Claims = map[string]any{name: value} }
	}
	cases := map[string]func(*Spec){
		"no subject":                       func(s *Spec) { s.Subject = "" },
		"no audience":                      func(s *Spec) { s.Audience = "" },
		"no application":                   func(s *Spec) { s.ClientID = "" },
		"no session":                       func(s *Spec) { s.SessionID = "" },
		"a subject that is no text":        func(s *Spec) { s.Subject = "a\xff" },
		"a subject with NUL":               func(s *Spec) { s.Subject = "a\x00b" },
		"an AMR that is no text":           func(s *Spec) { s.AMR = []string{"\xff"} },
		"a provider that is no text":       func(s *Spec) { s.Provider = "\xff" },
		"an ACR that is no text":           func(s *Spec) { s.ACR = "\xff" },
		"no lifetime":                      func(s *Spec) { s.Lifetime = 0 },
		"a lifetime under a second":        func(s *Spec) { s.Lifetime = time.Second - 1 },
		"a negative lifetime":              func(s *Spec) { s.Lifetime = -time.Hour },
		"a sign-in before 1970":            func(s *Spec) { s.AuthTime = time.Unix(-1, 0) },
		"a claim without name":             claims("", 1),
		"a claim whose name is no text":    claims("\xff", 1),
		"a claim that is no text":          claims("x", "\xff"),
		"a claim with a list of no text":   claims("x", []string{"a", "\xff"}),
		"a claim that is no JSON":          claims("x", func() {}),
		"a raw claim with duplicate names": claims("x", json.RawMessage(`{"a":1,"a":2}`)),
		"a claim that nests too deeply":    claims("x", json.RawMessage(strings.Repeat("[", 40)+strings.Repeat("]", 40))),
		"a huge claim":                     claims("x", strings.Repeat("x", jws.MaxMessage)),
	}
	for _, core := range strings.Fields("iss sub aud exp iat nbf jti sid client_id auth_time amr acr idp Sub EXP \u017fub") {
		cases["a claim that overwrites "+core] = claims(core, "x")
	}
	for name, breakIt := range cases {
		t.Run(name, func(t *testing.T) {
			spec := fullSpec()
			breakIt(&spec)
			if out, err := issuer.Issue(EdDSA, spec); err == nil || out != (Issued{}) {
				t.Errorf("issued %+v, %v", out, err)
			}
		})
	}
	for _, alg := range []Algorithm{HS256, "none", ""} {
		if _, err := issuer.Issue(alg, fullSpec()); err == nil {
			t.Errorf("algorithm %q has signed", alg)
		}
	}
	if _, err := NewIssuer("", issuer.ring, issuer.now).Issue(EdDSA, fullSpec()); err == nil {
		t.Error("an issuer without URL has signed")
	}
	next, err := NewKeyring([]StoredKey{fixedKey(t, "es256-next", ES256, KeyNext, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewIssuer(testIssuer, next, issuer.now).Issue(ES256, fullSpec()); err == nil {
		t.Error("a key has signed before its time")
	}
}

func TestIssueHMACRefusesWeakSecrets(t *testing.T) {
	issuer := fixedIssuer(t, fixedRing(t))
	public, err := issuer.ring.PEM(fixedKeys(t)[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][]byte{"none": nil, "31 bytes": make([]byte, 31), "a public key": public} {
		if _, err := issuer.IssueHMAC(secret, "", fullSpec()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := issuer.IssueHMAC(make([]byte, 32), "\xff", fullSpec()); err == nil {
		t.Error("a key id that is no text: accepted")
	}
}

func TestIDsAreRandomAndLong(t *testing.T) {
	issuer := NewIssuer(testIssuer, fixedRing(t), fixedClock(moment()))
	seen := make(map[string]bool)
	for range 100 {
		out, err := issuer.Issue(EdDSA, fullSpec())
		if err != nil {
			t.Fatal(err)
		}
		if b, err := base64.RawURLEncoding.DecodeString(out.ID); err != nil || len(b) != 16 || seen[out.ID] {
			t.Fatalf("id %q", out.ID)
		}
		seen[out.ID] = true
	}
}

func TestAppendStringWritesWhatTheLibraryWrites(t *testing.T) {
	for c := range 0x100 {
		checkAppendString(t, fmt.Sprintf("a%cb", rune(c)))
	}
	checkAppendString(t, "\u2027\u2028\u2029\u202a\ue000€😀")
}

func checkAppendString(t *testing.T, s string) {
	t.Helper()
	var want bytes.Buffer
	e := json.NewEncoder(&want)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		t.Fatal(err)
	}
	if got := string(appendString(nil, s)) + "\n"; got != want.String() {
		t.Fatalf("got %s want %s", got, want.String())
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a", "\"\\/", "\x00\x1f\x7f", "\u2028\u2029", "é😀", "<&>", "\xe2\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if plain(s) || strings.ToValidUTF8(s, "") == s {
			checkAppendString(t, s)
		}
	})
}

func FuzzIssue(f *testing.F) {
	f.Add("acc_7", "app", "name", "Ada")
	f.Add("a\"b", "\\", "x\ny", "\u2028")
	issuer, verifier := fixedIssuer(f, fixedRing(f)), NewVerifier(testIssuer, fixedRing(f), fixedClock(moment()))
	f.Fuzz(func(t *testing.T, subject, client, name, value string) {
		spec := fullSpec()
		spec.Subject, spec.ClientID, spec.Claims = subject, client, map[string]any{name: value}
		out, err := issuer.Issue(EdDSA, spec)
		if err != nil {
			return
		}
		// What we issue we verify, and it says what it was to say.
		c, err := verifier.Verify(out.Token, testAudience)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.Unmarshal(c.Extra[name], &got); err != nil {
			t.Fatal(err)
		}
		if c.Subject != subject || c.ClientID != client || got != value || len(c.Extra) != 1 {
			t.Fatalf("got %+v", c)
		}
	})
}
