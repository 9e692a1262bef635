package broker

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/audit"
	"sallyport/identity"
)

const (
	// pollEvery is how often a process looks for changes that others made.
	pollEvery = time.Second
	// pollOverlap is read again at each poll, so that a transaction that committed late, or on a node whose clock is
	// behind, is not missed. It must reach over the sum of what can lie between: the reader's clock is ahead by up to
	// maxClockOff, the writer's is behind by as much, and the change was committed up to latestCommit after its time.
	pollOverlap = 30 * time.Second
	// maxClockOff is how far a node may be from the store's time. One further off does not count as having heard of
	// changes, for some may lie before where it looks; it writes none, for they may lie where nobody looks any more; and
	// it is not ready.
	maxClockOff = 10 * time.Second
	// latestCommit is how long after its time a change may be committed. What takes half as long is undone: the other half
	// is the commit's own.
	latestCommit = 10 * time.Second
	// blindAfter is how old our view of changes may be before cached answers count no more (the issue of answering out
	// of ignorance: then the store is asked, and if that fails, 503).
	blindAfter = 5 * time.Second
	// recentFor bounds how long a change is remembered against fills that began before it.
	recentFor = 2 * time.Minute
)

// What is too short for the sum above does not compile.
const _ = uint(pollOverlap - (2*maxClockOff + latestCommit))

// observedStore applies what a transaction changed to this process's caches the moment it is committed, and shows
// committed audit events to whoever counts them.
type observedStore struct {
	Store
	now      func() time.Time
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

// Update see Store. Changes that others might not find are not written: identity.ErrUnavailable.
func (s *observedStore) Update(ctx context.Context, fn func(tx Tx) error) error {
	var seen *observedTx
	err := s.Store.Update(ctx, func(tx Tx) error {
		seen = &observedTx{Tx: tx, now: s.now} // a retry starts a new list
		if err := fn(seen); err != nil {
			return err
		}
		return seen.found(ctx)
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
	now     func() time.Time
	changes []Change
	events  []audit.Event
}

// found makes sure that every poll will find the changes: that their times are the store's, nearly, and not long ago. It
// comes last, so that nothing but the commit can take time after it.
func (t *observedTx) found(ctx context.Context) error {
	if len(t.changes) == 0 {
		return nil
	}
	off, err := clockOff(ctx, t.Tx, t.now)
	if err != nil {
		return err
	}
	if off > maxClockOff {
		return clockIsOff(off)
	}
	if took := t.now().Sub(t.changes[0].At); took > latestCommit/2 {
		return fmt.Errorf("changes of %s ago are not committed yet: %w", took, identity.ErrUnavailable)
	}
	return nil
}

// clockOff is how far the store's clock may be from ours. The time that the question took counts as well: how much of it
// passed before the store looked at its clock cannot be told.
func clockOff(ctx context.Context, tx Tx, now func() time.Time) (time.Duration, error) {
	asked := now()
	there, err := tx.Now(ctx)
	return max(there.Sub(asked), now().Sub(there)), err
}

// clockIsOff is the refusal of a node whose clock is.
func clockIsOff(off time.Duration) error {
	return identity.WithCode("clock_off",
		fmt.Errorf("clock is %s off the store's: %w", off.Round(time.Second), identity.ErrUnavailable))
}

// Changed see ChangeLog. A change has the time at which it is written down, which may be some after it was decided.
func (t *observedTx) Changed(ctx context.Context, kind ChangeKind, at time.Time, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	if now := t.now(); now.After(at) {
		at = now
	}
	for _, key := range keys {
		t.changes = append(t.changes, Change{Kind: kind, Key: key, At: at})
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
	// off: at the last poll our clock was too far from the store's.
	off atomic.Bool

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
// how old our view is cannot be told until the next poll (REL-06); and while our clock is off, not at all.
func (f *feed) fresh(now time.Time) bool {
	if f.off.Load() {
		return false
	}
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

// Poll reads the change log once and applies what is new. Processes call it every second through Run. While our clock is
// off, that does not count as having heard of everything, and no cached answer is given any more.
func (b *Broker) Poll(ctx context.Context) error {
	now := b.now()
	var all []Change
	var off time.Duration
	err := b.store.View(ctx, func(tx Tx) (err error) {
		if all, err = tx.Changes(ctx, b.feed.since(now)); err != nil {
			return err
		}
		off, err = clockOff(ctx, tx, b.now)
		return err
	})
	if err != nil {
		return err
	}
	for _, c := range b.feed.news(all, now) {
		b.apply(c.Kind, c.Key)
	}
	if b.clockRight(ctx, off) {
		b.feed.heard.Store(now.UnixMilli())
	}
	return nil
}

// clockRight judges how far our clock is off, and tells the operator when that begins and when it ends. What was kept
// meanwhile is forgotten then: its changes may lie where we did not look.
func (b *Broker) clockRight(ctx context.Context, off time.Duration) bool {
	wrong := off > maxClockOff
	switch was := b.feed.off.Swap(wrong); {
	case wrong && !was:
		b.log.ErrorContext(ctx, "clock is off the store's", "off", off, "most", maxClockOff)
	case was && !wrong:
		b.log.InfoContext(ctx, "clock is right again", "off", off)
		b.apply(ChangeSigningKeys, "")
	}
	return !wrong
}
