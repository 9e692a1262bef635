package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/broker"
	"sallyport/broker/sessions"
)

const lockoutPassword = "a long password of the tests"

// lockoutHouse is an open house beside which commands run, as beside a server.
func lockoutHouse(t *testing.T, throttle string) (*house, *cli) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	config := `server: {issuer: "http://localhost:8080"}
providers:
  local: {type: local}
roles: {viewer: {permissions: ["*:read"]}}
mapping: {default_roles: [viewer]}
` + throttle
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := readConfig(quiet(io.Discard), file)
	if err != nil {
		t.Fatal(err)
	}
	h, err := openHouse(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"ada", "bea"} {
		if _, err := h.broker.AddPerson(t.Context(), h.visit(), actor, broker.NewPerson{Username: name, Password: lockoutPassword}); err != nil {
			t.Fatal(err)
		}
	}
	return h, &cli{File: file}
}

func quiet(out io.Writer) *console {
	return &console{out: out, err: io.Discard, env: func(string) (string, bool) { return "", false }}
}

// signIn types a password from an address.
func (h *house) signIn(ctx context.Context, address, name, password string) error {
	v := h.visit()
	v.Address = address
	at := broker.Attempt{Application: v.SelfApplication, Kind: sessions.API}
	_, err := h.broker.SignInWithPassword(ctx, v, at, "", name, password)
	return err
}

// command runs one and returns what it printed.
func command(t *testing.T, run func(c *console) error) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(quiet(&out))
	return out.String(), err
}

func TestLockoutsAreListedAndClearedBesideAServer(t *testing.T) {
	h, flags := lockoutHouse(t, "throttle: {per_account_and_source: 2, per_account: 3, per_source: 5}\n")
	ctx := t.Context()
	for range 2 {
		for _, name := range []string{"ada", "typed-by-mistake"} {
			if h.signIn(ctx, "192.0.2.1", name, "wrong") == nil {
				t.Fatal("went in")
			}
		}
	}
	if err := h.signIn(ctx, "192.0.2.1", "ada", lockoutPassword); err == nil {
		t.Fatal("not shut out: the test shows nothing")
	}
	list := func(l lockoutListCmd) string {
		t.Helper()
		out, err := command(t, func(c *console) error { return l.Run(ctx, c, flags) })
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	out := list(lockoutListCmd{})
	if !strings.Contains(out, "pair   ada                  2 of 2  ") || !strings.Contains(out, "(a name nobody has)  2 of 2") ||
		strings.Contains(out, "account") || strings.Contains(out, "mistake") || strings.Count(out, "\n") != 3 {
		t.Errorf("listed:\n%s", out)
	}
	if out := list(lockoutListCmd{All: true}); !strings.Contains(out, "source") || !strings.Contains(out, "192.0.2.1") ||
		!strings.Contains(out, "2 of 3") || strings.Count(out, "\n") != 6 {
		t.Errorf("all listed:\n%s", out)
	}
	found := false
	for line := range strings.Lines(list(lockoutListCmd{All: true, JSON: true})) {
		var l shownLockout
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l.Scope == "source" {
			found = l.Label == "192.0.2.1" && l.Count == 4 && l.Limit == 5 && !l.Locked && l.Until.After(l.Since)
		}
	}
	if !found {
		t.Error("the source is not as it was counted")
	}
	clearing := func(l lockoutClearCmd, want string) {
		t.Helper()
		out, err := command(t, func(c *console) error { return l.Run(ctx, c, flags) })
		if got := strings.TrimSpace(out + errText(err)); got != want {
			t.Errorf("%+v says %q, want %q", l, got, want)
		}
	}
	clearing(lockoutClearCmd{}, "expected a user name, an address, or --all")
	clearing(lockoutClearCmd{What: "ada", All: true}, "expected a user name, an address, or --all")
	clearing(lockoutClearCmd{What: "bea"}, "no failed sign-in counts there")
	clearing(lockoutClearCmd{What: "192.0.2.9"}, "no failed sign-in counts there")
	clearing(lockoutClearCmd{What: "ADA"}, "cleared, 2 counters")
	if err := h.signIn(ctx, "192.0.2.1", "ada", lockoutPassword); err != nil {
		t.Errorf("the server did not go by it: %v", err)
	}
	clearing(lockoutClearCmd{What: "192.0.2.1"}, "cleared, 1 counters")
	clearing(lockoutClearCmd{All: true}, fmt.Sprintf("cleared, %d counters", 3)) // ada's account after her success, and two
	if out := list(lockoutListCmd{All: true}); strings.Count(out, "\n") != 1 {
		t.Errorf("left:\n%s", out)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
