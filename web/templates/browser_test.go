package templates_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/testenv"
	"sallyport/web/static"
	"sallyport/web/templates"
)

// signInBudget is what the sign-in page may weigh, compressed, with everything it loads.
const signInBudget = 30 * 1000

// siteRenderer renders with the real files.
func siteRenderer(t testing.TB) *templates.Renderer {
	t.Helper()
	r, err := templates.New(templates.Options{Static: static.URL, PseudoLocales: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheSignInPageWeighsLittle(t *testing.T) {
	page := render(t, siteRenderer(t), templates.PageLogin, sampleLogin(chrome(siteRenderer(t), "de")))
	total := 0
	var parts []string
	for _, name := range []string{"sallyport.css", "sallyport.js", "favicon.svg"} {
		if !strings.Contains(page, static.URL(name)) {
			t.Errorf("the page does not load %s", name)
		}
		body, err := os.ReadFile(filepath.Join("..", "static", name))
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, string(body))
	}
	for _, part := range append(parts, page) {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(part))
		_ = w.Close()
		total += b.Len()
	}
	if total > signInBudget {
		t.Errorf("sign-in page weighs %d bytes compressed, more than %d", total, signInBudget)
	}
	if n := strings.Count(page, "src=") + strings.Count(page, "<link"); n != 4 {
		t.Errorf("the page loads %d things, not script, style, and the picture twice", n)
	}
}

// site serves every sample at /page/<language>/<name>, and answers wherever a page goes on to with 204, on which a browser
// stays where it is.
func site(t *testing.T) *httptest.Server {
	t.Helper()
	r := siteRenderer(t)
	mux := http.NewServeMux()
	mux.Handle("GET "+static.Prefix, static.Handler())
	mux.HandleFunc("/blank", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for _, s := range samples() {
		mux.HandleFunc("GET /page/{lang}/"+s.name, func(w http.ResponseWriter, req *http.Request) {
			lang, long := strings.CutSuffix(req.PathValue("lang"), "-long")
			view := s.view(chrome(r, lang))
			if long {
				view = filled(view, strings.Repeat("Mississippi", 12), "/x")
			}
			switch v := view.(type) {
			case templates.Next:
				v.URL = "http://reports.localhost:" + port(req) + "/blank?code=x"
				view = v
			case templates.Continue:
				v.URL = "http://login.contoso.localhost:" + port(req) + "/blank"
				view = v
			}
			templates.SetHeaders(w.Header())
			if err := r.Render(w, s.page, view); err != nil {
				t.Error(err)
			}
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func port(r *http.Request) string { return r.Host[strings.LastIndexByte(r.Host, ':')+1:] }

// mode is a way to look at a page.
type mode struct {
	name, lang string
	width      int
	dark       bool
}

func modes() []mode {
	return []mode{
		{"light", "en", 1280, false},
		{"dark", "en", 1280, true},
		{"german", "de", 1280, false},
		{"narrow", "en", 320, false},
		{"narrow-dark-german", "de", 320, true},
		{"pseudo", "en-XA", 1280, false},
		{"narrow-pseudo", "en-XA", 320, false},
		{"narrow-long", "de-long", 320, false},
		{"long", "en-long", 1280, false},
		{"rtl", "ar-XB", 1280, false},
		{"narrow-rtl", "ar-XB", 320, false},
	}
}

// TestEveryPageInEveryMode looks at the pages as people do. With SALLYPORT_SCREENSHOTS it leaves a picture of each page
// in each mode in the folder of that name.
func TestEveryPageInEveryMode(t *testing.T) {
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	server := site(t)
	folder := os.Getenv("SALLYPORT_SCREENSHOTS")
	for _, m := range modes() {
		b.Viewport(m.width, 800)
		b.SetScheme(m.dark)
		for _, s := range samples() {
			b.Open(server.URL + "/page/" + m.lang + "/" + s.name)
			where := m.name + " " + s.name
			// Also with what a reader opens.
			b.Eval(`document.querySelectorAll("details").forEach((d) => { d.open = true })`)
			if scroll := b.Eval("document.documentElement.scrollWidth").(float64); scroll > float64(m.width) {
				t.Errorf("%s scrolls sideways: %.0f px, by %v", where, scroll, b.Eval(widest))
			}
			for _, finding := range b.Eval(inspect).([]any) {
				t.Errorf("%s: %v", where, finding)
			}
			if folder != "" {
				b.Screenshot(filepath.Join(folder, fmt.Sprintf("%s-%s.png", s.name, m.name)))
			}
		}
	}
	for _, v := range b.Violations() {
		t.Errorf("breach of the policy: %s", v)
	}
	for _, e := range b.ConsoleErrors() {
		t.Errorf("console: %s", e)
	}
}

// widest names what sticks out of the page.
const widest = `[...document.querySelectorAll("body *")].filter((e) => {
  const r = e.getBoundingClientRect(); return r.right > innerWidth + 1 || r.left < -1;
}).map((e) => e.outerHTML.slice(0, 80)).join(" | ")`

// inspect finds text with too little contrast (WCAG 2.2, 1.4.3: 4.5 to 1), controls whose edge cannot be told from what
// is around them (1.4.11: 3 to 1), targets that are too small (2.5.8, and 44 px for buttons), and fields without a name.
const inspect = `(() => {
  const found = [];
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c[3] === 255) return c;
    }
    return [255, 255, 255, 255];
  };
  const hidden = (e) => !e.getClientRects().length || e.closest(".visually-hidden, .skip, [hidden]") ||
    e.getBoundingClientRect().width <= 1;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walker.nextNode(); n; n = walker.nextNode()) {
    const e = n.parentElement;
    if (!n.data.trim() || hidden(e)) continue;
    const r = ratio(rgb(getComputedStyle(e).color), ground(e));
    if (r < 4.5) found.push("contrast " + r.toFixed(2) + " of text " + n.data.trim());
  }
  for (const e of document.querySelectorAll("input:not([type=hidden], [type=checkbox]), select, .button")) {
    if (hidden(e)) continue;
    const style = getComputedStyle(e);
    const quiet = e.matches(".quiet"); // its words are its edge
    const r = ratio(rgb(style.borderTopColor), ground(e.parentElement));
    if (!quiet && r < 3) found.push("contrast " + r.toFixed(2) + " of the edge of " + e.outerHTML.slice(0, 60));
    if (e.getBoundingClientRect().height < 44) found.push("too low: " + e.outerHTML.slice(0, 60));
  }
  for (const e of document.querySelectorAll("a, button, summary, label.tick")) {
    if (hidden(e)) continue;
    const box = e.getBoundingClientRect();
    const inline = e.closest("li, p") && e.closest(".problems"); // a link in a sentence
    if (!inline && (box.height < 24 || box.width < 24)) found.push("small target: " + e.outerHTML.slice(0, 80));
  }
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  return found;
})()`

func TestScriptOnlyAddsToThePages(t *testing.T) {
	server := site(t)
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	b.Open(server.URL + "/page/en/login")
	if got := b.Focused(); got != "username" {
		t.Errorf("the focus is on %s", got)
	}
	b.Open(server.URL + "/page/en/password")
	b.Fill("Password", "correct horse")
	b.Click("Show password")
	if got := b.Eval(`document.querySelector("#password").type`); got != "text" {
		t.Errorf("shown password is of type %v", got)
	}
	b.Click("Hide password")
	both := `document.querySelector("#password").type + document.querySelector("#password").value`
	if got := b.Eval(both); got != "passwordcorrect horse" {
		t.Errorf("hidden password: %v", got)
	}
	b.Open(server.URL + "/page/en/password_error")
	if got := b.Eval(`document.activeElement.className`); got != "problems" {
		t.Errorf("the focus is on %v, not on the problems", got)
	}
	b.Click("That didn't work. Check the name and password, or use another way to sign in.")
	if got := b.Focused(); got != "password" {
		t.Errorf("the link leads to %s", got)
	}
	for _, complaint := range append(b.Violations(), b.ConsoleErrors()...) {
		t.Error(complaint)
	}
}

func TestPagesWorkWithoutScript(t *testing.T) {
	server := site(t)
	b := testenv.Chromium(t, testenv.BrowserOptions{NoScript: true})
	for _, s := range samples() {
		b.Open(server.URL + "/page/en/" + s.name)
		if n := b.Eval(`document.querySelectorAll("button[type=button]").length`); n != float64(0) {
			t.Errorf("%s has %v buttons that need script", s.name, n)
		}
	}
	b.Open(server.URL + "/page/en/password")
	text := b.Text()
	if !strings.Contains(text, "Signing in as alice@contoso.example") || strings.Contains(text, "Show") {
		t.Errorf("password page says %q", text)
	}
}

// onwardSite has a form that answers with the page Next, which goes on to another host.
func onwardSite(t *testing.T) *httptest.Server {
	t.Helper()
	r := siteRenderer(t)
	mux := http.NewServeMux()
	mux.Handle("GET "+static.Prefix, static.Handler())
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, req *http.Request) {
		templates.SetHeaders(w.Header())
		if err := r.Render(w, templates.PageLogin, templates.Login{}); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, req *http.Request) {
		templates.SetHeaders(w.Header())
		next := templates.Next{URL: "http://app.localhost:" + port(req) + "/arrived", SignedIn: true}
		if err := r.Render(w, templates.PageNext, next); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("GET /arrived", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "you have arrived") })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func TestNextReachesAnotherHostAfterAPostWithAndWithoutScript(t *testing.T) {
	for _, noScript := range []bool{false, true} {
		t.Run(fmt.Sprintf("script off: %v", noScript), func(t *testing.T) {
			server := onwardSite(t)
			b := testenv.Chromium(t, testenv.BrowserOptions{NoScript: noScript})
			b.Open(strings.Replace(server.URL, "127.0.0.1", "sso.localhost", 1) + "/login")
			b.Fill("E-mail or user name", "alice")
			b.Click("Continue")
			b.WaitText("you have arrived")
			b.WaitURL("http://app.localhost")
			if v := b.Violations(); len(v) > 0 {
				t.Errorf("breach of the policy: %v", v)
			}
			b.Back()
			b.WaitURL("/login")
			b.WaitText("E-mail or user name")
		})
	}
}
