package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"sallyport/identity"
	"sallyport/storage/migrations"
)

// lockAttempts bounds how often the way to the lock is tried when others are on it too.
const lockAttempts = 20

// migrate brings the schema up to date, one process at a time: two that start together would both find the same step
// missing.
func migrate(ctx context.Context, config *pgx.ConnConfig) (err error) {
	db := pool(patient(config), 2) // one holds the lock, one works
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.PingContext(ctx); err != nil {
		return fmt.Errorf("connect: %w: %w", identity.ErrUnavailable, err)
	}
	if current, err := migrations.Current(ctx, db); current || err != nil {
		return err
	}
	unlock, err := lockStart(ctx, db)
	if err != nil {
		return fmt.Errorf("wait for another process that starts: %w: %w", identity.ErrUnavailable, err)
	}
	_, err = migrations.Up(ctx, db, migrations.PostgreSQL)
	return errors.Join(err, unlock())
}

// lockStart takes the lock of starting processes: the lock on a row that an open transaction wrote, which ends with the
// connection, however that ends. Advisory locks would do in PostgreSQL, but CockroachDB only pretends to have them, and
// through a pooler one may outlive its owner; a row that somebody else wrote everybody has to wait for.
func lockStart(ctx context.Context, db *sql.DB) (unlock func() error, err error) {
	for range lockAttempts {
		if err = prepareLock(ctx, db); err == nil {
			if unlock, err = takeLock(ctx, db); err == nil {
				return unlock, nil
			}
		}
		if !raced(err) || ctx.Err() != nil {
			return nil, err
		}
	}
	return nil, err
}

// raced recognises that another process did the same at the same moment. IF NOT EXISTS does not keep two that create a
// table at once apart: the second runs into the catalogue's unique keys, or into the type that comes with the table.
func raced(err error) bool {
	return is(uniqueKey, duplicateTable, duplicateType, serializationFailure, deadlock, "XX000")(err)
}

// prepareLock makes the row, in no transaction: it must be there for the others too.
func prepareLock(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx,
		`CREATE TABLE IF NOT EXISTS sallyport_start (id BIGINT NOT NULL PRIMARY KEY, starts BIGINT NOT NULL)`)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `INSERT INTO sallyport_start (id, starts) VALUES (1, 0) ON CONFLICT DO NOTHING`)
	return err
}

func takeLock(ctx context.Context, db *sql.DB) (unlock func() error, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE sallyport_start SET starts = starts + 1 WHERE id = 1`); err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return tx.Rollback, nil
}

// Empty reports whether there is no store in the database yet: none of its tables, or one whose first start did not come
// as far as sealing anything. Only then may a master key be generated for it. Tables of others in the same schema are
// not ours to judge. A database that does not answer is identity.ErrUnavailable.
func Empty(ctx context.Context, url string) (bool, error) {
	config, err := parse(url)
	if err != nil {
		return false, err
	}
	db := pool(config, 1)
	empty, err := unsealed(ctx, db)
	if err != nil {
		err = fmt.Errorf("look into the database: %w: %w", identity.ErrUnavailable, err)
	}
	return empty && err == nil, errors.Join(err, db.Close())
}

// unsealed looks at the tables that hold something from the first start on.
func unsealed(ctx context.Context, db *sql.DB) (bool, error) {
	const ours = 4
	var tables, rows int
	err := db.QueryRowContext(ctx, `SELECT count(*) FROM information_schema.tables
		WHERE table_schema = current_schema() AND table_name IN ('meta', 'accounts', 'signing_keys', 'settings')`).Scan(&tables)
	if err != nil || tables < ours {
		return tables == 0, err
	}
	err = db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM meta) + (SELECT count(*) FROM accounts)
		+ (SELECT count(*) FROM signing_keys) + (SELECT count(*) FROM settings)`).Scan(&rows)
	return rows == 0, err
}
