package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/testenv"
)

// campusConfig is the block of the SAML provider. Its metadata comes from its own address.
func (w *world) campusConfig(sealed bool) string {
	block := fmt.Sprintf(`
  campus:
    type: saml
    title: Campus
    metadata: {url: %q}
    attributes: {username: uid, name: displayName, email: mail, groups: groups}`, w.saml.EntityID)
	if sealed {
		for _, name := range []string{"signing", "decryption"} {
			testenv.NewSAMLKey(w.t).Files(w.t, w.dir, name)
		}
		// SimpleSAMLphp 1.19 encrypts with AES-CBC and nothing else.
		block += `
    signing: {certificate_file: signing.pem, key_file: signing.key}
    decryption: [{certificate_file: decryption.pem, key_file: decryption.key}]
    allow_cbc: true`
	}
	return block
}

// registerAtCampus tells the SAML provider about the broker by the broker's own metadata.
func (w *world) registerAtCampus(sealed bool) {
	w.t.Helper()
	a := get(w.t, w.issuer+"/saml/campus/metadata")
	if a.status != http.StatusOK {
		w.t.Fatalf("metadata: %d %s", a.status, a.body)
	}
	w.saml.Register(w.t, testenv.SAMLServiceProvider{
		Metadata: []byte(a.body), EncryptAssertion: sealed, ValidateRequests: sealed,
	})
}

// proveAtCampus fills in the SAML provider's own page.
func (w *world) proveAtCampus(b *testenv.Browser, who person) {
	w.t.Helper()
	b.WaitURL("/module.php/core/loginuserpass.php")
	settled(w.t, b)
	b.Fill("#username", who.username)
	b.Fill("#password", who.password)
	b.Click("#submit_button")
}

// atCampus signs in at the SAML provider on the way to an address and returns the form that its page would post, and
// where to.
func (v *visitor) atCampus(w *world, address string, who person) (acs string, form url.Values) {
	v.t.Helper()
	to := v.leave(w, address, "campus")
	return w.saml.SignIn(v.t, testenv.NewBrowserClient(v.t), to, who.username, who.password)
}

// arrive posts the SAML provider's form and goes on to the hand-over address on the application's host, which is
// returned and not opened.
func (v *visitor) arrive(w *world, acs string, form url.Values) string {
	v.t.Helper()
	a := v.post(acs, form)
	if a.header.Get("Location") == "" {
		v.t.Fatalf("the form was answered %d %s", a.status, a.header.Get("X-Error"))
	}
	at, page := v.follow(v.resolve(acs, a), "")
	return v.handover(w, at, page)
}

// enterByCampus signs in at the SAML provider on the way to an application, as far as its cookie.
func (v *visitor) enterByCampus(w *world, address string, who person) {
	v.t.Helper()
	acs, form := v.atCampus(w, address, who)
	if a := v.get(v.arrive(w, acs, form)); a.status != http.StatusSeeOther {
		v.t.Fatalf("hand-over: %d", a.status)
	}
}

// refused posts the SAML provider's form and expects a refusal, and no cookie.
func (v *visitor) refused(w *world, acs string, form url.Values, code string) {
	v.t.Helper()
	a := v.post(acs, form)
	if a.status/100 != 4 || a.header.Get("X-Error") != code {
		v.t.Errorf("answered %d %q, want a refusal with %s", a.status, a.header.Get("X-Error"), code)
	}
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == brokerCookie && c.MaxAge >= 0 {
			v.t.Error("it signed in")
		}
	}
}

func TestSML06_TheSAMLProvidersFormSignsInAcrossSites(t *testing.T) {
	for name, tc := range map[string]struct{ sealed, script bool }{
		"in the clear, by script":                   {false, true},
		"signed and encrypted, by the person's own": {true, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options{saml: true, sealed: tc.sealed})
			b := testenv.Chromium(t, testenv.BrowserOptions{NoScript: !tc.script, BlockThirdParty: true})
			deep := w.app + "/hosts/7?sort=name&filter=a%2Fb%20c"
			b.Open(deep)
			w.proveAt(b, campus("alice"))
			if !tc.script {
				b.WaitText("press the button")
				if at := b.URL(); !strings.HasPrefix(at, "http://127.0.0.1:") {
					t.Fatalf("the form stands at %s", at)
				}
				b.Click("form [type=submit]")
			}
			b.WaitURL(deep)
			got := w.shown(b)
			if got.Header.Get("X-Auth-User") != "alice" || got.Header.Get("X-Auth-Roles") != "operator,viewer" {
				t.Errorf("the application is told %q with %q", got.Header.Get("X-Auth-User"), got.Header.Get("X-Auth-Roles"))
			}
			for cookie := range browserJar(b) {
				if strings.HasPrefix(cookie, brokerCookie+"-flow") {
					t.Errorf("%s is left", cookie)
				}
			}
		})
	}
}

