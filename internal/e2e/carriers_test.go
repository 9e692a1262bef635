package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/testenv"
)

// jwks saves what we publish, for verifiers that do not know our host's name.
func (w *world) jwks() string {
	w.t.Helper()
	a := get(w.t, w.issuer+"/.well-known/jwks.json")
	if a.status != http.StatusOK || strings.Contains(a.body, `"d"`) {
		w.t.Fatalf("JWKS: status %d", a.status)
	}
	file := filepath.Join(w.t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, []byte(a.body), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return file
}

// claimsCheck compares what a stranger's library read with what the token should say.
func claimsCheck(t *testing.T, claims map[string]any, issuer, audience string) {
	t.Helper()
	want := map[string]any{
		"iss": issuer, "aud": audience, "client_id": audience, "preferred_username": "lena",
		"email": "lena@house.example", "roles": []any{"operator", "viewer"},
		"permissions": []any{"*:read", "hosts:*"}, "idp": "local",
	}
	got := map[string]any{}
	for name := range want {
		got[name] = claims[name]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	for _, name := range []string{"sub", "sid", "jti"} {
		if s, _ := claims[name].(string); s == "" {
			t.Errorf("claim %s is %v", name, claims[name])
		}
	}
	exp, _ := claims["exp"].(float64)
	iat, _ := claims["iat"].(float64)
	if life := exp - iat; life <= 0 || life > (15*time.Minute).Seconds() {
		t.Errorf("the token lives %v s", life)
	}
}

func TestOPT06_OtherPeoplesLibrariesVerifyOurTokens(t *testing.T) {
	w := newWorld(t, options{})
	keys := w.jwks()
	session := w.token(local("lena"), "reports")
	forwarded := get(t, w.reports+"/", "Authorization", "Bearer "+session).heard(t).Header.Get("X-Auth-Token")
	if forwarded == "" || forwarded == session {
		t.Fatal("forward-auth hands the application no token of its own")
	}
	for name, token := range map[string]string{"from the API": session, "from forward-auth": forwarded} {
		t.Run(name, func(t *testing.T) {
			t.Run("PyJWT", func(t *testing.T) {
				claimsCheck(t, testenv.PyJWTVerify(t, keys, token, w.issuer, "reports"), w.issuer, "reports")
			})
			t.Run("jose", func(t *testing.T) {
				claimsCheck(t, testenv.JoseVerify(t, keys, token, w.issuer, "reports"), w.issuer, "reports")
			})
		})
	}
}

func TestOnePersonIsTheSameThroughTokenCookieAndKey(t *testing.T) {
	w := newWorld(t, options{directory: true})
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	alice := w.corp("alice")
	w.signIn(b, w.app+"/", alice)

	t.Run("at our own API", func(t *testing.T) {
		want := w.me(cookieOf(brokerCookie, w.cookie(b, brokerCookie)))
		for name, c := range map[string]credential{
			"token": bearer(w.token(alice, "")), "key": apiKey(w.key(alice, "")),
		} {
			if diff := cmp.Diff(want, w.me(c)); diff != "" {
				t.Errorf("%s (-cookie +%s):\n%s", name, name, diff)
			}
		}
		if want["username"] != "alice" || want["email"] != "alice@example.test" {
			t.Errorf("user is %v", want)
		}
	})

	t.Run("at an application", func(t *testing.T) {
		told := func(c credential) map[string][]string {
			h := get(t, w.app+"/", c.header, c.value).heard(t).Header
			out := map[string][]string{}
			for _, name := range []string{"X-Auth-User", "X-Auth-Id", "X-Auth-Name", "X-Auth-Email", "X-Auth-Roles"} {
				out[name] = h.Values(name)
			}
			return out
		}
		want := told(cookieOf(appCookie, w.cookie(b, appCookie)))
		for name, c := range map[string]credential{
			"token": bearer(w.token(alice, "app")), "key": apiKey(w.key(alice, "app")),
			"key as bearer": bearer(w.key(alice, "app")),
		} {
			if diff := cmp.Diff(want, told(c)); diff != "" {
				t.Errorf("%s (-cookie +%s):\n%s", name, name, diff)
			}
		}
		if diff := cmp.Diff([]string{"operator,viewer"}, want["X-Auth-Roles"]); diff != "" {
			t.Errorf("roles (-want +got):\n%s", diff)
		}
	})
}
