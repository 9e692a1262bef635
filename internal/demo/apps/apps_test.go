package apps

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func says(word string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, word) })
}

func TestTheFrontPicksByHostAndPath(t *testing.T) {
	f := NewFront("http://sso.localhost:1", "127.0.0.1:1", says("broker"),
		Application{ID: "app", Title: "App", Host: "app.localhost:8080"})
	t.Cleanup(f.Close)
	f.Handle("portal.localhost/", says("portal"))
	f.Handle("GET sso.localhost/{$}", says("guide"))
	for name, tc := range map[string]struct {
		method, target, want string
		status               int
	}{
		"the portal":                          {"GET", "http://portal.localhost:8080/", "portal", 200},
		"anything of the portal":              {"POST", "http://portal.localhost:8080/token", "portal", 200},
		"the broker's paths are no portal's":  {"GET", "http://portal.localhost:8080/.sallyport/login", "portal", 200},
		"the guide":                           {"GET", "http://sso.localhost:8080/", "guide", 200},
		"a post to where the guide is":        {"POST", "http://sso.localhost:8080/", "broker", 200},
		"the rest of the issuer":              {"GET", "http://sso.localhost:8080/login", "broker", 200},
		"an unknown host":                     {"GET", "http://evil.example/", "broker", 200},
		"the broker below an application":     {"GET", "http://app.localhost:8080/.sallyport/login", "broker", 200},
		"an application while nobody answers": {"GET", "http://app.localhost:8080/", "the broker does not answer\n", 503},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			f.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tc.method, tc.target, nil))
			if w.Code != tc.status || w.Body.String() != tc.want {
				t.Errorf("%d %q", w.Code, w.Body.String())
			}
		})
	}
}
