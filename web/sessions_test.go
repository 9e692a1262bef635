package web_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// setCookies are the Set-Cookie lines of an answer by name.
func (p *page) setCookies() map[string]string {
	out := map[string]string{}
	for _, line := range p.header.Values("Set-Cookie") {
		name, _, _ := strings.Cut(line, "=")
		out[name] = line
	}
	return out
}

func TestSES01_TheBrokerCookieIsExactlySo(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	p := b.submit(b.visit("/login"), "/login", url.Values{"username": {"lena"}})
	p = b.post("/login/password", p.form("/login/password", url.Values{"password": {password("lena")}}))
	line := p.setCookies()["__Host-sallyport"]
	if !regexp.MustCompile(`^__Host-sallyport=[A-Za-z0-9_-]{43}; Path=/; HttpOnly; Secure; SameSite=Lax$`).MatchString(line) {
		t.Errorf("Set-Cookie: %s", line)
	}
	if strings.Contains(h.dump(), b.cookie()) {
		t.Error("the store holds the cookie's value")
	}
}

func TestSES01_AnApplicationsCookieOpensNothingAtTheBroker(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.signIn(b.visit("http://app.localhost/"), "lena").shows("welcome lena to app.localhost")
	value := b.jar[appHost]["__Host-sallyport-app"]
	if len(value) != 43 || len(b.jar[appHost]) != 1 {
		t.Fatalf("cookies of the application: %v", b.jar[appHost])
	}
	thief := h.browser()
	thief.jar[issuerHost] = map[string]string{"__Host-sallyport": value, "__Host-sallyport-app": value}
	for _, path := range []string{"/me", "/api/auth/me", "/api/auth/sessions", "/api/auth/api-keys", "/api/auth/validate"} {
		p := thief.get(path)
		if p.status == http.StatusOK {
			t.Errorf("%s opens for an application's cookie", path)
		}
	}
	if p := thief.visit("http://reports.localhost/"); p.url.Path != "/login" {
		t.Errorf("another application opens with it: %d at %s", p.status, p.url)
	}
}

func TestSES02_TheOldCookieIsDeadAfterSignIn(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	old := b.copy()
	if p := b.signIn(b.visit("/login?choose=1"), "vera"); p.url.Path != "/me" {
		t.Fatalf("second sign-in ends at %s", p.url)
	}
	if old.cookie() == b.cookie() {
		t.Fatal("the cookie is the same")
	}
	b.get("/me").want(200, "").shows("vera")
	if p := old.get("/me"); p.status != http.StatusSeeOther || p.header.Get("Location") != "/login" {
		t.Errorf("the old cookie still opens /me: %d", p.status)
	}
	old.asProgram = true
	old.get("/api/auth/me").problem(401, "expired")
}

func TestSES02_AProviderSignInReplacesTheSessionToo(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	old := b.copy()
	b.viaProvider(b.visit("/login?choose=1"), "idp-a", "alice").want(200, "").shows("Alice Ahlborn")
	old.asProgram = true
	old.get("/api/auth/me").problem(401, "expired")
}

// viaProvider signs in at an upstream provider as whoever the name typed says.
func (b *browser) viaProvider(p *page, id, who string) *page {
	b.t.Helper()
	m := regexp.MustCompile(`/login/continue/` + id + `\?flow=([A-Za-z0-9_-]+)`).FindStringSubmatch(p.body)
	if m == nil {
		b.t.Fatalf("no button for %s at %s: %s", id, p.url, p.body)
	}
	there := b.get(m[0])
	to := mustURL(b.t, there.leads())
	q := to.Query()
	q.Set("login_hint", who)
	to.RawQuery = q.Encode()
	return b.visit(to.String())
}

