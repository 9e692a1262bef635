package providers

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"sallyport/identity"
)

const (
	// slotWait is how long somebody waits for a slot: a browser is at the other end.
	slotWait = 5 * time.Second
	// slotQueue is how many may wait at a time. Each of them holds its message.
	slotQueue = 32
	codeBusy  = "busy"
)

// Slots bound how much work that strangers can cause, and that costs a processor and much memory, is done at a time. It is
// made by NewSlots and safe for concurrent use.
type Slots struct {
	taken   chan struct{}
	waiting atomic.Int64
}

// NewSlots returns n slots; where n is less than one, as many as half the processors that Go uses, and at least one, so
// that there are some left for everybody else.
func NewSlots(n int) *Slots {
	if n < 1 {
		n = max(1, runtime.GOMAXPROCS(0)/2)
	}
	return &Slots{taken: make(chan struct{}, n)}
}

// Take waits for a slot, which the caller gives back by release. Its error is identity.ErrUnavailable coded busy: too many
// wait already, none became free within five seconds, or the context has ended.
func (s *Slots) Take(ctx context.Context) (release func(), err error) {
	if ctx.Err() != nil {
		return nil, busy("the client has left")
	}
	release = func() { <-s.taken }
	select {
	case s.taken <- struct{}{}:
		return release, nil
	default:
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > slotQueue {
		return nil, busy("too many wait for a slot")
	}
	timer := time.NewTimer(slotWait)
	defer timer.Stop()
	select {
	case s.taken <- struct{}{}:
		return release, nil
	case <-timer.C:
		return nil, busy("no slot became free")
	case <-ctx.Done():
		return nil, busy("the client has left")
	}
}

func busy(why string) error {
	return identity.WithCode(codeBusy, fmt.Errorf("%s: %w", why, identity.ErrUnavailable))
}
