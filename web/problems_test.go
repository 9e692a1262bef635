package web_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/web/static"
	"sallyport/web/templates"
)

var snake = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)

// problem reads a problem body and holds it against its headers.
func (p *page) problem(status int, code string) map[string]any {
	p.t.Helper()
	p.want(status, code)
	if got := p.header.Get("Content-Type"); got != "application/problem+json" {
		p.t.Fatalf("content type %q", got)
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(p.body), &body); err != nil {
		p.t.Fatalf("problem body: %v: %s", err, p.body)
	}
	trace := p.header.Get("X-Error-Id")
	want := map[string]any{
		"type": "urn:sallyport:problem:" + code, "title": body["title"], "status": float64(status), "code": code,
		"detail": body["detail"], "trace_id": trace,
	}
	if diff := cmp.Diff(want, body); diff != "" {
		p.t.Fatalf("problem body (-want +got): %s", diff)
	}
	title, _ := body["title"].(string)
	detail, _ := body["detail"].(string)
	if title == "" || detail == "" || !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(trace) || !snake.MatchString(code) {
		p.t.Fatalf("problem body is not whole: %s", p.body)
	}
	return body
}

func TestErrorsAreToldTheSameWayEverywhere(t *testing.T) {
	h := newHouse(t)
	large := strings.Repeat("x", 70_000)
	const jsonType, formType = "application/json", "application/x-www-form-urlencoded"
	for _, c := range []struct {
		name, method, address, contentType, body string
		status                                   int
		code, allow                              string
	}{
		{"no such page", "GET", "/nothing", "", "", 404, "not_found", ""},
		{"no such API route", "GET", "/api/auth/nothing", "", "", 404, "not_found", ""},
		{"a path that the mux would clean", "GET", "//login", "", "", 404, "not_found", ""},
		{"dot segments", "GET", "/x/../login", "", "", 404, "not_found", ""},
		{"a tree without its slash", "GET", "/static", "", "", 404, "not_found", ""},
		{"no such file", "GET", "/static/00000000/nothing.css", "", "", 404, "not_found", ""},
		{"no such file on an application's host", "GET", "http://app.localhost/.sallyport/static/x", "", "", 404, "not_found", ""},
		{"an issuer's page on an application's host", "GET", "http://app.localhost/.sallyport/me", "", "", 404, "not_found", ""},
		{"not this way", "PUT", "/login", "", "", 405, "method_not_allowed", "GET, HEAD, POST"},
		{"not this way at the API", "GET", "/api/auth/login", "", "", 405, "method_not_allowed", "POST"},
		{"a preflight", "OPTIONS", "/api/auth/me", "", "", 405, "method_not_allowed", "GET, HEAD"},
		{"HEAD of what is used up", "HEAD", "/login/next", "", "", 405, "method_not_allowed", "GET"},
		{"HEAD of a callback", "HEAD", "/callback/idp-a?state=x&code=y", "", "", 405, "method_not_allowed", "GET"},
		{"HEAD of a hand-over", "HEAD", "http://app.localhost/.sallyport/callback", "", "", 405, "method_not_allowed", "GET"},
		{"a body too large", "POST", "/api/auth/login", jsonType, `{"username":"` + large + `"}`, 413, "too_large", ""},
		{"a form too large", "POST", "/login", formType, "username=" + large, 413, "too_large", ""},
		{"another host", "GET", "http://elsewhere.localhost/login", "", "", 421, "unknown_host", ""},
		{"the right host with another port", "GET", "http://sso.localhost:81/login", "", "", 421, "unknown_host", ""},
		{"the wrong kind of content", "POST", "/api/auth/login", "text/plain", "{}", 415, "media_type", ""},
		{"nobody signed in", "GET", "/api/auth/me", "", "", 401, "unauthenticated", ""},
		{"an unknown application", "GET", "/api/auth/me?application=nothing", "", "", 404, "application_unknown", ""},
		{"an unknown provider", "GET", "/login/continue/nothing", "", "", 404, "provider_unknown", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, accept := range []string{"application/json", "text/html"} {
				b := h.browser()
				b.t = t
				r := b.request(c.method, c.address, strings.NewReader(c.body))
				r.Header.Set("Accept", accept)
				if c.contentType != "" {
					r.Header.Set("Content-Type", c.contentType)
				}
				p := b.do(r).want(c.status, c.code)
				if p.header.Get("Allow") != c.allow {
					t.Errorf("Allow %q, want %q", p.header.Get("Allow"), c.allow)
				}
				switch {
				case c.method == http.MethodHead:
					if p.body != "" {
						t.Errorf("HEAD has a body: %q", p.body)
					}
				case accept == "text/html" && !strings.Contains(c.address, "/api/"):
					if p.header.Get("Content-Type") != "text/html; charset=utf-8" {
						t.Errorf("a navigation gets %q", p.header.Get("Content-Type"))
					}
					p.shows(p.header.Get("X-Error-Id"), c.code)
				default:
					p.problem(c.status, c.code)
				}
				if c.status == http.StatusUnauthorized && p.header.Get("Www-Authenticate") == "" {
					t.Error("401 does not say what would be accepted")
				}
				if len(p.header.Values("Set-Cookie")) > 0 {
					t.Error("a refusal sets a cookie")
				}
			}
		})
	}
}

