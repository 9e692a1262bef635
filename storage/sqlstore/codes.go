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

// PutCode refuses a code that hangs on a session which has ended or never was with identity.ErrNotFound: ending has
// already spent what hung on it.
func (t *tx) PutCode(ctx context.Context, secret string, c sessions.Code) error {
	const op = "put code"
	if secret == "" {
		return fmt.Errorf("%s: empty secret: %w", op, identity.ErrInvalid)
	}
	if err := exact(op, string(c.Purpose), c.SessionID, c.AccountID, c.Application, c.Challenge); err != nil {
		return err
	}
	if err := t.mustBeOpen(ctx, op, c.SessionID); err != nil {
		return err
	}
	n, err := t.q.PutCode(ctx, db.PutCodeParams{
		Hash: storage.Hash(secret).Bytes(), Purpose: string(c.Purpose), SessionID: c.SessionID, AccountID: c.AccountID,
		Application: c.Application, Challenge: c.Challenge, ExpiresAt: ms(c.ExpiresAt),
	})
	return t.insert(ctx, op, n, err)
}

func (t *tx) SpendCodes(ctx context.Context, p sessions.Purpose, now time.Time) error {
	if !storable(string(p)) {
		return nil
	}
	return t.fail(ctx, "spend codes", t.q.SpendCodes(ctx, when(now), string(p)))
}
