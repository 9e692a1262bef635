package embed_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/web/embed"
)

const base = embed.Base

// post hands a token over as a frame does.
func (h *house) post(fields map[string]any, alter ...func(*http.Request)) said {
	h.t.Helper()
	body, err := json.Marshal(fields)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.ask(http.MethodPost, h.at(appHost, base+"session"), string(body), alter...)
}

// good is a hand-over that works, of the embedder on the application's site.
func (h *house) good() map[string]any {
	return map[string]any{"jwt": h.token(nil), "origin": h.at(portalHost, "")}
}

func (h *house) session(cookies []*http.Cookie) said {
	h.t.Helper()
	return h.ask(http.MethodGet, h.at(appHost, base+"session"), "", withCookies(cookies))
}

func TestEMB06_TheFrameIsForTheOriginsOfItsEmbeddersAndNobodyElse(t *testing.T) {
	h := newHouse(t, nil)
	for _, path := range []string{"frame", "login", "frame?application=app&to=/x&embedder=portal"} {
		s := h.ask(http.MethodGet, h.at(appHost, base+path), "").ok(http.StatusOK)
		origins := []string{h.at(portalHost, ""), h.at(otherHost, "")}
		slices.Sort(origins)
		want := "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
			"base-uri 'none'; form-action 'none'; frame-ancestors " + strings.Join(origins, " ")
		if got := s.header.Get("Content-Security-Policy"); got != want {
			t.Errorf("%s: policy\n%s, want\n%s", path, got, want)
		}
		if _, there := s.header["X-Frame-Options"]; there {
			t.Errorf("%s: X-Frame-Options would keep every frame away", path)
		}
		if s.header.Get("Referrer-Policy") != "same-origin" || s.header.Get("Cache-Control") != "no-store" || len(s.cookie) > 0 {
			t.Errorf("%s: headers %v", path, s.header)
		}
		if strings.Contains(s.body, "<form") || strings.Contains(s.body, "<input") {
			t.Errorf("%s: a form in a frame: %s", path, s.body)
		}
	}
	for what, address := range map[string]string{
		"no embedder":                h.at("lonely.corp.test", base+"frame"),
		"an unknown application":     h.at(appHost, base+"frame?application=nobody"),
		"one of another host":        h.at(appHost, base+"frame?application=inside"),
		"two names":                  h.at(appHost, base+"frame?application=app&application=app"),
		"none named on a shared one": h.at("shared.corp.test", base+"frame"),
		"an unknown embedder":        h.at(appHost, base+"frame?embedder=nobody"),
		"an embedder of others":      h.at(appHost, base+"frame?embedder=inside"),
	} {
		t.Run(what, func(t *testing.T) {
			s := h.ask(http.MethodGet, address, "").ok(http.StatusNotFound)
			if !strings.Contains(s.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") || s.header.Get("X-Frame-Options") != "DENY" {
				t.Errorf("refusal may be framed: %v", s.header)
			}
		})
	}
}

// settings reads what the page's script goes by.
func (s said) settings() map[string]any {
	s.t.Helper()
	m := regexp.MustCompile(`(?s)<script type="application/json" id="sallyport-embed">(.*?)</script>`).FindStringSubmatch(s.body)
	if m == nil {
		s.t.Fatalf("no settings: %s", s.body)
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(m[1]), &out); err != nil {
		s.t.Fatal(err)
	}
	return out
}

func TestTheFrameGoesOnBelowItsApplicationOnly(t *testing.T) {
	h := newHouse(t, nil)
	front := h.at(appHost, "/")
	for to, want := range map[string]string{
		"":                                 front,
		"/hosts?q=1":                       h.at(appHost, "/hosts?q=1"),
		"//evil.example/":                  front,
		"https://evil.example/":            front,
		"javascript:alert(1)":              front,
		"/x\\..\\evil":                     front,
		"</script><script>alert(1)//":      front,
		"/</script><script>alert(1)":       h.at(appHost, "/%3C/script%3E%3Cscript%3Ealert%281%29"),
		h.at(appHost, "/deep"):             h.at(appHost, "/deep"),
		h.at("app.corp.test@evil.com", ""): front,
	} {
		s := h.ask(http.MethodGet, h.at(appHost, base+"frame?to="+url.QueryEscape(to)), "").ok(http.StatusOK)
		if got := s.settings()["to"]; got != want {
			t.Errorf("to %q leads to %v, want %s", to, got, want)
		}
		if strings.Count(s.body, "<script") != 2 {
			t.Errorf("to %q breaks the page: %s", to, s.body)
		}
	}
	shared := h.ask(http.MethodGet, h.at("shared.corp.test", base+"frame?application=two&to=/one/x"), "").settings()
	if shared["to"] != h.at("shared.corp.test", "/two/") {
		t.Errorf("leads to another application of the host: %v", shared["to"])
	}
}

