package sqlite_test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/storage"
	"sallyport/storage/sqlite"
	"sallyport/tokens"
)

// rawExec changes a store behind its back.
func rawExec(t testing.TB, path, statement string) {
	t.Helper()
	d, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if _, err := d.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// secrets are what a test run issues; each must be long enough not to be found by chance.
func secrets() map[string]string {
	s := map[string]string{}
	for _, name := range []string{
		"session token", "code", "key secret", "upstream", "private key", "setting", "refresh token", "successor",
		"refresh answer", "verification code", "activated token",
	} {
		s[name] = "canary/" + name + "/5f0c3a9e+7b?d1"
	}
	return s
}

func TestSTO04_NoSecretStandsInTheFiles(t *testing.T) {
	path, key := filepath.Join(t.TempDir(), "store.db"), newKey(t)
	s := open(t, path, key)
	writeSecrets(t, s, secrets())
	encoded, err := key.Encode()
	if err != nil {
		t.Fatal(err)
	}
	all := secrets()
	all["master key"] = encoded
	search(t, path, all, "while open")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	search(t, path, all, "after closing")
}

func writeSecrets(t testing.TB, s broker.Store, x map[string]string) {
	t.Helper()
	ctx, now := t.Context(), time.Now()
	err := s.Update(ctx, func(tx broker.Tx) error {
		for _, err := range []error{
			tx.CreateAccount(ctx, people.Account{ID: "a1", UsernameKey: "marker-in-clear"}),
			tx.CreateIdentity(ctx, people.LinkedIdentity{
				Provider: "p", Subject: "s", AccountID: "a1", Upstream: []byte(x["upstream"]),
			}),
			tx.UpdateIdentity(ctx, people.LinkedIdentity{Provider: "p", Subject: "s", Upstream: []byte(x["upstream"])}),
			tx.CreateSession(ctx, sessions.Session{ID: "s1", AccountID: "a1", ExpiresAt: now}, x["session token"]),
			tx.PutCode(ctx, x["code"], sessions.Code{Purpose: sessions.Setup, ExpiresAt: now.Add(time.Hour)}),
			tx.CreateKey(ctx, sessions.Key{ID: "k1", AccountID: "a1"}, x["key secret"]),
			tx.CreateSigningKey(ctx, tokens.StoredKey{ID: "j1", Private: []byte(x["private key"])}),
			tx.PutSealedSetting(ctx, "name", []byte(x["setting"])),
			tx.CreateSession(ctx, sessions.Session{ID: "s2", State: sessions.Pending, ExpiresAt: now}, ""),
			tx.ActivateSession(ctx, "s2", x["activated token"]),
			tx.PutRefresh(ctx, x["refresh token"], sessions.Refresh{SessionID: "s2", ExpiresAt: now.Add(time.Hour)}),
			tx.PutRefresh(ctx, x["successor"], sessions.Refresh{SessionID: "s2", ExpiresAt: now.Add(time.Hour)}),
			tx.PutVerification(ctx, sessions.Verification{ID: "v1", Code: x["verification code"], SessionID: "s2"}),
			tx.Append(ctx, audit.Event{Type: audit.KeyCreated, At: now, Outcome: audit.Success}),
		} {
			if err != nil {
				return err
			}
		}
		_, err1 := tx.TakeCode(ctx, sessions.Setup, x["code"], now)
		_, err2 := tx.TakeRefresh(ctx, x["refresh token"], x["successor"], []byte(x["refresh answer"]), now)
		return errors.Join(err1, err2)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func search(t *testing.T, path string, secrets map[string]string, when string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil {
		t.Fatal(err)
	}
	var marked bool
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		marked = marked || strings.Contains(string(b), "marker-in-clear")
		text := string(b)
		for name, secret := range secrets {
			for form, spelled := range spellings(secret) {
				if strings.Contains(text, spelled) || strings.Contains(strings.ToLower(text), strings.ToLower(spelled)) {
					t.Errorf("%s: %s stands in %s as %s", when, name, filepath.Base(file), form)
				}
			}
		}
	}
	if !marked {
		t.Errorf("%s: the search does not find what is there", when)
	}
}

// spellings of a secret; base64 at each of its three offsets, without the characters that neighbours change.
func spellings(secret string) map[string]string {
	forms := map[string]string{"raw": secret, "hex": hex.EncodeToString([]byte(secret))}
	for offset := range 3 {
		padded := strings.Repeat("\x00", offset) + secret
		for name, e := range map[string]*base64.Encoding{"std": base64.RawStdEncoding, "url": base64.RawURLEncoding} {
			s := e.EncodeToString([]byte(padded))
			forms[fmt.Sprint(name, offset)] = s[4 : len(s)-4]
		}
	}
	return forms
}

func TestTwoHandlesOnOneFileSeeEachOther(t *testing.T) {
	path, key := filepath.Join(t.TempDir(), "store.db"), newKey(t)
	one, two := open(t, path, key), open(t, path, key)
	var wg sync.WaitGroup
	for i, s := range []broker.Store{one, two} {
		wg.Go(func() {
			for n := range 25 {
				addAccount(t, s, fmt.Sprint("a", i, "-", n))
			}
		})
	}
	wg.Wait()
	if a, b := accounts(t, one), accounts(t, two); a != 50 || b != 50 {
		t.Fatalf("%d and %d accounts, want 50", a, b)
	}
}

const (
	helperPath = "SALLYPORT_TEST_STORE"
	helperName = "SALLYPORT_TEST_WRITER"
	perProcess = 10
)

// TestWriterProcess is not a test of its own: TestProcessesThatStartTogether runs it in other processes.
func TestWriterProcess(t *testing.T) {
	path := os.Getenv(helperPath)
	if path == "" {
		t.Skip("only run as a child process")
	}
	empty, err := sqlite.Empty(path)
	if err != nil {
		t.Fatal(err)
	}
	key, err := storage.LoadOrCreateMasterKey(path+".key", empty)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, path, key)
	for n := range perProcess {
		addAccount(t, s, fmt.Sprint(os.Getenv(helperName), "-", n))
	}
}

func TestProcessesThatStartTogether(t *testing.T) {
	const processes = 4
	path := filepath.Join(t.TempDir(), "new", "store.db")
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestWriterProcess$")
			cmd.Env = append(os.Environ(), helperPath+"="+path, helperName+"="+fmt.Sprint("p", i))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("process %d: %v\n%s", i, err, out)
			}
		})
	}
	wg.Wait()
	key, err := storage.LoadMasterKey(path + ".key")
	if err != nil {
		t.Fatal(err)
	}
	if n := accounts(t, open(t, path, key)); n != processes*perProcess {
		t.Fatalf("%d accounts, want %d", n, processes*perProcess)
	}
}
