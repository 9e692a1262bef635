package web_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
)

// begin signs somebody in at the API and returns access and refresh token.
func (h *house) begin(name, application string) (access, refresh string) {
	h.t.Helper()
	o := h.program().login(name, password(name), application).want(200, "").object()
	access, _ = o["access_token"].(string)
	refresh, _ = o["refresh_token"].(string)
	if access == "" || refresh == "" {
		h.t.Fatalf("%d and %d characters", len(access), len(refresh))
	}
	return access, refresh
}

// body is a JSON object of texts.
func body(t testing.TB, fields map[string]string) string {
	t.Helper()
	raw, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func (h *house) tryRefresh(application, refresh string) *page {
	h.t.Helper()
	return h.program().json("/api/auth/refresh", body(h.t, map[string]string{"refresh_token": refresh, "application": application}))
}

func (h *house) revoke(application, token string) *page {
	h.t.Helper()
	return h.program().json("/api/auth/revoke", body(h.t, map[string]string{"token": token, "application": application}))
}

func (h *house) bearer(access, application string) *page {
	h.t.Helper()
	return h.program().with(access, "GET", "/api/auth/me?application="+application, "")
}

func TestSES04_ARefreshAnswersAsASignInDoes(t *testing.T) {
	h := newHouse(t)
	signedIn := h.program().login("lena", password("lena"), "app").want(200, "")
	refresh, _ := signedIn.object()["refresh_token"].(string)
	p := h.tryRefresh("app", refresh).want(200, "")
	if steady(p.body) != steady(signedIn.body) {
		t.Errorf("sign-in: %s\nrefresh: %s", steady(signedIn.body), steady(p.body))
	}
	if p.header.Get("Cache-Control") != "no-store" || len(p.header.Values("Set-Cookie")) > 0 {
		t.Errorf("headers are %v", p.header)
	}
	next, _ := p.object()["access_token"].(string)
	h.bearer(next, "app").want(200, "")
	if again := h.tryRefresh("app", refresh); again.object()["refresh_token"] != p.object()["refresh_token"] {
		t.Error("another answer to the same token")
	}
	h.clock.advance(11 * time.Second)
	h.poll()
	h.tryRefresh("app", refresh).problem(401, "refresh_reused")
	h.bearer(next, "app").problem(401, "expired")
	if log := h.log.String(); strings.Contains(log, refresh) || strings.Contains(log, next) {
		t.Error("the log holds a token")
	}
	if strings.Contains(h.dump(), refresh) || strings.Contains(h.dump(), next) {
		t.Error("the store holds a token")
	}
}

func TestKEY03_ARefreshTokenComesInTheBodyAlone(t *testing.T) {
	h := newHouse(t)
	_, refresh := h.begin("lena", "")
	b := h.signedIn("lena")
	b.json("/api/auth/refresh", `{}`).problem(400, "field_invalid")
	b.json("/api/auth/refresh", ``).problem(400, "body_invalid")
	b.json("/api/auth/refresh", `{"refresh_token":7}`).problem(400, "field_invalid")
	b.json("/api/auth/refresh", `{"refresh_token":"x","username":"lena"}`).problem(400, "field_unknown")
	b.json("/api/auth/login", `{"username":"lena","password":"x","refresh_token":"x"}`).problem(400, "field_unknown")
	b.json("/api/auth/refresh?refresh_token="+refresh, `{}`).problem(400, "credential_in_url")
	b.json("/api/auth/refresh?x="+refresh, `{}`).problem(400, "credential_in_url")
	b.json("/api/auth/refresh", `{"refresh_token":"sprt_x"}`).problem(401, "refresh_invalid")
	h.tryRefresh("nowhere", refresh).problem(404, "application_unknown")
	h.tryRefresh("app", refresh).problem(401, "refresh_invalid")
	h.bearer(refresh, "").problem(401, "credential_invalid")
	h.tryRefresh("", refresh).want(200, "")
}

func TestOPT08_RevokingIsAnsweredAlikeOrNotAtAll(t *testing.T) {
	h := newHouse(t)
	access, refresh := h.begin("lena", "app")
	h.revoke("app", "nothing").want(204, "")
	h.revoke("reports", refresh).want(204, "")
	h.program().json("/api/auth/revoke", `{}`).problem(400, "field_invalid")
	h.bearer(access, "app").want(200, "")
	h.store.broken.Store(true)
	h.revoke("app", access).problem(503, "unavailable")
	h.tryRefresh("app", refresh).problem(503, "unavailable")
	h.store.broken.Store(false)
	h.bearer(access, "app").want(200, "")
	h.revoke("app", access).want(204, "")
	h.bearer(access, "app").problem(401, "token_revoked")
	p := h.tryRefresh("app", refresh).want(200, "")
	next, _ := p.object()["refresh_token"].(string)
	h.revoke("app", next).want(204, "")
	h.tryRefresh("app", next).problem(401, "expired")
}

// feed reads the list of revocations.
func (h *house) feed(credential, query string) *page {
	h.t.Helper()
	return h.program().with(credential, "GET", "/api/auth/revocations"+query, "")
}

// keyFor is an API key of somebody for an application.
func (h *house) keyFor(name, application string) string {
	h.t.Helper()
	return h.apiKey(h.signedIn(name), application)
}

func TestTheListOfRevocationsIsForItsApplicationAndForAdministrators(t *testing.T) {
	h := newHouse(t)
	access, refresh := h.begin("lena", "app")
	key, other := h.keyFor("lena", "app"), h.keyFor("lena", "reports")
	h.revoke("app", refresh).want(204, "")
	root, _ := h.begin("root", "")
	lena, _ := h.begin("lena", "")
	for name, c := range map[string]struct {
		credential, query string
		status            int
		code              string
	}{
		"a key of the application":                  {key, "?application=app", 200, ""},
		"a key of another application":              {other, "?application=app", 401, "credential_invalid"},
		"a key without an application":              {key, "", 401, "credential_invalid"},
		"an administrator":                          {root, "", 200, ""},
		"an administrator, of one":                  {root, "?application=app", 200, ""},
		"somebody else":                             {lena, "", 403, "no_role"},
		"somebody else, of one":                     {lena, "?application=app", 403, "no_role"},
		"a session that ended":                      {access, "?application=app", 401, "credential_invalid"},
		"an application that is not":                {root, "?application=nowhere", 404, "application_unknown"},
		"a time that is none":                       {root, "?since=yesterday", 400, "field_invalid"},
		"a time":                                    {root, "?since=2031-05-06T07:08:09Z", 200, ""},
		"a key in the query":                        {root, "?since=" + key, 400, "credential_in_url"},
		"a key of the application that may no more": {"sp_x", "?application=app", 401, "credential_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			p := h.feed(c.credential, c.query)
			if c.status != 200 {
				p.problem(c.status, c.code)
				return
			}
			if p.want(200, ""); !strings.Contains(p.body, `"type":"session"`) || !strings.Contains(p.body, `"application":"app"`) {
				t.Errorf("answer is %s", p.body)
			}
			for _, personal := range []string{"lena", "127.0.0.1", "account"} {
				if strings.Contains(p.body, personal) {
					t.Errorf("the list says %q: %s", personal, p.body)
				}
			}
		})
	}
	h.program().get("/api/auth/revocations").problem(401, "unauthenticated")
	t.Run("cut-offs say since when", func(t *testing.T) {
		h.clock.advance(time.Second)
		if err := h.broker.CutOff(t.Context(), h.visit(), "test", sessions.CutProvider, "idp-a"); err != nil {
			t.Fatal(err)
		}
		p := h.feed(key, "?application=app&since=2031-05-06T07:08:10Z").want(200, "")
		if !strings.Contains(p.body, `"type":"provider","id":"idp-a"`) || !strings.Contains(p.body, `"issued_before":"2031-05-06T07:08:10.000Z"`) {
			t.Errorf("answer is %s", p.body)
		}
		if next, _ := p.object()["next"].(string); next != fmt.Sprint(h.clock.now().Add(-30*time.Second).UnixMilli()) {
			t.Errorf("next is %s", next)
		}
	})
}