func TestATokenBecomesASessionOfTheApplication(t *testing.T) {
	h := newHouse(t, nil)
	s := h.post(h.good()).ok(http.StatusOK)
	user, _ := s.fields["user"].(map[string]any)
	if user["name"] != "Ada Example" || user["sub"] == "" || len(user["roles"].([]any)) != 2 {
		t.Errorf("user is %v", user)
	}
	if s.fields["expires_in"] != 600.0 || s.fields["refresh_in"] != 300.0 || s.fields["absolute_in"].(float64) < 3590 {
		t.Errorf("times are %v", s.fields)
	}
	line := s.header.Get("Set-Cookie")
	if !regexp.MustCompile(`^__Host-sp-portal=[A-Za-z0-9_-]{43}; Path=/; HttpOnly; Secure; SameSite=Lax$`).MatchString(line) {
		t.Errorf("cookie is %s", line)
	}
	probe := h.session(s.cookie).ok(http.StatusOK)
	if probe.fields["user"].(map[string]any)["sub"] != user["sub"] || len(probe.cookie) > 0 {
		t.Errorf("probe says %s", probe.body)
	}
	h.session(nil).problem(http.StatusUnauthorized, "no_session")
	page := h.ask(http.MethodGet, h.at(appHost, "/x"), "", withCookies(s.cookie))
	if !strings.Contains(page.body, "welcome Ada Example") {
		t.Errorf("application says %s", page.body)
	}
}

func TestEMB07_EachRelationHasItsOwnCookie(t *testing.T) {
	h := newHouse(t, nil)
	for _, c := range []struct{ from, to, path, want string }{
		{otherHost, appHost, base, `^__Host-sp-elsewhere=[^;]+; Path=/; HttpOnly; Secure; SameSite=None; Partitioned$`},
		{portalHost, appHost, base, `^__Host-sp-portal=[^;]+; Path=/; HttpOnly; Secure; SameSite=Lax$`},
		{portalHost, portalHost, "/investigate" + base, `^__Secure-sp-inside=[^;]+; Path=/investigate/; HttpOnly; Secure; SameSite=Lax$`},
	} {
		body, _ := json.Marshal(map[string]any{"jwt": h.token(nil), "origin": h.at(c.from, "")})
		s := h.ask(http.MethodPost, h.at(c.to, c.path+"session"), string(body)).ok(http.StatusOK)
		if line := s.header.Get("Set-Cookie"); !regexp.MustCompile(c.want).MatchString(line) {
			t.Errorf("%s in %s: cookie is %s", c.to, c.from, line)
		}
	}
}

func TestEMB03_AnEmbeddersCapHoldsAtTheSurface(t *testing.T) {
	h := newHouse(t, nil)
	s := h.post(map[string]any{"jwt": h.token(nil), "origin": h.at(otherHost, "")}).ok(http.StatusOK)
	if roles := s.fields["user"].(map[string]any)["roles"].([]any); !slices.Equal(roles, []any{"viewer"}) {
		t.Errorf("roles are %v", roles)
	}
	h.claims["roles"] = []string{"nothing"}
	h.post(h.good()).problem(http.StatusForbidden, "no_role")
}

func TestSES06_OnlyTheFramesOwnPageOpensAndEnds(t *testing.T) {
	h := newHouse(t, nil)
	kept := h.post(h.good()).ok(http.StatusOK).cookie
	own := h.at(appHost, "")
	for what, c := range map[string]struct {
		site, origin string
		good         bool
	}{
		"its own page":                {"same-origin", own, true},
		"its own page without Origin": {"same-origin", "", true},
		"an old browser":              {"", own, true},
		"another site":                {"cross-site", h.at(evilHost, ""), false},
		"another host of the site":    {"same-site", h.at(portalHost, ""), false},
		"typed":                       {"none", "", false},
		"neither header":              {"", "", false},
		"an old browser elsewhere":    {"", h.at(evilHost, ""), false},
		"another scheme":              {"same-origin", "http" + strings.TrimPrefix(own, "https"), false},
		"a sandbox":                   {"", "null", false},
	} {
		t.Run(what, func(t *testing.T) {
			as := []func(*http.Request){header("Sec-Fetch-Site", c.site), header("Origin", c.origin)}
			opened := h.post(h.good(), as...)
			if c.good {
				opened.ok(http.StatusOK)
				return
			}
			opened.problem(http.StatusForbidden, "csrf")
			h.ask(http.MethodPost, h.at(appHost, base+"logout"), "", append(as, withCookies(kept))...).problem(http.StatusForbidden, "csrf")
		})
	}
	h.session(kept).ok(http.StatusOK)
}

