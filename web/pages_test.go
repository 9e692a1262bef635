package web_test

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/broker"
)

// opensSetup is the code of the printed link.
func (h *house) opensSetup() string {
	h.t.Helper()
	code, err := h.broker.OpenSetup(h.t.Context(), h.visit())
	if err != nil || code == "" {
		h.t.Fatalf("no set-up code: %q %v", code, err)
	}
	return code
}

func newcomer() url.Values {
	return url.Values{
		"username": {"first"}, "name": {"First One"}, "email": {"first@house.example"}, "password": {password("first")},
	}
}

func TestLOC09_TheSetUpLinkIsUsedByThePostOnlyAndOnce(t *testing.T) {
	h := build(t, plan{proxies: loopback(), noOne: true})
	code := h.opensSetup()
	b := h.browser()
	before := h.dump()
	var p *page
	for range 3 { // a mail scanner, a preview, the person
		p = b.get("/setup?code="+code).want(200, "")
		b.do(b.request(http.MethodHead, "/setup?code="+code, nil)).want(200, "")
	}
	if diff := cmp.Diff(before, h.dump()); diff != "" {
		t.Fatalf("looking at the page changed the store: %s", diff)
	}
	if strings.Contains(before, code) {
		t.Error("the store holds the code")
	}
	done := b.submit(p, "/setup", newcomer()).want(200, "")
	done.shows("The first administrator was created. Sign in with the new account.")
	b.signIn(done, "first").want(200, "").shows(broker.Administer)

	again := newcomer()
	again.Set("username", "second")
	used := b.post("/setup", p.form("/setup", again)).want(401, "setup_code_invalid")
	used.shows("The set-up link is wrong, was used already or has expired.")
	if n := h.counts()["accounts"]; n != 1 {
		t.Errorf("%d accounts", n)
	}
	if code, err := h.broker.OpenSetup(t.Context(), h.visit()); err != nil || code != "" {
		t.Errorf("a second link is offered: %v", err)
	}
}

func TestLOC09_MistakesKeepTheSetUpCode(t *testing.T) {
	h := build(t, plan{proxies: loopback(), noOne: true})
	code := h.opensSetup()
	b := h.browser()
	p := b.get("/setup?code=" + code)
	for _, c := range []struct{ field, value, code string }{
		{"username", "", "username_invalid"},
		{"username", "a b", "username_invalid"},
		{"password", "short", "password_too_short"},
		{"password", "", "password_too_short"},
		{"name", strings.Repeat("x", 257), "name_invalid"},
	} {
		wrong := newcomer()
		wrong.Set(c.field, c.value)
		answer := b.post("/setup", p.form("/setup", wrong)).want(422, c.code)
		if !strings.Contains(answer.body, `aria-invalid="true"`) || strings.Contains(answer.body, password("first")) {
			t.Errorf("%s: the field is not marked, or the password is shown", c.code)
		}
		p = answer
	}
	b.submit(p, "/setup", newcomer()).want(200, "")
}

func TestLOC09_WrongLateAndOldSetUpCodesMakeNobody(t *testing.T) {
	h := build(t, plan{proxies: loopback(), noOne: true})
	b := h.browser()
	old := h.opensSetup()
	late := h.opensSetup()
	for _, code := range []string{"", "guess", old} {
		p := b.get("/setup?code=" + code)
		b.post("/setup", p.form("/setup", newcomer())).want(401, "setup_code_invalid")
	}
	p := b.get("/setup?code=" + late)
	h.clock.advance(time.Hour + time.Second)
	b.post("/setup", p.form("/setup", newcomer())).want(401, "setup_code_invalid")
	if n := h.counts()["accounts"]; n != 0 {
		t.Errorf("%d accounts", n)
	}
}

func TestMyPageShowsWhatGaveEachRole(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	b.visit("http://app.localhost/")
	p := b.visit("/me").want(200, "")
	p.shows("lena@house.example", "Sent by House accounts as operator", "Included in the role operator", "hosts:*",
		"Host manager", "from 127.0.0.1")
	root := h.signedIn("root").visit("/me")
	root.shows("Granted by hand by test", broker.Administer)
	partner := h.browser()
	partner.visit(partner.away("idp-a", "omar")).shows("Sent by Partner idp-a as viewer")
}

func TestMyPageEndsOneSessionOfMine(t *testing.T) {
	h := newHouse(t)
	here, there, vera := h.signedIn("lena"), h.signedIn("lena"), h.signedIn("vera")
	ids := regexp.MustCompile(`name="session" value="([^"]+)"`)
	mine := func(b *browser) []string {
		var out []string
		for _, m := range ids.FindAllStringSubmatch(b.visit("/me").body, -1) {
			out = append(out, m[1])
		}
		return out
	}
	hers := mine(vera)
	list := mine(here)
	if len(list) != 2 || len(hers) != 1 || slices.Contains(list, hers[0]) {
		t.Fatalf("sessions %v and %v", list, hers)
	}
	form := here.visit("/me").form("/me/sessions/end", nil)
	form.Set("session", hers[0])
	here.post("/me/sessions/end", form).want(404, "not_found")
	vera.get("/me").want(200, "")

	there.asProgram = true
	sessions, _ := there.get("/api/auth/sessions").object()["sessions"].([]any)
	for _, s := range sessions {
		if o, ok := s.(map[string]any); ok && o["current"] == true {
			form["session"] = []string{fmt.Sprint(o["id"])}
		}
	}
	here.follow(here.post("/me/sessions/end", form)).want(200, "").shows("The session was ended.")
	there.get("/api/auth/me").problem(401, "expired")
	here.get("/me").want(200, "")
}

