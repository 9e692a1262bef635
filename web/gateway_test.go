package web_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sallyport/broker"
)

// echo is an application's server that says what it got, to the byte.
type echo struct {
	listener net.Listener
	requests atomic.Int64
	// extra are header lines of the answer, each ended by CRLF.
	extra atomic.Value
}

func newEcho(t testing.TB) *echo {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{listener: l}
	e.extra.Store("")
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { e.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return e
}

// serve answers one request with its own head, and its body where it has a length.
func (e *echo) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	var head strings.Builder
	length := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := fmt.Sscanf(line, "Content-Length: %d", &length); err != nil {
			length = max(length, 0)
		}
		if line == "\r\n" {
			break
		}
		head.WriteString(line)
	}
	if _, err := io.CopyN(&head, r, int64(length)); err != nil {
		return
	}
	e.requests.Add(1)
	extra, _ := e.extra.Load().(string)
	_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		extra, head.Len(), head.String())
}

func (e *echo) url() string { return "http://" + e.listener.Addr().String() }

// change is what a test wants different in the configuration.
type change func(s *broker.Snapshot, app func(id string) *broker.Application)

// behind puts the application "app" at an address behind the gateway.
func behind(t testing.TB, address string) change {
	t.Helper()
	return func(_ *broker.Snapshot, app func(string) *broker.Application) {
		app("app").Upstream = &broker.Upstream{URL: mustURL(t, address)}
	}
}

// ruled gives the application "app" rules.
func ruled(rules ...*broker.Rule) change {
	return func(_ *broker.Snapshot, app func(string) *broker.Application) { app("app").Rules = rules }
}

// configure puts a changed configuration in force.
func (h *house) configure(changes ...change) {
	h.t.Helper()
	s := snapshot(h.t, issuer, h.broker.Current().Providers)
	s.Generation = h.broker.Current().Generation + 1
	for _, c := range changes {
		c(s, func(id string) *broker.Application {
			a, err := s.Application(id)
			if err != nil {
				h.t.Fatal(err)
			}
			return a
		})
	}
	if _, err := h.broker.Load(h.t.Context(), s); err != nil {
		h.t.Fatal(err)
	}
}

// gatewayHouse is a house whose own gateway answers on applications' hosts.
func gatewayHouse(t testing.TB, changes ...change) *house {
	t.Helper()
	h := newHouse(t)
	h.configure(changes...)
	h.serve(&http.Server{ReadHeaderTimeout: time.Minute})
	return h
}

// serve answers on a server with other bounds.
func (h *house) serve(s *http.Server) {
	h.t.Helper()
	s.Handler = h.handler
	h.server = httptest.NewUnstartedServer(h.handler)
	h.server.Config = s
	h.server.Start()
	h.t.Cleanup(h.server.Close)
}

// enter is the cookie of somebody who signed in to get to an application behind the gateway.
func (h *house) enter(name, host, id string) string {
	h.t.Helper()
	b := h.browser()
	b.signIn(b.visit("http://"+host+"/"), name).want(200, "")
	value := b.jar[host]["__Host-sallyport-"+id]
	if value == "" {
		h.t.Fatalf("%s got no cookie at %s", name, host)
	}
	return "__Host-sallyport-" + id + "=" + value
}

// dial is a connection to the house.
func (h *house) dial() net.Conn {
	h.t.Helper()
	c, err := (&net.Dialer{}).DialContext(h.t.Context(), "tcp", h.server.Listener.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	return c
}

// raw sends bytes that no client library would, and returns the answer.
func (h *house) raw(lines ...string) *page {
	h.t.Helper()
	c := h.dial()
	if _, err := io.WriteString(c, strings.Join(append(lines, "Connection: close"), "\r\n")+"\r\n\r\n"); err != nil {
		h.t.Fatal(err)
	}
	return h.answer(bufio.NewReader(c))
}

func (h *house) answer(r *bufio.Reader) *page {
	h.t.Helper()
	a, err := http.ReadResponse(r, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return &page{h.t, &url.URL{}, a.StatusCode, a.Header, string(body)}
}

// got is what the application was sent: its header lines, sorted.
func (p *page) got() []string {
	lines := strings.Split(strings.TrimSpace(p.body), "\r\n")
	slices.Sort(lines[1:])
	return lines
}

const get = "GET / HTTP/1.1\r\nHost: app.localhost"

func TestFWD02_TheGatewayAloneTellsWhoSomebodyIs(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()))
	cookie := h.enter("lena", appHost, "app")
	p := h.raw("GET /x?y=1 HTTP/1.1", "Host: app.localhost", "Cookie: "+cookie, "User-Agent: raw", "Accept: */*",
		"X-Auth-User: root", "x-auth-roles: admin", "X_Auth_Email: root@x", "x_auth_user: root", "X-Auth.User: root",
		"X-AUTH_ID: 1", "X-Auth-User: twice", "Remote-User: root", "REMOTE_USER: root", "X-Remote-User: root", "X-Forwarded-User: root",
		"X-Forwarded-Email: r", "X-Forwarded-Groups: admin", "X-Forwarded-Preferred-Username: root", "X-Forwarded-Access-Token: t",
		"X-Forwarded-For: 10.0.0.9", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1",
		"X-WebAuth-User: root", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "Forwarded: for=10.0.0.9", "X-Real-IP: 10.0.0.9",
		"Proxy: http://evil.example", "Keep-Alive: 5", "TE: deflate", "Connection: X-Auth-User, X-Forwarded-For, Cookie",
		"Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", "X-User: root", "X-SSL-Client-S-DN: root",
		"X-MS-Client-Principal-Name: root", "X-Goog-Authenticated-User-Email: r", "CF-Connecting-IP: 10.0.0.9",
		"WL-Proxy-Client-IP: 10.0.0.9", "Transfer_Encoding: chunked", "Transfer.Encoding: chunked", "Content_Length: 7",
		"Keep_Alive: 5", "Proxy_Connection: close").want(200, "")
	lena, _, _ := strings.Cut(p.body[strings.Index(p.body, "X-Auth-Id: ")+len("X-Auth-Id: "):], "\r\n")
	want := []string{
		"GET /x?y=1 HTTP/1.1", "Accept: */*", "Host: " + app.listener.Addr().String(), "User-Agent: raw",
		"X-Auth-Email: lena@house.example", "X-Auth-Id: " + lena, "X-Auth-Name: Lena", "X-Auth-Roles: operator,viewer",
		"X-Auth-Token: ", "X-Auth-User: lena", "X-Forwarded-For: 10.0.0.9", "X-Forwarded-Host: app.localhost",
		"X-Forwarded-Proto: http",
	}
	if got := p.got(); !slices.Equal(got, want) || len(lena) != 22 {
		t.Errorf("the application got\n%q, want\n%q", got, want)
	}
}