func TestEveryHandOverThatIsNotRightIsRefused(t *testing.T) {
	h := newHouse(t, nil)
	replayed := h.good()
	h.post(replayed).ok(http.StatusOK)
	with := func(name string, value any) map[string]any {
		f := maps.Clone(h.good())
		if f[name] = value; value == nil {
			delete(f, name)
		}
		return f
	}
	claims := func(c map[string]any) map[string]any { return with("jwt", h.token(c)) }
	now := time.Now().Unix()
	unsigned := sign(`{"alg":"none"}`, map[string]any{"sub": "u-1"})
	for what, c := range map[string]struct {
		fields map[string]any
		status int
		code   string
	}{
		"used before":               {replayed, http.StatusUnauthorized, "jwt_replayed"},
		"no origin":                 {with("origin", nil), http.StatusBadRequest, "field_invalid"},
		"an origin on no list":      {with("origin", h.at(evilHost, "")), http.StatusForbidden, "origin_not_allowed"},
		"an origin with a slash":    {with("origin", h.at(portalHost, "/")), http.StatusForbidden, "origin_not_allowed"},
		"another embedder's origin": {with("embedder", "elsewhere"), http.StatusForbidden, "origin_not_allowed"},
		"the null origin":           {with("origin", "null"), http.StatusForbidden, "origin_not_allowed"},
		"an unknown embedder":       {with("embedder", "nobody"), http.StatusNotFound, "embedder_unknown"},
		"no token":                  {with("jwt", nil), http.StatusBadRequest, "field_invalid"},
		"a token that is no text":   {with("jwt", 7), http.StatusBadRequest, "field_invalid"},
		"an unknown field":          {with("challenge", "x"), http.StatusBadRequest, "field_unknown"},
		"a verifier that is a list": {with("verifier", []string{"x"}), http.StatusBadRequest, "field_invalid"},
		"no token at all":           {with("jwt", "rubbish"), http.StatusUnauthorized, "jwt_malformed"},
		"an unsigned token":         {with("jwt", unsigned), http.StatusUnauthorized, "jwt_alg"},
		"another key":               {with("jwt", h.token(nil)[:len(h.token(nil))-8]+"AAAAAAAA"), http.StatusUnauthorized, "jwt_signature"},
		"expired":                   {claims(map[string]any{"iat": now - 400, "exp": now - 300}), http.StatusUnauthorized, "jwt_expired"},
		"not yet":                   {claims(map[string]any{"iat": now + 200, "exp": now + 260}), http.StatusUnauthorized, "jwt_not_yet"},
		"too long":                  {claims(map[string]any{"exp": now + 900}), http.StatusUnauthorized, "jwt_ttl"},
		"for somebody else":         {claims(map[string]any{"aud": "https://other.example"}), http.StatusUnauthorized, "jwt_claim"},
		"about nobody":              {claims(map[string]any{"sub": nil}), http.StatusUnauthorized, "jwt_claim"},
		"for another frame":         {claims(map[string]any{"nonce": "another"}), http.StatusUnauthorized, "jwt_claim"},
		"for another application":   {claims(map[string]any{"application": "one"}), http.StatusUnauthorized, "jwt_claim"},
	} {
		t.Run(what, func(t *testing.T) { h.post(c.fields).problem(c.status, c.code) })
	}
	good, _ := json.Marshal(h.good())
	for what, c := range map[string]struct {
		body   string
		alter  func(*http.Request)
		status int
		code   string
	}{
		"no JSON":          {"jwt=x", header("", ""), http.StatusBadRequest, "body_invalid"},
		"a list":           {"[]", header("", ""), http.StatusBadRequest, "body_invalid"},
		"doubled":          {`{"jwt":"a","jwt":"b","origin":"c"}`, header("", ""), http.StatusBadRequest, "body_invalid"},
		"bytes after it":   {string(good) + "{}", header("", ""), http.StatusBadRequest, "body_invalid"},
		"too long":         {`{"jwt":"` + strings.Repeat("a", 64<<10) + `"}`, header("", ""), http.StatusRequestEntityTooLarge, "too_large"},
		"a form":           {string(good), header("Content-Type", "text/plain"), http.StatusUnsupportedMediaType, "media_type"},
		"no type":          {string(good), header("Content-Type", ""), http.StatusUnsupportedMediaType, "media_type"},
		"a token in a URL": {"{}", func(r *http.Request) { r.URL.RawQuery = "jwt=" + h.token(nil) }, http.StatusBadRequest, "field_invalid"},
	} {
		t.Run(what, func(t *testing.T) {
			h.ask(http.MethodPost, h.at(appHost, base+"session"), c.body, c.alter).problem(c.status, c.code)
		})
	}
}