// stream opens the list of revocations as a stream.
func (h *house) stream(credential, query, last string) (*http.Response, *bufio.Reader) {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.server.URL+"/api/auth/revocations"+query, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	r.Host = issuerHost
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Authorization", "Bearer "+credential)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	a, err := h.server.Client().Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = a.Body.Close() })
	return a, bufio.NewReader(a.Body)
}

// entry reads the next event of a stream.
func entry(t testing.TB, r *bufio.Reader) (id, data string) {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "id: "):
			id = line[4:]
		case strings.HasPrefix(line, "data: "):
			return id, line[6:]
		}
	}
}

func TestRevocationsAreStreamedWithinTwoSeconds(t *testing.T) {
	h := newHouse(t)
	key := h.keyFor("lena", "app")
	first, refresh := h.begin("lena", "app")
	h.revoke("app", first).want(204, "")
	a, events := h.stream(key, "?application=app", "")
	if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "text/event-stream" || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", a.StatusCode, a.Header)
	}
	if _, data := entry(t, events); !strings.Contains(data, `"type":"token"`) {
		t.Fatalf("first is %s", data)
	}
	begun := time.Now()
	h.clock.advance(time.Second)
	h.revoke("app", refresh).want(204, "")
	id, data := entry(t, events)
	if took := time.Since(begun); took > 2*time.Second || !strings.Contains(data, `"type":"session"`) {
		t.Fatalf("after %s: %s", took, data)
	}
	t.Run("and from where one broke off", func(t *testing.T) {
		_, again := h.stream(key, "?application=app", id)
		entry(t, again) // at least once: what lies within the overlap comes again
		if _, same := entry(t, again); same != data {
			t.Fatalf("last is %s", same)
		}
	})
	t.Run("and it ends with the credential", func(t *testing.T) {
		begun := time.Now()
		if err := h.broker.SetGroups(t.Context(), h.visit(), "test", "lena", nil); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, events)
		if took := time.Since(begun); took > 3*time.Second {
			t.Fatalf("after %s", took)
		}
	})
	t.Run("and it is refused as every request is", func(t *testing.T) {
		if a, _ := h.stream(key, "?application=app", ""); a.StatusCode != http.StatusForbidden {
			t.Fatalf("%d", a.StatusCode)
		}
		root, _ := h.begin("root", "")
		if a, _ := h.stream(root, "", "x"); a.StatusCode != http.StatusBadRequest {
			t.Fatalf("%d", a.StatusCode)
		}
	})
}