func TestFWD01_TheGatewaySaysWhereAnUnlistedClientComesFrom(t *testing.T) {
	app := newEcho(t)
	h := build(t, plan{})
	h.configure(behind(t, app.url()), ruled(&broker.Rule{Path: "/", Public: true}))
	h.serve(&http.Server{ReadHeaderTimeout: time.Minute})
	if p := h.raw(get, "X-Forwarded-For: 10.0.0.9"); !strings.Contains(p.body, "\r\nX-Forwarded-For: 127.0.0.1\r\n") {
		t.Errorf("the application got %s", p.body)
	}
}

func TestFWD02_TrailersOfAClientAreNotPassedOn(t *testing.T) {
	seen := make(chan http.Header, 1)
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen <- r.Trailer
	}))
	t.Cleanup(app.Close)
	h := gatewayHouse(t, behind(t, app.URL), ruled(&broker.Rule{Path: "/", Public: true}))
	h.raw("POST / HTTP/1.1\r\nHost: app.localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-Auth-User\r\nConnection: close\r\n\r\n"+
		"1\r\nx\r\n0\r\nX-Auth-User: root\r\n\r\nGET / HTTP/1.1\r\nHost: app.localhost").want(200, "")
	if trailer := <-seen; len(trailer) != 0 {
		t.Errorf("the application got the trailers %v", trailer)
	}
}

func TestFWD02_TrailersOfAnApplicationAreNotPassedOn(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/announced", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "Set-Cookie, X-Error")
		_, _ = io.WriteString(w, "all of it")
		w.Header().Set("Set-Cookie", "__Host-sallyport-app=planted")
		w.Header().Set("X-Error", "planted")
	})
	mux.HandleFunc("/unannounced", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "all of it")
		_ = http.NewResponseController(w).Flush()
		w.Header().Set(http.TrailerPrefix+"Set-Cookie", "__Host-sallyport-app=planted")
	})
	app := httptest.NewServer(mux)
	t.Cleanup(app.Close)
	h := gatewayHouse(t, behind(t, app.URL), ruled(&broker.Rule{Path: "/", Public: true}))
	for _, path := range []string{"/announced", "/unannounced"} {
		c := h.dial()
		if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: app.localhost\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(c)
		if err != nil || !bytes.Contains(all, []byte("all of it")) || bytes.Contains(all, []byte("planted")) || bytes.Contains(all, []byte("Trailer")) {
			t.Errorf("%s: %v\n%s", path, err, all)
		}
	}
}

func TestFWD04_TheGatewayPassesOnNoCredentialOfOurs(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()))
	cookie := h.enter("lena", appHost, "app")
	key := h.apiKey(h.signedIn("lena"), "app")
	for name, c := range map[string]struct {
		sent []string
		want []string // of Cookie, Authorization and the headers of keys
	}{
		"a cookie":               {[]string{"Cookie: a=1; " + cookie + "; b=2"}, []string{"Cookie: a=1; b=2"}},
		"nothing but a cookie":   {[]string{"Cookie: " + cookie}, nil},
		"all cookies of ours":    {[]string{"Cookie: __Host-sp-x=1; __Secure-sp-y=2; __host-sallyport=3; " + cookie}, nil},
		"a key":                  {[]string{"X-API-Key: " + key}, nil},
		"a key as bearer":        {[]string{"Authorization: Bearer " + key}, nil},
		"a key beside others":    {[]string{"X-API-Key: " + key, "X_Api_Key: " + key, "x.api.key: " + key}, nil},
		"another scheme":         {[]string{"Cookie: " + cookie, "Authorization: Basic bGVuYTp4"}, []string{"Authorization: Basic bGVuYTp4"}},
		"bearers in other dress": {[]string{"Cookie: " + cookie, "Authorization: bearer\t" + key}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := h.raw(append([]string{get}, c.sent...)...).want(200, "")
			var got []string
			for _, line := range p.got() {
				name, _, _ := strings.Cut(strings.ToLower(line), ":")
				if name == "cookie" || name == "authorization" || strings.Contains(name, "api") {
					got = append(got, line)
				}
			}
			if !slices.Equal(got, c.want) || !strings.Contains(p.body, "X-Auth-User: lena\r\n") || strings.Contains(p.body, key) {
				t.Errorf("the application got %q, want %q\n%s", got, c.want, p.body)
			}
		})
	}
	h.raw("GET /?anything="+key+" HTTP/1.1\r\nHost: app.localhost").problem(400, "credential_in_url")
	h.raw("GET /"+key+"/x HTTP/1.1\r\nHost: app.localhost").problem(400, "credential_in_url")
	if strings.Contains(h.log.String(), key) {
		t.Error("the log holds the key")
	}
}