func TestEMB04_ATokenIsOfUseToTheFrameItWasMadeForAlone(t *testing.T) {
	h := newHouse(t, nil)
	bound := map[string]any{"nonce": broker.Challenge("the frame's secret"), "application": "app"}
	with := func(verifier string) map[string]any {
		f := map[string]any{"jwt": h.token(bound), "origin": h.at(portalHost, "")}
		if verifier != "" {
			f["verifier"] = verifier
		}
		return f
	}
	for what, verifier := range map[string]string{
		"without a verifier": "", "with the challenge, which everybody may know": broker.Challenge("the frame's secret"), "of another frame": "x",
	} {
		t.Run(what, func(t *testing.T) { h.post(with(verifier)).problem(http.StatusUnauthorized, "jwt_claim") })
	}
	stolen, _ := json.Marshal(with("the frame's secret"))
	for _, app := range []string{"one", "two"} { // of the same embedder
		h.ask(http.MethodPost, h.at("shared.corp.test", base+"session?application="+app), string(stolen)).
			problem(http.StatusUnauthorized, "jwt_claim")
	}
	h.ask(http.MethodPost, h.at(appHost, base+"session"), string(stolen)).ok(http.StatusOK)
}

func TestDOS03_RefusedTokensOfANetworkAreLimited(t *testing.T) {
	h := newHouse(t, nil)
	bad := map[string]any{"jwt": "rubbish", "origin": h.at(portalHost, "")}
	for range 30 {
		h.post(bad).problem(http.StatusUnauthorized, "jwt_malformed")
	}
	for _, fields := range []map[string]any{bad, h.good()} {
		s := h.post(fields).problem(http.StatusTooManyRequests, "rate_limited")
		if s.header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After is %q", s.header.Get("Retry-After"))
		}
	}
	h.post(map[string]any{"jwt": h.token(nil), "origin": h.at(otherHost, "")}).ok(http.StatusOK) // another embedder's
}

func TestWhereTwoEmbeddersShareAnOriginOneIsNamed(t *testing.T) {
	h := newHouse(t, func(all map[string]*broker.Embedder) { all["elsewhere"].Origins = all["portal"].Origins })
	h.post(h.good()).problem(http.StatusBadRequest, "embedder_unknown")
	for _, id := range []string{"portal", "elsewhere"} {
		f := h.good()
		f["embedder"] = id
		if s := h.post(f).ok(http.StatusOK); s.cookie[0].Name != "__Host-sp-"+id {
			t.Errorf("cookie is %s", s.cookie[0].Name)
		}
	}
}

func TestANewHandOverReplacesTheSession(t *testing.T) {
	h := newHouse(t, nil)
	first := h.post(h.good()).ok(http.StatusOK).cookie
	second := h.post(h.good(), withCookies(first)).ok(http.StatusOK).cookie
	h.session(first).problem(http.StatusUnauthorized, "no_session")
	h.session(second).ok(http.StatusOK)
}

func TestSigningOutEndsThatSessionAndForgetsThatCookieAlone(t *testing.T) {
	h := newHouse(t, nil)
	one, two := h.post(h.good()).ok(http.StatusOK).cookie, h.post(h.good()).ok(http.StatusOK).cookie
	also := &http.Cookie{Name: "__Host-sallyport-app", Value: "x"}
	s := h.ask(http.MethodPost, h.at(appHost, base+"logout"), "", withCookies(append(one, also))).ok(http.StatusNoContent)
	if len(s.cookie) != 1 || s.cookie[0].Name != "__Host-sp-portal" || s.cookie[0].MaxAge >= 0 || s.header.Get("Clear-Site-Data") != "" {
		t.Errorf("answer: %v", s.header)
	}
	h.session(one).problem(http.StatusUnauthorized, "no_session")
	h.session(two).ok(http.StatusOK)
	again := h.ask(http.MethodPost, h.at(appHost, base+"logout"), "", withCookies(one)).ok(http.StatusNoContent)
	if len(again.cookie) != 1 {
		t.Errorf("a stale cookie stays: %v", again.header)
	}
	h.ask(http.MethodPost, h.at(appHost, base+"logout"), "").ok(http.StatusNoContent)
}

