package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/storage"
)

// ErrWrongMasterKey says that the store was sealed with another master key. Nothing is read, repaired or made anew
// with this one.
var ErrWrongMasterKey = errors.New("the master key does not open this store")

const canaryRow = "master_key_canary"

// checkMasterKey opens the canary, a known text that was sealed when the store was new. In a store that holds nothing
// yet it is written; a store with data and without canary has been tampered with and is refused.
func (s *Store) checkMasterKey(ctx context.Context) error {
	place := storage.Place{Table: "meta", Row: []string{canaryRow}, Column: "value"}
	return s.Update(ctx, func(btx broker.Tx) error {
		t, ok := btx.(*tx)
		if !ok {
			return fmt.Errorf("transaction is a %T", btx)
		}
		sealed, err := t.meta(ctx, canaryRow)
		if errors.Is(err, identity.ErrNotFound) {
			return t.writeCanary(ctx, place)
		}
		if err != nil {
			return err
		}
		plain, err := s.sealer.Open(sealed, place)
		if err != nil || !bytes.Equal(plain, []byte(canaryRow)) {
			return ErrWrongMasterKey
		}
		return nil
	})
}

func (t *tx) meta(ctx context.Context, name string) ([]byte, error) {
	v, err := t.q.Meta(ctx, name)
	return v, t.fail(ctx, "meta "+name, err)
}

func (t *tx) writeCanary(ctx context.Context, place storage.Place) error {
	holds, err := t.q.HoldsData(ctx)
	if err != nil {
		return t.fail(ctx, "look for data", err)
	}
	if !holds.Valid || holds.Bool {
		return fmt.Errorf("%w: it holds data, but not the row that tells its key", ErrWrongMasterKey)
	}
	sealed, err := t.store.sealer.Seal([]byte(canaryRow), place)
	if err != nil {
		return err
	}
	n, err := t.q.PutMeta(ctx, canaryRow, sealed)
	return t.insert(ctx, "write master key canary", n, err)
}
