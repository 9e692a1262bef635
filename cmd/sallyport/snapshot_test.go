package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/configs"
	"sallyport/providers/local"
)

// sampleEnv is what the samples' env: secrets refer to.
func sampleEnv(name string) (string, bool) {
	values := map[string]string{
		"CORP_AD_PASSWORD": "corp-ad-password", "PARTNER_CLIENT_SECRET": "partner-client-secret",
		"INVENTORY_SECRET": "inventory-secret-of-more-than-32-bytes",
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
				if made.Profile.Routes["login"] == "" || len(made.Profile.Claims) == 0 {
					t.Errorf("application %s has an empty profile", id)
				}
			}
		})
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
	dir, err := d.startDirectory(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	upstream, secret, err := d.startProvider(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = upstream.Close() }()
	file, err := d.writeConfig(dir, upstream, secret)
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
	for i := range first {
		if first[i].Password == second[i].Password && first[(i+1)%len(first)].Password == second[(i+1)%len(second)].Password {
			t.Errorf("%s has the same password in two demos", first[i].Username)
		}
		if len(first[i].Password) < 15 {
			t.Errorf("%s: a password of %d characters is below the policy", first[i].Username, len(first[i].Password))
		}
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
