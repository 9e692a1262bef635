package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"sallyport/broker/people"
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

// TakeRefresh hashes the successor and seals the answer before it asks, so that the one statement does everything.
func (t *tx) TakeRefresh(
	ctx context.Context, secret, successor string, answer []byte, now time.Time,
) (sessions.Refresh, error) {
	const op = "take refresh token"
	hash := storage.Hash(secret)
	sealed, err := storage.SealUnder(secret, answer, refreshPlace(hash))
	if errors.Is(err, identity.ErrInvalid) { // too short for PutRefresh, so it was never issued
		return sessions.Refresh{}, fmt.Errorf("%s: %w", op, identity.ErrConflict)
	}
	if err != nil {
		return sessions.Refresh{}, fmt.Errorf("%s: %w", op, err)
	}
	row, err := t.q.TakeRefresh(ctx, db.TakeRefreshParams{
		Hash: hash.Bytes(), SuccessorHash: storage.Hash(successor).Bytes(), AnswerSealed: sealed, Now: when(now),
		ExpiresAfter: ms(now),
	})
	if errors.Is(err, sql.ErrNoRows) {
		return sessions.Refresh{}, fmt.Errorf("%s: %w", op, identity.ErrConflict)
	}
	if err != nil {
		return sessions.Refresh{}, t.fail(ctx, op, err)
	}
	return refreshToken(row), nil
}

func (t *tx) TryVerification(ctx context.Context, id string, now time.Time, most int) (sessions.Verification, error) {
	const op = "try verification"
	if err := findable(op, id); err != nil {
		return sessions.Verification{}, err
	}
	row, err := t.q.TryVerification(ctx, db.TryVerificationParams{ID: id, Now: ms(now), Most: int64(most)})
	if err != nil {
		return sessions.Verification{}, t.fail(ctx, op, err)
	}
	code, err := t.store.sealer.Open(row.CodeSealed, verificationPlace(id))
	if err != nil {
		return sessions.Verification{}, fmt.Errorf("%s: %w", op, err)
	}
	return sessions.Verification{
		ID: id, Code: string(code), AccountID: row.AccountID, SessionID: row.SessionID, KeyID: row.KeyID,
		Tries: int(row.Tries), ExpiresAt: at(row.ExpiresAt),
	}, nil
}

func (t *tx) UseVerification(ctx context.Context, id string, now time.Time) error {
	const op = "use verification"
	if err := exact(op, id); err != nil {
		return err
	}
	n, err := t.q.UseVerification(ctx, when(now), id)
	return t.won(ctx, op, n, err)
}

func (t *tx) Strike(ctx context.Context, f people.Failure, most int) (people.Failure, error) {
	const op = "count failure"
	if err := exact(op, f.Key, f.Scope); err != nil {
		return people.Failure{}, err
	}
	row, err := t.q.Strike(ctx, db.StrikeParams{
		Key: f.Key, Scope: f.Scope, Label: shown(f.Label), Now: ms(f.Since), Until: ms(f.Until), Most: int64(most),
	})
	if errors.Is(err, sql.ErrNoRows) {
		return t.struckOut(ctx, f)
	}
	if err != nil {
		return people.Failure{}, t.fail(ctx, op, err)
	}
	return failure(row), nil
}

// struckOut says until when nothing more is counted.
func (t *tx) struckOut(ctx context.Context, f people.Failure) (people.Failure, error) {
	row, err := t.q.Failure(ctx, f.Key)
	if err != nil {
		return people.Failure{}, t.fail(ctx, "failure", err)
	}
	kept := failure(row)
	return kept, fmt.Errorf("count failure: %w", identity.Throttled(kept.Until.Sub(f.Since)))
}

func (t *tx) ActivateSession(ctx context.Context, id, token string) error {
	const op = "activate session"
	if err := exact(op, id); err != nil {
		return err
	}
	n, err := t.q.ActivateSession(ctx, tokenHash(token), id)
	return t.won(ctx, op, n, err)
}

func (t *tx) MoveSession(ctx context.Context, id, from, to string) error {
	const op = "move session"
	if err := exact(op, id, from, to); err != nil {
		return err
	}
	n, err := t.q.MoveSession(ctx, db.MoveSessionParams{ID: id, FromAddress: from, Address: to})
	return t.won(ctx, op, n, err)
}

func (t *tx) ActivateKey(ctx context.Context, id string, from sessions.State) error {
	const op = "activate key"
	if err := exact(op, id, string(from)); err != nil {
		return err
	}
	n, err := t.q.ActivateKey(ctx, id, string(from))
	return t.won(ctx, op, n, err)
}

// SucceedKey never gives the key more time than it has.
func (t *tx) SucceedKey(ctx context.Context, accountID, id, successor string, until time.Time) error {
	const op = "succeed key"
	if successor == "" {
		return fmt.Errorf("%s: no successor: %w", op, identity.ErrInvalid)
	}
	if err := exact(op, accountID, id, successor); err != nil {
		return err
	}
	n, err := t.q.SucceedKey(ctx, db.SucceedKeyParams{
		ID: id, AccountID: accountID, Successor: successor, Until: ms(until),
	})
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
