package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"sallyport/broker"
	"sallyport/providers"
)

// framedHouse has an embedder that frames one application of the shared host, below the path of its own page.
func framedHouse(t *testing.T) *house {
	h := newHouse(t)
	set, err := providers.NewSet(&keeper{h: h, id: "local"})
	if err != nil {
		t.Fatal(err)
	}
	s := snapshot(t, issuer, set)
	s.Embedders = []*broker.Embedder{{
		ID: "portal", Relation: broker.Proxied, Origins: []string{"http://" + sharedHost}, Applications: []string{"one", "two", "app"},
		Provider: "portal-jwt", Mount: "/one",
	}}
	if _, err := h.broker.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h.poll()
	return h
}

func TestEMB06_AFrameThatNobodyIsSignedInToSignsInThroughThePageAround(t *testing.T) {
	h := framedHouse(t)
	for name, c := range map[string]struct{ at, dest, to string }{
		"in a frame":                                    {"http://" + appHost, "iframe", "/.sallyport/embed/v1/frame?application=app&to=http%3A%2F%2Fapp.localhost%2Fx%3Fy%3D1"},
		"in a frame below another page's path":          {"http://" + sharedHost, "iframe", "/one/.sallyport/embed/v1/frame?application=one&to=http%3A%2F%2Fshared.localhost%2Fone%2Fx"},
		"opened by itself":                              {"http://" + appHost, "document", ""},
		"in a frame of an application without embedder": {"http://" + reportsHost, "iframe", ""},
	} {
		t.Run(name, func(t *testing.T) {
			to := "/x?y=1"
			if c.at == "http://"+sharedHost {
				to = "/one/x"
			}
			b := h.browser()
			r := b.request(http.MethodGet, c.at+"/.sallyport/login?to="+to, nil)
			r.Header.Set("Sec-Fetch-Dest", c.dest)
			p := b.do(r)
			location := p.header.Get("Location")
			if c.to != "" && location != c.to || c.to == "" && (p.status != http.StatusSeeOther || len(b.flows(mustURL(t, c.at).Host)) != 1) {
				t.Errorf("%d to %q", p.status, location)
			}
		})
	}
}

func TestOurPathsAnswerBelowAnApplicationsOwnPathToo(t *testing.T) {
	h := framedHouse(t)
	for path, want := range map[string]int{
		"/one/.sallyport/embed/v1/frame": http.StatusOK, "/one/.sallyport/embed/v1/session": http.StatusUnauthorized,
		"/one/x/.sallyport/embed/v1/frame": http.StatusNotFound, "/three/.sallyport/embed/v1/frame": http.StatusNotFound,
		"/one/.sallyport/embed/v1/frame?application=one": http.StatusOK, "/one/.sallyport/embed/v1/frame?application=app": http.StatusNotFound,
		"/one/.sallyport/embed/v1/frame?application=two": http.StatusNotFound, "/.sallyport/embed/v1/frame?application=one": http.StatusOK,
		"/one/.sallyport/embed/v1/frame?application=one&application=one": http.StatusNotFound,
		"/one/.sallyport": http.StatusNotFound, "/one/%2esallyport/embed/v1/frame": http.StatusNotFound,
	} {
		w := httptest.NewRecorder() // the house's own handler: the front of the tests answers for the applications
		h.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+sharedHost+path, nil))
		if w.Code != want {
			t.Errorf("%s is %d, want %d", path, w.Code, want)
		}
	}
}
