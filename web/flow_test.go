package web_test

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/providers"
)

const flowCookie = "__Host-sallyport_flow_"

// flows are the ids of the sign-ins under way in a browser.
func (b *browser) flows(host string) []string {
	var ids []string
	for name := range b.jar[host] {
		if id, ok := strings.CutPrefix(name, flowCookie); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// away is a browser that went to a provider and is about to come back: the address it would be sent to.
func (b *browser) away(id, who string) string {
	b.t.Helper()
	p := b.visit("/login?choose=1")
	m := regexp.MustCompile(`/login/continue/` + id + `\?flow=([A-Za-z0-9_-]+)`).FindString(p.body)
	to := mustURL(b.t, b.get(m).leads())
	q := to.Query()
	q.Set("login_hint", who)
	to.RawQuery = q.Encode()
	return b.get(to.String()).header.Get("Location")
}

func TestOID01_ACallbackWorksOnce(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	back := b.away("idp-a", "alice")
	before := b.copy()
	b.visit(back).want(200, "").shows("Alice Ahlborn")
	cookie := b.cookie()

	again := b.visit(back)
	if again.header.Get("X-Error") != "flow_unknown" || b.cookie() != cookie {
		t.Errorf("a callback loaded again: %d %s", again.status, again.header.Get("X-Error"))
	}
	replay := before.visit(back).want(401, "flow_finished") // the flow cookie as it was, the reply as it was
	if before.cookie() != "" || len(replay.header.Values("Set-Cookie")) > 0 {
		t.Error("a replay signs in")
	}
}

func TestOID01_ACallbackWorksInItsOwnBrowserOnly(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	back := b.away("idp-a", "alice")
	state := mustURL(t, back).Query().Get("state")

	other := h.browser()
	other.away("idp-a", "omar")
	other.visit(back).want(401, "flow_unknown")
	h.browser().visit(back).want(401, "flow_unknown")
	if other.cookie() != "" {
		t.Error("somebody else's callback signs in")
	}
	tampered := b.copy()
	name := flowCookie + state
	tampered.jar[issuerHost][name] = strings.ToUpper(tampered.jar[issuerHost][name][:20]) + tampered.jar[issuerHost][name][20:]
	tampered.visit(back).want(401, "flow_unknown")
	foreign := b.copy() // another flow's content under this name
	for _, id := range b.flows(issuerHost) {
		if id != state {
			foreign.jar[issuerHost][name] = foreign.jar[issuerHost][flowCookie+id]
		}
	}
	foreign.visit(back).want(401, "flow_unknown")
	b.visit(back).want(200, "").shows("Alice Ahlborn")
}

func TestOID01_StateMustStandOnceAndBeKnown(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	back := b.away("idp-a", "alice")
	state := mustURL(t, back).Query().Get("state")
	for name, address := range map[string]string{
		"twice":              back + "&state=" + state,
		"twice, another":     back + "&state=x",
		"none":               strings.Replace(back, "state="+state, "x=y", 1),
		"empty":              strings.Replace(back, "state="+state, "state=", 1),
		"another flow's":     strings.Replace(back, state, b.flows(issuerHost)[0], 1),
		"too long":           strings.Replace(back, state, strings.Repeat("x", 4000), 1),
		"with a cookie name": strings.Replace(back, state, "..%2Fx%0d%0a", 1),
	} {
		if name == "another flow's" && b.flows(issuerHost)[0] == state {
			address = strings.Replace(back, state, b.flows(issuerHost)[1], 1)
		}
		p := b.copy().visit(address)
		if p.status != 401 || (p.header.Get("X-Error") != "flow_unknown" && p.header.Get("X-Error") != "reply_invalid") {
			t.Errorf("state %s: %d %s", name, p.status, p.header.Get("X-Error"))
		}
	}
	b.visit(back).want(200, "")
}

func TestOID01_AFlowOlderThanTenMinutesIsOver(t *testing.T) {
	for _, c := range []struct {
		name string
		age  time.Duration
		ok   bool
	}{{"ten minutes", 10 * time.Minute, true}, {"a second more", 10*time.Minute + time.Second, false}} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			b := h.browser()
			back := b.away("idp-a", "alice")
			h.clock.advance(c.age) // this browser keeps cookies longer than it is told to
			p := b.visit(back)
			if c.ok != (p.status == 200) {
				t.Errorf("%d %s", p.status, p.header.Get("X-Error"))
			}
			if !c.ok {
				p.want(401, "flow_unknown")
			}
		})
	}
}

