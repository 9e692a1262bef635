package sqlstore

import (
	"context"
	"fmt"

	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlstore/internal/db"
)

func verificationPlace(id string) storage.Place {
	return storage.Place{Table: "verifications", Row: []string{id}, Column: "code"}
}

// PutVerification refuses one that activates nothing, or two things.
func (t *tx) PutVerification(ctx context.Context, v sessions.Verification) error {
	const op = "put verification"
	if v.ID == "" || v.Code == "" || (v.SessionID == "") == (v.KeyID == "") {
		return fmt.Errorf("%s: id, code and one thing to activate are needed: %w", op, identity.ErrInvalid)
	}
	if err := exact(op, v.ID, v.AccountID, v.SessionID, v.KeyID); err != nil {
		return err
	}
	sealed, err := t.store.sealer.Seal([]byte(v.Code), verificationPlace(v.ID))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	n, err := t.q.PutVerification(ctx, db.PutVerificationParams{
		ID: v.ID, CodeSealed: sealed, AccountID: v.AccountID, SessionID: v.SessionID, KeyID: v.KeyID,
		ExpiresAt: ms(v.ExpiresAt),
	})
	return t.insert(ctx, op, n, err)
}
