package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/testenv"
)

// caddyWorld is a world with Caddy in nginx's place.
func caddyWorld(t *testing.T) (*world, *testenv.CaddyServer) {
	t.Helper()
	testenv.Need(t, "caddy", "caddy")
	w := newWorld(t, options{})
	w.nginx.Process.Stop()
	return w, testenv.Caddy(t, testenv.CaddyOptions{
		Port: w.nginx.Port, Issuer: host(w.issuer), Sallyport: w.sallyport(),
		Sites: []testenv.CaddySite{
			{Host: "app.localhost", Upstream: w.echo.address()},
			{Host: "reports.localhost", Upstream: w.echo.address()},
			{Host: "vault.localhost", Upstream: w.echo.address()},
		},
	})
}

// sallyport is where the broker is reached.
func (w *world) sallyport() string {
	return "127.0.0.1:" + strings.TrimPrefix(host(w.issuer), "sso.localhost:")
}

func TestSignInLeadsToTheApplicationBehindCaddy(t *testing.T) {
	w, _ := caddyWorld(t)
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	deep := w.app + "/hosts/7?sort=name&filter=a%2Fb%20c&x=%C3%A4&to=%2F%2Fevil.example&y={env.HOME}"
	w.signIn(b, deep, local("omar"))
	got := w.shown(b)
	if want := strings.TrimPrefix(deep, w.app); strings.NewReplacer("%7B", "{", "%7D", "}").Replace(got.URL) != want {
		t.Errorf("the application was asked for %s, want %s", got.URL, want)
	}
	if got.Host != host(w.app) || got.Header.Get("X-Auth-User") != "omar" || got.Header.Get("X-Auth-Roles") != "viewer" {
		t.Errorf("the application saw %s with %v", got.Host, got.Header)
	}
	b.Open(w.reports + "/list?page=2")
	if again := w.shown(b); again.URL != "/list?page=2" || again.Header.Get("X-Auth-Token") == "" {
		t.Errorf("second application without a form: got %s with token %q", again.URL, again.Header.Get("X-Auth-Token"))
	}
	for range 2 { // once more: the same page, no loop
		b.Open(w.vault + "/safe")
		b.WaitText("You cannot use Vault yet")
	}
}

func TestSomebodyWithoutTheRoleIsToldSoBehindCaddy(t *testing.T) {
	w, _ := caddyWorld(t)
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	w.signIn(b, w.vault+"/safe", local("lena"))
	cookie := cookieOf("__Host-sallyport-vault", w.cookie(b, "__Host-sallyport-vault"))
	w.command("", "user", "set-groups", "lena", "viewer")
	w.allSoon(t, []opened{{"vault cookie", w.vault + "/safe", cookie}}, http.StatusForbidden)
	a := get(t, w.vault+"/safe", cookie.header, cookie.value, "Accept", "text/html")
	if to := a.header.Get("Location"); a.status != http.StatusSeeOther || to != w.issuer+"/denied?application=vault" {
		t.Errorf("a navigation gets %d to %s", a.status, to)
	}
	b.Open(w.vault + "/safe")
	b.WaitText("You cannot use Vault yet")
	b.WaitURL(w.issuer + "/denied?application=vault")
}