func TestDOS01_ALargeHeaderOrBodyOfAnyRouteIsRefused(t *testing.T) {
	h := newHouse(t)
	large := strings.Repeat("a", 65<<10)
	for _, at := range walk(h) {
		if at.method != http.MethodPost {
			continue
		}
		for _, kind := range []string{"application/x-www-form-urlencoded", "application/json"} {
			b := h.signedIn("lena")
			r := b.request(at.method, "http://"+at.host+at.path, strings.NewReader(`{"name":"`+large+`"}`))
			r.Header.Set("Content-Type", kind)
			before := h.counts()
			p := b.do(r)
			if p.status < 200 || p.status >= 500 {
				t.Errorf("%s with a large %s body: %d", at.route, kind, p.status)
			}
			api, frame := strings.HasPrefix(at.path, "/api/"), strings.HasPrefix(at.path, "/.sallyport/embed/")
			switch {
			case strings.HasSuffix(at.path, "/acs"): // takes more, see TestSML06
			case strings.HasSuffix(at.path, "/embed/v1/logout"), frame && kind != "application/json", !api && !frame && kind == "application/json":
				p.want(http.StatusUnsupportedMediaType, "media_type")
			case !api && p.status != http.StatusRequestEntityTooLarge:
				t.Errorf("%s with a large %s body: %d", at.route, kind, p.status)
			}
			if at.path != "/api/auth/logout" {
				if diff := cmp.Diff(before, h.counts()); diff != "" {
					t.Errorf("%s with a large body changed the store: %s", at.route, diff)
				}
			}
		}
	}
}

func TestErrorPagesLeadBackAndRepeatNoCode(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.get("/callback/idp-a?code=alice&state=stolen-state&iss=idp-a").want(401, "flow_unknown").shows("Back to sign-in")
	p := b.get("/callback/idp-a?code=the-code&state=stolen-state&iss=idp-a")
	if strings.Contains(p.body, "the-code") || strings.Contains(p.body, "stolen-state") {
		t.Error("the error page repeats the code or the state")
	}
	p = b.get("http://app.localhost/.sallyport/callback?code=the-code&state=x").want(401, "flow_unknown")
	if !strings.Contains(p.body, `href="http://app.localhost/"`) || strings.Contains(p.body, "the-code") {
		t.Errorf("error page of the application's host: %s", p.body)
	}
}

func TestSetupAndUsernameMistakesCarryTheErrorHeaders(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	form := b.visit("/login").form("/login", url.Values{"username": {"  "}})
	p := b.post("/login", form).want(http.StatusUnprocessableEntity, "username_invalid")
	if p.header.Get("X-Error-Id") == "" {
		t.Error("no x-error-id")
	}
	form.Set("username", "a\nb")
	b.post("/login", form).want(http.StatusUnprocessableEntity, "username_invalid")
	form.Set("username", "\xff")
	b.post("/login", form).want(http.StatusBadRequest, "bad_request")
}

// codesOf collects the codes given to errors in the sources of a folder: literals that reach a parameter called code.
func codesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := token.NewFileSet()
	var parsed []*ast.File
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "templates" {
			return fs.SkipDir // sentences for codes, no codes
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(files, path, nil, 0)
		parsed = append(parsed, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	takers := map[string]int{"WithCode": 0}
	for _, f := range parsed {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				if i := codeParameter(fn); i >= 0 {
					takers[fn.Name.Name] = i
				}
			}
		}
	}
	found := map[string]string{}
	for _, f := range parsed {
		ast.Inspect(f, func(n ast.Node) bool {
			for _, code := range codesAt(n, takers) {
				found[code] = files.Position(n.Pos()).String()
			}
			return true
		})
	}
	return found
}

func codeParameter(fn *ast.FuncDecl) int {
	i := 0
	for _, field := range fn.Type.Params.List {
		for _, name := range field.Names {
			if kind, ok := field.Type.(*ast.Ident); ok && name.Name == "code" && kind.Name == "string" {
				return i
			}
			i++
		}
	}
	return -1
}

// codesAt finds codes in calls, and in rows of the table from error to answer.
func codesAt(n ast.Node, takers map[string]int) []string {
	switch n := n.(type) {
	case *ast.CallExpr:
		name := ""
		switch fn := n.Fun.(type) {
		case *ast.Ident:
			name = fn.Name
		case *ast.SelectorExpr:
			name = fn.Sel.Name
		}
		if i, ok := takers[name]; ok && i < len(n.Args) {
			return literal(n.Args[i])
		}
	case *ast.ValueSpec:
		if len(n.Values) == 1 && strings.HasPrefix(n.Names[0].Name, "code") {
			return literal(n.Values[0])
		}
	case *ast.CompositeLit:
		if len(n.Elts) == 4 {
			if s, ok := n.Elts[3].(*ast.SelectorExpr); ok && strings.HasPrefix(s.Sel.Name, "Level") {
				return literal(n.Elts[2])
			}
		}
	}
	return nil
}

func literal(e ast.Expr) []string {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return nil
	}
	s, err := strconv.Unquote(l.Value)
	if err != nil || !snake.MatchString(s) {
		return nil
	}
	return []string{s}
}

func TestEveryCodeThatCanLeaveHasSentences(t *testing.T) {
	r, err := templates.New(templates.Options{Static: static.URL})
	if err != nil {
		t.Fatal(err)
	}
	known := r.Codes()
	all := map[string]string{}
	for _, dir := range []string{"../identity", "../broker", "../providers", "../storage", "../tokens", "."} {
		maps.Copy(all, codesOf(t, dir))
	}
	for _, must := range []string{"client_gone", "no_role", "bad_credentials", "csrf", "claim_invalid", "field_unknown"} {
		if all[must] == "" {
			t.Fatalf("the search for codes does not find %s any more: %v", must, slices.Sorted(maps.Keys(all)))
		}
	}
	var missing []error
	for _, code := range slices.Sorted(maps.Keys(all)) {
		if !slices.Contains(known, code) {
			missing = append(missing, fmt.Errorf("%s: %s has no sentences", all[code], code))
		}
	}
	if err := errors.Join(missing...); err != nil {
		t.Error(err)
	}
}
