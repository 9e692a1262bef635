package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlstore/internal/db"
)

func (t *tx) CreateKey(ctx context.Context, k sessions.Key, secret string) error {
	const op = "create key"
	if secret == "" {
		return fmt.Errorf("%s: empty secret: %w", op, identity.ErrInvalid)
	}
	if err := exact(op, k.ID, k.Prefix, string(k.State), k.AccountID, k.Provider, k.Subject, k.Application,
		k.EndReason); err != nil {
		return err
	}
	roles, err := list(k.Roles)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	n, err := t.q.CreateKey(ctx, db.CreateKeyParams{
		ID: k.ID, SecretHash: storage.Hash(secret).Bytes(), Prefix: k.Prefix, Name: shown(k.Name),
		State: string(k.State), AccountID: k.AccountID, Provider: k.Provider, Subject: k.Subject,
		Application: k.Application, Roles: roles, CreatedAt: ms(k.CreatedAt), ExpiresAt: ms(k.ExpiresAt),
		LastUsedAt: ms(k.LastUsedAt), EndedAt: when(k.EndedAt), EndReason: k.EndReason,
	})
	return t.insert(ctx, op, n, err)
}

func (t *tx) Key(ctx context.Context, id string) (sessions.Key, error) {
	row, err := t.key(ctx, id)
	if err != nil {
		return sessions.Key{}, err
	}
	return key(row)
}

func (t *tx) key(ctx context.Context, id string) (db.ApiKey, error) {
	const op = "key"
	if err := findable(op, id); err != nil {
		return db.ApiKey{}, err
	}
	row, err := t.q.Key(ctx, id)
	return row, t.fail(ctx, op, err)
}

func (t *tx) KeyBySecret(ctx context.Context, id, secret string) (sessions.Key, error) {
	row, err := t.key(ctx, id)
	if err != nil && !errors.Is(err, identity.ErrNotFound) {
		return sessions.Key{}, err
	}
	// The comparison is made for an unknown id too (no hash equals none), and both refusals are one.
	if !storage.Hash(secret).Equal(row.SecretHash) {
		return sessions.Key{}, fmt.Errorf("key by secret: %w", identity.ErrNotFound)
	}
	return key(row)
}

func (t *tx) Keys(ctx context.Context, accountID string) ([]sessions.Key, error) {
	if !storable(accountID) {
		return nil, nil
	}
	rows, err := t.q.Keys(ctx, accountID)
	if err != nil {
		return nil, t.fail(ctx, "keys", err)
	}
	return each(rows, key)
}

func key(row db.ApiKey) (sessions.Key, error) {
	roles, err := unlist(row.Roles)
	return sessions.Key{
		ID: row.ID, Prefix: row.Prefix, Name: row.Name, State: sessions.State(row.State), AccountID: row.AccountID,
		Provider: row.Provider, Subject: row.Subject, Application: row.Application, Roles: roles,
		CreatedAt: at(row.CreatedAt), ExpiresAt: at(row.ExpiresAt), LastUsedAt: at(row.LastUsedAt),
		EndedAt: at(row.EndedAt.Int64), EndReason: row.EndReason,
	}, err
}

func (t *tx) EndKey(ctx context.Context, accountID, id, reason string, endedAt time.Time) error {
	const op = "end key"
	if err := exact(op, reason); err != nil {
		return err
	}
	if err := findable(op, accountID, id); err != nil {
		return err
	}
	n, err := t.q.EndKey(ctx, db.EndKeyParams{ID: id, AccountID: accountID, Reason: reason, At: when(endedAt)})
	return t.update(ctx, op, n, err)
}

func (t *tx) EndKeys(ctx context.Context, accountID, reason string, endedAt time.Time) ([]string, error) {
	const op = "end keys"
	if err := exact(op, reason); err != nil {
		return nil, err
	}
	if !storable(accountID) {
		return nil, nil
	}
	ended, err := t.q.EndKeys(ctx, db.EndKeysParams{AccountID: accountID, Reason: reason, At: when(endedAt)})
	return ended, t.fail(ctx, op, err)
}

func (t *tx) TouchKeys(ctx context.Context, used map[string]time.Time) error {
	for _, id := range slices.Sorted(maps.Keys(used)) {
		if !storable(id) {
			continue
		}
		if err := t.q.TouchKey(ctx, ms(used[id]), id); err != nil {
			return t.fail(ctx, "touch key", err)
		}
	}
	return nil
}