func TestOID03_TheAnswerOfAnotherProviderIsRefused(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	back := b.away("idp-b", "alice")
	onA := strings.Replace(back, "/callback/idp-b", "/callback/idp-a", 1)
	b.copy().visit(onA).want(401, "reply_invalid")
	lies := strings.Replace(back, "iss=idp-b", "iss=idp-a", 1)
	liar := b.copy()
	liar.visit(lies).want(401, "reply_invalid")
	if liar.cookie() != "" {
		t.Error("signed in")
	}
	// A begins, B's code arrives at A's callback under A's state, as a mix-up does it.
	fromA := b.away("idp-a", "alice")
	mixed := strings.Replace(fromA, "iss=idp-a", "iss=idp-b", 1)
	b.visit(mixed).want(401, "reply_invalid")
}

func TestProviderTroublesAreToldWithAWayBack(t *testing.T) {
	h := newHouse(t)
	for code, want := range map[string]struct {
		status int
		code   string
	}{
		"refuse": {403, "provider_refused"}, "down": {503, "provider_unavailable"}, "unknown": {401, "reply_invalid"},
	} {
		b := h.browser()
		p := b.visit(b.away("idp-a", code)).want(want.status, want.code)
		if b.cookie() != "" || !strings.Contains(p.body, `href="/login?flow=`) {
			t.Errorf("%s: no way back on %s", code, p.body)
		}
		if want.status == 503 && p.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", code)
		}
	}
}

func TestAtMostSixFlowsAreKept(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	var began []string
	for range 9 {
		h.clock.advance(time.Second)
		p := b.get("/login")
		for name := range p.setCookies() {
			if id, ok := strings.CutPrefix(name, flowCookie); ok && !slices.Contains(began, id) {
				began = append(began, id)
			}
		}
		if n := len(b.flows(issuerHost)); n > 6 {
			t.Fatalf("%d flows", n)
		}
	}
	want := slices.Sorted(slices.Values(began[3:]))
	if diff := cmp.Diff(want, b.flows(issuerHost)); diff != "" {
		t.Errorf("kept flows are not the youngest: %s", diff)
	}
}

func TestFlowCookiesThatCannotBeOpenedMakeRoom(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.jar[issuerHost] = map[string]string{}
	for i := range 20 {
		b.jar[issuerHost][flowCookie+strconv.Itoa(i)] = "junk"
	}
	b.get("/login").want(200, "")
	if n := len(b.flows(issuerHost)); n != 1 {
		t.Errorf("%d flow cookies are left", n)
	}
}

func TestAFlowThatIsOverStartsAgain(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.visit("/login?flow=unknown").want(200, "").form("/login", nil)
	if p := b.visit("/login/password?flow=unknown"); p.url.Path != "/login" || p.status != 200 {
		t.Errorf("password page without a flow: %d at %s", p.status, p.url)
	}
	p := b.submit(b.visit("/login"), "/login", url.Values{"username": {"lena"}})
	h.clock.advance(11 * time.Minute)
	late := b.post("/login/password", p.form("/login/password", url.Values{"password": {password("lena")}}))
	late.want(401, "flow_unknown").shows("Let's start again")
	if b.cookie() != "" {
		t.Error("a flow that is over signs in")
	}
	b.signIn(b.visit("/login"), "lena").want(200, "")
}

func TestAFormThatIsSentTwiceArrivesTwice(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	p := b.visit("http://app.localhost/deep/link")
	p = b.submit(p, "/login", url.Values{"username": {"lena"}})
	form := p.form("/login/password", url.Values{"password": {password("lena")}})
	second := b.copy() // the cookies as they were when the button was pressed the second time
	first := b.post("/login/password", form)
	answer := second.post("/login/password", form)
	if first.status != http.StatusSeeOther || answer.status != http.StatusSeeOther {
		t.Fatalf("%d and %d", first.status, answer.status)
	}
	// The browser follows the second answer, with the cookies of both.
	maps.Copy(b.jar[issuerHost], second.jar[issuerHost])
	p = b.follow(answer)
	p.shows("welcome lena")
	if p.url.Path != "/deep/link" {
		t.Errorf("arrived at %s", p.url)
	}
	if n := h.counts()["sessions"]; n != 2 {
		t.Errorf("%d sessions instead of one sign-in and one application", n)
	}
}

