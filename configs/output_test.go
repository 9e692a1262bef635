package configs

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"sallyport/identity"
	"sallyport/mapping"
)

// golden compares with a file, or writes it with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (go test ./configs -update rewrites it)\n%s", path, diff)
	}
}

func TestPrintShowsWhatIsInForceAndWhereItComesFrom(t *testing.T) {
	cfg, _ := parse(t, least+`
storage: {master_key: a literal key}
mapping:
  rules:
    - {provider: local, group: g, roles: [viewer]}
applications:
  web: {url: https://web.example.com, session: {idle: 5m}}
`, "SALLYPORT_SERVER_LISTEN=127.0.0.1:9000")
	var out bytes.Buffer
	if err := Print(&out, cfg); err != nil {
		t.Fatal(err)
	}
	golden(t, "print.golden", out.Bytes())
}

func TestWhatIsPrintedMeansTheSame(t *testing.T) {
	for _, sample := range []string{"example.yaml", "dev.yaml", "default.yaml"} {
		t.Run(sample, func(t *testing.T) {
			first, _, err := Load(sample, kinds(), sampleEnv())
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := Print(&out, first); err != nil {
				t.Fatal(err)
			}
			second, _, err := Parse("printed.yaml", out.Bytes(), first.Dir(), kinds(), sampleEnv())
			if err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			opts := cmp.Options{
				cmp.AllowUnexported(identity.Secret{}, Application{}, urlPlace{}), cmp.Comparer(sameNetworks),
				cmp.FilterPath(func(p cmp.Path) bool {
					last := p.Last().String()
					return p.String() != "" && slices.Contains([]string{".Where", ".name", ".dir", ".hash", ".origins", ".mapper", ".profiles"}, last)
				}, cmp.Ignore()),
				cmp.AllowUnexported(Config{}),
			}
			if diff := cmp.Diff(first, second, opts); diff != "" {
				t.Errorf("%s\n%s", diff, out.String())
			}
		})
	}
}

func sameNetworks(a, b Network) bool { return a.Prefix == b.Prefix }

func TestSchemaIsTheOneWeKnow(t *testing.T) {
	got, err := Schema(kinds())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "schema.golden.json", got)
}

// TestSamplesConformToTheSchema walks the samples along the schema: every key is known to it and of its type.
func TestSamplesConformToTheSchema(t *testing.T) {
	raw, err := Schema(kinds())
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	for _, sample := range []string{"example.yaml", "dev.yaml", "default.yaml"} {
		data, err := os.ReadFile(sample)
		if err != nil {
			t.Fatal(err)
		}
		if wrong := conform(schema, document(t, data), sample); len(wrong) > 0 {
			t.Error(wrong)
		}
	}
	for _, text := range []string{
		"sever: {}", "server: {issuer: []}", "applications: {a: {algorithm: none}}", "providers: {a: {type: kerberos}}",
		"providers: {a: {title: x}}", "mapping: {rules: {}}", "log: {level: loud}", "mapping: {rules: [{grup: x}]}",
	} {
		if wrong := conform(schema, document(t, []byte(text)), text); len(wrong) == 0 {
			t.Errorf("the schema allows %s", text)
		}
	}
}

