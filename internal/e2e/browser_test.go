package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sallyport/internal/testenv"
)

// person is somebody who can sign in at one of the doors.
type person struct {
	door               string // local, corp, branch, partner or campus
	username, password string
}

func local(name string) person { return person{"local", name, passwordOf(name)} }

func (w *world) corp(name string) person {
	return person{"corp", name + "@example.test", w.directory.Password(name)}
}

func partner(name string) person { return person{"partner", name, name + "-oidc-pass"} }

func campus(name string) person { return person{"campus", name, name + "-saml-pass"} }

// signIn opens an address and, being sent to sign in, does so as a person would. It ends where the address was.
func (w *world) signIn(b *testenv.Browser, address string, who person) {
	w.t.Helper()
	b.Open(address)
	w.proveAt(b, who)
	b.WaitURL(address)
}

// proveAt types what a person types, from the first page of the sign-in on.
func (w *world) proveAt(b *testenv.Browser, who person) {
	w.t.Helper()
	b.WaitURL(w.issuer + "/login")
	if who.door == "campus" {
		b.Click("Continue with Campus")
		w.proveAtCampus(b, who)
		return
	}
	if who.door == "partner" {
		b.Click("Continue with Partner")
		b.WaitURL(w.oidc.Issuer + "/interaction/")
		b.Fill("Login", who.username)
		b.Fill("Password", who.password)
		b.Click("Sign in")
		return
	}
	b.Fill("E-mail or user name", who.username)
	b.Click("Continue")
	b.WaitURL("/login/password")
	b.Fill("Password", who.password)
	b.Click("Sign in")
}

// settled waits until a page of somebody else's has loaded whole: what a style sheet still moves about is missed by the
// mouse.
func settled(t testing.TB, b *testenv.Browser) {
	t.Helper()
	err := testenv.Eventually(patience, nil, func() error {
		if state := b.Eval(`document.readyState`); state != "complete" {
			return fmt.Errorf("%s is %v", b.URL(), state)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// shown is what the application answered to the browser, once it did.
func (w *world) shown(b *testenv.Browser) heard {
	w.t.Helper()
	b.WaitText(`{"method":`)
	var h heard
	if err := json.Unmarshal([]byte(b.Text()), &h); err != nil {
		w.t.Fatalf("the page at %s is not the application's: %v\n%s", b.URL(), err, b.Text())
	}
	return h
}

// cookie is the value of a cookie on a host of this browser.
func (w *world) cookie(b *testenv.Browser, name string) string {
	w.t.Helper()
	value, ok := b.Cookie(name)
	if !ok {
		w.t.Fatalf("the browser has no cookie %s", name)
	}
	return value
}

// The names of our cookies.
const (
	brokerCookie  = "__Host-sallyport"
	appCookie     = "__Host-sallyport-app"
	reportsCookie = "__Host-sallyport-reports"
)

// host is the part of an address that names the site.
func host(address string) string { return strings.TrimPrefix(address, "http://") }
