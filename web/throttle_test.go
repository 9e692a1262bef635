package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
)

const deviceCookie = "__Host-sallyport_device"

// bound puts limits in force.
func (h *house) bound(r broker.ThrottleRules) *house {
	h.t.Helper()
	s := *h.broker.Current()
	s.Throttle = r
	if _, err := h.broker.Load(h.t.Context(), &s); err != nil {
		h.t.Fatal(err)
	}
	return h
}

// fewFailures are limits that a test reaches soon.
func fewFailures() broker.ThrottleRules {
	return broker.ThrottleRules{Window: 15 * time.Minute, PerAccountAndSource: 3, PerAccount: 5, PerSource: 100}
}

// via lets a proxy say where a request comes from.
type via struct {
	http.RoundTripper
	address string
}

func (v via) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", v.address)
	return v.RoundTripper.RoundTrip(r)
}

// at moves a browser to an address.
func (b *browser) at(address string) *browser {
	to := b.wire.Transport
	if before, moved := to.(via); moved {
		to = before.RoundTripper
	}
	client := *b.wire
	client.Transport = via{to, address}
	b.wire = &client
	return b
}

// types goes to the password page with a name and types a password there.
func (b *browser) types(name, typed string) *page {
	b.t.Helper()
	p := b.submit(b.visit("/login?choose=1"), "/login", field("username", name))
	if p.url.Path != "/login/password" {
		b.t.Fatalf("after the name: %d at %s", p.status, p.url)
	}
	return b.post("/login/password", p.form("/login/password", field("password", typed)))
}

// throttled wants an answer that says when to come back, and keeps nothing in the browser.
func (p *page) throttled(code string, seconds int) *page {
	p.t.Helper()
	p.want(http.StatusTooManyRequests, code)
	if got := p.header.Get("Retry-After"); got != strconv.Itoa(seconds) || len(p.header.Values("Set-Cookie")) > 0 {
		p.t.Fatalf("Retry-After is %q, want %d; cookies %q", got, seconds, p.header.Values("Set-Cookie"))
	}
	return p
}

func TestLOC03_ThrottledNamesAnswerAlikeWhetherOrNotAnybodyHasThem(t *testing.T) {
	names := []string{"lena", "ghost", "no body", "dora"}
	house := func(t *testing.T) *house {
		h := newHouse(t).bound(fewFailures())
		h.add("dora", "viewer")
		if err := h.broker.SetDisabled(t.Context(), h.visit(), "test", "dora", true); err != nil {
			t.Fatal(err)
		}
		return h
	}
	t.Run("at the API", func(t *testing.T) {
		h := house(t)
		var first *page
		for i, name := range names {
			c := h.program().at(fmt.Sprintf("198.51.100.%d", i))
			for range 3 {
				c.login(name, "whatever it is", "").problem(401, "bad_credentials")
			}
			said := c.login(name, password(name), "").throttled("too_many_attempts", 900)
			said.problem(429, "too_many_attempts")
			if first == nil {
				first = said
			}
			alike(t, name, first, said)
		}
	})
	t.Run("on the page", func(t *testing.T) {
		h := house(t)
		var first *page
		for i, name := range names {
			b := h.browser().at(fmt.Sprintf("198.51.100.%d", i))
			for range 3 {
				b.types(name, "whatever it is").want(401, "bad_credentials")
			}
			said := b.types(name, password(name)).throttled("too_many_attempts", 900)
			said.shows("Too many attempts", "Wait a while")
			if first == nil {
				first = said
			}
			alike(t, name, first, said)
		}
	})
}

func TestLOC04_AThrottledNameIsWelcomeWhenTheWindowHasEnded(t *testing.T) {
	h := newHouse(t).bound(fewFailures())
	b := h.browser().at("198.51.100.1")
	for range 3 {
		b.types("lena", "whatever it is").want(401, "bad_credentials")
	}
	h.clock.advance(10 * time.Minute)
	b.types("lena", password("lena")).throttled("too_many_attempts", 300)
	if strings.Contains(h.log.String(), "whatever it is") || !strings.Contains(h.log.String(), "code=too_many_attempts") {
		t.Error("the log does not say so, or too much")
	}
	h.clock.advance(5 * time.Minute)
	b.follow(b.types("lena", password("lena"))).want(200, "").shows("Lena")
}

