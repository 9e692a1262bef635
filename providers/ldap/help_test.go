package ldap

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/identity"
	"sallyport/internal/testenv"
	"sallyport/providers"
)

// logged is a log that tests can read.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func testNow() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// fakeConfig asks a fake server, in plain text.
func fakeConfig(urls ...string) *Config {
	return &Config{
		URLs: urls, TLS: TLS{InsecurePlainText: true},
		BindDN: "cn=svc,dc=example,dc=test", BindPassword: identity.NewSecret("svc-directory-pass"),
		Users: Users{Base: "ou=people,dc=example,dc=test", Filter: "(uid={username})"},
	}
}

// slapdConfig asks a real server over LDAPS.
func slapdConfig(d *testenv.Directory) *Config {
	return &Config{
		URLs: []string{d.LDAPSURL}, TLS: TLS{CAFile: d.CAFile},
		BindDN: d.BindDN, BindPassword: identity.NewSecret(d.BindPassword),
		Users:  Users{Base: d.PeopleDN},
		Groups: Groups{Base: d.GroupsDN, Nested: true, Name: "cn"},
	}
}

// open opens a provider that goes with the test.
func open(t testing.TB, c *Config) (*Provider, *logged) {
	t.Helper()
	log := &logged{}
	opened, err := c.Open(context.Background(), "corp", "Corp", providers.Env{
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: testNow, Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	p, ok := opened.(*Provider)
	if !ok {
		p = opened.(*Directory).Provider
	}
	t.Cleanup(func() { _ = p.Close() })
	return p, log
}

func writeFile(t testing.TB, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
