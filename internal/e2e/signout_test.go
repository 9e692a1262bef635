package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"sallyport/internal/testenv"
)

// opened is a credential with an address of ours that it opens.
type opened struct {
	name, address string
	c             credential
}

// all checks that everything here answers with the status.
func (w *world) all(t *testing.T, things []opened, want int) {
	t.Helper()
	for _, o := range things {
		if status := w.status(o.address, o.c); status != want {
			t.Errorf("%s at %s: status %d, want %d", o.name, o.address, status, want)
		}
	}
}

// allSoon waits until everything here answers with the status, and says how long that took.
func (w *world) allSoon(t *testing.T, things []opened, want int) time.Duration {
	t.Helper()
	begun := time.Now()
	w.server.wait(t, fmt.Sprintf("status %d", want), func() error {
		for _, o := range things {
			if status := w.status(o.address, o.c); status != want {
				return fmt.Errorf("%s at %s: status %d", o.name, o.address, status)
			}
		}
		return nil
	})
	return time.Since(begun)
}

// browserOpens lists what a signed-in browser's cookies open, after it visited both applications, and the token that
// hangs on its sign-in.
func (w *world) browserOpens(b *testenv.Browser, whose string) []opened {
	w.t.Helper()
	b.Open(w.app + "/")
	b.WaitURL(w.app)
	b.Open(w.reports + "/")
	b.WaitURL(w.reports)
	token := bearer(w.shown(b).Header.Get("X-Auth-Token"))
	return []opened{
		{whose + " broker cookie", w.issuer + "/api/auth/me", cookieOf(brokerCookie, w.cookie(b, brokerCookie))},
		{whose + " application cookie", w.app + "/", cookieOf(appCookie, w.cookie(b, appCookie))},
		{whose + " second application's cookie", w.reports + "/", cookieOf(reportsCookie, w.cookie(b, reportsCookie))},
		{whose + " token at the API", w.issuer + "/api/auth/validate?application=reports", token},
		{whose + " token at forward-auth", w.reports + "/", token},
	}
}

// programOpens lists what a program of somebody has.
func (w *world) programOpens(who person) []opened {
	w.t.Helper()
	return []opened{
		{"API token", w.issuer + "/api/auth/me", bearer(w.token(who, ""))},
		{"application token", w.app + "/", bearer(w.token(who, "app"))},
		{"API key", w.issuer + "/api/auth/me", apiKey(w.key(who, ""))},
		{"application key", w.app + "/", apiKey(w.key(who, "app"))},
	}
}

func TestSES04_SignOutEndsThisSignInEverywhereAndNothingElse(t *testing.T) {
	w := newWorld(t, options{})
	first := testenv.Chromium(t, testenv.BrowserOptions{})
	second, other := first.NewContext(), first.NewContext()
	w.signIn(first, w.app+"/", local("lena"))
	w.signIn(second, w.app+"/", local("lena"))
	w.signIn(other, w.app+"/", local("omar"))
	dies := w.browserOpens(first, "first browser's")
	stays := append(w.browserOpens(second, "second browser's"), w.browserOpens(other, "other person's")...)
	stays = append(stays, w.programOpens(local("lena"))...)
	w.all(t, dies, http.StatusOK)
	w.all(t, stays, http.StatusOK)

	first.Open(w.app + "/.sallyport/logout")
	first.WaitText("Sign out?")
	w.all(t, dies, http.StatusOK) // looking at the page ends nothing
	first.Click("Sign out")
	first.WaitText("You are signed out")
	w.all(t, dies, http.StatusUnauthorized) // in the process that did it, at once
	w.all(t, stays, http.StatusOK)
	if _, left := first.Cookie(brokerCookie); left {
		t.Error("the browser still has the broker's cookie")
	}

	first.Back()
	first.Open(w.issuer + "/me")
	first.WaitURL("/login")
	first.Open(w.app + "/")
	first.WaitURL(w.issuer + "/login")
	second.Open(w.app + "/still/here")
	if h := w.shown(second); h.URL != "/still/here" {
		t.Errorf("the second browser is at %s", h.URL)
	}
}

func TestSES05_DisablingSomebodyBesideTheRunningServerEndsAllTheyHave(t *testing.T) {
	w := newWorld(t, options{})
	first := testenv.Chromium(t, testenv.BrowserOptions{})
	other := first.NewContext()
	w.signIn(first, w.app+"/", local("lena"))
	w.signIn(other, w.app+"/", local("omar"))
	dies := append(w.browserOpens(first, "lena's"), w.programOpens(local("lena"))...)
	stays := append(w.browserOpens(other, "omar's"), w.programOpens(local("omar"))...)
	w.all(t, dies, http.StatusOK)
	w.all(t, stays, http.StatusOK)

	w.command("", "user", "disable", "lena")
	// Two seconds are promised; the rest is for a busy machine.
	if took := w.allSoon(t, dies, http.StatusUnauthorized); took > 5*time.Second {
		t.Errorf("everything was dead after %v only", took)
	}
	w.all(t, stays, http.StatusOK)
	wrong := w.logIn(person{"local", "lena", "a wrong password, long enough"}, "")
	if disabled := w.logIn(local("lena"), ""); disabled.status != http.StatusUnauthorized ||
		disabled.header.Get("X-Error") != wrong.header.Get("X-Error") {
		t.Errorf("a disabled person's right password: %d %s; a wrong one: %d %s", disabled.status,
			disabled.header.Get("X-Error"), wrong.status, wrong.header.Get("X-Error"))
	}
	w.command("", "user", "enable", "lena")
	w.all(t, dies, http.StatusUnauthorized) // what was ended stays ended
	w.token(local("lena"), "app")
}

func TestSES04_EndingOneSessionOnMyPageEndsItInTheOtherBrowser(t *testing.T) {
	w := newWorld(t, options{})
	first := testenv.Chromium(t, testenv.BrowserOptions{})
	second := first.NewContext()
	w.signIn(first, w.app+"/", local("lena"))
	w.signIn(second, w.app+"/", local("lena"))
	dies, stays := w.browserOpens(second, "second"), w.browserOpens(first, "first")
	w.all(t, dies, http.StatusOK)

	first.Open(w.issuer + "/me")
	first.WaitText("Host manager")
	first.Click("tr:not(:has(.tag)) button") // the row that is not "This one"
	first.WaitText("The session was ended.")
	w.all(t, dies, http.StatusUnauthorized)
	w.all(t, stays, http.StatusOK)
	second.Open(w.issuer + "/me")
	second.WaitURL("/login")
	second.Open(w.app + "/")
	second.WaitURL(w.issuer + "/login")
}