func TestSES04_SignOutKillsTheCookieAndWhatHangsOnIt(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.signIn(b.visit("http://app.localhost/"), "lena").shows("welcome lena")
	stays := h.signedIn("lena")
	thief := b.copy()
	p := b.submit(b.visit("/logout"), "/logout", nil).want(200, "")
	p.shows("You are signed out", "This browser is signed out of Test house.")
	if p.leads() != "" {
		t.Error("the signed-out page leads somewhere by itself")
	}
	if b.cookie() != "" {
		t.Error("the browser keeps the cookie")
	}
	thief.asProgram = true
	thief.get("/api/auth/me").problem(401, "expired")
	if p := thief.get("http://app.localhost/"); strings.Contains(p.body, "welcome") {
		t.Error("the application's cookie still opens")
	}
	stays.get("/me").want(200, "") // another browser of the same person goes on
	back := b.get("/me")           // Back asks again, because nothing may be kept
	if back.status != http.StatusSeeOther {
		t.Errorf("Back shows %d", back.status)
	}
}

func TestSES04_PagesAreNotKept(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	for _, path := range []string{"/me", "/logout", "/login?choose=1", "/denied?application=reports", "/setup?code=x"} {
		if got := b.get(path).header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
	}
}

func TestSES04_ASessionEndedElsewhereIsOver(t *testing.T) {
	h := newHouse(t)
	here, there := h.signedIn("lena"), h.signedIn("lena")
	me := here.visit("/me")
	end := me.form("/me/sessions/end-others", nil)
	here.follow(here.post("/me/sessions/end-others", end)).want(200, "").shows("All other sessions were ended.")
	there.asProgram = true
	there.get("/api/auth/me").problem(401, "expired")
	here.get("/me").want(200, "")
}

