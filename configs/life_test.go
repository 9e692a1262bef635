package configs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// mailed is a server for mail that is right.
const mailed = "mail: {host: mail.example.com, from: sso@example.com}\n"

// HMAC secrets that the tests' environment has.
const (
	firstSecret  = "0123456789abcdef0123456789abcdef"
	secondSecret = "fedcba9876543210fedcba9876543210"
)

func TestREL08_MistakesInSessionsAndKeysForLife(t *testing.T) {
	for name, c := range map[string]struct {
		add  string
		want []string
	}{
		"a database server that is no URL": {
			"storage: {postgres: {url: env:NOT_A_URL}}",
			[]string{"storage.postgres.url: expected postgres://user:password@host:port/database"},
		},
		"a database server without a database": {
			"storage: {postgres: {url: env:NO_DATABASE}}",
			[]string{"storage.postgres.url: expected postgres://user:password@host:port/database"},
		},
		"a database server of another kind": {
			"storage: {postgres: {url: env:MYSQL}}",
			[]string{"storage.postgres.url: expected postgres://user:password@host:port/database"},
		},
		"a database server whose variable is not set": {
			"storage: {postgres: {url: env:NOBODY}}",
			[]string{"storage.postgres.url: environment variable NOBODY is not set"},
		},
		"too few connections, and too many": {
			"storage: {postgres: {max_connections: 3}}\nthrottle: {per_source: 100001}",
			[]string{
				"storage.postgres.max_connections: 3 is out of bounds, expected 4 to 1000",
				"throttle.per_source: 100001 is out of bounds, expected 1 to 100000",
			},
		},
		"sessions": {
			"session: {concurrent: -1, at_limit: end, address_change: block}",
			[]string{
				"session.concurrent: -1 is out of bounds, expected 0 to 1000",
				`session.at_limit: unknown value "end"; expected one of end_oldest, refuse`,
				`session.address_change: unknown value "block"; expected one of ignore, audit, reauthenticate, end`,
			},
		},
		"sessions of an application": {
			"applications: {a: {session: {concurrent: 1001, at_limit: '', address_change: audi}}}",
			[]string{
				"applications.a.session.concurrent: 1001 is out of bounds, expected 0 to 1000",
				`applications.a.session.at_limit: unknown value ""; expected one of end_oldest, refuse`,
				`applications.a.session.address_change: unknown value "audi"; did you mean "audit"?`,
			},
		},
		"remember is for the house": {
			"applications: {a: {session: {remember: {lifetime: 720h}}}}",
			[]string{"applications.a.session.remember: unknown key; expected one of idle, lifetime, concurrent, at_limit, " +
				"address_change, confirm_by_email"},
		},
		"remembered for less than everybody": {
			"session: {remember: {lifetime: 7h}}",
			[]string{"session.remember.lifetime: 7h is out of bounds, expected 8h to 8760h"},
		},
		"remembered without an end": {
			"session: {remember: {idle: 1h}}",
			[]string{"session.remember.lifetime: 0s is out of bounds, expected 8h to 8760h"},
		},
		"remembered longer than remembered": {
			"session: {remember: {lifetime: 10h, idle: 20h}}",
			[]string{"session.remember.idle: 20h is longer than the lifetime of 10h"},
		},
		"codes that nobody can send": {
			"session: {confirm_by_email: true}\napi_keys: {confirm_by_email: true}\n" +
				"applications: {b: {session: {confirm_by_email: true}}, a: {session: {confirm_by_email: false}}, c: {}}",
			[]string{
				"session.confirm_by_email: needs mail.host: nobody would ever get the code",
				"api_keys.confirm_by_email: needs mail.host: nobody would ever get the code",
				"applications.b.session.confirm_by_email: needs mail.host: nobody would ever get the code",
			},
		},
		"TestLOC07: an application that browsers reach past the code": {
			"mail: {host: mail.example.com, from: sso@example.com}\n" +
				"applications: {page: {url: 'https://page.example.com', session: {confirm_by_email: true}}, " +
				"service: {session: {confirm_by_email: true}}, plain: {url: 'https://plain.example.com'}}",
			[]string{"applications.page.session.confirm_by_email: needs session.confirm_by_email: browsers sign in at the house, " +
				"which would ask for no code"},
		},
		"limits that are none": {
			"throttle: {window: 25h, per_account_and_source: 0, per_account: 101, per_source: 0, requests_per_minute: -1}",
			[]string{
				"throttle.window: 25h is out of bounds, expected 1m to 24h",
				"throttle.per_account_and_source: 0 is out of bounds, expected 1 to 100",
				"throttle.per_account: 101 is out of bounds, expected 1 to 100",
				"throttle.per_source: 0 is out of bounds, expected 1 to 100000",
				"throttle.requests_per_minute: -1 is out of bounds, expected 0 to 1000000",
			},
		},
		"a window shorter than a guess takes": {
			"throttle: {window: 59s}", []string{"throttle.window: 59s is out of bounds, expected 1m to 24h"},
		},
		"whoever guesses locks everybody out": {
			"throttle: {per_account: 5}",
			[]string{"throttle.per_account: 5 is less than per_account_and_source, 10: whoever guesses from one address would lock " +
				"the account for everybody"},
		},
		"keys that never sign, or never change": {
			"signing_keys: {rotate_every: 1m, publish_before: -1h}",
			[]string{
				"signing_keys.rotate_every: 1m is out of bounds, expected 1h to 17520h",
				"signing_keys.publish_before: -1h is out of bounds, expected 0s to 720h",
			},
		},
		"a key published for longer than keys sign": {
			"signing_keys: {rotate_every: 12h}",
			[]string{"signing_keys.publish_before: 24h is longer than rotate_every, 12h"},
		},
		"mail without a server": {
			"mail: {from: sso@example.com}",
			[]string{"mail.host: is required with the other keys of mail: the server that takes it"},
		},
		"mail": {
			"mail: {host: 'mail.example.com:25', port: 70000, tls: ssl, username: sso, from: 'sso', ca_file: none.pem}",
			[]string{
				`mail.host: "mail.example.com:25" is no host name`,
				"mail.port: 70000 is out of bounds, expected 1 to 65535",
				`mail.tls: unknown value "ssl"; expected one of starttls, tls, none`,
				"mail.username: username and password belong together",
				"mail.from: expected an address such as sso@example.com or Sign-in <sso@example.com>",
				"mail.ca_file: stat DIR/none.pem: no such file or directory",
			},
		},
		"mail without a sender": {
			"mail: {host: mail.example.com, password: env:FIRST}",
			[]string{
				"mail.from: expected an address such as sso@example.com or Sign-in <sso@example.com>",
				"mail.username: username and password belong together",
			},
		},
		"a sender of two lines": {
			`mail: {host: mail.example.com, from: "a@example.com\r\nBcc: b@example.com"}`,
			[]string{"mail.from: expected an address such as sso@example.com or Sign-in <sso@example.com>"},
		},
		"former secrets": {
			"applications: {a: {algorithm: HS256, secret: env:FIRST, former_secrets: [env:FIRST, env:SHORT, env:NOBODY]},\n" +
				"  b: {former_secrets: [env:SECOND]}}",
			[]string{
				"applications.a.former_secrets[0]: is the secret that signs now",
				"applications.a.former_secrets[1]: is shorter than 32 bytes",
				"applications.a.former_secrets[2]: environment variable NOBODY is not set",
				"applications.b.former_secrets[0]: belongs to algorithm HS256, this application has ES256",
			},
		},
		"one's former secret is another's": {
			"applications: {a: {algorithm: HS256, secret: env:FIRST},\n" +
				"  b: {algorithm: HS256, secret: env:SECOND, former_secrets: [env:FIRST]}}",
			[]string{"applications.b.secret: is the same as that of a: each could make the other's tokens"},
		},
		"nothing to pin": {
			"applications: {a: {algorithm: HS256, secret: env:FIRST, signing_key: pinned}, b: {signing_key: own}}",
			[]string{
				"applications.a.signing_key: tokens of this application are signed with its secret (HS256), there is no key to pin",
				`applications.b.signing_key: unknown value "own"; expected one of shared, pinned`,
			},
		},
		"dialects": {
			"profiles: {x: {cookie: {refresh_below: 13h}, api_key: {secret_header: x-api-key}, token_query: 'a b'},\n" +
				"  y: {api_key: {secret_header: Cookie}}, z: {api_key: {secret_header: Authorization}}}",
			[]string{
				"profiles.x.cookie.refresh_below: 13h is out of bounds, expected 0s to 12h",
				"profiles.x.api_key.secret_header: x-api-key is where the other half travels",
				`profiles.x.token_query: "a b" is no name of a parameter`,
				"profiles.y.api_key.secret_header: Cookie already has a meaning",
				"profiles.z.api_key.secret_header: Authorization already has a meaning",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := refusal(t, houses+c.add, "FIRST="+firstSecret, "SECOND="+secondSecret, "SHORT=abc",
				"NOT_A_URL=postgres://sso:pa%ss@db/sso", "NO_DATABASE=postgres://sso:pass@db.example.com/", "MYSQL=mysql://sso:pass@db/sso")
			got = texts(t, got)
			for i := range got {
				got[i] = withoutDir(got[i])
			}
			slices.Sort(got)
			want := slices.Sorted(slices.Values(c.want))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// withoutDir puts DIR in the place of the folder a file was looked for in.
func withoutDir(s string) string {
	before, after, ok := strings.Cut(s, "stat /")
	if !ok {
		return s
	}
	path, rest, _ := strings.Cut(after, ": ")
	return before + "stat DIR/" + filepath.Base(path) + ": " + rest
}

func TestWarningsAboutSessionsAndKeysForLife(t *testing.T) {
	const sslmode = "storage.postgres.url: sslmode is not verify-full: whoever is on the way there can read and change everything"
	for name, c := range map[string]struct {
		add  string
		want []string
	}{
		"none for what is sound": {
			"storage: {postgres: {url: env:VERIFIED}}\n" +
				"session: {concurrent: 3, at_limit: refuse, address_change: end, confirm_by_email: true, remember: {lifetime: 720h}}\n" +
				"api_keys: {prefix: acme_io, never_expire: true, confirm_by_email: true}\n" +
				"mail: {host: mail.example.com, from: 'Sign-in <sso@example.com>', username: sso, password: env:FIRST}\n" +
				"profiles: {p: {cookie: {value: token, refresh_below: 0s}, api_key: {secret_header: X-API-Secret}, refresh: {ends_token: true}}}\n" +
				"applications: {a: {url: 'https://a.example.com', profile: p, signing_key: pinned, token_lifetime: 1m}}",
			[]string{},
		},
		"a database server on this machine":                  {"storage: {postgres: {url: env:LOCAL}}", []string{}},
		"a database server by its socket":                    {"storage: {postgres: {url: env:SOCKET}}", []string{}},
		"a database server whose authority alone is checked": {"storage: {postgres: {url: env:AUTHORITY}}", []string{}},
		"a database server that anybody can be":              {"storage: {postgres: {url: env:REQUIRED}}", []string{sslmode}},
		"a database server that nothing is said about":       {"storage: {postgres: {url: env:SILENT}}", []string{sslmode}},
		"a database server whose password stands here": {
			"storage: {postgres: {url: 'postgres://sso:battery-staple@db.example.com/sso?sslmode=verify-full'}}",
			[]string{"storage.postgres.url: stands in the configuration itself; use env:NAME or file:path"},
		},
		"remembered for very long": {
			"session: {remember: {lifetime: 4000h}}",
			[]string{"session.remember.lifetime: browsers stay signed in for longer than 90 days"},
		},
		"no limit of requests": {
			"throttle: {requests_per_minute: 0}",
			[]string{"throttle.requests_per_minute: anybody can ask as often as they like"},
		},
		"keys for ever": {
			"signing_keys: {rotate_every: 0s}",
			[]string{"signing_keys.rotate_every: keys sign until somebody runs signing-key rotate"},
		},
		"keys that nobody knows yet": {
			"signing_keys: {publish_before: 10m}",
			[]string{"signing_keys.publish_before: applications that keep the JWK set for longer refuse tokens after a rotation"},
		},
		"codes in the clear": {
			"mail: {host: mail.example.com, from: a@example.com, tls: none}",
			[]string{"mail.tls: codes that let somebody in travel unencrypted"},
		},
		"codes in the clear on this machine": {"mail: {host: localhost, from: a@example.com, tls: none}", []string{}},
		"tokens in addresses": {
			"profiles: {p: {token_query: access_token}}",
			[]string{"profiles.p.token_query: tokens in addresses end up in logs; let applications ask for a ticket"},
		},
		"a new cookie with every answer": {
			"profiles: {p: {cookie: {value: token}}}\n" +
				"applications: {a: {url: 'https://a.example.com', profile: p, token_lifetime: 5m}}",
			[]string{"applications.a.token_lifetime: is not longer than cookie.refresh_below of profile p, 5m: every answer brings a " +
				"new cookie"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, warnings := parse(t, houses+c.add, "FIRST="+firstSecret,
				"VERIFIED=postgres://sso:pass@db.example.com:5432/sso?sslmode=verify-full",
				"AUTHORITY=postgresql://sso:pass@db.example.com/sso?sslmode=verify-ca",
				"REQUIRED=postgres://sso:pass@db.example.com/sso?sslmode=require", "SILENT=postgres://sso:pass@db.example.com/sso",
				"LOCAL=postgres://sso:pass@127.0.0.1/sso", "SOCKET=postgres:///sso?host=/run/postgresql")
			if diff := cmp.Diff(c.want, texts(t, lines(warnings))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestApplicationsTakeFromTheHouseWhatTheyDoNotSay(t *testing.T) {
	cfg, _ := parse(t, least+mailed+`
session: {lifetime: 4h, concurrent: 2, at_limit: refuse, address_change: audit, confirm_by_email: true, remember: {lifetime: 48h}}
applications:
  silent: {}
  own: {session: {address_change: ignore, confirm_by_email: false, concurrent: 1, at_limit: refuse}}
`)
	want := Session{Idle: 30 * time.Minute, Lifetime: 4 * time.Hour, AtLimit: "end_oldest", AddressChange: "audit", ConfirmByEmail: true}
	if diff := cmp.Diff(want, cfg.Applications["silent"].Session); diff != "" {
		t.Error(diff)
	}
	want.Concurrent, want.AtLimit, want.AddressChange, want.ConfirmByEmail = 1, "refuse", "ignore", false
	if diff := cmp.Diff(want, cfg.Applications["own"].Session); diff != "" {
		t.Error(diff)
	}
	if cfg.Session.Remember != (Remember{Idle: 48 * time.Hour, Lifetime: 48 * time.Hour}) {
		t.Errorf("remembered for %+v", cfg.Session.Remember)
	}
	if off, _ := parse(t, least); off.Session.Remember != (Remember{}) {
		t.Errorf("nobody asked for %+v", off.Session.Remember)
	}
}

func TestAProfileOfYoursChangesOnlyWhatItSays(t *testing.T) {
	cfg, _ := parse(t, least+`
profiles:
  silent: {}
  empty: {cookie: }
  never: {cookie: {refresh_below: 0s}}
  own: {cookie: {refresh_below: 1m}, api_key: {secret_header: X-API-Secret}, refresh: {ends_token: true}, token_query: access_token}
`)
	built, err := DefaultProfile()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]time.Duration{
		"silent": built.Cookie.RefreshBelow, "empty": built.Cookie.RefreshBelow, "never": 0, "own": time.Minute,
	} {
		p, ok := cfg.Profile(name)
		if !ok || p.Cookie.RefreshBelow != want {
			t.Errorf("profile %s renews below %s, want %s", name, p.Cookie.RefreshBelow, want)
		}
		own := name == "own"
		if (p.APIKey.SecretHeader == "X-API-Secret") != own || p.Refresh.EndsToken != own || (p.TokenQuery == "access_token") != own {
			t.Errorf("profile %s: %+v", name, p)
		}
	}
	if built.Cookie.RefreshBelow != 5*time.Minute {
		t.Errorf("the built-in one renews below %s", built.Cookie.RefreshBelow)
	}
}

func TestTheDatabasesURLIsTakenFromAnywhereAndNeverShown(t *testing.T) {
	const good = "postgres://sso:battery-staple@db.example.com:5432/sso?sslmode=verify-full"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "url"), []byte(good+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		add  string
		vars []string
	}{
		"the variable itself":            {"", []string{"SALLYPORT_STORAGE_POSTGRES_URL=" + good}},
		"a variable that names another":  {"", []string{"SALLYPORT_STORAGE_POSTGRES_URL=env:DB", "DB=" + good}},
		"a variable that names a file":   {"", []string{"SALLYPORT_STORAGE_POSTGRES_URL=file:url"}},
		"a variable in place of a key":   {"storage: {postgres: {url: env:NOBODY}}", []string{"SALLYPORT_STORAGE_POSTGRES_URL=" + good}},
		"a file":                         {"storage: {postgres: {url: file:url}}", nil},
		"the configuration itself":       {"storage: {postgres: {url: '" + good + "'}}", nil},
		"an empty variable is none":      {"storage: {postgres: {url: file:url}}", []string{"SALLYPORT_STORAGE_POSTGRES_URL="}},
		"a variable that no URL is like": {"", []string{"SALLYPORT_STORAGE_POSTGRES_URL=battery-staple"}},
		"a variable with a raw password": {"", []string{"SALLYPORT_STORAGE_POSTGRES_URL=postgres://sso:battery-staple%@db/sso"}},
		"one that is not encrypted":      {"", []string{"SALLYPORT_STORAGE_POSTGRES_URL=postgres://sso:battery-staple@db.example.com/sso"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, warnings, err := Parse("c.yaml", []byte(least+c.add), dir, kinds(), env(c.vars...))
			shown := fmt.Sprint(err, lines(warnings))
			if cfg != nil {
				var out bytes.Buffer
				if err := Print(&out, cfg); err != nil {
					t.Fatal(err)
				}
				shown += out.String() + fmt.Sprintf("%v %+v %#v", cfg.Storage, cfg.Storage, cfg.Storage)
				if got := cfg.Storage.Postgres.URL.Reveal(); !strings.HasPrefix(got, "postgres://sso:battery-staple@db.example.com") {
					t.Errorf("the URL in force is %q", got)
				}
			}
			if strings.Contains(shown, "staple") {
				t.Errorf("the password is shown:\n%s", shown)
			}
			if bad := strings.Contains(name, "no URL") || strings.Contains(name, "raw"); bad != (err != nil) {
				t.Errorf("got %v", err)
			}
		})
	}
	cfg, _ := parse(t, least, "SALLYPORT_STORAGE_POSTGRES_MAX_CONNECTIONS=7", "SALLYPORT_STORAGE_POSTGRES_NOTIFICATIONS=false")
	if p := cfg.Storage.Postgres; p.MaxConnections != 7 || p.Notifications {
		t.Errorf("%+v", p)
	}
	_, _, err := Parse("c.yaml", []byte(least), dir, kinds(), env("SALLYPORT_STORAGE_POSTGRES_MAX_CONNECTIONS=many"))
	want := "SALLYPORT_STORAGE_POSTGRES_MAX_CONNECTIONS: storage.postgres.max_connections: expected a whole number, found text"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
