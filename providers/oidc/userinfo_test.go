package oidc

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/identity"
	"sallyport/providers"
)

func writeCertificate(t *testing.T, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestUserInfoFillsWhatTheIDTokenLeavesOut(t *testing.T) {
	f := newFake(t)
	f.claims = func(c map[string]any) {
		for _, name := range []string{"groups", "email", "email_verified", "preferred_username"} {
			delete(c, name)
		}
	}
	f.info = map[string]any{
		"sub": "u-alice", "name": "Somebody Else", "groups": []string{"from-userinfo"}, "email": "alice@userinfo.test",
		"email_verified": true, "preferred_username": "alice", "amr": []string{"mfa"}, "sid": "forged",
	}
	a, err := f.signIn(f.open(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := a.Identity
	if got.Name != "Alice Example" || got.Email != "alice@userinfo.test" || !got.EmailVerified || got.Username != "alice" {
		t.Errorf("merged to %+v", got)
	}
	if diff := cmp.Diff([]string{"from-userinfo"}, got.Groups); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"pwd"}, got.AMR); diff != "" || a.UpstreamSession != "upstream-session-1" {
		t.Errorf("userinfo speaks about the sign-in: %v, %s", got.AMR, a.UpstreamSession)
	}
	if got := f.lastHeader.Get("Authorization"); got != "Bearer "+testAccess {
		t.Error("userinfo was not asked with the access token")
	}
}

func TestUserInfoNeverVerifiesTheIDTokensAddress(t *testing.T) {
	f := newFake(t)
	f.claims = func(c map[string]any) { c["email"] = "admin@contoso.com"; delete(c, "email_verified") }
	f.info = map[string]any{"sub": "u-alice", "email": "alice@example.test", "email_verified": true}
	a, err := f.signIn(f.open(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.Identity.Email != "admin@contoso.com" || a.Identity.EmailVerified {
		t.Errorf("address %q, verified %v", a.Identity.Email, a.Identity.EmailVerified)
	}
}

func TestOID02_UserInfoIsRefusedWhen(t *testing.T) {
	raw := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	tests := map[string]struct {
		handler  http.HandlerFunc
		sentinel error
		code     string
	}{
		"it speaks of somebody else": {
			raw(200, "application/json", `{"sub":"u-bob","groups":["canary"]}`), identity.ErrBadCredentials,
			providers.CodeReplyInvalid,
		},
		"it speaks of nobody": {
			raw(200, "application/json", `{"groups":["canary"]}`), identity.ErrBadCredentials, providers.CodeReplyInvalid,
		},
		"its sub is a list": {
			raw(200, "application/json", `{"sub":["u-alice"]}`), identity.ErrBadCredentials, providers.CodeReplyInvalid,
		},
		"sub stands twice": {
			raw(200, "application/json", `{"sub":"u-bob","sub":"u-alice"}`), identity.ErrBadCredentials,
			providers.CodeReplyInvalid,
		},
		"it is no JSON": {
			raw(200, "application/json", `canary`), identity.ErrBadCredentials, providers.CodeReplyInvalid,
		},
		"it is a JWT": {
			raw(200, "application/jwt", `canary`), identity.ErrBadCredentials, providers.CodeReplyInvalid,
		},
		"it refuses the token": {
			raw(401, "application/json", `{"error":"canary"}`), identity.ErrUnavailable, providers.CodeUnavailable,
		},
		"it has a fault": {raw(500, "text/plain", `canary`), identity.ErrUnavailable, providers.CodeUnavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.info = map[string]any{}
			f.override["/userinfo"] = test.handler
			_, err := f.signIn(f.open(nil), nil)
			refused(t, err, test.sentinel, test.code)
		})
	}
}

func TestUserInfoCanBeDemandedAndSwitchedOff(t *testing.T) {
	on, off := true, false
	f := newFake(t)
	_, err := f.open(func(c *Config) { c.UserInfo = &on }).Begin(context.Background(), flow())
	refused(t, err, identity.ErrUnavailable, providers.CodeMisconfigured)

	f = newFake(t)
	f.info = map[string]any{"sub": "u-bob"}
	if _, err := f.signIn(f.open(func(c *Config) { c.UserInfo = &off }), nil); err != nil {
		t.Error(err)
	}
	if got := f.count("/userinfo"); got != 0 {
		t.Errorf("userinfo was asked %d times although it is off", got)
	}
}

func TestOnlyTheLiteralTrueVerifiesAnAddress(t *testing.T) {
	for _, value := range []any{"true", 1, "yes", []bool{true}, nil, false, map[string]any{"true": true}} {
		f := newFake(t)
		f.claims = func(c map[string]any) { c["email_verified"] = value }
		a, err := f.signIn(f.open(nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.Identity.EmailVerified {
			t.Errorf("%#v counts as verified", value)
		}
	}
}

func TestOID08_GroupsThatWereLeftOutAreARefusalAndNoURLIsAsked(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a URL from a token was fetched")
	}))
	t.Cleanup(silent.Close)
	sources := map[string]any{"src1": map[string]any{"endpoint": silent.URL + "/groups", "access_token": "canary"}}
	tests := map[string]struct {
		claims map[string]any
		path   string
	}{
		"distributed groups": {
			map[string]any{"_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": sources}, "",
		},
		"short form": {map[string]any{"hasgroups": true}, ""},
		"a nested path": {
			map[string]any{"_claim_names": map[string]any{"realm": "src1"}, "_claim_sources": sources},
			"realm.roles",
		},
	}
	for name, test := range tests {
		for _, where := range []string{"id token", "userinfo"} {
			t.Run(name+" in "+where, func(t *testing.T) {
				f := newFake(t)
				if where == "userinfo" {
					f.info = with(test.claims, map[string]any{"sub": "u-alice"})
				} else {
					f.claims = func(c map[string]any) {
						for k, v := range test.claims {
							c[k] = v
						}
					}
				}
				_, err := f.signIn(f.open(func(c *Config) { c.GroupsClaim = test.path }), nil)
				refused(t, err, identity.ErrDenied, codeOverage)
			})
		}
	}
	t.Run("other claims that were left out do not matter, and are not asked for", func(t *testing.T) {
		f := newFake(t)
		f.claims = func(c map[string]any) {
			c["_claim_names"], c["_claim_sources"] = map[string]any{"address": "src1"}, sources
			c["picture"], c["jku"] = silent.URL, silent.URL
		}
		if _, err := f.signIn(f.open(nil), nil); err != nil {
			t.Error(err)
		}
	})
}

func TestClaimsWithAMeaningHaveOneShape(t *testing.T) {
	for name, change := range map[string]func(c map[string]any){
		"a user name that is a number":   func(c map[string]any) { c["preferred_username"] = 7 },
		"a name that is a list":          func(c map[string]any) { c["name"] = []string{"Alice"} },
		"an address without end":         func(c map[string]any) { c["email"] = strings.Repeat("a", providers.MaxText+1) },
		"amr that is an object":          func(c map[string]any) { c["amr"] = map[string]any{} },
		"a sid that is a number":         func(c map[string]any) { c["sid"] = 7 },
		"two claims of one path":         func(c map[string]any) { c["a.b"], c["a"] = 1, map[string]any{"b": 2} },
		"claims that nest without sense": func(c map[string]any) { c["a"] = nested(providers.MaxClaimDepth) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.claims = change
			_, err := f.signIn(f.open(nil), nil)
			refused(t, err, identity.ErrDenied, codeClaimInvalid)
		})
	}
}

