package storagetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

func codes(t *testing.T, open opener) {
	filled := func(t *testing.T) broker.Store {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.CreateSession(ctx, aSession("s1", "", "a1"), "token"),
				tx.PutCode(ctx, "secret", aCode(sessions.HandOver, "s1", "a1")))
		})
		return s
	}
	take := func(p sessions.Purpose, secret string, at time.Time) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error { _, err := tx.TakeCode(ctx, p, secret, at); return err }
	}
	t.Run("a code comes back as it was, once", func(t *testing.T) {
		s := filled(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.TakeCode(ctx, sessions.HandOver, "secret", now())
			same(t, got, aCode(sessions.HandOver, "s1", "a1"))
			return err
		})
		refused(t, s, identity.ErrNotFound, take(sessions.HandOver, "secret", now()))
	})
	t.Run("a code taken in a transaction that is undone can be taken again", func(t *testing.T) {
		s := filled(t)
		err := tryUpdate(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(take(sessions.HandOver, "secret", now())(ctx, tx), errOurs)
		})
		if !errors.Is(err, errOurs) {
			t.Fatal(err)
		}
		update(t, s, take(sessions.HandOver, "secret", now()))
	})
	for name, refusal := range map[string]func(context.Context, broker.Tx) error{
		"an unknown code":                 take(sessions.HandOver, "other", now()),
		"an empty code":                   take(sessions.HandOver, "", now()),
		"a code for another purpose":      take(sessions.Setup, "secret", now()),
		"a code at the moment it expires": take(sessions.HandOver, "secret", after(30*time.Second)),
		"a purpose that is no text":       take("\xff", "secret", now()),
	} {
		t.Run(name+" is not found and spends nothing", func(t *testing.T) {
			s := filled(t)
			refused(t, s, identity.ErrNotFound, refusal)
			update(t, s, take(sessions.HandOver, "secret", after(29*time.Second)))
		})
	}
	t.Run("a secret is given once and never empty", func(t *testing.T) {
		s := filled(t)
		refused(t, s, identity.ErrConflict, func(ctx context.Context, tx broker.Tx) error {
			return tx.PutCode(ctx, "secret", aCode(sessions.Setup, "", ""))
		})
		refused(t, s, identity.ErrInvalid, func(ctx context.Context, tx broker.Tx) error {
			return tx.PutCode(ctx, "", aCode(sessions.Setup, "", ""))
		})
	})
	t.Run("spending a purpose leaves the others", func(t *testing.T) {
		s := filled(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.PutCode(ctx, "one", aCode(sessions.Setup, "", "")),
				tx.PutCode(ctx, "two", aCode(sessions.Setup, "", "")), tx.SpendCodes(ctx, sessions.Setup, now()))
		})
		refused(t, s, identity.ErrNotFound, take(sessions.Setup, "one", now()))
		refused(t, s, identity.ErrNotFound, take(sessions.Setup, "two", now()))
		update(t, s, take(sessions.HandOver, "secret", now()))
	})
	t.Run("a flow is consumed once, also after its time", func(t *testing.T) {
		s := open(t)
		consume := func(id string) func(context.Context, broker.Tx) error {
			return func(ctx context.Context, tx broker.Tx) error { return tx.Consume(ctx, id, now()) }
		}
		update(t, s, consume("flow"))
		update(t, s, consume("other"))
		refused(t, s, identity.ErrConflict, consume("flow"))
		refused(t, s, identity.ErrInvalid, consume(""))
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.CleanUp(ctx, after(time.Hour), now(), 10)
			return must(err, consume("flow")(ctx, tx))
		})
	})
}

// oneUse lets 50 callers at the same thing (CON-01).
func oneUse(t *testing.T, open opener) {
	t.Run("CON-01 of 50 takers of one code one gets it", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return tx.PutCode(ctx, "secret", aCode(sessions.Setup, "", ""))
		})
		same(t, atOnce(t, s, identity.ErrNotFound, func(ctx context.Context, tx broker.Tx, _ int) error {
			_, err := tx.TakeCode(ctx, sessions.Setup, "secret", now())
			return err
		}), 1)
	})
	t.Run("CON-01 of 50 consumers of one flow one goes on", func(t *testing.T) {
		same(t, atOnce(t, open(t), identity.ErrConflict, func(ctx context.Context, tx broker.Tx, _ int) error {
			return tx.Consume(ctx, "flow", now())
		}), 1)
	})
	t.Run("CON-01 of 50 holders one gets a job", func(t *testing.T) {
		same(t, atOnce(t, open(t), errOurs, func(ctx context.Context, tx broker.Tx, i int) error {
			mine, err := tx.AcquireJob(ctx, "job", fmt.Sprint("holder", i), now(), after(time.Minute))
			if err == nil && !mine {
				return errOurs
			}
			return err
		}), 1)
	})
	t.Run("CON-01 of 50 who end a session one is told of it", func(t *testing.T) {
		s := open(t)
		grow(t, s)
		same(t, atOnce(t, s, errOurs, func(ctx context.Context, tx broker.Tx, _ int) error {
			ended, err := tx.EndSession(ctx, "root", "signed_out", now())
			if err == nil && len(ended) == 0 {
				return errOurs
			}
			return err
		}), 1)
	})
	t.Run("CON-01 of 50 who take one name one gets it", func(t *testing.T) {
		same(t, atOnce(t, open(t), identity.ErrConflict, func(ctx context.Context, tx broker.Tx, i int) error {
			a := anAccount(fmt.Sprint("a", i))
			a.UsernameKey = "alice"
			return tx.CreateAccount(ctx, a)
		}), 1)
	})
}