func TestEMB07_AnEmbedderThatLeavesTakesItsSessionsAlong(t *testing.T) {
	h := newHouse(t, nil)
	kept := h.post(h.good()).ok(http.StatusOK).cookie
	h.load(2, func(all map[string]*broker.Embedder) { delete(all, "portal") })
	h.session(kept).problem(http.StatusUnauthorized, "no_session")
	h.post(h.good()).problem(http.StatusForbidden, "origin_not_allowed")
}

func TestEMB08_NoTokenAndNoCookieInAnyLogLine(t *testing.T) {
	h := newHouse(t, nil)
	cookies := h.post(h.good()).ok(http.StatusOK).cookie
	bad := h.good()
	h.post(bad).ok(http.StatusOK)
	h.post(bad).problem(http.StatusUnauthorized, "jwt_replayed")
	h.post(map[string]any{"jwt": h.token(map[string]any{"aud": "x"}), "origin": h.at(portalHost, "")}).problem(http.StatusUnauthorized, "jwt_claim")
	h.post(map[string]any{"jwt": h.token(nil), "origin": h.at(evilHost, "")}).problem(http.StatusForbidden, "origin_not_allowed")
	h.ask(http.MethodGet, h.at(appHost, base+"session?jwt="+h.token(nil)), "").problem(http.StatusUnauthorized, "no_session")
	log := h.log.String()
	if !strings.Contains(log, "jwt_replayed") {
		t.Fatalf("the refusals are not in the log: %s", log)
	}
	for _, secret := range append(h.minted, cookies[0].Value) {
		signature := secret[strings.LastIndexByte(secret, '.')+1:]
		if strings.Contains(log, secret) || strings.Contains(log, signature) {
			t.Errorf("the log holds %s", secret)
		}
	}
}

func TestOnlyATrustedDeveloperLearnsMoreThanACode(t *testing.T) {
	h := newHouse(t, func(all map[string]*broker.Embedder) { all["elsewhere"].Debug = true })
	for host, want := range map[string]bool{portalHost: false, otherHost: true} {
		s := h.post(map[string]any{"jwt": h.token(map[string]any{"aud": "https://x.example"}), "origin": h.at(host, "")}).
			problem(http.StatusUnauthorized, "jwt_claim")
		why, err := url.PathUnescape(s.header.Get("X-Error-Debug"))
		if err != nil || strings.Contains(why, "aud") != want || strings.Contains(why, "x.example") {
			t.Errorf("%s learns %q, %v", host, why, err)
		}
	}
}

func TestEMB08_WhatADeveloperLearnsHoldsNothingOfTheToken(t *testing.T) {
	h := newHouse(t, func(all map[string]*broker.Embedder) { all["portal"].Debug = true })
	plain := regexp.MustCompile(`^[A-Za-z0-9%$&+:=@._~-]+$`)
	const canary = "CANARY\r\nX-Evil: é"
	for what, raw := range map[string]string{
		"no token":           canary + "." + canary + "." + canary,
		"an algorithm":       sign(`{"alg":"CANARY\r\nX-Evil: é"}`, nil),
		"a key id":           sign(`{"alg":"HS256","kid":"CANARY\r\nX-Evil: é"}`, nil),
		"a type":             sign(`{"alg":"HS256","typ":"CANARY\r\nX-Evil: é"}`, nil),
		"an issuer":          h.token(map[string]any{"iss": canary}),
		"a subject":          h.token(map[string]any{"sub": canary}),
		"a nonce":            h.token(map[string]any{"nonce": canary}),
		"another's nonce":    h.token(map[string]any{"nonce": "CANARY"}),
		"an application":     h.token(map[string]any{"application": "CANARY"}),
		"roles that are one": h.token(map[string]any{"roles": map[string]any{canary: canary}}),
		"groups of no role":  h.token(map[string]any{"roles": []string{canary}}),
	} {
		t.Run(what, func(t *testing.T) {
			s := h.post(map[string]any{"jwt": raw, "origin": h.at(portalHost, "")})
			why := s.header.Get("X-Error-Debug")
			if s.status < http.StatusBadRequest || !plain.MatchString(why) || strings.Contains(why, "CANARY") || s.header.Get("X-Evil") != "" {
				t.Errorf("%d, learns %q", s.status, why)
			}
		})
	}
}