func TestKEY01_AKeyIsShownOnce(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	p := b.visit("/me")
	made := b.post("/me/keys/create", p.form("/me/keys/create", url.Values{
		"name": {"nightly <b>"}, "days": {"3"}, "application": {broker.Self}, "role": {"viewer"},
	})).want(201, "")
	key := regexp.MustCompile(`sp_[a-z2-7]{26}_[a-z2-7]{59}`).FindString(made.body)
	if key == "" || strings.Contains(made.body, "nightly <b>") {
		t.Fatalf("no key, or an unescaped name: %s", made.body)
	}
	if made.header.Get("Cache-Control") != "no-store" {
		t.Error("the page with the key may be kept")
	}
	later := b.visit("/me")
	later.shows("nightly <b>")
	secret := key[strings.LastIndex(key, "_")+1:]
	if strings.Contains(later.body, secret) || strings.Contains(h.dump(), secret) || strings.Contains(h.log.String(), secret) {
		t.Error("the key can be seen again")
	}
	c := h.program()
	me := c.with(key, "GET", "/api/auth/me", "").want(200, "").object()
	if diff := cmp.Diff([]any{"viewer"}, me["roles"]); diff != "" {
		t.Errorf("roles of the key: %s", diff)
	}
	b.follow(b.post("/me/keys/revoke", later.form("/me/keys/revoke", nil))).want(200, "").shows("The key was revoked.")
	c.with(key, "GET", "/api/auth/me", "").problem(401, "expired")
}

func TestMistakesInTheKeyFormAreToldAtTheirField(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	p := b.visit("/me")
	for _, c := range []struct {
		field, value string
		status       int
		code         string
	}{
		{"name", " ", 400, "name_invalid"},
		{"name", strings.Repeat("x", 101), 400, "name_invalid"},
		{"days", "0", 400, "lifetime_invalid"},
		{"days", "-1", 400, "lifetime_invalid"},
		{"days", "", 400, "lifetime_invalid"},
		{"days", "366", 400, "lifetime_invalid"},
		{"days", "9999999999999999999", 400, "lifetime_invalid"},
		{"role", "admin", 403, "key_role_not_held"},
		{"application", "nothing", 404, "application_unknown"},
	} {
		form := p.form("/me/keys/create", url.Values{"name": {"x"}, "days": {"3"}, "application": {broker.Self}})
		form.Set(c.field, c.value)
		b.post("/me/keys/create", form).want(c.status, c.code)
	}
	twice := p.form("/me/keys/create", url.Values{"name": {"x", "y"}, "days": {"3"}})
	b.post("/me/keys/create", twice).want(400, "bad_request")
	if n := h.counts()["api_keys"]; n != 0 {
		t.Errorf("%d keys were made", n)
	}
}

func TestSignOutTellsWhatEndedAndLeadsBackToTheApplication(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.signIn(b.visit("http://app.localhost/"), "lena")
	p := b.visit("http://app.localhost/.sallyport/logout")
	if p.url.Path != "/logout" || p.url.Host != issuerHost {
		t.Fatalf("leads to %s", p.url)
	}
	b.visit("http://app.localhost/").shows("welcome lena") // asking ends nothing
	done := b.submit(p, "/logout", nil).want(200, "").shows("You are signed out of Host manager.")
	if !strings.Contains(done.body, `href="http://app.localhost/"`) {
		t.Error("no way back to the application")
	}
	b.visit("/logout").want(200, "").shows("You were not signed in.")
	odd := h.signedIn("lena")
	p = odd.visit("/logout?application=" + url.QueryEscape(`"><script>`))
	done = odd.submit(p, "/logout", nil).want(200, "")
	if strings.Contains(done.body, "<script>") || !strings.Contains(done.body, "/login?choose=1") {
		t.Errorf("an unknown application: %s", done.body)
	}
}

func TestWhatPeopleCallThemselvesIsTextOnEveryPage(t *testing.T) {
	h := newHouse(t)
	odd := h.codes["alice"]
	odd.Subject, odd.Username, odd.Name, odd.Email = "o-3", "mallory", `<img src=x onerror=alert(1)>`, `"'><script>x</script>`
	odd.Groups = []string{"viewer", "<b>"}
	h.codes["odd"] = odd
	b := h.browser()
	b.visit(b.away("idp-a", "odd"))
	for _, path := range []string{"/me", "/logout", "/denied?application=reports"} {
		p := b.visit(path)
		if strings.Contains(p.body, "<img src=x") || strings.Contains(p.body, "<script>x") {
			t.Errorf("%s holds markup of somebody's name", path)
		}
	}
	b.visit("/me").shows(odd.Name)
	name := `<svg onload=x>`
	p := b.submit(b.visit("/login?choose=1"), "/login", field("username", name))
	if strings.Contains(p.body, name) || !strings.Contains(p.body, html.EscapeString(name)) {
		t.Error("the name typed is markup")
	}
}

func TestCookiesOfOursSentTwiceCountAsNone(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	b.asProgram = true
	r := b.request(http.MethodGet, "/api/auth/me", nil)
	r.Header.Add("Cookie", "__Host-sallyport=another")
	b.do(r).problem(400, "two_credentials")
	r = b.request(http.MethodGet, "/me", nil)
	r.Header.Add("Cookie", "__Host-sallyport=another")
	b.do(r).problem(400, "two_credentials")
}
