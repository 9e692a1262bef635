package tokens

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"sallyport/identity"
	"sallyport/tokens/jws"
)

func TestVerifyReturnsWhatWasIssued(t *testing.T) {
	ring := fixedRing(t)
	issuer, verifier := fixedIssuer(t, ring), NewVerifier(testIssuer, ring, fixedClock(moment()))
	issued := moment().Truncate(time.Second)
	secret := []byte(strings.Repeat("s", 32))
	for _, alg := range []Algorithm{ES256, RS256, EdDSA, HS256} {
		t.Run(string(alg), func(t *testing.T) {
			var out Issued
			var got Claims
			var err error
			want := Claims{
				Issuer: testIssuer, Subject: "acc_7", Audience: testAudience, ID: "AAECAwQFBgcICQoLDA0ODw", SessionID: "ses_9",
				ClientID: "app", Provider: "corp-ad", AMR: []string{"pwd", "otp"}, ACR: "urn:example:2",
				AuthTime: issued.Add(-time.Minute), IssuedAt: issued, NotBefore: issued, ExpiresAt: issued.Add(15 * time.Minute),
				Extra: map[string]json.RawMessage{"roles": json.RawMessage(`["admin","viewer"]`)},
			}
			spec := fullSpec()
			spec.Claims = map[string]any{"roles": []string{"admin", "viewer"}}
			if alg == HS256 {
				want.KeyID = "app-key"
				if out, err = issuer.IssueHMAC(secret, "app-key", spec); err == nil {
					got, err = verifier.VerifyHMAC(out.Token, testAudience, secret)
				}
			} else {
				want.KeyID = ring.current[keyUse{algorithm: alg}].ID
				if out, err = issuer.Issue(alg, spec); err == nil {
					got, err = verifier.Verify(out.Token, testAudience)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestOPT06_BrokenClaims breaks one claim of a token whose signature is right.
func TestOPT06_BrokenClaims(t *testing.T) {
	ring := fixedRing(t)
	k := ring.current[keyUse{algorithm: EdDSA}]
	header := fmt.Sprintf(`{"alg":"EdDSA","typ":"at+jwt","kid":%q}`, k.ID)
	verifier := NewVerifier(testIssuer, ring, fixedClock(moment()))
	now := moment().Unix()

	set := func(name string, value any) func(map[string]any) {
		return func(c map[string]any) { c[name] = value }
	}
	cases := map[string]struct {
		change func(map[string]any)
		want   error
	}{
		"nothing broken":                   {func(map[string]any) {}, nil},
		"an audience in a list of one":     {set("aud", []string{testAudience}), nil},
		"a clock that is 30 s ahead":       {func(c map[string]any) { c["iat"], c["nbf"] = now+30, now+30 }, nil},
		"without what is not required":     {func(c map[string]any) { delete(c, "amr"); delete(c, "acr"); delete(c, "idp"); delete(c, "auth_time") }, nil},
		"expired just now":                 {func(c map[string]any) { c["iat"], c["exp"] = now-900, now }, identity.ErrExpired},
		"expired long ago":                 {func(c map[string]any) { c["iat"], c["exp"] = now-9000, now-8000 }, identity.ErrExpired},
		"expired, and for another":         {func(c map[string]any) { c["iat"], c["exp"], c["aud"] = now-9000, now-8000, "x" }, identity.ErrBadCredentials},
		"exp before iat":                   {set("exp", now-1), identity.ErrBadCredentials},
		"iat in the future":                {set("iat", now+31), identity.ErrBadCredentials},
		"nbf in the future":                {set("nbf", now+31), identity.ErrBadCredentials},
		"another issuer":                   {set("iss", testIssuer+"/"), identity.ErrBadCredentials},
		"the issuer in another case":       {set("iss", strings.ToUpper(testIssuer)), identity.ErrBadCredentials},
		"another audience":                 {set("aud", "https://other.example"), identity.ErrBadCredentials},
		"two audiences":                    {set("aud", []string{testAudience, "https://other.example"}), identity.ErrBadCredentials},
		"the audience twice":               {set("aud", []string{testAudience, testAudience}), identity.ErrBadCredentials},
		"an empty list of audiences":       {set("aud", []string{}), identity.ErrBadCredentials},
		"an audience with a space":         {set("aud", testAudience+" "), identity.ErrBadCredentials},
		"a number as audience":             {set("aud", 1), identity.ErrBadCredentials},
		"a string as exp":                  {set("exp", fmt.Sprint(now+900)), identity.ErrBadCredentials},
		"a fraction as exp":                {set("exp", json.RawMessage(fmt.Sprintf("%d.5", now+900))), identity.ErrBadCredentials},
		"an exponent as exp":               {set("exp", json.RawMessage("9e9")), identity.ErrBadCredentials},
		"a negative exp":                   {set("exp", -1), identity.ErrBadCredentials},
		"null as exp":                      {set("exp", nil), identity.ErrBadCredentials},
		"an exp beyond all time":           {set("exp", json.RawMessage("99999999999999999999")), identity.ErrBadCredentials},
		"a number as sub":                  {set("sub", 7), identity.ErrBadCredentials},
		"an object as amr":                 {set("amr", map[string]any{}), identity.ErrBadCredentials},
		"a number as idp":                  {set("idp", 1), identity.ErrBadCredentials},
		"Exp beside exp":                   {set("Exp", now+90000), identity.ErrBadCredentials},
		"SUB beside sub":                   {set("SUB", "admin"), identity.ErrBadCredentials},
		"sub with a long s beside sub":     {set("\u017fub", "admin"), identity.ErrBadCredentials},
		"a string as auth_time":            {set("auth_time", "now"), identity.ErrBadCredentials},
		"only Exp":                         {func(c map[string]any) { c["Exp"] = c["exp"]; delete(c, "exp") }, identity.ErrBadCredentials},
		"an object with another's aud key": {set("aud", map[string]any{testAudience: true}), identity.ErrBadCredentials},
	}
	for _, required := range []string{"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "client_id"} {
		cases["without "+required] = struct {
			change func(map[string]any)
			want   error
		}{func(c map[string]any) { delete(c, required) }, identity.ErrBadCredentials}
	}
	for _, text := range []string{"iss", "sub", "aud", "jti", "sid", "client_id"} {
		cases["with an empty "+text] = struct {
			change func(map[string]any)
			want   error
		}{set(text, ""), identity.ErrBadCredentials}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			claims := maps.Clone(validClaims())
			c.change(claims)
			got, err := verifier.Verify(forge(t, k, header, toJSON(t, claims)), testAudience)
			checkRefusal(t, got, err, c.want)
		})
	}
}

// checkRefusal: exactly the wanted sentinel, no claims, nothing of the token in the text.
func checkRefusal(t *testing.T, got Claims, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Fatalf("got %v, want %v", err, want)
	}
	if want == nil {
		return
	}
	if errors.Is(err, identity.ErrExpired) && errors.Is(err, identity.ErrBadCredentials) {
		t.Errorf("%v is two answers", err)
	}
	if diff := cmp.Diff(Claims{}, got); diff != "" {
		t.Errorf("claims of a refused token: %s", diff)
	}
	if strings.Contains(err.Error(), "acc_7") || strings.Contains(err.Error(), "example") {
		t.Errorf("the error shows the token: %v", err)
	}
}

// TestOPT06_BrokenMessages breaks the envelope around sound claims.
func TestOPT06_BrokenMessages(t *testing.T) {
	ring := fixedRing(t)
	es, rs, ed := ring.current[keyUse{algorithm: ES256}], ring.current[keyUse{algorithm: RS256}], ring.current[keyUse{algorithm: EdDSA}]
	foreign, err := Generate(ES256, KeyCurrent, moment())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := parsePrivate(foreign)
	if err != nil {
		t.Fatal(err)
	}
	verifier := NewVerifier(testIssuer, ring, fixedClock(moment()))
	claims := toJSON(t, validClaims())
	head := func(alg, typ, kid string) string { return fmt.Sprintf(`{"alg":%q,"typ":%q,"kid":%q}`, alg, typ, kid) }
	good := forge(t, es, head("ES256", "at+jwt", es.ID), claims)
	if _, err := verifier.Verify(good, testAudience); err != nil {
		t.Fatal(err)
	}
	rsPEM, err := ring.PEM(rs.ID)
	if err != nil {
		t.Fatal(err)
	}
	hs := func(secret []byte, kid string) string {
		return forgeWith(t, jwt.SigningMethodHS256, secret, head("HS256", "at+jwt", kid), claims)
	}
	dot := strings.LastIndexByte(good, '.')
	input := good[:dot]
	sum := sha256.Sum256([]byte(input))
	der, err := ecdsa.SignASN1(rand.Reader, es.private.(*ecdsa.PrivateKey), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	idToken, err := NewIssuer(testIssuer, ring, fixedClock(moment())).Sign(ES256, "JWT", []byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"nothing":                                            "",
		"alg none without signature":                         enc([]byte(head("none", "at+jwt", es.ID))) + "." + enc([]byte(claims)) + ".",
		"alg none with a signature":                          enc([]byte(head("none", "at+jwt", es.ID))) + "." + enc([]byte(claims)) + ".AA",
		"HMAC with the public key as secret":                 hs(rsPEM, rs.ID),
		"HMAC with the public key without its last line end": hs(bytes.TrimSpace(rsPEM), rs.ID),
		"HMAC with the kid as secret":                        hs([]byte(es.ID), es.ID),
		"an unknown kid":                                     forge(t, es, head("ES256", "at+jwt", "other"), claims),
		"no kid":                                             forge(t, es, `{"alg":"ES256","typ":"at+jwt"}`, claims),
		"the kid of another algorithm's key":                 forge(t, es, head("ES256", "at+jwt", ed.ID), claims),
		"the kid of another key of the algorithm":            forge(t, es, head("ES256", "at+jwt", fixedKeys(t)[3].ID), claims),
		"another algorithm than its kid's":                   forge(t, ed, head("EdDSA", "at+jwt", es.ID), claims),
		"RS512 by the RS256 key":                             forgeWith(t, jwt.SigningMethodRS512, rs.private, head("RS512", "at+jwt", rs.ID), claims),
		"PS256 by the RS256 key":                             forgeWith(t, jwt.SigningMethodPS256, rs.private, head("PS256", "at+jwt", rs.ID), claims),
		"a stranger's key":                                   forgeWith(t, jwt.SigningMethodES256, stranger, head("ES256", "at+jwt", es.ID), claims),
		"an ID token":                                        idToken,
		"typ JWT":                                            forge(t, es, head("ES256", "JWT", es.ID), claims),
		"typ AT+JWT":                                         forge(t, es, head("ES256", "AT+JWT", es.ID), claims),
		"typ application/at+jwt":                             forge(t, es, head("ES256", "application/at+jwt", es.ID), claims),
		"typ logout+jwt":                                     forge(t, es, head("ES256", "logout+jwt", es.ID), claims),
		"no typ":                                             forge(t, es, fmt.Sprintf(`{"alg":"ES256","kid":%q}`, es.ID), claims),
		"crit":                                               forge(t, es, fmt.Sprintf(`{"alg":"ES256","typ":"at+jwt","kid":%q,"crit":["x"],"x":1}`, es.ID), claims),
		"two kid":                                            forge(t, es, fmt.Sprintf(`{"alg":"ES256","typ":"at+jwt","kid":"x","kid":%q}`, es.ID), claims),
		"a duplicate claim":                                  forge(t, es, head("ES256", "at+jwt", es.ID), `{"sub":"admin",`+claims[1:]),
		"a duplicate profile claim":                          forge(t, es, head("ES256", "at+jwt", es.ID), `{"roles":[],"roles":["admin"],`+claims[1:]),
		"a list as payload":                                  forge(t, es, head("ES256", "at+jwt", es.ID), `[`+claims+`]`),
		"trailing bytes":                                     good + "A",
		"a fourth part":                                      good + ".AA",
		"padding":                                            good + "=",
		"a line end":                                         good + "\n",
		"a space in front":                                   " " + good,
		"a bearer prefix":                                    "Bearer " + good,
		"a huge token":                                       good + strings.Repeat("A", 1<<20),
		"a DER signature":                                    input + "." + enc(der),
		"the second valid ECDSA signature":                   input + "." + enc(otherS(t, good[dot+1:])),
		"an ECDSA signature of zeros":                        input + "." + enc(make([]byte, 64)),
		"a signature that is cut":                            good[:len(good)-4],
		"another's claims under a good signature":            strings.Replace(good, enc([]byte(claims)), enc([]byte(strings.Replace(claims, "acc_7", "acc_8", 1))), 1),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := verifier.Verify(raw, testAudience)
			checkRefusal(t, got, err, identity.ErrBadCredentials)
		})
	}
	for _, audience := range []string{"", "https://other.example", testAudience + "/"} {
		if _, err := verifier.Verify(good, audience); !errors.Is(err, identity.ErrBadCredentials) {
			t.Errorf("audience %q: %v", audience, err)
		}
	}
	if _, err := NewVerifier("", ring, verifier.now).Verify(good, testAudience); !errors.Is(err, identity.ErrBadCredentials) {
		t.Errorf("a verifier without issuer: %v", err)
	}
}

// otherS returns the second valid signature (r, n-s).
func otherS(t *testing.T, encoded string) []byte {
	t.Helper()
	signature, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	n, ok := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	if !ok {
		t.Fatal("order")
	}
	n.Sub(n, new(big.Int).SetBytes(signature[32:])).FillBytes(signature[32:])
	return signature
}

func TestTheSecondECDSASignatureIsValidElsewhere(t *testing.T) {
	ring := fixedRing(t)
	k := ring.current[keyUse{algorithm: ES256}]
	for range 32 {
		out, err := fixedIssuer(t, ring).Issue(ES256, fullSpec())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewVerifier(testIssuer, ring, fixedClock(moment())).Verify(out.Token, testAudience); err != nil {
			t.Fatal(err)
		}
		// Both spellings are good for anybody else; that is why the test above is one.
		dot := strings.LastIndexByte(out.Token, '.')
		if err := jwt.SigningMethodES256.Verify(out.Token[:dot], otherS(t, out.Token[dot+1:]), k.Public); err != nil {
			t.Fatal(err)
		}
	}
	half := halfOrder()
	n := new(big.Int).SetBytes(half[:])
	if n.Lsh(n, 1).Add(n, big.NewInt(1)).Cmp(k.Public.(*ecdsa.PublicKey).Params().N) != 0 {
		t.Error("half the order is wrong")
	}
}

func TestVerifyHMACOpensOnlyForTheSecret(t *testing.T) {
	ring := fixedRing(t)
	issuer, verifier := fixedIssuer(t, ring), NewVerifier(testIssuer, ring, fixedClock(moment()))
	secret := []byte(strings.Repeat("s", 32))
	hs, err := issuer.IssueHMAC(secret, "", fullSpec())
	if err != nil {
		t.Fatal(err)
	}
	es, err := issuer.Issue(ES256, fullSpec())
	if err != nil {
		t.Fatal(err)
	}
	claims := toJSON(t, validClaims())
	for name, raw := range map[string]string{
		"a token by a key":      es.Token,
		"HS512":                 forgeWith(t, jwt.SigningMethodHS512, secret, `{"alg":"HS512","typ":"at+jwt"}`, claims),
		"another secret":        forgeWith(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), `{"alg":"HS256","typ":"at+jwt"}`, claims),
		"another typ":           forgeWith(t, jwt.SigningMethodHS256, secret, `{"alg":"HS256","typ":"JWT"}`, claims),
		"a secret with more":    forgeWith(t, jwt.SigningMethodHS256, append(secret[:32:32], 0, 1), `{"alg":"HS256","typ":"at+jwt"}`, claims),
		"alg none":              "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.e30.AA",
		"nothing":               "",
		"a broken claim inside": forgeWith(t, jwt.SigningMethodHS256, secret, `{"alg":"HS256","typ":"at+jwt"}`, `{}`),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := verifier.VerifyHMAC(raw, testAudience, secret)
			checkRefusal(t, got, err, identity.ErrBadCredentials)
		})
	}
	// An application that holds a secret can forge nothing for us.
	if _, err := verifier.Verify(hs.Token, testAudience); !errors.Is(err, identity.ErrBadCredentials) {
		t.Errorf("the ring verified HMAC: %v", err)
	}
	_, err = verifier.VerifyHMAC(hs.Token, testAudience, secret[:31])
	if !errors.Is(err, jws.ErrKey) || errors.Is(err, identity.ErrBadCredentials) {
		t.Errorf("a weak secret is our fault, not the person's: %v", err)
	}
	if _, err := verifier.VerifyHMAC(hs.Token, "https://other.example", secret); !errors.Is(err, identity.ErrBadCredentials) {
		t.Errorf("another audience: %v", err)
	}
}