func TestDOS05_ABrowserSomebodySignedInWithIsNotShutOutWithTheirName(t *testing.T) {
	h := newHouse(t).bound(fewFailures())
	known := h.browser().at("198.51.100.1")
	known.follow(known.types("lena", password("lena"))).want(200, "")
	cookie := known.jar[issuerHost][deviceCookie]
	if cookie == "" || strings.Contains(cookie, "lena") || strings.Contains(h.log.String(), cookie) || strings.Contains(h.dump(), cookie) {
		t.Fatalf("device cookie %q", cookie)
	}
	delete(known.jar[issuerHost], "__Host-sallyport")
	known.get("/me").want(303, "") // it opens nothing
	for i := range 5 {             // somebody else guesses, from everywhere
		h.program().at(fmt.Sprintf("203.0.113.%d", i)).login("lena", "whatever it is", "").problem(401, "bad_credentials")
	}
	h.browser().at("198.51.100.1").types("lena", password("lena")).throttled("too_many_attempts", 900)

	for name, value := range map[string]string{
		"another id":       strings.Repeat("A", 22) + cookie[22:],
		"another proof":    cookie[:23] + strings.Repeat("A", 43),
		"a proof too many": cookie + strings.Repeat("."+strings.Repeat("A", 43), 4),
		"no proof":         cookie[:22],
		"nothing":          "",
		"half of it":       cookie[:40],
	} {
		forger := h.browser().at("203.0.113.9")
		forger.jar[issuerHost] = map[string]string{deviceCookie: value}
		p := forger.types("lena", password("lena"))
		if p.status != http.StatusTooManyRequests {
			t.Errorf("%s: %d %s", name, p.status, p.header.Get("X-Error"))
		}
	}
	twice := known.copy().at("198.51.100.1")
	p := twice.submit(twice.visit("/login?choose=1"), "/login", field("username", "lena"))
	r := twice.request(http.MethodPost, "/login/password", strings.NewReader(p.form("/login/password", field("password", password("lena"))).Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Add("Cookie", deviceCookie+"="+cookie)
	twice.do(r).throttled("too_many_attempts", 900)

	other := known.copy().at("198.51.100.1")
	for i := range 5 {
		h.program().at(fmt.Sprintf("203.0.113.%d", 10+i)).login("vera", "whatever it is", "").problem(401, "bad_credentials")
	}
	other.types("vera", password("vera")).throttled("too_many_attempts", 900) // known for lena only

	for range 2 {
		known.types("lena", "whatever it is").want(401, "bad_credentials")
	}
	known.follow(known.types("lena", password("lena"))).want(200, "").shows("Lena")
	stolen := known.copy().at("203.0.113.9")
	for range 3 {
		stolen.types("lena", "whatever it is").want(401, "bad_credentials")
	}
	stolen.types("lena", password("lena")).throttled("too_many_attempts", 900) // it gives a counter of its own and no more
}

func TestDOS05_ABrowserRemembersFourPeople(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	names := []string{"p1", "p2", "p3", "p4", "p5"}
	for _, name := range names {
		h.add(name, "viewer")
		b.follow(b.types(name, password(name))).want(200, "")
	}
	b.follow(b.types("p2", password("p2"))).want(200, "") // seen again: p3 goes next
	if parts := strings.Split(b.jar[issuerHost][deviceCookie], "."); len(parts) != 5 {
		t.Fatalf("%d parts", len(parts))
	}
	h.bound(broker.ThrottleRules{Window: time.Hour, PerAccountAndSource: 100, PerAccount: 1})
	for i, c := range []struct {
		name  string
		known bool
	}{{"p1", false}, {"p2", true}, {"p3", true}, {"p4", true}, {"p5", true}} {
		h.program().at(fmt.Sprintf("203.0.113.%d", i)).login(c.name, "whatever it is", "").problem(401, "bad_credentials")
		p := b.copy().types(c.name, "whatever it is")
		if known := p.status == http.StatusUnauthorized; known != c.known {
			t.Errorf("%s: %d %s", c.name, p.status, p.header.Get("X-Error"))
		}
	}
}

func TestLOC04_WhereNothingCanBeCountedThePageSaysSo(t *testing.T) {
	h := newHouse(t).bound(fewFailures())
	b := h.browser()
	p := b.submit(b.visit("/login"), "/login", field("username", "lena"))
	form := p.form("/login/password", field("password", password("lena")))
	h.store.broken.Store(true)
	b.post("/login/password", form).want(503, "unavailable")
	h.program().login("lena", password("lena"), "").problem(503, "unavailable")
	h.store.broken.Store(false)
	b.follow(b.post("/login/password", form)).want(200, "").shows("Lena")
}

// fewRequests lets each source ask five times a minute.
func fewRequests() broker.ThrottleRules { return broker.ThrottleRules{RequestsPerMinute: 5} }

func TestDOS03_SourcesThatNobodyIsSignedInWithMayAskOnlySoOften(t *testing.T) {
	for name, c := range map[string]struct {
		ask  func(b *browser) *page
		want int
	}{
		"the sign-in page":      {func(b *browser) *page { return b.get("/login") }, 200},
		"one's own page":        {func(b *browser) *page { return b.get("/me") }, 303},
		"a callback":            {func(b *browser) *page { return b.get("/callback/idp-a?state=x") }, 401},
		"an application's host": {func(b *browser) *page { return b.get("http://app.localhost/.sallyport/login") }, 303},
		"a dead cookie": {func(b *browser) *page {
			b.jar[issuerHost] = map[string]string{"__Host-sallyport": broker.NewSecret()}
			return b.get("/login")
		}, 200},
		"two cookies": {func(b *browser) *page {
			r := b.request(http.MethodGet, "/login", nil)
			r.Header.Set("Cookie", "__Host-sallyport=x; __Host-sallyport=y")
			return b.do(r)
		}, 200},
		"a dead cookie at an application": {func(b *browser) *page {
			b.jar[appHost] = map[string]string{"__Host-sallyport-app": broker.NewSecret()}
			return b.get("http://app.localhost/.sallyport/login")
		}, 303},
		"the API, with nothing": {func(b *browser) *page { return b.get("/api/auth/me") }, 401},
		"the API, a wrong name": {func(b *browser) *page { return b.login("ghost", "whatever it is", "") }, 401},
		"the API, a bad token":  {func(b *browser) *page { return b.with("x.y.z", http.MethodGet, "/api/auth/me", "") }, 401},
		"the API, a dead cookie": {func(b *browser) *page {
			b.jar[issuerHost] = map[string]string{"__Host-sallyport": "x"}
			return b.get("/api/auth/me")
		}, 401},
		"the API, a key of nobody": {func(b *browser) *page {
			return b.with("sp_"+strings.Repeat("A", 60), http.MethodGet, "/api/auth/me", "")
		}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t).bound(fewRequests())
			b := h.browser().at("198.51.100.1")
			for i := range 5 {
				b.jar = map[string]map[string]string{}
				if p := c.ask(b); p.status != c.want {
					t.Fatalf("request %d: %d %s", i+1, p.status, p.header.Get("X-Error"))
				}
			}
			b.jar = map[string]map[string]string{}
			c.ask(b).throttled("rate_limited", 12)
			h.clock.advance(12 * time.Second)
			if p := c.ask(b); p.status != c.want {
				t.Fatalf("after the time it was told: %d %s", p.status, p.header.Get("X-Error"))
			}
			c.ask(b).throttled("rate_limited", 12)
			if p := c.ask(b.at("198.51.100.2")); p.status != c.want {
				t.Fatalf("another source: %d %s", p.status, p.header.Get("X-Error"))
			}
		})
	}
}