func TestFWD04_AnApplicationThatWantsATokenGetsItFromTheGateway(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, func(_ *broker.Snapshot, of func(string) *broker.Application) {
		of("reports").Upstream = &broker.Upstream{URL: mustURL(t, app.url()), PassHost: true}
	})
	cookie := h.enter("lena", reportsHost, "reports")
	p := h.raw("GET / HTTP/1.1\r\nHost: REPORTS.localhost", "Cookie: "+cookie).want(200, "")
	_, token, _ := strings.Cut(p.body, "\r\nX-Auth-Token: ")
	token, _, _ = strings.Cut(token, "\r\n")
	if claims := claimsOf(t, token); claims["aud"] != "reports" {
		t.Errorf("claims %v", claims)
	}
	if !strings.Contains(p.body, "\r\nHost: reports.localhost\r\n") {
		t.Errorf("the host is not passed on: %s", p.body)
	}
	again := h.raw("GET / HTTP/1.1\r\nHost: reports.localhost", "Authorization: Bearer "+token).want(200, "")
	if strings.Contains(again.body, "Authorization") || !strings.Contains(again.body, "X-Auth-User: lena\r\n") {
		t.Errorf("the application got %s", again.body)
	}
}

func TestFWD03_TheGatewayRefusesPathsWithTwoReadings(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()), ruled(&broker.Rule{Path: "/", Public: true}))
	for _, target := range []string{
		"//", "/a//b", "/./", "/a/./b", "/a/../b", "/..", "/a/..", "/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb", `/a\b`, "/%2e%2e/a",
		"/a/%2E%2e/b", "/a;b", "/a;/b", "/a%3bb", "/a%00b", "/a%0d%0aX:y", "/%ff%fe", "/\xc3\xa9", "/%61dmin", "/%252e%252e/",
		"/a%252fb", "/a%25252fb", "/%2561dmin/x", "/%25u0061dmin/x", "/admin./x", "/admin%20/x", "/a#b", "http://app.localhost/", "http://app.localhost/a", "http://reports.localhost/a",
	} {
		t.Run(target, func(t *testing.T) {
			p := h.raw("GET " + target + " HTTP/1.1\r\nHost: app.localhost")
			if p.status == 404 && strings.HasPrefix(target, "http://reports") {
				return // the host of the target counts: an application that is not behind the gateway
			}
			if p.status != 400 || p.header.Get("X-Error") != "path_not_canonical" {
				t.Errorf("%d %s", p.status, p.header.Get("X-Error"))
			}
		})
	}
	if p := h.raw("CONNECT app.localhost:80 HTTP/1.1\r\nHost: app.localhost"); p.status < 400 {
		t.Errorf("CONNECT: %d", p.status)
	}
	h.raw("OPTIONS * HTTP/1.1\r\nHost: app.localhost") // answered by net/http
	h.raw("TRACE / HTTP/1.1\r\nHost: app.localhost").problem(405, "method_not_allowed")
	if n := app.requests.Load(); n != 0 {
		t.Errorf("%d of them reached the application", n)
	}
	for _, target := range []string{
		"/", "/a", "/a/?b=//../%2f;&c=%zz;d#", "/?", "/?a", "/wiki/Foo_(bar)", "/wiki/Foo_%28bar%29", "/a%20b%C3%A9", "/%c3%a9", "/a+b:c@d,e=f&g",
		"/50%25%20off", "/.well-known/x", "/.sallyportx", "/a%23b%3Fc",
	} {
		p := h.raw("GET "+target+" HTTP/1.1\r\nHost: app.localhost").want(200, "")
		if got := p.got()[0]; got != "GET "+target+" HTTP/1.1" {
			t.Errorf("%s reaches the application as %s", target, got)
		}
	}
	for _, bad := range [][]string{
		{"GET / HTTP/1.1", "Host: app.localhost", "Host: reports.localhost"},
		{"GET / HTTP/1.1", "Host: app.localhost", "X-Auth-User : root"},
		{"GET / HTTP/1.1"},
		{"POST / HTTP/1.1", "Host: app.localhost", "Content-Length: 1", "Transfer-Encoding: chunked, identity"},
	} {
		if p := h.raw(bad...); p.status < 400 {
			t.Errorf("%q: %d", bad, p.status)
		}
	}
}

// TestFWD03_ALettersCaseLeadsToNoOtherApplication has two applications of one host before a server that may ignore case.
func TestFWD03_ALettersCaseLeadsToNoOtherApplication(t *testing.T) {
	up := newEcho(t)
	open := []*broker.Rule{{Path: "/", Public: true}}
	h := gatewayHouse(t, behind(t, up.url()), ruled(open...), func(s *broker.Snapshot, app func(string) *broker.Application) {
		inner := app("reports")
		inner.URL, inner.Upstream, inner.Rules = mustURL(t, "http://App.localhost/Skins/"), app("app").Upstream, open
		s.WithApplications(s.Applications())
	})
	for target, want := range map[string]int{
		"/": 200, "/x": 200, "/Skins": 200, "/Skins/x": 200, "/Skins/X": 200, "/skinsx": 200, "/x/skins/": 200, "/Skins/skins/": 200,
		"/skins": 400, "/skins/x": 400, "/SKINS/x": 400, "/%C5%BFkins/x": 400, "/S%E2%84%AAins/": 400, "/Sk%C4%B1ns": 400,
	} {
		p := h.raw("GET " + target + " HTTP/1.1\r\nHost: app.localhost")
		if p.status != want || want == 400 && p.header.Get("X-Error") != "path_not_canonical" {
			t.Errorf("%s: %d %s, want %d", target, p.status, p.header.Get("X-Error"), want)
		}
	}
}

