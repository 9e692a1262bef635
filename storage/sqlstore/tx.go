package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/storage/sqlstore/internal/db"
)

// tx fills broker.Tx for one run of one transaction.
type tx struct {
	store *Store
	q     *db.Queries
	// broken is the first failure of a statement. Some engines take no further statement after one, others do; here
	// the transaction is lost on all of them.
	broken error
	// changed says that changes were recorded, which somebody may wait for.
	changed bool
}

var _ broker.Tx = (*tx)(nil)

// fail turns a statement's error into ours and marks the transaction broken, except for "no rows", which is an answer.
func (t *tx) fail(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s: %w", op, identity.ErrNotFound)
	}
	err = t.store.failure(ctx, op, err)
	if t.broken == nil {
		t.broken = err
	}
	return err
}

// insert judges an INSERT … ON CONFLICT DO NOTHING: no row means that the name was taken.
func (t *tx) insert(ctx context.Context, op string, rows int64, err error) error {
	return t.one(ctx, op, rows, err, identity.ErrConflict)
}

// update judges an UPDATE or DELETE of one row: no row means that there is none.
func (t *tx) update(ctx context.Context, op string, rows int64, err error) error {
	return t.one(ctx, op, rows, err, identity.ErrNotFound)
}

func (t *tx) one(ctx context.Context, op string, rows int64, err, none error) error {
	if err != nil {
		return t.fail(ctx, op, err)
	}
	if rows == 0 {
		return fmt.Errorf("%s: %w", op, none)
	}
	return nil
}

// failure classifies an engine's error. The engine's own error stays in the chain, for Busy and for the log, unless it
// says nothing more than the sentinel.
func (s *Store) failure(ctx context.Context, op string, err error) error {
	switch {
	case ctx.Err() != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return s.unavailable(ctx, op, err)
	case s.dialect.Unique(err):
		return fmt.Errorf("%s: %w", op, identity.ErrConflict)
	case s.dialect.Foreign(err):
		return fmt.Errorf("%s: what it belongs to: %w", op, identity.ErrNotFound)
	case s.dialect.Busy(err), s.dialect.Unavailable(err), errors.Is(err, driver.ErrBadConn),
		errors.Is(err, sql.ErrConnDone), errors.Is(err, sql.ErrTxDone):
		return s.unavailable(ctx, op, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

// unavailable says that there was no answer. A caller who went away is no trouble of the store: then only their own
// context.Canceled is told.
func (*Store) unavailable(ctx context.Context, op string, err error) error {
	cause := err
	if ctxErr := ctx.Err(); ctxErr != nil {
		cause = ctxErr
	}
	if errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%s: %w", op, cause)
	}
	return fmt.Errorf("%s: %w: %w", op, identity.ErrUnavailable, cause)
}

// clamp makes a limit that every engine takes: less than one is none.
func clamp(limit int) int32 {
	return int32(min(max(limit, 0), math.MaxInt32))
}
