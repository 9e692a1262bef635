package broker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/audit"
)

const (
	// pollEvery is how often a process looks for changes that others made.
	pollEvery = time.Second
	// pollOverlap is read again at each poll, so that a transaction that committed late, or on a node whose clock is
	// behind, is not missed. A node further off than this is not ready.
	pollOverlap = 30 * time.Second
	// blindAfter is how old our view of changes may be before cached answers count no more (the issue of answering out
	// of ignorance: then the store is asked, and if that fails, 503).
	blindAfter = 5 * time.Second
	// recentFor bounds how long a change is remembered against fills that began before it.
	recentFor = 2 * time.Minute
)

// observedStore applies what a transaction changed to this process's caches the moment it is committed, and shows
// committed audit events to whoever counts them.
type observedStore struct {
	Store
	onChange func(kind ChangeKind, key string)
	onEvent  func(audit.Event)
}

// Notifier is an ability that a Store may have: to tell that others changed something, before a poll would find it.
type Notifier interface {
	// Notifications receives after changes were committed, here or elsewhere. It may tell of several at once, or of none.
	Notifications() <-chan struct{}
}

// notifications are those of the store; nil where it tells nothing.
func (s *observedStore) notifications() <-chan struct{} {
	if n, ok := s.Store.(Notifier); ok {
		return n.Notifications()
	}
	return nil
}

// Update see Store.
func (s *observedStore) Update(ctx context.Context, fn func(tx Tx) error) error {
	var seen *observedTx
	err := s.Store.Update(ctx, func(tx Tx) error {
		seen = &observedTx{Tx: tx} // a retry starts a new list
		return fn(seen)
	})
	if err != nil {
		return err
	}
	for _, c := range seen.changes {
		s.onChange(c.Kind, c.Key)
	}
	if s.onEvent != nil {
		for _, e := range seen.events {
			s.onEvent(e)
		}
	}
	return nil
}

type observedTx struct {
	Tx
	changes []Change
	events  []audit.Event
}

// Changed see ChangeLog.
func (t *observedTx) Changed(ctx context.Context, kind ChangeKind, at time.Time, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	for _, key := range keys {
		t.changes = append(t.changes, Change{Kind: kind, Key: key})
	}
	return t.Tx.Changed(ctx, kind, at, keys...)
}

// Append see audit.Appender.
func (t *observedTx) Append(ctx context.Context, e audit.Event) error {
	t.events = append(t.events, e)
	return t.Tx.Append(ctx, e)
}

// feed is this process's view of the change log.
type feed struct {
	// heard is when the log was last read successfully, in milliseconds since 1970; 0: never. born is when we began.
	heard atomic.Int64
	born  time.Time

	mu sync.Mutex
	// count grows with each change applied here; recent says at which count a key changed last.
	count  uint64
	recent map[string]recentChange
	polled map[int64]time.Time // Seq of changes applied already
	// waiting is closed at the next change; nil while nobody waits.
	waiting chan struct{}
}

type recentChange struct {
	count uint64
	at    time.Time
}

func newFeed(now time.Time) *feed {
	return &feed{born: now, recent: map[string]recentChange{}, polled: map[int64]time.Time{}}
}

// fresh reports whether cached answers may be used. A clock that was put back makes us as blind as one that ran on:
// how old our view is cannot be told until the next poll (REL-06).
func (f *feed) fresh(now time.Time) bool {
	age := now.UnixMilli() - f.heard.Load()
	return age <= blindAfter.Milliseconds() && age >= -blindAfter.Milliseconds()
}

// since is where the next poll begins: a little before the last one that succeeded, however long ago that was. A
// process that was cut off, or stopped, for longer than the overlap would otherwise never hear what it missed.
func (f *feed) since(now time.Time) time.Time {
	last := f.born
	if heard := f.heard.Load(); heard != 0 {
		last = time.UnixMilli(heard)
	}
	if last.After(now) {
		last = now
	}
	return last.Add(-pollOverlap)
}

// begin marks the start of a cache fill.
func (f *feed) begin() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// unchanged runs put, which fills the cache, unless key changed since begin, or what all proofs rest on. No change can
// come between.
func (f *feed) unchanged(key string, begun uint64, put func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.recent[key].count > begun || f.recent[allProofs].count > begun { // what all rest on is a part of each
		return false
	}
	put()
	return true
}

// changed records the change and runs drop, which empties the cache of it.
func (f *feed) changed(key string, now time.Time, drop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	f.recent[key] = recentChange{f.count, now}
	drop()
	if f.waiting != nil {
		close(f.waiting)
		f.waiting = nil
	}
}

// next returns what is closed at the next change.
func (f *feed) next() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting == nil {
		f.waiting = make(chan struct{})
	}
	return f.waiting
}

// news returns those changes that were not applied yet and forgets what is too old to matter.
func (f *feed) news(all []Change, now time.Time) []Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	var fresh []Change
	for _, c := range all {
		if _, known := f.polled[c.Seq]; !known {
			f.polled[c.Seq] = c.At
			fresh = append(fresh, c)
		}
	}
	for seq, at := range f.polled {
		if now.Sub(at) > recentFor {
			delete(f.polled, seq)
		}
	}
	for key, r := range f.recent {
		if now.Sub(r.at) > recentFor {
			delete(f.recent, key)
		}
	}
	return fresh
}

// allProofs is the key under which the feed knows what every proof of a credential rests on: the signing keys, and the
// configuration that says for whom they sign.
const allProofs = "signing_keys"

// apply makes this process forget what a change concerns.
func (b *Broker) apply(kind ChangeKind, key string) {
	switch kind {
	case ChangeSession, ChangeKey:
		b.feed.changed(key, b.now(), func() { b.views.drop(key) })
	case ChangeSigningKeys:
		b.feed.changed(allProofs, b.now(), func() {
			b.views.clear()
			b.signing.Store(nil) // read again at the next use
			b.over.Store(nil)
		})
	}
}

// Heard returns a channel that is closed when this process next hears of a change, of its own or of another's.
func (b *Broker) Heard() <-chan struct{} { return b.feed.next() }

// Poll reads the change log once and applies what is new. Processes call it every second through Run.
func (b *Broker) Poll(ctx context.Context) error {
	now := b.now()
	var all []Change
	err := b.store.View(ctx, func(tx Tx) (err error) {
		all, err = tx.Changes(ctx, b.feed.since(now))
		return err
	})
	if err != nil {
		return err
	}
	for _, c := range b.feed.news(all, now) {
		b.apply(c.Kind, c.Key)
	}
	b.feed.heard.Store(now.UnixMilli())
	return nil
}