func TestREL06_ClockSkew(t *testing.T) {
	ring := fixedRing(t)
	out, err := fixedIssuer(t, ring).Issue(ES256, fullSpec())
	if err != nil {
		t.Fatal(err)
	}
	for shift, want := range map[time.Duration]error{
		-30 * time.Second: nil, -5 * time.Minute: identity.ErrBadCredentials, -time.Hour: identity.ErrBadCredentials,
		30 * time.Second: nil, 5 * time.Minute: nil,
		15*time.Minute - time.Second: nil, 15 * time.Minute: identity.ErrExpired,
	} {
		_, err := NewVerifier(testIssuer, ring, fixedClock(moment().Truncate(time.Second).Add(shift))).Verify(out.Token, testAudience)
		if want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("%v: %v", shift, err)
		}
	}
}

func TestOtherKindsOfTokenNeverPassForAnAccessToken(t *testing.T) {
	ring := fixedRing(t)
	issuer, verifier := fixedIssuer(t, ring), NewVerifier(testIssuer, ring, fixedClock(moment()))
	payload := []byte(`{"sub":"acc_7","nonce":"n"}`)
	raw, err := issuer.Sign(ES256, "JWT", payload)
	if err != nil {
		t.Fatal(err)
	}
	got, err := verifier.VerifySigned(raw, "JWT")
	if err != nil || string(got) != string(payload) {
		t.Errorf("%s, %v", got, err)
	}
	access, err := issuer.Issue(ES256, fullSpec())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ raw, typ string }{
		"another typ":                           {raw, "logout+jwt"},
		"an access token as ID token":           {access.Token, "JWT"},
		"an access token by the wrong verifier": {access.Token, "at+jwt"},
		"a changed token":                       {strings.Replace(raw, ".", ".e", 1), "JWT"},
		"a stranger's token":                    {forgeWith(t, jwt.SigningMethodHS256, make([]byte, 32), `{"alg":"HS256","typ":"JWT","kid":"x"}`, `{}`), "JWT"},
	} {
		if got, err := verifier.VerifySigned(c.raw, c.typ); got != nil || !errors.Is(err, identity.ErrBadCredentials) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	for _, typ := range []string{"", "at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt", "\xff"} {
		if _, err := issuer.Sign(ES256, typ, payload); err == nil {
			t.Errorf("typ %q was signed", typ)
		}
	}
	for _, bad := range []string{``, `[]`, `{"a":1,"a":2}`, `{} `} {
		if _, err := issuer.Sign(ES256, "JWT", []byte(bad)); (err == nil) != (bad == `{} `) {
			t.Errorf("payload %q: %v", bad, err)
		}
	}
	if _, err := issuer.Sign(HS256, "JWT", payload); err == nil {
		t.Error("signed with a secret of ours")
	}
}

