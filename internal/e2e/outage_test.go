package e2e

import (
	"net/http"
	"testing"

	"sallyport/internal/testenv"
)

func TestREL04_TheDirectoryGoesAwayAndComesBack(t *testing.T) {
	w := newWorld(t, options{directory: true, oidc: true})
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	alice := w.corp("alice")
	before := bearer(w.token(alice, "app"))

	w.directory.Stop(t)
	a := w.logIn(alice, "app")
	if a.status != http.StatusServiceUnavailable || a.header.Get("X-Error") != "provider_unavailable" {
		t.Errorf("API: status %d, x-error %q, want 503 provider_unavailable", a.status, a.header.Get("X-Error"))
	}
	if a.header.Get("Retry-After") == "" || a.header.Get("X-Error-Id") == "" {
		t.Errorf("Retry-After %q, x-error-id %q", a.header.Get("Retry-After"), a.header.Get("X-Error-Id"))
	}
	if body := a.json(t); body["code"] != "provider_unavailable" || body["trace_id"] != a.header.Get("X-Error-Id") {
		t.Errorf("problem body is %v", body)
	}
	wrong := w.logIn(person{"corp", alice.username, "not the password"}, "app")
	if wrong.status != http.StatusServiceUnavailable {
		t.Errorf("a wrong password while nobody can tell: status %d", wrong.status)
	}
	if status := w.status(w.app+"/", before); status != http.StatusOK {
		t.Errorf("who was signed in before is out: status %d", status)
	}

	page := b.NewContext()
	page.Open(w.app + "/")
	w.proveAt(page, alice)
	page.WaitText("The directory Corp directory is not answering, so nobody can be checked against it right now. " +
		"Try again in a few minutes, or use another way to sign in.")

	w.signIn(b.NewContext(), w.app+"/local", local("omar"))
	w.signIn(b.NewContext(), w.app+"/partner", partner("bob"))
	if err := answers(w.operations+"/healthz/ready", http.StatusOK); err != nil {
		t.Errorf("one directory away makes the whole house unready: %v", err)
	}

	w.directory.Start(t)
	page.Fill("Password", alice.password) // the same page, pressed again
	page.Click("Sign in")
	page.WaitURL(w.app)
	if roles := w.shown(page).Header.Get("X-Auth-Roles"); roles != "operator,viewer" {
		t.Errorf("roles afterwards: %q", roles)
	}
	w.token(alice, "vault")
}
