package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"sallyport/storage/sqlstore"
)

// primary takes the kind out of an extended result code.
const primary = 0xff

// dialect says what SQLite's answers mean. Its writers are serial by construction; a view is the snapshot of a
// deferred transaction.
func dialect(now func() time.Time) sqlstore.Dialect {
	return sqlstore.Dialect{
		Unique: func(err error) bool {
			c := code(err)
			return c == sqlite3.SQLITE_CONSTRAINT_UNIQUE || c == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
		},
		Foreign: func(err error) bool { return code(err) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY },
		Busy: func(err error) bool {
			c := code(err) & primary
			return c == sqlite3.SQLITE_BUSY || c == sqlite3.SQLITE_LOCKED
		},
		Unavailable: unavailable,
		Now:         func(context.Context) (time.Time, error) { return now(), nil },
		Update:      &sql.TxOptions{},
		View:        &sql.TxOptions{ReadOnly: true},
		Prepare:     true,
	}
}

// code is SQLite's extended result code, or 0 where the error is not SQLite's.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// unavailable lists what is about the file or the machine and not about a statement of ours.
func unavailable(err error) bool {
	switch code(err) & primary {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOTADB,
		sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_ABORT:
		return true
	}
	return false
}
