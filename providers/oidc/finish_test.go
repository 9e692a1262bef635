package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/identity"
	"sallyport/providers"
)

func TestSignInReturnsWhatTheProviderSays(t *testing.T) {
	f := newFake(t)
	f.claims = func(c map[string]any) { c["department"] = map[string]any{"name": "R&D", "floor": 3} }
	f.tokens = func(a map[string]any) { a["refresh_token"] = testRefresh }
	a, err := f.signIn(f.open(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	authTime := a.Identity.AuthTime
	want := identity.Assertion{
		Identity: identity.Identity{
			Provider: "corp", Subject: "u-alice", Username: "alice", Name: "Alice Example", Email: "alice@example.test",
			EmailVerified: true, Groups: []string{"engineering", "everyone"}, AMR: []string{"pwd"}, AuthTime: authTime,
			Attributes: map[string][]string{
				"groups": {"engineering", "everyone"}, "preferred_username": {"alice"}, "name": {"Alice Example"},
				"email": {"alice@example.test"}, "email_verified": {"true"},
				"department.name": {"R&D"}, "department.floor": {"3"},
			},
		},
		UpstreamSession: "upstream-session-1",
		Upstream:        []byte(`{"refresh_token":"` + testRefresh + `"}`),
	}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Error(diff)
	}
	if age := time.Since(authTime); age < 0 || age > time.Minute {
		t.Errorf("auth_time is %v ago", age)
	}
}

func TestClientAuthenticationSendsTheCodeExactlyOnce(t *testing.T) {
	tests := map[string]struct {
		change          func(c *Config)
		basic           bool
		formID, formKey string
	}{
		"basic is the default": {nil, true, "", ""},
		"post":                 {func(c *Config) { c.ClientAuth = "post" }, false, "sallyport", testSecret},
		"public":               {func(c *Config) { c.ClientSecret = identity.Secret{} }, false, "sallyport", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			d := f.open(test.change)
			if _, err := f.signIn(d, nil); err != nil {
				t.Fatal(err)
			}
			if got := f.count("/token"); got != 1 {
				t.Errorf("%d token requests, want 1", got)
			}
			form := f.lastForm
			if form.Get("code") != testCode || len(form.Get("code_verifier")) < 43 || form.Get("redirect_uri") != callbackURL {
				t.Error("code, verifier or redirect uri is missing")
			}
			if form.Get("client_id") != test.formID || form.Get("client_secret") != test.formKey {
				t.Errorf("client_id %q in the form", form.Get("client_id"))
			}
			r := http.Request{Header: f.lastHeader}
			user, password, basic := r.BasicAuth()
			if basic != test.basic || basic && (user != "sallyport" || password != url.QueryEscape(testSecret)) {
				t.Errorf("basic authentication: %v", basic)
			}
		})
	}
}

func TestTheCodeIsNotSentAgainWhenTheProviderRefusesIt(t *testing.T) {
	f := newFake(t)
	f.override["/token"] = oauthAnswer(http.StatusUnauthorized, "invalid_client")
	if _, err := f.signIn(f.open(nil), nil); err == nil {
		t.Fatal("signed in")
	}
	if got := f.count("/token"); got != 1 {
		t.Errorf("the code was sent %d times", got)
	}
}

func oauthAnswer(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": "canary " + testCode})
	}
}

// refused checks sentinel and code.
func refused(t *testing.T, err, sentinel error, code string) {
	t.Helper()
	if !errors.Is(err, sentinel) || identity.CodeOf(err) != code {
		t.Errorf("error %v (code %q), want %v coded %q", err, identity.CodeOf(err), sentinel, code)
	}
}

func TestOID01_TheResponseMustBelongToTheFlow(t *testing.T) {
	tests := map[string]func(url.Values){
		"another state":          func(v url.Values) { v.Set("state", "another-state-with-128-bits-of-it") },
		"no state":               func(v url.Values) { v.Del("state") },
		"the state twice":        func(v url.Values) { v.Add("state", testState) },
		"two codes":              func(v url.Values) { v.Add("code", "other") },
		"an unknown name twice":  func(v url.Values) { v["x"] = []string{"1", "2"} },
		"no code":                func(v url.Values) { v.Del("code") },
		"an empty code":          func(v url.Values) { v.Set("code", "") },
		"a code without end":     func(v url.Values) { v.Set("code", strings.Repeat("x", maxCode+1)) },
		"a code beside an error": func(v url.Values) { v.Set("error", "access_denied") },
		"a name without a value": func(v url.Values) { v["y"] = nil },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			_, err := f.signIn(f.open(nil), change)
			refused(t, err, identity.ErrBadCredentials, providers.CodeReplyInvalid)
			if got := f.count("/token"); got != 0 {
				t.Errorf("%d token requests for a response that is not ours", got)
			}
		})
	}
}