func TestDOS03_ALimitOfRequestsIsToldAsEveryOtherRefusal(t *testing.T) {
	h := newHouse(t).bound(broker.ThrottleRules{RequestsPerMinute: 1})
	b := h.browser().at("198.51.100.1")
	b.get("/login").want(200, "")
	b.get("/login").throttled("rate_limited", 60).shows("Too many requests")
	program := h.program().at("198.51.100.1")
	program.get("/api/auth/me").throttled("rate_limited", 60).problem(429, "rate_limited")
}

func TestDOS03_WhoIsKnownIsNotLimitedAndTakesNothingFromOthers(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena").at("198.51.100.1")
	token, key := h.token("lena", ""), h.apiKey(h.signedIn("lena"), "tool")
	foreign := h.token("lena", "tool")
	b.visit("http://"+appHost+"/").want(200, "")
	if b.jar[appHost]["__Host-sallyport-app"] == "" {
		t.Fatal("no cookie of the application: the test shows nothing")
	}
	h.bound(fewRequests())
	for range 20 {
		b.get("/me").want(200, "")
		b.get("/login?choose=1").want(200, "")
		b.get("http://app.localhost/.sallyport/login").want(303, "")
		program := h.program().at("198.51.100.1")
		program.with(token, http.MethodGet, "/api/auth/me", "").want(200, "")
		program.with(foreign, http.MethodGet, "/api/auth/validate?application=tool", "").want(200, "")
		program.with(key, http.MethodGet, "/api/auth/validate?application=tool", "").want(200, "")
	}
	nobody := h.browser().at("198.51.100.1")
	for range 5 {
		nobody.get("/login").want(200, "")
	}
	nobody.get("/login").throttled("rate_limited", 12)
	b.get("/me").want(200, "")
	h.program().at("198.51.100.1").with(token, http.MethodGet, "/api/auth/me", "").want(200, "")
}

