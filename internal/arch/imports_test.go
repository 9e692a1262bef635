package arch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// row says what the packages that match who may import of ours. The first row that matches counts. In a pattern, /*
// stands for the folders right below and /** for all below; ./** for all below the importing package itself.
type row struct {
	who string
	may []string
	why string
}

// The words everybody below the broker shares, and what web hangs its surfaces on.
var (
	words   = []string{"identity", "tokens/jws"}
	floor   = []string{"identity", "providers", "mapping", "tokens", "tokens/jws", "audit"}
	surface = []string{"identity", "tokens", "tokens/jws", "audit", "broker", "broker/people", "broker/sessions"}
	leaves  = []string{"web/wire", "web/templates", "web/static"}
	filled  = []string{"identity", "audit", "tokens", "broker", "broker/people", "broker/sessions", "storage"}
)

// table is who may import whom. Tests may import everything: they wire their own small houses.
var table = []row{
	{"cmd/**", []string{"**"}, "only cmd knows everybody"},
	{"identity", nil, "the shared words stand on the standard library alone"},
	{"tokens/jws", nil, "the strict reader is a leaf that doors use too"},
	{"providers", words, "what kinds have in common knows no kind"},
	{"providers/**", append([]string{"providers", "./**"}, words...), "a kind sees its parent, never a sibling"},
	{"mapping", append([]string{"./**"}, words...), "mapping is pure: no provider, no store, no broker"},
	{"tokens", append([]string{"./**"}, words...), "applications import tokens to verify; it drags nothing along"},
	{"tokens/**", words, "as tokens"},
	{"audit", words, "events are told by everybody and know nobody"},
	{"broker", append([]string{"./**"}, floor...), "the broker decides and sees neither surface nor store"},
	{"broker/**", floor, "the floors below the broker never see each other"},
	{"web", append([]string{"./**"}, surface...), "web mounts its surfaces; it sees no provider and no store"},
	{"web/static", nil, "files are a leaf"},
	{"web/templates", append([]string{"web/static"}, surface...), "what surfaces share sees none of them"},
	{"web/wire", slices.Concat([]string{"web/static", "web/templates"}, surface), "what surfaces share sees none of them"},
	{"web/**", slices.Concat([]string{"./**"}, leaves, surface), "surfaces never see each other"},
	{"storage", filled, "what adapters share sees no adapter"},
	{"storage/sqlstore", append([]string{"./**", "storage/migrations"}, filled...), "the SQL that adapters share sees no adapter"},
	{"storage/migrations", words, "the schema is a leaf"},
	{"storage/**", slices.Concat([]string{"storage/sqlstore", "storage/migrations", "./**"}, filled), "adapters fill interfaces, never see each other"},
	{"configs", []string{"identity", "mapping"}, "configuration is data; cmd gives it the kinds"},
	{"internal/mail", nil, "a leaf that knows one server and no sentence"},
	{"internal/demo/**", []string{"internal/demo/**", "tokens/jws"}, "the demo's servers are somebody else's, as upstream is"},
	{"internal/**", nil, "test help and these rules need nothing of ours"},
	{"examples", nil, "their tests see them from outside"},
	{"examples/**", append([]string{"tokens"}, words...), "an example imports what an application may"},
}

// outsiders are modules that stay behind one of our packages. Tests, and what helps them, are free.
var outsiders = []row{
	{"github.com/jimlambrt/gldap", []string{"internal/demo/directory"}, "a directory server is for the demo and tests"},
	{"github.com/golang-jwt/jwt", []string{"tokens", "tokens/**", "providers/jwt"}, "one package signs and reads tokens"},
	{"github.com/go-jose/go-jose", []string{"tokens", "tokens/**", "providers/jwt"}, "one package holds keys"},
	{"github.com/coreos/go-oidc", []string{"providers/oidc", "internal/demo/apps", "examples/verify-go"}, "one protocol, one door; a demo application verifies as any would"},
	{"golang.org/x/oauth2", []string{"providers/oidc"}, "one protocol, one door"},
	{"github.com/go-ldap/ldap", []string{"providers/ldap", "mapping", "internal/demo/directory"}, "one protocol, one door; mapping compares DNs"},
	{"github.com/wneessen/go-mail", []string{"internal/mail"}, "one package speaks SMTP"},
	{"github.com/gorilla/", []string{"web", "web/**"}, "cookies are HTTP"},
	{"modernc.org/sqlite", []string{"storage/sqlite"}, "one adapter, one engine"},
	{"github.com/jackc/pgx", []string{"storage/postgres"}, "one adapter, one engine"},
	{"github.com/pressly/goose", []string{"storage/**"}, "migrations belong to stores"},
	{"github.com/alecthomas/kong", []string{"cmd/**"}, "the command line is cmd's"},
	{"github.com/chromedp/", nil, "a browser is for tests"},
	{"github.com/rogpeppe/go-internal", nil, "stories are for tests"},
	{"math/rand", []string{"storage/sqlstore"}, "what is drawn here decides who gets in: crypto/rand only; a retry's jitter decides nothing"},
	{"net/http/pprof", nil, "it mounts itself on the default mux"},
	{"expvar", nil, "it mounts itself on the default mux"},
	{"C", nil, "one static binary"},
}

