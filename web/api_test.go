package web_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/broker"
	"sallyport/providers"
)

// login asks the API for a token.
func (b *browser) login(username, password, application string) *page {
	b.t.Helper()
	fields := map[string]string{"username": username, "password": password}
	if application != "" {
		fields["application"] = application
	}
	body, err := json.Marshal(fields)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.json("/api/auth/login", string(body))
}

// json posts a body as a program does.
func (b *browser) json(address, body string) *page {
	b.t.Helper()
	r := b.request(http.MethodPost, address, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return b.do(r)
}

// with sends a request with a bearer credential.
func (b *browser) with(bearer, method, address, body string) *page {
	b.t.Helper()
	r := b.request(method, address, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	return b.do(r)
}

// token signs in at the API.
func (h *house) token(name, application string) string {
	h.t.Helper()
	p := h.program().login(name, password(name), application).want(200, "")
	token, _ := p.object()["access_token"].(string)
	return token
}

func (p *page) object() map[string]any {
	p.t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(p.body), &o); err != nil {
		p.t.Fatalf("no object: %v: %s", err, p.body)
	}
	return o
}

// steady replaces what differs from run to run.
func steady(body string) string {
	for _, r := range []struct{ find, put string }{
		{`"eyJ[A-Za-z0-9_.-]+"`, `"TOKEN"`},
		{`"sp_[a-z2-7]{26}_[a-z2-7]{59}"`, `"KEY"`},
		{`"sprt_[A-Za-z0-9_-]{43}"`, `"REFRESH"`},
		{`"(id|parent_id|key_id)":"[A-Za-z0-9_-]{22,26}"`, `"$1":"ID"`},
	} {
		body = regexp.MustCompile(r.find).ReplaceAllString(body, r.put)
	}
	return body
}

func TestAPIRepliesAreThoseOfTheGoldenFile(t *testing.T) {
	h := newHouse(t)
	var b strings.Builder
	tell := func(what string, p *page) *page {
		b.WriteString("== " + what + "\n")
		var indented any
		if p.body != "" {
			if err := json.Unmarshal([]byte(steady(p.body)), &indented); err != nil {
				t.Fatalf("%s: %v: %s", what, err, p.body)
			}
			if p.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s is %s", what, p.header.Get("Content-Type"))
			}
			raw, err := json.MarshalIndent(indented, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			b.Write(raw)
		}
		b.WriteString("\n")
		return p
	}
	c := h.program()
	in := tell("POST /api/auth/login", c.login("lena", password("lena"), "").want(200, ""))
	if len(in.header.Values("Set-Cookie")) > 0 {
		t.Error("the API's sign-in sets a cookie")
	}
	token, _ := in.object()["access_token"].(string)
	tell("GET /api/auth/me", c.with(token, "GET", "/api/auth/me", "").want(200, ""))
	tell("GET /api/auth/validate", c.with(token, "GET", "/api/auth/validate", "").want(200, ""))
	tell("GET /api/auth/permissions", c.with(token, "GET", "/api/auth/permissions?permission=hosts:delete", "").want(200, ""))
	made := tell("POST /api/auth/api-keys", c.with(token, "POST", "/api/auth/api-keys",
		`{"name":"nightly","roles":["viewer"],"expires_in":3600}`).want(201, ""))
	tell("GET /api/auth/api-keys", c.with(token, "GET", "/api/auth/api-keys", "").want(200, ""))
	key, _ := made.object()["key"].(string)
	tell("GET /api/auth/me with a key", c.with(key, "GET", "/api/auth/me", "").want(200, ""))
	tell("GET /api/auth/sessions", c.with(token, "GET", "/api/auth/sessions", "").want(200, ""))
	id, _ := made.object()["id"].(string)
	tell("DELETE /api/auth/api-keys/{id}", c.with(token, "DELETE", "/api/auth/api-keys/"+id, "").want(204, ""))
	c.with(key, "GET", "/api/auth/me", "").problem(401, "expired")
	tell("POST /api/auth/logout", c.with(token, "POST", "/api/auth/logout", "").want(204, ""))
	c.with(token, "GET", "/api/auth/me", "").problem(401, "expired")
	golden(t, "api.golden", b.String())
}

func TestBodiesAreReadStrictly(t *testing.T) {
	h := newHouse(t)
	for name, c := range map[string]struct {
		body, code string
		status     int
	}{
		"an unknown field":             {`{"username":"lena","password":"x","admin":true}`, "field_unknown", 400},
		"another spelling":             {`{"Username":"lena","password":"x"}`, "field_unknown", 400},
		"a doubled field":              {`{"username":"lena","username":"root","password":"x"}`, "field_doubled", 400},
		"a doubled field with null":    {`{"username":null,"username":"root","password":"x"}`, "field_doubled", 400},
		"a doubled field, escaped":     {`{"username":"lena","\u0075sername":"root"}`, "field_doubled", 400},
		"a number":                     {`{"username":1,"password":"x"}`, "field_invalid", 400},
		"a list":                       {`{"username":["lena"],"password":"x"}`, "field_invalid", 400},
		"an object":                    {`{"username":{"a":"b"},"password":"x"}`, "field_invalid", 400},
		"bytes after the object":       {`{"username":"lena","password":"x"} x`, "body_invalid", 400},
		"two objects":                  {`{"username":"lena"}{"password":"x"}`, "body_invalid", 400},
		"an open object":               {`{"username":"lena"`, "body_invalid", 400},
		"an array":                     {`[]`, "body_invalid", 400},
		"nothing":                      {``, "body_invalid", 400},
		"null":                         {`null`, "body_invalid", 400},
		"bytes that are no text":       {"{\"username\":\"\xff\",\"password\":\"x\"}", "body_invalid", 400},
		"more than 64 KiB":             {`{"username":"` + strings.Repeat("x", 64<<10) + `"}`, "too_large", 413},
		"deeply nested":                {`{"username":` + strings.Repeat("[", 30_000), "body_invalid", 400},
		"an unknown application":       {`{"username":"lena","password":"x","application":"nothing"}`, "application_unknown", 404},
		"an unknown provider":          {`{"username":"lena","password":"x","provider":"nothing"}`, "provider_unknown", 404},
		"a provider with its own page": {`{"username":"lena","password":"x","provider":"idp-a"}`, "provider_needs_browser", 400},
	} {
		t.Run(name, func(t *testing.T) {
			b := h.program()
			b.t = t
			b.json("/api/auth/login", c.body).problem(c.status, c.code)
		})
	}
	body := `{"username":"lena","password":"` + password("lena") + `"}`
	for _, kind := range []string{
		"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx",
		"application/json; charset",
	} {
		b := h.program()
		r := b.request(http.MethodPost, "/api/auth/login", strings.NewReader(body))
		if kind != "" {
			r.Header.Set("Content-Type", kind)
		}
		b.do(r).problem(415, "media_type")
	}
	b := h.program()
	r := b.request(http.MethodPost, "/api/auth/login", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	b.do(r).want(200, "")
}

func TestKeysAreMadeStrictly(t *testing.T) {
	h := newHouse(t)
	token := h.token("lena", "")
	for body, code := range map[string]string{
		`{"name":"x","roles":["admin"]}`:       "key_role_not_held",
		`{"name":"x","roles":"viewer"}`:        "field_invalid",
		`{"name":"x","roles":[1]}`:             "field_invalid",
		`{"name":"x","expires_in":"3600"}`:     "field_invalid",
		`{"name":"x","expires_in":0}`:          "lifetime_invalid",
		`{"name":"x","expires_in":-1}`:         "lifetime_invalid",
		`{"name":"x","expires_in":1.5}`:        "lifetime_invalid",
		`{"name":"x","expires_in":1e99}`:       "lifetime_invalid",
		`{"name":"x","expires_in":999999999}`:  "lifetime_invalid",
		`{"name":"x","application":"nothing"}`: "application_unknown",
		`{"name":""}`:                          "name_invalid",
		`{"name":"a\nb"}`:                      "name_invalid",
		`{"roles":["viewer"]}`:                 "name_invalid",
		`{"name":"x","secret":"mine"}`:         "field_unknown",
	} {
		p := h.program().with(token, "POST", "/api/auth/api-keys", body)
		if p.header.Get("X-Error") != code || p.status < 400 || p.status >= 500 {
			t.Errorf("%s: %d %s, want %s", body, p.status, p.header.Get("X-Error"), code)
		}
	}
	if n := h.counts()["api_keys"]; n != 0 {
		t.Errorf("%d keys were made", n)
	}
}

func TestACredentialOpensItsOwnApplicationOnly(t *testing.T) {
	h := newHouse(t)
	forTool, forUs := h.token("lena", "tool"), h.token("lena", "")
	c := h.program()
	c.with(forTool, "GET", "/api/auth/me?application=tool", "").want(200, "")
	c.with(forTool, "GET", "/api/auth/me", "").problem(401, "credential_invalid")
	c.with(forUs, "GET", "/api/auth/me?application=tool", "").problem(401, "credential_invalid")
	c.with(forTool, "GET", "/api/auth/sessions?application=tool", "").problem(401, "credential_invalid")
	c.with(forTool, "POST", "/api/auth/api-keys?application=tool", `{"name":"x"}`).problem(401, "credential_invalid")
	c.login("vera", password("vera"), "reports").problem(403, "no_role")
	forReports := h.token("lena", "reports")
	c.with(forReports, "GET", "/api/auth/validate?application=reports", "").want(200, "")
	if err := h.broker.SetGroups(t.Context(), h.visit(), "test", "lena", []string{"viewer"}); err != nil {
		t.Fatal(err)
	}
	c.with(forReports, "GET", "/api/auth/validate?application=reports", "").problem(403, "no_role")
}

func TestSignOutEndsTheTokenOrTheCookie(t *testing.T) {
	h := newHouse(t)
	token, other := h.token("lena", ""), h.token("lena", "")
	c := h.program()
	c.with(token, "POST", "/api/auth/logout", "").want(204, "")
	c.with(token, "GET", "/api/auth/me", "").problem(401, "expired")
	c.with(token, "POST", "/api/auth/logout", "").problem(401, "expired")
	c.with(other, "GET", "/api/auth/me", "").want(200, "")

	b := h.signedIn("lena")
	b.asProgram = true
	b.json("/api/auth/logout", "").problem(403, "csrf")
	token, _ = b.get("/api/auth/csrf").object()["csrf_token"].(string)
	r := b.request(http.MethodPost, "/api/auth/logout", nil)
	r.Header.Set("X-Csrf-Token", token)
	thief := b.copy()
	if line := b.do(r).want(204, "").setCookies()["__Host-sallyport"]; !strings.Contains(line, "Max-Age=0") {
		t.Errorf("the cookie stays: %q", line)
	}
	thief.get("/api/auth/me").problem(401, "expired")
}

func TestSessionsOfOthersAreNotThere(t *testing.T) {
	h := newHouse(t)
	lena, vera := h.token("lena", ""), h.token("vera", "")
	c := h.program()
	list, _ := c.with(lena, "GET", "/api/auth/sessions", "").want(200, "").object()["sessions"].([]any)
	if len(list) != 1 {
		t.Fatalf("%d sessions", len(list))
	}
	one, _ := list[0].(map[string]any)
	id, _ := one["id"].(string)
	c.with(vera, "DELETE", "/api/auth/sessions/"+id, "").problem(404, "not_found")
	c.with(lena, "GET", "/api/auth/me", "").want(200, "")
	key, _ := c.with(lena, "POST", "/api/auth/api-keys", `{"name":"x"}`).object()["id"].(string)
	c.with(vera, "DELETE", "/api/auth/api-keys/"+key, "").problem(404, "not_found")
	c.with(lena, "DELETE", "/api/auth/sessions/"+id, "").want(204, "")
	c.with(lena, "GET", "/api/auth/me", "").problem(401, "expired")
}

func TestSSOLoginSendsTheBrowserToTheRightDoor(t *testing.T) {
	h := build(t, plan{proxies: loopback(), noOne: true, doors: func(h *house) []providers.Provider {
		return []providers.Provider{
			&keeper{h: h, id: "local"}, &upstream{h: h, id: "idp-a", kind: "oidc"}, &upstream{h: h, id: "idp-b", kind: "oidc"},
			&upstream{h: h, id: "corp", kind: "saml"},
		}
	}})
	b := h.program()
	for query, want := range map[string]string{
		"":                                     "http://sso.localhost/login",
		"provider=idp-a":                       "http://sso.localhost/login?idp_hint=idp-a",
		"provider=saml":                        "http://sso.localhost/login?idp_hint=corp",
		"application=app":                      "http://app.localhost/.sallyport/login?to=http%3A%2F%2Fapp.localhost%2F",
		"application=app&provider=idp-b&to=/x": "http://app.localhost/.sallyport/login?idp_hint=idp-b&to=http%3A%2F%2Fapp.localhost%2Fx",
		"application=app&to=https://evil.example/": "http://app.localhost/.sallyport/login?to=http%3A%2F%2Fapp.localhost%2F",
		"application=tool":                         "http://sso.localhost/login",
	} {
		if p := b.get("/api/auth/sso/login?" + query); p.status != http.StatusSeeOther || p.header.Get("Location") != want {
			t.Errorf("%s: %d to %s", query, p.status, p.header.Get("Location"))
		}
	}
	b.get("/api/auth/sso/login?provider=oidc").problem(400, "provider_ambiguous")
	b.get("/api/auth/sso/login?provider=nothing").problem(404, "provider_unknown")
	b.get("/api/auth/sso/login?application=nothing").problem(404, "application_unknown")
	person := h.browser()
	p := person.get("/api/auth/sso/login?application=app&provider=idp-b&to=/x")
	for range 3 { // the application's host, the sign-in page, the page that leads on
		p = person.get(p.leads())
	}
	if !strings.Contains(p.leads(), "idp-b.idp.test") {
		t.Errorf("the browser ends at %s", p.leads())
	}
}

func TestSES03_IdleAndAbsoluteEndsAreTheServers(t *testing.T) {
	for name, c := range map[string]struct {
		step  time.Duration
		steps int
	}{"idle": {31 * time.Minute, 1}, "absolute": {29 * time.Minute, 17}} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			b := h.signedIn("lena")
			b.asProgram = true
			for i := range c.steps {
				h.clock.advance(c.step)
				h.poll()
				p := b.get("/api/auth/me")
				if last := i == c.steps-1; last {
					p.problem(401, "expired")
				} else {
					p.want(200, "")
				}
			}
		})
	}
}

