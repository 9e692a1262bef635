package configs

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/identity"
)

var update = flag.Bool("update", false, "rewrite golden files")

// The stand-ins have the keys of the real kinds that the samples use. The command's own test loads the samples with the
// real ones.
type localKind struct {
	Password struct {
		MinLength int `yaml:"min_length" doc:"Least length in characters."`
	} `yaml:"password"`
	Wired any `yaml:"-"`
}

func (*localKind) TakesPassword() bool { return true }

func (l *localKind) Warnings() []string {
	if l.Password.MinLength > 0 && l.Password.MinLength < 15 {
		return []string{"password.min_length: is below 15"}
	}
	return nil
}

type ldapKind struct {
	URLs []string `yaml:"urls"`
	TLS  struct {
		CAFile            string `yaml:"ca_file"`
		StartTLS          bool   `yaml:"start_tls"`
		InsecurePlainText bool   `yaml:"insecure_plain_text"`
	} `yaml:"tls"`
	BindDN       string          `yaml:"bind_dn"`
	BindPassword identity.Secret `yaml:"bind_password"`
	Users        struct {
		Base   string `yaml:"base"`
		Filter string `yaml:"filter"`
	} `yaml:"users"`
	Attributes struct {
		Subject  string `yaml:"subject"`
		Username string `yaml:"username"`
		Name     string `yaml:"name"`
		Email    string `yaml:"email"`
		Groups   string `yaml:"groups"`
	} `yaml:"attributes"`
	Groups struct {
		Base   string `yaml:"base"`
		Nested bool   `yaml:"nested"`
		Depth  int    `yaml:"max_depth"`
	} `yaml:"groups"`
	Timeout struct {
		Dial time.Duration `yaml:"dial"`
	} `yaml:"timeout"`
}

func (*ldapKind) TakesPassword() bool { return true }

func (l *ldapKind) Validate() error {
	var errs []error
	if len(l.URLs) == 0 {
		errs = append(errs, errors.New("urls: at least one server is needed"))
	}
	for i, u := range l.URLs {
		if !strings.HasPrefix(u, "ldaps://") {
			errs = append(errs, fmt.Errorf("urls[%d]: must begin with ldaps://", i))
		}
	}
	if !l.BindPassword.IsSet() {
		errs = append(errs, errors.New("bind_password: is required"))
	}
	if l.Users.Base == "" {
		errs = append(errs, errors.New("users.base: is required"))
	}
	return errors.Join(errs...)
}

type oidcKind struct {
	Issuer       string            `yaml:"issuer"`
	ClientID     string            `yaml:"client_id"`
	ClientSecret identity.Secret   `yaml:"client_secret,omitempty"`
	Scopes       []string          `yaml:"scopes,omitempty"`
	GroupsClaim  string            `yaml:"groups_claim,omitempty"`
	UserInfo     *bool             `yaml:"userinfo,omitempty"`
	MaxAge       *time.Duration    `yaml:"max_age,omitempty"`
	Extra        map[string]string `yaml:"extra_parameters,omitempty"`
}

func (o *oidcKind) Warnings() []string {
	if o.ClientSecret.Literal() {
		return []string{"client_secret: stands in the configuration itself, says the kind"}
	}
	return nil
}

type samlKind struct {
	Metadata struct {
		URL string `yaml:"url"`
	} `yaml:"metadata"`
	Attributes map[string]string `yaml:"attributes"`
}

type jwtKind struct {
	Issuer   string `yaml:"issuer"`
	Audience string `yaml:"audience"`
	Keys     []struct {
		ID   string          `yaml:"id,omitempty"`
		HMAC identity.Secret `yaml:"hmac,omitempty"`
	} `yaml:"keys,omitempty"`
	RolesKey string `yaml:"roles_key,omitempty"`
}

func kinds() map[string]func() any {
	return map[string]func() any{
		"local": func() any { return &localKind{} },
		"ldap":  func() any { return &ldapKind{} },
		"oidc":  func() any { return &oidcKind{} },
		"saml":  func() any { return &samlKind{} },
		"jwt":   func() any { return &jwtKind{} },
	}
}

