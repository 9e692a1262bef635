package web_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"sallyport/broker"
)

// asks puts a request before forward-auth, as nginx and as Caddy spell it.
func (h *house) asks(method, address string, headers ...string) map[string]*page {
	h.t.Helper()
	answers := map[string]*page{}
	u := mustURL(h.t, address)
	for name, spelled := range map[string][]string{
		"/authz/nginx":   {"X-Original-Url", address, "X-Original-Method", method},
		"/authz/forward": {"X-Forwarded-Proto", u.Scheme, "X-Forwarded-Host", u.Host, "X-Forwarded-Uri", u.RequestURI(), "X-Forwarded-Method", method},
	} {
		b := h.program()
		r := b.request(http.MethodGet, name, nil)
		spelled = append(spelled, headers...)
		for i := 0; i < len(spelled); i += 2 {
			if spelled[i+1] != "" {
				r.Header.Set(spelled[i], spelled[i+1])
			}
		}
		answers[name] = b.do(r)
	}
	return answers
}

func TestSES06_ForwardAuthCountsNoCookieOfAnotherSitesRequest(t *testing.T) {
	h := embedding(t)
	cookie := embedCookie + "=" + h.framed("olga").Token
	for name, c := range map[string]struct {
		method, site, origin string
		refused              bool
	}{
		"a page of its own":                 {"POST", "same-origin", "http://" + appHost, false},
		"a link from another site":          {"GET", "cross-site", "", false},
		"a form of another site":            {"POST", "cross-site", "https://evil.example", true},
		"a form of the embedder's own site": {"POST", "same-site", portalOrigin, true},
		"another origin alone":              {"DELETE", "", "https://evil.example", true},
		"no browser":                        {"POST", "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			for who, p := range h.asks(c.method, "http://"+appHost+"/x", "Cookie", cookie, "Sec-Fetch-Site", c.site, "Origin", c.origin) {
				if refused := p.header.Get("X-Error") == "csrf" && p.status == http.StatusForbidden; refused != c.refused {
					t.Errorf("%s answers %d %s", who, p.status, p.header.Get("X-Error"))
				}
			}
		})
	}
	t.Run("a WebSocket of another site", func(t *testing.T) {
		for who, p := range h.asks("GET", "http://"+appHost+"/x", "Cookie", cookie, "Sec-Websocket-Key", "a2V5", "Origin", "https://evil.example") {
			p.want(http.StatusForbidden, "csrf")
			_ = who
		}
	})
	t.Run("where nobody tells the method", func(t *testing.T) {
		b := h.program()
		r := b.request(http.MethodGet, "/authz/nginx", nil)
		r.Header.Set("X-Original-Url", "http://"+appHost+"/x")
		r.Header.Set("Cookie", cookie)
		b.do(r).want(http.StatusForbidden, "original_url_missing")
		in := h.browser()
		r = in.request(http.MethodGet, "http://"+appHost+"/.sallyport/login", nil)
		r.Header.Set("X-Original-Url", "http://"+appHost+"/x")
		r.Header.Set("Cookie", cookie)
		in.do(r).want(http.StatusForbidden, "original_url_invalid") // and no circle
	})
}

func TestEMB07_AFrameOfAnotherPageShowsNobodysDirectSession(t *testing.T) {
	h := embedding(t)
	own, framed := h.opened("lena", "http://"+appHost+"/", "app"), embedCookie+"="+h.framed("olga").Token
	for _, c := range []struct{ name, cookies, dest, site, who string }{
		{"opened by itself, both", own + "; " + framed, "document", "none", "lena"},
		{"opened by itself, only its own", own, "document", "none", "lena"},
		{"framed by another page, only its own", own, "iframe", "cross-site", ""},
		{"framed by a page of the same site, only its own", own, "iframe", "same-site", ""},
		{"a frame of its own page, only its own", own, "iframe", "same-origin", "lena"},
		{"framed, both", own + "; " + framed, "iframe", "cross-site", "olga@portal-jwt"},
		{"something on a page, both", own + "; " + framed, "empty", "same-origin", "olga@portal-jwt"},
		{"something on a page, only its own", own, "empty", "same-origin", "lena"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range h.asks("GET", "http://"+appHost+"/x", "Cookie", c.cookies, "Sec-Fetch-Dest", c.dest, "Sec-Fetch-Site", c.site) {
				if got := p.header.Get("X-Auth-User"); got != c.who {
					t.Errorf("it is %q, %d %s", got, p.status, p.header.Get("X-Error"))
				}
			}
		})
	}
}

