package storagetest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/tokens"
)

// RunNodes holds two stores on one database, as two processes have them, against the promise that what can be used once is
// used by one of fifty who try at the same moment (CON-01). open returns both for a new, empty database each time.
func RunNodes(t *testing.T, open func(t testing.TB) [2]broker.Store) {
	for _, c := range []struct {
		name string
		// before is done once; take is what fifty try, the others are told lost.
		before func(ctx context.Context, tx broker.Tx) error
		take   func(ctx context.Context, tx broker.Tx, i int) error
		lost   error
	}{
		{
			"a code", func(ctx context.Context, tx broker.Tx) error {
				return tx.PutCode(ctx, "secret", aCode(sessions.Setup, "", ""))
			}, func(ctx context.Context, tx broker.Tx, _ int) error {
				_, err := tx.TakeCode(ctx, sessions.Setup, "secret", now())
				return err
			}, identity.ErrNotFound,
		},
		{
			"a flow's id", nil, func(ctx context.Context, tx broker.Tx, _ int) error {
				return tx.Consume(ctx, "flow", after(time.Minute))
			}, identity.ErrConflict,
		},
		{
			"a refresh token", func(ctx context.Context, tx broker.Tx) error {
				return must(tx.CreateSession(ctx, aSession("s1", "", "a1"), ""), tx.PutRefresh(ctx, aSecret("one"), aRefresh("s1")))
			}, func(ctx context.Context, tx broker.Tx, i int) error {
				next := aSecret("next" + strconv.Itoa(i))
				_, err := tx.TakeRefresh(ctx, aSecret("one"), next, []byte("answer"), now())
				if err != nil {
					return err
				}
				return tx.PutRefresh(ctx, next, aRefresh("s1"))
			}, identity.ErrConflict,
		},
		{
			"a verification", func(ctx context.Context, tx broker.Tx) error {
				return must(tx.CreateSession(ctx, aSession("s1", "", "a1"), ""), tx.PutVerification(ctx, aVerification("v1", "s1", "")))
			}, func(ctx context.Context, tx broker.Tx, _ int) error { return tx.UseVerification(ctx, "v1", now()) },
			identity.ErrConflict,
		},
		{
			"a pending session", func(ctx context.Context, tx broker.Tx) error {
				s := aSession("s1", "", "a1")
				s.State = sessions.Pending
				return tx.CreateSession(ctx, s, "")
			}, func(ctx context.Context, tx broker.Tx, _ int) error { return tx.ActivateSession(ctx, "s1", "") },
			identity.ErrConflict,
		},
		{
			"a session that moved", func(ctx context.Context, tx broker.Tx) error {
				return tx.CreateSession(ctx, aSession("s1", "", "a1"), "")
			}, func(ctx context.Context, tx broker.Tx, _ int) error {
				return tx.MoveSession(ctx, "s1", "192.0.2.7", "192.0.2.8")
			}, identity.ErrConflict,
		},
		{
			"a key's successor", func(ctx context.Context, tx broker.Tx) error {
				return tx.CreateKey(ctx, aKey("k1", "a1"), "secret")
			}, func(ctx context.Context, tx broker.Tx, i int) error {
				return tx.SucceedKey(ctx, "a1", "k1", "k"+strconv.Itoa(i), after(time.Minute))
			}, identity.ErrConflict,
		},
		{
			"the place of the next signing key", nil, func(ctx context.Context, tx broker.Tx, i int) error {
				return tx.CreateSigningKey(ctx, aSigningKey("j"+strconv.Itoa(i), tokens.ES256, tokens.KeyNext))
			}, identity.ErrConflict,
		},
		{
			"a user name", nil, func(ctx context.Context, tx broker.Tx, i int) error {
				a := anAccount("a" + strconv.Itoa(i))
				a.UsernameKey = "alice"
				return tx.CreateAccount(ctx, a)
			}, identity.ErrConflict,
		},
		{
			"the tenth try", func(ctx context.Context, tx broker.Tx) error {
				for range 9 {
					if _, err := tx.Strike(ctx, aFailure("f", 0), 10); err != nil {
						return err
					}
				}
				return nil
			}, func(ctx context.Context, tx broker.Tx, _ int) error {
				_, err := tx.Strike(ctx, aFailure("f", 0), 10)
				return err
			}, identity.ErrThrottled,
		},
	} {
		t.Run("CON-01 one of fifty at two nodes gets "+c.name, func(t *testing.T) {
			both := open(t)
			if c.before != nil {
				update(t, both[0], c.before)
			}
			var won atomic.Int32
			var all sync.WaitGroup
			begin := make(chan struct{})
			for i := range 50 {
				all.Go(func() {
					<-begin
					err := tryUpdate(t, both[i%2], func(ctx context.Context, tx broker.Tx) error { return c.take(ctx, tx, i) })
					switch {
					case err == nil:
						won.Add(1)
					case !errors.Is(err, c.lost):
						t.Errorf("a loser was told %v, want %v", err, c.lost)
					}
				})
			}
			close(begin)
			all.Wait()
			if won.Load() != 1 {
				t.Fatalf("%d won", won.Load())
			}
		})
	}
}
