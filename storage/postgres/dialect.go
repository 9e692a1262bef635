package postgres

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"sallyport/storage/sqlstore"
)

// Codes of PostgreSQL's errors (appendix A of its manual).
const (
	foreignKey           = "23503"
	uniqueKey            = "23505"
	serializationFailure = "40001"
	deadlock             = "40P01"
	duplicateTable       = "42P07"
	duplicateType        = "42710"
)

// dialect says what PostgreSQL's answers mean. The clock is asked outside of the transactions, whose connections are
// counted: two that wait for one more each would wait forever.
func dialect(side *sql.DB, changed func()) sqlstore.Dialect {
	return sqlstore.Dialect{
		Unique:  is(uniqueKey),
		Foreign: is(foreignKey),
		// 40003, "unknown whether it was committed", is not among these, and neither is a lost connection: such a
		// transaction may have happened.
		Busy:        is(serializationFailure, deadlock),
		Unavailable: unavailable,
		Now:         func(ctx context.Context) (time.Time, error) { return clock(ctx, side) },
		Changed:     changed,
		Update:      &sql.TxOptions{Isolation: sql.LevelSerializable},
		// One snapshot, but without a serializable transaction's bookkeeping: a view decides nothing that is written.
		View: &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true},
	}
}

func clock(ctx context.Context, db *sql.DB) (time.Time, error) {
	var ms int64
	err := db.QueryRowContext(ctx,
		`SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)`).Scan(&ms)
	return time.UnixMilli(ms).UTC(), err
}

// code is PostgreSQL's error code, or "" where the error is not the database's.
func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func is(codes ...string) func(error) bool {
	return func(err error) bool { return slices.Contains(codes, code(err)) }
}

// unavailable lists what is about the server, the way to it or its load, and not about a statement of ours. Whoever
// waited for a lock until lock_timeout is not helped by waiting again, so that is here and not busy.
func unavailable(err error) bool {
	c := code(err)
	if c == "" {
		return broken(err)
	}
	switch c[:min(2, len(c))] {
	case "08", // connection
		"28", // our credentials, which worked once
		"53", // too many connections, disk full, out of memory
		"57", // cancelled by statement_timeout, shut down, starting up, database dropped
		"58", // the machine below
		"F0", // the server's configuration
		"XX": // internal, corrupted
		return true
	}
	return is(
		"25006", // the server became a standby that only reads
		"25P03", // idle_in_transaction_session_timeout
		"25P04", // transaction_timeout
		"3D000", // no such database
		"40003", // unknown whether it was committed
		"55P03", // lock_timeout
	)(err)
}

// broken recognises what the driver says about a connection that failed.
func broken(err error) bool {
	var connecting *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connecting) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