func TestOID01_TheFlowsMemoryMustBeOfThisDoor(t *testing.T) {
	f := newFake(t)
	d := f.open(nil)
	good := f.begin(d).Pending
	var memory map[string]any
	if err := json.Unmarshal(good, &memory); err != nil {
		t.Fatal(err)
	}
	tests := map[string][]byte{
		"none":                    nil,
		"not JSON":                []byte("nonsense"),
		"of another provider":     mustJSON(t, with(memory, map[string]any{"provider": "other"})),
		"of another redirect uri": mustJSON(t, with(memory, map[string]any{"redirect_uri": "https://sso.example.test/callback/b"})),
		"without a nonce":         mustJSON(t, with(memory, map[string]any{"nonce": ""})),
		"without a verifier":      mustJSON(t, with(memory, map[string]any{"verifier": ""})),
	}
	for name, sealed := range tests {
		t.Run(name, func(t *testing.T) {
			reply := url.Values{"state": {testState}, "code": {testCode}}
			_, err := d.Finish(context.Background(), flow(), sealed, reply)
			refused(t, err, identity.ErrExpired, providers.CodeFlowExpired)
		})
	}
	_, err := d.Finish(context.Background(), providers.Flow{CallbackURL: callbackURL}, good, url.Values{"state": {""}, "code": {testCode}})
	refused(t, err, identity.ErrBadCredentials, providers.CodeReplyInvalid)
}

func TestOID03_TheResponseNamesTheRightIssuer(t *testing.T) {
	announce := func(doc map[string]any) { doc["authorization_response_iss_parameter_supported"] = true }
	tests := map[string]struct {
		announced bool
		iss       func(f *fake) string
		ok        bool
	}{
		"announced and right":      {true, func(f *fake) string { return f.issuer }, true},
		"announced and missing":    {true, nil, false},
		"announced and empty":      {true, func(*fake) string { return "" }, false},
		"another provider's":       {true, func(*fake) string { return "https://b.example.test" }, false},
		"not announced, missing":   {false, nil, true},
		"not announced, but wrong": {false, func(*fake) string { return "https://b.example.test" }, false},
		"another spelling":         {true, func(f *fake) string { return f.issuer + "/" }, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			if test.announced {
				f.discovery = announce
			}
			for _, response := range []string{"code", "error"} {
				before := f.count("/token")
				_, err := f.signIn(f.open(nil), func(v url.Values) {
					if test.iss != nil {
						v.Set("iss", test.iss(f))
					}
					if response == "error" {
						v.Del("code")
						v.Set("error", "access_denied")
					}
				})
				switch {
				case !test.ok:
					refused(t, err, identity.ErrBadCredentials, providers.CodeReplyInvalid)
					if f.count("/token") != before {
						t.Error("the code was sent on")
					}
				case response == "error":
					refused(t, err, identity.ErrDenied, providers.CodeRefused)
				case err != nil:
					t.Error(err)
				}
			}
		})
	}
}

