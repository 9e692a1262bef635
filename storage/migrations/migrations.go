// Package migrations owns the schema, one set of steps for every engine, and brings a database up to it. It takes no
// lock: the adapter that calls it knows how its engine keeps two starting processes apart.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"sallyport/identity"
)

//go:embed *.sql
var files embed.FS

// Dialect names the engine for the migrator's own bookkeeping.
type Dialect string

// The engines.
const (
	SQLite     Dialect = "sqlite"
	PostgreSQL Dialect = "postgresql"
)

func (d Dialect) goose() (goose.Dialect, error) {
	switch d {
	case SQLite:
		return goose.DialectSQLite3, nil
	case PostgreSQL:
		return goose.DialectPostgres, nil
	}
	return "", fmt.Errorf("dialect %q: %w", string(d), identity.ErrInvalid)
}

// Up applies every step the database does not have yet, each in a transaction of its own, and returns how many. A
// database with steps we do not know is left as it is: migrations only expand, so a newer schema serves this version.
func Up(ctx context.Context, db *sql.DB, d Dialect) (int, error) {
	dialect, err := d.goose()
	if err != nil {
		return 0, err
	}
	p, err := goose.NewProvider(dialect, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return 0, fmt.Errorf("migrations: %w", err)
	}
	done, err := p.Up(ctx)
	if err != nil {
		return 0, fmt.Errorf("migrate: %w", err)
	}
	return len(done), nil
}

// Current reports whether the database has our newest step (or newer ones), by reading alone. A database without any
// is not current.
func Current(ctx context.Context, db *sql.DB) (bool, error) {
	newest, err := newest()
	if err != nil {
		return false, err
	}
	var version int64
	// An error means that the table is not there; should the database itself be the trouble, Up will tell.
	err = db.QueryRowContext(ctx, `SELECT version_id FROM goose_db_version WHERE version_id >= $1 AND is_applied LIMIT 1`,
		newest).Scan(&version)
	if ctxErr := ctx.Err(); ctxErr != nil {
		return false, ctxErr
	}
	return err == nil, nil
}

// newest is the number of the last step.
func newest() (int64, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return 0, err
	}
	if len(names) == 0 {
		return 0, errors.New("no migrations")
	}
	return goose.NumericComponent(names[len(names)-1])
}
