package storagetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

func sessionTree(t *testing.T, open opener) {
	t.Run("a session comes back as it was, by id and by its cookie", func(t *testing.T) {
		s := open(t)
		full := aSession("s1", "", "a1")
		full.State, full.EndedAt, full.EndReason = sessions.Ended, stored(after(time.Minute)), "signed_out"
		full.Embedder, full.Origin, full.Remembered = "portal", "https://portal.example", true
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateSession(ctx, full, "token") })
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			byID, err1 := tx.Session(ctx, "s1")
			byToken, err2 := tx.SessionByToken(ctx, "token")
			same(t, byID, full)
			same(t, byToken, full)
			return must(err1, err2)
		})
	})
	t.Run("a session without limits of its own stays so", func(t *testing.T) {
		s := open(t)
		bare := sessions.Session{ID: "s1", Kind: sessions.API, State: sessions.Pending, ExpiresAt: stored(now())}
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateSession(ctx, bare, "") })
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Session(ctx, "s1")
			same(t, got, bare)
			return err
		})
	})
	t.Run("no cookie opens a session that has none, and a wrong one opens nothing", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.CreateSession(ctx, aSession("s1", "", "a1"), ""), tx.CreateSession(ctx, aSession("s2", "", "a1"), ""),
				tx.CreateSession(ctx, aSession("s3", "", "a1"), "token"))
		})
		for _, token := range []string{"", "Token", "token ", "s3", "\x00"} {
			refused(t, s, identity.ErrNotFound, func(ctx context.Context, tx broker.Tx) error {
				_, err := tx.SessionByToken(ctx, token)
				return err
			})
		}
		refused(t, s, identity.ErrNotFound, func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.Session(ctx, "s4")
			return err
		})
	})
	t.Run("an id and a cookie are given once", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return tx.CreateSession(ctx, aSession("s1", "", "a1"), "token")
		})
		refused(t, s, identity.ErrConflict, func(ctx context.Context, tx broker.Tx) error {
			return tx.CreateSession(ctx, aSession("s1", "", "a1"), "other")
		})
		refused(t, s, identity.ErrConflict, func(ctx context.Context, tx broker.Tx) error {
			return tx.CreateSession(ctx, aSession("s2", "", "a1"), "token")
		})
	})
	t.Run("the list has what lives, newest first", func(t *testing.T) { sessionList(t, open(t)) })
	t.Run("being seen moves forward only", func(t *testing.T) { touchSessions(t, open(t)) })
}

func sessionList(t *testing.T, s broker.Store) {
	newer, expired, idle, patient, pending := aSession("newer", "", "a1"), aSession("expired", "", "a1"),
		aSession("idle", "", "a1"), aSession("patient", "", "a1"), aSession("pending", "", "a1")
	newer.CreatedAt = stored(after(time.Second))
	at := after(40 * time.Minute)
	newer.LastSeenAt, expired.LastSeenAt, pending.LastSeenAt = stored(at), stored(at), stored(at)
	expired.ExpiresAt = stored(at)
	patient.IdleTimeout = 0
	pending.State, pending.CreatedAt = sessions.Pending, stored(after(2*time.Second))
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		errs := []error{
			tx.CreateSession(ctx, aSession("foreign", "", "a2"), ""),
			tx.CreateSession(ctx, aSession("over", "", "a1"), ""),
		}
		for _, one := range []sessions.Session{newer, expired, idle, patient, pending} {
			errs = append(errs, tx.CreateSession(ctx, one, ""))
		}
		_, err := tx.EndSession(ctx, "over", "signed_out", now())
		return must(append(errs, err)...)
	})
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		got, err := tx.Sessions(ctx, "a1", at)
		same(t, got, []sessions.Session{pending, newer, patient})
		return err
	})
}

func touchSessions(t *testing.T, s broker.Store) {
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		return must(tx.CreateSession(ctx, aSession("s1", "", "a1"), ""), tx.CreateSession(ctx, aSession("s2", "", "a1"), ""),
			tx.CreateSession(ctx, aSession("s3", "", "a1"), ""))
	})
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		return must(tx.TouchSessions(ctx, nil), tx.TouchSessions(ctx, map[string]time.Time{
			"s1": after(time.Minute), "s2": after(-time.Minute), "unknown": now(), "no\x00text": now(),
		}))
	})
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		for id, want := range map[string]time.Time{"s1": after(time.Minute), "s2": now(), "s3": now()} {
			got, err := tx.Session(ctx, id)
			if err != nil {
				return err
			}
			same(t, got.LastSeenAt, stored(want))
		}
		return nil
	})
}

// grow makes a tree of account a1 (root > mid > leaf, root > side), a stranger's session and one code on each.
func grow(t testing.TB, s broker.Store) {
	t.Helper()
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		var errs []error
		for _, one := range []sessions.Session{
			aSession("root", "", "a1"), aSession("mid", "root", "a1"), aSession("leaf", "mid", "a1"),
			aSession("side", "root", "a1"), aSession("stranger", "", "a2"),
		} {
			errs = append(errs, tx.CreateSession(ctx, one, "token-"+one.ID),
				tx.PutCode(ctx, "code-"+one.ID, aCode(sessions.HandOver, one.ID, one.AccountID)))
		}
		return must(append(errs, tx.PutCode(ctx, "code-loose", aCode(sessions.Setup, "", "a1")))...)
	})
}

