package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/broker"
)

// junk are credentials of nobody, as headers.
func junk() map[string]http.Header {
	return map[string]http.Header{
		"a token that is none":       {"Authorization": {"Bearer x"}},
		"an empty token":             {"Authorization": {"Bearer "}},
		"two tokens":                 {"Authorization": {"Bearer x", "Bearer y"}},
		"a key of nobody":            {"Authorization": {"Bearer sp_" + strings.Repeat("A", 60)}},
		"a cookie of nobody":         {"Cookie": {"__Host-sallyport=" + broker.NewSecret()}},
		"two cookies":                {"Cookie": {"__Host-sallyport=x; __Host-sallyport=y"}},
		"a token and a cookie of us": {"Authorization": {"Bearer x"}, "Cookie": {"__Host-sallyport=x"}},
	}
}

// shows sends a request of a program with headers.
func (b *browser) shows(h http.Header, method, address, body string) *page {
	b.t.Helper()
	r := b.request(method, address, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, values := range h {
		r.Header[name] = values
	}
	return b.do(r)
}

func TestDOS03_ACredentialOfNobodyLiftsNoLimit(t *testing.T) {
	for name, header := range junk() {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t).bound(fewRequests())
			for i, c := range []struct{ method, path, body string }{
				{"POST", "/api/auth/login", `{"username":"lena","password":"wrong"}`},
				{"POST", "/api/auth/confirm", `{"verification_id":"x","code":"12345678"}`},
				{"POST", "/api/auth/refresh", `{"refresh_token":"x"}`},
				{"POST", "/api/auth/revoke", `{"token":"a.b.c"}`},
				{"GET", "/api/auth/csrf", ""},
				{"GET", "/api/auth/sso/login", ""},
				{"GET", "/api/auth/me", ""},
				{"GET", "/api/auth/me?application=tool", ""},
				{"GET", "/api/auth/validate", ""},
				{"POST", "/api/auth/ticket", ""},
				{"POST", "/api/auth/logout", ""},
				{"GET", "/api/auth/revocations", ""},
				{"GET", "/api/admin/sessions", ""},
				{"GET", "/api/auth/me?application=nowhere", ""},
			} {
				b := h.program().at("198.51.100." + string(rune('1'+i%9)) + string(rune('0'+i/9)))
				for n := range 5 {
					if p := b.shows(header, c.method, c.path, c.body); p.status == http.StatusTooManyRequests {
						t.Fatalf("%s %s, request %d: limited", c.method, c.path, n+1)
					}
				}
				if p := b.shows(header, c.method, c.path, c.body); p.header.Get("X-Error") != "rate_limited" {
					t.Errorf("%s %s: %d %s past the limit", c.method, c.path, p.status, p.header.Get("X-Error"))
				}
			}
		})
	}
}

func TestDOS03_PastTheLimitOfRequestsNoPasswordIsLookedAtAndNothingIsCounted(t *testing.T) {
	rules := fewFailures()
	rules.RequestsPerMinute = 2
	h := newHouse(t).bound(rules)
	b, header := h.program().at("198.51.100.1"), http.Header{"Authorization": {"Bearer x"}}
	login := func(typed string) *page {
		return b.shows(header, "POST", "/api/auth/login", body(t, map[string]string{"username": "lena", "password": typed}))
	}
	login("wrong").want(401, "bad_credentials")
	login("wrong").want(401, "bad_credentials")
	for range 5 {
		login(password("lena")).throttled("rate_limited", 30)
	}
	if got := h.column(h.open(), `SELECT count FROM failures WHERE scope='account'`); len(got) != 1 || got[0] != "2" {
		t.Fatalf("counted %q", got)
	}
}

