package web_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/mapping"
	"sallyport/web/admin"
)

// adminRoutes lists every route of the surface, with ids that nothing has.
func adminRoutes(h *house) (out []struct{ method, path string }) {
	h.t.Helper()
	for _, at := range walk(h) {
		if strings.Contains(at.path, "/api/admin/") {
			path := strings.NewReplacer("{username}", "nobody").Replace(at.path)
			out = append(out, struct{ method, path string }{at.method, path})
		}
	}
	if len(out) < 10 {
		h.t.Fatalf("%d routes", len(out))
	}
	return out
}

func TestADM01_EachRouteOfTheAdministrationWantsItsPermission(t *testing.T) {
	h := newHouse(t)
	h.add("ida", "admin") // "*:*" is not the broker's administration
	h.addAdministrator("chief")
	root := h.token("chief", "")
	browser := h.signedIn("chief")
	key := h.apiKey(browser, "sallyport")
	for _, c := range []struct {
		name, code string
		status     int
		ask        func(method, path string) *page
	}{
		{"nobody", "unauthenticated", 401, func(method, path string) *page {
			return h.program().do(h.program().request(method, path, nil))
		}},
		{"an application's administrator", "permission_missing", 403, func(method, path string) *page {
			return h.program().with(h.token("ida", ""), method, path, "")
		}},
		{"a token of another application", "credential_invalid", 401, func(method, path string) *page {
			return h.program().with(h.token("chief", "tool"), method, path, "")
		}},
		{"an administrator's API key", "key_cannot", 403, func(method, path string) *page {
			return h.program().with(key, method, path, "")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, at := range adminRoutes(h) {
				if p := c.ask(at.method, at.path); p.status != c.status || p.header.Get("X-Error") != c.code {
					t.Errorf("%s %s: %d %s, want %d %s", at.method, at.path, p.status, p.header.Get("X-Error"), c.status, c.code)
				}
			}
		})
	}
	t.Run("a cookie from another site", func(t *testing.T) {
		for _, at := range adminRoutes(h) {
			if at.method == http.MethodGet {
				continue
			}
			r := browser.request(at.method, at.path, nil)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Origin", "https://elsewhere.example")
			if p := browser.do(r); p.status != 403 || p.header.Get("X-Error") != "csrf" {
				t.Errorf("%s %s: %d %s", at.method, at.path, p.status, p.header.Get("X-Error"))
			}
		}
	})
	t.Run("who administers gets through", func(t *testing.T) {
		for _, at := range adminRoutes(h) {
			if strings.HasSuffix(at.path, "/api/admin/access") {
				continue // it would end everything
			}
			p := h.program().with(root, at.method, at.path, "")
			if p.status == 401 || p.status == 403 || p.status >= 500 {
				t.Errorf("%s %s: %d %s", at.method, at.path, p.status, p.header.Get("X-Error"))
			}
		}
	})
}

// helpers adds people who hold some of the broker's permissions each: named after what they hold.
func helpers(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	h.configure(func(s *broker.Snapshot, _ func(string) *broker.Application) {
		roles := []mapping.Role{
			{Name: "admin", Permissions: []string{"*:*"}},
			{Name: "operator"},
			{Name: "viewer"},
			{Name: "sessions", Permissions: []string{admin.EndSessions}},
			{Name: "keys", Permissions: []string{admin.WriteKeys}},
			{Name: "reads", Permissions: []string{admin.ReadSessions, admin.ReadKeys}},
			{Name: "keeper", Permissions: []string{broker.Administer}},
		}
		var rules []mapping.Rule
		for _, r := range roles {
			rules = append(rules, mapping.Rule{Provider: "*", Group: r.Name, Roles: []string{r.Name}})
		}
		var err error
		if s.Mapper, err = mapping.Compile(roles, nil, rules); err != nil {
			t.Fatal(err)
		}
	})
	h.add("sven", "sessions")
	h.add("kira", "keys")
	h.add("rhea", "reads")
	h.add("both", "sessions", "keys")
	h.add("keep", "keeper")
	return h
}

