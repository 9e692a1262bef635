package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	_ "modernc.org/sqlite" // any engine would do

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/migrations"
)

// Errors that the engine of these tests answers.
var (
	errBusy    = errors.New("engine: run it again")
	errUnique  = errors.New("engine: unique")
	errForeign = errors.New("engine: foreign")
	errDisk    = errors.New("engine: disk")
	errFault   = errors.New("engine: syntax")
)

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func testStore(t *testing.T) *Store {
	t.Helper()
	d, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "x.db")+"?_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.Up(t.Context(), d, migrations.SQLite); err != nil {
		t.Fatal(err)
	}
	key, err := storage.NewMasterKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), Options{Writer: d, Reader: d, MasterKey: key, Dialect: Dialect{
		Unique: is(errUnique), Foreign: is(errForeign), Busy: is(errBusy), Unavailable: is(errDisk),
		Now: func(context.Context) (time.Time, error) { return time.Time{}, errDisk },
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// failing runs fn's change and then a statement that the engine answers with err.
func failing(ctx context.Context, btx broker.Tx, err error) error {
	t := btx.(*tx)
	return errors.Join(btx.CreateAccount(ctx, people.Account{ID: "a"}), t.fail(ctx, "statement", err))
}

func count(t *testing.T, s *Store) int {
	t.Helper()
	var n int
	if err := s.View(t.Context(), func(tx broker.Tx) error {
		list, err := tx.Accounts(t.Context(), "", 10)
		n = len(list)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestUpdateIsRunAgainWhenTheEngineSaysSo(t *testing.T) {
	s := testStore(t)
	runs := 0
	err := s.Update(t.Context(), func(tx broker.Tx) error {
		runs++
		if runs < 3 {
			return failing(t.Context(), tx, errBusy)
		}
		return tx.CreateAccount(t.Context(), people.Account{ID: "a", UsernameKey: "a"})
	})
	if err != nil || runs != 3 || count(t, s) != 1 {
		t.Fatalf("got %v after %d runs and %d accounts", err, runs, count(t, s))
	}
}

func TestUpdateIsRunAgainWhateverFnMakesOfTheError(t *testing.T) {
	for name, answer := range map[string]error{"dropped": nil, "replaced": errors.New("mine")} {
		t.Run(name, func(t *testing.T) {
			runs := 0
			err := testStore(t).Update(t.Context(), func(tx broker.Tx) error {
				runs++
				if runs == 1 {
					_ = failing(t.Context(), tx, errBusy)
					return answer
				}
				return nil
			})
			if err != nil || runs != 2 {
				t.Fatalf("got %v after %d runs", err, runs)
			}
		})
	}
}

func TestUpdateGivesUpAfterAFewRuns(t *testing.T) {
	s := testStore(t)
	runs := 0
	err := s.Update(t.Context(), func(tx broker.Tx) error { runs++; return failing(t.Context(), tx, errBusy) })
	if !errors.Is(err, identity.ErrUnavailable) || runs != maxAttempts || count(t, s) != 0 {
		t.Fatalf("got %v after %d runs", err, runs)
	}
}

func TestAnEngineThatAnswersSlowlyIsNotAskedOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testStore(t)
		runs, began := 0, time.Now()
		err := s.Update(t.Context(), func(tx broker.Tx) error {
			runs++
			<-time.After(patience * 3 / 4)
			return failing(t.Context(), tx, errBusy)
		})
		if !errors.Is(err, identity.ErrUnavailable) || runs != 2 {
			t.Fatalf("got %v after %d runs and %v", err, runs, time.Since(began))
		}
	})
}

func TestPausesGrowAndEndSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		for attempt := 1; attempt < maxAttempts; attempt++ {
			before := time.Now()
			if err := pause(t.Context(), attempt); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(before); d < firstPause/2 || d > maxPause {
				t.Errorf("pause %d: %v", attempt, d)
			}
		}
		if d := time.Since(began); d > 1500*time.Millisecond {
			t.Errorf("a caller is kept for %v", d)
		}
	})
}

func TestCommittedChangesAreTold(t *testing.T) {
	told := 0
	s := testStore(t)
	s.dialect.Changed = func() { told++ }
	record := func(answer error) func(tx broker.Tx) error {
		return func(tx broker.Tx) error {
			return errors.Join(tx.Changed(t.Context(), broker.ChangeKey, time.Now(), "a", "b"), answer)
		}
	}
	for _, c := range []struct {
		what string
		fn   func(tx broker.Tx) error
		want int
	}{
		{"nothing was recorded", func(broker.Tx) error { return nil }, 0},
		{"recorded without a key", func(tx broker.Tx) error {
			return tx.Changed(t.Context(), broker.ChangeKey, time.Now())
		}, 0},
		{"undone", record(errors.New("mine")), 0},
		{"committed", record(nil), 1},
	} {
		told = 0
		_ = s.Update(t.Context(), c.fn)
		if told != c.want {
			t.Errorf("%s: told %d times", c.what, told)
		}
	}
}