func TestAFormWhoseFirstAnswerWasLostCanBeSentAgain(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	p := b.submit(b.visit("/login"), "/login", url.Values{"username": {"lena"}})
	form := p.form("/login/password", url.Values{"password": {password("lena")}})
	b.copy().post("/login/password", form) // the answer with the cookie never arrives
	p = b.follow(b.post("/login/password", form))
	if p.url.Path != "/login" || b.cookie() != "" {
		t.Fatalf("at %s", p.url)
	}
	b.signIn(p, "lena").want(200, "").shows("lena")
}

func TestTwoTabsKeepTheirOwnDestinations(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	one := b.visit("http://app.localhost/one")
	two := b.visit("http://reports.localhost/two")
	two = b.submit(two, "/login", url.Values{"username": {"lena"}})
	// Tab one signs in; tab two finds itself signed in and goes on to its own.
	p := b.signIn(one, "lena")
	p.shows("welcome lena to app.localhost")
	if p.url.Path != "/one" {
		t.Errorf("tab one is at %s", p.url)
	}
	p = b.submit(two, "/login/password", url.Values{"password": {password("lena")}})
	p.shows("welcome lena to reports.localhost")
	if p.url.Path != "/two" {
		t.Errorf("tab two is at %s", p.url)
	}
}

func TestATabThatFindsItselfSignedInGoesOn(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	waiting := b.visit("http://reports.localhost/two")
	b.signIn(b.visit("http://app.localhost/one"), "lena").shows("welcome")
	p := b.visit(waiting.url.String()) // reloaded
	p.shows("welcome lena to reports.localhost")
	if p.url.Path != "/two" {
		t.Errorf("at %s", p.url)
	}
}

func TestBackAfterSignInShowsNoForm(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	login := b.visit("/login")
	words := b.submit(login, "/login", url.Values{"username": {"lena"}})
	b.submit(words, "/login/password", url.Values{"password": {password("lena")}}).want(200, "")
	for _, p := range []*page{login, words} {
		if back := b.visit(p.url.String()); back.url.Path != "/me" {
			t.Errorf("Back to %s shows %s", p.url, back.url)
		}
	}
	again := b.follow(b.post("/login/password", words.form("/login/password", url.Values{"password": {password("lena")}})))
	if again.url.Path != "/me" || again.status != 200 {
		t.Errorf("the old form sent again: %d at %s", again.status, again.url)
	}
}

func TestSingleSignOnNeedsNoSecondForm(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	b.visit("http://app.localhost/x").shows("welcome lena to app.localhost")
	b.visit("http://reports.localhost/").shows("welcome lena to reports.localhost")
	if len(b.flows(issuerHost))+len(b.flows(appHost))+len(b.flows(reportsHost)) != 0 {
		t.Error("flows are left over")
	}
}

func TestAMissingRoleIsTold(t *testing.T) {
	h := newHouse(t)
	for name, begin := range map[string]func(b *browser) *page{
		"signed in before": func(b *browser) *page {
			b.signIn(b.visit("/login"), "vera")
			return b.visit("http://reports.localhost/")
		},
		"on the way": func(b *browser) *page { return b.signIn(b.visit("http://reports.localhost/"), "vera") },
	} {
		t.Run(name, func(t *testing.T) {
			b := h.browser()
			p := begin(b).want(403, "no_role").shows("vera", "Reports", "Use another account")
			if p.leads() != "" || b.jar[reportsHost]["__Host-sallyport-reports"] != "" {
				t.Error("the page leads on, or a cookie was given")
			}
			b.visit("http://app.localhost/").shows("welcome vera") // and elsewhere it goes on
			b.visit("http://reports.localhost/").want(403, "no_role")
		})
	}
	nobody := h.browser()
	if p := nobody.visit("/denied?application=reports"); p.url.Path != "/login" {
		t.Errorf("the page of a denial for nobody: %s", p.url)
	}
}

func TestSomebodyWithoutAnyRoleIsRefusedPolitely(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	p := b.submit(b.visit("/login"), "/login", url.Values{"username": {"nina"}})
	p = b.submit(p, "/login/password", url.Values{"password": {password("nina")}})
	p.want(403, "no_role")
	if b.cookie() != "" || !strings.Contains(p.body, `href="/login?flow=`) {
		t.Error("a cookie was given, or there is no way back")
	}
}

