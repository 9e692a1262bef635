package web_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/broker"
)

// limit lets everybody have only so many sign-ins at the house, or sessions at an application.
func (h *house) limit(id string, n int, endOldest bool) {
	h.t.Helper()
	app, err := h.broker.Current().Application(id)
	if err != nil {
		h.t.Fatal(err)
	}
	app.Session.Concurrent, app.Session.EndOldest = n, endOldest
}

func TestConcurrent_BothBrowsersHearOfIt(t *testing.T) {
	h := newHouse(t)
	h.limit(broker.Self, 1, true)
	first := h.signedIn("lena")
	h.clock.advance(time.Second)
	second := h.browser()
	p := second.signIn(second.visit("/login"), "lena").want(200, "").shows("One older sign-in was ended")
	if p.url.Path != "/me" {
		t.Errorf("ends at %s", p.url)
	}
	q := first.visit("/me").want(200, "").shows("You were signed out here because you signed in somewhere else")
	if q.url.Path != "/login" {
		t.Errorf("the first browser is at %s", q.url)
	}
	if body := h.browser().visit("/login").body; strings.Contains(body, "signed out here") {
		t.Error("a browser that was never signed in hears of it")
	}
}

func TestConcurrent_OnTheWayToAnApplicationItIsToldFirst(t *testing.T) {
	h := newHouse(t)
	h.limit(broker.Self, 1, true)
	h.signedIn("lena")
	h.clock.advance(time.Second)
	b := h.browser()
	p := b.signIn(b.visit("http://app.localhost/hosts"), "lena").shows("One older sign-in was ended")
	if p.url.Path != "/login/next" || p.leads() != "" {
		t.Fatalf("goes on by itself: %s leads to %q", p.url, p.leads())
	}
	h.clock.advance(5 * time.Minute) // somebody reads it
	h.poll()
	on := regexp.MustCompile(`href="(/login/next[^"]*)"`).FindStringSubmatch(p.body)
	if on == nil {
		t.Fatalf("no way on: %s", p.body)
	}
	b.visit(on[1]).shows("welcome lena to app.localhost")
}

func TestConcurrent_AnApplicationsLimitDoesNotPlayPingPong(t *testing.T) {
	h := newHouse(t)
	h.limit("app", 1, true)
	one, two := h.browser(), h.browser()
	one.signIn(one.visit("http://app.localhost/"), "lena").shows("welcome lena")
	h.clock.advance(time.Second)
	p := two.signIn(two.visit("http://app.localhost/"), "lena").want(200, "").shows("One older sign-in was ended")
	if p.leads() != "" {
		t.Errorf("goes on by itself to %s", p.leads())
	}
	two.visit("http://app.localhost/").shows("welcome lena")
	p = one.visit("http://app.localhost/").want(200, "").shows("You were signed out here because you signed in somewhere else")
	if p.url.Path != "/login" {
		t.Errorf("at %s", p.url)
	}
	two.visit("http://app.localhost/").shows("welcome lena") // the first one's visit alone ended nothing
	h.clock.advance(time.Second)
	one.signIn(p, "lena").shows("One older sign-in was ended")
	one.visit("http://app.localhost/").shows("welcome lena")
}

func TestConcurrent_ARefusalSaysWhatToDo(t *testing.T) {
	h := newHouse(t)
	h.limit(broker.Self, 1, false)
	first := h.signedIn("lena")
	b := h.browser()
	b.signIn(b.visit("/login"), "lena").want(403, "session_limit").shows("Sign out on another device")
	first.signIn(first.visit("/login?choose=1"), "lena").want(200, "") // one's own browser replaces its own
	h.limit(broker.Self, 0, false)
	h.limit("app", 1, false)
	first.visit("http://app.localhost/").shows("welcome lena")
	b.signIn(b.visit("http://app.localhost/"), "lena").want(403, "session_limit").shows("Sign out on another device")
}

func TestAddress_WhoMovesIsAskedAgain(t *testing.T) {
	h := newHouse(t)
	h.broker.Current().SelfApplication.AddressChange = broker.AddressReauthenticate
	b := h.signedIn("lena")
	r := b.request(http.MethodGet, "/me", nil)
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	if p := b.do(r); p.status != http.StatusSeeOther {
		t.Fatalf("%d", p.status)
	}
	r = b.request(http.MethodGet, "/login", nil)
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	b.do(r).want(200, "").shows("You are on another network than before")
	b.get("/me").want(200, "")
}