func TestADM01_EachRouteWantsAllOfItsPermissions(t *testing.T) {
	h := helpers(t)
	everybody := []string{"sven", "kira", "rhea", "both", "keep"}
	tokens := map[string]string{}
	for _, name := range everybody {
		tokens[name] = h.token(name, "")
	}
	for _, c := range []struct {
		route string
		let   []string
	}{
		{"GET /sessions", []string{"rhea", "keep"}},
		{"DELETE /sessions/none", []string{"sven", "both", "keep"}},
		{"DELETE /tokens/none?session=none", []string{"sven", "both", "keep"}},
		{"DELETE /tokens/none", []string{"keep"}}, // whose it is nobody knows
		{"GET /api-keys", []string{"rhea", "keep"}},
		{"DELETE /api-keys/none", []string{"kira", "both", "keep"}},
		{"POST /api-keys/none/activate", []string{"kira", "both", "keep"}},
		{"DELETE /people/nobody/access", []string{"both", "keep"}}, // ends keys too
		{"DELETE /applications/none/access", []string{"keep"}},
		{"DELETE /providers/none/access", []string{"keep"}},
		{"DELETE /access", []string{"keep"}},
	} {
		method, path, _ := strings.Cut(c.route, " ")
		for _, name := range everybody {
			p := h.program().with(tokens[name], method, "/api/admin"+path, "")
			if let := slices.Contains(c.let, name); !let {
				p.problem(403, "permission_missing")
			} else if p.status == 401 || p.status == 403 || p.status >= 500 {
				t.Errorf("%s by %s: %d %s", c.route, name, p.status, p.header.Get("X-Error"))
			}
		}
	}
}

func TestADM03_AHelperEndsNothingOfAnAdministrators(t *testing.T) {
	h := helpers(t)
	chief := h.token("root", "")
	helper := h.token("both", "")
	sessionOf := func(token string) string {
		t.Helper()
		me := h.program().with(token, "GET", "/api/auth/me", "").want(200, "").object()
		id, _ := me["session"].(map[string]any)["id"].(string)
		return id
	}
	for name, c := range map[string]struct{ status int }{
		"root": {403}, // by a manual grant
		"keep": {403}, // by a rule
		"vera": {204},
	} {
		t.Run(name, func(t *testing.T) {
			token := h.token(name, "")
			key := func() string {
				t.Helper()
				made := h.program().with(token, "POST", "/api/auth/api-keys", `{"name":"k"}`).want(201, "").object()
				id, _ := made["id"].(string)
				return id
			}
			session, revoked := sessionOf(token), key()
			for _, at := range []string{
				"DELETE /tokens/some?session=" + session, "DELETE /api-keys/" + revoked, "DELETE /sessions/" + session,
			} {
				method, path, _ := strings.Cut(at, " ")
				p := h.program().with(helper, method, "/api/admin"+path, "")
				if p.status != c.status || c.status == 403 && p.header.Get("X-Error") != "permission_missing" {
					t.Errorf("%s: %d %s", at, p.status, p.header.Get("X-Error"))
				}
			}
			if c.status == 204 {
				h.poll()
				token = h.token(name, "")
			}
			if p := h.program().with(helper, "POST", "/api/admin/api-keys/"+key()+"/activate", ""); c.status == 403 {
				p.problem(403, "permission_missing")
			} else {
				p.problem(409, "key_not_suspended")
			}
			if p := h.program().with(helper, "DELETE", "/api/admin/people/"+name+"/access", ""); p.status != c.status {
				t.Errorf("everything: %d", p.status)
			}
			h.poll()
			if lives := h.program().with(token, "GET", "/api/auth/me", "").status == 200; lives != (c.status == 403) {
				t.Errorf("the session lives: %t", lives)
			}
			if c.status == 403 { // who administers ends those of another who does
				h.program().with(chief, "DELETE", "/api/admin/api-keys/"+revoked, "").want(204, "")
			}
		})
	}
}