func TestFWD03_TheGatewayDeniesByDefault(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()), func(_ *broker.Snapshot, of func(string) *broker.Application) {
		of("reports").Upstream = of("app").Upstream
		of("two").Upstream = of("app").Upstream
	})
	page := "Accept: text/html"
	cookie, reports := h.enter("vera", appHost, "app"), h.enter("lena", reportsHost, "reports")
	before := app.requests.Load()

	h.raw(get).problem(401, "unauthenticated")
	h.raw(get, page, "Sec-Fetch-Mode: cors").problem(401, "unauthenticated")
	h.raw("POST / HTTP/1.1\r\nHost: app.localhost", page, "Content-Length: 0").want(401, "unauthenticated")
	h.raw("OPTIONS / HTTP/1.1\r\nHost: app.localhost", "Origin: https://x.example", "Access-Control-Request-Method: PUT").
		problem(401, "unauthenticated")
	h.raw("GET / HTTP/1.1\r\nHost: shared.localhost").problem(404, "not_found")
	h.raw("GET /one/x HTTP/1.1\r\nHost: shared.localhost").problem(404, "not_found") // not behind the gateway
	h.raw("GET /two/x HTTP/1.1\r\nHost: shared.localhost").problem(401, "unauthenticated")
	h.raw("GET /two/../one/x HTTP/1.1\r\nHost: shared.localhost").problem(400, "path_not_canonical")
	h.raw("GET / HTTP/1.1\r\nHost: elsewhere.localhost").problem(421, "unknown_host")
	h.raw("GET /.sallyport/nothing HTTP/1.1\r\nHost: app.localhost", "Cookie: "+cookie).problem(404, "not_found")
	h.raw("GET /.sallyport HTTP/1.1\r\nHost: app.localhost", "Cookie: "+cookie).problem(404, "not_found")
	h.raw(get, "Cookie: "+cookie+"; "+cookie).problem(400, "two_credentials")
	h.raw("GET / HTTP/1.1\r\nHost: reports.localhost", "Cookie: "+cookie).problem(401, "unauthenticated")

	p := h.raw("GET /x/y?a=b%20c&d=//e HTTP/1.1\r\nHost: app.localhost", page).want(303, "")
	if to := p.header.Get("Location"); to != "/.sallyport/login?to="+url.QueryEscape("/x/y?a=b%20c&d=//e") {
		t.Errorf("leads to %s", to)
	}
	if err := h.broker.SetGroups(t.Context(), h.visit(), "test", "lena", []string{"viewer"}); err != nil {
		t.Fatal(err)
	}
	h.raw("GET / HTTP/1.1\r\nHost: reports.localhost", "Cookie: "+reports).problem(403, "no_role")
	p = h.raw("GET / HTTP/1.1\r\nHost: reports.localhost", "Cookie: "+reports, page).want(303, "")
	if to := p.header.Get("Location"); to != issuer+"/denied?application=reports" {
		t.Errorf("leads to %s", to)
	}
	if err := h.broker.SetDisabled(t.Context(), h.visit(), "test", "vera", true); err != nil {
		t.Fatal(err)
	}
	if p := h.raw(get, "Cookie: "+cookie); p.status != 401 {
		t.Errorf("a closed account: %d", p.status)
	}
	if p := h.raw(get, "Cookie: "+cookie, page); p.status != 303 || !strings.HasPrefix(p.header.Get("Location"), "/.sallyport/login?") {
		t.Errorf("a closed account goes %d to %s", p.status, p.header.Get("Location"))
	}
	if n := app.requests.Load() - before; n != 0 {
		t.Errorf("%d refused requests reached the application", n)
	}
}

func TestFWD03_TheGatewayNeverPassesOnOutOfIgnorance(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()))
	cookie, before := h.enter("lena", appHost, "app"), app.requests.Load()
	h.clock.advance(6 * time.Second)
	h.store.broken.Store(true)
	h.raw(get, "Cookie: "+cookie).problem(503, "unavailable")
	h.raw(get, "Cookie: "+cookie, "Accept: text/html").want(503, "unavailable")
	if app.requests.Load() != before {
		t.Error("it was passed on")
	}
}

func TestFWD05_TheGatewaysDecisionsDoNotMix(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()), func(_ *broker.Snapshot, of func(string) *broker.Application) {
		of("reports").Upstream = of("app").Upstream
	}, ruled(&broker.Rule{Path: "/"}, &broker.Rule{Path: "/admin/", Require: []string{"operator"}},
		&broker.Rule{Path: "/read", Methods: []string{"GET"}}))
	lena, vera, reports := h.enter("lena", appHost, "app"), h.enter("vera", appHost, "app"), h.enter("lena", reportsHost, "reports")
	questions := []struct {
		method, host, path, cookie, user string
		status                           int
	}{
		{"GET", appHost, "/admin/x", lena, "lena", 200},
		{"GET", appHost, "/admin/x", vera, "", 403},
		{"GET", appHost, "/admin/x", reports, "", 401},
		{"GET", appHost, "/read", vera, "vera", 200},
		{"POST", appHost, "/read", vera, "", 403},
		{"POST", appHost, "/x", vera, "vera", 200},
		{"GET", reportsHost, "/admin/x", reports, "lena", 200},
		{"GET", reportsHost, "/admin/x", vera, "", 401},
	}
	var all sync.WaitGroup
	for worker := range 8 {
		b := h.program()
		all.Go(func() {
			for i := range 40 {
				q := questions[(i+worker)%len(questions)]
				r := b.request(q.method, "http://"+q.host+q.path, nil)
				r.Header.Set("Cookie", q.cookie)
				p := b.do(r)
				if p.status != q.status || q.user != "" && !strings.Contains(p.body, "X-Auth-User: "+q.user+"\r\n") {
					t.Errorf("%+v: %d", q, p.status)
				}
			}
		})
	}
	all.Wait()
}

