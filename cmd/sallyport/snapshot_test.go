package main

import (
	"context"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/broker"
	"sallyport/configs"
	"sallyport/providers"
	"sallyport/providers/local"
)

// sampleEnv is what the samples' env: secrets refer to.
func sampleEnv(name string) (string, bool) {
	values := map[string]string{
		"CORP_AD_PASSWORD": "corp-ad-password", "PARTNER_CLIENT_SECRET": "partner-client-secret",
		"INVENTORY_SECRET": "inventory-secret-of-more-than-32-bytes",
		"PORTAL_KEY":       "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
	}
	v, ok := values[name]
	return v, ok
}

// TestSamplesOpenWithTheRealKinds loads every sample with the real provider types and opens it as serve does: no
// upstream is there, and none is needed.
func TestSamplesOpenWithTheRealKinds(t *testing.T) {
	for _, sample := range []string{"", "../../configs/dev.yaml", "../../configs/example.yaml"} {
		t.Run("sample "+filepath.Base(sample), func(t *testing.T) {
			c, _, err := configs.Load(sample, providerTypes(), sampleEnv)
			if err != nil {
				t.Fatal(err)
			}
			o := opener{log: slog.New(slog.DiscardHandler), now: time.Now, hasher: local.NewHasher(local.HasherOptions{})}
			o.people = localPeople{}
			set, err := o.open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			snap, err := snapshotOf(c, set, 1)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := len(snap.Doors()), len(c.Providers); got != want {
				t.Errorf("%d doors for %d providers", got, want)
			}
			for id, a := range c.Applications {
				made, err := snap.Application(id)
				if err != nil {
					t.Fatal(err)
				}
				if a.URL != "" && snap.ApplicationAt(made.URL.Host, "/") != made {
					t.Errorf("application %s does not answer at %s", id, made.URL)
				}
				if made.Profile.Routes["login"] == "" || len(made.Claims) == 0 {
					t.Errorf("application %s has an empty profile", id)
				}
			}
		})
	}
}