// storedToken is an ES256 token in testdata. Such a signature is random, so another run of the fuzzer makes others that
// are as valid.
func storedToken(t testing.TB) string {
	t.Helper()
	path := filepath.Join("testdata", "es256.token")
	if *update {
		out, err := fixedIssuer(t, fixedRing(t)).Issue(ES256, fullSpec())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(out.Token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestATokenIssuedByAnEarlierVersionVerifies(t *testing.T) {
	verifier := NewVerifier(testIssuer, fixedRing(t), fixedClock(moment()))
	if c, err := verifier.Verify(storedToken(t), testAudience); err != nil || c.Subject != "acc_7" {
		t.Errorf("%q, %v", c.Subject, err)
	}
}

// FuzzVerify: no change of a valid token is accepted, not even one that changes only its spelling.
func FuzzVerify(f *testing.F) {
	ring := fixedRing(f)
	verifier := NewVerifier(testIssuer, ring, fixedClock(moment()))
	valid := make(map[string]bool)
	seeds := []string{storedToken(f)}
	for _, alg := range []Algorithm{EdDSA, RS256} {
		out, err := fixedIssuer(f, ring).Issue(alg, fullSpec())
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, out.Token)
	}
	for _, token := range seeds {
		valid[token] = true
		for _, at := range []uint16{0, 5, 100, 300, uint16(len(token) - 1)} {
			f.Add(token, at, byte(1), "")
		}
		f.Add(token, uint16(0), byte(0), "=")
	}
	f.Fuzz(func(t *testing.T, raw string, at uint16, flip byte, tail string) {
		changed := []byte(raw + tail)
		if int(at) < len(changed) {
			changed[at] ^= flip
		}
		c, err := verifier.Verify(string(changed), testAudience)
		switch {
		case err == nil && !valid[string(changed)]:
			t.Fatalf("accepted a changed token: %+v", c)
		case err != nil && valid[string(changed)]:
			t.Fatalf("refused a valid token: %v", err)
		case err != nil && !errors.Is(err, identity.ErrBadCredentials):
			t.Fatalf("%v is no refusal", err)
		}
	})
}
