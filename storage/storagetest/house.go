package storagetest

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

func auditEvents(t *testing.T, open opener) {
	t.Run("AUD-01 events come back as they were, newest first, in pages", func(t *testing.T) { eventPages(t, open(t)) })
	t.Run("an event without its optional fields stays so", func(t *testing.T) {
		s := open(t)
		bare := audit.Event{Type: audit.ConfigLoaded, At: stored(now()), Outcome: audit.Success}
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.Append(ctx, bare) })
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Events(ctx, 0, 10)
			bare.ID = got[0].ID
			same(t, got, []audit.Event{bare})
			return err
		})
	})
	t.Run("a thousand events of one millisecond are all kept", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			for range 1000 {
				if err := tx.Append(ctx, anEvent(0)); err != nil {
					return err
				}
			}
			return nil
		})
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Events(ctx, 0, 2000)
			same(t, len(got), 1000)
			return err
		})
	})
	for name, broken := range map[string]audit.Event{
		"time":    {Type: audit.SignedOut, Outcome: audit.Success},
		"type":    {At: now(), Outcome: audit.Success},
		"outcome": {Type: audit.SignedOut, At: now()},
	} {
		t.Run("AUD-02 an event without "+name+" undoes the change, even where its error is dropped", func(t *testing.T) {
			s := open(t)
			refused(t, s, identity.ErrInvalid, func(ctx context.Context, tx broker.Tx) error {
				err := tx.CreateAccount(ctx, anAccount("a1"))
				_ = tx.Append(ctx, broken)
				return err
			})
			nothingThere(t, s)
		})
	}
}

func eventPages(t *testing.T, s broker.Store) {
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		given := anEvent(2)
		given.ID = 7 // the store's own counts
		return must(tx.Append(ctx, anEvent(1)), tx.Append(ctx, anEvent(3)), tx.Append(ctx, given))
	})
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		all, err1 := tx.Events(ctx, 0, 10)
		first, err2 := tx.Events(ctx, 0, 2)
		if err := must(err1, err2); err != nil {
			return err
		}
		second, err := tx.Events(ctx, first[1].ID, 2)
		same(t, slices.Concat(first, second), all)
		same(t, len(all), 3)
		for i, e := range all {
			if got := e.ID >> 22; got != e.At.UnixMilli() {
				t.Errorf("event %d: id begins with %d, want its time", i, got)
			}
			want := anEvent(3 - i)
			want.ID = e.ID
			same(t, e, want)
		}
		return err
	})
}

func changesAndJobs(t *testing.T, open opener) {
	t.Run("changes are listed from a time on, oldest first", func(t *testing.T) { changeList(t, open(t)) })
	t.Run("a thousand changes of one millisecond are all kept", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			var many []string
			for i := range 1000 {
				many = append(many, "k"+strconv.Itoa(i))
			}
			return tx.Changed(ctx, broker.ChangeKey, now(), many...)
		})
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Changes(ctx, now())
			same(t, len(got), 1000)
			return err
		})
	})
	t.Run("a change without a time is refused and undoes the rest", func(t *testing.T) {
		s := open(t)
		refused(t, s, identity.ErrInvalid, func(ctx context.Context, tx broker.Tx) error {
			err := tx.CreateAccount(ctx, anAccount("a1"))
			_ = tx.Changed(ctx, broker.ChangeKey, time.Time{}, "k")
			return err
		})
		nothingThere(t, s)
	})
	t.Run("a job is held until its lease ends, and extended by its holder", func(t *testing.T) {
		s := open(t)
		for i, step := range []struct {
			holder    string
			at, until time.Duration
			want      bool
		}{
			{"one", 0, time.Minute, true},
			{"two", 30 * time.Second, 2 * time.Minute, false},
			{"one", 30 * time.Second, 2 * time.Minute, true},
			{"two", time.Minute, 2 * time.Minute, false},
			{"two", 2 * time.Minute, 3 * time.Minute, true},
			{"one", 2 * time.Minute, 3 * time.Minute, false},
			{"two", 2 * time.Minute, 2 * time.Minute, true}, // given back
			{"one", 2 * time.Minute, 3 * time.Minute, true},
		} {
			update(t, s, func(ctx context.Context, tx broker.Tx) error {
				got, err := tx.AcquireJob(ctx, "job", step.holder, after(step.at), after(step.until))
				if got != step.want {
					t.Errorf("step %d: got %v", i, got)
				}
				return err
			})
		}
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			other, err := tx.AcquireJob(ctx, "other", "two", after(0), after(time.Minute))
			same(t, other, true)
			return err
		})
	})
	t.Run("the store has a clock in UTC", func(t *testing.T) {
		view(t, open(t), func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Now(ctx)
			same(t, got.IsZero(), false)
			same(t, got.Location().String(), "UTC")
			return err
		})
	})
}

