package sqlstore

import (
	"context"
	"fmt"
	"time"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/storage/sqlstore/internal/db"
)

func (t *tx) Changed(ctx context.Context, kind broker.ChangeKind, changedAt time.Time, keys ...string) error {
	const op = "record change"
	if changedAt.IsZero() {
		return t.fail(ctx, op, fmt.Errorf("without a time: %w", identity.ErrInvalid))
	}
	if err := exact(op, append(keys[:len(keys):len(keys)], string(kind))...); err != nil {
		return t.fail(ctx, op, err)
	}
	for _, k := range keys {
		err := numbered(changedAt, func(seq int64) (int64, error) {
			return t.q.AddChange(ctx, db.AddChangeParams{Seq: seq, Kind: string(kind), Key: k, At: ms(changedAt)})
		})
		if err != nil {
			return t.fail(ctx, op, err)
		}
		t.changed = true
	}
	return nil
}

func (t *tx) Changes(ctx context.Context, since time.Time) ([]broker.Change, error) {
	rows, err := t.q.Changes(ctx, firstAt(since))
	if err != nil {
		return nil, t.fail(ctx, "changes", err)
	}
	return each(rows, func(r db.Change) (broker.Change, error) {
		return broker.Change{Seq: r.Seq, Kind: broker.ChangeKind(r.Kind), Key: r.Key, At: at(r.At)}, nil
	})
}