func TestDOS01_OneAccountHasSoManyStreamsAndNoMore(t *testing.T) {
	h := newHouse(t)
	root, _ := h.begin("root", "")
	first, second := h.keyFor("lena", "app"), h.keyFor("lena", "app")
	opens := func(credential, query string, n int) {
		t.Helper()
		for range n {
			if a, _ := h.stream(credential, query, ""); a.StatusCode != http.StatusOK {
				t.Fatalf("%d", a.StatusCode)
			}
		}
	}
	refuses := func(credential, query string) {
		t.Helper()
		a, _ := h.stream(credential, query, "")
		if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("X-Error") != "too_many_streams" {
			t.Fatalf("%d %s", a.StatusCode, a.Header.Get("X-Error"))
		}
		h.feed(credential, query).want(200, "")
	}
	opens(first, "?application=app", 3)
	opens(second, "?application=app", 1)
	for _, key := range []string{first, second} { // one account, whatever it shows
		refuses(key, "?application=app")
	}
	opens(root, "", 4)
	refuses(root, "")
}

// ticket is one for the session of an access token.
func (h *house) ticket(access, application string) string {
	h.t.Helper()
	p := h.program().with(access, "POST", "/api/auth/ticket?application="+application, "").want(200, "")
	if p.object()["expires_in"] != float64(30) {
		h.t.Errorf("answer is %s", p.body)
	}
	ticket, _ := p.object()["ticket"].(string)
	return ticket
}

