package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"sallyport/broker/people"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlstore/internal/db"
)

func (t *tx) CreateIdentity(ctx context.Context, l people.LinkedIdentity) error {
	const op = "create identity"
	if err := exact(op, l.Provider, l.Subject, l.AccountID, l.UpstreamSession); err != nil {
		return err
	}
	snapshot, upstream, err := t.identityBlobs(l)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	n, err := t.q.CreateIdentity(ctx, db.CreateIdentityParams{
		Provider: l.Provider, Subject: l.Subject, AccountID: l.AccountID, Snapshot: snapshot,
		UpstreamSession: l.UpstreamSession, UpstreamSealed: upstream, FetchedAt: ms(l.FetchedAt),
		Generation: l.Generation, CreatedAt: ms(l.CreatedAt),
	})
	return t.insert(ctx, op, n, err)
}

func (t *tx) Identity(ctx context.Context, provider, subject string) (people.LinkedIdentity, error) {
	const op = "identity"
	if err := findable(op, provider, subject); err != nil {
		return people.LinkedIdentity{}, err
	}
	row, err := t.q.Identity(ctx, provider, subject)
	if err != nil {
		return people.LinkedIdentity{}, t.fail(ctx, op, err)
	}
	return t.linkedIdentity(row)
}

func (t *tx) Identities(ctx context.Context, accountID string) ([]people.LinkedIdentity, error) {
	if !storable(accountID) {
		return nil, nil
	}
	rows, err := t.q.Identities(ctx, accountID)
	if err != nil {
		return nil, t.fail(ctx, "identities", err)
	}
	return each(rows, t.linkedIdentity)
}

func (t *tx) UpdateIdentity(ctx context.Context, l people.LinkedIdentity) error {
	const op = "update identity"
	if err := findable(op, l.Provider, l.Subject); err != nil {
		return err
	}
	if err := exact(op, l.UpstreamSession); err != nil {
		return err
	}
	snapshot, upstream, err := t.identityBlobs(l)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	n, err := t.q.UpdateIdentity(ctx, db.UpdateIdentityParams{
		Provider: l.Provider, Subject: l.Subject, Snapshot: snapshot, UpstreamSession: l.UpstreamSession,
		UpstreamSealed: upstream, FetchedAt: ms(l.FetchedAt), Generation: l.Generation,
	})
	return t.update(ctx, op, n, err)
}

// identityBlobs makes the snapshot's JSON and seals the provider's own memory; no memory is no row value.
func (t *tx) identityBlobs(l people.LinkedIdentity) (snapshot string, upstream []byte, err error) {
	s := l.Snapshot
	if !s.AuthTime.IsZero() {
		s.AuthTime = s.AuthTime.UTC().Truncate(time.Millisecond)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return "", nil, fmt.Errorf("snapshot: %w", err)
	}
	if len(l.Upstream) > 0 {
		upstream, err = t.store.sealer.Seal(l.Upstream, upstreamPlace(l.Provider, l.Subject))
	}
	return string(b), upstream, err
}

func upstreamPlace(provider, subject string) storage.Place {
	return storage.Place{Table: "identities", Row: []string{provider, subject}, Column: "upstream"}
}

func (t *tx) linkedIdentity(row db.Identity) (people.LinkedIdentity, error) {
	var snapshot identity.Identity
	if err := json.Unmarshal([]byte(row.Snapshot), &snapshot); err != nil {
		return people.LinkedIdentity{}, fmt.Errorf("stored snapshot: %w", err)
	}
	var upstream []byte
	if len(row.UpstreamSealed) > 0 {
		var err error
		if upstream, err = t.store.sealer.Open(row.UpstreamSealed, upstreamPlace(row.Provider, row.Subject)); err != nil {
			return people.LinkedIdentity{}, err
		}
	}
	return people.LinkedIdentity{
		Provider: row.Provider, Subject: row.Subject, AccountID: row.AccountID, Snapshot: snapshot,
		UpstreamSession: row.UpstreamSession, Upstream: upstream, FetchedAt: at(row.FetchedAt),
		Generation: row.Generation, CreatedAt: at(row.CreatedAt),
	}, nil
}