// banned are modules that not even a test may use.
var banned = map[string]string{
	"github.com/stretchr/testify":    "the standard library and go-cmp do",
	"github.com/mattn/go-sqlite3":    "one static binary",
	"github.com/crewjam/saml/samlsp": "it decides what a session is",
	"github.com/spf13/viper":         "configuration is strict",
	"github.com/lestrrat-go/jwx":     "one token library",
	"github.com/dgrijalva/jwt-go":    "one token library",
	"gopkg.in/square/go-jose":        "one token library",
	"github.com/ory/fosite":          "its store reads, then writes",
	"github.com/gorilla/csrf":        "net/http.CrossOriginProtection does it",
	"github.com/goccy/go-yaml":       "it reads 012 as ten",
	"gopkg.in/yaml.v2":               "one YAML library",
	"gopkg.in/yaml.v3":               "one YAML library",
}

// matches reports whether a package fits a pattern; from is the importing package, for "./**".
func matches(pattern, pkg, from string) bool {
	if below, ok := strings.CutPrefix(pattern, "./"); ok {
		pattern = from + "/" + below
	}
	if pattern == "**" {
		return true
	}
	if parent, ok := strings.CutSuffix(pattern, "/**"); ok {
		return strings.HasPrefix(pkg, parent+"/")
	}
	if parent, ok := strings.CutSuffix(pattern, "/*"); ok {
		rest, below := strings.CutPrefix(pkg, parent+"/")
		return below && !strings.Contains(rest, "/")
	}
	return pattern == pkg
}

func anyMatch(patterns []string, pkg, from string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg, from) })
}

// testHelp reports whether a package exists for tests only.
func testHelp(pkg string) bool {
	return strings.HasSuffix(pkg, "test") || pkg == "internal/testenv" || strings.HasPrefix(pkg, "internal/testenv/")
}

// importViolations holds the sources against the tables.
func importViolations(sources []source) []string {
	var found []string
	for _, s := range sources {
		for _, imported := range slices.Sorted(maps.Keys(s.imports())) {
			at := s.at(s.imports()[imported])
			if why := outside(s, imported); why != "" {
				found = append(found, at+": "+why)
			}
			ours, ok := strings.CutPrefix(imported, module+"/")
			if !ok || s.test {
				continue
			}
			if why := inside(s.dir, ours); why != "" {
				found = append(found, at+": "+why)
			}
		}
	}
	return found
}

// inside judges an import of ours.
func inside(from, imported string) string {
	if testHelp(imported) && !testHelp(from) {
		return fmt.Sprintf("%s must not import %s: that is help for tests", from, imported)
	}
	for _, r := range table {
		if !matches(r.who, from, from) {
			continue
		}
		if anyMatch(r.may, imported, from) {
			return ""
		}
		return fmt.Sprintf("%s must not import %s: %s", from, imported, r.why)
	}
	return fmt.Sprintf("%s is in no row of the table, so it may import nothing of ours, not even %s", from, imported)
}

// outside judges an import of somebody else's.
func outside(s source, imported string) string {
	for prefix, why := range banned {
		if imported == prefix || strings.HasPrefix(imported, prefix+"/") {
			return fmt.Sprintf("nobody may import %s: %s", imported, why)
		}
	}
	if s.test || testHelp(s.dir) {
		return ""
	}
	for _, r := range outsiders {
		if strings.HasPrefix(imported, r.who) && (r.who != "C" || imported == "C") && !anyMatch(r.may, s.dir, s.dir) {
			return fmt.Sprintf("%s must not import %s: %s", s.dir, imported, r.why)
		}
	}
	return ""
}

func TestImports_FollowTheTable(t *testing.T) {
	report(t, importViolations(parse(t, root())))
}

func TestImports_EveryFolderHasARow(t *testing.T) {
	for _, s := range parse(t, root()) {
		known := slices.ContainsFunc(table, func(r row) bool { return matches(r.who, s.dir, s.dir) })
		if !known {
			t.Errorf("%s: the package %s is in no row of the table", s.name, s.dir)
		}
	}
}