func TestSML05_ASignInThatBeginsAtTheProviderBeginsAgainHere(t *testing.T) {
	w := newWorld(t, options{saml: true})
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	b.Open(w.saml.SSOURL + "?" + url.Values{"spentityid": {w.issuer + "/saml/campus/metadata"}}.Encode())
	w.proveAtCampus(b, campus("bob"))
	// His message only says where to ask: the broker does, the provider knows him by now, and he is in.
	b.WaitURL(w.issuer + "/me")
	b.WaitText("Bob Example")
	if log := w.saml.Log(); strings.Count(log, "GET /saml2/idp/SSOService.php?SAMLRequest=") != 1 {
		t.Error("he came in without a request of ours")
	}
	unasked := url.Values{"SAMLResponse": {"aW52YWxpZA=="}}
	a := newVisitor(t).post(w.issuer+"/saml/campus/acs", unasked)
	if to := a.header.Get("Location"); a.status != http.StatusSeeOther || to != "/login?idp_hint=campus" {
		t.Errorf("a form without RelayState: %d to %s", a.status, to)
	}
	if len((&http.Response{Header: a.header}).Cookies()) > 0 {
		t.Error("a form without RelayState sets a cookie")
	}
}

func TestSML11_DisablingAProviderStopsThoseWhoStandAtIt(t *testing.T) {
	w := newWorld(t, options{saml: true})
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	in := newVisitor(t)
	in.enterByCampus(w, w.app+"/", campus("alice"))
	alice := cookieOf(brokerCookie, in.jar[host(w.issuer)][brokerCookie])
	if status := w.status(w.issuer+"/api/auth/me", alice); status != http.StatusOK {
		t.Fatalf("alice's cookie: %d", status)
	}
	b.Open(w.app + "/")
	b.WaitURL(w.issuer + "/login")
	b.Click("Continue with Campus")
	b.WaitURL("/module.php/core/loginuserpass.php")

	w.editConfig("type: saml", "type: saml\n    disabled: true")
	w.hangUp(t)
	w.server.wait(t, "the sessions of its people to end", func() error {
		if status := w.status(w.issuer+"/api/auth/me", alice); status != http.StatusForbidden {
			return fmt.Errorf("status %d", status)
		}
		return nil
	})
	w.proveAtCampus(b, campus("bob"))
	b.WaitURL(w.issuer + "/saml/campus/acs")
	b.WaitText("provider_unknown")
	if _, in := b.Cookie(brokerCookie); in {
		t.Error("a disabled provider signed somebody in")
	}
	b.Open(w.issuer + "/login")
	if strings.Contains(b.Text(), "Campus") {
		t.Error("its button still stands there")
	}
}

// again is the visitor as they were when their cookies were copied.
func (v *visitor) again(kept map[string]string, w *world) *visitor {
	v.t.Helper()
	out := newVisitor(v.t)
	out.jar[host(w.issuer)] = maps.Clone(kept)
	return out
}

func TestSML07_AResponseIsTakenOnceByAllProcesses(t *testing.T) {
	w := newWorld(t, options{saml: true})
	second := w.second()
	v := newVisitor(t)
	acs, form := v.atCampus(w, w.app+"/", campus("alice"))
	kept := maps.Clone(v.jar[host(w.issuer)])
	v.get(v.arrive(w, acs, form))
	v.again(kept, w).refused(w, acs, form, "flow_finished")
	beside := v.again(kept, w)
	beside.via = second
	beside.refused(w, acs, form, "flow_finished")

	// The other process would have taken it: it is the same house.
	beside = newVisitor(t)
	beside.via = second
	acs, form = beside.atCampus(w, w.reports+"/", campus("bob"))
	kept = maps.Clone(beside.jar[host(w.issuer)])
	beside.arrive(w, acs, form)
	v.again(kept, w).refused(w, acs, form, "flow_finished")
	newVisitor(t).refused(w, acs, form, "flow_unknown") // and nobody else's browser at all
}

func TestSES02_SigningInAnewEndsTheSessionBefore(t *testing.T) {
	w := newWorld(t, options{saml: true})
	v := newVisitor(t)
	v.enterByCampus(w, w.app+"/", campus("alice"))
	before := cookieOf(brokerCookie, v.jar[host(w.issuer)][brokerCookie])
	app := cookieOf(appCookie, v.jar[host(w.app)][appCookie])
	w.all(t, []opened{{"session", w.issuer + "/api/auth/me", before}, {"application", w.app + "/", app}}, http.StatusOK)
	acs, form := v.atCampus(w, w.issuer+"/login?choose=1", campus("bob"))
	v.follow(v.resolve(acs, v.post(acs, form)), "")
	after := cookieOf(brokerCookie, v.jar[host(w.issuer)][brokerCookie])
	if after == before {
		t.Fatal("the cookie is the one from before")
	}
	w.all(t, []opened{{"the session before", w.issuer + "/api/auth/me", before}, {"its application", w.app + "/", app}},
		http.StatusUnauthorized)
	if who := w.me(after); who["username"] != "bob" {
		t.Errorf("signed in is %v", who["username"])
	}
}

