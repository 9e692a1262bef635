package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"sallyport/internal/testenv"
)

func TestEachDoorWorksWithoutScript(t *testing.T) {
	w := newWorld(t, options{directory: true, oidc: true})
	b := testenv.Chromium(t, testenv.BrowserOptions{NoScript: true})
	for _, who := range []person{local("lena"), w.corp("alice"), partner("alice")} {
		t.Run(who.door, func(t *testing.T) {
			tab := b.NewContext()
			w.signIn(tab, w.app+"/deep?x=1", who)
			if h := w.shown(tab); h.URL != "/deep?x=1" || h.Header.Get("X-Auth-Roles") != "operator,viewer" {
				t.Errorf("the application got %s with the roles %q", h.URL, h.Header.Get("X-Auth-Roles"))
			}
			tab.Open(w.app + "/.sallyport/logout")
			tab.Click("Sign out")
			tab.WaitText("You are signed out")
			if v := tab.Violations(); len(v) > 0 {
				t.Errorf("breaches of the policy: %q", v)
			}
		})
	}
}

func TestSignInAndOutWithTheKeyboardAlone(t *testing.T) {
	w := newWorld(t, options{})
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	tabTo := func(what, script string) {
		t.Helper()
		var seen []string
		for range 40 {
			if b.Eval(script) == true {
				return
			}
			seen = append(seen, b.Focused())
			b.Type(kb.Tab)
		}
		t.Fatalf("Tab does not lead to %s; it passed %q", what, seen)
	}
	b.Open(w.app + "/by/keyboard")
	b.WaitURL(w.issuer + "/login")
	tabTo("the name", `document.activeElement.name === "username"`)
	b.Type("lena" + kb.Enter)
	b.WaitURL("/login/password")
	tabTo("the password", `document.activeElement.name === "password"`)
	b.Type(passwordOf("lena") + kb.Enter)
	b.WaitURL(w.app + "/by/keyboard")

	b.Open(w.issuer + "/me")
	tabTo("the link to sign out", `document.activeElement.matches("a[href='/logout']")`)
	b.Type(kb.Enter)
	b.WaitURL("/logout")
	tabTo("the button to sign out", `document.activeElement.matches("form[action='/logout'] button")`)
	b.Type(kb.Enter)
	b.WaitText("You are signed out")
}

// shoot looks at a page in both schemes and on a telephone, and leaves pictures where SALLYPORT_SCREENSHOTS says.
func shoot(t *testing.T, b *testenv.Browser, name string) {
	t.Helper()
	folder := os.Getenv("SALLYPORT_SCREENSHOTS")
	for _, dark := range []bool{false, true} {
		b.SetScheme(dark)
		for _, width := range []int{1280, 320} {
			b.Viewport(width, 800)
			if wide, _ := b.Eval("document.documentElement.scrollWidth").(float64); int(wide) > width {
				t.Errorf("%s is %v wide in a window of %d", name, wide, width)
			}
			if folder == "" {
				continue
			}
			scheme := map[bool]string{false: "light", true: "dark"}[dark]
			b.Screenshot(filepath.Join(folder, fmt.Sprintf("%s-%s-%d.png", name, scheme, width)))
		}
	}
	b.SetScheme(false)
	b.Viewport(1280, 800)
}

// expected are lines the console has for answers that are meant to be errors.
func expected(line string) bool {
	return slices.ContainsFunc([]string{"401", "403", "404"}, func(status string) bool {
		return strings.Contains(line, "the server responded with a status of "+status)
	})
}

func TestSES07_EveryPageKeepsItsOwnPolicyAndFitsATelephone(t *testing.T) {
	w := newWorld(t, options{oidc: true})
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	if folder := os.Getenv("SALLYPORT_SCREENSHOTS"); folder != "" {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.Open(w.vault + "/safe")
	b.WaitURL("/login")
	shoot(t, b, "login")
	b.Fill("E-mail or user name", "omar")
	b.Click("Continue")
	b.WaitURL("/login/password")
	shoot(t, b, "password")
	b.Fill("Password", "not the right one")
	b.Click("Sign in")
	b.WaitText("That didn't work. Check the name and password, or use another way to sign in.")
	shoot(t, b, "password-wrong")
	b.Fill("Password", passwordOf("omar"))
	b.Click("Sign in")
	b.WaitText("You cannot use Vault yet")
	shoot(t, b, "denied")
	b.Open(w.app + "/")
	b.WaitURL(w.app)
	b.Open(w.issuer + "/me")
	b.Fill("Name", "nightly backup")
	b.Click("Create key")
	b.WaitText("It is shown only this once.")
	shoot(t, b, "me-new-key")
	b.Open(w.issuer + "/me")
	b.WaitText("nightly backup")
	shoot(t, b, "me")
	b.Open(w.issuer + "/nothing/here")
	b.WaitText("There is nothing at this address.")
	shoot(t, b, "error")
	b.Open(w.app + "/.sallyport/callback?code=x&state=y")
	b.WaitText("Let's start again")
	shoot(t, b, "error-on-application-host")
	b.Open(w.issuer + "/setup?code=wrong")
	b.WaitText("Create the first administrator.")
	shoot(t, b, "setup")
	b.Open(w.issuer + "/logout")
	b.WaitText("Sign out?")
	shoot(t, b, "logout")
	b.Click("Sign out")
	b.WaitText("You are signed out")
	shoot(t, b, "signed-out")

	if v := b.Violations(); len(v) > 0 {
		t.Errorf("breaches of the policy:\n%s", strings.Join(v, "\n"))
	}
	if e := slices.DeleteFunc(b.ConsoleErrors(), expected); len(e) > 0 {
		t.Errorf("console errors:\n%s", strings.Join(e, "\n"))
	}
}
