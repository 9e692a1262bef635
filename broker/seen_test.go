package broker_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"sallyport/broker/sessions"
)

// seenAt reads when a session was seen last, as the store knows it.
func (h *house) seenAt(id string) time.Time {
	h.t.Helper()
	list, err := h.LiveSessions(h.t.Context(), sessions.Filter{Limit: 1000})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, s := range list {
		if s.ID == id {
			return s.LastSeenAt
		}
	}
	h.t.Fatalf("session %s is not listed", id)
	return time.Time{}
}

func TestWhoWasSeenIsWrittenDownInSmallBatchesThatDoNotWaitForEachOther(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	var all []string
	var shown []credential
	for range 120 {
		out := h.signIn("ada")
		all, shown = append(all, out.Session.ID), append(shown, cookie(out))
	}
	h.pass(2 * time.Minute)
	for _, c := range shown {
		h.opens(c)
	}
	transactions := 0
	h.store.set(func(f *faults) {
		f.any = func() error {
			if transactions++; transactions == 2 {
				return errors.New("somebody else was writing")
			}
			return nil
		}
	})
	if err := h.FlushSeen(t.Context()); err == nil {
		t.Fatal("the failure is not told")
	}
	written := func() (n int) {
		for _, id := range all {
			if h.seenAt(id).Equal(h.clock.Now()) {
				n++
			}
		}
		return n
	}
	if n := written(); n != 70 {
		t.Errorf("%d of 120 were written, want all but one batch of 50", n)
	}
	if err := h.FlushSeen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := written(); n != 120 {
		t.Errorf("%d of 120 were written in the end", n)
	}
}

func TestREL06_OneProcessWhoseClockJumpsAheadEndsNobodyForGood(t *testing.T) {
	one := newHouse(t)
	one.addPerson("ada", "viewers")
	in := one.signIn("ada")
	_, key := one.newKey(in, "app")
	ahead := newClock()
	two := openHouse(t, one.path, one.key, ahead)
	two.store.set(func(f *faults) { f.clock = one.clock }) // as a database server's clock is
	for _, jump := range []time.Duration{time.Hour, 9 * time.Hour, 100 * 24 * time.Hour} {
		t.Run(fmt.Sprint(jump), func(t *testing.T) {
			ahead.Advance(jump)
			_, _ = two.show(cookie(in))
			_, _ = two.show(apiKey(key, "app"))
			_ = two.FlushSeen(t.Context())
			ahead.Advance(-jump)
			one.opens(cookie(in))
			one.opens(apiKey(key, "app"))
		})
	}
}