// panel is what readiness says of a provider; readiness itself must be 200.
func (w *world) panel(id string) (state, problem string) {
	w.t.Helper()
	a := get(w.t, w.operations+"/healthz/ready")
	var ready struct {
		Providers map[string]struct{ State, Error string }
	}
	if err := json.Unmarshal([]byte(a.body), &ready); err != nil || a.status != http.StatusOK {
		w.t.Fatalf("readiness: %d %v %s", a.status, err, a.body)
	}
	return ready.Providers[id].State, ready.Providers[id].Error
}

// light waits until readiness and metrics show a provider in this state, and returns what is wrong with it.
func (w *world) light(t *testing.T, id, want string) (problem string) {
	t.Helper()
	metric := map[string]string{"up": "1", "down": "0"}[want]
	w.server.wait(t, id+" to be shown "+want, func() error {
		state, said := w.panel(id)
		metrics := get(t, w.operations+"/metrics").body
		if state != want || !strings.Contains(metrics, `sallyport_provider_up{provider="`+id+`",type="saml"} `+metric) {
			return fmt.Errorf("it is %q (%s)", state, said)
		}
		problem = said
		return nil
	})
	return problem
}

// listed is the line of sallyport provider list about a provider, and the exit code.
func (w *world) listed(t *testing.T, id string) (line map[string]string, code int) {
	t.Helper()
	r := run(t, w.dir, "", w.secrets(), "--config", w.file, "provider", "list", "--json")
	for text := range strings.Lines(r.stdout) {
		var shown map[string]string
		if err := json.Unmarshal([]byte(text), &shown); err != nil {
			t.Fatalf("%v: %s%s", err, text, r.stderr)
		}
		if shown["id"] == id {
			line = shown
		}
	}
	return line, r.code
}

func TestSML10_TheLastGoodMetadataOutlivesProviderAndProcess(t *testing.T) {
	w := newWorld(t, options{saml: true})
	w.light(t, "campus", "up")
	if line, code := w.listed(t, "campus"); code != 0 || line["state"] != "up" {
		t.Errorf("provider list: exit code %d, %v", code, line)
	}
	v := newVisitor(t)
	acs, form := v.atCampus(w, w.reports+"/?from=campus", campus("alice"))

	w.saml.Stop()
	if code := w.stopServer(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	w.serve()
	if problem := w.light(t, "campus", "down"); problem == "" {
		t.Error("the panel does not say what is wrong")
	}
	if line, code := w.listed(t, "campus"); code != 2 || line["state"] != "down" || line["error"] == "" {
		t.Errorf("provider list: exit code %d, %v", code, line)
	}
	w.token(local("omar"), "app")
	if to := newVisitor(t).leave(w, w.app+"/", "campus"); !strings.HasPrefix(to, w.saml.SSOURL+"?SAMLRequest=") {
		t.Errorf("who signs in is sent to %s", to)
	}
	if a := v.get(v.arrive(w, acs, form)); a.status != http.StatusSeeOther {
		t.Errorf("an answer from before: hand-over %d", a.status)
	}
}

func TestSML10_AHouseStartsWithoutAProvidersMetadataAndTakesItWhenItComes(t *testing.T) {
	w := newWorld(t, options{saml: true})
	document := w.saml.Metadata(t)
	if code := w.stopServer(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	w.editConfig(fmt.Sprintf("metadata: {url: %q}", w.saml.EntityID), "metadata: {file: campus.xml}")
	w.serve()
	w.token(local("omar"), "app")
	problem := w.light(t, "campus", "down")
	line, code := w.listed(t, "campus")
	for where, said := range map[string]string{"readiness": problem, "provider list": line["error"]} {
		if !strings.Contains(said, "campus.xml") {
			t.Errorf("%s says %q, not which file is missing", where, said)
		}
	}
	if code != 2 || line["state"] != "down" {
		t.Errorf("provider list: exit code %d, %v", code, line)
	}
	v := newVisitor(t)
	_, login := v.follow(w.app+"/", "")
	_, a := v.follow(w.issuer+"/login/continue/campus?flow="+v.hidden(login, "flow"), "")
	if a.status != http.StatusServiceUnavailable || a.header.Get("X-Error") != "provider_unavailable" {
		t.Errorf("its button: %d %q", a.status, a.header.Get("X-Error"))
	}

	if err := os.WriteFile(filepath.Join(w.dir, "campus.xml"), document, 0o600); err != nil {
		t.Fatal(err)
	}
	w.hangUp(t) // looks at once; without it within five seconds
	w.light(t, "campus", "up")
	newVisitor(t).enterByCampus(w, w.app+"/", campus("alice"))
	if _, code := w.listed(t, "campus"); code != 0 {
		t.Errorf("provider list: exit code %d", code)
	}
}
