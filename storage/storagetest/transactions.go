package storagetest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
)

var errOurs = errors.New("ours")

func transactions(t *testing.T, open opener) {
	t.Run("an error undoes everything and comes back as it was", func(t *testing.T) {
		s := open(t)
		err := tryUpdate(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.CreateAccount(ctx, anAccount("a1")), tx.CreateSession(ctx, aSession("s1", "", "a1"), "token"),
				tx.Append(ctx, anEvent(1)), tx.Changed(ctx, broker.ChangeSession, now(), "s1"), errOurs)
		})
		if !errors.Is(err, errOurs) {
			t.Fatalf("got %v", err)
		}
		nothingThere(t, s)
	})
	t.Run("a panic undoes everything and goes on", func(t *testing.T) {
		s := open(t)
		func() {
			defer func() {
				if recover() == nil {
					t.Fatal("the panic was swallowed")
				}
			}()
			_ = tryUpdate(t, s, func(ctx context.Context, tx broker.Tx) error {
				if err := tx.CreateAccount(ctx, anAccount("a1")); err != nil {
					return err
				}
				panic("fn")
			})
		}()
		nothingThere(t, s)
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateAccount(ctx, anAccount("a1")) })
	})
	t.Run("a conflict that fn answers itself does not undo the rest", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			if err := must(tx.CreateAccount(ctx, anAccount("a1"))); err != nil {
				return err
			}
			if err := tx.CreateAccount(ctx, anAccount("a1")); !errors.Is(err, identity.ErrConflict) {
				t.Errorf("got %v, want a conflict", err)
			}
			return tx.CreateAccount(ctx, anAccount("a2"))
		})
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			list, err := tx.Accounts(ctx, "", 10)
			same(t, len(list), 2)
			return err
		})
	})
	t.Run("a transaction reads its own writes and others do not before it ends", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			if err := tx.CreateAccount(ctx, anAccount("a1")); err != nil {
				return err
			}
			err := s.View(ctx, func(other broker.Tx) error { _, err := other.Account(ctx, "a1"); return err })
			if !errors.Is(err, identity.ErrNotFound) {
				t.Errorf("outside: got %v, want not found", err)
			}
			_, err = tx.Account(ctx, "a1")
			return err
		})
	})
	t.Run("a view stays on one state", func(t *testing.T) { oneState(t, open(t)) })
	t.Run("a view cannot write", func(t *testing.T) {
		s := open(t)
		err := s.View(t.Context(), func(tx broker.Tx) error { return tx.CreateAccount(t.Context(), anAccount("a1")) })
		if err == nil {
			t.Fatal("a view wrote")
		}
		nothingThere(t, s)
	})
	t.Run("concurrent updates lose nothing", func(t *testing.T) { countTogether(t, open(t), 10, 5) })
	t.Run("a crowd that changes one row succeeds to the last", func(t *testing.T) { countTogether(t, open(t), 50, 1) })
	t.Run("updates of different rows all succeed", func(t *testing.T) { createTogether(t, open(t)) })
	t.Run("a caller who went away is told so and changes nothing", func(t *testing.T) { goneCaller(t, open(t)) })
	t.Run("a closed store is unavailable", func(t *testing.T) {
		s := open(t)
		if err := must(s.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
		refused(t, s, identity.ErrUnavailable, func(context.Context, broker.Tx) error { return nil })
		err := s.View(t.Context(), func(broker.Tx) error { return nil })
		if !errors.Is(err, identity.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
	})
}

func nothingThere(t testing.TB, s broker.Store) {
	t.Helper()
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		list, err1 := tx.Accounts(ctx, "", 10)
		events, err2 := tx.Events(ctx, 0, 10)
		changes, err3 := tx.Changes(ctx, stored(now()))
		same(t, []int{len(list), len(events), len(changes)}, []int{0, 0, 0})
		if _, err := tx.Session(ctx, "s1"); !errors.Is(err, identity.ErrNotFound) {
			t.Errorf("session: got %v", err)
		}
		return must(err1, err2, err3)
	})
}

func oneState(t *testing.T, s broker.Store) {
	update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateAccount(ctx, anAccount("a1")) })
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		before, err := tx.Accounts(ctx, "", 10)
		if err != nil {
			return err
		}
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateAccount(ctx, anAccount("a2")) })
		again, err := tx.Accounts(ctx, "", 10)
		same(t, again, before)
		return err
	})
}

// countTogether reads, adds one and writes from many sides: a lost update or a run that was counted twice shows.
func countTogether(t *testing.T, s broker.Store, writers, rounds int) {
	a := anAccount("a1")
	a.Name = "0"
	update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateAccount(ctx, a) })
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range rounds {
				if err := tryUpdate(t, s, addOne); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		got, err := tx.Account(ctx, "a1")
		same(t, got.Name, strconv.Itoa(writers*rounds))
		return err
	})
}

// createTogether writes rows that have nothing to do with each other: an engine that sees conflicts there, as in small
// tables, must still let everybody through.
func createTogether(t *testing.T, s broker.Store) {
	const writers = 50
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			id := strconv.Itoa(i)
			err := tryUpdate(t, s, func(ctx context.Context, tx broker.Tx) error {
				if _, err := tx.AccountByName(ctx, "name-"+id); !errors.Is(err, identity.ErrNotFound) {
					return errors.Join(errors.New("the account is there already"), err)
				}
				return must(tx.CreateAccount(ctx, anAccount(id)), tx.CreateSession(ctx, aSession("s"+id, "", id), "t"+id),
					tx.Append(ctx, anEvent(i)), tx.Changed(ctx, broker.ChangeSession, now(), "s"+id))
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		list, err := tx.Accounts(ctx, "", 2*writers)
		same(t, len(list), writers)
		return err
	})
}

func addOne(ctx context.Context, tx broker.Tx) error {
	var a people.Account
	a, err := tx.Account(ctx, "a1")
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(a.Name)
	if err != nil {
		return err
	}
	a.Name = strconv.Itoa(n + 1)
	return tx.UpdateAccount(ctx, a)
}

func goneCaller(t *testing.T, s broker.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Update(ctx, func(tx broker.Tx) error {
		if err := tx.CreateAccount(ctx, anAccount("a1")); err != nil {
			return err
		}
		cancel()
		return tx.CreateAccount(ctx, anAccount("a2"))
	})
	if !errors.Is(err, context.Canceled) || errors.Is(err, identity.ErrUnavailable) {
		t.Fatalf("got %v, want only context.Canceled", err)
	}
	err = s.View(ctx, func(broker.Tx) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	nothingThere(t, s)
}
