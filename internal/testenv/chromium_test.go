package testenv_test

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/testenv"
)

// pages is a small site: a form, a page that breaks its own policy, a page with a frame from another site.
func pages(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	html := func(w http.ResponseWriter, body string) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprint(w, "<!doctype html><title>t</title>"+body)
	}
	mux.HandleFunc("GET /form", func(w http.ResponseWriter, r *http.Request) {
		html(w, `<form method=post action=/form><label for=n>Your name</label><input id=n name=n value=old>
			<button>Send it</button></form><script>document.body.append("script ran")</script>`)
	})
	mux.HandleFunc("POST /form", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "yes", Path: "/", HttpOnly: true})
		html(w, "hello "+r.FormValue("n"))
	})
	mux.HandleFunc("GET /breach", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		html(w, `<p>breach<script>document.title="ran"</script>`)
	})
	mux.HandleFunc("GET /throws", func(w http.ResponseWriter, r *http.Request) {
		html(w, `<p>throws<script>throw new Error("on purpose")</script>`)
	})
	mux.HandleFunc("GET /framing", func(w http.ResponseWriter, r *http.Request) {
		html(w, `<iframe src="`+strings.Replace("http://"+r.Host, "a.localhost", "b.localhost", 1)+`/framed"></iframe>`)
	})
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	got := make(chan string, 4)
	mux.HandleFunc("GET /framed", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "third", Value: "party", Path: "/", Secure: true, SameSite: http.SameSiteNoneMode})
		html(w, `<p>framed<img src="/pixel">`)
	})
	mux.HandleFunc("GET /pixel", func(w http.ResponseWriter, r *http.Request) {
		_, err := r.Cookie("third")
		got <- fmt.Sprint(err == nil)
	})
	mux.HandleFunc("GET /third", func(w http.ResponseWriter, r *http.Request) { html(w, "third: "+<-got) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func at(server *httptest.Server, host, path string) string {
	return strings.Replace(server.URL, "127.0.0.1", host, 1) + path
}

func TestABrowserFillsAFormAndKeepsItsCookiesApart(t *testing.T) {
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	server := pages(t)
	b.Open(at(server, "a.localhost", "/form"))
	if !strings.Contains(b.Text(), "script ran") {
		t.Errorf("script did not run: %s", b.Text())
	}
	b.Fill("Your name", "Grace Höpper")
	b.Click("Send it")
	b.WaitText("hello Grace Höpper")
	b.WaitURL("/form")
	if v, ok := b.Cookie("seen"); !ok || v != "yes" {
		t.Errorf("cookie seen = %q, %v", v, ok)
	}
	if _, ok := b.NewTab().Cookie("seen"); !ok {
		t.Error("another tab of the same browser does not have the cookie")
	}
	if _, ok := b.NewContext().Cookie("seen"); ok {
		t.Error("another person's browser has the cookie")
	}
	shot := filepath.Join(t.TempDir(), "page.png")
	b.Screenshot(shot)
	if info, err := os.Stat(shot); err != nil || info.Size() < 100 {
		t.Errorf("screenshot: %v, %v", info, err)
	}
	b.Back()
	b.WaitText("Send it")
	if len(b.Violations()) != 0 || len(b.ConsoleErrors()) != 0 {
		t.Errorf("complaints about fine pages: %v %v", b.Violations(), b.ConsoleErrors())
	}
}

func TestABrowserWithoutScriptCanStillBeDrivenAndRead(t *testing.T) {
	b := testenv.Chromium(t, testenv.BrowserOptions{
		NoScript: true, HostRules: map[string]string{"sso.example": "127.0.0.1"}, Language: "de",
	})
	server := pages(t)
	b.Open(at(server, "sso.example", "/form"))
	if strings.Contains(b.Text(), "script ran") {
		t.Error("script ran although it is off")
	}
	b.Fill("#n", "Ada")
	b.Click("button")
	b.WaitText("hello Ada")
	if !strings.Contains(b.HTML(), "hello Ada") || !strings.Contains(b.URL(), "sso.example") {
		t.Errorf("page is %s at %s", b.HTML(), b.URL())
	}
}

func TestABrowserReportsBreachesOfThePolicyAndExceptions(t *testing.T) {
	b := testenv.Chromium(t, testenv.BrowserOptions{Dark: true, Width: 320, Height: 600})
	server := pages(t)
	b.Open(at(server, "a.localhost", "/breach"))
	if b.Title() == "ran" || len(b.Violations()) == 0 {
		t.Errorf("no breach was reported: %v", b.Violations())
	}
	b.Open(at(server, "a.localhost", "/throws"))
	if errs := strings.Join(b.ConsoleErrors(), "\n"); !strings.Contains(errs, "on purpose") {
		t.Errorf("the exception was not reported: %q", errs)
	}
	if dark := b.Eval(`matchMedia("(prefers-color-scheme: dark)").matches`); dark != true {
		t.Errorf("dark = %v", dark)
	}
	if width := b.Eval(`innerWidth`); width != float64(320) {
		t.Errorf("width = %v", width)
	}
}

func TestThirdPartyCookiesAreBlockedOnlyWhereAsked(t *testing.T) {
	for _, blocked := range []bool{false, true} {
		t.Run(fmt.Sprintf("blocked is %v", blocked), func(t *testing.T) {
			b := testenv.Chromium(t, testenv.BrowserOptions{BlockThirdParty: blocked})
			server := pages(t)
			b.Open(at(server, "a.localhost", "/framing"))
			b.Open(at(server, "a.localhost", "/third"))
			b.WaitText(fmt.Sprintf("third: %v", !blocked))
		})
	}
}

func TestABrowserTrustsOnlyTheCertificatesItIsGiven(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "over TLS")
	}))
	t.Cleanup(server.Close)
	b := testenv.Chromium(t, testenv.BrowserOptions{Trust: []*x509.Certificate{server.Certificate()}})
	b.Open(server.URL)
	b.WaitText("over TLS")
}
