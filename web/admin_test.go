package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport/audit"
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