// alike holds two answers together but for their trace id and time.
func alike(t *testing.T, what string, a, b *page) {
	t.Helper()
	clean := func(p *page) string { return strings.ReplaceAll(p.body, p.header.Get("X-Error-Id"), "TRACE") }
	if a.status != b.status {
		t.Errorf("%s: status %d and %d", what, a.status, b.status)
	}
	if diff := cmp.Diff(clean(a), clean(b)); diff != "" {
		t.Errorf("%s: bodies differ: %s", what, diff)
	}
	ha, hb := a.header.Clone(), b.header.Clone()
	for _, name := range []string{"X-Error-Id", "Date"} {
		ha.Del(name)
		hb.Del(name)
	}
	if diff := cmp.Diff(ha, hb); diff != "" {
		t.Errorf("%s: headers differ: %s", what, diff)
	}
}

func TestLOC03_TheAPIAnswersEveryWrongPasswordAlike(t *testing.T) {
	h := newHouse(t)
	h.add("dora", "viewer")
	if err := h.broker.SetDisabled(t.Context(), h.visit(), "test", "dora", true); err != nil {
		t.Fatal(err)
	}
	c := h.program()
	unknown := c.login("ghost", "whatever it is", "")
	unknown.problem(401, "bad_credentials")
	alike(t, "wrong", unknown, c.login("lena", "whatever it is", ""))
	alike(t, "disabled", unknown, c.login("dora", password("dora"), ""))
	alike(t, "disabled and wrong", unknown, c.login("dora", "whatever it is", ""))
	alike(t, "empty", unknown, c.login("lena", "", ""))
	alike(t, "no name", unknown, c.login("", "whatever it is", ""))
	alike(t, "absent", unknown, c.json("/api/auth/login", `{}`))
}

