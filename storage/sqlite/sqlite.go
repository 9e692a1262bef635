// Package sqlite owns the store in one SQLite file: opening it safely (rights, pragmas, schema, one starting process at
// a time), its two pools, and what SQLite's errors mean. What the store does is storage/sqlstore's.
//
// One connection writes, so that writers of one process queue in Go and not in SQLite's busy loop; the others only
// read, each on the snapshot it began with. Other processes (the command line beside a running server) take turns
// through SQLite's own locks.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/migrations"
	"sallyport/storage/sqlstore"
)

const (
	driverName = "sqlite"
	minReaders = 2
	maxReaders = 8
)

// Options are what Open needs.
type Options struct {
	// Path of the database file; it and its folder are made where they are missing. In-memory databases are refused:
	// a store that forgets would forget revocations too.
	Path string
	// MasterKey seals and opens secrets at rest.
	MasterKey *storage.MasterKey
	// Now is the clock that Tx.Now shows: SQLite has none of its own, the process's is the database's. Nil: time.Now.
	Now func() time.Time
}

// Open opens the store, brings its schema up to date and checks the master key: a store sealed with another one is
// refused with sqlstore.ErrWrongMasterKey. A file or folder that others may read or write is identity.ErrDenied.
func Open(ctx context.Context, o Options) (broker.Store, error) {
	path, err := checkPath(o.Path)
	if err != nil {
		return nil, err
	}
	if o.MasterKey == nil {
		return nil, fmt.Errorf("open %s: no master key: %w", path, identity.ErrInvalid)
	}
	if err := prepareFile(path); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	writer, reader, err := openPools(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := migrate(ctx, path, writer); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), reader.Close(), writer.Close())
	}
	now := o.Now
	if now == nil {
		now = time.Now
	}
	s, err := sqlstore.New(ctx, sqlstore.Options{
		Writer: writer, Reader: reader, Dialect: dialect(now), MasterKey: o.MasterKey,
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

// checkPath makes the path absolute and refuses what SQLite would take for something else than a file.
func checkPath(path string) (string, error) {
	if path == "" || strings.Contains(path, ":memory:") || strings.HasPrefix(path, "file:") ||
		strings.IndexByte(path, 0) >= 0 {
		return "", fmt.Errorf("database path %q is not a file name: %w", path, identity.ErrInvalid)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("database path: %w", err)
	}
	return abs, nil
}

func openPools(path string) (writer, reader *sql.DB, err error) {
	if writer, err = sql.Open(driverName, dsn(path, "immediate")); err != nil {
		return nil, nil, err
	}
	writer.SetMaxOpenConns(1)
	writer.SetMaxIdleConns(1)
	if reader, err = sql.Open(driverName, dsn(path, "deferred", "query_only(1)")); err != nil {
		return nil, nil, errors.Join(err, writer.Close())
	}
	readers := min(max(runtime.GOMAXPROCS(0), minReaders), maxReaders)
	reader.SetMaxOpenConns(readers)
	reader.SetMaxIdleConns(readers)
	return writer, reader, nil
}

// dsn names the file as a URI, so that no character of the path is taken for an option. busy_timeout comes first: the
// pragmas after it may have to wait for a lock. synchronous=FULL keeps what was committed through a power cut, which a
// revocation must survive.
func dsn(path, txlock string, pragmas ...string) string {
	q := url.Values{"_txlock": {txlock}, "mode": {"rw"}}
	q["_pragma"] = append([]string{
		"busy_timeout(5000)", "journal_mode(WAL)", "foreign_keys(1)", "synchronous(FULL)",
	}, pragmas...)
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// migrate brings the schema up to date, one process at a time: two that start together would both find the same step
// missing. The lock is a writer's lock on an empty database beside the store, which ends with the process that holds
// it, however that ends.
func migrate(ctx context.Context, path string, writer *sql.DB) error {
	if current, err := migrations.Current(ctx, writer); current || err != nil {
		return err
	}
	unlock, err := lockStart(ctx, path)
	if err != nil {
		return err
	}
	_, err = migrations.Up(ctx, writer, migrations.SQLite)
	return errors.Join(err, unlock())
}

func lockStart(ctx context.Context, path string) (unlock func() error, err error) {
	lock := path + ".lock"
	if err := prepareFile(lock); err != nil {
		return nil, err
	}
	q := url.Values{"_pragma": {"busy_timeout(30000)"}, "_txlock": {"exclusive"}, "mode": {"rw"}}
	db, err := sql.Open(driverName, "file:"+(&url.URL{Path: lock}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wait for another process that starts: %w: %w", identity.ErrUnavailable, err),
			db.Close())
	}
	return func() error { return errors.Join(tx.Rollback(), db.Close()) }, nil
}
