package storagetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
)

func aFailure(key string, at time.Duration) people.Failure {
	return people.Failure{
		Key: key, Scope: "account", Label: "label of " + key, Since: stored(after(at)),
		Until: stored(after(at + 15*time.Minute)),
	}
}

func strike(f people.Failure, most int) func(context.Context, broker.Tx) error {
	return func(ctx context.Context, tx broker.Tx) error { _, err := tx.Strike(ctx, f, most); return err }
}

// failed lists the failures that count at a moment.
func failed(t testing.TB, s broker.Store, at time.Duration) []people.Failure {
	t.Helper()
	var all []people.Failure
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		var err error
		all, err = tx.Failures(ctx, after(at), "", 100)
		return err
	})
	return all
}

func failures(t *testing.T, open opener) {
	t.Run("a strike returns the count, in the window of the first", func(t *testing.T) {
		s := open(t)
		for i, at := range []time.Duration{0, time.Minute, 14 * time.Minute} {
			want := aFailure("f", 0)
			want.Count = i + 1
			update(t, s, func(ctx context.Context, tx broker.Tx) error {
				got, err := tx.Strike(ctx, aFailure("f", at), 3)
				same(t, got, want)
				return err
			})
			same(t, failed(t, s, at), []people.Failure{want})
		}
	})
	t.Run("where most are counted nothing counts, and the rest of the window is told", func(t *testing.T) {
		s := open(t)
		update(t, s, strike(aFailure("f", 0), 2))
		update(t, s, strike(aFailure("f", time.Minute), 2))
		for at, wait := range map[time.Duration]time.Duration{
			2 * time.Minute:                   13 * time.Minute,
			15*time.Minute - time.Millisecond: time.Second, // never less
		} {
			err := tryUpdate(t, s, strike(aFailure("f", at), 2))
			if !errors.Is(err, identity.ErrThrottled) || identity.RetryAfter(err) != wait {
				t.Fatalf("got %v, wait %v, want throttled for %v", err, identity.RetryAfter(err), wait)
			}
		}
		want := aFailure("f", 0)
		want.Count = 2
		same(t, failed(t, s, 0), []people.Failure{want})
		update(t, s, strike(aFailure("other", 0), 2))
	})
	t.Run("a window that has ended begins anew", func(t *testing.T) {
		s := open(t)
		for range 2 {
			update(t, s, strike(aFailure("f", 0), 2))
		}
		refused(t, s, identity.ErrThrottled, strike(aFailure("f", 15*time.Minute-time.Millisecond), 2))
		want := aFailure("f", 15*time.Minute)
		want.Count, want.Label = 1, "renamed"
		again := aFailure("f", 15*time.Minute)
		again.Label = "renamed"
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Strike(ctx, again, 2)
			same(t, got, want)
			return err
		})
		same(t, failed(t, s, 15*time.Minute), []people.Failure{want})
	})
	t.Run("CON-01 of 50 strikes at once exactly as many count as may", func(t *testing.T) {
		s := open(t)
		same(t, atOnce(t, s, identity.ErrThrottled, func(ctx context.Context, tx broker.Tx, _ int) error {
			return strike(aFailure("f", 0), 10)(ctx, tx)
		}), 10)
		want := aFailure("f", 0)
		want.Count = 10
		same(t, failed(t, s, 0), []people.Failure{want})
	})
	t.Run("one is forgiven, and never more than there were", func(t *testing.T) { forgive(t, open(t)) })
	t.Run("one key or all are cleared", func(t *testing.T) { clearFailures(t, open(t)) })
	t.Run("the list goes by key in pages, without windows that ended", func(t *testing.T) { failurePages(t, open(t)) })
}

func forgive(t *testing.T, s broker.Store) {
	forgiven := func(key string) {
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.ForgiveFailure(ctx, key) })
	}
	counted := func(want int) {
		t.Helper()
		f := aFailure("f", 0)
		f.Count = want
		same(t, failed(t, s, 0), []people.Failure{f})
	}
	for range 2 {
		update(t, s, strike(aFailure("f", 0), 2))
	}
	for _, nobody := range []string{"other", "", "\xff"} {
		forgiven(nobody)
	}
	counted(2)
	forgiven("f")
	counted(1)
	update(t, s, strike(aFailure("f", 0), 2))
	counted(2)
	for range 3 {
		forgiven("f")
	}
	counted(0)
	update(t, s, strike(aFailure("f", 0), 2))
	counted(1)
}

func clearFailures(t *testing.T, s broker.Store) {
	one := func(key string) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error { return tx.ClearFailure(ctx, key) }
	}
	all := func(want int) {
		t.Helper()
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			n, err := tx.ClearFailures(ctx)
			same(t, n, want)
			return err
		})
	}
	all(0)
	for i := range 3 {
		update(t, s, strike(aFailure(fmt.Sprint("f", i), 0), 1))
	}
	refused(t, s, identity.ErrNotFound, one("other"))
	update(t, s, one("f1"))
	refused(t, s, identity.ErrNotFound, one("f1"))
	same(t, len(failed(t, s, 0)), 2)
	update(t, s, strike(aFailure("f1", 0), 1))
	all(3)
	same(t, failed(t, s, 0), []people.Failure(nil))
}

func failurePages(t *testing.T, s broker.Store) {
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		return must(strike(aFailure("c", 0), 5)(ctx, tx), strike(aFailure("a", 0), 5)(ctx, tx),
			strike(aFailure("over", -time.Minute), 5)(ctx, tx), strike(aFailure("b", 0), 5)(ctx, tx))
	})
	for _, page := range []struct {
		after string
		limit int
		want  []string
	}{
		{"", 2, []string{"a", "b"}},
		{"b", 2, []string{"c"}},
		{"c", 2, nil},
		{"", 0, nil},
		{"\xff", 2, nil},
	} {
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			list, err := tx.Failures(ctx, stored(after(14*time.Minute)), page.after, page.limit)
			var keys []string
			for _, f := range list {
				keys = append(keys, f.Key)
			}
			same(t, keys, page.want)
			return err
		})
	}
}
