package broker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sallyport/identity"
	"sallyport/internal/testenv"
)

// run starts the background work and returns what ends it and waits for it.
func (h *house) run() (end func()) {
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func wait(t *testing.T, try func() error) {
	t.Helper()
	if err := testenv.Eventually(20*time.Second, nil, try); err != nil {
		t.Fatal(err)
	}
}

func TestREL10_BackgroundWorkEndsAndLeavesNothingBehind(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	before := goleak.IgnoreCurrent()
	h.clock.Advance(10 * time.Minute)
	end := h.run()
	wait(t, func() error { return h.Ready(t.Context()) })
	h.opens(cookie(in))
	end()
	goleak.VerifyNone(t, before)
	t.Run("what was seen last is written down at the end", func(t *testing.T) {
		there := h.beside()
		h.clock.Advance(25 * time.Minute)
		there.opens(cookie(in))
	})
}

func TestDOS04_APanicInBackgroundWorkIsCaughtAndTheWorkGoesOn(t *testing.T) {
	h := newHouse(t)
	h.store.set(func(f *faults) { f.changes = func() error { panic("a test's") } })
	h.clock.Advance(10 * time.Second)
	before := goleak.IgnoreCurrent()
	end := h.run()
	wait(t, func() error {
		if h.Panics() == 0 {
			return errors.New("no panic yet")
		}
		return nil
	})
	if err := h.Ready(t.Context()); !errors.Is(err, identity.ErrUnavailable) {
		t.Fatalf("ready although it hears of no changes: %v", err)
	}
	h.store.set(func(f *faults) { f.changes = nil })
	wait(t, func() error { return h.Ready(t.Context()) })
	end()
	goleak.VerifyNone(t, before)
}

func TestAProcessIsReadyOnlyWhenItCanAnswer(t *testing.T) {
	h := newHouse(t)
	if err := h.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Run("not when the store does not answer", func(t *testing.T) {
		h.down()
		defer h.isBack()
		if err := h.Ready(t.Context()); !errors.Is(err, identity.ErrUnavailable) {
			t.Fatalf("error is %v", err)
		}
	})
	t.Run("not when it has not heard of changes", func(t *testing.T) {
		h.clock.Advance(6 * time.Second)
		if err := h.Ready(t.Context()); !errors.Is(err, identity.ErrUnavailable) {
			t.Fatalf("error is %v", err)
		}
		h.poll()
		if err := h.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestGenerationsAreGivenByTheStore(t *testing.T) {
	h := newHouse(t)
	there := h.beside()
	for _, c := range []struct {
		who  *house
		hash string
		want int64
	}{{h, "a", 1}, {there, "a", 1}, {there, "b", 2}, {h, "b", 2}, {h, "a", 1}} {
		n, err := c.who.Generation(t.Context(), c.hash)
		if err != nil || n != c.want {
			t.Fatalf("generation of %s is %d, %v", c.hash, n, err)
		}
	}
}