func TestOID08_ErrorResponsesAreDataNeverText(t *testing.T) {
	const markup = "<script>alert(1)</script>\n2026 level=ERROR forged"
	tests := map[string]struct {
		sentinel error
		code     string
	}{
		"access_denied":           {identity.ErrDenied, providers.CodeRefused},
		"login_required":          {identity.ErrDenied, providers.CodeRefused},
		"consent_required":        {identity.ErrDenied, providers.CodeRefused},
		markup:                    {identity.ErrDenied, providers.CodeRefused},
		"":                        {identity.ErrDenied, providers.CodeRefused},
		"temporarily_unavailable": {identity.ErrUnavailable, providers.CodeUnavailable},
		"server_error":            {identity.ErrUnavailable, providers.CodeUnavailable},
		"unauthorized_client":     {identity.ErrUnavailable, providers.CodeMisconfigured},
		"invalid_scope":           {identity.ErrUnavailable, providers.CodeMisconfigured},
	}
	for word, test := range tests {
		t.Run("error "+word, func(t *testing.T) {
			f := newFake(t)
			d := f.open(nil)
			_, err := f.signIn(d, func(v url.Values) {
				v.Del("code")
				v.Set("error", word)
				v.Set("error_description", markup+strings.Repeat("x", 10_000))
			})
			refused(t, err, test.sentinel, test.code)
			if strings.Contains(err.Error(), "forged") {
				t.Errorf("the description is in the error: %v", err)
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(d.logs.String(), "\n2026 level=ERROR") {
				t.Error("a line end of the provider's became ours")
			}
			if len(d.logs.String()) > 2000 {
				t.Errorf("%d bytes of log for one error response", len(d.logs.String()))
			}
		})
	}
}

func TestTokenEndpointErrors(t *testing.T) {
	tests := map[string]struct {
		handler  http.HandlerFunc
		sentinel error
		code     string
		logged   string
	}{
		"a spent code": {oauthAnswer(400, "invalid_grant"), identity.ErrExpired, providers.CodeFlowExpired, ""},
		"a wrong secret": {
			oauthAnswer(401, "invalid_client"), identity.ErrUnavailable, providers.CodeMisconfigured, "level=ERROR",
		},
		"a client without rights": {
			oauthAnswer(400, "unauthorized_client"), identity.ErrUnavailable, providers.CodeMisconfigured, "level=ERROR",
		},
		"a fault":                  {oauthAnswer(500, "server_error"), identity.ErrUnavailable, providers.CodeUnavailable, ""},
		"a fault that says grant":  {oauthAnswer(503, "invalid_grant"), identity.ErrUnavailable, providers.CodeUnavailable, ""},
		"an unknown error":         {oauthAnswer(400, testCode), identity.ErrUnavailable, providers.CodeUnavailable, ""},
		"an error with status 200": {oauthAnswer(200, "invalid_grant"), identity.ErrExpired, providers.CodeFlowExpired, ""},
		"a page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("canary"))
		}, identity.ErrUnavailable, providers.CodeUnavailable, ""},
		"a form": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-www-form-urlencoded")
			_, _ = w.Write([]byte("access_token=canary&id_token=canary"))
		}, identity.ErrUnavailable, providers.CodeUnavailable, ""},
		"two id tokens": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"access_token":"canary","id_token":"canary","id_token":"canary"}`))
		}, identity.ErrUnavailable, providers.CodeUnavailable, ""},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere?canary", http.StatusTemporaryRedirect)
		}, identity.ErrUnavailable, providers.CodeUnavailable, ""},
		"an endless body": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"access_token":"` + strings.Repeat("x", maxUserInfo) + `"}`))
		}, identity.ErrUnavailable, providers.CodeUnavailable, ""},
		"a broken connection": {func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}, identity.ErrUnavailable, providers.CodeUnavailable, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.override["/token"] = test.handler
			d := f.open(nil)
			challenge := f.begin(d)
			reply := url.Values{"state": {testState}, "code": {testCode}}
			_, err := d.Finish(context.Background(), flow(), challenge.Pending, reply)
			refused(t, err, test.sentinel, test.code)
			f.keepsSecrets(d, err)
			if !strings.Contains(d.logs.String(), test.logged) {
				t.Errorf("log %q does not have %s", d.logs, test.logged)
			}
		})
	}
}

func TestATokenResponseWithoutIDTokenIsAnOperatorsMatter(t *testing.T) {
	f := newFake(t)
	f.tokens = func(a map[string]any) { delete(a, "id_token") }
	_, err := f.signIn(f.open(nil), nil)
	refused(t, err, identity.ErrUnavailable, providers.CodeMisconfigured)

	f.set(func() { f.tokens = func(a map[string]any) { a["id_token"] = []string{"x"} } })
	_, err = f.signIn(f.open(nil), nil)
	refused(t, err, identity.ErrBadCredentials, providers.CodeReplyInvalid)
}
