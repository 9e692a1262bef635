package sqlite_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlite"
	"sallyport/storage/storagetest"
)

// nextSchema is a migration that does not exist: what a newer version may add while this one still runs beside it.
const nextSchema = `
	ALTER TABLE accounts ADD COLUMN future TEXT;
	ALTER TABLE sessions ADD COLUMN future BIGINT NOT NULL DEFAULT 7;
	ALTER TABLE api_keys ADD COLUMN future BOOLEAN NOT NULL DEFAULT true;
	CREATE TABLE future (id TEXT NOT NULL PRIMARY KEY, account_id TEXT NOT NULL REFERENCES accounts (id));
	CREATE INDEX future_accounts ON accounts (future);
	INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1);`

// openNext opens a store that a newer version has been at.
func openNext(t testing.TB, key *storage.MasterKey) (broker.Store, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	first := open(t, path, key)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	rawExec(t, path, nextSchema)
	return open(t, path, key), path
}

func TestThisVersionRunsOnTheNextSchema(t *testing.T) {
	key := newKey(t)
	storagetest.Run(t, func(t testing.TB) broker.Store { s, _ := openNext(t, key); return s })
}

func TestTheNextSchemaIsToldAndNotBackedUp(t *testing.T) {
	s, path := openNext(t, newKey(t))
	steps, err := sqlite.Steps(t.Context(), path)
	if err != nil || !steps[len(steps)-1].Newer() {
		t.Errorf("got %+v, %v", steps, err)
	}
	var b bytes.Buffer
	if _, err := s.(storagetest.Kept).Backup(t.Context(), &b); !errors.Is(err, identity.ErrConflict) {
		t.Errorf("a backup without the next version's table: %v", err)
	}
}
