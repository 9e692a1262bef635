package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"sallyport/identity"
)

const (
	openToAll     = 0o077
	writableByAll = 0o002
)

// prepareFile makes the file (0600) and its folder (0700) where they are missing, before SQLite would make them with
// wider rights; -wal and -shm inherit the file's. An existing file must not be open to others, and an existing folder
// not be one in which anybody can replace files.
func prepareFile(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("database folder: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("database folder: %w", err)
	}
	if info.Mode().Perm()&writableByAll != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("database folder %s can be written by anybody (mode %04o): %w", dir, info.Mode().Perm(),
			identity.ErrDenied)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return fmt.Errorf("database file: %w", err)
	}
	info, err = f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("database file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("database %s is not a regular file: %w", path, identity.ErrInvalid)
	}
	if mode := info.Mode().Perm(); mode&openToAll != 0 {
		return fmt.Errorf("database file %s is open to others (mode %04o, want 0600): %w", path, mode,
			identity.ErrDenied)
	}
	return nil
}

// Empty reports whether there is no store at path yet: no file, an empty one, or one whose first start did not come as
// far as sealing anything. Only then may a master key be generated for it. A file that is no database is an error.
func Empty(path string) (bool, error) {
	path, err := checkPath(path)
	if err != nil {
		return false, err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("database file: %w", err)
	case info.Size() == 0:
		return true, nil
	}
	empty, err := unsealed(path)
	if err != nil {
		return false, fmt.Errorf("look into %s: %w: %w", path, identity.ErrUnavailable, err)
	}
	return empty, nil
}

// unsealed reports whether the database has no table of ours, or all of them but not one sealed value.
func unsealed(path string) (_ bool, err error) {
	q := url.Values{"_pragma": {"busy_timeout(5000)", "query_only(1)"}, "mode": {"rw"}}
	db, err := sql.Open(driverName, "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ctx := context.Background()
	var foreign, meta int
	err = db.QueryRowContext(ctx, `SELECT
		(SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT IN ('goose_db_version', 'sqlite_sequence')),
		(SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'meta')`).Scan(&foreign, &meta)
	if err != nil || meta == 0 {
		return foreign == 0, err
	}
	var rows int
	err = db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM meta) + (SELECT count(*) FROM accounts)
		+ (SELECT count(*) FROM signing_keys) + (SELECT count(*) FROM settings)`).Scan(&rows)
	return rows == 0, err
}