func TestImports_ViolationsAreFound(t *testing.T) {
	for name, tc := range map[string]struct{ file, imports, want string }{
		"identity imports anything of ours":    {"identity/x.go", "sallyport/audit", "identity must not import audit"},
		"jws imports its parent":               {"tokens/jws/x.go", "sallyport/tokens", "is a leaf"},
		"a kind imports its sibling":           {"providers/ldap/x.go", "sallyport/providers/oidc", "never a sibling"},
		"a kind imports its parent":            {"providers/ldap/x.go", "sallyport/providers", ""},
		"the parent imports a kind":            {"providers/x.go", "sallyport/providers/ldap", "knows no kind"},
		"a kind imports the broker":            {"providers/ldap/x.go", "sallyport/broker", "never a sibling"},
		"a kind imports its own part":          {"providers/saml/x.go", "sallyport/providers/saml/xmlsig", ""},
		"mapping imports a provider":           {"mapping/x.go", "sallyport/providers", "mapping is pure"},
		"tokens imports the broker":            {"tokens/x.go", "sallyport/broker", "drags nothing along"},
		"people see sessions":                  {"broker/people/x.go", "sallyport/broker/sessions", "never see each other"},
		"sessions see people":                  {"broker/sessions/x.go", "sallyport/broker/people", "never see each other"},
		"the broker sees both":                 {"broker/x.go", "sallyport/broker/people", ""},
		"the broker sees a kind":               {"broker/x.go", "sallyport/providers/ldap", "neither surface nor store"},
		"the broker sees web":                  {"broker/x.go", "sallyport/web", "neither surface nor store"},
		"the broker sees a store":              {"broker/x.go", "sallyport/storage/sqlite", "neither surface nor store"},
		"a surface sees a surface":             {"web/pages/x.go", "sallyport/web/api", "never see each other"},
		"a surface sees a leaf":                {"web/pages/x.go", "sallyport/web/templates", ""},
		"templates see wire":                   {"web/templates/x.go", "sallyport/web/wire", "sees none of them"},
		"a leaf sees a surface":                {"web/wire/x.go", "sallyport/web/pages", "sees none of them"},
		"web sees its surfaces":                {"web/x.go", "sallyport/web/pages", ""},
		"a surface sees a provider":            {"web/api/x.go", "sallyport/providers", "never see each other"},
		"web sees a store":                     {"web/x.go", "sallyport/storage/sqlite", "no store"},
		"an adapter sees an adapter":           {"storage/sqlite/x.go", "sallyport/storage/memory", "never see each other"},
		"an adapter sees the shared SQL":       {"storage/sqlite/x.go", "sallyport/storage/sqlstore", ""},
		"an adapter sees mapping":              {"storage/sqlite/x.go", "sallyport/mapping", "fill interfaces"},
		"configs see a provider":               {"configs/x.go", "sallyport/providers", "configuration is data"},
		"the demo sees us":                     {"internal/demo/idp/x.go", "sallyport/tokens", "as upstream is"},
		"the demo sees the demo":               {"internal/demo/idp/x.go", "sallyport/internal/demo/people", ""},
		"cmd sees everybody":                   {"cmd/sallyport/x.go", "sallyport/storage/sqlite", ""},
		"cmd sees test help":                   {"cmd/sallyport/x.go", "sallyport/internal/testenv", "help for tests"},
		"cmd sees a suite":                     {"cmd/sallyport/x.go", "sallyport/storage/storagetest", "help for tests"},
		"a test sees everybody":                {"identity/x_test.go", "sallyport/storage/sqlite", ""},
		"an unknown folder":                    {"pkg/x/x.go", "sallyport/identity", "in no row"},
		"gldap in a provider":                  {"providers/ldap/x.go", "github.com/jimlambrt/gldap", "for the demo"},
		"gldap in a test":                      {"providers/ldap/x_test.go", "github.com/jimlambrt/gldap", ""},
		"a token library in web":               {"web/api/x.go", "github.com/golang-jwt/jwt/v5", "one package signs"},
		"a key library in the broker":          {"broker/x.go", "github.com/go-jose/go-jose/v4", "one package holds keys"},
		"a token library in tokens":            {"tokens/x.go", "github.com/golang-jwt/jwt/v5", ""},
		"weak randomness":                      {"broker/x.go", "math/rand/v2", "crypto/rand only"},
		"weak randomness in a test":            {"broker/x_test.go", "math/rand/v2", ""},
		"weak randomness in test help":         {"internal/testenv/x.go", "math/rand/v2", ""},
		"cgo":                                  {"storage/sqlite/x.go", "C", "static binary"},
		"cmp is no cgo, compress neither":      {"storage/sqlite/x.go", "compress/gzip", ""},
		"the default mux by import":            {"web/x.go", "expvar", "default mux"},
		"a banned library, even in a test":     {"web/x_test.go", "github.com/stretchr/testify/assert", "nobody may import"},
		"a library whose name begins the same": {"web/x_test.go", "gopkg.in/yaml.v30", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := importViolations(planted(t, map[string]string{
				tc.file: fmt.Sprintf("package x\n\nimport _ %q\n", tc.imports),
			}))
			if tc.want == "" {
				expect(t, got)
				return
			}
			expect(t, got, tc.want)
			if !strings.HasPrefix(got[0], tc.file+":3: ") {
				t.Errorf("%q does not say where", got[0])
			}
		})
	}
}