func changeList(t *testing.T, s broker.Store) {
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		return must(tx.Changed(ctx, broker.ChangeSigningKeys, after(2*time.Second), ""),
			tx.Changed(ctx, broker.ChangeSession, after(time.Second), "s1"),
			tx.Changed(ctx, broker.ChangeKey, now(), "k1"), tx.Changed(ctx, broker.ChangeKey, now()))
	})
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		all, err1 := tx.Changes(ctx, time.Time{})
		late, err2 := tx.Changes(ctx, after(time.Second))
		if err := must(err1, err2); err != nil {
			return err
		}
		same(t, late, all[1:])
		for i, want := range []broker.Change{
			{Kind: broker.ChangeKey, Key: "k1", At: stored(now())},
			{Kind: broker.ChangeSession, Key: "s1", At: stored(after(time.Second))},
			{Kind: broker.ChangeSigningKeys, At: stored(after(2 * time.Second))},
		} {
			want.Seq = all[i].Seq
			same(t, all[i], want)
			same(t, want.Seq>>22, want.At.UnixMilli())
		}
		return nil
	})
}

func cleanUp(t *testing.T, open opener) {
	t.Run("what nobody can need goes, in small batches, and the rest stays", func(t *testing.T) { cleanAll(t, open(t)) })
	t.Run("so does what issues, ends and counts", func(t *testing.T) { cleanLife(t, open(t)) })
	t.Run("a key that never ends by itself stays", func(t *testing.T) {
		s := open(t)
		k := aKey("k1", "a1")
		k.ExpiresAt = sessions.Never()
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateKey(ctx, k, "x") })
		far := time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			n, err := tx.CleanUp(ctx, far, far, 10)
			same(t, n, 0)
			return err
		})
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Key(ctx, "k1")
			same(t, got, k)
			return err
		})
	})
	t.Run("a root stays while a branch still stands", func(t *testing.T) {
		s := open(t)
		root, leaf := aSession("root", "", "a1"), aSession("leaf", "root", "a1")
		leaf.ExpiresAt = stored(after(100 * time.Hour))
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.CreateSession(ctx, root, ""), tx.CreateSession(ctx, leaf, ""))
		})
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			n, err1 := tx.CleanUp(ctx, after(50*time.Hour), after(50*time.Hour), 10)
			same(t, n, 0)
			ended, err2 := tx.EndSession(ctx, "root", "signed_out", after(51*time.Hour))
			same(t, len(ended), 2)
			first, err3 := tx.CleanUp(ctx, after(60*time.Hour), after(60*time.Hour), 10)
			second, err4 := tx.CleanUp(ctx, after(60*time.Hour), after(60*time.Hour), 10)
			same(t, first+second, 2)
			return must(err1, err2, err3, err4)
		})
	})
}

