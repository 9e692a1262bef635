package e2e

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sallyport/internal/testenv"
)

// evil is another site: it shows one form that posts whatever it is told to.
func evil(t testing.TB) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<!doctype html><title>evil</title><form method=post action="%s">`,
			html.EscapeString(r.URL.Query().Get("action")))
		for name, values := range r.URL.Query() {
			if field, ok := strings.CutPrefix(name, "field-"); ok {
				_, _ = fmt.Fprintf(w, `<input type=hidden name="%s" value="%s">`,
					html.EscapeString(field), html.EscapeString(values[0]))
			}
		}
		_, _ = fmt.Fprint(w, `<button>Win a prize</button></form>`)
	}))
	t.Cleanup(s.Close)
	return s
}

// luring is the address of the form; fields are pairs.
func luring(site, action string, fields ...string) string {
	q := "/?action=" + action
	for i := 0; i < len(fields); i += 2 {
		q += "&field-" + fields[i] + "=" + fields[i+1]
	}
	return site + q
}

func TestSES06_AFormOnAnotherSiteIsRefused(t *testing.T) {
	w := newWorld(t, options{})
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	server := evil(t)
	sites := map[string]string{
		"an address": server.URL, "a sibling name": strings.Replace(server.URL, "127.0.0.1", "evil.localhost", 1),
	}
	field := func(tab *testenv.Browser, name string) string {
		value, _ := tab.Eval(`document.querySelector("[name=` + name + `]").value`).(string)
		if value == "" {
			t.Fatalf("%s has no field %s", tab.URL(), name)
		}
		return value
	}
	for name, site := range sites {
		t.Run("sign-in from "+name, func(t *testing.T) {
			tab := b.NewContext()
			tab.Open(w.issuer + "/login")
			tab.Fill("E-mail or user name", "omar")
			tab.Click("Continue")
			tab.WaitURL("/login/password")
			at := tab.URL()
			// The attacker knows everything but cannot send it from here.
			tab.Open(luring(site, w.issuer+"/login/password", "flow", field(tab, "flow"), "csrf", field(tab, "csrf"),
				"password", passwordOf("omar")))
			tab.Click("Win a prize")
			tab.WaitText("Please send that again")
			if _, in := tab.Cookie(brokerCookie); in {
				t.Error("the browser was signed in from another site")
			}
			tab.Open(at) // the same fields from our own page
			tab.Fill("Password", passwordOf("omar"))
			tab.Click("Sign in")
			tab.WaitText("Your account")
		})
		t.Run("sign-out and more from "+name, func(t *testing.T) {
			tab := b.NewContext()
			w.signIn(tab, w.issuer+"/me", local("lena"))
			mine := w.cookie(tab, brokerCookie)
			csrf := field(tab, "csrf")
			for _, path := range []string{"/logout", "/me/sessions/end-others", "/me/keys/create"} {
				tab.Open(luring(site, w.issuer+path, "csrf", csrf, "name", "planted", "days", "1"))
				tab.Click("Win a prize")
				tab.WaitText("Please send that again")
			}
			for _, script := range []string{
				`fetch("%s", {method: "POST", mode: "no-cors", credentials: "include"}).then(() => 1, () => 1)`,
				`new Promise((done) => { const i = new Image(); i.onload = i.onerror = () => done(1); i.src = "%s"; })`,
			} {
				tab.Open(site)
				tab.Eval(fmt.Sprintf(script, w.issuer+"/logout"))
			}
			tab.Open(w.issuer + "/me")
			tab.WaitText("You have no API keys.")
			if now := w.cookie(tab, brokerCookie); now != mine {
				t.Error("the cookie has changed")
			}
		})
	}
}

func TestOID01_ASignInFinishesOnlyInTheBrowserThatBeganIt(t *testing.T) {
	w := newWorld(t, options{oidc: true})
	victim := testenv.Chromium(t, testenv.BrowserOptions{})
	attacker := newVisitor(t)

	callback := attacker.atPartner(w, w.app+"/", partner("alice"))
	victim.Open(callback)
	victim.WaitText("Let's start again")
	if _, in := victim.Cookie(brokerCookie); in {
		t.Error("another browser's answer signed this one in")
	}

	// A flow cookie of the victim's own does not help: the state names the flow.
	victim.Open(w.issuer + "/login")
	victim.Open(callback)
	victim.WaitText("Let's start again")

	handover := attacker.finish(w, callback) // the browser that began does finish
	if _, in := attacker.jar[host(w.issuer)][brokerCookie]; !in {
		t.Fatal("the browser that began is not signed in")
	}
	victim.Open(handover)
	victim.WaitText("Let's start again")
	if _, in := victim.Cookie(appCookie); in {
		t.Error("another browser's code gave this one an application cookie")
	}
	if a := attacker.get(handover); a.status != http.StatusSeeOther {
		t.Fatalf("the browser that began cannot take over: %d", a.status)
	}

	// Each once, in the right browser too.
	replayed := newVisitor(t)
	replayed.jar = attacker.jar
	if a := replayed.get(handover); a.status < 400 {
		t.Errorf("the hand-over was taken twice: %d", a.status)
	}
	delete(attacker.jar[host(w.issuer)], brokerCookie)
	attacker.get(callback)
	if _, in := attacker.jar[host(w.issuer)][brokerCookie]; in {
		t.Error("the callback signed in twice")
	}
}

func TestOID01_AReplayedCallbackWithItsFlowCookieIsRefused(t *testing.T) {
	w := newWorld(t, options{oidc: true})
	v := newVisitor(t)
	callback := v.atPartner(w, w.app+"/", partner("alice"))
	kept := map[string]string{}
	for name, value := range v.jar[host(w.issuer)] {
		kept[name] = value
	}
	v.finish(w, callback)
	v.jar[host(w.issuer)] = kept // a thief who has the flow cookie from before
	a := v.get(callback)
	if a.header.Get("X-Error") != "flow_finished" {
		t.Errorf("status %d, x-error %q, want flow_finished", a.status, a.header.Get("X-Error"))
	}
	if _, in := v.jar[host(w.issuer)][brokerCookie]; in {
		t.Error("the replay signed in")
	}
}