// knock asks for a WebSocket at an address of the application "app".
func (h *house) knock(path string, headers ...string) *page {
	h.t.Helper()
	return h.raw(append([]string{
		"GET " + path + " HTTP/1.1\r\nHost: app.localhost", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}, headers...)...)
}

func TestKEY03_ATicketOpensOneWebSocketAndReachesNobody(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()))
	access, _ := h.begin("lena", "app")
	ticket := h.ticket(access, "app")
	p := h.knock("/socket?room=a%20b&ticket=" + ticket + "&x=1;2")
	got := strings.Join(p.got(), "\n")
	if p.status != 200 || !strings.Contains(got, "GET /socket?room=a%20b&x=1;2 HTTP/1.1") || !strings.Contains(got, "X-Auth-User: lena") ||
		strings.Contains(got, ticket) {
		t.Fatalf("%d, the application got\n%s", p.status, got)
	}
	h.knock("/socket?ticket="+ticket).problem(401, "ticket_invalid")
	h.knock("/socket?ticket="+h.ticket(access, "app"), "Authorization: Bearer "+access).problem(400, "two_credentials")
	h.knock("/socket?ticket="+h.ticket(access, "app")+"&ticket="+h.ticket(access, "app")).problem(400, "two_credentials")
	fresh := h.ticket(access, "app")
	h.raw("GET /socket?ticket="+fresh+" HTTP/1.1\r\nHost: app.localhost").problem(400, "credential_in_url")
	h.raw("POST /socket?ticket="+fresh+" HTTP/1.1\r\nHost: app.localhost", "Upgrade: websocket", "Content-Length: 0").problem(400, "credential_in_url")
	h.program().get("/api/auth/me?ticket="+fresh).problem(400, "credential_in_url")
	h.program().get("/api/auth/me?ticket=x").problem(400, "credential_in_url")
	// An application's own word is its own affair, and so is the token's name where no profile has one.
	cookie := h.enter("vera", appHost, "app")
	p = h.knock("/socket?ticket=mine&token=mine", "Cookie: "+cookie, "Origin: http://app.localhost")
	if got := strings.Join(p.got(), "\n"); p.status != 200 || !strings.Contains(got, "GET /socket?ticket=mine&token=mine ") {
		t.Fatalf("%d\n%s", p.status, got)
	}
	key := h.keyFor("lena", "app")
	h.program().with(key, "POST", "/api/auth/ticket?application=app", "").problem(400, "no_session")
	for _, secret := range []string{ticket, fresh} {
		if strings.Contains(h.log.String(), secret) || strings.Contains(h.dump(), secret) {
			t.Error("log or store hold a ticket")
		}
	}
}

// queried lets WebSockets of the application "app" bring their token in a parameter.
func queried(_ *broker.Snapshot, of func(string) *broker.Application) {
	app := of("app")
	spelled := *app.Profile
	spelled.TokenQuery = "token"
	app.Profile = &spelled
}

func TestKEY03_ATokenInTheAddressIsForWebSocketsOfAProfileThatSaysSo(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()), queried)
	access, refresh := h.begin("lena", "app")
	p := h.knock("/socket?token=" + access + "&x=1")
	if got := strings.Join(p.got(), "\n"); p.status != 200 || !strings.Contains(got, "GET /socket?x=1 ") || strings.Contains(got, access) ||
		!strings.Contains(got, "X-Auth-User: lena") {
		t.Fatalf("%d\n%s", p.status, got)
	}
	h.knock("/socket?token=x").problem(401, "credential_invalid")
	h.knock("/socket?token="+h.keyFor("lena", "app")).problem(401, "credential_invalid")
	h.knock("/socket?token="+access+"&token="+access).problem(400, "two_credentials")
	h.knock("/socket?other="+refresh).problem(400, "credential_in_url")
	h.raw("GET /socket?token="+access+" HTTP/1.1\r\nHost: app.localhost").problem(401, "unauthenticated")
	h.program().get("/api/auth/me?token="+access).problem(400, "credential_in_url")
	if strings.Contains(h.log.String(), access) {
		t.Error("the log holds a token")
	}
}

