package web_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

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
		"encoded twice":            {[]string{"http://shared.localhost/one/%252e%252e/two/"}, "original_url_invalid"},
		"a letter encoded twice":   {[]string{"http://shared.localhost/one/%2561"}, "original_url_invalid"},
		"the same, as IIS has it":  {[]string{"http://shared.localhost/one/%25u0061"}, "original_url_invalid"},
		"a dot at a segment's end": {[]string{"http://shared.localhost/one./x"}, "unknown_host"},
		"a space, further in":      {[]string{"http://shared.localhost/one/x%20/y"}, "original_url_invalid"},
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

// original is a request as Caddy and Traefik tell of it: X-Forwarded-… to value.
type original map[string][]string

// about is a GET of an address.
func about(address string) original {
	scheme, rest, _ := strings.Cut(address, "://")
	host, path, _ := strings.Cut(rest, "/")
	return original{"Proto": {scheme}, "Host": {host}, "Uri": {"/" + path}, "Method": {http.MethodGet}}
}

// with changes one of the headers.
func (o original) with(name string, values ...string) original {
	o[name] = values
	return o
}

// askForward puts the question of Caddy and Traefik.
func (b *browser) askForward(o original, headers ...string) *page {
	b.t.Helper()
	r := b.request(http.MethodGet, "/authz/forward", nil)
	for name, values := range o {
		r.Header["X-Forwarded-"+name] = values
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return b.do(r)
}

func TestFWD01_OnlyListedProxiesAreAnsweredInEverySpelling(t *testing.T) {
	build(t, plan{}).program().askForward(about("http://app.localhost/")).problem(403, "proxy_not_trusted")
	elsewhere := build(t, plan{proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	p := elsewhere.program().askForward(about("http://app.localhost/"), "X-Forwarded-For", "192.0.2.1", "Accept", "text/html")
	p.problem(403, "proxy_not_trusted") // no redirect either: it would lead here again
	newHouse(t).program().askForward(about("http://app.localhost/")).problem(401, "unauthenticated")
}

// TestFWD03_ALettersCaseIsAskedAboutNoOtherApplication has one application below another, before a server that may ignore
// case.
func TestFWD03_ALettersCaseIsAskedAboutNoOtherApplication(t *testing.T) {
	h := newHouse(t)
	h.configure(ruled(&broker.Rule{Path: "/", Public: true}), func(s *broker.Snapshot, app func(string) *broker.Application) {
		app("reports").URL = mustURL(t, "http://app.localhost/admin/")
		s.WithApplications(s.Applications())
	})
	for path, want := range map[string]string{
		"/": "", "/x": "", "/administer": "", "/admin/x": "unauthenticated", "/admin/X": "unauthenticated",
		"/ADMIN/x": "original_url_invalid", "/Admin": "original_url_invalid",
	} {
		for name, p := range map[string]*page{
			"nginx":   h.program().ask("http://app.localhost"+path, "X-Original-Method", "GET"),
			"forward": h.program().askForward(about("http://app.localhost" + path)),
		} {
			if got := p.header.Get("X-Error"); got != want {
				t.Errorf("%s, %s: %d %q, want %q", path, name, p.status, got, want)
			}
		}
	}
}

func TestFWD02_ForwardAuthAnswersWithTheSameHeaders(t *testing.T) {
	h := newHouse(t)
	cookie := h.opened("lena", "http://reports.localhost/", "reports")
	b := h.program()
	p := b.askForward(about("http://reports.localhost/x?y=1").with("Method", "POST"), "Cookie", cookie, "Cookie", "a=1",
		"X-Auth-User", "root", "X-Auth-Roles", "admin").want(200, "")
	nginx := b.ask("http://reports.localhost/x?y=1", "Cookie", cookie, "Cookie", "a=1").want(204, "")
	for name, want := range map[string]string{
		"X-Auth-User": "lena", "X-Auth-Name": "Lena", "X-Auth-Roles": "operator,viewer", "X-Auth-Cookie": "a=1", "Cookie": "a=1",
		"X-Auth-Email": "lena@house.example", "Cache-Control": "no-store", "X-Auth-Id": nginx.header.Get("X-Auth-Id"),
	} {
		if got := p.header.Values(name); !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if claims := claimsOf(t, p.header.Get("X-Auth-Token")); claims["aud"] != "reports" {
		t.Errorf("claims %v", claims)
	}
	empty := b.askForward(about("http://app.localhost/"), "Cookie", h.opened("vera", "http://app.localhost/", "app"))
	for _, name := range []string{"X-Auth-Token", "X-Auth-Cookie", "Cookie"} {
		if got := empty.want(200, "").header.Values(name); !slices.Equal(got, []string{""}) {
			t.Errorf("an empty %s is told as %q", name, got)
		}
	}
}

func TestFWD03_ForwardAuthDeniesWhatIsNotCertain(t *testing.T) {
	h := newHouse(t)
	cookie := h.opened("lena", "http://app.localhost/", "app")
	ok := func() original { return about("http://app.localhost/") }
	if p := h.program().askForward(ok(), "Cookie", cookie); p.status != 200 {
		t.Fatalf("the cookie does not open: %d", p.status)
	}
	const missing, invalid, unknown = "original_url_missing", "original_url_invalid", "unknown_host"
	for name, c := range map[string]struct {
		asked original
		code  string
	}{
		"nothing":                          {original{}, missing},
		"no scheme":                        {ok().with("Proto"), missing},
		"no host":                          {ok().with("Host"), missing},
		"no path":                          {ok().with("Uri"), missing},
		"no method":                        {ok().with("Method"), missing},
		"two schemes":                      {ok().with("Proto", "http", "http"), missing},
		"two hosts":                        {ok().with("Host", "app.localhost", "reports.localhost"), missing},
		"two paths":                        {ok().with("Uri", "/", "/"), missing},
		"two methods":                      {ok().with("Method", "GET", "POST"), missing},
		"an empty scheme":                  {ok().with("Proto", ""), invalid},
		"an empty host":                    {ok().with("Host", ""), invalid},
		"an empty path":                    {ok().with("Uri", ""), invalid},
		"another scheme":                   {ok().with("Proto", "ftp"), invalid},
		"two schemes in one":               {ok().with("Proto", "http, https"), invalid},
		"a scheme that holds an address":   {about("http://reports.localhost/").with("Proto", "http://app.localhost/x?"), invalid},
		"the same as a path":               {about("http://reports.localhost/").with("Proto", "http://app.localhost/x"), invalid},
		"a host that holds a path":         {ok().with("Host", "app.localhost/x").with("Uri", "/y"), invalid},
		"a host that holds a query":        {ok().with("Host", "app.localhost/?"), invalid},
		"a fragment in the host":           {ok().with("Host", "app.localhost#.reports.localhost"), invalid},
		"a backslash in the host":          {ok().with("Host", `app.localhost\.reports.localhost`), invalid},
		"userinfo":                         {ok().with("Host", "x@app.localhost"), invalid},
		"a space":                          {ok().with("Host", "app.local host"), invalid},
		"two hosts in one":                 {ok().with("Host", "app.localhost, reports.localhost"), invalid},
		"two hosts in one, without spaces": {ok().with("Host", "app.localhost,reports.localhost"), unknown},
		"a path that goes on with the host": {
			ok().with("Host", "app").with("Uri", ".localhost/"), invalid,
		},
		"a path that is userinfo":  {ok().with("Uri", "@reports.localhost/"), invalid},
		"a path that is a port":    {ok().with("Uri", ":81/"), invalid},
		"an address for a path":    {ok().with("Uri", "http://app.localhost/"), invalid},
		"an asterisk for a path":   {ok().with("Uri", "*"), invalid},
		"a host nobody knows":      {about("http://elsewhere.localhost/"), unknown},
		"a dot after the host":     {about("http://app.localhost./"), unknown},
		"the issuer's host":        {about("http://sso.localhost/"), unknown},
		"another port":             {about("http://app.localhost:81/"), unknown},
		"between two applications": {about("http://shared.localhost/one/../two/"), invalid},
		"the same, encoded":        {about("http://shared.localhost/one/%2e%2E/two/"), invalid},
		"an encoded slash":         {about("http://shared.localhost/one/..%2ftwo/"), invalid},
		"behind a fragment":        {about("http://shared.localhost/one/#/../../two/"), invalid},
		"slashes to be merged":     {about("http://shared.localhost/one//two/"), invalid},
		"outside of both":          {about("http://shared.localhost/three"), unknown},
	} {
		t.Run(name, func(t *testing.T) {
			b := h.program()
			b.t = t
			b.askForward(c.asked, "Cookie", cookie).problem(403, c.code)
			b.askForward(c.asked, "Cookie", cookie, "Accept", "text/html").problem(403, c.code)
			// The other spelling's header stands in for nothing.
			b.askForward(c.asked, "Cookie", cookie, "X-Original-Url", "http://app.localhost/").problem(403, c.code)
		})
	}
	b := h.program()
	r := b.request(http.MethodGet, "/authz/nginx", nil)
	r.Header.Set("Cookie", cookie)
	for name, values := range ok() {
		r.Header["X-Forwarded-"+name] = values
	}
	b.do(r).problem(403, missing)
}

func TestFWD03_ForwardAuthSaysUnavailableToEverybody(t *testing.T) {
	h := newHouse(t)
	cookie := h.opened("lena", "http://app.localhost/", "app")
	h.poll()
	h.clock.advance(6 * time.Second)
	h.store.broken.Store(true)
	for _, accept := range []string{"text/html", "application/json"} {
		p := h.program().askForward(about("http://app.localhost/"), "Cookie", cookie, "Accept", accept)
		p.problem(503, "unavailable")
		if p.header.Get("Retry-After") == "" || p.header.Get("X-Auth-User") != "" {
			t.Errorf("503 with the headers %v", p.header)
		}
	}
}

func TestFWD03_ForwardAuthTellsBrowsersWhereToGo(t *testing.T) {
	h := newHouse(t)
	vera := h.opened("vera", "http://app.localhost/", "app")
	lena := h.opened("lena", "http://reports.localhost/", "reports")
	if err := h.broker.SetGroups(t.Context(), h.visit(), "test", "lena", []string{"viewer"}); err != nil {
		t.Fatal(err)
	}
	const login = "http://app.localhost/.sallyport/login?to="
	back := func(address string) string { return login + url.QueryEscape(address) }
	page := []string{"Accept", "text/html"}
	lenaGoes, veraGoes := append([]string{"Cookie", lena}, page...), append([]string{"Cookie", vera}, page...)
	for name, c := range map[string]struct {
		asked    original
		headers  []string
		status   int
		location string
	}{
		"a navigation": {
			about("http://app.localhost/x/y?a=b%20c&d=//e"), page, 303, back("http://app.localhost/x/y?a=b%20c&d=//e"),
		},
		"a HEAD": {
			about("http://app.localhost/x").with("Method", "HEAD"), page, 303, back("http://app.localhost/x"),
		},
		"a host in capitals": {about("http://APP.localhost/x"), page, 303, back("http://app.localhost/x")},
		"another scheme":     {about("https://app.localhost/x"), page, 303, back("http://app.localhost/x")},
		"a path that looks like a host": {
			about("http://app.localhost//evil.example/"), page, 303, back("http://app.localhost/"),
		},
		"one of two on a host": {
			about("http://shared.localhost/one/x"), page, 303,
			"http://shared.localhost/.sallyport/login?to=" + url.QueryEscape("http://shared.localhost/one/x"),
		},
		"a credential that is none": {
			about("http://app.localhost/x"), append([]string{"Cookie", "__Host-sallyport-app=x"}, page...), 303,
			back("http://app.localhost/x"),
		},
		"a role that is missing": {
			about("http://reports.localhost/x"), lenaGoes, 303,
			"http://sso.localhost/denied?application=reports",
		},
		"a navigation, said by the browser": {
			about("http://app.localhost/"), []string{"Sec-Fetch-Mode", "navigate"}, 303, back("http://app.localhost/"),
		},
		"a script":                    {about("http://app.localhost/"), append([]string{"Sec-Fetch-Mode", "cors"}, page...), 401, ""},
		"a program":                   {about("http://app.localhost/"), nil, 401, ""},
		"a form":                      {about("http://app.localhost/").with("Method", "POST"), page, 401, ""},
		"a method in lower case":      {about("http://app.localhost/").with("Method", "get"), page, 401, ""},
		"an empty method":             {about("http://app.localhost/").with("Method", ""), page, 401, ""},
		"a program without the role":  {about("http://reports.localhost/"), []string{"Cookie", lena}, 403, ""},
		"a form without the role":     {about("http://reports.localhost/").with("Method", "POST"), lenaGoes, 403, ""},
		"a navigation that is let in": {about("http://app.localhost/"), veraGoes, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := h.program()
			b.t = t
			p := b.askForward(c.asked, c.headers...)
			if p.status != c.status || p.header.Get("Location") != c.location {
				t.Fatalf("%d to %q, want %d to %q", p.status, p.header.Get("Location"), c.status, c.location)
			}
			switch c.status {
			case 303:
				if p.header.Get("Cache-Control") != "no-store" || p.header.Get("X-Auth-User") != "" || p.header.Get("Set-Cookie") != "" {
					t.Errorf("a redirect with the headers %v", p.header)
				}
			case 401:
				p.problem(401, "unauthenticated")
			case 403:
				p.problem(403, "no_role")
			}
		})
	}
	if err := h.broker.SetDisabled(t.Context(), h.visit(), "test", "vera", true); err != nil {
		t.Fatal(err)
	}
	p := h.program().askForward(about("http://app.localhost/"), "Cookie", vera, "Accept", "text/html")
	if to := p.header.Get("Location"); p.status != 303 || to != back("http://app.localhost/") {
		t.Errorf("a closed account: %d to %q", p.status, to)
	}
	if p := h.program().askForward(about("http://app.localhost/"), "Cookie", vera); p.status != 401 {
		t.Errorf("a program of a closed account: %d", p.status)
	}
}

func TestFWD04_ForwardAuthHandsOnNoCookieOfOurs(t *testing.T) {
	h := newHouse(t)
	cookie := h.opened("lena", "http://app.localhost/", "app")
	for name, c := range map[string]struct{ sent, want string }{
		"alone":          {cookie, ""},
		"between":        {"a=1; " + cookie + "; b=2", "a=1; b=2"},
		"others of ours": {cookie + "; __Host-sallyport=x; __host-SALLYPORT-app=y; a=1", "a=1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := h.program()
			b.t = t
			p := b.askForward(about("http://app.localhost/"), "Cookie", c.sent).want(200, "")
			for _, in := range []string{"X-Auth-Cookie", "Cookie"} {
				if got := p.header.Values(in); !slices.Equal(got, []string{c.want}) {
					t.Errorf("%s %q, want %q", in, got, c.want)
				}
			}
		})
	}
}

func TestFWD05_ForwardAuthsDecisionsDoNotMix(t *testing.T) {
	h := newHouse(t)
	lena, vera := h.opened("lena", "http://app.localhost/", "app"), h.opened("vera", "http://app.localhost/", "app")
	reports := h.opened("lena", "http://reports.localhost/", "reports")
	questions := []struct {
		cookie, original, method, user string
		status                         int
	}{
		{lena, "http://app.localhost/x", "GET", "lena", 200},
		{vera, "http://app.localhost/x", "POST", "vera", 200},
		{reports, "http://reports.localhost/x", "GET", "lena", 200},
		{vera, "http://reports.localhost/x", "GET", "", 303},
		{vera, "http://reports.localhost/x", "POST", "", 401},
		{lena, "http://reports.localhost/x", "GET", "", 303},
		{"a=1", "http://app.localhost/x", "POST", "", 401},
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		b := h.program()
		wg.Go(func() {
			for i := range 56 {
				q := questions[(i+worker)%len(questions)]
				p := b.askForward(about(q.original).with("Method", q.method), "Cookie", q.cookie, "Accept", "text/html")
				if p.status != q.status || p.header.Get("X-Auth-User") != q.user {
					t.Errorf("%s %s with %.30s: %d as %q", q.method, q.original, q.cookie, p.status, p.header.Get("X-Auth-User"))
				}
			}
		})
	}
	wg.Wait()
}

func TestRulesHoldInEverySpelling(t *testing.T) {
	h := newHouse(t)
	cookie := h.opened("lena", "http://app.localhost/", "app")
	h.configure(ruled(
		&broker.Rule{Path: "/"},
		&broker.Rule{Path: "/admin/", Require: []string{"admin"}},
		&broker.Rule{Path: "/public/", Public: true},
		&broker.Rule{Path: "/read/", Methods: []string{"GET"}},
		&broker.Rule{Path: "/keys/", Carriers: []broker.Carrier{broker.APIKey}},
		&broker.Rule{Path: "/slow/", Requests: 1, Per: time.Minute},
		&broker.Rule{Path: "/slower/", Requests: 1, Per: time.Minute},
	))
	const at = "http://app.localhost"
	for name, c := range map[string]struct {
		method, path, cookie string
		status               int
		code                 string
	}{
		"allowed":                        {"GET", "/x", cookie, 0, ""},
		"a role that is missing":         {"GET", "/admin/x", cookie, 403, "no_role"},
		"a decoded path":                 {"GET", "/%61dmin/x", cookie, 403, "no_role"},
		"a method that is not allowed":   {"POST", "/read/x", cookie, 403, "method_denied"},
		"HEAD is a GET":                  {"HEAD", "/read/x", cookie, 0, ""},
		"another carrier":                {"GET", "/keys/x", cookie, 403, "carrier_denied"},
		"public":                         {"POST", "/public/x", "", 0, ""},
		"nobody":                         {"POST", "/x", "", 401, "unauthenticated"},
		"dots":                           {"GET", "/public/../admin/", cookie, 403, "original_url_invalid"},
		"dots, encoded":                  {"GET", "/public/%2e%2e/admin/", cookie, 403, "original_url_invalid"},
		"a letter, encoded twice":        {"GET", "/%2561dmin/", cookie, 403, "original_url_invalid"},
		"a letter, as IIS encodes it":    {"GET", "/%25u0061dmin/", cookie, 403, "original_url_invalid"},
		"a dot at a segment's end":       {"GET", "/admin./x", cookie, 403, "original_url_invalid"},
		"a space at a segment's end":     {"GET", "/admin%20/x", cookie, 403, "original_url_invalid"},
		"dots, encoded twice":            {"GET", "/public/%252e%252e/admin/", cookie, 403, "original_url_invalid"},
		"slashes":                        {"GET", "//admin/", cookie, 403, "original_url_invalid"},
		"an encoded slash":               {"GET", "/public/..%2fadmin/", cookie, 403, "original_url_invalid"},
		"a parameter of a path segment":  {"GET", "/public/..;/admin/", cookie, 403, "original_url_invalid"},
		"dots at a public path, nobody":  {"GET", "/public/../admin/", "", 403, "original_url_invalid"},
		"a query may be what it likes":   {"GET", "/x?../%2f//;", cookie, 0, ""},
		"a public path keeps who it is":  {"GET", "/public/y", cookie, 0, ""},
		"a method nobody has heard of":   {"BREW", "/read/x", cookie, 403, "method_denied"},
		"a method in lower case is none": {"get", "/read/x", cookie, 403, "method_denied"},
	} {
		t.Run(name, func(t *testing.T) {
			b := h.program()
			b.t = t
			var headers []string
			if c.cookie != "" {
				headers = []string{"Cookie", c.cookie}
			}
			for what, p := range map[string]*page{
				"nginx":   b.ask(at+c.path, append(headers, "X-Original-Method", c.method)...),
				"forward": b.askForward(about(at+c.path).with("Method", c.method), headers...),
			} {
				switch {
				case c.code != "":
					p.problem(c.status, c.code)
				case p.status != 204 && p.status != 200:
					t.Errorf("%s: %d %s", what, p.status, p.header.Get("X-Error"))
				case (p.header.Get("X-Auth-User") == "lena") != (c.cookie != "") || p.header.Values("X-Auth-User") == nil:
					t.Errorf("%s: as %q", what, p.header.Values("X-Auth-User"))
				}
			}
		})
	}
	h.program().ask(at+"/public/", "Cookie", cookie).problem(403, "original_url_missing") // the method was not told
	h.program().ask(at+"/x", "Cookie", cookie, "X-Original-Method", "GET", "X-Original-Method", "POST").problem(403, "original_url_missing")
	h.program().ask(at+"/slow/", "Cookie", cookie, "X-Original-Method", "GET").want(204, "")
	h.program().ask(at+"/slow/", "Cookie", cookie, "X-Original-Method", "GET").problem(403, "rate_limited") // nginx knows no 429
	h.program().askForward(about(at+"/slower/"), "Cookie", cookie).want(200, "")
	p := h.program().askForward(about(at+"/slower/"), "Cookie", cookie, "Accept", "text/html")
	p.problem(429, "rate_limited")
	if p.header.Get("Retry-After") != "60" {
		t.Errorf("Retry-After %q", p.header.Get("Retry-After"))
	}
	h.clock.advance(6 * time.Second)
	h.store.broken.Store(true)
	h.program().askForward(about(at+"/public/"), "Cookie", cookie).problem(503, "unavailable") // not even there
}

// TestFWD02_TheTraefikExampleLeavesNothingOfTheClients does to a request what Traefik's source does with the documented
// options, in place of a Traefik: delete and copy the listed headers, then those of the expression, then clean.
func TestFWD02_TheTraefikExampleLeavesNothingOfTheClients(t *testing.T) {
	text, err := os.ReadFile("../examples/traefik/dynamic.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		HTTP struct {
			Routers     map[string]struct{ Middlewares []string }
			Middlewares struct {
				Ask struct {
					ForwardAuth struct {
						Address    string
						Trust      *bool    `yaml:"trustForwardHeader"`
						Headers    []string `yaml:"authResponseHeaders"`
						Expression string   `yaml:"authResponseHeadersRegex"`
					} `yaml:"forwardAuth"`
				} `yaml:"sallyport-ask"`
				Clean struct {
					Headers struct {
						Request map[string]string `yaml:"customRequestHeaders"`
					}
				} `yaml:"sallyport-clean"`
			}
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	ask, clean := file.HTTP.Middlewares.Ask.ForwardAuth, file.HTTP.Middlewares.Clean.Headers.Request
	if ask.Trust == nil || *ask.Trust || !strings.HasSuffix(ask.Address, "/authz/forward") {
		t.Errorf("the question is %+v", ask)
	}
	for name, want := range map[string][]string{
		"app": {"sallyport-ask", "sallyport-clean"}, "app-sallyport": {"sallyport-clean"},
	} {
		if got := file.HTTP.Routers[name].Middlewares; !slices.Equal(got, want) {
			t.Errorf("router %s has the middlewares %q, want %q", name, got, want)
		}
	}

	h := newHouse(t)
	cookie := h.opened("lena", "http://app.localhost/", "app")
	said := h.program().askForward(about("http://app.localhost/"), "Cookie", cookie+"; a=1").want(200, "").header
	passed := http.Header{"Accept": {"*/*"}, "Cookie": {cookie + "; a=1"}, "Authorization": {"forged"}}
	for _, name := range []string{
		"X-Auth-User", "X-Auth-Id", "X-Auth-Name", "X-Auth-Email", "X-Auth-Roles", "X-Auth-Token", "X-Auth-Cookie", "X-Auth-Else",
		"X_auth_user", "X-Auth_user", "X_auth-Roles", "X-Api-Key", "X-Original-Url", "X.auth-Roles", "X.auth.roles", "X~auth-Roles",
		"X-Auth.roles", "X_forwarded_for", "X.forwarded-Host", "X-Http-Method-Override", "X_http_method_override", "X-Http-Method",
		"X.method.override", "X-Method-Override", "X_api_key",
	} {
		passed[name] = []string{"forged"}
	}
	for _, name := range ask.Headers {
		name = http.CanonicalHeaderKey(name)
		delete(passed, name)
		if said[name] != nil {
			passed[name] = said[name]
		}
	}
	identities := regexp.MustCompile(ask.Expression)
	maps.DeleteFunc(passed, func(name string, _ []string) bool { return identities.MatchString(name) })
	for name, values := range said {
		if identities.MatchString(name) {
			passed[name] = values
		}
	}
	for name, value := range clean {
		if value != "" {
			t.Errorf("%s is set to %q", name, value)
		}
		passed.Del(name)
	}
	want := http.Header{
		"Accept": {"*/*"}, "Cookie": {"a=1"}, "X-Auth-User": {"lena"}, "X-Auth-Id": said["X-Auth-Id"], "X-Auth-Name": {"Lena"},
		"X-Auth-Email": {"lena@house.example"}, "X-Auth-Roles": {"operator,viewer"}, "X-Auth-Token": {""},
	}
	if diff := cmp.Diff(want, passed); diff != "" {
		t.Errorf("what the application gets (-want +got):\n%s", diff)
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
