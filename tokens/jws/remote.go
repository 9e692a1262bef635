package jws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// The rhythm of a Remote.
const (
	// DefaultRefresh is how old a copy may become before it is fetched again.
	DefaultRefresh = 10 * time.Minute
	// unknownEvery is the least time between two fetches caused by messages that no known key verifies. Without it,
	// anybody could make us flood the issuer.
	unknownEvery = 30 * time.Second
	// fetchTimeout bounds one fetch, discovery of the URL included.
	fetchTimeout = 5 * time.Second
	// The wait after failed fetches doubles from one to the other.
	firstRetry, lastRetry = time.Second, 30 * time.Second
)

// RemoteConfig says where a Remote finds its keys.
type RemoteConfig struct {
	// URL returns the address of the key set. It is asked at every fetch, within its five seconds, so discovery can be
	// lazy and may fail. Which addresses are allowed is decided here and by Client's dialler.
	URL func(ctx context.Context) (string, error)
	// Client does the fetching. It is copied and never follows a redirect to another host or scheme.
	Client *http.Client
	// Now is the clock.
	Now func() time.Time
	// Refresh is how old a copy may become; zero means DefaultRefresh.
	Refresh time.Duration
}

// StaticURL is RemoteConfig.URL for an address that is known.
func StaticURL(address string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return address, nil }
}

// Remote keeps a copy of the key set that one issuer publishes. It fetches when first used, when the copy is older than
// Refresh (so a key that left is refused from then on), and at most once in 30 s for messages that no known key
// verifies. There is one fetch at a time; whoever needs it waits for it. When a fetch fails the last good copy stays in
// use, and Status tells. It runs no goroutine but the fetch under way. Safe for concurrent use.
type Remote struct {
	url     func(ctx context.Context) (string, error)
	client  *http.Client
	now     func() time.Time
	refresh time.Duration

	mu          sync.Mutex // never held while fetching
	copy        *copied    // nil until the first success
	under       *fetching  // nil when no fetch is under way
	failures    int        // in a row
	triedAt     time.Time
	unknownAt   time.Time
	lastErr     error
	lastErrorAt time.Time
}

// copied is one good copy; it never changes.
type copied struct {
	set Set
	raw []byte
	at  time.Time // before the fetch began
}

// fetching is a fetch under way. err is readable once done is closed.
type fetching struct {
	done chan struct{}
	err  error
}

// NewRemote returns a Remote that has fetched nothing yet. URL, Client and Now are required: a default client would
// pass by the rules about outgoing requests.
func NewRemote(cfg RemoteConfig) (*Remote, error) {
	if cfg.URL == nil || cfg.Client == nil || cfg.Now == nil {
		return nil, errors.New("remote key set needs a URL, a client and a clock")
	}
	if cfg.Refresh <= 0 {
		cfg.Refresh = DefaultRefresh
	}
	return &Remote{url: cfg.URL, client: sameHostOnly(cfg.Client), now: cfg.Now, refresh: cfg.Refresh}, nil
}

// Verify is Set.Verify with the issuer's current keys. ErrUnavailable means that there is no copy at all, or that ctx
// ended while waiting for one: no answer about the message.
func (r *Remote) Verify(ctx context.Context, m Message, allowed ...string) ([]byte, error) {
	used, err := r.current(ctx)
	if err != nil {
		return nil, err
	}
	payload, err := used.set.Verify(m, allowed...)
	// A signature that fails may mean a key replaced under the same kid, or without any.
	if !errors.Is(err, ErrUnknownKey) && !errors.Is(err, ErrSignature) {
		return payload, err
	}
	if newer := r.newer(ctx, used); newer != nil {
		return newer.set.Verify(m, allowed...)
	}
	return nil, err
}

// Refresh fetches now, or waits for the fetch under way.
func (r *Remote) Refresh(ctx context.Context) error {
	r.mu.Lock()
	f := r.join(ctx)
	r.mu.Unlock()
	return f.wait(ctx)
}

// current returns a copy that is young enough, or the last good one when a new one cannot be had.
func (r *Remote) current(ctx context.Context) (*copied, error) {
	r.mu.Lock()
	have, f := r.copy, (*fetching)(nil)
	if r.due() {
		f = r.join(ctx)
	}
	err := r.lastErr
	r.mu.Unlock()

	if f != nil {
		err = f.wait(ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
		r.mu.Lock()
		have = r.copy
		r.mu.Unlock()
	}
	if have == nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return have, nil
}

// newer returns a copy younger than used, fetching it if the budget for unknown keys allows; else nil.
func (r *Remote) newer(ctx context.Context, used *copied) *copied {
	r.mu.Lock()
	if r.copy != used {
		defer r.mu.Unlock()
		return r.copy
	}
	f := r.under
	if f == nil && passed(r.now(), r.unknownAt, unknownEvery) {
		r.unknownAt = r.now()
		f = r.join(ctx)
	}
	r.mu.Unlock()
	if f == nil || f.wait(ctx) != nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.copy
}

// due reports whether a fetch is needed and may be tried again. The caller holds mu.
func (r *Remote) due() bool {
	now := r.now()
	switch {
	case r.copy != nil && !passed(now, r.copy.at, r.refresh):
		return false
	case r.copy == nil && r.under != nil:
		return true
	default:
		// After a failure only the one who tries again waits; the others go on with the last good copy.
		return r.failures == 0 || passed(now, r.triedAt, retryAfter(r.failures))
	}
}

// join returns the fetch under way, or begins one. The caller holds mu. The fetch outlives the request that caused it,
// since others wait for it too.
func (r *Remote) join(ctx context.Context) *fetching {
	if r.under == nil {
		r.under = &fetching{done: make(chan struct{})}
		r.triedAt = r.now()
		go r.run(context.WithoutCancel(ctx), r.under, r.triedAt)
	}
	return r.under
}

func (r *Remote) run(ctx context.Context, f *fetching, began time.Time) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	fresh, err := r.fetch(ctx)

	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		fresh.at = began
		r.copy, r.failures, r.lastErr = fresh, 0, nil
	case errors.Is(err, ErrSecretKey):
		// The issuer itself says that its keys are everybody's: the old copy has the same ones, so nothing verifies.
		r.copy = &copied{at: began}
		fallthrough
	default:
		r.failures++
		r.lastErr, r.lastErrorAt = err, r.now()
	}
	f.err, r.under = err, nil
	close(f.done)
}

// wait returns the outcome of the fetch, or the context's error.
func (f *fetching) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// passed reports whether d has passed since then. A clock that jumped back counts as passed: better one fetch too many
// than an hour of old keys.
func passed(now, then time.Time, d time.Duration) bool {
	age := now.Sub(then)
	return age < 0 || age >= d
}

func retryAfter(failures int) time.Duration {
	if failures > 5 {
		return lastRetry
	}
	return min(firstRetry<<(failures-1), lastRetry)
}