func TestLOC03_ThePageAnswersEveryWrongPasswordAlike(t *testing.T) {
	h := newHouse(t)
	for _, name := range []string{"dora", "same"} {
		h.add(name, "viewer")
	}
	if err := h.broker.SetDisabled(t.Context(), h.visit(), "test", "dora", true); err != nil {
		t.Fatal(err)
	}
	try := func(name, typed string) *page {
		b := h.browser()
		p := b.submit(b.visit("/login"), "/login", field("username", name))
		if p.url.Path != "/login/password" || p.status != 200 {
			t.Fatalf("the name %s leads to %d at %s", name, p.status, p.url)
		}
		form := p.form("/login/password", field("password", typed))
		p = b.post("/login/password", form).want(401, "bad_credentials")
		if len(p.header.Values("Set-Cookie")) != 0 || b.cookie() != "" {
			t.Errorf("%s: cookies %q", name, p.header.Values("Set-Cookie"))
		}
		p.body = strings.NewReplacer(form.Get("flow"), "FLOW", form.Get("csrf"), "CSRF", name, "NAME").Replace(p.body)
		p.header.Del("Content-Length")
		return p
	}
	unknown := try("ghost", "whatever it is")
	unknown.shows("That didn't work.")
	alike(t, "wrong", unknown, try("lena", "whatever it is"))
	alike(t, "disabled", unknown, try("dora", password("dora")))
	alike(t, "empty", unknown, try("lena", ""))
	alike(t, "a name that nobody could have", unknown, try("no body", "whatever it is"))
}

func TestTheIssuersTokensAreForUs(t *testing.T) {
	h := newHouse(t)
	for application, want := range map[string]string{"": issuer, broker.Self: issuer, "tool": "tool"} {
		claims := claimsOf(t, h.token("lena", application))
		if claims["aud"] != want || claims["iss"] != issuer {
			t.Errorf("%q: aud %v iss %v", application, claims["aud"], claims["iss"])
		}
	}
}
