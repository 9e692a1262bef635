package tokens

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	testIssuer   = "https://sso.example"
	testAudience = "https://app.example"
)

// moment is when everything in these tests happens.
func moment() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC) }

func fixedClock(at time.Time) func() time.Time { return func() time.Time { return at } }

// fixedKey reads a key from testdata.
func fixedKey(t testing.TB, name string, alg Algorithm, state KeyState, age time.Duration) StoredKey {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	k := StoredKey{Algorithm: alg, State: state, Private: block.Bytes, CreatedAt: moment().Add(-age)}
	private, err := parsePrivate(k)
	if err != nil {
		t.Fatal(err)
	}
	if k.ID, err = thumbprint(private.Public()); err != nil {
		t.Fatal(err)
	}
	return k
}

// fixedKeys has one current key of each kind, and a next one.
func fixedKeys(t testing.TB) []StoredKey {
	t.Helper()
	return []StoredKey{
		fixedKey(t, "es256", ES256, KeyCurrent, 4*time.Hour),
		fixedKey(t, "rs256", RS256, KeyCurrent, 3*time.Hour),
		fixedKey(t, "eddsa", EdDSA, KeyCurrent, 2*time.Hour),
		fixedKey(t, "es256-next", ES256, KeyNext, time.Hour),
	}
}

func fixedRing(t testing.TB) *Keyring {
	t.Helper()
	ring, err := NewKeyring(fixedKeys(t))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func fullSpec() Spec {
	return Spec{
		Subject: "acc_7", Audience: testAudience, ClientID: "app", SessionID: "ses_9", Provider: "corp-ad",
		AMR: []string{"pwd", "otp"}, ACR: "urn:example:2", AuthTime: moment().Add(-time.Minute), Lifetime: 15 * time.Minute,
		Claims: map[string]any{
			"name": "Ada <\"Lovelace\"> & sons \u2028 ü", "roles": []string{"admin", "viewer"}, "level": 7, "big": int64(1) << 60,
			"ok": true, "nested": map[string]any{"b": 1, "a": []int{1}}, "none": nil,
		},
	}
}

// fixedIssuer makes the same claims each time.
func fixedIssuer(t testing.TB, ring *Keyring) *Issuer {
	t.Helper()
	i := NewIssuer(testIssuer, ring, fixedClock(moment()))
	i.newID = func() string { return "AAECAwQFBgcICQoLDA0ODw" }
	return i
}

// forge signs header and payload as they stand, with a key of the ring.
func forge(t testing.TB, k *ringKey, header, payload string) string {
	t.Helper()
	return forgeWith(t, k.method, k.private, header, payload)
}

func forgeWith(t testing.TB, m jwt.SigningMethod, key any, header, payload string) string {
	t.Helper()
	token, err := sign(base64.RawURLEncoding.EncodeToString([]byte(header))+".", []byte(payload), m, key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// validClaims are those of a sound token, to be broken one by one.
func validClaims() map[string]any {
	now := moment().Unix()
	return map[string]any{
		"iss": testIssuer, "sub": "acc_7", "aud": testAudience, "exp": now + 900, "iat": now, "nbf": now, "jti": "j",
		"sid": "ses_9", "client_id": "app", "auth_time": now - 60, "amr": []string{"pwd"}, "acr": "1", "idp": "corp-ad",
	}
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got, -update writes it):\n%s", path, diff)
	}
}
