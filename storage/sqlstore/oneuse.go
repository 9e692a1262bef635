package sqlstore

import (
	"context"
	"fmt"
	"time"

	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlstore/internal/db"
)

// Everything that only one of several callers may win is here and in queries/oneuse.sql, each as one conditional
// statement whose row says who won. A read followed by a write would let two win (CWE-367).

// won judges such a statement: no row means that somebody else was first.
func (t *tx) won(ctx context.Context, op string, rows int64, err error) error {
	return t.one(ctx, op, rows, err, identity.ErrConflict)
}

func (t *tx) TakeCode(ctx context.Context, p sessions.Purpose, secret string, now time.Time) (sessions.Code, error) {
	const op = "take code"
	if err := findable(op, string(p)); err != nil {
		return sessions.Code{}, err
	}
	row, err := t.q.TakeCode(ctx, db.TakeCodeParams{
		Hash: storage.Hash(secret).Bytes(), Purpose: string(p), Now: when(now),
	})
	if err != nil {
		return sessions.Code{}, t.fail(ctx, op, err)
	}
	return sessions.Code{
		Purpose: p, SessionID: row.SessionID, AccountID: row.AccountID, Application: row.Application,
		Challenge: row.Challenge, ExpiresAt: at(row.ExpiresAt),
	}, nil
}

func (t *tx) Consume(ctx context.Context, id string, until time.Time) error {
	const op = "consume"
	if id == "" {
		return fmt.Errorf("%s: empty id: %w", op, identity.ErrInvalid)
	}
	if err := exact(op, id); err != nil {
		return err
	}
	n, err := t.q.Consume(ctx, id, ms(until))
	return t.won(ctx, op, n, err)
}

func (t *tx) AcquireJob(ctx context.Context, name, holder string, now, until time.Time) (bool, error) {
	const op = "acquire job"
	if err := exact(op, name, holder); err != nil {
		return false, err
	}
	n, err := t.q.AcquireJob(ctx, db.AcquireJobParams{Name: name, Holder: holder, Now: ms(now), LeaseUntil: ms(until)})
	return n > 0, t.fail(ctx, op, err)
}