var rememberedCookie = regexp.MustCompile(`^__Host-sallyport=[A-Za-z0-9_-]{43}; Path=/; Max-Age=2592000; HttpOnly; Secure; SameSite=Lax$`)

func rememberingHouse(t *testing.T) *house {
	h := newHouse(t)
	h.broker.Current().Remember = broker.Limits{Idle: 7 * 24 * time.Hour, Lifetime: 30 * 24 * time.Hour}
	return h
}

func TestRemember_OnlyWhoAskedKeepsTheCookie(t *testing.T) {
	h := rememberingHouse(t)
	for typed, want := range map[string]bool{"1": true, "": false} {
		b := h.browser()
		p := b.submit(b.visit("/login"), "/login", field("username", "lena")).shows("Keep me signed in on this device")
		form := p.form("/login/password", field("password", password("lena")))
		if typed != "" {
			form.Set("remember", typed)
		}
		line := b.post("/login/password", form).setCookies()["__Host-sallyport"]
		if rememberedCookie.MatchString(line) != want || !want && strings.Contains(line, "Max-Age") {
			t.Errorf("ticked %q: %s", typed, line)
		}
		h.clock.advance(24 * time.Hour)
		h.poll()
		if p := b.visit("/me"); (p.url.Path == "/me") != want {
			t.Errorf("ticked %q, a day later: %s", typed, p.url)
		}
	}
}

func TestRemember_ItIsOfferedWhereItIsConfiguredOnly(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	first := b.visit("/login")
	p := b.submit(first, "/login", field("username", "lena"))
	if strings.Contains(first.body, "remember") || strings.Contains(p.body, "remember") {
		t.Error("offered")
	}
	form := p.form("/login/password", url.Values{"password": {password("lena")}, "remember": {"1"}})
	if line := b.post("/login/password", form).setCookies()["__Host-sallyport"]; strings.Contains(line, "Max-Age") {
		t.Errorf("kept all the same: %s", line)
	}
}

func TestRemember_AtAProviderToo(t *testing.T) {
	for _, ticked := range []bool{true, false} {
		h := rememberingHouse(t)
		b := h.browser()
		p := b.visit("/login?choose=1").shows("Keep me signed in on this device")
		form := url.Values{"flow": p.form("/login", nil)["flow"], "csrf": p.form("/login", nil)["csrf"], "provider": {"idp-a"}}
		if ticked {
			form.Set("remember", "1")
		}
		p = b.post("/login", form)
		if to := p.leads(); !strings.Contains(to, "/login/continue/idp-a?flow=") {
			t.Fatalf("leads to %s", to)
		}
		q := mustURL(t, b.get(p.leads()).leads()).Query()
		back := b.get(q.Get("redirect_uri") + "?" + url.Values{"state": q["state"], "code": {"alice"}, "iss": {"idp-a"}}.Encode())
		line := back.setCookies()["__Host-sallyport"]
		if rememberedCookie.MatchString(line) != ticked {
			t.Errorf("ticked %v: %s", ticked, line)
		}
	}
	h := rememberingHouse(t)
	b := h.browser()
	p := b.visit("/login?choose=1")
	form := url.Values{"flow": p.form("/login", nil)["flow"], "csrf": p.form("/login", nil)["csrf"], "provider": {"nobody/../x"}}
	if q := b.follow(b.post("/login", form)); q.status != http.StatusNotFound {
		t.Errorf("a provider that is none: %d at %s", q.status, q.url)
	}
}

func TestRemember_AnApplicationsCookieIsNotKept(t *testing.T) {
	h := rememberingHouse(t)
	b := h.browser()
	p := b.submit(b.visit("http://app.localhost/"), "/login", field("username", "lena"))
	form := p.form("/login/password", url.Values{"password": {password("lena")}, "remember": {"1"}})
	p = b.post("/login/password", form)
	for p.url.Host != appHost {
		p = b.get(p.leads())
	}
	if line := p.setCookies()["__Host-sallyport-app"]; line == "" || strings.Contains(line, "Max-Age") {
		t.Errorf("Set-Cookie: %q", line)
	}
	h.clock.advance(24 * time.Hour)
	h.poll()
	b.visit("http://app.localhost/").shows("welcome lena") // by the sign-in that is remembered
}
