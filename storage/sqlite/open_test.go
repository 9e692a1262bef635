package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlite"
	"sallyport/storage/sqlstore"
)

func TestSTO05_TheFilesAreOursAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "deep", "store ä?#%41.db")
	s := open(t, path, newKey(t))
	addAccount(t, s, "a1") // so that -wal and -shm are there
	for name, want := range map[string]fs.FileMode{
		path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600, path + ".lock": 0o600,
		filepath.Dir(path): 0o700, filepath.Dir(filepath.Dir(path)): 0o700,
	} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %04o, want %04o", name, got, want)
		}
	}
}

func TestSTO05_AFileOrFolderOpenToOthersIsRefused(t *testing.T) {
	for _, bits := range []fs.FileMode{0o640, 0o604, 0o660} {
		path := filepath.Join(t.TempDir(), "store.db")
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, bits)); err != nil {
			t.Fatal(err)
		}
		if _, err := tryOpen(t, path, newKey(t)); !errors.Is(err, identity.ErrDenied) {
			t.Errorf("file %04o: got %v", bits, err)
		}
	}
	dir := filepath.Join(t.TempDir(), "open")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t, filepath.Join(dir, "store.db"), newKey(t)); !errors.Is(err, identity.ErrDenied) {
		t.Errorf("folder 0777: got %v", err)
	}
}

func TestOnlyFilesAreOpened(t *testing.T) {
	for _, path := range []string{"", ":memory:", "file::memory:?cache=shared", "file:x.db", "a\x00b", t.TempDir()} {
		if _, err := tryOpen(t, path, newKey(t)); err == nil {
			t.Errorf("%q was opened", path)
		}
	}
	if _, err := tryOpen(t, filepath.Join(t.TempDir(), "store.db"), nil); !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("no key: got %v", err)
	}
}

func TestAFileThatIsNoDatabaseIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	text := []byte("this is somebody's diary, and not a database at all; it must survive being pointed at by mistake\n")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t, path, newKey(t)); err == nil {
		t.Error("it was opened")
	}
	if empty, err := sqlite.Empty(path); err == nil || empty {
		t.Errorf("empty: got %v, %v", empty, err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != string(text) {
		t.Errorf("it was changed (%v)", err)
	}
}

func TestSTO01_AWrongKeyDoesNotOpenTheStore(t *testing.T) {
	path, right := filepath.Join(t.TempDir(), "store.db"), newKey(t)
	addAccount(t, open(t, path, right), "a1")
	if _, err := tryOpen(t, path, newKey(t)); !errors.Is(err, sqlstore.ErrWrongMasterKey) {
		t.Fatalf("got %v", err)
	}
	open(t, path, right) // and the attempt broke nothing
}

func TestSTO01_AStoreThatLostItsCanaryIsRefused(t *testing.T) {
	path, key := filepath.Join(t.TempDir(), "store.db"), newKey(t)
	addAccount(t, open(t, path, key), "a1")
	rawExec(t, path, "DELETE FROM meta")
	if _, err := tryOpen(t, path, newKey(t)); !errors.Is(err, sqlstore.ErrWrongMasterKey) {
		t.Fatalf("got %v", err)
	}
	if empty, err := sqlite.Empty(path); err != nil || empty {
		t.Fatalf("empty: got %v, %v", empty, err)
	}
}

func TestSTO01_AKeyIsMadeForAnEmptyStoreOnly(t *testing.T) {
	dir := t.TempDir()
	path, keyPath := filepath.Join(dir, "store.db"), filepath.Join(dir, "master.key")
	start := func() (broker.Store, error) {
		empty, err := sqlite.Empty(path)
		if err != nil {
			return nil, err
		}
		key, err := storage.LoadOrCreateMasterKey(keyPath, empty)
		if err != nil {
			return nil, err
		}
		return tryOpen(t, path, key)
	}
	for _, what := range []string{"first", "second"} {
		s, err := start()
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			t.Fatalf("%s start: %v", what, err)
		}
	}
	if err := os.Remove(keyPath); err != nil {
		t.Fatal(err)
	}
	if _, err := start(); !errors.Is(err, identity.ErrNotFound) {
		t.Fatalf("start with a lost key: got %v", err)
	}
	if _, err := os.Stat(keyPath); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a key was made for a store with data (%v)", err)
	}
}

func TestEmptyTellsAStoreFromNone(t *testing.T) {
	dir := t.TempDir()
	nothing, zero := filepath.Join(dir, "nothing"), filepath.Join(dir, "zero")
	began, other := filepath.Join(dir, "began"), filepath.Join(dir, "other")
	if err := os.WriteFile(zero, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(dir, "full")
	open(t, full, newKey(t))
	open(t, began, newKey(t))
	rawExec(t, began, "DELETE FROM meta") // as if the first start had been killed after the migration
	rawExec(t, other, "CREATE TABLE somebody_elses (x TEXT)")
	for path, want := range map[string]bool{nothing: true, zero: true, began: true, full: false, other: false} {
		if got, err := sqlite.Empty(path); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", path, got, err, want)
		}
	}
}

func TestAUD02_AnAuditTableThatTakesNothingUndoesTheChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path, newKey(t))
	rawExec(t, path, "CREATE TRIGGER frozen BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'read only'); END")
	err := s.Update(t.Context(), func(tx broker.Tx) error {
		_ = tx.Append(t.Context(), audit.Event{Type: audit.AccountCreated, At: time.Now(), Outcome: audit.Success})
		return tx.CreateAccount(t.Context(), people.Account{ID: "a1", UsernameKey: "a1"})
	})
	if err == nil {
		t.Fatal("the change was made without its event")
	}
	if n := accounts(t, s); n != 0 {
		t.Fatalf("%d accounts", n)
	}
}

func TestTheProcessClockIsTheDatabases(t *testing.T) {
	want := time.Date(2031, 1, 2, 3, 4, 5, 0, time.FixedZone("x", 3600))
	s, err := sqlite.Open(t.Context(), sqlite.Options{
		Path: filepath.Join(t.TempDir(), "store.db"), MasterKey: newKey(t), Now: func() time.Time { return want },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	err = s.View(t.Context(), func(tx broker.Tx) error {
		got, err := tx.Now(t.Context())
		if !got.Equal(want) {
			t.Errorf("got %v", got)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestANewerSchemaIsLeftAsItIs(t *testing.T) {
	path, key := filepath.Join(t.TempDir(), "store.db"), newKey(t)
	addAccount(t, open(t, path, key), "a1")
	rawExec(t, path, "ALTER TABLE accounts ADD COLUMN later TEXT")
	rawExec(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
	s := open(t, path, key)
	addAccount(t, s, "a2")
	if n := accounts(t, s); n != 2 {
		t.Fatalf("%d accounts", n)
	}
}

func tryOpen(t testing.TB, path string, key *storage.MasterKey) (broker.Store, error) {
	t.Helper()
	return sqlite.Open(t.Context(), sqlite.Options{Path: path, MasterKey: key})
}

func addAccount(t testing.TB, s broker.Store, id string) {
	t.Helper()
	err := s.Update(t.Context(), func(tx broker.Tx) error {
		return tx.CreateAccount(t.Context(), people.Account{ID: id, Username: id, UsernameKey: id})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func accounts(t testing.TB, s broker.Store) int {
	t.Helper()
	var n int
	err := s.View(context.Background(), func(tx broker.Tx) error {
		list, err := tx.Accounts(context.Background(), "", 10000)
		n = len(list)
		return err
	})
	if err != nil {
		t.Fatal(fmt.Errorf("count accounts: %w", err))
	}
	return n
}
