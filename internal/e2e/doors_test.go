package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/testenv"
)

func TestEachDoorLeadsToTheApplicationBehindNginx(t *testing.T) {
	w := newWorld(t, options{directory: true, oidc: true, saml: true})
	first := testenv.Chromium(t, testenv.BrowserOptions{})
	const operator, viewer = "operator,viewer", "viewer"
	roles := map[string]string{}
	for _, tc := range []struct {
		name  string
		who   person
		user  string
		roles string
	}{
		{"a local person", local("lena"), "lena", operator},
		{"a local person with fewer groups", local("omar"), "omar", viewer},
		{"an engineer of the directory", w.corp("alice"), "alice", operator},
		{"a bystander of the directory", w.corp("bob"), "bob", viewer},
		// Their names are taken by then, and nobody becomes somebody else by being called the same.
		{"an engineer of the OpenID provider", partner("alice"), "alice@partner", operator},
		{"a bystander of the OpenID provider", partner("bob"), "bob@partner", viewer},
		{"an engineer of the SAML provider", campus("alice"), "alice@campus", operator},
		{"a bystander of the SAML provider", campus("bob"), "bob@campus", viewer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := first.NewContext()
			deep := w.app + "/hosts/7?sort=name&filter=a%2Fb%20c&x=%C3%A4"
			w.signIn(b, deep, tc.who)
			got := w.shown(b)
			if want := strings.TrimPrefix(deep, w.app); got.URL != want {
				t.Errorf("the application was asked for %s, want %s", got.URL, want)
			}
			if got.Host != host(w.app) {
				t.Errorf("Host is %s, want %s", got.Host, host(w.app))
			}
			if user := got.Header.Get("X-Auth-User"); user != tc.user {
				t.Errorf("X-Auth-User is %q, want %q", user, tc.user)
			}
			roles[tc.name] = got.Header.Get("X-Auth-Roles")
			if roles[tc.name] != tc.roles {
				t.Errorf("X-Auth-Roles is %q, want %q", roles[tc.name], tc.roles)
			}
			if token := got.Header.Values("X-Auth-Token"); token != nil {
				t.Errorf("an application that needs no token got %q", token)
			}

			b.Open(w.reports + "/list?page=2")
			if again := w.shown(b); again.URL != "/list?page=2" || again.Header.Get("X-Auth-Token") == "" {
				t.Errorf("second application without a form: got %s with token %q", again.URL, again.Header.Get("X-Auth-Token"))
			}

			b.Open(w.vault + "/safe")
			if tc.roles == operator {
				if h := w.shown(b); h.URL != "/safe" {
					t.Errorf("the vault was asked for %s", h.URL)
				}
				return
			}
			b.WaitText("You cannot use Vault yet")
			b.WaitText("needs a role you don't have")
			if !strings.HasPrefix(b.URL(), w.issuer+"/") {
				t.Errorf("the denied page is at %s", b.URL())
			}
			b.Open(w.vault + "/safe") // once more: the same page, no loop
			b.WaitText("You cannot use Vault yet")
		})
	}
	for _, elsewhere := range []string{"an engineer of the OpenID provider", "an engineer of the SAML provider"} {
		if a, b := roles["an engineer of the directory"], roles[elsewhere]; a != b || a == "" {
			t.Errorf("engineers differ: %q in the directory, %q for %s", a, b, elsewhere)
		}
	}
	if a, b := roles["an engineer of the directory"], roles["a bystander of the directory"]; a == b {
		t.Errorf("engineer and bystander have the same roles %q", a)
	}
}

func TestSomebodyWithoutAnyRoleIsToldSoAndGetsNoCookie(t *testing.T) {
	w := newWorld(t, options{directory: true, oidc: true, saml: true})
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	for name, who := range map[string]person{
		"in the directory": w.corp("carol"), "at the OpenID provider": partner("carol"), "at the SAML provider": campus("carol"),
	} {
		t.Run(name, func(t *testing.T) {
			tab := b.NewContext()
			tab.Open(w.app + "/")
			w.proveAt(tab, who)
			tab.WaitText("no_role")
			if value, ok := tab.Cookie(brokerCookie); ok {
				t.Errorf("a cookie was set all the same: %d bytes", len(value))
			}
		})
	}
}

func TestTheDirectoryIsReachedByStartTLSToo(t *testing.T) {
	w := newWorld(t, options{directory: true})
	a := w.logIn(person{"branch", "alice", w.directory.Password("alice")}, "vault")
	if a.status != http.StatusOK {
		t.Fatalf("sign-in: %d %s", a.status, a.body)
	}
	user, _ := a.json(t)["user"].(map[string]any)
	if diff := cmp.Diff([]any{"operator", "viewer"}, user["roles"]); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	if log := w.directory.Log(); !strings.Contains(log, "STARTTLS") && !strings.Contains(log, "1.3.6.1.4.1.1466.20037") {
		t.Error("slapd saw no StartTLS")
	}
}