func cleanAll(t *testing.T, s broker.Store) {
	ended, old := aSession("ended", "", "a1"), aSession("old", "", "a1")
	old.ExpiresAt = stored(after(time.Hour))
	oldKey, endedKey := aKey("old", "a1"), aKey("ended", "a1")
	alive := aKey("alive", "a1")
	alive.ExpiresAt, endedKey.ExpiresAt = stored(after(100*time.Hour)), stored(after(100*time.Hour))
	lasting := aSession("alive", "", "a1")
	lasting.ExpiresAt = stored(after(100 * time.Hour))
	ended.ExpiresAt = stored(after(100 * time.Hour))
	late := aCode(sessions.Setup, "", "")
	late.ExpiresAt = stored(after(100 * time.Hour))
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		errs := []error{
			tx.CreateSession(ctx, lasting, ""), tx.CreateSession(ctx, ended, ""), tx.CreateSession(ctx, old, ""),
			tx.CreateKey(ctx, alive, "x"), tx.CreateKey(ctx, oldKey, "x"), tx.CreateKey(ctx, endedKey, "x"),
			tx.EndKey(ctx, "a1", "ended", "revoked", after(time.Hour)),
			tx.PutCode(ctx, "gone1", aCode(sessions.Setup, "", "")), tx.PutCode(ctx, "gone2", aCode(sessions.Setup, "", "")),
			tx.PutCode(ctx, "good", late),
			tx.Consume(ctx, "gone", after(time.Hour)), tx.Consume(ctx, "kept", after(100*time.Hour)),
			tx.Changed(ctx, broker.ChangeKey, now(), "gone"),
			tx.Changed(ctx, broker.ChangeKey, after(24*time.Hour+30*time.Minute), "kept"),
			tx.Append(ctx, anEvent(1)),
		}
		_, err := tx.EndSession(ctx, "ended", "signed_out", after(time.Hour))
		return must(append(errs, err)...)
	})
	var rounds []int
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		rounds = nil // fn may run again
		for {
			n, err := tx.CleanUp(ctx, after(48*time.Hour), after(25*time.Hour), 1)
			rounds = append(rounds, n)
			if err != nil || n == 0 {
				return err
			}
		}
	})
	same(t, rounds, []int{5, 3, 0})
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		_, err1 := tx.Session(ctx, "alive")
		_, err2 := tx.Key(ctx, "alive")
		left, err3 := tx.Changes(ctx, time.Time{})
		same(t, len(left), 1)
		events, err4 := tx.Events(ctx, 0, 10)
		same(t, len(events), 1)
		return must(err1, err2, err3, err4)
	})
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		_, err := tx.TakeCode(ctx, sessions.Setup, "good", now())
		return err
	})
	refused(t, s, identity.ErrConflict, func(ctx context.Context, tx broker.Tx) error {
		return tx.Consume(ctx, "kept", now())
	})
	for _, gone := range []func(ctx context.Context, tx broker.Tx) error{
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.Session(ctx, "ended"); return err },
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.Session(ctx, "old"); return err },
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.Key(ctx, "ended"); return err },
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.Key(ctx, "old"); return err },
	} {
		refused(t, s, identity.ErrNotFound, gone)
	}
}