// forgeries are requests from elsewhere, as browsers and old clients send them.
func forgeries() map[string]map[string]string {
	return map[string]map[string]string{
		"another site":                       {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
		"another site without metadata":      {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
		"the same site, another origin":      {"Sec-Fetch-Site": "same-site", "Origin": "http://app.localhost"},
		"an application without metadata":    {"Sec-Fetch-Site": "", "Origin": "http://app.localhost"},
		"a hidden origin":                    {"Sec-Fetch-Site": "", "Origin": "null"},
		"our host by another scheme":         {"Sec-Fetch-Site": "", "Origin": "https://sso.localhost"},
		"our host on another port":           {"Sec-Fetch-Site": "", "Origin": "http://sso.localhost:81"},
		"metadata that lies about an origin": {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
		"neither, and no token":              {"Sec-Fetch-Site": "", "Origin": ""},
	}
}

func TestSES06_ForgedPostsChangeNothing(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	me := b.visit("/me")
	out := b.visit("/logout")
	login := b.visit("/login?choose=1")
	words := b.submit(b.visit("/login?choose=1"), "/login", url.Values{"username": {"vera"}})
	posts := map[string]url.Values{
		"/login":                  login.form("/login", url.Values{"username": {"vera"}}),
		"/login/password":         words.form("/login/password", url.Values{"password": {password("vera")}}),
		"/logout":                 out.form("/logout", nil),
		"/me/sessions/end-others": me.form("/me/sessions/end", nil),
		"/me/sessions/end":        me.form("/me/sessions/end", nil),
		"/me/keys/create":         me.form("/me/keys/create", url.Values{"name": {"forged"}, "days": {"3"}}),
		"/me/keys/revoke":         {"key": {"x"}, "csrf": {"x"}},
		"/setup":                  {"code": {"x"}, "csrf": {"x"}, "username": {"eve"}, "password": {password("eve")}},
	}
	for path, form := range posts {
		for name, headers := range forgeries() {
			t.Run(path+" from "+name, func(t *testing.T) {
				sent := url.Values{}
				for k, v := range form {
					sent[k] = v
				}
				if name == "neither, and no token" {
					sent.Del("csrf")
				}
				before, cookie := h.dump(), b.cookie()
				r := b.request(http.MethodPost, path, strings.NewReader(sent.Encode()))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				for k, v := range headers {
					if r.Header[k] = nil; v != "" {
						r.Header.Set(k, v)
					}
				}
				p := b.do(r)
				p.t = t
				p.want(403, "csrf")
				if len(p.header.Values("Set-Cookie")) > 0 || b.cookie() != cookie {
					t.Error("a forged post sets a cookie")
				}
				if diff := cmp.Diff(before, h.dump()); diff != "" {
					t.Errorf("a forged post changed the store: %s", diff)
				}
			})
		}
	}
}

func TestSES06_APostWithNeitherOriginNorMetadataPassesWithItsTokenOnly(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.asProgram = true // sends neither
	p := b.get("/login")
	p = b.get(b.post("/login", p.form("/login", url.Values{"username": {"lena"}})).leads())
	form := p.form("/login/password", url.Values{"password": {password("lena")}})
	other := h.browser()
	foreign := other.visit("/login").form("/login", nil)
	for name, token := range map[string]string{"none": "", "another flow's": foreign.Get("csrf"), "cut": form.Get("csrf")[1:]} {
		wrong := url.Values{"flow": form["flow"], "password": form["password"], "csrf": {token}}
		if got := b.post("/login/password", wrong); got.header.Get("X-Error") != "csrf" {
			t.Errorf("token %s: %d %s", name, got.status, got.header.Get("X-Error"))
		}
	}
	b.follow(b.post("/login/password", form)).want(200, "")
	if b.cookie() == "" {
		t.Fatal("not signed in")
	}
	out := b.get("/logout").form("/logout", nil)
	b.post("/logout", out).want(200, "")
}

func TestSES06_TheAPITakesTheTokenInItsHeader(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	b.asProgram = true
	body := `{"name":"from a script"}`
	create := func(headers map[string]string) *page {
		r := b.request(http.MethodPost, "/api/auth/api-keys", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		for k, v := range headers {
			r.Header.Set(k, v)
		}
		return b.do(r)
	}
	create(nil).problem(403, "csrf")
	create(map[string]string{"X-CSRF-Token": "wrong"}).problem(403, "csrf")
	create(map[string]string{"Sec-Fetch-Site": "same-site"}).problem(403, "csrf")
	create(map[string]string{"Sec-Fetch-Site": "same-origin"}).want(201, "")
	create(map[string]string{"Origin": issuer}).want(201, "")
	token := regexp.MustCompile(`"csrf_token":"([^"]+)"`).FindStringSubmatch(b.get("/api/auth/csrf").body)
	if token == nil {
		t.Fatal("no token")
	}
	create(map[string]string{"X-CSRF-Token": token[1]}).want(201, "")
	other := h.signedIn("vera")
	theirs := regexp.MustCompile(`"csrf_token":"([^"]+)"`).FindStringSubmatch(other.get("/api/auth/csrf").body)
	create(map[string]string{"X-CSRF-Token": theirs[1]}).problem(403, "csrf")
	nobody := h.program()
	nothing := regexp.MustCompile(`"csrf_token":"([^"]+)"`).FindStringSubmatch(nobody.get("/api/auth/csrf").body)
	create(map[string]string{"X-CSRF-Token": nothing[1]}).problem(403, "csrf")
}

func TestSES06_GetChangesNothing(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.signIn(b.visit("http://app.localhost/"), "lena").shows("welcome")
	before := h.dump()
	for _, at := range walk(h) {
		if at.method != http.MethodGet {
			continue
		}
		for _, query := range []string{
			"", "?flow=x&state=x&code=x&application=app&to=/x&notice=x", "?choose=1", "?application=reports",
		} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				b.copy().do(b.request(method, "http://"+at.host+at.path+query, nil))
			}
		}
	}
	if diff := cmp.Diff(before, h.dump()); diff != "" {
		t.Errorf("a GET changed the store: %s", diff)
	}
	b.get("/me").want(200, "")
	b.visit("http://app.localhost/").shows("welcome lena")
}

func TestSES06_AnUnsafeMethodOnARouteForGetIsRefused(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	for _, at := range walk(h) {
		if at.method != http.MethodGet || strings.HasPrefix(at.path, "/api/") {
			continue
		}
		for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
			p := b.copy().do(b.request(method, "http://"+at.host+at.path, nil))
			if at.path == "/authz/nginx" || at.path == "/.sallyport/login" {
				if p.status < 400 {
					t.Errorf("%s %s: %d", method, at.path, p.status)
				}
				continue
			}
			p.want(405, "method_not_allowed")
		}
	}
}

func TestSES08_ReturnTargetsStayOnTheApplication(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct{ name, to, want string }{
		{"a path", "/x/y?z=1", "http://app.localhost/x/y?z=1"},
		{"its own address", "http://app.localhost/x?y", "http://app.localhost/x?y"},
		{"its own address in capitals", "http://APP.localhost/x", "http://app.localhost/x"},
		{"nothing", "", "http://app.localhost/"},
		{"a foreign host", "https://evil.example/x", "http://app.localhost/"},
		{"a host that begins like ours", "http://app.localhost.evil.example/", "http://app.localhost/"},
		{"a host with another port", "http://app.localhost:81/x", "http://app.localhost/"},
		{"another scheme", "https://app.localhost/x", "http://app.localhost/"},
		{"two slashes", "//evil.example/x", "http://app.localhost/"},
		{"three slashes", "///evil.example/x", "http://app.localhost/"},
		{"slash and backslash", `/\evil.example/x`, "http://app.localhost/"},
		{"two backslashes", `\\evil.example/x`, "http://app.localhost/"},
		{"encoded slashes", "/%2f/evil.example", "http://app.localhost/"},
		{"a tab between slashes", "/\t/evil.example", "http://app.localhost/"},
		{"a line end", "/x\r\nSet-Cookie: a=b", "http://app.localhost/"},
		{"script", "javascript:alert(1)", "http://app.localhost/"},
		{"data", "data:text/html,x", "http://app.localhost/"},
		{"userinfo", "http://app.localhost@evil.example/", "http://app.localhost/"},
		{"userinfo before ours", "http://evil@app.localhost/x", "http://app.localhost/"},
		{"another application", "http://reports.localhost/", "http://app.localhost/"},
		{"the issuer", "http://sso.localhost/logout", "http://app.localhost/"},
		{"dot segments", "/a/../../b", "http://app.localhost/"},
		{"longer than a cookie holds", "/" + strings.Repeat("x", 2000), "http://app.localhost/"},
		{"as long as may be", "/" + strings.Repeat("x", 1500), "http://app.localhost/" + strings.Repeat("x", 1500)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := h.browser()
			b.t = t
			p := b.visit("http://app.localhost/.sallyport/login?to=" + url.QueryEscape(c.to))
			p = b.signIn(p, "lena")
			p.shows("welcome lena to app.localhost")
			if p.url.String() != c.want {
				t.Errorf("arrived at %s, want %s", p.url, c.want)
			}
		})
	}
}

func TestSES08_NoParameterOfOursLeadsElsewhere(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	for _, parameter := range []string{"to", "return", "return_to", "next", "redirect_uri", "url", "continue"} {
		for _, path := range []string{
			"/", "/login", "/logout", "/me", "/denied", "/login/next", "/login/password", "/setup",
			"http://app.localhost/.sallyport/logout", "http://app.localhost/.sallyport/login", "/api/auth/sso/login?application=app",
		} {
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			p := b.copy().get(path + sep + parameter + "=https%3A%2F%2Fevil.example%2F")
			if strings.Contains(p.header.Get("Location"), "evil") || strings.Contains(p.leads(), "evil.example") {
				t.Errorf("%s with %s leads to %s", path, parameter, p.leads())
			}
		}
	}
}