func TestAnAttackersHandOverDoesNotOpenTheVictimsBrowser(t *testing.T) {
	h := newHouse(t)
	attacker, victim := h.browser(), h.browser()
	p := attacker.visit("http://app.localhost/")
	p = attacker.submit(p, "/login", url.Values{"username": {"vera"}})
	next := attacker.post("/login/password", p.form("/login/password", url.Values{"password": {password("vera")}}))
	page := attacker.get(next.leads())
	code := page.leads() // http://app.localhost/.sallyport/callback?code=…&state=…
	if !strings.HasPrefix(code, "http://app.localhost/.sallyport/callback?") {
		t.Fatalf("hand-over at %s", code)
	}
	victim.get(code).want(401, "flow_unknown")
	// With a flow of its own under way, and that flow's state beside the attacker's code.
	victim.visit("http://app.localhost/")
	u := mustURL(t, code)
	q := u.Query()
	q.Set("state", victim.flows(appHost)[0])
	u.RawQuery = q.Encode()
	victim.get(u.String()).want(401, "code_invalid")
	if victim.jar[appHost]["__Host-sallyport-app"] != "" {
		t.Fatal("the victim is signed in as the attacker")
	}
	attacker.get(code).want(401, "code_invalid") // the attempt spent it
	twice := code + "&code=x"
	victim.get(twice).want(400, "bad_request")
	victim.get(code+"&state=x").want(400, "bad_request")
}

func TestAHandOverCodeIsLateAfterThirtySeconds(t *testing.T) {
	h := newHouse(t)
	for age, ok := range map[time.Duration]bool{29 * time.Second: true, 31 * time.Second: false} {
		b := h.signedIn("lena")
		p := b.get("http://app.localhost/")
		p = b.get(p.leads())
		p = b.get(p.leads())
		code := p.leads()
		h.clock.advance(age)
		h.poll()
		p = b.get(code)
		if ok != (p.status == http.StatusSeeOther) {
			t.Errorf("after %s: %d %s", age, p.status, p.header.Get("X-Error"))
		}
		if !ok {
			p.want(401, "code_invalid")
		}
	}
}

func TestAnApplicationsFlowBeginsOnItsOwnHostOnly(t *testing.T) {
	h := newHouse(t)
	for _, query := range []string{
		"application=app", "application=app&challenge=short&state=x", "application=app&state=x",
		"application=app&challenge=" + strings.Repeat("x", 43), "application=tool&state=x&challenge=" + strings.Repeat("x", 43),
		"application=app&challenge=" + strings.Repeat("x", 43) + "&state=" + strings.Repeat("s", 65),
	} {
		h.browser().get("/login?"+query).want(400, "bad_request")
	}
	h.browser().get("/login?application=nothing&state=x&challenge="+strings.Repeat("x", 43)).want(404, "application_unknown")
}

func TestHintsLeadStraightToADoor(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	if p := b.get(b.get("/login?idp_hint=idp-a").leads()); !strings.Contains(p.leads(), "idp-a.idp.test/authorize") {
		t.Errorf("idp_hint leads to %s", p.leads())
	}
	if p := b.visit("/login?idp_hint=nothing"); p.url.Path != "/login" || p.status != 200 {
		t.Errorf("an unknown hint leads to %s", p.url)
	}
	p := b.visit("/login?login_hint=vera")
	if !strings.Contains(p.body, `value="vera"`) {
		t.Error("login_hint does not fill in the name")
	}
	for _, hint := range []string{strings.Repeat("x", 257), "a\x00b", "a\nb", "\xff"} {
		p := b.visit("/login?login_hint=" + url.QueryEscape(hint))
		if !strings.Contains(p.body, `name="username" type="text" required maxlength="256" value=""`) {
			t.Errorf("a hint that is no name (%q) is kept", hint)
		}
	}
	p = b.submit(b.visit("/login"), "/login", url.Values{"username": {"ines@Partner.Example"}})
	if p.url.Host != issuerHost && p.url.Host != "idp-a.idp.test" {
		t.Errorf("a name of the partner's domain leads to %s", p.url)
	}
	// And the name typed travels with it as the hint.
	if !strings.Contains(p.url.RawQuery, "code=ines%40Partner.Example") {
		t.Errorf("the name typed is not the upstream's hint: %s", p.url)
	}
}