func TestProgramsGetAStatusWherePeopleAreRedirectedBehindCaddy(t *testing.T) {
	w, _ := caddyWorld(t)
	omar := bearer(w.token(local("omar"), "app"))
	for name, tc := range map[string]struct {
		method  string
		headers []string
		want    int
	}{
		"somebody who navigates":        {"GET", []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate"}, 303},
		"an old browser":                {"GET", []string{"Accept", "text/html,*/*;q=0.8"}, 303},
		"a program":                     {"GET", []string{"Accept", "application/json"}, 401},
		"a script of a page":            {"GET", []string{"Accept", "*/*", "Sec-Fetch-Mode", "cors"}, 401},
		"a form that was sent too late": {"POST", []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate"}, 401},
		"one that says it is a GET":     {"POST", []string{"Accept", "text/html", "X-Forwarded-Method", "GET"}, 401},
		"a wrong credential":            {"GET", []string{"Authorization", "Bearer x"}, 401},
		"one that sends a credential":   {"DELETE", []string{omar.header, omar.value}, 200},
		"a form with a credential":      {"POST", []string{omar.header, omar.value}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			a := call(t, tc.method, w.app+"/hosts?x=1", strings.Repeat("body", 100), tc.headers...)
			if a.status != tc.want {
				t.Fatalf("status %d, want %d", a.status, tc.want)
			}
			to := a.header.Get("Location")
			switch tc.want {
			case http.StatusSeeOther:
				if want := w.app + "/.sallyport/login?to=" + url.QueryEscape(w.app+"/hosts?x=1"); to != want {
					t.Errorf("it leads to %s, want %s", to, want)
				}
			case http.StatusUnauthorized:
				problem := strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json")
				if to != "" || !problem || a.header.Get("X-Error") == "" || !strings.Contains(a.body, a.header.Get("X-Error-Id")) {
					t.Errorf("Location %q, x-error %q, body %s", to, a.header.Get("X-Error"), a.body)
				}
			default:
				if h := a.heard(t); h.Method != tc.method || h.URL != "/hosts?x=1" {
					t.Errorf("the application got %s %s", h.Method, h.URL)
				}
			}
		})
	}
}

func TestFWD02_BehindCaddyIdentityHeadersComeFromUsAlone(t *testing.T) {
	w, _ := caddyWorld(t)
	for name, tc := range map[string]struct {
		address, application, token string
		more                        []string
	}{
		"where we send no token": {w.app, "app", "", nil},
		"where we send one":      {w.reports, "reports", "eyJ", nil},
		"where the client says that they concern this connection only": {w.app, "app", "", []string{
			"Connection", "close, X-Auth-User, X-Auth-Roles, X-Auth-Email, X-Auth-Cookie, Host, " +
				"X-Forwarded-Host, X-Forwarded-Uri, X-Forwarded-Method, X-Forwarded-Proto, X-Forwarded-For",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			headers := append(forged(), "Authorization", "Bearer "+w.token(local("omar"), tc.application))
			headers = append(headers, "X-Forwarded-Uri", "/forged-by-the-client",
				"X-Forwarded-Method", "forged-by-the-client", "Cookie", "theirs={http.request.host}")
			got := get(t, tc.address+"/path", append(headers, tc.more...)...).heard(t)
			for name, values := range got.Header {
				if strings.Contains(strings.Join(values, " "), "forged-by-the-client") {
					t.Errorf("the client's own %s arrived: %q", name, values)
				}
			}
			want := map[string]string{
				"X-Auth-User": "omar", "X-Auth-Roles": "viewer", "X-Auth-Email": "omar@house.example",
				"Cookie": "theirs={http.request.host}", "X-Forwarded-Host": host(tc.address), "X-Forwarded-For": "127.0.0.1",
				// omar has no full name: our value is empty, and the client's must not stand in for it.
				"X-Auth-Name": "",
			}
			for name, value := range want {
				if diff := cmp.Diff([]string{value}, got.Header.Values(name)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			token := strings.Join(got.Header.Values("X-Auth-Token"), " ")
			if !strings.HasPrefix(token, tc.token) || (tc.token == "" && token != "") {
				t.Errorf("X-Auth-Token is %q", token)
			}
		})
	}
}

// TestFWD02_NoSpellingOfAHeaderThatMattersPassesAProxy has what PHP, or a server that makes variables of headers, would
// take for a header of ours, or for one that is the proxy's to say.
func TestFWD02_NoSpellingOfAHeaderThatMattersPassesAProxy(t *testing.T) {
	nginx := func(t *testing.T) *world { return newWorld(t, options{}) }
	caddy := func(t *testing.T) *world {
		w, _ := caddyWorld(t)
		return w
	}
	for name, behind := range map[string]func(*testing.T) *world{"nginx": nginx, "Caddy": caddy} {
		t.Run(name, func(t *testing.T) {
			w := behind(t)
			headers := []string{"Authorization", "Bearer " + w.token(local("omar"), "app"), "X-Requested-With", "kept"}
			for _, header := range []string{
				"X-Auth-User", "X-Auth-Roles", "X-Auth-Name", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
				"X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Api-Key", "X-Original-Url",
			} {
				for _, mark := range "!#$%&'*+.^_`|~" {
					between := strings.ReplaceAll(header, "-", string(mark))
					headers = append(headers, between, "forged", strings.Replace(header, "-", string(mark), 1), "forged",
						"X-"+strings.TrimPrefix(between, "X"+string(mark)), "forged")
				}
			}
			headers = append(headers, "X-HTTP-Method-Override", "forged", "X-HTTP-Method", "forged", "X-Method-Override", "forged")
			got := get(t, w.app+"/path", headers...).heard(t)
			for name, values := range got.Header {
				if slices.Contains(values, "forged") {
					t.Errorf("%s arrived", name)
				}
			}
			if got.Header.Get("X-Auth-User") != "omar" || got.Header.Get("X-Requested-With") != "kept" {
				t.Errorf("the application got %v", got.Header)
			}
		})
	}
}

func TestFWD04_BehindCaddyTheApplicationNeverSeesOurCredentials(t *testing.T) {
	w, _ := caddyWorld(t)
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	w.signIn(b, w.app+"/", local("lena"))
	b.Eval(`document.cookie = "theirs=kept; path=/"`)
	b.Open(w.app + "/again")
	if diff := cmp.Diff([]string{"theirs=kept"}, w.shown(b).Header.Values("Cookie")); diff != "" {
		t.Errorf("the application's own cookie (-want +got):\n%s", diff)
	}
	token, key, cookie := w.token(local("lena"), "app"), w.key(local("lena"), "app"), w.cookie(b, appCookie)
	for name, c := range map[string]credential{
		"token": bearer(token), "key": apiKey(key), "key-as-bearer": bearer(key), "cookie": cookieOf(appCookie, cookie),
	} {
		if status := w.status(w.app+"/"+name, c); status != http.StatusOK {
			t.Errorf("%s: status %d", name, status)
		}
	}
	seen := w.echo.all()
	if len(seen) < 5 {
		t.Fatalf("the application saw %d requests only", len(seen))
	}
	for _, h := range seen {
		for name, values := range h.Header {
			all := strings.Join(values, " ")
			for what, secret := range map[string]string{"cookie": brokerCookie, "its value": cookie, "token": token, "key": key} {
				if strings.Contains(all, secret) {
					t.Errorf("%s: our %s arrived in %s", h.URL, what, name)
				}
			}
		}
		for _, name := range []string{"Authorization", "X-Api-Key", "X-Auth-Cookie"} {
			if v := h.Header.Values(name); v != nil {
				t.Errorf("%s: %s arrived: %d values", h.URL, name, len(v))
			}
		}
	}
}

func TestFWD03_BehindCaddyWhatIsNotAYesIsANo(t *testing.T) {
	w, _ := caddyWorld(t)
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
		"the issuer's pages on another's host": {w.app + "/.sallyport/me", c, 404},
		"the question without an address":      {w.issuer + "/authz/forward", c, 403},
	} {
		if status := w.status(tc.address, tc.c); status != tc.want {
			t.Errorf("%s: status %d, want %d", name, status, tc.want)
		}
	}
	if code := w.stopServer(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if status := w.status(w.app+"/after", c); status != http.StatusBadGateway {
		t.Errorf("without a broker: status %d, want Caddy's own 502", status)
	}
	for _, h := range w.echo.all()[reached:] {
		t.Errorf("the application was reached without a yes: %s", h.URL)
	}
}

// TestFWD01_BehindCaddyAnotherApplicationsHostDoesNotOpenThisOne repeats against Caddy what is tried against nginx.
func TestFWD01_BehindCaddyAnotherApplicationsHostDoesNotOpenThisOne(t *testing.T) {
	w, all := caddyWorld(t)
	omar := w.token(local("omar"), "app") // a viewer: app lets him in, vault does not
	if got := w.status(w.app+"/", bearer(omar)); got != http.StatusOK {
		t.Fatalf("the token does not open its own application: %d", got)
	}
	attack := func(name string, lines ...string) {
		t.Helper()
		answer := raw(t, all.Port, append(lines, "Authorization: Bearer "+omar)...)
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: status %d, want 401: the token is for another application", name, answer.StatusCode)
		}
	}
	attack("the request line says vault and the Host header app",
		"GET "+w.vault+"/secret HTTP/1.1", "Host: "+host(w.app), "Connection: close")
	attack("X-Forwarded-Host says app",
		"GET /secret HTTP/1.1", "Host: "+host(w.vault), "X-Forwarded-Host: "+host(w.app), "Connection: close")

	// The same port, since the application's address has it: only the host is contradicted.
	all.Process.Stop()
	only := testenv.Caddy(t, testenv.CaddyOptions{
		Port: all.Port, Issuer: host(w.issuer), Sallyport: w.sallyport(),
		AnyHost: true, Sites: []testenv.CaddySite{{Host: "vault.localhost", Upstream: w.echo.address()}},
	})
	const secret = "GET /secret HTTP/1.1"
	attack("a Caddy that has vault only is asked for app", secret, "Host: "+host(w.app), "Connection: close")
	attack("and told so by X-Forwarded-Host",
		secret, "Host: "+host(w.app), "X-Forwarded-Host: "+host(w.app), "Connection: close")
	attack("and the header is said to concern this connection only",
		secret, "Host: "+host(w.app), "X-Forwarded-Host: "+host(w.app), "Connection: close, X-Forwarded-Host, Host")
	for _, h := range w.echo.all() {
		if h.URL == "/secret" {
			t.Errorf("vault was reached as %s", h.Host)
		}
	}
	lena := w.token(local("lena"), "vault") // else the refusals would say nothing
	answer := raw(t, only.Port, secret, "Host: "+host(w.app), "Authorization: Bearer "+lena, "Connection: close")
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("a token for vault: status %d, want 200", answer.StatusCode)
	}
}