func TestScriptsAreKeptForEverUnderTheirHash(t *testing.T) {
	h := newHouse(t, nil)
	frame := h.ask(http.MethodGet, h.at(appHost, base+"frame"), "").body
	child := regexp.MustCompile(`src="([0-9a-f]{16}/child\.js)"`).FindStringSubmatch(frame)
	if child == nil {
		t.Fatalf("the page loads no script: %s", frame)
	}
	for address, c := range map[string]struct{ cache, cors string }{
		h.at(appHost, base+child[1]):                          {"public, max-age=31536000, immutable", ""},
		h.at(appHost, base+"child.js"):                        {"no-cache", ""},
		h.at(appHost, base+"0000000000000000/child.js"):       {"no-cache", ""},
		h.at(appHost, base+"parent.js"):                       {"no-cache", "*"},
		h.at(ssoHost, "/embed/v1/parent.js"):                  {"no-cache", "*"},
		h.at(ssoHost, "/embed/v1/parent.umd.js"):              {"no-cache", "*"},
		h.at(ssoHost, embed.ParentPath()):                     {"public, max-age=31536000, immutable", "*"},
		h.at(ssoHost, "/embed/v1/0000000000000000/parent.js"): {"no-cache", "*"},
	} {
		s := h.ask(http.MethodGet, address, "").ok(http.StatusOK)
		if s.header.Get("Cache-Control") != c.cache || s.header.Get("Access-Control-Allow-Origin") != c.cors ||
			s.header.Get("Content-Type") != "text/javascript; charset=utf-8" || s.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", address, s.header)
		}
		h.ask(http.MethodGet, address, "", header("If-None-Match", s.header.Get("ETag"))).ok(http.StatusNotModified)
	}
	h.ask(http.MethodGet, h.at(ssoHost, "/embed/v1/rubbish/parent.js"), "").ok(http.StatusNotFound)
	if umd := h.ask(http.MethodGet, h.at(ssoHost, "/embed/v1/parent.umd.js"), "").body; strings.Contains(umd, "export ") ||
		!strings.HasPrefix(umd, "globalThis.SallyportEmbed =") {
		t.Errorf("not for pages without modules: %s", umd)
	}
}

func TestScriptsWeighLittle(t *testing.T) {
	for name, most := range map[string]int{"child.js": 5000, "parent.js": 4000} {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(body)
		_ = w.Close()
		if b.Len() > most {
			t.Errorf("%s weighs %d bytes compressed, more than %d", name, b.Len(), most)
		}
	}
}

func TestEMB05_NoScriptSpeaksToAnyOriginOrKeepsAnything(t *testing.T) {
	for _, name := range []string{"child.js", "parent.js"} {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source := string(raw)
		if !strings.Contains(source, "postMessage(") {
			t.Errorf("%s speaks to nobody", name)
		}
		for _, never := range []string{`"*"`, `'*'`, "`*`", "localStorage", "sessionStorage", "indexedDB", "document.cookie", "eval(", "innerHTML", "new Function"} {
			if strings.Contains(source, never) {
				t.Errorf("%s has %s", name, never)
			}
		}
	}
}

// anyOrigin finds a message that whoever is there may read.
var anyOrigin = regexp.MustCompile("postMessage\\([^;]*[\"'`]\\*[\"'`]")

func TestEMB05_NothingInTheHouseSpeaksToAnyOrigin(t *testing.T) {
	if !anyOrigin.MatchString("w.postMessage({\n a: 1 }, '*');") || anyOrigin.MatchString(`w.postMessage(m, o); x = "*"`) {
		t.Fatal("the rule does not see what it is for")
	}
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "build" || d.Name() == ".git"):
			return fs.SkipDir
		case !slices.Contains([]string{".js", ".mjs", ".html", ".md"}, filepath.Ext(path)):
			return nil
		}
		raw, err := os.ReadFile(path)
		if err == nil && anyOrigin.Match(raw) {
			t.Errorf("%s: postMessage to any origin", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
