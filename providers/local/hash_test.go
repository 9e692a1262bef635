package local

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/identity"
)

// held is a derivation that waits until it is let go, and counts how many stand beside each other.
type held struct {
	letGo         chan struct{}
	running, peak atomic.Int64
}

func hold(h *Hasher) *held {
	w := &held{letGo: make(chan struct{})}
	h.derive = func(_, _ []byte, _ Params, keyLen uint32) []byte {
		n := w.running.Add(1)
		for p := w.peak.Load(); n > p && !w.peak.CompareAndSwap(p, n); p = w.peak.Load() {
		}
		<-w.letGo
		w.running.Add(-1)
		return make([]byte, keyLen)
	}
	return w
}

func TestDOS02_FiveHundredWrongPasswordsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hasher := NewHasher(HasherOptions{Slots: 2, Queue: 8})
		w := hold(hasher)
		h := open(t, Config{Hasher: hasher}, Person{Subject: "s-1", Username: "alice"})
		errs := make([]error, 500)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { _, errs[i] = h.Authenticate(t.Context(), "alice", "wrong wrong wrong wrong") })
		}
		synctest.Wait() // everybody hashes, waits or has gone
		if hasher.Running() != 2 || hasher.Queued() != 8 || hasher.Refused() != 490 {
			t.Errorf("%d running, %d queued, %d refused; want 2, 8, 490",
				hasher.Running(), hasher.Queued(), hasher.Refused())
		}
		close(w.letGo)
		all.Wait()
		var wrong, busy int
		for _, err := range errs {
			switch {
			case errors.Is(err, identity.ErrBadCredentials):
				wrong++
			case errors.Is(err, identity.ErrUnavailable) && identity.CodeOf(err) == "busy":
				busy++
			default:
				t.Errorf("unexpected: %v", err)
			}
		}
		if wrong != 10 || busy != 490 || hasher.Runs() != 10 {
			t.Errorf("%d wrong, %d busy, %d hashes; want 10, 490, 10", wrong, busy, hasher.Runs())
		}
		if peak := w.peak.Load(); peak != 2 {
			t.Errorf("%d hashes at once, want 2", peak)
		}
		if hasher.Running() != 0 || hasher.Queued() != 0 {
			t.Errorf("%d running and %d queued when all is over", hasher.Running(), hasher.Queued())
		}
	})
}

func TestDOS02_NobodyWaitsLongerThanTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hasher := NewHasher(HasherOptions{Slots: 1})
		w := hold(hasher)
		go func() { _, _ = hasher.hash(t.Context(), Params{}.orDefaults(), "first") }()
		synctest.Wait()
		began := time.Now()
		_, err := hasher.hash(t.Context(), Params{}.orDefaults(), "second")
		if waited := time.Since(began); waited != 2*time.Second {
			t.Errorf("waited %v, want 2s", waited)
		}
		if !errors.Is(err, identity.ErrUnavailable) || identity.CodeOf(err) != "busy" {
			t.Errorf("error is %v", err)
		}
		close(w.letGo)
		synctest.Wait()
	})
}

func TestDOS02_TheSlotIsHeldWhenTheClientHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hasher := NewHasher(HasherOptions{Slots: 1, Queue: -1})
		w := hold(hasher)
		ctx, leave := context.WithCancel(t.Context())
		go func() { _, _ = hasher.hash(ctx, Params{}.orDefaults(), "first") }()
		synctest.Wait()
		leave()
		synctest.Wait()
		if _, err := hasher.hash(t.Context(), Params{}.orDefaults(), "second"); identity.CodeOf(err) != "busy" {
			t.Errorf("the second did not find the slot taken: %v", err)
		}
		close(w.letGo)
		synctest.Wait()
		if _, err := hasher.hash(t.Context(), Params{}.orDefaults(), "third"); err != nil {
			t.Errorf("the slot was never given back: %v", err)
		}
	})
}

func TestDOS02_WhoLeavesTheQueueMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hasher := NewHasher(HasherOptions{Slots: 1, Queue: 1})
		w := hold(hasher)
		go func() { _, _ = hasher.hash(t.Context(), Params{}.orDefaults(), "first") }()
		synctest.Wait()
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := hasher.hash(ctx, Params{}.orDefaults(), "second")
			left <- err
		}()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, identity.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
		if hasher.Queued() != 0 {
			t.Errorf("%d still queued", hasher.Queued())
		}
		close(w.letGo)
		synctest.Wait()
	})
}

func TestDOS02_HashingAnewNeverWaits(t *testing.T) {
	hasher := NewHasher(HasherOptions{Slots: 1})
	hasher.slots <- struct{}{}
	if s, ok := hasher.tryHash(Params{}.orDefaults(), "password"); ok || s != "" || hasher.Runs() != 0 {
		t.Errorf("hashed beside a full house: %q, %v", s, ok)
	}
	hasher.release()
	if s, ok := hasher.tryHash(Params{}.orDefaults(), "password"); !ok || s == "" {
		t.Errorf("did not hash in an empty house: %q, %v", s, ok)
	}
}

func TestNewHasher_Defaults(t *testing.T) {
	h := NewHasher(HasherOptions{Slots: 3})
	if cap(h.slots) != 3 || h.queue != 12 || h.wait != 2*time.Second {
		t.Errorf("%d slots, queue of %d, wait %v", cap(h.slots), h.queue, h.wait)
	}
	if h := NewHasher(HasherOptions{}); cap(h.slots) < 1 || h.queue != int64(4*cap(h.slots)) {
		t.Errorf("%d slots, queue of %d", cap(h.slots), h.queue)
	}
}

func BenchmarkHash(b *testing.B) {
	h := NewHasher(HasherOptions{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.hash(b.Context(), Params{}.orDefaults(), "a longer gate than that"); err != nil {
			b.Fatal(err)
		}
	}
}
