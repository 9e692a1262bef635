package web_test

import (
	"flag"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files anew")

func golden(t *testing.T, file, got string) {
	t.Helper()
	path := "testdata/" + file
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got; -update writes it anew):\n%s", path, diff)
	}
}

func TestRoutesAreThoseOfTheGoldenFile(t *testing.T) {
	golden(t, "routes.golden", strings.Join(newHouse(t).handler.Routes(), "\n")+"\n")
}

// walk is every route with an address that reaches it, and a method.
func walk(h *house) (out []struct{ route, host, method, path string }) {
	h.t.Helper()
	for _, route := range h.handler.Routes() {
		where, pattern, _ := strings.Cut(route, " ")
		method, path, found := strings.Cut(pattern, " ")
		if !found {
			method, path = http.MethodGet, pattern
		}
		host := issuerHost
		if where == "application" {
			host = appHost
		}
		path = strings.NewReplacer("{provider}", "idp-a", "{id}", "nothing", "{$}", "").Replace(path)
		out = append(out, struct{ route, host, method, path string }{route, host, method, path})
	}
	return out
}

func TestSES07_EveryRouteProtectsItsAnswer(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			h := build(t, plan{issuer: scheme + "://" + issuerHost, proxies: loopback()})
			for _, at := range walk(h) {
				for _, accept := range []string{"text/html", "application/json"} {
					b := h.browser()
					r := b.request(at.method, "http://"+at.host+at.path, nil)
					r.Header.Set("Accept", accept)
					protected(t, at.route, scheme == "https", b.do(r))
				}
			}
			for _, path := range []string{"/nothing", "/login/", "//login", "/api/nothing", "/static", "/static/x/y.css"} {
				protected(t, path, scheme == "https", h.browser().get("http://"+issuerHost+path))
			}
			protected(t, "unknown host", scheme == "https", h.browser().get("http://elsewhere.localhost/"))
		})
	}
}

func protected(t *testing.T, what string, secure bool, p *page) {
	t.Helper()
	policy := p.header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") ||
		strings.Contains(policy, "unsafe") {
		t.Errorf("%s: Content-Security-Policy %q", what, policy)
	}
	for name, want := range map[string]string{
		"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
	} {
		if got := p.header.Values(name); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %s is %q, want %q", what, name, got, want)
		}
	}
	script := strings.Contains(what, "/embed/v1/") && (strings.HasSuffix(what, ".js") || strings.HasSuffix(what, ".css"))
	public := strings.HasSuffix(what, "/jwks.json") || strings.HasSuffix(what, "/robots.txt") || script
	if cache := p.header.Get("Cache-Control"); !public && cache != "no-store" {
		t.Errorf("%s: Cache-Control %q", what, cache)
	}
	if cors := p.header.Get("Access-Control-Allow-Origin"); (cors != "") != (strings.HasSuffix(what, "/jwks.json") || script && strings.Contains(what, "/parent.")) && p.status < 400 {
		t.Errorf("%s: Access-Control-Allow-Origin %q", what, cors)
	}
	if hsts := p.header.Get("Strict-Transport-Security"); (hsts == "max-age=31536000") != secure {
		t.Errorf("%s: Strict-Transport-Security %q", what, hsts)
	}
	if p.status >= 400 && (p.header.Get("X-Error") == "" || p.header.Get("X-Error-Id") == "") {
		t.Errorf("%s: %d without x-error or x-error-id", what, p.status)
	}
}

func TestSES07_StaticFilesAreCachedAndProtected(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	p := b.visit("/login")
	for _, file := range []string{"sallyport.css", "sallyport.js", "favicon.svg"} {
		i := strings.Index(p.body, file)
		if i < 0 {
			t.Fatalf("login page does not use %s", file)
		}
		start := strings.LastIndex(p.body[:i], `"`) + 1
		f := b.get(p.body[start : i+len(file)])
		if f.status != http.StatusOK || !strings.Contains(f.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %q", file, f.status, f.header.Get("Cache-Control"))
		}
		if !strings.Contains(f.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") ||
			f.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s is not protected: %v", file, f.header)
		}
	}
}

func TestSES07_AForeignOriginIsNeverReflected(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	for _, at := range walk(h) {
		r := b.request(http.MethodGet, "http://"+at.host+at.path, nil)
		r.Header.Set("Origin", "https://evil.example")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		p := b.copy().do(r)
		for name, values := range p.header {
			if strings.Contains(strings.Join(values, " "), "evil.example") {
				t.Errorf("%s reflects the origin in %s", at.route, name)
			}
		}
		if p.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s lets other origins send credentials", at.route)
		}
	}
}
