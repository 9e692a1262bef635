package storagetest

import (
	"context"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

func aVerification(id, session, key string) sessions.Verification {
	return sessions.Verification{
		ID: id, Code: "482915", AccountID: "a1", SessionID: session, KeyID: key,
		ExpiresAt: stored(after(10 * time.Minute)),
	}
}

func tryVerification(id string, at time.Duration, most int) func(context.Context, broker.Tx) error {
	return func(ctx context.Context, tx broker.Tx) error {
		_, err := tx.TryVerification(ctx, id, stored(after(at)), most)
		return err
	}
}

func verifications(t *testing.T, open opener) {
	put := func(v sessions.Verification) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error { return tx.PutVerification(ctx, v) }
	}
	use := func(id string) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error { return tx.UseVerification(ctx, id, now()) }
	}
	for name, want := range map[string]sessions.Verification{
		"session": aVerification("v1", "s1", ""), "key": aVerification("v1", "", "k1"),
	} {
		t.Run("one for a "+name+" comes back as it was, each try counted", func(t *testing.T) {
			s := open(t)
			given := want
			given.Tries = 7 // the store's own counts
			update(t, s, put(given))
			for i := range 3 {
				update(t, s, func(ctx context.Context, tx broker.Tx) error {
					got, err := tx.TryVerification(ctx, "v1", now(), 3)
					counted := want
					counted.Tries = i + 1
					same(t, got, counted)
					return err
				})
			}
			refused(t, s, identity.ErrNotFound, tryVerification("v1", 0, 3))
			update(t, s, tryVerification("v1", 0, 4)) // the refusals above counted nothing
		})
	}
	t.Run("unknown and expired ones are not found", func(t *testing.T) {
		s := open(t)
		update(t, s, put(aVerification("v1", "s1", "")))
		for _, id := range []string{"", "v2", "V1", "\xff"} {
			refused(t, s, identity.ErrNotFound, tryVerification(id, 0, 3))
		}
		refused(t, s, identity.ErrNotFound, tryVerification("v1", 10*time.Minute, 3))
		refused(t, s, identity.ErrNotFound, tryVerification("v1", 0, 0))
		update(t, s, tryVerification("v1", 10*time.Minute-time.Millisecond, 1))
	})
	t.Run("one is used once, and not tried afterwards", func(t *testing.T) {
		s := open(t)
		update(t, s, put(aVerification("v1", "s1", "")))
		update(t, s, use("v1"))
		refused(t, s, identity.ErrConflict, use("v1"))
		refused(t, s, identity.ErrConflict, use("unknown"))
		refused(t, s, identity.ErrNotFound, tryVerification("v1", 0, 3))
	})
	t.Run("CON-01 of 50 who use one verification one does", func(t *testing.T) {
		s := open(t)
		update(t, s, put(aVerification("v1", "s1", "")))
		same(t, atOnce(t, s, identity.ErrConflict, func(ctx context.Context, tx broker.Tx, _ int) error {
			return use("v1")(ctx, tx)
		}), 1)
	})
	t.Run("CON-01 of 50 tries at once exactly as many are made as may", func(t *testing.T) {
		s := open(t)
		update(t, s, put(aVerification("v1", "s1", "")))
		same(t, atOnce(t, s, identity.ErrNotFound, func(ctx context.Context, tx broker.Tx, _ int) error {
			return tryVerification("v1", 0, 5)(ctx, tx)
		}), 5)
	})
	t.Run("an id is given once", func(t *testing.T) {
		s := open(t)
		update(t, s, put(aVerification("v1", "s1", "")))
		refused(t, s, identity.ErrConflict, put(aVerification("v1", "", "k1")))
	})
	without := func(drop func(v *sessions.Verification)) sessions.Verification {
		v := aVerification("v1", "s1", "")
		drop(&v)
		return v
	}
	empty := open(t)
	for name, broken := range map[string]sessions.Verification{
		"that activates nothing":    aVerification("v1", "", ""),
		"that activates two things": aVerification("v1", "s1", "k1"),
		"without an id":             without(func(v *sessions.Verification) { v.ID = "" }),
		"without a code":            without(func(v *sessions.Verification) { v.Code = "" }),
	} {
		t.Run("one "+name+" is refused", func(t *testing.T) { refused(t, empty, identity.ErrInvalid, put(broken)) })
	}
}