func document(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// conform is as much of JSON Schema as our schemas use.
func conform(schema map[string]any, v any, path string) []string {
	if kinds, ok := schema["oneOf"].([]any); ok {
		fits := 0
		for _, k := range kinds {
			if len(conform(k.(map[string]any), v, path)) == 0 {
				fits++
			}
		}
		if fits != 1 {
			return []string{path + ": fits several or no shapes"}
		}
		return nil
	}
	if c, ok := schema["const"]; ok && c != v {
		return []string{path + ": is not the constant"}
	}
	if e, ok := schema["enum"].([]any); ok && !slices.Contains(e, v) {
		return []string{path + ": is none of the words"}
	}
	if !ofType(schema["type"], v) {
		return []string{path + ": is of another type"}
	}
	var wrong []string
	switch v := v.(type) {
	case map[string]any:
		wrong = conformBlock(schema, v, path)
	case []any:
		for _, item := range v {
			wrong = append(wrong, conform(schema["items"].(map[string]any), item, path+"[]")...)
		}
	}
	return wrong
}

func conformBlock(schema, v map[string]any, path string) (wrong []string) {
	properties, _ := schema["properties"].(map[string]any)
	entry, open := schema["additionalProperties"].(map[string]any)
	for key, value := range v {
		property, known := properties[key].(map[string]any)
		switch {
		case known:
			wrong = append(wrong, conform(property, value, path+"."+key)...)
		case open:
			wrong = append(wrong, conform(entry, value, path+"."+key)...)
		default:
			wrong = append(wrong, path+"."+key+": is unknown")
		}
	}
	required, _ := schema["required"].([]any)
	for _, key := range required {
		if _, there := v[key.(string)]; !there {
			wrong = append(wrong, path+"."+key.(string)+": is required")
		}
	}
	return wrong
}

func ofType(want, v any) bool {
	switch want := want.(type) {
	case nil:
		return true
	case []any:
		return slices.ContainsFunc(want, func(w any) bool { return ofType(w, v) })
	case string:
		switch v.(type) {
		case map[string]any:
			return want == "object"
		case []any:
			return want == "array"
		case string:
			return want == "string"
		case bool:
			return want == "boolean"
		case int:
			return want == "integer" || want == "number"
		case float64:
			return want == "number"
		case nil:
			return want == "null"
		}
	}
	return false
}

func TestEveryKeyHasADescriptionAndNoneIsStale(t *testing.T) {
	texts := descriptions()
	var keys []string
	var collect func(path string, typ reflect.Type)
	collect = func(path string, typ reflect.Type) {
		switch {
		case typ.Kind() == reflect.Pointer:
			collect(path, typ.Elem())
		case isBlock(typ):
			for _, f := range fieldsOf(typ) {
				keys = append(keys, join(path, f.key))
				collect(join(path, f.key), f.typ)
			}
		case typ.Kind() == reflect.Map, typ.Kind() == reflect.Slice:
			collect(join(path, "*"), typ.Elem())
		}
	}
	collect("", reflect.TypeFor[Config]())
	for _, key := range keys {
		if texts[key] == "" {
			t.Errorf("%s has no description", key)
		}
	}
	for key := range texts {
		if !slices.Contains(keys, key) {
			t.Errorf("%s is described but does not exist", key)
		}
	}
}

func TestDefaultProfileIsComplete(t *testing.T) {
	p, err := DefaultProfile()
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]Claim{
		"preferred_username": {From: "username", Shape: ShapeString}, "name": {From: "name", Shape: ShapeString},
		"email": {From: "email", Shape: ShapeString}, "roles": {From: "roles", Shape: ShapeList},
		"permissions": {From: "permissions", Shape: ShapeList},
	}
	if p.BasePath != "/api/auth" || p.Routes.SSOLogin != "/sso/login" || !cmp.Equal(p.Claims, claims) ||
		p.Cookie != (CookieSpelling{Value: "opaque", SameSite: "lax", RefreshBelow: 5 * time.Minute}) ||
		!slices.Equal(p.APIKey.Headers, []string{"Authorization", "X-API-Key"}) {
		t.Errorf("%+v", p)
	}
	again, err := ParseProfile("again", []byte(p.String()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, again); diff != "" {
		t.Error(diff)
	}
}

func TestProfilesSpellButNeverDecide(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"a missing word":       {"  login: /login\n", "", "p.yaml:3:1: routes.login: is required"},
		"an unknown word":      {"  login: /login\n", "  login: /login\n  logn: /x\n", `p.yaml:5:3: routes.logn: unknown key; did you mean "login"?`},
		"a core claim":         {"  name: name\n  email: email\n  roles: {", "  SUB: name\n  email: email\n  roles: {", "claims.SUB: sub is a core claim"},
		"a shape that cannot":  {"  email: email\n  roles: {", "  email: {from: email, shape: comma}\n  roles: {", "claims.email.shape: cannot be comma"},
		"an unknown shape":     {"shape: list}\n  permissions", "shape: set}\n  permissions", `claims.roles.shape: unknown value "set"`},
		"an unknown source":    {"  email: email\n  roles: {", "  email: mail\n  roles: {", `claims.email: unknown source "mail"; did you mean "email"?`},
		"a cookie of ours":     {`name: "" #`, "name: __host-sp-x #", "cookie.name: names that begin with __Host-sp- are those of cookies of our own"},
		"a header twice":       {"[Authorization, X-API-Key]", "[X-Key, x-key]", "api_key.headers[1]: x-key stands twice"},
		"a path that climbs":   {"base_path: /api/auth", "base_path: /api/../admin", "base_path: expected a plain path"},
		"a path of ours":       {"base_path: /api/auth", "base_path: /.sallyport/x", "base_path: expected a plain path"},
		"two routes, one path": {"  logout: /logout", "  logout: /login", `routes.logout: "/login" is that of login as well`},
		"keys in cookies":      {"[Authorization, X-API-Key]", "[cookie]", "api_key.headers[0]: cookie already has a meaning"},
		"keys nowhere":         {"[Authorization, X-API-Key]", "[]", "api_key.headers: expected at least one header"},
		"a header of two":      {"csrf_header: X-CSRF-Token", `csrf_header: "X-A: b"`, `csrf_header: "X-A: b" is not a header name`},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(string(defaultProfile), c.from, c.to, 1)
			if text == string(defaultProfile) {
				t.Fatal("the test changes nothing")
			}
			p, err := ParseProfile("p.yaml", []byte(text))
			if p != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestRulesAreThoseOfTheMapping(t *testing.T) {
	cfg, _ := parse(t, least+"mapping: {rules: [{provider: local, claim: a.b, equals: [1, x], deny: true}]}")
	want := []mapping.Rule{{Provider: "local", Claim: "a.b", Equals: []string{"1", "x"}, Deny: true, Where: "c.yaml:4"}}
	if diff := cmp.Diff(want, cfg.Mapping.Rules); diff != "" {
		t.Error(diff)
	}
}

func TestDurationsAreWrittenShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		15 * time.Minute: "15m", 2160 * time.Hour: "2160h", 90 * time.Second: "1m30s", 10 * time.Second: "10s", 0: "0s",
		time.Hour + time.Second: "1h0m1s", 100 * time.Minute: "1h40m",
	} {
		if got := short(d); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
}
