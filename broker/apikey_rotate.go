package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
// be; then the key goes on as it is until that one is confirmed, and the overlap begins there. Errors are identity.ErrDenied coded key_cannot or wrong_application; identity.ErrNotFound for a key that
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
	if _, err := b.counterKeys(ctx); err != nil {
		return IssuedKey{}, "", uncounted(err)
	}
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
		if err := keyNotCutOff(ctx, tx, old); err != nil {
			return err
		}
		if next, err = b.successor(v, old); err != nil {
			return err
		}
		next.State = state
		succeed := succession{old: old, next: next.ID, overlap: overlap}
		if state == sessions.Pending {
			err = b.succeedLater(ctx, tx, succeed)
		} else {
			err = b.succeedKey(ctx, tx, v, actor, owner.Username, succeed)
		}
		if err != nil {
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

// rotation is the purpose of a code that no person sees, named after a pending successor: what happens to the key before
// it once it is confirmed.
const rotation sessions.Purpose = "rotation"

// succession is a key that gives way to another.
type succession struct {
	old     sessions.Key
	next    string
	overlap time.Duration
}

// succeedLater keeps a succession until the successor is confirmed. A code that nobody types, or an e-mail that never goes
// out, must leave its owner the key they have.
func (b *Broker) succeedLater(ctx context.Context, tx Tx, s succession) error {
	return tx.PutCode(ctx, s.next, sessions.Code{
		Purpose: rotation, AccountID: s.old.AccountID, Application: s.old.Application,
		Challenge: s.old.ID + " " + s.overlap.String(), ExpiresAt: b.now().Add(CodeLife),
	})
}

// succeedAtLast lets the key give way that a confirmed one is the successor of, if there is one that has not ended.
func (b *Broker) succeedAtLast(ctx context.Context, tx Tx, v Visit, owner people.Account, next string) error {
	kept, err := tx.TakeCode(ctx, rotation, next, b.now())
	if errors.Is(err, identity.ErrNotFound) { // a key of its own
		return nil
	}
	if err != nil {
		return err
	}
	id, rest, _ := strings.Cut(kept.Challenge, " ")
	overlap, err := time.ParseDuration(rest)
	if err != nil {
		return fmt.Errorf("overlap of key %s: %w", id, err)
	}
	old, err := tx.Key(ctx, id)
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return nil
	case err != nil:
		return err
	case old.Successor != "": // KEY-02: another one was quicker
		return keyRotated(id)
	case !old.EndedAt.IsZero():
		return nil
	}
	return b.succeedKey(ctx, tx, v, owner.ID, owner.Username, succession{old: old, next: next, overlap: overlap})
}

// succeedKey lets a key end in favour of another: once, however many ask (KEY-02).
func (b *Broker) succeedKey(ctx context.Context, tx Tx, v Visit, actor, username string, s succession) error {
	now, old, overlap := b.now(), s.old, s.overlap
	until := now.Add(overlap)
	err := tx.SucceedKey(ctx, old.AccountID, old.ID, s.next, until)
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
	e.Detail = map[string]string{"successor": s.next, "ends_at": until.UTC().Format(time.RFC3339)}
	return tx.Append(ctx, e)
}

func keyRotated(id string) error {
	return identity.WithCode("key_rotated", fmt.Errorf("key %s has a successor: %w", id, identity.ErrConflict))
}