func TestRulesHoldAtTheGateway(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()), ruled(
		&broker.Rule{Path: "/"},
		&broker.Rule{Path: "/public/", Public: true},
		&broker.Rule{Path: "/keys/", Carriers: []broker.Carrier{broker.APIKey}},
		&broker.Rule{Path: "/read/", Methods: []string{"GET"}},
		&broker.Rule{Path: "/cors", Methods: []string{"OPTIONS"}, Public: true},
		&broker.Rule{Path: "/slow/", Requests: 2, Per: time.Minute},
	))
	cookie := h.enter("lena", appHost, "app")
	key := h.apiKey(h.signedIn("lena"), "app")
	ask := func(method, path string, headers ...string) *page {
		return h.raw(append([]string{method + " " + path + " HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 0"}, headers...)...)
	}
	mine, mykey := "Cookie: "+cookie, "X-Api-Key: "+key
	ask("GET", "/public/x").want(200, "").shows("X-Auth-User: \r\n", "X-Auth-Roles: \r\n")
	ask("GET", "/public/x", mine).want(200, "").shows("X-Auth-User: lena\r\n")
	if p := ask("GET", "/public/x", "Cookie: __Host-sallyport-app=ended; a=1", "Authorization: Bearer ended"); p.status != 200 ||
		strings.Contains(p.body, "ended") {
		t.Errorf("a credential that opens nothing at a public path: %d %s", p.status, p.body)
	}
	ask("GET", "/keys/x", mine).problem(403, "carrier_denied")
	ask("GET", "/keys/x", mykey).want(200, "")
	ask("DELETE", "/read/x", mine).problem(403, "method_denied")
	head := h.program()
	asked := head.request(http.MethodHead, "http://app.localhost/read/x", nil)
	asked.Header.Set("Cookie", cookie)
	head.do(asked).want(200, "")
	if p := ask("GET", "/read/x", mine, "X-HTTP-Method-Override: DELETE", "x_http_method: DELETE"); strings.Contains(p.body, "DELETE") {
		t.Errorf("the application got %s", p.body)
	}
	ask("OPTIONS", "/cors", "Origin: https://x.example", "Access-Control-Request-Method: PUT").want(200, "")
	ask("GET", "/cors", mine).problem(403, "method_denied")
	ask("GET", "/slow/", mine).want(200, "")
	ask("GET", "/slow/", mine).want(200, "")
	p := ask("GET", "/slow/", mine)
	p.problem(429, "rate_limited")
	if p.header.Get("Retry-After") != "30" {
		t.Errorf("Retry-After %q", p.header.Get("Retry-After"))
	}
	ask("GET", "/slow/", mykey).want(200, "")
	h.clock.advance(31 * time.Second)
	h.poll()
	ask("GET", "/slow/", mine).want(200, "")
}

func TestSES06_TheGatewayHeedsNoCookieThatAnotherSiteSent(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()), ruled(&broker.Rule{Path: "/"}, &broker.Rule{Path: "/public", Public: true}))
	cookie := "Cookie: " + h.enter("lena", appHost, "app")
	key := "X-Api-Key: " + h.apiKey(h.signedIn("lena"), "app")
	before := app.requests.Load()
	for name, c := range map[string]struct {
		method  string
		headers []string
		status  int
	}{
		"its own page":                    {"POST", []string{cookie, "Sec-Fetch-Site: same-origin", "Origin: http://app.localhost"}, 200},
		"its own page, an older browser":  {"POST", []string{cookie, "Origin: http://app.localhost"}, 200},
		"a program":                       {"POST", []string{cookie}, 200},
		"another site":                    {"POST", []string{cookie, "Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}, 403},
		"another site, an older browser":  {"POST", []string{cookie, "Origin: https://evil.example"}, 403},
		"another site without an origin":  {"DELETE", []string{cookie, "Sec-Fetch-Site: cross-site"}, 403},
		"another host of the site":        {"PUT", []string{cookie, "Sec-Fetch-Site: same-site"}, 403},
		"a foreign origin that claims":    {"POST", []string{cookie, "Sec-Fetch-Site: same-origin", "Origin: https://evil.example"}, 403},
		"an opaque origin":                {"POST", []string{cookie, "Origin: null"}, 403},
		"another scheme":                  {"POST", []string{cookie, "Origin: https://app.localhost"}, 403},
		"another port":                    {"POST", []string{cookie, "Origin: http://app.localhost:81"}, 403},
		"two origins":                     {"POST", []string{cookie, "Origin: http://app.localhost", "Origin: https://evil.example"}, 403},
		"a method of its own":             {"PROPFIND", []string{cookie, "Sec-Fetch-Site: cross-site"}, 403},
		"a link from another site":        {"GET", []string{cookie, "Sec-Fetch-Site: cross-site"}, 200},
		"a key, which no page can attach": {"POST", []string{key, "Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}, 200},
		"a WebSocket of another site": {
			"GET", []string{cookie, "Upgrade: websocket", "Connection: Upgrade", "Origin: https://evil.example"}, 403,
		},
		"a WebSocket that does not say": {"GET", []string{cookie, "Upgrade: websocket", "Connection: Upgrade"}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			p := h.raw(append([]string{c.method + " / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 0"}, c.headers...)...)
			if c.status == 403 {
				p.problem(403, "csrf")
			} else {
				p.want(200, "")
			}
		})
	}
	if n := app.requests.Load() - before; n != 5 {
		t.Errorf("%d requests reached the application", n)
	}
	p := h.raw("POST /public HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 0", cookie, "Sec-Fetch-Site: cross-site").want(200, "")
	if !strings.Contains(p.body, "X-Auth-User: \r\n") {
		t.Errorf("at a public path another site acts as somebody: %s", p.body)
	}
}

func TestSES06_AProxiedEmbeddersPagesAreTheApplicationsOwn(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()), func(s *broker.Snapshot, _ func(string) *broker.Application) {
		s.Embedders = []*broker.Embedder{
			{ID: "portal", Relation: broker.Proxied, Origins: []string{"https://portal.example"}, Applications: []string{"app"}},
			{ID: "other", Relation: broker.CrossSite, Origins: []string{"https://other.example"}, Applications: []string{"app"}},
		}
	})
	cookie := "Cookie: " + h.enter("lena", appHost, "app")
	for origin, status := range map[string]int{"https://portal.example": 200, "https://other.example": 403} {
		p := h.raw("POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 0", cookie, "Origin: "+origin)
		if p.status != status {
			t.Errorf("%s: %d", origin, p.status)
		}
	}
}