func TestKEY03_ATicketCountsBehindAProxyToo(t *testing.T) {
	h := newHouse(t)
	access, _ := h.begin("lena", "app")
	ticket := h.ticket(access, "app")
	address := "http://" + appHost + "/socket?ticket=" + ticket
	socket := []string{"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
	h.program().ask(address).problem(401, "unauthenticated") // no WebSocket
	if p := h.program().ask(address, socket...).want(204, ""); p.header.Get("X-Auth-User") != "lena" {
		t.Errorf("headers are %v", p.header)
	}
	h.program().ask(address, socket...).problem(401, "ticket_invalid")
}

// renewing makes the application "app" one whose cookie holds a token that is renewed with five minutes left.
func renewing(s *broker.Snapshot, of func(string) *broker.Application) {
	told(1)(s, of)
	of("app").Profile.Cookie.RefreshBelow = 5 * time.Minute
}

func TestSES04_ACookieWithATokenIsRenewedByEverySurface(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, renewing, behind(t, app.url()))
	cookie := h.enter("lena", appHost, "app")
	ask := func() *page {
		return h.raw("GET /x HTTP/1.1\r\nHost: app.localhost", "Cookie: "+cookie).want(200, "")
	}
	if p := ask(); p.header.Get("Set-Cookie") != "" {
		t.Fatalf("set at once: %v", p.header)
	}
	h.clock.advance(11 * time.Minute)
	h.poll()
	p := ask()
	renewed := p.header.Get("Set-Cookie")
	name, _, _ := strings.Cut(cookie, "=")
	if !strings.HasPrefix(renewed, name+"=eyJ") || !strings.Contains(renewed, "HttpOnly; Secure; SameSite=Lax") || p.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("headers are %v", p.header)
	}
	value := strings.TrimPrefix(cookie, name+"=")
	behindProxy := h.program()
	behindProxy.jar[issuerHost] = map[string]string{name: value}
	if p := behindProxy.ask("http://"+appHost+"/x").want(204, ""); p.header.Get("Set-Cookie") != renewed {
		t.Fatalf("behind a proxy it is %q", p.header.Get("Set-Cookie"))
	}
	page := h.raw("GET /.sallyport/login?to=/x HTTP/1.1\r\nHost: app.localhost", "Cookie: "+cookie, "Accept: text/html").want(303, "")
	if page.header.Get("Set-Cookie") != renewed {
		t.Fatalf("at our page it is %q", page.header.Get("Set-Cookie"))
	}
	cookie, _, _ = strings.Cut(renewed, ";")
	h.clock.advance(5 * time.Minute)
	h.poll()
	ask()
}

func TestTenThousandGroupsBreakNoHeader(t *testing.T) {
	var groups []string
	for i := range 10_000 {
		groups = append(groups, fmt.Sprintf("group-number-%d-with-a-long-name", i))
	}
	h := newHouse(t)
	h.add("gina", append(groups, "operator")...)
	b := h.browser()
	b.signIn(b.visit("http://"+appHost+"/"), "gina").want(200, "").shows("welcome gina")
	b = h.browser()
	b.signIn(b.visit("http://"+reportsHost+"/"), "gina").want(200, "").shows("welcome gina")
	value := b.jar[reportsHost]["__Host-sallyport-reports"]
	asks := h.program()
	asks.jar[issuerHost] = map[string]string{"__Host-sallyport-reports": value}
	p := asks.ask("http://"+reportsHost+"/").want(204, "")
	var all bytes.Buffer
	_ = p.header.Write(&all)
	if all.Len() > 4<<10 || p.header.Get("X-Auth-Token") == "" {
		t.Errorf("the headers have %d bytes", all.Len())
	}
	access, refresh := h.begin("gina", "app")
	h.bearer(access, "app").want(200, "")
	h.tryRefresh("app", refresh).want(200, "")
	h.feed(h.keyFor("gina", "app"), "?application=app").want(200, "")
}