// env looks variables up in a list of NAME=value.
func env(list ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, e := range list {
			if n, v, _ := strings.Cut(e, "="); n == name {
				return v, true
			}
		}
		return "", false
	}
}

// sampleEnv is what example.yaml asks for.
func sampleEnv() func(string) (string, bool) {
	return env("CORP_AD_PASSWORD=correct horse", "PARTNER_CLIENT_SECRET=battery staple",
		"INVENTORY_SECRET=0123456789abcdef0123456789abcdef", "PORTAL_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
}

// least is a configuration that is right, for tests to add to.
const least = `server: {issuer: https://sso.example.com}
providers: {local: {type: local}}
roles: {viewer: {permissions: ["*:read"]}}
`

func parse(t *testing.T, text string, vars ...string) (*Config, []Warning) {
	t.Helper()
	cfg, warnings, err := Parse("c.yaml", []byte(text), t.TempDir(), kinds(), env(vars...))
	if err != nil {
		t.Fatal(err)
	}
	return cfg, warnings
}

func lines[T fmt.Stringer](list []T) []string {
	out := []string{}
	for _, e := range list {
		out = append(out, e.String())
	}
	return out
}

func TestEverySampleLoads(t *testing.T) {
	samples, err := filepath.Glob("*.yaml")
	if err != nil || len(samples) < 3 {
		t.Fatalf("%v %v", samples, err)
	}
	want := map[string][]string{
		"dev.yaml": {}, "default.yaml": {},
		"example.yaml": {
			"applications.inventory.algorithm: whoever verifies these tokens can also make them; prefer ES256",
		},
	}
	for _, sample := range samples {
		t.Run(sample, func(t *testing.T) {
			_, warnings, err := Load(sample, kinds(), sampleEnv())
			if err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, w := range warnings {
				got = append(got, w.Key+": "+w.Text)
			}
			if diff := cmp.Diff(want[sample], got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNoFileMeansTheBuiltInConfiguration(t *testing.T) {
	cfg, _, err := Load("", kinds(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Server.Issuer != "http://localhost:8080" || cfg.Login.DefaultProvider != "local" || cfg.Name() != DefaultName {
		t.Errorf("%+v", cfg.Server)
	}
	roles, _ := cfg.Mapper().Roles(identity.Identity{Provider: "local", Subject: "s", Groups: []string{"admin"}})
	if !slices.Equal(roles, []string{"admin", "user"}) {
		t.Errorf("an administrator has %v", roles)
	}
	roles, _ = cfg.Mapper().Roles(identity.Identity{Provider: "local", Subject: "s", Groups: []string{"keeper"}})
	if !slices.Equal(roles, []string{"user"}) {
		t.Errorf("somebody has %v", roles)
	}
	if cfg.MasterKeyFile() != filepath.Join("data", "master.key") || cfg.File(cfg.Storage.SQLite.Path) != "data/sallyport.db" {
		t.Errorf("files %q %q", cfg.MasterKeyFile(), cfg.File(cfg.Storage.SQLite.Path))
	}
}

func TestDefaultsAreFilledIn(t *testing.T) {
	cfg, warnings := parse(t, least+`
session: {lifetime: 20m, idle: 10m}
applications:
  svc:
  web: {url: "https://web.example.com:443/x/", session: {lifetime: 5m}}
`)
	if len(warnings) > 0 {
		t.Error(warnings)
	}
	api, web := cfg.Applications["svc"], cfg.Applications["web"]
	want := Application{
		ID: "svc", Title: "svc", Audience: "svc", Profile: "default", Algorithm: "ES256", TokenLifetime: 15 * time.Minute,
		SigningKey: "shared", Session: Session{
			Idle: 10 * time.Minute, Lifetime: 20 * time.Minute, AtLimit: "end_oldest", AddressChange: "ignore",
		},
	}
	if diff := cmp.Diff(want, *api, cmp.AllowUnexported(Application{}, identity.Secret{}, urlPlace{})); diff != "" {
		t.Error(diff)
	}
	if web.Host() != "web.example.com" || web.Prefix() != "/x" || web.Origin() != "https://web.example.com" || api.Origin() != "" {
		t.Errorf("%q %q %q", web.Host(), web.Prefix(), web.Origin())
	}
	want.Session.Idle, want.Session.Lifetime = 5*time.Minute, 5*time.Minute
	if web.Session != want.Session {
		t.Errorf("%+v", web.Session)
	}
	if cfg.Providers["local"].Title != "local" || cfg.Providers["local"].UsernameConflict != "qualify" {
		t.Errorf("%+v", cfg.Providers["local"])
	}
	if _, ok := cfg.Profile("default"); !ok {
		t.Error("there is no profile default")
	}
}

func TestProviderBlocksAreDecodedIntoTheirKind(t *testing.T) {
	cfg, _, err := Load("example.yaml", kinds(), sampleEnv())
	if err != nil {
		t.Fatal(err)
	}
	l, ok := cfg.Providers["corp-ad"].Settings.(*ldapKind)
	if !ok || len(l.URLs) != 2 || l.BindPassword.Reveal() != "correct horse" || !l.Groups.Nested {
		t.Errorf("%+v", l)
	}
	if !cfg.Providers["corp-ad"].TakesPassword() || cfg.Providers["partner"].TakesPassword() {
		t.Error("who takes passwords was not asked of the kind")
	}
}

func TestAnchorsAndMergeKeysWork(t *testing.T) {
	cfg, _ := parse(t, least+`
applications:
  a: &base {title: Base, require: [viewer], token_lifetime: 5m, audience: a}
  b: {<<: *base, title: B, audience: b}
`)
	b := cfg.Applications["b"]
	if b.Title != "B" || b.TokenLifetime != 5*time.Minute || !slices.Equal(b.Require, []string{"viewer"}) {
		t.Errorf("%+v", b)
	}
}

func TestEnvironmentOverridesSingleValues(t *testing.T) {
	vars := []string{
		"SALLYPORT_SERVER_ISSUER=https://other.example.com", "SALLYPORT_STORAGE_SQLITE_PATH=/var/lib/x.db",
		"SALLYPORT_SERVER_LISTEN=", "SALLYPORT_LOG_LEVEL=debug", "SALLYPORT_STORAGE_MASTER_KEY=env:KEY", "KEY=the key",
	}
	cfg, warnings := parse(t, least, vars...)
	if cfg.Server.Issuer != "https://other.example.com" || cfg.Storage.SQLite.Path != "/var/lib/x.db" {
		t.Errorf("%+v %+v", cfg.Server, cfg.Storage)
	}
	if cfg.Server.Listen != "127.0.0.1:8080" || cfg.Log.Level != "info" {
		t.Errorf("an empty variable, or one that overrides nothing, counted: %+v %+v", cfg.Server, cfg.Log)
	}
	if cfg.Storage.MasterKey.Reveal() != "the key" || cfg.MasterKeyFile() != "" || len(warnings) > 0 {
		t.Errorf("%v %v", cfg.Storage.MasterKey.Reference(), warnings)
	}
	for key, want := range map[string]string{
		"server.issuer": "SALLYPORT_SERVER_ISSUER", "server.listen": "default", "roles.viewer.permissions": "c.yaml:3",
	} {
		if got := cfg.Origin(key); got != want {
			t.Errorf("%s comes from %q, want %q", key, got, want)
		}
	}
	// A wrong value in the file does not matter any more, a wrong one in the variable does.
	parse(t, strings.Replace(least, "https://sso.example.com", "[]", 1), vars...)
	_, _, err := Parse("c.yaml", []byte(least), ".", kinds(), env("SALLYPORT_SERVER_ISSUER=ftp://x"))
	want := "SALLYPORT_SERVER_ISSUER: server.issuer: expected an absolute URL such as https://sso.example.com"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestHashChangesWithWhatMatters(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "secret"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := least + `
applications: {a: {algorithm: HS256, secret: "file:secret"}}
`
	hash := func(text string, vars ...string) string {
		cfg, _, err := Parse("c.yaml", []byte(text), dir, kinds(), env(vars...))
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Hash()
	}
	write(strings.Repeat("a", 32))
	first := hash(text)
	if first != hash(text) || len(first) != 64 {
		t.Error("equal files have unequal hashes")
	}
	if first == hash(text+"# comment\n") {
		t.Error("another file has the same hash")
	}
	if first == hash(text, "SALLYPORT_SERVER_LISTEN=127.0.0.1:1") {
		t.Error("an override does not count")
	}
	write(strings.Repeat("b", 32))
	if first == hash(text) {
		t.Error("a changed secret file does not count")
	}
}

func TestLiteralSecretsAreWarnedAboutAndNeverPrinted(t *testing.T) {
	const secret = "battery staple correct horse 0123"
	cfg, warnings := parse(t, least+`
applications: {a: {algorithm: HS256, secret: `+secret+`}}
`)
	want := []string{
		"c.yaml:5:20: applications.a.algorithm: whoever verifies these tokens can also make them; prefer ES256",
		"c.yaml:5:38: applications.a.secret: stands in the configuration itself; use env:NAME or file:path",
	}
	if diff := cmp.Diff(want, lines(warnings)); diff != "" {
		t.Error(diff)
	}
	var out bytes.Buffer
	if err := Print(&out, cfg); err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{out.String(), fmt.Sprintf("%v %+v", *cfg.Applications["a"], *cfg.Applications["a"])} {
		if strings.Contains(shown, "staple") {
			t.Errorf("the secret is shown:\n%s", shown)
		}
	}
	if !strings.Contains(out.String(), "[redacted]") {
		t.Errorf("no trace of the secret:\n%s", out.String())
	}
}

func TestAKindsOwnWarningIsNotRepeated(t *testing.T) {
	_, warnings := parse(t, `server: {issuer: https://sso.example.com}
providers:
  local: {type: local, password: {min_length: 9}}
  op: {type: oidc, client_secret: abc}
`)
	want := []string{
		"c.yaml:3:35: providers.local.password.min_length: is below 15",
		"c.yaml:4:20: providers.op.client_secret: stands in the configuration itself; use env:NAME or file:path",
	}
	if diff := cmp.Diff(want, lines(warnings)); diff != "" {
		t.Error(diff)
	}
}

func TestWarnings(t *testing.T) {
	_, warnings := parse(t, `server: {issuer: https://sso.example.com, listen: ":8080", trusted_proxies: []}
session: {lifetime: 48h}
providers: {local: {type: local}, ldap2: {type: local}}
roles: {viewer: }
mapping:
  rules:
    - {provider: "*", group: g, roles: [viewer]}
    - {provider: local, group: "CN=a,DC=b", roles: [viewer]}
applications:
  a: {url: "https://apps.example.com/a", token_lifetime: 1h, session: {lifetime: 1h}}
  b: {url: "https://apps.example.com/b", session: {lifetime: 1h}}
api_keys: {max_lifetime: 9000h}
`)
	want := []string{
		"c.yaml:1:43: server.listen: plain HTTP from outside this machine; set server.tls, or server.trusted_proxies for the " +
			"proxy that terminates TLS",
		"c.yaml:2:11: session.lifetime: a sign-in that holds longer than a day",
		"c.yaml:7:8: mapping.rules[0].provider: speaks of every provider; two of them may mean different people by one name",
		"c.yaml:8:25: mapping.rules[1].group: looks like a distinguished name but is compared byte for byte; group_dn ignores " +
			"case, spaces and escapes",
		"c.yaml:10:42: applications.a.token_lifetime: whoever verifies tokens offline keeps letting people in for 1h after " +
			"they were shut out",
		"c.yaml:11:7: applications.b.url: shares a host with a: browsers do not keep their cookies and pages apart",
		"c.yaml:12:12: api_keys.max_lifetime: keys may live longer than a year (9000h)",
	}
	got := lines(warnings)
	// Nobody knows where a key that is not there would stand.
	got = slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "c.yaml: login.default_provider: ") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(got) != len(warnings)-1 {
		t.Error("several providers that take passwords and no default were not warned about")
	}
	_, warnings = parse(t, strings.Replace(least, "com}", "com, trusted_proxies: [0.0.0.0/0]}", 1))
	want = []string{"c.yaml:1:61: server.trusted_proxies[0]: trusts everybody: anyone can claim any address"}
	if diff := cmp.Diff(want, lines(warnings)); diff != "" {
		t.Error(diff)
	}
}