func TestACallerWhoGoesAwayEndsTheRetries(t *testing.T) {
	s := testStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	runs := 0
	err := s.Update(ctx, func(tx broker.Tx) error {
		runs++
		err := failing(t.Context(), tx, errBusy)
		cancel()
		return err
	})
	if !errors.Is(err, context.Canceled) || runs != 1 {
		t.Fatalf("got %v after %d runs", err, runs)
	}
}

func TestAUD02_AFailedStatementUndoesTheTransactionEvenWhenFnDropsIt(t *testing.T) {
	for _, engine := range []error{errDisk, errUnique, errForeign, errFault} {
		s := testStore(t)
		err := s.Update(t.Context(), func(tx broker.Tx) error { _ = failing(t.Context(), tx, engine); return nil })
		if err == nil || count(t, s) != 0 {
			t.Errorf("%v: got %v and %d accounts", engine, err, count(t, s))
		}
	}
}

func TestEnginesErrorsBecomeOurs(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancelLate()
	notFound, conflict := []error{identity.ErrNotFound}, []error{identity.ErrConflict}
	unavailable, canceled := []error{identity.ErrUnavailable}, []error{context.Canceled}
	for name, c := range map[string]struct {
		ctx    context.Context
		engine error
		want   []error
		not    error
	}{
		"no rows is not found":           {t.Context(), sql.ErrNoRows, notFound, identity.ErrUnavailable},
		"unique is a conflict":           {t.Context(), errUnique, conflict, identity.ErrUnavailable},
		"foreign is not found":           {t.Context(), errForeign, notFound, identity.ErrUnavailable},
		"busy is unavailable":            {t.Context(), errBusy, append(unavailable, errBusy), identity.ErrNotFound},
		"disk is unavailable":            {t.Context(), errDisk, append(unavailable, errDisk), identity.ErrNotFound},
		"a lost connection":              {t.Context(), driver.ErrBadConn, unavailable, identity.ErrNotFound},
		"a connection given back":        {t.Context(), sql.ErrConnDone, unavailable, identity.ErrNotFound},
		"a transaction that has ended":   {t.Context(), sql.ErrTxDone, unavailable, identity.ErrNotFound},
		"a fault stays a fault":          {t.Context(), errFault, []error{errFault}, identity.ErrUnavailable},
		"a caller gone":                  {gone, errDisk, canceled, identity.ErrUnavailable},
		"a caller gone, told by driver":  {t.Context(), context.Canceled, canceled, identity.ErrUnavailable},
		"a caller out of time":           {late, errDisk, append(unavailable, late.Err()), context.Canceled},
		"a driver that ran out of time":  {t.Context(), context.DeadlineExceeded, unavailable, context.Canceled},
		"a caller gone is never no rows": {gone, errFault, canceled, identity.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&tx{store: testStore(t)}).fail(c.ctx, "op", c.engine)
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			}
			if errors.Is(err, c.not) {
				t.Errorf("got %v, which is %v", err, c.not)
			}
		})
	}
}

func TestAClockThatDoesNotAnswerIsUnavailable(t *testing.T) {
	s := testStore(t)
	err := s.View(t.Context(), func(tx broker.Tx) error { _, err := tx.Now(t.Context()); return err })
	if !errors.Is(err, identity.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
}

func TestNumbersAreDrawnAgainWhenTaken(t *testing.T) {
	when := time.UnixMilli(1_900_000_000_000)
	var drawn []int64
	err := numbered(when, func(n int64) (int64, error) {
		drawn = append(drawn, n)
		return int64(len(drawn) / 3), nil // the third is free
	})
	if err != nil || len(drawn) != 3 {
		t.Fatalf("got %v after %d draws", err, len(drawn))
	}
	for _, n := range drawn {
		if n < firstAt(when) || n >= firstAt(when.Add(time.Millisecond)) {
			t.Errorf("%d is outside its millisecond", n)
		}
	}
	if drawn[0] == drawn[1] && drawn[1] == drawn[2] {
		t.Error("the same number was drawn three times")
	}
	if err := numbered(when, func(int64) (int64, error) { return 0, nil }); err == nil {
		t.Error("a number was found where none is free")
	}
	if err := numbered(when, func(int64) (int64, error) { return 0, errDisk }); !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
}