func TestAnApplicationSpeaksForItself(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()), ruled(&broker.Rule{Path: "/", Public: true}))
	app.extra.Store("Content-Security-Policy: default-src 'self'\r\nX-Content-Type-Options: off\r\nReferrer-Policy: no-referrer\r\n" +
		"Cache-Control: public, max-age=60\r\nServer: thing\r\nX-Accel-Buffering: no\r\nX-Accel-Redirect: /x\r\nX-Error: theirs\r\n" +
		"Set-Cookie: a=1; Path=/\r\nSet-Cookie: __Host-sallyport-app=planted\r\nSet-Cookie: __host-sp-x=planted\r\n" +
		"Strict-Transport-Security: max-age=1\r\nContent-Encoding: gzip\r\n")
	p := h.raw(get, "Accept-Encoding: gzip")
	want := http.Header{
		"Content-Security-Policy": {"default-src 'self'", "frame-ancestors 'self'"}, "X-Content-Type-Options": {"off"},
		"Referrer-Policy": {"no-referrer"}, "Cache-Control": {"public, max-age=60"}, "Server": {"thing"}, "X-Accel-Buffering": {"no"},
		"X-Accel-Redirect": {"/x"}, "X-Error": {"theirs"}, "Set-Cookie": {"a=1; Path=/"}, "Strict-Transport-Security": {"max-age=1"},
		"Content-Encoding": {"gzip"}, "Content-Type": {"text/plain"},
	}
	for _, ours := range []string{"Date", "Content-Length", "Connection"} {
		p.header.Del(ours)
	}
	if !maps.EqualFunc(p.header, want, func(a, b []string) bool { return slices.Equal(a, b) }) {
		t.Errorf("answered with %v, want %v", p.header, want)
	}
	if !strings.HasPrefix(p.body, "GET / HTTP/1.1") {
		t.Error("the body was touched")
	}
}

func TestEMB06_PagesAreFramedByTheirEmbeddersOnly(t *testing.T) {
	app := newEcho(t)
	embedded := func(s *broker.Snapshot, _ func(string) *broker.Application) {
		s.Embedders = []*broker.Embedder{
			{ID: "intranet", Origins: []string{"https://intranet.example"}, Applications: []string{"app"}},
			{ID: "other", Origins: []string{"https://other.example"}, Applications: []string{"reports"}},
			{ID: "portal", Origins: []string{"https://a.portal.example", "https://b.portal.example"}, Applications: []string{"app"}},
		}
	}
	open := ruled(&broker.Rule{Path: "/open", Public: true})
	const list = "frame-ancestors 'self' https://intranet.example https://a.portal.example https://b.portal.example"
	h := gatewayHouse(t)
	for name, c := range map[string]struct {
		embedded bool
		says     string
		policies []string
		options  []string
	}{
		"nobody embeds, and it says nothing":       {false, "", []string{"frame-ancestors 'self'"}, nil},
		"nobody embeds, and it says options":       {false, "X-Frame-Options: SAMEORIGIN\r\n", nil, []string{"SAMEORIGIN"}},
		"nobody embeds, and its options are empty": {false, "X-Frame-Options:\r\nX-Frame-Options: \r\n", []string{"frame-ancestors 'self'"}, []string{"", ""}},
		"nobody embeds, and it has a policy":       {false, "Content-Security-Policy: img-src *\r\n", []string{"img-src *", "frame-ancestors 'self'"}, nil},
		"nobody embeds, and its policy says":       {false, "Content-Security-Policy: img-src *; Frame-Ancestors https://x.example\r\n", []string{"img-src *; Frame-Ancestors https://x.example"}, nil},
		"a word that is no directive":              {false, "Content-Security-Policy: report-uri /frame-ancestors\r\n", []string{"report-uri /frame-ancestors", "frame-ancestors 'self'"}, nil},
		"embedded":                                 {true, "", []string{list}, nil},
		"embedded, although it forbids frames":     {true, "X-Frame-Options: DENY\r\n", []string{list}, nil},
		"embedded, with a policy of its own":       {true, "Content-Security-Policy: img-src *\r\n", []string{"img-src *", list}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			changes := []change{behind(t, app.url()), open}
			if c.embedded {
				changes = append(changes, embedded)
			}
			h.configure(changes...)
			app.extra.Store(c.says)
			p := h.raw("GET /open HTTP/1.1\r\nHost: app.localhost").want(200, "")
			if got := p.header["Content-Security-Policy"]; !slices.Equal(got, c.policies) {
				t.Errorf("policies %q, want %q", got, c.policies)
			}
			if got := p.header["X-Frame-Options"]; !slices.Equal(got, c.options) {
				t.Errorf("options %q, want %q", got, c.options)
			}
			if p := h.raw(get); p.status != 401 || p.header.Get("X-Frame-Options") != "DENY" {
				t.Errorf("a refusal of ours may be framed: %d %v", p.status, p.header)
			}
		})
	}
	h.configure(behind(t, app.url()), embedded)
	p := h.raw("GET /x?y=1 HTTP/1.1\r\nHost: app.localhost", "Accept: text/html", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe").want(303, "")
	if to := p.header.Get("Location"); to != "/.sallyport/embed/v1/frame?application=app&to=%2Fx%3Fy%3D1" {
		t.Errorf("a frame leads to %s", to)
	}
	h.configure(behind(t, app.url()))
	p = h.raw("GET /x HTTP/1.1\r\nHost: app.localhost", "Accept: text/html", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe").want(303, "")
	if to := p.header.Get("Location"); to != "/.sallyport/login?to=%2Fx" {
		t.Errorf("a frame that nobody may make leads to %s", to)
	}
}

// live is an application's server with whatever does not end by itself.
func live(t testing.TB) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/socket", func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: %s\r\nX-User: %s\r\nSet-Cookie: __Host-sallyport-app=planted\r\n\r\n",
			base64.StdEncoding.EncodeToString(sum[:]), r.Header.Get("X-Auth-User"))
		_ = rw.Flush()
		_, _ = io.Copy(c, rw)
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
			}
		}
	})
	mux.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "%d bytes, %v", n, err)
	})
	mux.HandleFunc("/never", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// socket opens a WebSocket through the gateway.
func (h *house) socket(headers ...string) (net.Conn, *bufio.Reader) {
	h.t.Helper()
	c := h.dial()
	lines := append([]string{
		"GET /socket HTTP/1.1", "Host: app.localhost", "Upgrade: websocket", "Connection: keep-alive, Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Origin: http://app.localhost",
	}, headers...)
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		h.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	a, err := http.ReadResponse(r, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusSwitchingProtocols || a.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || a.Header.Get("X-User") != "lena" ||
		a.Header.Get("Set-Cookie") != "" || a.Header.Get("X-Frame-Options") != "" {
		h.t.Fatalf("handshake: %d %v", a.StatusCode, a.Header)
	}
	return c, r
}

// says sends something through a WebSocket and wants it back.
func says(t testing.TB, c net.Conn, r *bufio.Reader) {
	t.Helper()
	frame := []byte{0x81, 0x85, 1, 2, 3, 4, 'h', 'e', 'l', 'l', 'o'}
	if _, err := c.Write(frame); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, len(frame))
	if _, err := io.ReadFull(r, back); err != nil || !bytes.Equal(back, frame) {
		t.Fatalf("came back as %q, %v", back, err)
	}
}

// endsWithin wants a connection to end, and not to be ended by our patience.
func endsWithin(t testing.TB, c net.Conn, r io.Reader, most time.Duration) {
	t.Helper()
	begun := time.Now()
	if err := c.SetReadDeadline(begun.Add(2 * most)); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, r)
	var network net.Error
	if took := time.Since(begun); took > most || errors.As(err, &network) && network.Timeout() {
		t.Errorf("still open after %s: %v", took, err)
	}
}

