package main

import (
	"context"
	"errors"

	"sallyport/broker"
	"sallyport/identity"
)

// keptCopies keeps what providers fetched last, sealed in the store, so that a restart while one of them is away still
// knows its keys (SML-10, REL-05).
type keptCopies struct{ store broker.Store }

// Keep see providers.Keeper.
func (k keptCopies) Keep(ctx context.Context, name string, document []byte) error {
	return k.store.Update(ctx, func(tx broker.Tx) error { return tx.ReplaceSealedSetting(ctx, keptPrefix+name, document) })
}

// Kept see providers.Keeper.
func (k keptCopies) Kept(ctx context.Context, name string) ([]byte, error) {
	var document []byte
	err := k.store.View(ctx, func(tx broker.Tx) (err error) {
		document, err = tx.SealedSetting(ctx, keptPrefix+name)
		return err
	})
	if errors.Is(err, identity.ErrNotFound) {
		return nil, nil
	}
	return document, err
}

const keptPrefix = "kept:"
