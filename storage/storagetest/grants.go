package storagetest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
)

func countWin(t testing.TB, wins *atomic.Int32, err, refusal error) {
	t.Helper()
	switch {
	case err == nil:
		wins.Add(1)
	case !errors.Is(err, refusal):
		t.Errorf("got %v, want nothing or %v", err, refusal)
	}
}

func grants(t *testing.T, open opener) {
	grant := func(account, permission string) people.ManualGrant {
		return people.ManualGrant{AccountID: account, Permission: permission, GrantedBy: "system", GrantedAt: stored(now())}
	}
	filled := func(t *testing.T) broker.Store {
		s := open(t)
		off := anAccount("a3")
		off.Disabled = true
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.CreateAccount(ctx, anAccount("a1")), tx.CreateAccount(ctx, anAccount("a2")),
				tx.CreateAccount(ctx, off), tx.CreateGrant(ctx, grant("a1", "sallyport:*")),
				tx.CreateGrant(ctx, grant("a1", "other")), tx.CreateGrant(ctx, grant("a3", "sallyport:*")))
		})
		return s
	}
	t.Run("grants come back as they were, of one account", func(t *testing.T) {
		view(t, filled(t), func(ctx context.Context, tx broker.Tx) error {
			got, err1 := tx.Grants(ctx, "a1")
			none, err2 := tx.Grants(ctx, "a2")
			same(t, got, []people.ManualGrant{grant("a1", "other"), grant("a1", "sallyport:*")})
			same(t, none, []people.ManualGrant(nil))
			return must(err1, err2)
		})
	})
	t.Run("a grant is given once", func(t *testing.T) {
		refused(t, filled(t), identity.ErrConflict, func(ctx context.Context, tx broker.Tx) error {
			return tx.CreateGrant(ctx, grant("a1", "other"))
		})
	})
	t.Run("a grant needs an account", func(t *testing.T) {
		refused(t, filled(t), identity.ErrNotFound, func(ctx context.Context, tx broker.Tx) error {
			return tx.CreateGrant(ctx, grant("nobody", "other"))
		})
	})
	t.Run("disabled holders do not count", func(t *testing.T) {
		view(t, filled(t), func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.GrantHolders(ctx, "sallyport:*")
			same(t, got, []string{"a1"})
			return err
		})
	})
}