func TestDOS03_ATryThatWasRefusedUnseenCountsAsARequest(t *testing.T) {
	rules := fewFailures()
	rules.RequestsPerMinute = 5
	h := newHouse(t).bound(rules)
	b := h.program().at("198.51.100.1")
	codes := map[string]int{}
	for range 20 {
		p := b.shows(http.Header{"Authorization": {"Bearer x"}}, "POST", "/api/auth/login", `{"username":"lena","password":"wrong"}`)
		codes[p.header.Get("X-Error")]++
	}
	if codes["bad_credentials"] != 3 || codes["too_many_attempts"] != 2 || codes["rate_limited"] != 15 {
		t.Fatalf("%v", codes)
	}
}

func TestDOS03_WhoIsSignedInSignsInNoMoreOftenThanOthers(t *testing.T) {
	h := newHouse(t)
	b, token := h.signedIn("lena").at("198.51.100.1"), h.token("lena", "")
	h.bound(fewRequests())
	for range 5 {
		h.program().at("198.51.100.1").with(token, "POST", "/api/auth/login", `{"username":"vera","password":"wrong"}`).want(401, "bad_credentials")
	}
	h.program().at("198.51.100.1").with(token, "POST", "/api/auth/login", `{"username":"vera","password":"wrong"}`).throttled("rate_limited", 12)
	for _, c := range []struct{ method, path string }{
		{"POST", "/login"},
		{"GET", "/login/password"},
		{"POST", "/login/password"},
		{"GET", "/login/confirm"},
		{"POST", "/login/confirm"},
		{"POST", "/login/confirm/again"},
		{"GET", "/login/continue/idp-a"},
		{"GET", "/callback/idp-a?state=x"},
		{"POST", "/saml/idp-s/acs"},
		{"GET", "/setup"},
		{"POST", "/setup"},
	} {
		if p := b.shows(nil, c.method, c.path, ""); p.header.Get("X-Error") != "rate_limited" {
			t.Errorf("%s %s: %d %s", c.method, c.path, p.status, p.header.Get("X-Error"))
		}
	}
	b.get("/me").want(200, "")
	b.get("/login?choose=1").want(200, "")
}

func TestDOS03_AGoodRefreshIsNotCountedAndABadOneIs(t *testing.T) {
	h := newHouse(t)
	_, refresh := h.begin("lena", "")
	h.bound(fewRequests())
	server := h.program().at("198.51.100.1")
	try := func(shown string) *page {
		return server.json("/api/auth/refresh", body(t, map[string]string{"refresh_token": shown}))
	}
	next := func() {
		t.Helper()
		refresh, _ = try(refresh).want(200, "").object()["refresh_token"].(string)
	}
	for range 20 {
		next()
	}
	for range 10 { // what else comes from this address takes nothing from it
		server.get("/api/auth/me")
	}
	next()
	for range 2 {
		try("x").want(401, "refresh_invalid")
		server.json("/api/auth/refresh", `{"refresh_token":""}`).want(400, "field_invalid")
	}
	next()
	try("x").want(401, "refresh_invalid")
	try(refresh).throttled("rate_limited", 12)
	h.clock.advance(12 * time.Second)
	next()
}

func TestDOS03_WhoShowsAGoodCredentialIsNotLimitedWhereverElseTheSourceStands(t *testing.T) {
	h := newHouse(t)
	own, foreign := h.token("lena", ""), h.token("lena", "tool")
	b := h.signedIn("lena").at("198.51.100.1")
	h.bound(fewRequests())
	program := h.program().at("198.51.100.1")
	for range 6 {
		program.get("/api/auth/me")
	}
	program.get("/api/auth/me").throttled("rate_limited", 12)
	for range 10 {
		program.with(own, "GET", "/api/auth/me", "").want(200, "")
		program.with(foreign, "GET", "/api/auth/me?application=tool", "").want(200, "")
		program.with(own, "GET", "/api/admin/sessions?application=tool", "").want(403, "permission_missing")
		b.get("/me").want(200, "")
	}
	program.with(foreign, "GET", "/api/auth/me", "").throttled("rate_limited", 12) // good, but not here
}
