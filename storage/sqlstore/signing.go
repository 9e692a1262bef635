package sqlstore

import (
	"context"
	"fmt"
	"time"

	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlstore/internal/db"
	"sallyport/tokens"
)

func (t *tx) SigningKeys(ctx context.Context) ([]tokens.StoredKey, error) {
	rows, err := t.q.SigningKeys(ctx)
	if err != nil {
		return nil, t.fail(ctx, "signing keys", err)
	}
	return each(rows, t.signingKey)
}

func (t *tx) signingKey(row db.SigningKey) (tokens.StoredKey, error) {
	private, err := t.store.sealer.Open(row.PrivateSealed, signingKeyPlace(row.ID))
	if err != nil {
		return tokens.StoredKey{}, fmt.Errorf("signing key %s: %w", row.ID, err)
	}
	return tokens.StoredKey{
		ID: row.ID, Algorithm: tokens.Algorithm(row.Algorithm), State: tokens.KeyState(row.State), Private: private,
		CreatedAt: at(row.CreatedAt), CurrentAt: at(row.CurrentAt), RetiredAt: at(row.RetiredAt),
		Application: row.Application,
	}, nil
}

func signingKeyPlace(id string) storage.Place {
	return storage.Place{Table: "signing_keys", Row: []string{id}, Column: "private"}
}

func (t *tx) CreateSigningKey(ctx context.Context, k tokens.StoredKey) error {
	const op = "create signing key"
	if err := exact(op, k.ID, string(k.Algorithm), string(k.State), k.Application); err != nil {
		return err
	}
	if len(k.Private) == 0 {
		return fmt.Errorf("%s: no private key: %w", op, identity.ErrInvalid)
	}
	sealed, err := t.store.sealer.Seal(k.Private, signingKeyPlace(k.ID))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	n, err := t.q.CreateSigningKey(ctx, db.CreateSigningKeyParams{
		ID: k.ID, Algorithm: string(k.Algorithm), State: string(k.State), PrivateSealed: sealed,
		CreatedAt: ms(k.CreatedAt), CurrentAt: ms(k.CurrentAt), RetiredAt: ms(k.RetiredAt),
		Application: k.Application,
	})
	return t.insert(ctx, op, n, err)
}

// SetSigningKeyState moves a key forward only: next to current, next or current to retired. Any other move is
// identity.ErrConflict, an unknown key identity.ErrNotFound. The former current key is retired before the next one
// becomes current: two current keys of one algorithm are a conflict at every moment.
func (t *tx) SetSigningKeyState(ctx context.Context, id string, s tokens.KeyState, since time.Time) error {
	const op = "set signing key state"
	if err := findable(op, id); err != nil {
		return err
	}
	var n int64
	var err error
	switch s {
	case tokens.KeyCurrent:
		n, err = t.q.MakeSigningKeyCurrent(ctx, ms(since), id)
	case tokens.KeyRetired:
		n, err = t.q.RetireSigningKey(ctx, ms(since), id)
	default: // stays 0: no way leads back to next
	}
	if err != nil {
		return t.fail(ctx, op, err)
	}
	if n == 0 {
		return t.notMoved(ctx, op, id)
	}
	return nil
}

// notMoved tells a key that is not there from one in another state.
func (t *tx) notMoved(ctx context.Context, op, id string) error {
	exists, err := t.q.SigningKeyExists(ctx, id)
	if err != nil {
		return t.fail(ctx, op, err)
	}
	if exists {
		return fmt.Errorf("%s: it is in another state: %w", op, identity.ErrConflict)
	}
	return fmt.Errorf("%s: %w", op, identity.ErrNotFound)
}

// DeleteSigningKey answers identity.ErrNotFound for an unknown key and identity.ErrConflict for one that is not
// retired.
func (t *tx) DeleteSigningKey(ctx context.Context, id string) error {
	const op = "delete signing key"
	if err := findable(op, id); err != nil {
		return err
	}
	n, err := t.q.DeleteSigningKey(ctx, id)
	if err != nil {
		return t.fail(ctx, op, err)
	}
	if n == 0 {
		return t.notMoved(ctx, op, id)
	}
	return nil
}
