package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sallyport/audit"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// What stands here is for the command line, and for whoever was found to administer the broker: nothing asks again.

// OwnedKey is an API key with its owner's name.
type OwnedKey struct {
	sessions.Key
	Username string
}

// AllKeys lists everybody's living keys by id, those that wait or are suspended too. The filter's Limit is at most how
// many; zero: none.
func (b *Broker) AllKeys(ctx context.Context, f sessions.Filter) ([]OwnedKey, error) {
	var list []OwnedKey
	err := b.store.View(ctx, func(tx Tx) error {
		keys, err := tx.LiveKeys(ctx, f, b.now())
		if err != nil {
			return err
		}
		list = make([]OwnedKey, 0, len(keys))
		names := map[string]string{}
		for _, k := range keys {
			if _, known := names[k.AccountID]; !known {
				owner, err := tx.Account(ctx, k.AccountID)
				if err != nil && !errors.Is(err, identity.ErrNotFound) {
					return err
				}
				names[k.AccountID] = owner.Username
			}
			list = append(list, OwnedKey{k, names[k.AccountID]})
		}
		return nil
	})
	return list, err
}

// CreatePersonKey makes an API key of a person, with roles that they have now by the identity they came in with last.
// Errors are identity.ErrNotFound where nobody has the name, those of CreateKey, and what keeps the person out
// (identity.ErrDenied coded account_disabled, no_role …).
func (b *Broker) CreatePersonKey(
	ctx context.Context, v Visit, actor, name string, n NewKey,
) (IssuedKey, string, error) {
	return b.createKeyFor(ctx, v, actor, name, people.PersonAccount, n)
}

// createKeyFor makes a key of an account's. It is not confirmed by anybody: who acts here was trusted with more.
func (b *Broker) createKeyFor(
	ctx context.Context, v Visit, actor, name string, kind people.AccountKind, n NewKey,
) (IssuedKey, string, error) {
	key, err := people.CanonicalName(name)
	if err != nil {
		return IssuedKey{}, "", err
	}
	var k sessions.Key
	secret := newKeySecret()
	err = b.store.Update(ctx, func(tx Tx) error {
		account, err := accountOfKind(ctx, tx, key, kind)
		if err != nil {
			return err
		}
		h, err := lastHolder(ctx, tx, v.Snapshot, account.ID)
		if err != nil {
			return err
		}
		if k, err = b.newKey(v.Keys, h.roles, n); err != nil {
			return err
		}
		k.AccountID, k.Provider, k.Subject = account.ID, h.linked.Provider, h.linked.Subject
		_, err = b.putKey(ctx, tx, v, actor, account, k, secret)
		return err
	})
	if err != nil {
		return IssuedKey{}, "", err
	}
	return IssuedKey{Key: k}, formatKey(k.Prefix, k.ID, secret), nil
}

// lastHolder is an account by the identity that was heard of last.
func lastHolder(ctx context.Context, tx Tx, snap *Snapshot, accountID string) (holder, error) {
	linked, err := tx.Identities(ctx, accountID)
	if err != nil {
		return holder{}, err
	}
	if len(linked) == 0 {
		return holder{}, fmt.Errorf("identities of account %s: %w", accountID, identity.ErrNotFound)
	}
	last := slices.MaxFunc(linked, func(a, b people.LinkedIdentity) int { return a.FetchedAt.Compare(b.FetchedAt) })
	return holderOf(ctx, tx, snap, accountID, last.Provider, last.Subject)
}

// RevokeAnyKey ends anybody's key: identity.ErrNotFound when there is none, or it ended before.
func (b *Broker) RevokeAnyKey(ctx context.Context, v Visit, actor, id string) error {
	return b.withKey(ctx, id, func(tx Tx, k sessions.Key, owner people.Account) error {
		return b.endKey(ctx, tx, v, actor, owner.Username, k)
	})
}

// ActivateKey lets a key go on that a restore had suspended: identity.ErrNotFound when there is none, or it is over;
// identity.ErrConflict coded key_not_suspended for one in another state.
func (b *Broker) ActivateKey(ctx context.Context, v Visit, actor, id string) error {
	return b.withKey(ctx, id, func(tx Tx, k sessions.Key, owner people.Account) error {
		if !k.EndedAt.IsZero() || !b.now().Before(k.ExpiresAt) {
			return fmt.Errorf("key %s is over: %w", id, identity.ErrNotFound)
		}
		err := tx.ActivateKey(ctx, id, sessions.Suspended)
		if errors.Is(err, identity.ErrConflict) {
			err = identity.WithCode("key_not_suspended", fmt.Errorf("key %s is %s: %w", id, k.State, identity.ErrConflict))
		}
		if err != nil {
			return err
		}
		if err := tx.Changed(ctx, ChangeKey, b.now(), id); err != nil {
			return err
		}
		return tx.Append(ctx, b.keyEvent(v, audit.KeyActivated, actor, owner.Username, k))
	})
}

// withKey changes a key, whoever owns it.
func (b *Broker) withKey(ctx context.Context, id string, change func(tx Tx, k sessions.Key, owner people.Account) error) error {
	return b.store.Update(ctx, func(tx Tx) error {
		k, err := tx.Key(ctx, id)
		if err != nil {
			return err
		}
		owner, err := tx.Account(ctx, k.AccountID)
		if err != nil {
			return err
		}
		return change(tx, k, owner)
	})
}