// takeable lists which of the codes made by grow are still good.
func takeable(t testing.TB, s broker.Store) []string {
	t.Helper()
	var good []string
	for _, name := range []string{"root", "mid", "leaf", "side", "stranger", "loose"} {
		purpose := sessions.HandOver
		if name == "loose" {
			purpose = sessions.Setup
		}
		if tryUpdate(t, s, func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.TakeCode(ctx, purpose, "code-"+name, now())
			return err
		}) == nil {
			good = append(good, name)
		}
	}
	return good
}

func ending(t *testing.T, open opener) {
	t.Run("SES-04 ending a session ends everything below it and spends their codes", func(t *testing.T) {
		s := open(t)
		grow(t, s)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			ended, err := tx.EndSession(ctx, "mid", "signed_out", after(time.Second))
			slices.Sort(ended)
			same(t, ended, []string{"leaf", "mid"})
			return err
		})
		states(t, s, map[string]sessions.State{
			"root": sessions.Active, "mid": sessions.Ended, "leaf": sessions.Ended, "side": sessions.Active,
			"stranger": sessions.Active,
		})
		same(t, takeable(t, s), []string{"root", "side", "stranger", "loose"})
	})
	t.Run("SES-04 ending the root ends the whole tree and no other", func(t *testing.T) {
		s := open(t)
		grow(t, s)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			ended, err := tx.EndSession(ctx, "root", "signed_out", after(time.Second))
			slices.Sort(ended)
			same(t, ended, []string{"leaf", "mid", "root", "side"})
			return err
		})
		same(t, takeable(t, s), []string{"stranger", "loose"})
	})
	t.Run("what ended before keeps its time and reason and is not told again", func(t *testing.T) { endTwice(t, open(t)) })
	t.Run("SES-05 ending an account's sessions spends all its codes too", func(t *testing.T) {
		s := open(t)
		grow(t, s)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			ended, err1 := tx.EndSessions(ctx, "a1", "disabled", after(time.Second))
			again, err2 := tx.EndSessions(ctx, "a1", "disabled", after(time.Second))
			nobody, err3 := tx.EndSessions(ctx, "", "disabled", after(time.Second))
			slices.Sort(ended)
			same(t, ended, []string{"leaf", "mid", "root", "side"})
			same(t, append(again, nobody...), []string(nil))
			return must(err1, err2, err3)
		})
		states(t, s, map[string]sessions.State{"root": sessions.Ended, "leaf": sessions.Ended, "stranger": sessions.Active})
		same(t, takeable(t, s), []string{"stranger"})
	})
	t.Run("SES-04 nothing new hangs on a session that ended or never was", func(t *testing.T) {
		s := open(t)
		grow(t, s)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.EndSession(ctx, "root", "signed_out", after(time.Second))
			return err
		})
		for _, parent := range []string{"root", "leaf", "unknown"} {
			refused(t, s, identity.ErrNotFound, func(ctx context.Context, tx broker.Tx) error {
				return tx.CreateSession(ctx, aSession("late", parent, "a1"), "late")
			})
			refused(t, s, identity.ErrNotFound, func(ctx context.Context, tx broker.Tx) error {
				return tx.PutCode(ctx, "late", aCode(sessions.HandOver, parent, "a1"))
			})
		}
	})
	t.Run("a tree of a thousand levels ends", func(t *testing.T) { deepTree(t, open(t)) })
}

func states(t testing.TB, s broker.Store, want map[string]sessions.State) {
	t.Helper()
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		for id, state := range want {
			byID, err1 := tx.Session(ctx, id)
			byToken, err2 := tx.SessionByToken(ctx, "token-"+id)
			if err := must(err1, err2); err != nil {
				return err
			}
			same(t, byToken, byID)
			same(t, byID.State, state)
			same(t, byID.EndedAt.IsZero(), state != sessions.Ended)
			same(t, byID.Live(stored(after(2*time.Second))), state == sessions.Active)
		}
		return nil
	})
}

func endTwice(t *testing.T, s broker.Store) {
	grow(t, s)
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		_, err := tx.EndSession(ctx, "mid", "first", after(time.Second))
		return err
	})
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		again, err1 := tx.EndSession(ctx, "mid", "second", after(time.Minute))
		unknown, err2 := tx.EndSession(ctx, "nobody", "second", after(time.Minute))
		empty, err3 := tx.EndSession(ctx, "", "second", after(time.Minute))
		same(t, slices.Concat(again, unknown, empty), []string(nil))
		rest, err4 := tx.EndSession(ctx, "root", "second", after(time.Minute))
		slices.Sort(rest)
		same(t, rest, []string{"root", "side"})
		return must(err1, err2, err3, err4)
	})
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		mid, err := tx.Session(ctx, "mid")
		same(t, mid.EndReason, "first")
		same(t, mid.EndedAt, stored(after(time.Second)))
		return err
	})
}

func deepTree(t *testing.T, s broker.Store) {
	const levels = 1000
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		parent := ""
		for range levels {
			id := parent + "x"
			if err := tx.CreateSession(ctx, aSession(id, parent, "a1"), ""); err != nil {
				return err
			}
			parent = id
		}
		ended, err := tx.EndSession(ctx, "x", "signed_out", now())
		same(t, len(ended), levels)
		return err
	})
}
