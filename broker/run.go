package broker

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"sallyport/identity"
)

const (
	flushEvery   = 5 * time.Second
	cleanUpEvery = 10 * time.Minute
	// keepEnded is how long what ended stays for its owner and the auditor to see.
	keepEnded = 30 * 24 * time.Hour
	// keepUsed is how long what was used once stays known past its end: nodes' clocks may differ, and one of them may let
	// what another takes for over be shown again.
	keepUsed = time.Hour
	// cleanUpBatch bounds the rows of one transaction.
	cleanUpBatch = 500
)

// Run does the broker's background work until ctx ends: hearing of changes, writing down who was seen, cleaning up.
func (b *Broker) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, j := range []job{
		{"poll", pollEvery, b.Poll, b.store.notifications()},
		{"seen", flushEvery, b.FlushSeen, nil},
		{"clean_up", cleanUpEvery, b.cleanUp, nil},
		{"signing_keys", signingKeysEvery, b.KeepSigningKeys, nil},
		{"refresh_answers", refreshGrace, b.dropRefreshAnswers, nil},
		{"cut_offs", cutOffEvery, b.endCutOff, nil},
	} {
		wg.Go(func() { b.repeat(ctx, j) })
	}
	wg.Wait()
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := b.FlushSeen(flush); err != nil {
		b.log.WarnContext(flush, "background work", "job", "seen", "err", err)
	}
}

// job is work that is done again and again.
type job struct {
	name  string
	every time.Duration
	do    func(context.Context) error
	// sooner asks for it before its time; nil: nothing does.
	sooner <-chan struct{}
}

// repeat does a job at once, then at every tick and whenever it is asked for; a failure is said once until it works again.
func (b *Broker) repeat(ctx context.Context, j job) {
	tick := time.NewTicker(j.every)
	defer tick.Stop()
	failing := false
	for {
		err := b.guarded(ctx, j.name, j.do)
		switch {
		case err != nil && ctx.Err() == nil && !failing:
			b.log.WarnContext(ctx, "background work fails", "job", j.name, "err", err)
		case err == nil && failing:
			b.log.InfoContext(ctx, "background work goes on", "job", j.name)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case _, open := <-j.sooner:
			if !open { // nobody asks any more
				j.sooner = nil
			}
		}
	}
}

// guarded turns a panic into an error: no input and no bug of a job ends the process (DOS-04).
func (b *Broker) guarded(ctx context.Context, name string, do func(context.Context) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			b.panics.Add(1)
			b.log.ErrorContext(ctx, "panic in background work", "job", name, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic in %s", name)
		}
	}()
	return do(ctx)
}

// Panics counts those caught in background work.
func (b *Broker) Panics() uint64 { return b.panics.Load() }

// acquire takes a job for this process, as long as its next turn.
func (b *Broker) acquire(ctx context.Context, job string, every time.Duration) (mine bool, err error) {
	now := b.now()
	err = b.store.Update(ctx, func(tx Tx) (err error) {
		mine, err = tx.AcquireJob(ctx, job, b.node, now, now.Add(every))
		return err
	})
	return mine, err
}

func (b *Broker) cleanUp(ctx context.Context) error {
	now := b.now()
	if mine, err := b.acquire(ctx, "clean_up", cleanUpEvery); err != nil || !mine {
		return err
	}
	for {
		gone := 0
		if err := b.store.Update(ctx, func(tx Tx) (err error) {
			gone, err = tx.CleanUp(ctx, now.Add(-keepUsed), now.Add(-keepEnded), cleanUpBatch)
			return err
		}); err != nil || gone == 0 {
			return err
		}
	}
}

// Ready reports why this process should not get traffic, or nil.
func (b *Broker) Ready(ctx context.Context) error {
	if b.Current() == nil {
		return fmt.Errorf("no configuration yet: %w", identity.ErrUnavailable)
	}
	off, err := b.Clock(ctx)
	if err != nil {
		return err
	}
	if off > maxClockOff {
		return clockIsOff(off)
	}
	if !b.feed.fresh(b.now()) {
		return fmt.Errorf("changes were not heard of for more than %s: %w", blindAfter, identity.ErrUnavailable)
	}
	return nil
}
