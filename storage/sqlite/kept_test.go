package sqlite_test

import (
	"os"
	"path/filepath"
	"testing"

	"sallyport/storage"
	"sallyport/storage/sqlite"
	"sallyport/storage/storagetest"
)

func openKept(t testing.TB, key *storage.MasterKey) storagetest.Kept {
	t.Helper()
	s, ok := open(t, filepath.Join(t.TempDir(), "store.db"), key).(storagetest.Kept)
	if !ok {
		t.Fatal("the store cannot be backed up")
	}
	return s
}

func TestBackups(t *testing.T) { storagetest.RunBackups(t, openKept, openKept) }

func TestReseal(t *testing.T) { storagetest.RunReseal(t, openKept) }

func TestStepsAreReadWithoutMigrating(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.db")
	if steps, err := sqlite.Steps(t.Context(), missing); err == nil {
		t.Fatalf("a missing file has %v", steps)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Fatal("looking made a file")
	}
	waiting := filepath.Join(t.TempDir(), "waiting.db")
	if err := os.WriteFile(waiting, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	served := filepath.Join(t.TempDir(), "store.db")
	open(t, served, newKey(t))
	for path, pending := range map[string]bool{waiting: true, served: false} {
		steps, err := sqlite.Steps(t.Context(), path)
		if err != nil || len(steps) < 3 || steps[0].Pending() != pending {
			t.Errorf("%s: %v, %v", filepath.Base(path), steps, err)
		}
	}
}
