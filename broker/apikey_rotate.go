package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/audit"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// DefaultOverlap is how long a rotated key goes on beside its successor where nothing else is asked for.
const DefaultOverlap = 24 * time.Hour

// maxOverlap bounds it: a key that is replaced is one that somebody wants to be rid of.
const maxOverlap = 30 * 24 * time.Hour

// RotateKey makes a key's one successor: same name, roles and limits, and as long a life as the key was given, as far as
// KeyRules still allow it. The key itself ends after the overlap, at once when that is zero, and never later than it
// would have. The principal signed in, and is the owner, or administers the broker, or holds WriteKeys where a service
// account is the owner; a key cannot rotate itself (KEY-03). The successor of an own key is Pending where a new one would
// be. Errors are identity.ErrDenied coded key_cannot or wrong_application; identity.ErrNotFound for a key that
// is not theirs, ended or expired; identity.ErrConflict coded key_rotated, key_inactive (pending or suspended) or
// too_many_keys; identity.ErrInvalid coded overlap_invalid.
func (b *Broker) RotateKey(
	ctx context.Context, v Visit, p identity.Principal, id string, overlap time.Duration,
) (IssuedKey, string, error) {
	if err := mayMakeKeys(p); err != nil {
		b.keyRefused(ctx, v, p, err)
		return IssuedKey{}, "", err
	}
	return b.rotateKey(ctx, v, p.Subject, id, overlap, func(tx Tx, owner people.Account) (sessions.State, error) {
		if _, err := b.signedInWith(ctx, tx, p); err != nil {
			return "", err
		}
		switch {
		case owner.ID == p.Subject && v.Keys.ConfirmByEmail:
			return sessions.Pending, nil
		case owner.ID == p.Subject, Allows(p, Administer), owner.Kind == people.ServiceAccount && Allows(p, WriteKeys):
			return sessions.Active, nil
		default:
			return "", fmt.Errorf("key %s of another: %w", id, identity.ErrNotFound)
		}
	})
}

// RotateAnyKey is RotateKey for the command line, and for whoever else was found to administer the broker.
func (b *Broker) RotateAnyKey(
	ctx context.Context, v Visit, actor, id string, overlap time.Duration,
) (IssuedKey, string, error) {
	return b.rotateKey(ctx, v, actor, id, overlap, func(Tx, people.Account) (sessions.State, error) {
		return sessions.Active, nil
	})
}

// rotateKey asks begin in the transaction whether the owner's key may be rotated, and in which state its successor begins.
func (b *Broker) rotateKey(
	ctx context.Context, v Visit, actor, id string, overlap time.Duration,
	begin func(tx Tx, owner people.Account) (sessions.State, error),
) (IssuedKey, string, error) {
	if overlap < 0 || overlap > maxOverlap {
		return IssuedKey{}, "", identity.WithCode("overlap_invalid", fmt.Errorf("overlap of %s: %w", overlap, identity.ErrInvalid))
	}
	var next sessions.Key
	var send sendable
	secret := newKeySecret()
	err := b.store.Update(ctx, func(tx Tx) error {
		old, err := tx.Key(ctx, id)
		if err != nil {
			return err
		}
		owner, err := tx.Account(ctx, old.AccountID)
		if err != nil {
			return err
		}
		state, err := begin(tx, owner)
		if err != nil {
			return err
		}
		if next, err = b.successor(v, old); err != nil {
			return err
		}
		next.State = state
		if err := b.succeedKey(ctx, tx, v, actor, owner.Username, old, next.ID, overlap); err != nil {
			return err
		}
		send, err = b.putKey(ctx, tx, v, actor, owner, next, secret)
		return err
	})
	if err != nil {
		return IssuedKey{}, "", err
	}
	return b.issueKey(ctx, v, next, secret, send)
}

// successor is the key that takes the place of a living one.
func (b *Broker) successor(v Visit, old sessions.Key) (sessions.Key, error) {
	now := b.now()
	switch {
	case !old.EndedAt.IsZero() || !now.Before(old.ExpiresAt):
		return old, fmt.Errorf("key %s is over: %w", old.ID, identity.ErrNotFound)
	case old.Successor != "":
		return old, keyRotated(old.ID)
	case old.State != sessions.Active:
		return old, identity.WithCode("key_inactive", fmt.Errorf("key %s is %s: %w", old.ID, old.State, identity.ErrConflict))
	}
	app, err := v.Application(old.Application)
	if err != nil {
		return old, err
	}
	next := old
	next.ID, next.Prefix, next.CreatedAt, next.LastUsedAt = newKeyID(), app.Profile.KeyPrefix, now, time.Time{}
	if never := old.ExpiresAt.Equal(sessions.Never()); !never || !v.Keys.NeverExpire {
		next.ExpiresAt = now.Add(min(old.ExpiresAt.Sub(old.CreatedAt), v.Keys.MaxLifetime))
	}
	return next, nil
}

// succeedKey lets a key end in favour of another: once, however many ask (KEY-02).
func (b *Broker) succeedKey(
	ctx context.Context, tx Tx, v Visit, actor, username string, old sessions.Key, next string, overlap time.Duration,
) error {
	now := b.now()
	until := now.Add(overlap)
	err := tx.SucceedKey(ctx, old.AccountID, old.ID, next, until)
	if errors.Is(err, identity.ErrConflict) {
		err = keyRotated(old.ID)
	}
	if err == nil && overlap == 0 {
		err = tx.EndKey(ctx, old.AccountID, old.ID, "rotated", now)
	}
	if err != nil {
		return err
	}
	if err := tx.Changed(ctx, ChangeKey, now, old.ID); err != nil {
		return err
	}
	if old.ExpiresAt.Before(until) {
		until = old.ExpiresAt
	}
	e := b.keyEvent(v, audit.KeyRotated, actor, username, old)
	e.Detail = map[string]string{"successor": next, "ends_at": until.UTC().Format(time.RFC3339)}
	return tx.Append(ctx, e)
}

func keyRotated(id string) error {
	return identity.WithCode("key_rotated", fmt.Errorf("key %s has a successor: %w", id, identity.ErrConflict))
}
