package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/storage"
)

// ErrWrongMasterKey says that the store was sealed with another master key. Nothing is read, repaired or made anew
// with this one.
var ErrWrongMasterKey = errors.New("the master key does not open this store")

const canaryRow = "master_key_canary"

func canaryPlace() storage.Place {
	return storage.Place{Table: "meta", Row: []string{canaryRow}, Column: "value"}
}

// checkMasterKey opens the canary, a known text that was sealed when the store was new. In a store that holds nothing
// yet it is written; a store with data and without canary has been tampered with and is refused.
func (s *Store) checkMasterKey(ctx context.Context) error {
	return s.Update(ctx, func(btx broker.Tx) error {
		t, ok := btx.(*tx)
		if !ok {
			return fmt.Errorf("transaction is a %T", btx)
		}
		err := t.openCanary(ctx, s.sealer)
		if errors.Is(err, identity.ErrNotFound) {
			return t.writeCanary(ctx)
		}
		return err
	})
}

// UseMasterKey seals and opens with another master key from now on, without a stop: one with a key added, another one
// promoted, or old ones dropped. One that does not open this store is ErrWrongMasterKey; one that would seal with an older
// key than the store was resealed with is identity.ErrConflict, since that key may be dropped any moment. The former stays
// in use then.
func (s *Store) UseMasterKey(ctx context.Context, key *storage.MasterKey) error {
	sealer, err := storage.NewSealer(key)
	if err != nil {
		return err
	}
	err = s.View(ctx, func(btx broker.Tx) error {
		t, ok := btx.(*tx)
		if !ok {
			return fmt.Errorf("transaction is a %T", btx)
		}
		if err := t.openCanary(ctx, sealer); err != nil {
			return err
		}
		sealed, err := t.meta(ctx, canaryRow)
		if err != nil {
			return err
		}
		return notBehind(key, sealed)
	})
	if err != nil {
		return err
	}
	return s.sealer.Use(key)
}

// notBehind refuses a copy of the master key that missed a promotion: the store holds a value of a newer key than the one
// that seals in it.
func notBehind(key *storage.MasterKey, sealed []byte) error {
	id, err := storage.SealedWith(sealed)
	if err != nil {
		return err
	}
	keys, err := key.Keys()
	if err != nil {
		return err
	}
	for _, k := range slices.Backward(keys) {
		switch {
		case k.Primary:
			return nil
		case k.ID == id:
			return fmt.Errorf("this copy of the master key is from before key %s was promoted: %w", id, identity.ErrConflict)
		}
	}
	return nil
}

// openCanary answers identity.ErrNotFound where there is none.
func (t *tx) openCanary(ctx context.Context, sealer *storage.Sealer) error {
	sealed, err := t.meta(ctx, canaryRow)
	if err != nil {
		return err
	}
	plain, err := sealer.Open(sealed, canaryPlace())
	if err != nil || !bytes.Equal(plain, []byte(canaryRow)) {
		return ErrWrongMasterKey
	}
	return nil
}

func (t *tx) meta(ctx context.Context, name string) ([]byte, error) {
	v, err := t.q.Meta(ctx, name)
	return v, t.fail(ctx, "meta "+name, err)
}

func (t *tx) writeCanary(ctx context.Context) error {
	holds, err := t.q.HoldsData(ctx)
	if err != nil {
		return t.fail(ctx, "look for data", err)
	}
	if !holds.Valid || holds.Bool {
		return fmt.Errorf("%w: it holds data, but not the row that tells its key", ErrWrongMasterKey)
	}
	sealed, err := t.store.sealer.Seal([]byte(canaryRow), canaryPlace())
	if err != nil {
		return err
	}
	n, err := t.q.PutMeta(ctx, canaryRow, sealed)
	return t.insert(ctx, "write master key canary", n, err)
}