func TestDOS03_WhatCostsNothingAndWhatProxiesAskIsNotLimited(t *testing.T) {
	h := newHouse(t).bound(fewRequests())
	b := h.browser().at("198.51.100.1")
	for range 20 {
		b.get("/robots.txt").want(200, "")
		b.get("/.well-known/jwks.json").want(200, "")
		b.get("/static/favicon.svg")
		if p := b.ask("http://" + appHost + "/"); p.status != http.StatusUnauthorized {
			t.Fatalf("%d %s", p.status, p.header.Get("X-Error"))
		}
	}
	b.get("/login").want(200, "")
}

func TestDOS03_ASourceIsWhatATrustedProxySaysAndOfIPv6ANetwork(t *testing.T) {
	t.Run("of IPv6 a /64", func(t *testing.T) {
		h := newHouse(t).bound(fewRequests())
		for i := range 5 {
			h.browser().at(fmt.Sprintf("2001:db8::%d", i+1)).get("/login").want(200, "")
		}
		h.browser().at("2001:db8::9").get("/login").throttled("rate_limited", 12)
		h.browser().at("2001:db8:0:1::9").get("/login").want(200, "")
	})
	t.Run("what a client says of itself counts for nothing", func(t *testing.T) {
		h := build(t, plan{}).bound(fewRequests())
		for i := range 5 {
			h.browser().at(fmt.Sprintf("198.51.100.%d", i)).get("/login").want(200, "")
		}
		h.browser().at("198.51.100.77").get("/login").throttled("rate_limited", 12)
	})
}

// sweep is larger where a test may take its time.
func sweep(small, large int) int {
	if os.Getenv("SALLYPORT_TEST_SWEEP") != "" {
		return large
	}
	return small
}

// TestDOS03_ManySourcesLeaveStoreAndMemoryAsTheyWere begins sign-ins without a socket between, each from a source of its own.
func TestDOS03_ManySourcesLeaveStoreAndMemoryAsTheyWere(t *testing.T) {
	h := newHouse(t).bound(broker.ThrottleRules{
		Window: 15 * time.Minute, PerAccountAndSource: 10, PerAccount: 50, PerSource: 100, RequestsPerMinute: 200,
	})
	begin := func(i int) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+issuerHost+"/login", nil)
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
		r.Header.Set("Accept", "text/html")
		w := httptest.NewRecorder()
		if h.handler.ServeHTTP(w, r); w.Code != http.StatusOK {
			t.Fatalf("start %d: %d", i, w.Code)
		}
	}
	begin(0)
	before, rows := heap(), h.counts()
	n := sweep(3000, 100_000)
	for i := range n {
		begin(i)
	}
	grown := int64(heap()) - int64(before)
	t.Logf("%d sign-ins begun: heap grew by %d KiB", n, grown>>10)
	if grown > 64<<20 {
		t.Errorf("heap grew by %d MiB", grown>>20)
	}
	for table, count := range h.counts() {
		if count != rows[table] {
			t.Errorf("%s: %d rows, before %d", table, count, rows[table])
		}
	}
}

// heap is what lives, in bytes.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestLOC04_WrongPasswordsOfManySourcesLeaveNoMoreThanTheirCounters(t *testing.T) {
	h := newHouse(t).bound(fewFailures())
	for i := range 40 {
		h.program().at(fmt.Sprintf("198.51.100.%d", i)).login("lena", "whatever it is", "")
	}
	var list []people.Failure
	err := h.store.View(t.Context(), func(tx broker.Tx) (err error) {
		list, err = tx.Failures(t.Context(), h.clock.now(), "", 1000)
		return err
	})
	if err != nil || len(list) != 11 { // five sources, five pairs, one account: the others were not looked at
		t.Fatalf("%d counters, %v", len(list), err)
	}
	h.clock.advance(16 * time.Minute)
	if err := h.store.Update(t.Context(), func(tx broker.Tx) error {
		_, err := tx.CleanUp(t.Context(), h.clock.now(), h.clock.now().Add(-time.Hour), 100)
		return err
	}); err != nil && !errors.Is(err, identity.ErrNotFound) {
		t.Fatal(err)
	}
	if n := h.counts()["failures"]; n != 0 {
		t.Errorf("%d counters are left", n)
	}
}