func TestSES04_AnAdministratorEndsAnything(t *testing.T) {
	h := newHouse(t)
	h.addAdministrator("chief")
	opens := func(token, application string) int {
		h.t.Helper()
		return h.program().with(token, "GET", "/api/auth/validate?application="+application, "").status
	}
	for _, c := range []struct {
		name string
		// path for lena's session id, and who dies of it: lena's token at app, lena's at tool, root's at app.
		path                 func(session string) string
		app, tool, rootAtApp int
	}{
		{"one session", func(s string) string { return "/sessions/" + s }, 401, 200, 200},
		{"everything of a person", func(string) string { return "/people/lena/access" }, 401, 401, 200},
		{"everything at an application", func(string) string { return "/applications/app/access" }, 401, 200, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			app, tool, others := h.token("lena", "app"), h.token("lena", "tool"), h.token("chief", "app")
			root := h.token("chief", "")
			me := h.program().with(app, "GET", "/api/auth/me?application=app", "").want(200, "").object()
			session, _ := me["session"].(map[string]any)["id"].(string)
			h.program().with(root, "DELETE", "/api/admin"+c.path(session), "").want(204, "")
			h.poll()
			for name, got := range map[string][2]int{
				"lena at app": {opens(app, "app"), c.app}, "lena at tool": {opens(tool, "tool"), c.tool},
				"chief at app": {opens(others, "app"), c.rootAtApp},
			} {
				if got[0] != got[1] {
					t.Errorf("%s: %d, want %d", name, got[0], got[1])
				}
			}
			h.clock.advance(time.Second) // who signs in afterwards is in
			if status := opens(h.token("lena", "app"), "app"); status != 200 {
				t.Errorf("a new sign-in: %d", status)
			}
		})
	}
	t.Run("everything by a provider, and everything there is", func(t *testing.T) {
		for _, path := range []string{"/providers/local/access", "/access"} {
			h.clock.advance(time.Second)
			app, root := h.token("lena", "app"), h.token("chief", "")
			h.program().with(root, "DELETE", "/api/admin"+path, "").want(204, "")
			h.poll()
			if opens(app, "app") != 401 || opens(root, "sallyport") != 401 {
				t.Errorf("%s: something lives", path)
			}
		}
		h.clock.advance(time.Second)
		h.token("chief", "")
	})
	t.Run("what is not there is said so", func(t *testing.T) {
		root := h.token("chief", "")
		for _, path := range []string{
			"/sessions/nothing", "/people/nobody/access", "/applications/nothing/access", "/providers/nothing/access",
			"/api-keys/nothing",
		} {
			if p := h.program().with(root, "DELETE", "/api/admin"+path, ""); p.status != 404 {
				t.Errorf("%s: %d", path, p.status)
			}
		}
		for _, query := range []string{"limit=0", "limit=x", "limit=100000"} {
			h.program().with(root, "GET", "/api/admin/sessions?"+query, "").problem(400, "field_invalid")
		}
	})
}

func TestKEY02_AnAdministratorSeesAndEndsKeys(t *testing.T) {
	h := newHouse(t)
	h.addAdministrator("chief")
	lena := h.signedIn("lena")
	key := h.apiKey(lena, "app")
	root := h.token("chief", "")
	list := func(query url.Values) []any {
		t.Helper()
		keys, _ := h.program().with(root, "GET", "/api/admin/api-keys?"+query.Encode(), "").want(200, "").object()["api_keys"].([]any)
		return keys
	}
	if n := len(list(url.Values{"application": {"tool"}})); n != 0 {
		t.Errorf("%d keys at another application", n)
	}
	all := list(url.Values{"application": {"app"}})
	if len(all) != 1 {
		t.Fatalf("keys are %v", all)
	}
	shown, _ := all[0].(map[string]any)
	if shown["username"] != "lena" || shown["state"] != "active" || strings.Contains(h.program().with(root, "GET", "/api/admin/api-keys", "").body, key) {
		t.Errorf("the key is %v", shown)
	}
	id, _ := shown["id"].(string)
	h.program().with(root, "POST", "/api/admin/api-keys/"+id+"/activate", "").problem(409, "key_not_suspended")
	h.program().with(root, "DELETE", "/api/admin/api-keys/"+id, "").want(204, "")
	h.program().with(key, "GET", "/api/auth/me?application=app", "").problem(401, "expired")
	if n := len(h.column(h.open(), "SELECT id FROM audit_events WHERE type = '"+string(audit.KeyRevoked)+"'")); n != 1 {
		t.Errorf("%d events", n)
	}
}
