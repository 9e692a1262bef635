package sqlite_test

import (
	"path/filepath"
	"testing"

	"sallyport/broker"
	"sallyport/storage"
	"sallyport/storage/sqlite"
	"sallyport/storage/storagetest"
)

func TestConformance(t *testing.T) {
	key := newKey(t)
	storagetest.Run(t, func(t testing.TB) broker.Store {
		return open(t, filepath.Join(t.TempDir(), "store.db"), key)
	})
}

func TestNodes(t *testing.T) {
	storagetest.RunNodes(t, func(t testing.TB) [2]broker.Store {
		path, key := filepath.Join(t.TempDir(), "store.db"), newKey(t)
		return [2]broker.Store{open(t, path, key), open(t, path, key)}
	})
}

func newKey(t testing.TB) *storage.MasterKey {
	t.Helper()
	key, err := storage.NewMasterKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// open opens a store that is closed with the test.
func open(t testing.TB, path string, key *storage.MasterKey) broker.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, MasterKey: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