func TestFWD06_WhatIsUnderWayEndsWithTheAccess(t *testing.T) {
	app := live(t)
	for name, end := range map[string]func(h *house) error{
		"the account is closed": func(h *house) error {
			return h.broker.SetDisabled(h.t.Context(), h.visit(), "test", "lena", true)
		},
		"a role is taken": func(h *house) error {
			return h.broker.SetGroups(h.t.Context(), h.visit(), "test", "lena", []string{"viewer"})
		},
		"the application left the configuration": func(h *house) error {
			h.configure()
			return nil
		},
		"a rule was added": func(h *house) error {
			h.configure(behind(h.t, app.URL), ruled(&broker.Rule{Path: "/", Require: []string{"admin"}}))
			return nil
		},
		"it moved": func(h *house) error {
			h.configure(behind(h.t, "http://127.0.0.1:9"))
			return nil
		},
		"the store stopped": func(h *house) error {
			h.clock.advance(6 * time.Second)
			h.store.broken.Store(true)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := gatewayHouse(t, behind(t, newEcho(t).url()))
			cookie := "Cookie: " + h.enter("lena", appHost, "app")
			h.configure(behind(t, app.URL))
			socket, back := h.socket(cookie)
			events, waiting := h.dial(), h.dial()
			for c, path := range map[net.Conn]string{events: "/events", waiting: "/never"} {
				if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: app.localhost\r\n"+cookie+"\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
			}
			stream := bufio.NewReader(events)
			if line, err := stream.ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
				t.Fatalf("%q %v", line, err)
			}
			says(t, socket, back)
			if err := end(h); err != nil {
				t.Fatal(err)
			}
			endsWithin(t, socket, back, 5*time.Second)
			endsWithin(t, events, stream, 5*time.Second)
			if p := h.answer(bufio.NewReader(waiting)); p.status < 400 || p.header.Get("X-Error") == "" {
				t.Errorf("who waited was told %d", p.status)
			}
		})
	}
}

