package guide

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/testenv"
)

func data() Data {
	const issuer = "http://sso.localhost:8080"
	return Data{
		Issuer: issuer, AdminUser: "root", EmbeddingPage: "http://portal.localhost:8080/",
		Providers: []Provider{
			{"local", "Demo accounts", "local", issuer + "/login?idp_hint=local"},
			{"supplier", "Supplier <b>login</b>", "saml", issuer + "/login?idp_hint=supplier"},
			{"portal", "Demo portal", "jwt", ""},
		},
		People: []Person{
			{"lena", "Lena Local", "it's-amber-01", "local", []string{"operator"}, []string{"operator", "viewer"}},
			{"root", "Rosa Root", "cedar-delta-02", "local", []string{"admin"}, []string{"admin", "operator", "viewer"}},
			{"mira@supplier.example", "Mira Mustermann", "fjord-maple-03", "supplier", []string{"engineers"}, nil},
			{"pia", "Pia Portal", "", "portal", []string{"analyst"}, []string{"viewer"}},
		},
		Applications: []Application{
			{"app", "Host manager", "http://app.localhost:8080/", ForwardAuth, []string{"viewer"}},
			{"reports", "Reports", "http://reports.localhost:8080/", OfflineToken, []string{"operator"}},
			{"live", "Live view", "http://live.localhost:8080/", Gateway, []string{"viewer"}},
			{"board", "Board", "http://board.localhost:8080/", Embedded, nil},
		},
	}
}

func get(t *testing.T, path string) *httptest.ResponseRecorder {
	t.Helper()
	h, err := New(data())
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w
}

func TestThePageTellsEveryDoorPersonAndApplication(t *testing.T) {
	w := get(t, "/")
	body := w.Body.String()
	for _, want := range []string{
		"Supplier &lt;b&gt;login&lt;/b&gt;", "http://sso.localhost:8080/login?idp_hint=supplier", "fjord-maple-03",
		"(administrator)", "http://live.localhost:8080/", "http://portal.localhost:8080/", "Nothing is typed at this door",
		// A quotation mark in a password stays inside the shell's word.
		`it&#39;\&#39;&#39;s-amber-01`, "X-API-Key: $KEY",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q", want)
		}
	}
	policy := w.Header().Get("Content-Security-Policy")
	if strings.Contains(body, "<script") || strings.Contains(body, "style=") || !strings.HasPrefix(policy, "default-src 'none'; style-src 'self'") {
		t.Errorf("policy %q", policy)
	}
	if w := get(t, StylePath); w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("style %d", w.Code)
	}
	if w := get(t, "/other"); w.Code != http.StatusNotFound {
		t.Errorf("other %d", w.Code)
	}
}

func TestMistakesInTheDataAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Data){
		"no issuer":                 func(d *Data) { d.Issuer = "" },
		"a person at no known door": func(d *Data) { d.People[0].Provider = "nowhere" },
	} {
		t.Run(name, func(t *testing.T) {
			d := data()
			change(&d)
			if _, err := New(d); err == nil {
				t.Error("taken")
			}
		})
	}
}

func TestBrowser_ThePageFitsEveryWindowWithoutScript(t *testing.T) {
	h, err := New(data())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	for name, o := range map[string]testenv.BrowserOptions{
		"wide": {Width: 1200, NoScript: true}, "narrow": {Width: 320, NoScript: true}, "dark": {Width: 1200, Dark: true, NoScript: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := testenv.Chromium(t, o)
			b.Open(server.URL + "/")
			if wide := b.Eval("document.documentElement.scrollWidth"); wide != float64(o.Width) {
				t.Errorf("the page is %v wide in a window of %d", wide, o.Width)
			}
			if v := b.Violations(); len(v) != 0 {
				t.Error(v)
			}
			if dir := os.Getenv("SALLYPORT_SCREENSHOTS"); dir != "" {
				b.Screenshot(filepath.Join(dir, "guide-"+name+".png"))
			}
		})
	}
}