// forgets reports whether a browser is told to forget the portal's cookie.
func forgets(header http.Header) bool {
	return slices.ContainsFunc((&http.Response{Header: header}).Cookies(), func(c *http.Cookie) bool {
		return c.Name == embedCookie && c.MaxAge < 0 && c.Partitioned
	})
}

func TestEMB07_OnlyADeadEmbeddersCookieThatWasTriedIsForgotten(t *testing.T) {
	h := embedding(t)
	now := *h.broker.Current()
	portal := now.Embedders
	h.configure(behind(t, newEcho(t).url()), func(s *broker.Snapshot, _ func(string) *broker.Application) { s.Embedders = portal })
	live, ended := h.framed("olga"), h.framed("pia")
	if err := h.broker.SignOut(t.Context(), h.visit(), ended.Principal); err != nil {
		t.Fatal(err)
	}
	own := "__Host-sallyport-app=dead"
	for _, c := range []struct {
		name, cookies, bearer, mode, dest, site string
		forgotten                               bool
	}{
		{"a page that is opened, dead", ended.Token, "", "navigate", "document", "cross-site", true},
		{"a frame, dead", ended.Token, "", "navigate", "iframe", "cross-site", true},
		{"something of its own page, dead", ended.Token, "", "cors", "empty", "same-origin", true},
		{"an image of another site, dead", ended.Token, "", "no-cors", "image", "cross-site", false},
		{"an image of the embedder's site, dead", ended.Token, "", "no-cors", "image", "same-site", false},
		{"an image of another site, alive", live.Token, "", "no-cors", "image", "cross-site", false},
		{"a page that is opened, alive", live.Token, "", "navigate", "document", "cross-site", false},
		{"something of its own page, alive", live.Token, "", "cors", "empty", "same-origin", false},
		{"a stale bearer beside it, alive", live.Token, "stale", "cors", "empty", "same-origin", false},
		{"a stale bearer beside it, opened, alive", live.Token, "stale", "navigate", "document", "none", false},
		{"a dead cookie of its own beside it, opened, alive", live.Token + "; " + own, "", "navigate", "document", "none", false},
		{"sent twice, alive", live.Token + "; " + embedCookie + "=" + ended.Token, "", "navigate", "document", "none", false},
	} {
		for what, address := range map[string]string{"at sign-in": "/.sallyport/login", "at the gateway": "/x"} {
			t.Run(c.name+" "+what, func(t *testing.T) {
				r := h.browser().request(http.MethodGet, "http://"+appHost+address, nil)
				r.RequestURI = address // as a server that read it
				r.Header.Set("Cookie", embedCookie+"="+c.cookies)
				r.Header.Set("Sec-Fetch-Mode", c.mode)
				r.Header.Set("Sec-Fetch-Dest", c.dest)
				r.Header.Set("Sec-Fetch-Site", c.site)
				if c.bearer != "" {
					r.Header.Set("Authorization", "Bearer "+c.bearer)
				}
				w := httptest.NewRecorder()
				h.handler.ServeHTTP(w, r)
				if got := forgets(w.Header()); got != c.forgotten {
					t.Errorf("forgotten: %v, %d %s", got, w.Code, w.Header().Get("X-Error"))
				}
			})
		}
	}
}

func TestEMB07_AnEmbeddersCookieOutlivesAStoreThatDoesNotAnswer(t *testing.T) {
	h := embedding(t)
	out := h.framed("olga")
	h.clock.advance(6 * time.Second) // longer than cached answers count
	h.store.broken.Store(true)
	r := h.browser().request(http.MethodGet, "http://"+appHost+"/.sallyport/login", nil)
	r.Header.Set("Cookie", embedCookie+"="+out.Token)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || forgets(w.Header()) {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}