func nested(depth int) any {
	var v any = "x"
	for range depth {
		v = map[string]any{"a": v}
	}
	return v
}

func TestOID08_GroupClaims(t *testing.T) {
	tests := map[string]struct {
		path   string
		claims map[string]any
		want   []string
		code   string
	}{
		"a list":                      {"", map[string]any{"groups": []string{"a b", "c,d"}}, []string{"a b", "c,d"}, ""},
		"one string is one group":     {"", map[string]any{"groups": "a, b"}, []string{"a, b"}, ""},
		"empty strings are no groups": {"", map[string]any{"groups": []string{"", "a"}}, []string{"a"}, ""},
		"an empty list":               {"", map[string]any{"groups": []string{}}, []string{}, ""},
		"absent":                      {"", map[string]any{"groups": nil}, nil, ""},
		"a nested path": {
			"realm_access.roles",
			map[string]any{"realm_access": map[string]any{"roles": []string{"r"}}},
			[]string{"r"},
			"",
		},
		"a name with dots": {
			"https://contoso.com/roles",
			map[string]any{"https://contoso.com/roles": []string{"r"}},
			[]string{"r"},
			"",
		},
		"two claims of one path": {
			"a.b",
			map[string]any{"a.b": []string{"x"}, "a": map[string]any{"b": []string{"y"}}},
			nil,
			codeClaimInvalid,
		},
		"a number":             {"", map[string]any{"groups": 7}, nil, codeClaimInvalid},
		"a list with a number": {"", map[string]any{"groups": []any{"a", 7}}, nil, codeClaimInvalid},
		"an object":            {"", map[string]any{"groups": map[string]any{"a": true}}, nil, codeClaimInvalid},
		"a list of lists":      {"", map[string]any{"groups": []any{[]any{"a"}}}, nil, codeClaimInvalid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.claims = func(c map[string]any) {
				for k, v := range test.claims {
					c[k] = v
				}
			}
			a, err := f.signIn(f.open(func(c *Config) { c.GroupsClaim = test.path }), nil)
			if test.code != "" {
				refused(t, err, identity.ErrDenied, test.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, a.Identity.Groups); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestClaimsPastTheirBoundsAreRefusedNotCut(t *testing.T) {
	f := newFake(t)
	f.info = map[string]any{"sub": "u-alice"}
	for i := range providers.MaxClaimValues {
		f.info[fmt.Sprintf("claim-%d", i)] = true
	}
	_, err := f.signIn(f.open(nil), nil)
	if !errors.Is(err, providers.ErrClaimsTooMany) {
		t.Errorf("error %v", err)
	}
}
