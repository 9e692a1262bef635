package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
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
	if slices.ContainsFunc(k.Networks, func(n netip.Prefix) bool { return !n.IsValid() }) {
		return fmt.Errorf("%s: no network: %w", op, identity.ErrInvalid)
	}
	networks, err := list(prefixTexts(k.Networks))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	n, err := t.q.CreateKey(ctx, db.CreateKeyParams{
		ID: k.ID, SecretHash: storage.Hash(secret).Bytes(), Prefix: k.Prefix, Name: shown(k.Name),
		State: string(k.State), AccountID: k.AccountID, Provider: k.Provider, Subject: k.Subject,
		Application: k.Application, Roles: roles, CreatedAt: ms(k.CreatedAt), ExpiresAt: ms(k.ExpiresAt),
		LastUsedAt: ms(k.LastUsedAt), EndedAt: when(k.EndedAt), EndReason: k.EndReason,
		Networks: networks, ReadOnly: k.ReadOnly, RateRequests: int64(k.Requests), RatePerMs: k.Per.Milliseconds(),
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
	roles, err1 := unlist(row.Roles)
	networks, err2 := prefixes(row.Networks)
	return sessions.Key{
		ID: row.ID, Prefix: row.Prefix, Name: row.Name, State: sessions.State(row.State), AccountID: row.AccountID,
		Provider: row.Provider, Subject: row.Subject, Application: row.Application, Roles: roles,
		CreatedAt: at(row.CreatedAt), ExpiresAt: at(row.ExpiresAt), LastUsedAt: at(row.LastUsedAt),
		EndedAt: at(row.EndedAt.Int64), EndReason: row.EndReason, Networks: networks, ReadOnly: row.ReadOnly,
		Requests: int(row.RateRequests), Per: time.Duration(row.RatePerMs) * time.Millisecond, Successor: row.Successor,
	}, errors.Join(err1, err2)
}

func prefixTexts(networks []netip.Prefix) []string {
	texts := make([]string, 0, len(networks))
	for _, n := range networks {
		texts = append(texts, n.String())
	}
	return texts
}

// prefixes reads stored networks. One that cannot be read is an error: a key without it would open more.
func prefixes(stored string) ([]netip.Prefix, error) {
	texts, err := unlist(stored)
	if err != nil {
		return nil, err
	}
	return each(texts, func(text string) (netip.Prefix, error) {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return p, fmt.Errorf("stored network: %w", err)
		}
		return p, nil
	})
}

func (t *tx) LiveKeys(ctx context.Context, f sessions.Filter, now time.Time) ([]sessions.Key, error) {
	if !storable(f.Application, string(f.State), f.After) {
		return nil, nil
	}
	rows, err := t.q.LiveKeys(ctx, db.LiveKeysParams{
		Now: ms(now), After: f.After, Application: some(f.Application), State: some(string(f.State)), Limit: clamp(f.Limit),
	})
	if err != nil {
		return nil, t.fail(ctx, "live keys", err)
	}
	return each(rows, key)
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
