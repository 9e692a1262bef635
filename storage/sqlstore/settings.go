package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlstore/internal/db"
)

func (t *tx) Generation(ctx context.Context, hash string, firstSeen time.Time) (int64, error) {
	const op = "generation"
	if err := exact(op, hash); err != nil {
		return 0, err
	}
	known, err := t.q.Generation(ctx, hash)
	if err = t.fail(ctx, op, err); !errors.Is(err, identity.ErrNotFound) {
		return known, err
	}
	last, err := t.q.LastGeneration(ctx)
	if err = t.fail(ctx, op, err); err != nil && !errors.Is(err, identity.ErrNotFound) {
		return 0, err
	}
	n, err := t.q.AddGeneration(ctx, db.AddGenerationParams{Hash: hash, Generation: last + 1, CreatedAt: ms(firstSeen)})
	return last + 1, t.insert(ctx, op, n, err)
}

func settingPlace(name string) storage.Place {
	return storage.Place{Table: "settings", Row: []string{name}, Column: "value"}
}

func (t *tx) SealedSetting(ctx context.Context, name string) ([]byte, error) {
	const op = "sealed setting"
	if err := findable(op, name); err != nil {
		return nil, err
	}
	sealed, err := t.q.SealedSetting(ctx, name)
	if err != nil {
		return nil, t.fail(ctx, op, err)
	}
	value, err := t.store.sealer.Open(sealed, settingPlace(name))
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", op, name, err)
	}
	return value, nil
}

func (t *tx) PutSealedSetting(ctx context.Context, name string, value []byte) error {
	const op = "put sealed setting"
	if err := exact(op, name); err != nil {
		return err
	}
	sealed, err := t.store.sealer.Seal(value, settingPlace(name))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	n, err := t.q.PutSealedSetting(ctx, name, sealed)
	return t.insert(ctx, op, n, err)
}

func (t *tx) ReplaceSealedSetting(ctx context.Context, name string, value []byte) error {
	const op = "replace sealed setting"
	if err := exact(op, name); err != nil {
		return err
	}
	sealed, err := t.store.sealer.Seal(value, settingPlace(name))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return t.fail(ctx, op, t.q.ReplaceSealedSetting(ctx, name, sealed))
}