// configured is a configuration that is right: the given lines after the least there must be.
func configured(t *testing.T, dir, lines string) *configs.Config {
	t.Helper()
	text := "server: {issuer: https://sso.example.com}\n" +
		"roles: {admin: {permissions: [\"hosts:*\"]}, viewer: {permissions: [\"hosts:read\"]}}\n" + lines
	if !strings.Contains(lines, "providers:") {
		text += "\nproviders: {local: {type: local}}\n"
	}
	c, _, err := configs.Parse("c.yaml", []byte(text), dir, providerTypes(), sampleEnv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func snapshotFor(t *testing.T, c *configs.Config) *broker.Snapshot {
	t.Helper()
	set, err := providers.NewSet()
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshotOf(c, set, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func application(t *testing.T, s *broker.Snapshot, id string) *broker.Application {
	t.Helper()
	a, err := s.Application(id)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestClaimsAreThoseOfTheProfileWithTheApplicationsInTheirPlace(t *testing.T) {
	s := snapshotFor(t, configured(t, t.TempDir(), `
profiles:
  siren:
    claims: {role: {from: roles, shape: string, prefer: [admin], rename: {admin: root}}, name: null, email: ""}
applications:
  plain: {}
  kibana:
    profile: siren
    claims:
      tenant: {value: soc}
      permissions: {from: permissions, only: ["hosts:read"], template: "{action}:{resource}"}
      roles:
`))
	builtIn := []broker.Claim{
		{Name: "email", Source: "email", Shape: "string"},
		{Name: "name", Source: "name", Shape: "string"},
		{Name: "permissions", Source: "permissions", Shape: "list"},
		{Name: "preferred_username", Source: "username", Shape: "string"},
		{Name: "roles", Source: "roles", Shape: "list"},
	}
	for name, c := range map[string]struct {
		application string
		want        []broker.Claim
	}{
		"the broker's own are the built-in ones":         {broker.Self, builtIn},
		"those of an application that says nothing, too": {"plain", builtIn},
		"profile, then application; nothing leaves one out": {"kibana", []broker.Claim{
			{
				Name: "permissions", Source: "permissions", Shape: "list", Only: []string{"hosts:read"},
				Template: "{action}:{resource}",
			},
			{Name: "preferred_username", Source: "username", Shape: "string"},
			{
				Name: "role", Source: "roles", Shape: "string", Prefer: []string{"admin"},
				Rename: map[string]string{"admin": "root"},
			},
			{Name: "tenant", Value: "soc"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, application(t, s, c.application).Claims); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProfilesSpellCookiesAndKeys(t *testing.T) {
	s := snapshotFor(t, configured(t, t.TempDir(), `
api_keys: {prefix: acme}
profiles:
  wide:
    cookie: {name: session, value: token, domain: apps.example.com, same_site: strict}
    api_key: {prefix: app, headers: [x-app-key]}
  narrow: {}
applications:
  a: {url: "https://a.apps.example.com", profile: wide}
  b: {profile: narrow}
`))
	wide, narrow := application(t, s, "a").Profile, application(t, s, "b").Profile
	want := broker.CookieSpelling{Name: "session", Token: true, Domain: "apps.example.com", Strict: true, RefreshBelow: 5 * time.Minute}
	if wide.Cookie != want || wide.KeyPrefix != "app" || !slices.Equal(wide.KeyHeaders, []string{"X-App-Key"}) {
		t.Errorf("%+v", wide)
	}
	if narrow.Cookie != (broker.CookieSpelling{RefreshBelow: 5 * time.Minute}) || narrow.KeyPrefix != "acme" || len(narrow.KeyHeaders) != 2 ||
		narrow.Routes["login"] == "" {
		t.Errorf("%+v", narrow)
	}
}

func TestRulesAndUpstreamsReachTheBroker(t *testing.T) {
	dir := t.TempDir()
	address, err := url.Parse("https://10.0.0.5:8443")
	if err != nil {
		t.Fatal(err)
	}
	const lines = `
applications:
  bare: {}
  a:
    url: https://a.example.com/app/
    upstream: {url: "https://10.0.0.5:8443/", ca_file: ca.pem, pass_host: true}
    rules:
      - {path: /app/api/, methods: [GET], carriers: [cookie, bearer, key], require: [admin], rate: {requests: 6, per: 1m}}
      - {path: /app/health, public: true}
`
	authority := certificateAuthority(t)
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), authority, 0o600); err != nil {
		t.Fatal(err)
	}
	s := snapshotFor(t, configured(t, dir, lines))
	a := application(t, s, "a")
	wantUpstream := &broker.Upstream{URL: address, Roots: authority, PassHost: true, HeaderTimeout: time.Minute}
	if diff := cmp.Diff(wantUpstream, a.Upstream); diff != "" {
		t.Error(diff)
	}
	wantRules := []*broker.Rule{
		{
			Path: "/app/api/", Methods: []string{"GET"}, Carriers: []broker.Carrier{broker.Cookie, broker.Bearer, broker.APIKey},
			Require: []string{"admin"}, Requests: 6, Per: time.Minute,
		},
		{Path: "/app/health", Public: true},
	}
	if diff := cmp.Diff(wantRules, a.Rules); diff != "" {
		t.Error(diff)
	}
	if bare := application(t, s, "bare"); bare.Upstream != nil || len(bare.Rules) > 0 {
		t.Errorf("%+v", bare)
	}
}

// certificateAuthority is a certificate in PEM.
func certificateAuthority(t *testing.T) []byte {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func TestAnUpstreamsAuthoritiesAreReadBeforeTheConfigurationIsInForce(t *testing.T) {
	dir := t.TempDir()
	c := configured(t, dir, `
applications: {a: {url: "https://a.example.com", upstream: {url: "https://10.0.0.5", ca_file: ca.pem}}}
`)
	for name, write := range map[string]func() error{
		"a file that is not there":       func() error { return nil },
		"a file without any certificate": func() error { return os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("x"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := write(); err != nil {
				t.Fatal(err)
			}
			if _, err := snapshotOf(c, nil, 1); err == nil || !strings.Contains(err.Error(), "applications.a.upstream.ca_file: ") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// embedding has two embedders and one that is closed.
const embedding = `
providers:
  local: {type: local}
  off: {type: local, disabled: true, username_conflict: refuse}
  portal-jwt:
    type: jwt
    issuer: https://portal.example.org
    audience: https://sso.example.com
    username_conflict: refuse
    keys: [{hmac: "env:PORTAL_KEY"}]
applications:
  below: {url: "https://siren.example.com/below/"}
  reports: {url: "https://reports.example.com/"}
embedding:
  embedders:
    siren:
      relation: proxied
      origins: [https://siren.example.com]
      applications: [below]
      provider: portal-jwt
      mount: /below
      compat_global: sireninvestigate
      session: {absolute: 10m}
      debug: true
    portal:
      relation: cross_site
      origins: [https://portal.example.org, capacitor://localhost]
      applications: [reports]
      provider: portal-jwt
      max_roles: [viewer]
      session: {idle: 5m, absolute: 1h}
    closed: {relation: same_site, origins: ["https://old.example.com"], applications: [reports], provider: portal-jwt, enabled: false}
`

func TestEmbeddersReachTheBrokerInTheOrderOfTheirIDs(t *testing.T) {
	s := snapshotFor(t, configured(t, t.TempDir(), embedding))
	want := []*broker.Embedder{
		{
			ID: "portal", Title: "portal", Relation: broker.CrossSite, Provider: "portal-jwt", Applications: []string{"reports"},
			Origins: []string{"https://portal.example.org", "capacitor://localhost"}, MaxRoles: []string{"viewer"},
			Session: broker.Limits{Idle: 5 * time.Minute, Lifetime: time.Hour},
		},
		{
			ID: "siren", Title: "siren", Relation: broker.Proxied, Provider: "portal-jwt", Applications: []string{"below"},
			Origins: []string{"https://siren.example.com"}, Mount: "/below", Global: "sireninvestigate", Debug: true,
			Session: broker.Limits{Idle: 10 * time.Minute, Lifetime: 10 * time.Minute},
		},
	}
	if diff := cmp.Diff(want, s.Embedders); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]bool{"local": true, "off": false, "portal-jwt": false}, s.QualifyNames); diff != "" {
		t.Error(diff)
	}
}

func TestTheSummaryShowsWhatBrowsersGet(t *testing.T) {
	got := embeddingSummary(snapshotFor(t, configured(t, t.TempDir(), embedding)))
	example := regexp.MustCompile(`(sp-[a-z]+)=[^;]*;`)
	for i := range got {
		got[i] = example.ReplaceAllString(got[i], "$1;") // whatever stands for the value
	}
	want := []string{
		"embedder portal, application reports: Content-Security-Policy: " +
			"frame-ancestors https://portal.example.org capacitor://localhost",
		"embedder portal, application reports: Set-Cookie: " +
			"__Host-sp-portal; Path=/; HttpOnly; Secure; SameSite=None; Partitioned",
		"embedder siren, application below: Content-Security-Policy: frame-ancestors https://siren.example.com",
		"embedder siren, application below: Set-Cookie: __Secure-sp-siren; Path=/below/; HttpOnly; Secure; SameSite=Lax",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// blocks returns the indented parts of a page that begin with a key of the configuration.
func blocks(t *testing.T, page string, keys ...string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	in := false
	for line := range strings.Lines(string(text)) {
		code, indented := strings.CutPrefix(line, "    ")
		key, _, _ := strings.Cut(code, ":")
		switch {
		case !indented:
			in = false
		case in:
			all[len(all)-1] += code
		case slices.Contains(keys, key):
			in, all = true, append(all, code)
		}
	}
	return all
}

func TestExamplesOfTheDocumentationLoad(t *testing.T) {
	const base = `
server: {issuer: https://sso.example.com}
providers: {local: {type: local}, portal-jwt: {type: jwt, issuer: p, audience: https://sso.example.com, keys: [{hmac: "env:PORTAL_KEY"}]}}
roles:
  admin: {inherits: [editor], permissions: ["*:*"]}
  editor: {inherits: [viewer], permissions: ["pages:write"]}
  viewer: {permissions: ["pages:read"]}
`
	for page, least := range map[string]int{"applications.md": 5, "configuration.md": 1} {
		found := blocks(t, "../../docs/administrator/"+page, "profiles", "applications", "embedding")
		if len(found) < least {
			t.Errorf("%s has %d examples", page, len(found))
		}
		for _, text := range found {
			if strings.HasPrefix(text, "embedding:") {
				text += "applications: {reports: {url: https://reports.example.com/}}\n"
			}
			c, _, err := configs.Parse(page, []byte(base+text), t.TempDir(), providerTypes(), sampleEnv)
			if err != nil {
				t.Errorf("%v\n%s", err, text)
				continue
			}
			snapshotFor(t, c)
		}
	}
}

func TestDemoConfigurationIsWhatAnAdministratorCouldWrite(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l, err := listenLoopback(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	d := newDemo(t.TempDir(), l, slog.New(slog.DiscardHandler))
	opened, err := d.start(ctx)
	for _, o := range opened {
		defer func() { _ = o.Close() }()
	}
	if err != nil {
		t.Fatal(err)
	}
	file, err := d.writeConfig()
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := readConfig(&console{err: io.Discard, env: os.LookupEnv}, file)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := readConfig(&console{err: io.Discard, env: os.LookupEnv}, file)
	if err != nil || again.Hash() != c.Hash() {
		t.Errorf("the same file hashes differently: %v", err)
	}
}

func TestDemoListensOnLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.com:0", "nonsense"} {
		if l, err := listenLoopback(t.Context(), address); err == nil {
			_ = l.Close()
			t.Errorf("the demo listens on %q", address)
		}
	}
}

func TestLOC09_DemoPasswordsAreNewEachTime(t *testing.T) {
	first, second := demoPeople(), demoPeople()
	same := 0
	for i := range first {
		if first[i].Password == nil { // the portal vouches for them
			continue
		}
		if first[i].password() == second[i].password() {
			same++
		}
		if n := len(first[i].password()); n < 15 {
			t.Errorf("%s: a password of %d characters is below the policy", first[i].Username, n)
		}
	}
	if same > 1 { // one in three million may be the same by chance
		t.Errorf("%d passwords are the same in two demos", same)
	}
}

func TestNeedsRestartTellsWhatAReloadCannotChange(t *testing.T) {
	base := func() *configs.Config { return configs.Defaults() }
	if needsRestart(base(), base()) {
		t.Error("nothing changed, and yet a restart is asked for")
	}
	for name, change := range map[string]func(*configs.Config){
		"listen":            func(c *configs.Config) { c.Server.Listen = "127.0.0.1:1" },
		"operations_listen": func(c *configs.Config) { c.Server.OperationsListen = "" },
		"tls":               func(c *configs.Config) { c.Server.TLS.Key = "other" },
		"trusted_proxies":   func(c *configs.Config) { c.Server.TrustedProxies = []configs.Network{{}} },
		"sqlite.path":       func(c *configs.Config) { c.Storage.SQLite.Path = "other" },
	} {
		c := base()
		change(c)
		if !needsRestart(base(), c) {
			t.Errorf("%s changed, and nobody is told to restart", name)
		}
	}
	mapped := base()
	mapped.Mapping.DefaultRoles = []string{"x"}
	if needsRestart(base(), mapped) {
		t.Error("a mapping rule asks for a restart")
	}
}