func TestFWD06_WhatIsUnderWayStaysOpenWhileAccessLasts(t *testing.T) {
	app := live(t)
	h := gatewayHouse(t, behind(t, newEcho(t).url()))
	cookie := "Cookie: " + h.enter("lena", appHost, "app")
	// One request in an hour: looking again must not count.
	rule := ruled(&broker.Rule{Path: "/socket", Requests: 1, Per: time.Hour}, &broker.Rule{Path: "/"})
	h.configure(behind(t, app.URL), rule)
	c, r := h.socket(cookie)
	says(t, c, r)
	if err := c.SetReadDeadline(time.Now().Add(2500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var network net.Error
	if _, err := r.ReadByte(); !errors.As(err, &network) || !network.Timeout() {
		t.Fatalf("closed: %v", err)
	}
	h.configure(behind(t, app.URL)) // another configuration that says the same about it
	if err := c.SetReadDeadline(time.Now().Add(1500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadByte(); !errors.As(err, &network) || !network.Timeout() {
		t.Fatalf("closed by a new configuration: %v", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	says(t, c, r)
}

func TestTheGatewaysRequestsOutlastTheServersBounds(t *testing.T) {
	app := live(t)
	h := newHouse(t)
	h.configure(behind(t, app.URL), ruled(&broker.Rule{Path: "/", Public: true}))
	const bound = 300 * time.Millisecond
	h.serve(&http.Server{ReadHeaderTimeout: bound, ReadTimeout: bound, WriteTimeout: bound})
	t.Run("an answer without an end", func(t *testing.T) {
		c := h.dial()
		if _, err := io.WriteString(c, "GET /events HTTP/1.1\r\nHost: app.localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		r, begun := bufio.NewReader(c), time.Now()
		for time.Since(begun) < 4*bound {
			if _, err := r.ReadString('\n'); err != nil {
				t.Fatalf("after %s: %v", time.Since(begun), err)
			}
		}
	})
	t.Run("a large body that takes long", func(t *testing.T) {
		const pieces, size = 12, 1 << 20
		body, send := io.Pipe()
		tick := time.NewTicker(bound / 3)
		defer tick.Stop()
		go func() {
			piece := make([]byte, size)
			for range pieces {
				<-tick.C
				_, _ = send.Write(piece)
			}
			_ = send.Close()
		}()
		b := h.program()
		if p := b.do(b.request(http.MethodPost, "http://app.localhost/count", body)); p.body != fmt.Sprintf("%d bytes, <nil>", pieces*size) {
			t.Errorf("%d %s", p.status, p.body)
		}
	})
}

func TestTroubleWithAnApplicationIsToldApartFromOurs(t *testing.T) {
	var posts atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") })
	mux.HandleFunc("/never", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/down", func(w http.ResponseWriter, _ *http.Request) {
		posts.Add(1)
		c, _, _ := http.NewResponseController(w).Hijack()
		_ = c.Close()
	})
	say := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(c, text)
			_ = c.Close()
		}
	}
	mux.HandleFunc("/garbage", say("SECRET-of-the-upstream is not HTTP\r\n\r\n"))
	mux.HandleFunc("/large", say("HTTP/1.1 200 OK\r\nX-A: "+strings.Repeat("x", 1<<20)+"\r\n\r\n"))
	mux.HandleFunc("/switch", say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"))
	mux.HandleFunc("/half", say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
	mux.HandleFunc("/hints", say("HTTP/1.1 103 Early Hints\r\nSet-Cookie: __Host-sallyport-app=planted\r\nLink: </a.css>\r\n\r\n"+
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	app := httptest.NewServer(mux)
	t.Cleanup(app.Close)
	gone := newEcho(t)
	_ = gone.listener.Close()
	h := gatewayHouse(t, func(_ *broker.Snapshot, of func(string) *broker.Application) {
		open := []*broker.Rule{{Path: "/", Public: true}}
		of("app").Upstream = &broker.Upstream{URL: mustURL(t, app.URL), HeaderTimeout: 200 * time.Millisecond}
		of("reports").Upstream = &broker.Upstream{URL: mustURL(t, gone.url())}
		of("app").Rules, of("reports").Rules = open, open
	})
	ask := func(path string, more ...string) *page {
		return h.raw(append([]string{"GET " + path + " HTTP/1.1\r\nHost: app.localhost"}, more...)...)
	}
	h.raw("GET / HTTP/1.1\r\nHost: reports.localhost").problem(502, "upstream_unavailable")
	h.raw("GET / HTTP/1.1\r\nHost: reports.localhost", "Accept: text/html").want(502, "upstream_unavailable").shows("does not answer")
	ask("/never").problem(504, "upstream_timeout")
	for _, path := range []string{"/garbage", "/large", "/switch", "/down"} {
		p := ask(path)
		p.problem(502, "upstream_unavailable")
		if p.header.Get("X-Frame-Options") != "DENY" || p.header.Get("X-Error-Id") == "" {
			t.Errorf("%s: an answer of ours with the headers %v", path, p.header)
		}
	}
	if p := ask("/hints").want(200, ""); p.body != "ok" || p.header.Get("Link") != "" || p.header.Get("Set-Cookie") != "" {
		t.Errorf("answered %v %s", p.header, p.body)
	}
	if p := ask("/redirect").want(302, ""); p.header.Get("Location") != "/elsewhere" {
		t.Errorf("leads to %s", p.header.Get("Location"))
	}
	posts.Store(0)
	b := h.program() // on the connection that was used last, where the standard library would try again
	b.do(b.request(http.MethodPost, "http://app.localhost/down", strings.NewReader("x"))).problem(502, "upstream_unavailable")
	if n := posts.Load(); n != 1 {
		t.Errorf("a POST was sent %d times", n)
	}
	c := h.dial()
	if _, err := io.WriteString(c, "GET /half HTTP/1.1\r\nHost: app.localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if a, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
		defer a.Body.Close()
		if body, err := io.ReadAll(a.Body); err == nil {
			t.Errorf("an answer that broke off reads as the whole of it: %q", body)
		}
	}
	if log := h.log.String(); strings.Contains(log, "SECRET") || strings.Contains(log, "panic") {
		t.Errorf("the log says %s", log)
	}
}

func TestAnApplicationsCertificateIsChecked(t *testing.T) {
	app := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	app.Config.ErrorLog = nil
	t.Cleanup(app.Close)
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: app.Certificate().Raw})
	h := gatewayHouse(t)
	with := func(roots []byte) *page {
		h.configure(func(_ *broker.Snapshot, of func(string) *broker.Application) {
			of("app").Upstream = &broker.Upstream{URL: mustURL(t, app.URL), Roots: roots}
			of("app").Rules = []*broker.Rule{{Path: "/", Public: true}}
		})
		return h.raw(get)
	}
	with(nil).problem(502, "upstream_unavailable")
	with([]byte("no certificate")).problem(502, "upstream_unavailable")
	if p := with(roots).want(200, ""); p.body != "HTTP/1.1" {
		t.Errorf("reached by %s", p.body)
	}
}

func TestTheGatewayLeavesNothingBehind(t *testing.T) {
	h := newHouse(t)
	before := goleak.IgnoreCurrent()
	app := live(t)
	h.configure(behind(t, app.URL), ruled(&broker.Rule{Path: "/", Public: true}))
	h.serve(&http.Server{ReadHeaderTimeout: time.Minute})
	c := h.dial()
	if _, err := io.WriteString(c, "GET /events HTTP/1.1\r\nHost: app.localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		h.raw("POST /count HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 0").want(200, "")
	}
	_ = c.Close()
	h.configure()
	h.raw(get).problem(404, "not_found") // and the connections to what left the configuration are closed
	h.server.Close()
	// The application's own server would wait for connections that are kept open.
	done, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := app.Config.Shutdown(done); err != nil {
		t.Errorf("connections to the application are left: %v", err)
	}
	goleak.VerifyNone(t, before)
}