// forged are the headers a client would send who wants to be somebody else.
func forged() []string {
	var headers []string
	for _, name := range []string{
		"X-Auth-User", "X-Auth-Id", "X-Auth-Name", "X-Auth-Email", "X-Auth-Roles", "X-Auth-Token", "X-Auth-Cookie",
		"x-auth-user", "X-Auth_User", "X_Auth_User", "X_AUTH_ROLES",
	} {
		headers = append(headers, name, "forged-by-the-client")
	}
	return append(headers, "X-Original-URL", "http://vault.localhost/forged-by-the-client",
		"X-Forwarded-For", "203.0.113.9", "X-Forwarded-Host", "forged-by-the-client",
		"X-Forwarded-Proto", "forged-by-the-client")
}

func TestFWD02_IdentityHeadersComeFromUsAlone(t *testing.T) {
	w := newWorld(t, options{})
	for name, tc := range map[string]struct{ address, application, token string }{
		"where we send no token": {w.app, "app", ""},
		"where we send one":      {w.reports, "reports", "eyJ"},
	} {
		t.Run(name, func(t *testing.T) {
			headers := append(forged(), "Authorization", "Bearer "+w.token(local("omar"), tc.application))
			got := get(t, tc.address+"/path", headers...).heard(t)
			for name, values := range got.Header {
				if strings.Contains(strings.Join(values, " "), "forged-by-the-client") {
					t.Errorf("the client's own %s arrived: %q", name, values)
				}
			}
			want := map[string]string{"X-Auth-User": "omar", "X-Auth-Roles": "viewer", "X-Auth-Email": "omar@house.example"}
			for name, value := range want {
				if diff := cmp.Diff([]string{value}, got.Header.Values(name)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			// omar has no full name: our value is empty, and the client's must not stand in for it.
			if name := got.Header.Values("X-Auth-Name"); name != nil {
				t.Errorf("X-Auth-Name is %q", name)
			}
			token := strings.Join(got.Header.Values("X-Auth-Token"), " ")
			if !strings.HasPrefix(token, tc.token) || (tc.token == "" && token != "") {
				t.Errorf("X-Auth-Token is %q", token)
			}
			if from := got.Header.Get("X-Forwarded-For"); from != "127.0.0.1" {
				t.Errorf("X-Forwarded-For is %q", from)
			}
		})
	}
}

func TestFWD02_TheDecisionIsAboutTheRealAddress(t *testing.T) {
	w := newWorld(t, options{})
	// omar may use app, not vault; the header says that vault's request is one for app.
	c := bearer(w.token(local("omar"), "app"))
	a := get(t, w.vault+"/", c.header, c.value, "X-Original-URL", w.app+"/")
	if a.status != http.StatusUnauthorized {
		t.Errorf("status %d, want 401: the token is for another application", a.status)
	}
	if len(w.echo.all()) != 0 {
		t.Errorf("the application was reached: %v", w.echo.all())
	}
}

func TestFWD04_TheApplicationNeverSeesOurCredentials(t *testing.T) {
	w := newWorld(t, options{})
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	b.Open(w.app + "/")
	w.proveAt(b, local("lena"))
	b.WaitURL(w.app)
	b.Eval(`document.cookie = "theirs=kept; path=/"`)
	b.Open(w.app + "/again")
	if diff := cmp.Diff([]string{"theirs=kept"}, w.shown(b).Header.Values("Cookie")); diff != "" {
		t.Errorf("the application's own cookie (-want +got):\n%s", diff)
	}
	token, key := w.token(local("lena"), "app"), w.key(local("lena"), "app")
	for name, c := range map[string]credential{
		"token": bearer(token), "key": apiKey(key), "key as bearer": bearer(key),
		"cookie": cookieOf(appCookie, w.cookie(b, appCookie)),
	} {
		if status := w.status(w.app+"/"+strings.ReplaceAll(name, " ", "-"), c); status != http.StatusOK {
			t.Errorf("%s: status %d", name, status)
		}
	}
	seen := w.echo.all()
	if len(seen) < 5 {
		t.Fatalf("the application saw %d requests only", len(seen))
	}
	for _, h := range seen {
		for _, name := range []string{"Authorization", "X-Api-Key", "X-Auth-Cookie"} {
			if v := h.Header.Values(name); v != nil {
				t.Errorf("%s: %s arrived: %d values", h.URL, name, len(v))
			}
		}
		for name, values := range h.Header {
			all := strings.Join(values, " ")
			for what, secret := range map[string]string{"cookie": brokerCookie, "token": token, "key": key} {
				if strings.Contains(all, secret) {
					t.Errorf("%s: our %s arrived in %s", h.URL, what, name)
				}
			}
		}
	}
}

func TestSomebodyWhoLosesTheRoleIsToldSoOnceTheyAreInside(t *testing.T) {
	w := newWorld(t, options{})
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	w.signIn(b, w.vault+"/safe", local("lena"))
	cookie := cookieOf("__Host-sallyport-vault", w.cookie(b, "__Host-sallyport-vault"))
	w.command("", "user", "set-groups", "lena", "viewer")
	w.allSoon(t, []opened{{"vault cookie", w.vault + "/safe", cookie}}, http.StatusForbidden)
	b.Open(w.vault + "/safe")
	b.WaitText("You cannot use Vault yet")
	b.WaitURL(w.issuer + "/denied?application=vault")
	w.command("", "user", "set-groups", "lena", "operator")
	w.allSoon(t, []opened{{"vault cookie", w.vault + "/safe", cookie}}, http.StatusOK)
}

func TestProgramsGetAStatusWherePeopleGetAPage(t *testing.T) {
	w := newWorld(t, options{})
	omar := bearer(w.token(local("omar"), "app"))
	for name, tc := range map[string]struct {
		method  string
		headers []string
		want    int
	}{
		"somebody who navigates":             {"GET", []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate"}, 303},
		"an old browser":                     {"GET", []string{"Accept", "text/html,*/*;q=0.8"}, 303},
		"a program":                          {"GET", []string{"Accept", "application/json"}, 401},
		"a program that takes anything":      {"GET", nil, 401},
		"a script of a page":                 {"GET", []string{"Accept", "*/*", "Sec-Fetch-Mode", "cors"}, 401},
		"a picture on a page":                {"GET", []string{"Accept", "image/*,*/*", "Sec-Fetch-Mode", "no-cors"}, 401},
		"a form that was sent too late":      {"POST", []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate"}, 401},
		"a program with a wrong credential":  {"GET", []string{"Accept", "application/json", "Authorization", "Bearer x"}, 401},
		"a program that sends a credential":  {"DELETE", []string{omar.header, omar.value}, 200},
		"a program that sends one in a form": {"POST", []string{omar.header, omar.value}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			a := call(t, tc.method, w.app+"/hosts?x=1", strings.Repeat("body", 100), tc.headers...)
			if a.status != tc.want {
				t.Fatalf("status %d, want %d", a.status, tc.want)
			}
			to := a.header.Get("Location")
			switch tc.want {
			case http.StatusSeeOther:
				if !strings.HasPrefix(to, w.issuer+"/login?") {
					t.Errorf("it leads to %s", to)
				}
			case http.StatusUnauthorized:
				if to != "" || a.header.Get("X-Error") == "" || !strings.Contains(a.body, a.header.Get("X-Error-Id")) {
					t.Errorf("Location %q, x-error %q, body %s", to, a.header.Get("X-Error"), a.body)
				}
				page := strings.HasPrefix(a.header.Get("Content-Type"), "text/html")
				if wanted := slices.Contains(tc.headers, "text/html"); page != wanted {
					t.Errorf("a page: %v, want %v", page, wanted)
				}
				if v := a.header.Values("WWW-Authenticate"); len(v) != 1 {
					t.Errorf("WWW-Authenticate stands %d times: %q", len(v), v)
				}
			default:
				if h := a.heard(t); h.Method != tc.method || h.URL != "/hosts?x=1" {
					t.Errorf("the application got %s %s", h.Method, h.URL)
				}
			}
		})
	}
}

func TestFWD03_WhatIsNotAYesIsANo(t *testing.T) {
	w := newWorld(t, options{})
	c := bearer(w.token(local("lena"), "app"))
	if status := w.status(w.app+"/before", c); status != http.StatusOK {
		t.Fatalf("status %d before", status)
	}
	reached := len(w.echo.all())
	for name, tc := range map[string]struct {
		address string
		c       credential
		want    int
	}{
		"no credential":                        {w.app + "/", credential{"Accept", "application/json"}, 401},
		"rubbish":                              {w.app + "/", bearer("rubbish"), 401},
		"a token of another application":       {w.reports + "/", c, 401},
		"a cookie sent twice":                  {w.app + "/", credential{"Cookie", appCookie + "=a; " + appCookie + "=b"}, 401},
		"the question itself, from outside":    {w.app + "/.sallyport/ask", c, 404},
		"a host that no application has":       {strings.Replace(w.app, "app.", "other.", 1) + "/", c, 421},
		"the issuer's pages on another's host": {w.app + "/.sallyport/me", c, 404},
		"the question without an address":      {w.issuer + "/authz/nginx", c, 403},
	} {
		if status := w.status(tc.address, tc.c); status != tc.want {
			t.Errorf("%s: status %d, want %d", name, status, tc.want)
		}
	}
	lost := bearer(w.token(local("lena"), "vault"))
	w.command("", "user", "set-groups", "lena", "viewer")
	w.server.wait(t, "a role that is gone to close the vault", func() error {
		a := get(t, w.vault+"/lost", lost.header, lost.value)
		if a.status != http.StatusForbidden || a.header.Get("X-Error") != "no_role" {
			return fmt.Errorf("status %d, x-error %q", a.status, a.header.Get("X-Error"))
		}
		return nil
	})
	if code := w.stopServer(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if status := w.status(w.app+"/after", c); status != http.StatusInternalServerError {
		t.Errorf("without a broker: status %d, want nginx's own 500", status)
	}
	for _, h := range w.echo.all()[reached:] {
		if h.URL != "/lost" || h.Header.Get("X-Auth-Roles") != "operator,viewer" { // asked before the change was seen
			t.Errorf("the application was reached without a yes: %s", h.URL)
		}
	}
}
