package web_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/broker"
)

// ask puts nginx's question about an address.
func (b *browser) ask(original string, headers ...string) *page {
	b.t.Helper()
	r := b.request(http.MethodGet, "/authz/nginx", nil)
	if original != "" {
		r.Header.Set("X-Original-URL", original)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return b.do(r)
}

// opened is the cookie of somebody signed in at an application.
func (h *house) opened(name, address, id string) string {
	h.t.Helper()
	b := h.browser()
	b.signIn(b.visit(address), name).want(200, "").shows("welcome " + name)
	u := mustURL(h.t, address)
	return "__Host-sallyport-" + id + "=" + b.jar[u.Host]["__Host-sallyport-"+id]
}

func TestFWD01_OnlyListedProxiesAreAnswered(t *testing.T) {
	h := build(t, plan{}) // the list is empty by default
	h.program().ask("http://app.localhost/").problem(403, "proxy_not_trusted")
	elsewhere := build(t, plan{proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	elsewhere.program().ask("http://app.localhost/", "X-Forwarded-For", "192.0.2.1").problem(403, "proxy_not_trusted")
	newHouse(t).program().ask("http://app.localhost/").problem(401, "unauthenticated")
}

func TestFWD01_AnUnlistedPeerCannotSayWhereItComesFrom(t *testing.T) {
	for name, c := range map[string]struct {
		proxies   []netip.Prefix
		forwarded []string
		want      string
	}{
		"no proxy listed":             {nil, []string{"198.51.100.7"}, "127.0.0.1"},
		"a listed proxy":              {loopback(), []string{"198.51.100.7"}, "198.51.100.7"},
		"what the client said before": {loopback(), []string{"10.0.0.1, 198.51.100.7"}, "198.51.100.7"},
		"two lines":                   {loopback(), []string{"10.0.0.1", "198.51.100.7"}, "198.51.100.7"},
		"two proxies": {
			append(loopback(), netip.MustParsePrefix("10.0.0.0/8")),
			[]string{"203.0.113.9, 198.51.100.7, 10.1.1.1"},
			"198.51.100.7",
		},
		"no address":     {loopback(), []string{"203.0.113.9, unknown"}, "127.0.0.1"},
		"a port":         {loopback(), []string{"198.51.100.7:4711"}, "127.0.0.1"},
		"a zone":         {loopback(), []string{"fe80::1%<script>"}, "127.0.0.1"},
		"mapped to IPv6": {loopback(), []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		"nothing":        {loopback(), []string{""}, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			h := build(t, plan{proxies: c.proxies})
			b := h.program()
			r := b.request(http.MethodPost, "/api/auth/login",
				strings.NewReader(`{"username":"lena","password":"`+password("lena")+`"}`))
			r.Header.Set("Content-Type", "application/json")
			r.Header["X-Forwarded-For"] = c.forwarded
			b.do(r).want(200, "")
			if sessions := strings.SplitAfter(h.dump(), "== sessions"); !strings.Contains(sessions[1], "address="+c.want+" ") {
				t.Errorf("the session is not from %s: %s", c.want, sessions[1])
			}
		})
	}
}

func TestFWD02_IdentityHeadersAreAlwaysThere(t *testing.T) {
	h := newHouse(t)
	h.codes["odd"] = h.codes["alice"]
	odd := h.codes["odd"]
	odd.Subject, odd.Username, odd.Name, odd.Email = "o-2", "zoë", "Zoë\r\nX-Auth-Roles: admin, 100%", ""
	h.codes["odd"] = odd
	b := h.browser()
	b.visit(b.away("idp-a", "odd")).want(200, "")
	b.visit("http://app.localhost/").want(200, "")
	cookie := "__Host-sallyport-app=" + b.jar[appHost]["__Host-sallyport-app"]
	p := h.program().ask("http://app.localhost/x", "Cookie", cookie,
		"X-Auth-User", "root", "X-Auth-Roles", "admin", "X-Auth-Email", "root@house.example").want(204, "")
	got := map[string][]string{}
	for name, values := range p.header {
		if strings.HasPrefix(name, "X-Auth-") && name != "X-Auth-Id" {
			got[name] = values
		}
	}
	want := map[string][]string{
		"X-Auth-User": {"zo%C3%AB"}, "X-Auth-Name": {"Zo%C3%AB%0D%0AX-Auth-Roles:%20admin%2C%20100%25"}, "X-Auth-Email": {""},
		"X-Auth-Roles": {"operator,viewer"}, "X-Auth-Token": {""}, "X-Auth-Cookie": {""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("identity headers (-want +got): %s", diff)
	}
	if len(p.header.Get("X-Auth-Id")) != 22 {
		t.Errorf("X-Auth-Id %q", p.header.Get("X-Auth-Id"))
	}
}

func TestFWD02_AnApplicationThatWantsATokenGetsItsOwn(t *testing.T) {
	h := newHouse(t)
	cookie := h.opened("lena", "http://reports.localhost/", "reports")
	token := h.program().ask("http://reports.localhost/", "Cookie", cookie).want(204, "").header.Get("X-Auth-Token")
	claims := claimsOf(t, token)
	if claims["aud"] != "reports" || claims["preferred_username"] != "lena" {
		t.Errorf("claims %v", claims)
	}
	again := h.program().ask("http://reports.localhost/", "Authorization", "Bearer "+token).want(204, "")
	if again.header.Get("X-Auth-User") != "lena" {
		t.Error("the token does not open the application it was made for")
	}
	h.program().ask("http://app.localhost/", "Authorization", "Bearer "+token).problem(401, "credential_invalid")
}

func claimsOf(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no token: %q", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestFWD03_WhatIsNotCertainIsDenied(t *testing.T) {
	h := newHouse(t)
	cookie := h.opened("lena", "http://app.localhost/", "app")
	if p := h.program().ask("http://app.localhost/", "Cookie", cookie); p.status != 204 {
		t.Fatalf("the cookie does not open: %d", p.status)
	}
	for name, c := range map[string]struct {
		original []string
		code     string
	}{
		"no address":               {nil, "original_url_missing"},
		"two addresses":            {[]string{"http://app.localhost/", "http://reports.localhost/"}, "original_url_missing"},
		"an empty address":         {[]string{""}, "original_url_invalid"},
		"a path only":              {[]string{"/x"}, "original_url_invalid"},
		"no path":                  {[]string{"http://app.localhost"}, "original_url_invalid"},
		"a host nobody knows":      {[]string{"http://elsewhere.localhost/"}, "unknown_host"},
		"the issuer's host":        {[]string{"http://sso.localhost/"}, "unknown_host"},
		"another port":             {[]string{"http://app.localhost:81/"}, "unknown_host"},
		"userinfo":                 {[]string{"http://app.localhost@evil.example/"}, "original_url_invalid"},
		"userinfo before ours":     {[]string{"http://x@app.localhost/"}, "original_url_invalid"},
		"a fragment in the host":   {[]string{"http://app.localhost#.reports.localhost/x"}, "original_url_invalid"},
		"a query in the host":      {[]string{"http://app.localhost?.reports.localhost/x"}, "original_url_invalid"},
		"a backslash in the host":  {[]string{`http://app.localhost\.reports.localhost/x`}, "original_url_invalid"},
		"another scheme":           {[]string{"ftp://app.localhost/"}, "original_url_invalid"},
		"opaque":                   {[]string{"http:app.localhost/"}, "original_url_invalid"},
		"a space":                  {[]string{"http://app.local host/"}, "original_url_invalid"},
		"between two applications": {[]string{"http://shared.localhost/one/../two/"}, "original_url_invalid"},
		"the same, encoded":        {[]string{"http://shared.localhost/one/%2e%2E/two/"}, "original_url_invalid"},
		"an encoded slash":         {[]string{"http://shared.localhost/one/..%2ftwo/"}, "original_url_invalid"},
		"an encoded backslash":     {[]string{"http://shared.localhost/one/..%5ctwo/"}, "original_url_invalid"},
		"slashes to be merged":     {[]string{"http://shared.localhost/one//two/"}, "original_url_invalid"},
		"outside of both":          {[]string{"http://shared.localhost/three"}, "unknown_host"},
		"a name that begins alike": {[]string{"http://shared.localhost/onemore"}, "unknown_host"},
	} {
		t.Run(name, func(t *testing.T) {
			b := h.program()
			b.t = t
			r := b.request(http.MethodGet, "/authz/nginx", nil)
			r.Header["X-Original-Url"] = c.original
			r.Header.Set("Cookie", cookie)
			b.do(r).problem(403, c.code)
		})
	}
	for _, harmless := range []string{"/a/../b", "/a%2fb//c", "/?x=../y"} {
		if p := h.program().ask("http://app.localhost"+harmless, "Cookie", cookie); p.status != 204 {
			t.Errorf("%s on a host with one application: %d", harmless, p.status)
		}
	}
}

func TestFWD03_AStoreThatFailsIsNeverAYes(t *testing.T) {
	h := newHouse(t)
	cookie := h.opened("lena", "http://app.localhost/", "app")
	fresh := h.opened("vera", "http://app.localhost/", "app") // never asked about since
	h.poll()
	h.program().ask("http://app.localhost/", "Cookie", cookie).want(204, "")
	h.program().get("/.well-known/jwks.json").want(200, "")
	h.clock.advance(6 * time.Second) // blind for longer than cached answers count
	h.store.broken.Store(true)
	for _, c := range []string{cookie, fresh} {
		p := h.program().ask("http://app.localhost/", "Cookie", c)
		body := p.problem(503, "unavailable")
		if p.header.Get("Retry-After") == "" || strings.Contains(p.body, "secret") {
			t.Errorf("503 without Retry-After, or with its cause: %v", body)
		}
	}
	h.program().ask("http://app.localhost/", "Authorization", "Bearer x").problem(503, "unavailable")
	h.program().get("/.well-known/jwks.json").want(200, "") // who verifies without us goes on
	for _, path := range []string{"/api/auth/me", "/api/auth/validate"} {
		b := h.program()
		b.jar[issuerHost] = map[string]string{"__Host-sallyport": "whatever"}
		b.get(path).problem(503, "unavailable")
	}
	h.program().login("lena", password("lena"), "").problem(503, "provider_unavailable")
	h.store.broken.Store(false)
	h.poll()
	h.program().ask("http://app.localhost/", "Cookie", cookie).want(204, "")
}

func TestFWD03_ADeniedPersonGetsNoYes(t *testing.T) {
	h := newHouse(t)
	cookie := h.opened("lena", "http://reports.localhost/", "reports")
	if err := h.broker.SetGroups(t.Context(), h.visit(), "test", "lena", []string{"viewer"}); err != nil {
		t.Fatal(err)
	}
	h.program().ask("http://reports.localhost/", "Cookie", cookie).problem(403, "no_role")
	if err := h.broker.SetDisabled(t.Context(), h.visit(), "test", "lena", true); err != nil {
		t.Fatal(err)
	}
	if p := h.program().ask("http://reports.localhost/", "Cookie", cookie); p.status != 401 {
		t.Errorf("a closed account: %d", p.status)
	}
	h.program().ask("http://reports.localhost/", "Cookie", cookie, "Cookie", cookie).problem(401, "two_credentials")
}

func TestFWD04_TheUpstreamNeverSeesACookieOfOurs(t *testing.T) {
	h := newHouse(t)
	cookie := h.opened("lena", "http://app.localhost/", "app")
	for name, c := range map[string]struct {
		sent []string
		want string
	}{
		"alone":                         {[]string{cookie}, ""},
		"first":                         {[]string{cookie + "; theme=dark"}, "theme=dark"},
		"last":                          {[]string{"theme=dark; " + cookie}, "theme=dark"},
		"between":                       {[]string{"a=1; " + cookie + "; b=2"}, "a=1; b=2"},
		"without spaces":                {[]string{"a=1;" + cookie + ";b=2"}, "a=1; b=2"},
		"two lines":                     {[]string{"a=1", cookie + "; b=2"}, "a=1; b=2"},
		"others of ours":                {[]string{cookie + "; __Host-sallyport=x; __Host-sallyport_flow_x=y; a=1"}, "a=1"},
		"another case":                  {[]string{cookie + "; __host-SALLYPORT-app=x; a=1"}, "a=1"},
		"space at the end":              {[]string{"__Host-sallyport-x =y; " + cookie + "; a=1"}, "a=1"},
		"after a comma":                 {[]string{"a=1, " + strings.ToLower(cookie) + "; b=2; " + cookie}, "b=2"},
		"theirs with equals and quotes": {[]string{cookie + `; a="x=y"; b=`}, `a="x=y"; b=`},
	} {
		t.Run(name, func(t *testing.T) {
			b := h.program()
			b.t = t
			r := b.request(http.MethodGet, "/authz/nginx", nil)
			r.Header.Set("X-Original-URL", "http://app.localhost/")
			r.Header["Cookie"] = c.sent
			p := b.do(r).want(204, "")
			if got := p.header.Values("X-Auth-Cookie"); !slices.Equal(got, []string{c.want}) {
				t.Errorf("X-Auth-Cookie %q, want %q", got, c.want)
			}
		})
	}
}

func TestFWD05_DecisionsDoNotMix(t *testing.T) {
	h := newHouse(t)
	lenaApp := h.opened("lena", "http://app.localhost/", "app")
	lenaReports := h.opened("lena", "http://reports.localhost/", "reports")
	veraApp := h.opened("vera", "http://app.localhost/", "app")
	questions := []struct {
		cookie, original, user string
		status                 int
	}{
		{lenaApp, "http://app.localhost/x", "lena", 204},
		{veraApp, "http://app.localhost/x", "vera", 204},
		{lenaReports, "http://reports.localhost/x", "lena", 204},
		{veraApp, "http://reports.localhost/x", "", 401},
		{lenaApp, "http://reports.localhost/x", "", 401},
		{"", "http://app.localhost/x", "", 401},
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		b := h.program()
		wg.Go(func() {
			for i := range 60 {
				q := questions[(i+worker)%len(questions)]
				headers := []string{"X-Original-Method", []string{"GET", "POST"}[i%2]}
				if q.cookie != "" {
					headers = append(headers, "Cookie", q.cookie)
				}
				p := b.ask(q.original, headers...)
				if p.status != q.status || p.header.Get("X-Auth-User") != q.user {
					t.Errorf("%s with %.30s: %d as %q", q.original, q.cookie, p.status, p.header.Get("X-Auth-User"))
				}
			}
		})
	}
	wg.Wait()
}

func TestForwardAuthRedirectsNavigationsOnly(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	if p := b.get("http://app.localhost/x"); p.status != http.StatusSeeOther {
		t.Errorf("a navigation gets %d", p.status)
	}
	for name, headers := range map[string][2]string{
		"a fetch": {"Sec-Fetch-Mode", "cors"}, "a program": {"Accept", "application/json"},
	} {
		r := b.request(http.MethodGet, "http://app.localhost/x", nil)
		r.Header.Set(headers[0], headers[1])
		if headers[0] == "Accept" {
			r.Header["Sec-Fetch-Mode"] = nil
		}
		if p := b.do(r); p.status != 401 || p.header.Get("X-Error") != "unauthenticated" {
			t.Errorf("%s gets %d", name, p.status)
		}
	}
	if p := b.post("http://app.localhost/x", url.Values{}); p.status != 401 {
		t.Errorf("a form gets %d", p.status)
	}
}

// apiKey makes a key through the API.
func (h *house) apiKey(b *browser, application string) string {
	h.t.Helper()
	r := b.request(http.MethodPost, "/api/auth/api-keys", strings.NewReader(`{"name":"k","application":"`+application+`"}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	p := b.do(r).want(201, "")
	var made struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal([]byte(p.body), &made); err != nil || made.Key == "" {
		h.t.Fatalf("no key: %v %s", err, p.body)
	}
	return made.Key
}

func TestKEY03_CredentialsInTheQueryAreRefused(t *testing.T) {
	h := newHouse(t)
	key := h.apiKey(h.signedIn("lena"), broker.Self)
	for _, query := range []string{
		"access_token=x", "api_key=x", "API_KEY=x", "x-api-key=x", "token=x", "password=x", "anything=" + key, "permission=" + key,
	} {
		for _, at := range walk(h) {
			if !strings.HasPrefix(at.path, "/api/") {
				continue
			}
			b := h.program()
			r := b.request(at.method, at.path+"?"+query, nil)
			r.Header.Set("X-Api-Key", key)
			if p := b.do(r); p.status != 400 || p.header.Get("X-Error") != "credential_in_url" {
				t.Errorf("%s?%s: %d %s", at.route, query, p.status, p.header.Get("X-Error"))
			}
		}
	}
	h.program().get("/api/auth/me?a=%zz").problem(400, "bad_request")
	h.program().get("/api/auth/me?a=1;b=2").problem(400, "bad_request")
	if strings.Contains(h.log.String(), key) {
		t.Error("the log holds the key")
	}
}

func TestKEY03_KeysManageNothing(t *testing.T) {
	h := newHouse(t)
	person := h.signedIn("lena")
	key := h.apiKey(person, broker.Self)
	b := h.program()
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/api/auth/sessions", ""},
		{"DELETE", "/api/auth/sessions/x", ""},
		{"GET", "/api/auth/api-keys", ""},
		{"POST", "/api/auth/api-keys", `{"name":"another"}`},
		{"DELETE", "/api/auth/api-keys/x", ""},
	} {
		r := b.request(c.method, c.path, strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+key)
		b.do(r).problem(403, "key_cannot")
	}
	r := b.request(http.MethodPost, "/api/auth/logout", nil)
	r.Header.Set("X-Api-Key", key)
	b.do(r).problem(400, "no_session")
	r = b.request(http.MethodGet, "/me", nil)
	r.Header.Set("X-Api-Key", key)
	if p := b.do(r); p.status != http.StatusSeeOther || p.header.Get("Location") != "/login" {
		t.Errorf("/me with a key: %d", p.status)
	}
	person.get("/me").want(200, "")
}

func TestKEY03_TwoHeaderCredentialsAreRefusedAndOneMakesCookiesIgnored(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	b.asProgram = true
	key := h.apiKey(h.signedIn("lena"), broker.Self)
	me := func(headers ...string) *page {
		r := b.request(http.MethodGet, "/api/auth/me", nil)
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Add(headers[i], headers[i+1])
		}
		return b.do(r)
	}
	me("X-Api-Key", key, "Authorization", "Bearer "+key).problem(400, "two_credentials")
	me("X-Api-Key", key, "X-Api-Key", key).problem(400, "two_credentials")
	me("Authorization", "Bearer a", "Authorization", "bearer b").problem(400, "two_credentials")
	me("X-Api-Key", key).want(200, "")
	me().want(200, "")
	for _, bad := range [][]string{
		{"Authorization", "Bearer nonsense"},
		{"authorization", "bearer nonsense"},
		{"Authorization", "Bearer"},
		{"Authorization", "Bearer "},
		{"X-Api-Key", "sp_x"},
		{"X-Api-Key", ""},
	} {
		me(bad...).problem(401, "credential_invalid") // although the cookie is good
	}
	me("Authorization", "Basic bGVuYTp4").want(200, "") // the application's own affair
}