func TestBreakGlassReachesTheLocalFormWhateverTheRulesSay(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("vera")
	p := b.visit("/login?local=1").want(200, "")
	p = b.submit(p, "/login", url.Values{"username": {"root@partner.example"}}) // the rule for the domain does not count
	if p.url.Path != "/login/password" {
		t.Fatalf("leads to %s", p.url)
	}
	b.signIn(b.visit("/login?local=1"), "root").want(200, "").shows("root")
}

func TestOneProviderOnlyIsReachedWithoutAChoice(t *testing.T) {
	h := build(t, plan{proxies: loopback(), noOne: true, doors: func(h *house) []providers.Provider {
		return []providers.Provider{&upstream{h: h, id: "idp-a", kind: "oidc"}}
	}})
	b := h.browser()
	p := b.get("/login")
	if p.status != http.StatusSeeOther || !strings.HasPrefix(p.header.Get("Location"), "/login/continue/idp-a?flow=") {
		t.Errorf("leads to %s", p.header.Get("Location"))
	}
	p = b.visit("/login?choose=1").want(200, "")
	if !strings.Contains(p.body, "Continue with") || strings.Contains(p.body, `name="username"`) {
		t.Errorf("the page to choose: %s", p.body)
	}
	if p := b.visit("/logout"); p.url.Path != "/logout" || !strings.Contains(p.body, "/login?choose=1") {
		t.Error("from the signed-out page one would be sent away again")
	}
}

func TestTheProviderUsedLastComesFirst(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.visit(b.away("idp-b", "omar")).want(200, "")
	if got := b.jar[issuerHost]["__Host-sallyport_provider"]; got != "idp-b" {
		t.Fatalf("remembered %q", got)
	}
	p := b.visit("/login?choose=1")
	p.shows("Last used")
	if strings.Index(p.body, "/continue/idp-b") > strings.Index(p.body, "/continue/idp-a") {
		t.Error("the provider used last is not first")
	}
}

func TestDOS03_LoginStartsLeaveTheStoreAsItWas(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	before := h.counts()
	for i := range 10_000 {
		b.jar = map[string]map[string]string{}
		switch i % 4 {
		case 0:
			b.get("/login").want(200, "")
		case 1:
			b.get("http://app.localhost/.sallyport/login").want(303, "")
		case 2:
			b.get("/login?idp_hint=idp-a").want(303, "")
		case 3:
			b.get("/login?application=app&state=x&challenge="+strings.Repeat("x", 43)).want(200, "")
		}
	}
	if diff := cmp.Diff(before, h.counts()); diff != "" {
		t.Errorf("10,000 login starts left something behind: %s", diff)
	}
}

func TestDOS04_APanickingProviderEndsOneRequestOnly(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	back := b.away("idp-a", "panic")
	p := b.visit(back).want(500, "internal")
	p.shows(p.header.Get("X-Error-Id"))
	if strings.Contains(p.body, "with a bug") {
		t.Error("the page shows the panic")
	}
	if !strings.Contains(h.log.String(), p.header.Get("X-Error-Id")) || !strings.Contains(h.log.String(), "panic in a handler") {
		t.Error("the log does not say so under the trace id")
	}
	h.program().login("panic", "a secret word", "").problem(500, "internal")
	h.panics = true
	b.visit("/login?idp_hint=idp-a").want(500, "internal")
	h.panics = false
	h.signedIn("lena").get("/me").want(200, "")
}

func TestLanguageIsAskedForAndRemembered(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.language = "fr, de;q=0.5"
	b.visit("/login").shows("Weiter")
	b.visit("/login?ui_locales=en").shows("Continue")
	if b.jar[issuerHost]["__Host-sallyport_lang"] != "en" {
		t.Errorf("language cookie %q", b.jar[issuerHost]["__Host-sallyport_lang"])
	}
	b.visit("/login").shows("Continue") // the cookie wins over the browser's own
	p := b.get("/login?ui_locales=" + url.QueryEscape("xx\r\nSet-Cookie: a=b"))
	if got := b.jar[issuerHost]["__Host-sallyport_lang"]; got != "en" || len(p.setCookies()) > 2 {
		t.Errorf("a wish that is no language is kept as %q", got)
	}
	b.jar[issuerHost]["__Host-sallyport_lang"] = "../../etc/passwd"
	b.visit("/login").shows("Weiter")
}
