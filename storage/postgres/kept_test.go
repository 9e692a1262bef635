package postgres

import (
	"path/filepath"
	"testing"
	"time"

	"sallyport/storage"
	"sallyport/storage/sqlite"
	"sallyport/storage/storagetest"
)

func inDatabase(t testing.TB, key *storage.MasterKey) storagetest.Kept {
	t.Helper()
	return open(t, Options{URL: server.Get(t).NewDatabase(t), MasterKey: key, MaxConns: 12})
}

func inFile(t testing.TB, key *storage.MasterKey) storagetest.Kept {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, MasterKey: key, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	kept, ok := s.(storagetest.Kept)
	if !ok {
		t.Fatal("SQLite's store cannot be backed up")
	}
	return kept
}

func TestBackups(t *testing.T) {
	t.Run("PostgreSQL to PostgreSQL", func(t *testing.T) { storagetest.RunBackups(t, inDatabase, inDatabase) })
	t.Run("SQLite to PostgreSQL", func(t *testing.T) { storagetest.RunBackups(t, inFile, inDatabase) })
	t.Run("PostgreSQL to SQLite", func(t *testing.T) { storagetest.RunBackups(t, inDatabase, inFile) })
}

func TestReseal(t *testing.T) { storagetest.RunReseal(t, inDatabase) }

func TestStepsAreReadWithoutMigrating(t *testing.T) {
	url := server.Get(t).NewDatabase(t)
	for _, served := range []bool{false, true} {
		if served {
			open(t, Options{URL: url, MasterKey: newKey(t)})
		}
		steps, err := Steps(t.Context(), url)
		if err != nil || len(steps) < 3 || steps[0].Pending() == served {
			t.Errorf("served %v: %v, %v", served, steps, err)
		}
	}
}
