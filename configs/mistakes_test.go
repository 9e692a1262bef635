package configs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/identity"
)

// refusal parses what must be refused and returns the mistakes as lines.
func refusal(t *testing.T, text string, vars ...string) []string {
	t.Helper()
	cfg, _, err := Parse("c.yaml", []byte(text), t.TempDir(), kinds(), env(vars...))
	var ms Mistakes
	if cfg != nil || !errors.As(err, &ms) || !errors.Is(err, identity.ErrInvalid) {
		t.Fatalf("accepted: %v", err)
	}
	return strings.Split(err.Error(), "\n")
}

func TestREL08_MistakesAreNamedWithTheirPlaces(t *testing.T) {
	for name, c := range map[string]struct {
		add  string // to least, which has three lines
		want []string
	}{
		"an unknown key": {
			"sesion: {idle: 30m}",
			[]string{`c.yaml:4:1: sesion: unknown key; did you mean "session"?`},
		},
		"an unknown key in a block": {
			"session:\n  idel: 30m\n  lifetime: 8h",
			[]string{`c.yaml:5:3: session.idel: unknown key; did you mean "idle"?`},
		},
		"an unknown key that resembles none": {
			"log: {colour: true}",
			[]string{"c.yaml:4:7: log.colour: unknown key; expected one of level, format"},
		},
		"an unknown key in a rule": {
			"mapping: {rules: [{provider: local, groupdn: x, roles: [viewer]}]}",
			[]string{
				"c.yaml:4:19: mapping.rules[0]: has no condition: expected one of group, group_dn, group_glob, group_regex, " +
					"claim, copy",
				`c.yaml:4:37: mapping.rules[0].groupdn: unknown key; did you mean "group_dn"?`,
			},
		},
		"a key that stands twice": {
			"session:\n  idle: 30m\n  idle: 40m",
			[]string{"c.yaml:6:3: session.idle: stands twice, first in line 5"},
		},
		"a block that stands twice": {
			"server: {}",
			[]string{"c.yaml:4:1: server: stands twice, first in line 1"},
		},
		"text for a list": {
			"applications: {a: {require: viewer}}",
			[]string{"c.yaml:4:20: applications.a.require: expected a list such as [a, b], found text"},
		},
		"nothing for a list": {
			"applications:\n  a:\n    require:",
			[]string{"c.yaml:6:5: applications.a.require: expected a list such as [a, b], found nothing"},
		},
		"nothing for text": {
			"branding:\n  title:",
			[]string{"c.yaml:5:3: branding.title: expected text, found nothing"},
		},
		"a list for text": {
			"branding: {title: [a]}",
			[]string{"c.yaml:4:12: branding.title: expected text, found a list"},
		},
		"true for text": {
			"branding: {title: true}",
			[]string{"c.yaml:4:12: branding.title: expected text, found true or false"},
		},
		"yes for true": {
			"applications: {a: {forward_token: yes}}",
			[]string{"c.yaml:4:20: applications.a.forward_token: expected true or false, found text"},
		},
		"text for a block": {
			"session: 8h",
			[]string{"c.yaml:4:1: session: expected a block of keys, found text"},
		},
		"a duration without a unit": {
			"session: {idle: 30}",
			[]string{"c.yaml:4:11: session.idle: expected a duration such as 15m or 8h, found a number"},
		},
		"a session without an end": {
			"session: {lifetime: 0s, idle: -1m}",
			[]string{
				"c.yaml:4:11: session.lifetime: 0s is out of bounds, expected 1s to 8760h",
				"c.yaml:4:25: session.idle: -1m is out of bounds, expected 1s to 8760h",
			},
		},
		"idle longer than the lifetime": {
			"session: {lifetime: 10m}",
			[]string{"c.yaml:4:1: session.idle: 30m is longer than the lifetime of 10m"},
		},
		"a word that is not among those known": {
			"log: {level: warning, format: xml}",
			[]string{
				`c.yaml:4:7: log.level: unknown value "warning"; expected one of debug, info, warn, error`,
				`c.yaml:4:23: log.format: unknown value "xml"; expected one of text, json`,
			},
		},
		"a support link that is a script": {
			"branding: {support: 'javascript:alert(1)'}",
			[]string{"c.yaml:4:12: branding.support: expected a mailto: or https:// URL, or a sentence"},
		},
		"unknown providers": {
			"login: {default_provider: locale, domains: {corp.example: ldap, Corp: local}}\n" +
				"mapping: {rules: [{provider: loccal, group: g, roles: [viewer]}]}",
			[]string{
				`c.yaml:4:9: login.default_provider: there is no provider "locale"; did you mean "local"?`,
				`c.yaml:4:45: login.domains.corp.example: there is no provider "ldap"; expected one of local`,
				`c.yaml:4:65: login.domains.Corp: "Corp" is no domain, expected one in lower case (punycode) such as corp.example`,
				`c.yaml:5:20: mapping.rules[0].provider: there is no provider "loccal"; did you mean "local"?`,
			},
		},
		"unknown roles": {
			"mapping: {default_roles: [viewr], rules: [{provider: local, group: g, roles: [root]}]}\n" +
				"applications: {a: {require: [viewer, vewer]}}",
			[]string{
				`c.yaml:4:11: mapping.default_roles: role "viewr" is not declared under roles; did you mean "viewer"?`,
				`c.yaml:4:71: mapping.rules[0].roles: role "root" is not declared under roles`,
				`c.yaml:5:38: applications.a.require[1]: there is no role "vewer"; did you mean "viewer"?`,
			},
		},
		"ids": {
			"applications: {Notes: {}, login: {}}",
			[]string{
				`c.yaml:4:16: applications.Notes: "Notes" is no id: a-z, 0-9 and . _ -, at most 63, beginning with a letter or digit`,
				`c.yaml:4:27: applications.login: the id "login" is reserved, as are admin, api, callback, idp, me, sallyport, setup`,
			},
		},
		"a URL on the issuer's host": {
			"applications: {a: {url: 'https://sso.example.com:8443/'}}",
			[]string{"c.yaml:4:20: applications.a.url: must be on another host than the issuer, whatever the port: browsers " +
				"would send it our cookie"},
		},
		"two applications in one place": {
			"applications: {a: {url: 'https://x.example.com'}, b: {url: 'https://x.example.com:443/'}}",
			[]string{"c.yaml:4:55: applications.b.url: is the same host and path as that of a"},
		},
		"a path of ours": {
			"applications: {a: {url: 'https://x.example.com/.sallyport/x'}}",
			[]string{"c.yaml:4:20: applications.a.url: the path /.sallyport is this server's own on every application's host"},
		},
		"one audience twice, and that of the issuer": {
			"applications: {a: {}, b: {audience: a}, c: {audience: 'https://sso.example.com/'}}",
			[]string{
				`c.yaml:4:27: applications.b.audience: "a" is the audience of a as well: tokens of one would open the other`,
				"c.yaml:4:45: applications.c.audience: must not be the issuer: its tokens would open this server's own API",
			},
		},
		"HS256 without a secret, and a secret without HS256": {
			"applications: {a: {algorithm: HS256}, b: {secret: 'env:S'}, c: {algorithm: HS256, secret: 'env:SHORT'}}",
			[]string{
				"c.yaml:4:16: applications.a.secret: is required with algorithm HS256: env:NAME or file:path of at least 32 bytes",
				"c.yaml:4:43: applications.b.secret: belongs to algorithm HS256, this application has ES256",
				"c.yaml:4:83: applications.c.secret: is shorter than 32 bytes",
			},
		},
		"what was printed in place of a secret": {
			"storage: {master_key: '[redacted]'}",
			[]string{"c.yaml:4:11: storage.master_key: is what is printed in place of a secret; expected env:NAME or file:path"},
		},
		"one secret for two applications": {
			"applications: {a: {algorithm: HS256, secret: 'env:S'}, b: {algorithm: HS256, secret: 'env:S'}}",
			[]string{"c.yaml:4:78: applications.b.secret: is the same as that of a: each could make the other's tokens"},
		},
		"an algorithm that is none": {
			"applications: {a: {algorithm: none}}",
			[]string{`c.yaml:4:20: applications.a.algorithm: unknown value "none"; expected one of ES256, RS256, EdDSA, HS256`},
		},
		"tokens that live too long": {
			"applications: {a: {token_lifetime: 25h}, b: {token_lifetime: 59s}}",
			[]string{
				"c.yaml:4:20: applications.a.token_lifetime: 25h is out of bounds, expected 1m to 24h",
				"c.yaml:4:46: applications.b.token_lifetime: 59s is out of bounds, expected 1m to 24h",
			},
		},
		"an unknown profile": {
			"applications: {a: {profile: defult}}",
			[]string{`c.yaml:4:20: applications.a.profile: there is no profile "defult"; did you mean "default"?`},
		},
		"forward_token without a URL": {
			"applications: {a: {forward_token: true}}",
			[]string{"c.yaml:4:20: applications.a.forward_token: needs url: forward-auth knows an application by its host"},
		},
		"API keys": {
			"api_keys: {prefix: s_, default_lifetime: 100h, max_lifetime: 10h}",
			[]string{
				"c.yaml:4:12: api_keys.prefix: expected 1 to 20 of a-z, 0-9 and, within, _",
				"c.yaml:4:24: api_keys.default_lifetime: 100h is longer than api_keys.max_lifetime, 10h",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := refusal(t, least+c.add, "S=0123456789abcdef0123456789abcdef", "SHORT=abc")
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestREL08_MistakesInProvidersAreNamedWithTheirPlaces(t *testing.T) {
	for name, c := range map[string]struct {
		block string // in line 3, after four spaces
		vars  []string
		want  []string
	}{
		"no type":         {"{title: x}", nil, []string{"c.yaml:3:3: providers.p.type: is required; expected one of jwt, ldap, local, oidc, saml"}},
		"an unknown type": {"{type: odic, x: y}", nil, []string{`c.yaml:3:7: providers.p.type: unknown provider type "odic"; did you mean "oidc"?`}},
		"a key of no kind": {
			"{type: local, pasword: {min_length: 15}}", nil,
			[]string{`c.yaml:3:20: providers.p.pasword: unknown key; did you mean "password"?`},
		},
		"a key of another kind": {
			"{type: local, issuer: x}", nil,
			[]string{"c.yaml:3:20: providers.p.issuer: unknown key; expected one of type, title, username_conflict, disabled, password"},
		},
		"a nested key": {
			"{type: local, password: {minlength: 15}}", nil,
			[]string{`c.yaml:3:31: providers.p.password.minlength: unknown key; did you mean "min_length"?`},
		},
		"a wrong type in a nested key": {
			"{type: local, password: {min_length: 015}}", nil,
			[]string{"c.yaml:3:31: providers.p.password.min_length: expected a whole number, found a number"},
		},
		"what the kind itself finds": {
			"{type: ldap, urls: [ldaps://a, http://b], users: {base: ''}, bind_password: 'env:P'}",
			[]string{"P=x"},
			[]string{
				"c.yaml:3:37: providers.p.urls[1]: must begin with ldaps://",
				"c.yaml:3:56: providers.p.users.base: is required",
			},
		},
		"a secret that is missing names its source, once": {
			"{type: ldap, urls: [ldaps://a], users: {base: x}, bind_password: 'env:CORP_PASSWORD'}", nil,
			[]string{"c.yaml:3:56: providers.p.bind_password: environment variable CORP_PASSWORD is not set"},
		},
		"a disabled one is checked all the same, and there must be another": {
			"{type: ldap, urls: [http://a], users: {base: x}, bind_password: 'env:P', disabled: true}",
			[]string{"P=x"},
			[]string{
				"c.yaml:2:1: providers: all are disabled, so nobody could sign in",
				"c.yaml:3:26: providers.p.urls[0]: must begin with ldaps://",
			},
		},
		"an audience that is somebody else": {
			"{type: jwt, issuer: x, audience: https://sso.example.com/}", nil,
			[]string{"c.yaml:3:29: providers.p.audience: must be server.issuer, https://sso.example.com"},
		},
		"an unknown way with conflicts": {
			"{type: local, username_conflict: merge}", nil,
			[]string{`c.yaml:3:20: providers.p.username_conflict: unknown value "merge"; expected one of qualify, refuse`},
		},
		"a map of texts": {
			"{type: oidc, extra_parameters: {a: [b]}, userinfo: maybe, max_age: soon}", nil,
			[]string{
				"c.yaml:3:38: providers.p.extra_parameters.a: expected text, found a list",
				"c.yaml:3:47: providers.p.userinfo: expected true or false, found text",
				"c.yaml:3:64: providers.p.max_age: expected a duration such as 15m or 8h, found text",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := refusal(t, "server: {issuer: https://sso.example.com}\nproviders:\n  p: "+c.block, c.vars...)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestREL08_AllMistakesComeTogetherInOrder(t *testing.T) {
	got := refusal(t, `server: {issuer: http://sso.example.com, listen: 8080, tls: {key: x}, trusted_proxies: [10.0.0.1/8, x]}
storage: {sqlite: {path: ""}, master_key: "env:KEY"}
roles:
  a: {inherits: [b]}
  b: {inherits: [a], permissions: [read]}
`)
	want := []string{
		"c.yaml: providers: at least one provider is needed, or nobody can sign in",
		"c.yaml:1:10: server.issuer: must be https; http is for localhost, names below it and loopback addresses",
		"c.yaml:1:42: server.listen: expected host:port such as 127.0.0.1:8080, or :8080 for every address",
		"c.yaml:1:56: server.tls.certificate: is required with server.tls.key",
		`c.yaml:1:89: server.trusted_proxies[0]: "10.0.0.1/8" has bits beyond its length, expected 10.0.0.0/8`,
		`c.yaml:1:101: server.trusted_proxies[1]: "x" is neither an address nor a network such as 10.0.0.0/8`,
		"c.yaml:2:20: storage.sqlite.path: is required, expected a file such as data/sallyport.db",
		"c.yaml:2:31: storage.master_key: environment variable KEY is not set",
		"c.yaml:4:7: roles.a.inherits: roles inherit each other in a circle: a -> b -> a",
		`c.yaml:5:22: roles.b.permissions: "read" is no permission: resource:action, each * or of a-z 0-9 _ . -`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestIssuersAreWrittenInOneWay(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://sso.example.com": "", "https://sso.example.com/": "", "https://sso.example.com:8443": "",
		"http://localhost:8080": "", "http://sso.localhost": "", "http://127.0.0.1:1": "", "http://[::1]:8080": "",
		"http://sso.example.com":         "must be https",
		"http://127.0.0.1.example.com":   "must be https",
		"http://localhost.example.com":   "must be https",
		"https://sso.example.com/auth":   "must have no path, expected https://sso.example.com",
		"https://sso.example.com/?":      "must have no user, query or fragment",
		"https://sso.example.com/#":      "must have no user, query or fragment",
		"https://sso.example.com?a=b":    "must have no user, query or fragment",
		"https://u:p@sso.example.com":    "must have no user, query or fragment",
		"https://SSO.example.com":        "in lower case",
		"https://sso.example.com.":       "in lower case",
		"https://sso..example.com":       "in lower case",
		"https://sso_x.example.com":      "in lower case",
		"https://sso.example.com:443":    "must be written as browsers do, expected https://sso.example.com",
		"https://sso.example.com:":       "has a colon but no port",
		"https://sso.example.com:0":      "the port must be",
		"https://sso.example.com:0443":   "the port must be",
		"https://sso.example.com/%2e":    "the path must be plain",
		"https://sso.example.com//":      "must be written as browsers do",
		"https://sso.example.com/a/../b": "the path must be plain",
		"sso.example.com":                "expected an absolute URL",
		"//sso.example.com":              "expected an absolute URL",
		"https:sso.example.com":          "expected an absolute URL",
		"ftp://sso.example.com":          "expected an absolute URL",
		"https://":                       "expected an absolute URL",
		"https://[fe80::1%25eth0]":       "in lower case",
		"https://exa mple.com":           "is not a URL",
		"":                               "is required: the URL people reach this server at",
	} {
		text := "server: {issuer: '" + issuer + "'}\nproviders: {local: {type: local}}\n"
		_, _, err := Parse("c.yaml", []byte(text), ".", kinds(), nil)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", issuer, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), ": server.issuer: ") || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %q", issuer, err, want)
		}
	}
}

func TestMissingBlocksAreNamedAtTheFile(t *testing.T) {
	for name, text := range map[string]string{"an empty file": "", "comments only": "# nothing\n", "null": "~\n"} {
		t.Run(name, func(t *testing.T) {
			want := []string{
				"c.yaml: server.issuer: is required: the URL people reach this server at, such as https://sso.example.com",
				"c.yaml: providers: at least one provider is needed, or nobody can sign in",
			}
			if diff := cmp.Diff(want, refusal(t, text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatIsNoConfigurationIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no YAML":              {"server: [", "c.yaml:1: is not YAML: did not find expected node content"},
		"two documents":        {"a: b\n---\nc: d", "a second document begins here, expected one"},
		"a broken second one":  {"a: b\n---\n[", "is not YAML"},
		"a list":               {"[a, b]", "expected a block of keys, found a list"},
		"not UTF-8":            {"a: \xff", "c.yaml: the file is not UTF-8"},
		"too large":            {strings.Repeat("#", maxFile+1), "c.yaml: the file is larger than 1048576 bytes"},
		"an unknown anchor":    {"a: *b", "is not YAML: unknown anchor 'b' referenced"},
		"a key that is a list": {"[a]: b", "a key must be a plain word"},
		"a merge of text":      {"server: {<<: x}", "<< needs a block of keys, found text"},
		"a merge of itself":    {"server: &s {<<: *s}", "<< is nested too deeply"},
		"binary text":          {"server: {issuer: !!binary aGk=}", "server.issuer: expected text, found !!binary"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(refusal(t, c.text), "\n"); !strings.Contains(got, c.want) {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestAliasesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("roles:\n  a0: &a0 {permissions: &p [" + strings.Repeat("'x:y', ", 999) + "'x:y']}\n")
	for i := range 200 {
		b.WriteString("  r" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + ": {permissions: *p}\n")
	}
	got := refusal(t, b.String())
	found := 0
	for _, line := range got {
		if strings.Contains(line, "the file has more than 100000 values once its aliases are followed") {
			found++
		}
	}
	if found != 1 {
		t.Errorf("reported %d times:\n%s", found, strings.Join(got, "\n"))
	}
}

func TestMistakesAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 2 * maxMistakes {
		b.WriteString("k" + strings.Repeat("x", i) + ": 1\n")
	}
	if got := refusal(t, b.String()); len(got) != maxMistakes {
		t.Errorf("%d mistakes", len(got))
	}
}

func TestSecretFilesAreReadFromTheConfigurationsFolder(t *testing.T) {
	dir := t.TempDir()
	text := []byte(least + "applications: {a: {algorithm: HS256, secret: 'file:s.txt'}}\n")
	_, _, err := Parse("c.yaml", text, dir, kinds(), nil)
	want := "c.yaml:4:38: applications.a.secret: secret file: open " + filepath.Join(dir, "s.txt") + ": no such file or directory"
	if err == nil || err.Error() != want {
		t.Fatalf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "s.txt"), []byte(strings.Repeat("k", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := Parse("c.yaml", text, dir, kinds(), nil)
	if err != nil || cfg.Applications["a"].Secret.Reveal() != strings.Repeat("k", 32) {
		t.Fatalf("%v", err)
	}
}

func TestSTO01_TheMasterKeysFileMayBeMissingButNotUnreadable(t *testing.T) {
	dir := t.TempDir()
	cfg, _, err := Parse("c.yaml", []byte(least), dir, kinds(), nil)
	if err != nil || cfg.Storage.MasterKey.IsSet() || cfg.MasterKeyFile() != filepath.Join(dir, "data", "master.key") {
		t.Fatalf("%v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "data", "master.key"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Parse("c.yaml", []byte(least), dir, kinds(), nil); err == nil || !strings.Contains(err.Error(), "storage.master_key") {
		t.Errorf("a folder was taken for the key: %v", err)
	}
}

func TestTLSFilesAreTried(t *testing.T) {
	dir := t.TempDir()
	text := []byte(strings.Replace(least, "com}", "com, tls: {certificate: c.pem, key: k.pem}}", 1))
	_, _, err := Parse("c.yaml", text, dir, kinds(), nil)
	if err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("missing files: %v", err)
	}
	for _, f := range []string{"c.pem", "k.pem"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err = Parse("c.yaml", text, dir, kinds(), nil)
	if err == nil || !strings.Contains(err.Error(), "c.yaml:1:43: server.tls: certificate and key do not load") {
		t.Errorf("nonsense: %v", err)
	}
}

func TestAMissingFileIsAnError(t *testing.T) {
	if _, _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), kinds(), nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, sample := range []string{"example.yaml", "dev.yaml", "default.yaml", "profiles/default.yaml"} {
		data, err := os.ReadFile(sample)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range []string{
		least, "a: &a [*a]", "roles: &r {<<: [*r, *r]}", "providers: {p: {type: oidc, <<: {type: ldap}}}", "server: !!str {}",
		"applications: {? [a] : b}", "mapping: {rules: [~, 1, {}]}", "roles: {~: ~}", "server: {trusted_proxies: [~, ::ffff:1.2.3.4/96]}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lookup := sampleEnv()
		cfg, _, err := Parse("c.yaml", data, t.TempDir(), kinds(), lookup)
		if (cfg == nil) == (err == nil) {
			t.Fatalf("%v %v", cfg, err)
		}
		if p, err := ParseProfile("p.yaml", data); (p == nil) == (err == nil) {
			t.Fatalf("%v %v", p, err)
		}
		if cfg != nil && (cfg.Mapper() == nil || cfg.Hash() == "" || cfg.Server.Issuer == "") {
			t.Errorf("an incomplete configuration was accepted: %+v", cfg)
		}
	})
}