// cleanLife makes, of each kind, two that are over at the time, to the millisecond, and one that is not.
func cleanLife(t *testing.T, s broker.Store) {
	fill := func(i int, end time.Time) func(context.Context, broker.Tx) error {
		name := strconv.Itoa(i)
		r, dead, f, v := aRefresh("s1"), aRevoked(name, "s1", "app", 0), aFailure(name, 0), aVerification(name, "s1", "")
		r.ExpiresAt, dead.ExpiresAt, f.Until, v.ExpiresAt = end, end, end, end
		cut := aCutoff(sessions.CutProvider, name, -time.Hour) // old, and there is still work to do
		return func(ctx context.Context, tx broker.Tx) error {
			return must(tx.PutRefresh(ctx, aSecret(name), r), tx.RevokeToken(ctx, dead), strike(f, 5)(ctx, tx),
				tx.PutVerification(ctx, v), tx.PutCutoff(ctx, cut))
		}
	}
	end := stored(after(time.Hour))
	done := aCutoff(sessions.CutApplication, "done", -2*time.Minute)
	recent := aCutoff(sessions.CutApplication, "recent", -time.Minute)
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		return must(tx.CreateSession(ctx, aSession("s1", "", "a1"), ""), fill(0, end)(ctx, tx), fill(1, end)(ctx, tx),
			fill(2, end.Add(time.Millisecond))(ctx, tx), tx.PutCutoff(ctx, done), tx.FinishCutoff(ctx, done),
			tx.PutCutoff(ctx, recent), tx.FinishCutoff(ctx, recent))
	})
	var rounds []int
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		rounds = nil // fn may run again
		for {
			n, err := tx.CleanUp(ctx, end, recent.At, 1)
			rounds = append(rounds, n)
			if err != nil || n == 0 {
				return err
			}
		}
	})
	same(t, rounds, []int{5, 4, 0}) // the first round takes the cut-off that is done, too
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		_, err1 := tx.Refresh(ctx, aSecret("2"))
		dead, err2 := tx.RevokedTokens(ctx, "s1", now())
		counted, err3 := tx.Failures(ctx, now(), "", 10)
		cuts, err4 := tx.Cutoffs(ctx)
		same(t, dead, []string{"2"})
		same(t, len(counted), 1)
		same(t, len(cuts), 4)
		return must(err1, err2, err3, err4)
	})
	update(t, s, tryVerification("2", 0, 1))
	for _, name := range []string{"0", "1"} {
		refused(t, s, identity.ErrNotFound, tryVerification(name, 0, 1))
		refused(t, s, identity.ErrNotFound, func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.Refresh(ctx, aSecret(name))
			return err
		})
	}
}

func settings(t *testing.T, open opener) {
	t.Run("a configuration has one number for good, and a new one the next", func(t *testing.T) {
		s := open(t)
		got := make([]int64, 5)
		for i, hash := range []string{"a", "b", "a", "c", "b"} {
			update(t, s, func(ctx context.Context, tx broker.Tx) error {
				var err error
				got[i], err = tx.Generation(ctx, hash, now())
				return err
			})
		}
		same(t, got, []int64{1, 2, 1, 3, 2})
	})
	t.Run("50 processes with one new configuration agree on its number", func(t *testing.T) {
		same(t, atOnce(t, open(t), errOurs, func(ctx context.Context, tx broker.Tx, _ int) error {
			n, err := tx.Generation(ctx, "a", now())
			if err == nil && n != 1 {
				t.Errorf("got generation %d", n)
			}
			return err
		}), 50)
	})
	t.Run("a sealed setting is stored once and comes back", func(t *testing.T) {
		s := open(t)
		put := func(ctx context.Context, tx broker.Tx) error {
			return tx.PutSealedSetting(ctx, "name", []byte("value\x00\xff"))
		}
		get := func(ctx context.Context, tx broker.Tx) error {
			v, err := tx.SealedSetting(ctx, "name")
			if err == nil {
				same(t, v, []byte("value\x00\xff"))
			}
			return err
		}
		refused(t, s, identity.ErrNotFound, get)
		update(t, s, put)
		update(t, s, get)
		refused(t, s, identity.ErrConflict, put)
	})
	t.Run("a sealed setting that may be replaced holds the last value", func(t *testing.T) {
		s := open(t)
		for _, value := range []string{"first", "second", ""} {
			update(t, s, func(ctx context.Context, tx broker.Tx) error {
				return tx.ReplaceSealedSetting(ctx, "name", []byte(value))
			})
			view(t, s, func(ctx context.Context, tx broker.Tx) error {
				got, err := tx.SealedSetting(ctx, "name")
				if err == nil && string(got) != value {
					t.Errorf("got %q, want %q", got, value)
				}
				return err
			})
		}
	})
}
