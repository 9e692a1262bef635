package static_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"sallyport/web/static"
)

func get(t *testing.T, method, path, encoding string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, nil)
	if encoding != "" {
		r.Header.Set("Accept-Encoding", encoding)
	}
	static.Handler().ServeHTTP(w, r)
	return w.Result()
}

func TestFilesAreServedForEverUnderAnAddressMadeFromTheirContent(t *testing.T) {
	for name, contentType := range map[string]string{
		"sallyport.css": "text/css; charset=utf-8", "sallyport.js": "text/javascript; charset=utf-8",
		"favicon.svg": "image/svg+xml",
	} {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^/static/[0-9a-f]{8}/` + regexp.QuoteMeta(name) + `$`).MatchString(static.URL(name)) {
			t.Errorf("address of %s is %s", name, static.URL(name))
		}
		for _, encoding := range []string{"", "gzip", "br, gzip;q=0.5", "gzip;q=0", "gzip; q=0.000"} {
			res := get(t, http.MethodGet, static.URL(name), encoding)
			body, err := io.ReadAll(unzip(t, res))
			if err != nil || string(body) != string(want) {
				t.Errorf("%s with %q: other content, %v", name, encoding, err)
			}
			if zipped := res.Header.Get("Content-Encoding") == "gzip"; zipped &&
				(encoding == "" || strings.HasSuffix(encoding, "=0") || strings.HasSuffix(encoding, "=0.000")) {
				t.Errorf("%s with %q is compressed", name, encoding)
			}
			for header, value := range map[string]string{
				"Content-Type": contentType, "X-Content-Type-Options": "nosniff", "Vary": "Accept-Encoding",
				"Cache-Control": "public, max-age=31536000, immutable",
			} {
				if got := res.Header.Get(header); got != value {
					t.Errorf("%s: %s is %q", name, header, got)
				}
			}
		}
	}
}

func unzip(t *testing.T, res *http.Response) io.Reader {
	t.Helper()
	if res.Header.Get("Content-Encoding") != "gzip" {
		return res.Body
	}
	r, err := gzip.NewReader(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOtherAddressesAreNotServedOrNotCached(t *testing.T) {
	other := regexp.MustCompile(`[0-9a-f]{8}`).ReplaceAllString(static.URL("sallyport.css"), "00000000")
	for _, c := range []struct {
		method, path string
		status       int
		cache        string
	}{
		{http.MethodGet, other, http.StatusOK, "no-cache"},
		{http.MethodHead, static.URL("sallyport.js"), http.StatusOK, "public, max-age=31536000, immutable"},
		{http.MethodPost, static.URL("sallyport.js"), http.StatusMethodNotAllowed, "no-store"},
		{http.MethodGet, "/static/sallyport.css", http.StatusNotFound, "no-store"},
		{http.MethodGet, "/static/0000000/sallyport.css", http.StatusNotFound, "no-store"},
		{http.MethodGet, "/static/zzzzzzzz/sallyport.css", http.StatusNotFound, "no-store"},
		{http.MethodGet, "/static/00000000/static.go", http.StatusNotFound, "no-store"},
		{http.MethodGet, "/static/00000000/../static.go", http.StatusNotFound, "no-store"},
		{http.MethodGet, "/static/00000000/", http.StatusNotFound, "no-store"},
		{http.MethodGet, "/static/", http.StatusNotFound, "no-store"},
	} {
		res := get(t, c.method, c.path, "")
		if res.StatusCode != c.status || res.Header.Get("Cache-Control") != c.cache {
			t.Errorf("%s %s: %d, %s", c.method, c.path, res.StatusCode, res.Header.Get("Cache-Control"))
		}
		if body, _ := io.ReadAll(res.Body); c.method == http.MethodHead && len(body) > 0 {
			t.Error("HEAD has a body")
		}
	}
	if static.URL("static.go") != "" {
		t.Error("an unknown name has an address")
	}
}

func TestRobotsAreSentAway(t *testing.T) {
	w := httptest.NewRecorder()
	static.Robots().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/robots.txt", nil))
	if w.Code != http.StatusOK || w.Body.String() != "User-agent: *\nDisallow: /\n" {
		t.Errorf("robots.txt: %d %q", w.Code, w.Body)
	}
}

func TestTheStyleSheetKnowsNoLeftAndRight(t *testing.T) {
	raw, err := os.ReadFile("sallyport.css")
	if err != nil {
		t.Fatal(err)
	}
	physical := regexp.MustCompile(`(?m)^\s*(left|right|top|bottom|width|height|float|` +
		`(margin|padding|border)-(left|right|top|bottom)|text-align:\s*(left|right))\b.*$`)
	if found := physical.FindAllString(string(raw), -1); len(found) > 0 {
		t.Errorf("physical properties: %q", found)
	}
	if foreign := regexp.MustCompile(`@import|url\(|https?:`).FindString(string(raw)); foreign != "" {
		t.Errorf("the style sheet loads something: %s", foreign)
	}
}
