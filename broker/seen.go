package broker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"sallyport/identity"
)

// lastSeen collects when sessions and keys were used, until a job writes it down.
type lastSeen struct {
	mu             sync.Mutex
	sessions, keys map[string]time.Time
	// over are ids of sessions (true) and keys (false) that somebody showed after their time.
	over map[string]bool
}

// mostOver bounds what is remembered between two looks; the rest is remembered when it is shown again.
const mostOver = 1_000

// isOver notes that the time of a session, or of a key, is over, so that it is written down: a clock that is put back must
// not let it live again (REL-06).
func (l *lastSeen) isOver(id string, session bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.over) < mostOver {
		l.over[id] = session
	}
}

func newLastSeen() *lastSeen {
	return &lastSeen{sessions: map[string]time.Time{}, keys: map[string]time.Time{}, over: map[string]bool{}}
}

// lift gives a view that comes from the store what was not written down there yet.
func (l *lastSeen) lift(id string, v *view) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, ok := l.sessions[id]; ok && at.UnixMilli() > v.seen.Load() {
		v.seen.Store(at.UnixMilli()) // nobody else has the view yet
	}
}

const (
	// seenEvery is how often one session's or key's use is recorded at most.
	seenEvery = time.Minute
	// seenSlack is by how much the store may think a session idle that is not: what was seen is written down in batches.
	seenSlack = 2 * time.Minute
)

// touch notes the use of a view, at most once a minute, and that of the sign-in it hangs on.
func (b *Broker) touch(v *view, now time.Time) {
	was := v.seen.Load()
	if now.UnixMilli()-was < v.every.Milliseconds() || !v.seen.CompareAndSwap(was, now.UnixMilli()) {
		return
	}
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	if v.principal.KeyID != "" {
		b.seen.keys[v.principal.KeyID] = now
		return
	}
	b.seen.sessions[v.principal.SessionID] = now
	if v.parent != "" {
		b.seen.sessions[v.parent] = now
	}
}

// FlushSeen writes down who was seen since the last time, and what was seen to be over. What the store did not take is
// kept for the next time.
func (b *Broker) FlushSeen(ctx context.Context) error {
	return errors.Join(b.flushSeen(ctx), b.endOver(ctx))
}

// seenBatch bounds the rows of one transaction: where several processes write beside each other, a large one would be
// begun anew again and again and never come to its end.
const seenBatch = 50

func (b *Broker) flushSeen(ctx context.Context) error {
	b.seen.mu.Lock()
	inSessions, inKeys := maps.Clone(b.seen.sessions), maps.Clone(b.seen.keys)
	b.seen.mu.Unlock()
	return errors.Join(
		b.flushBatches(ctx, inSessions, b.seen.sessions, Tx.TouchSessions),
		b.flushBatches(ctx, inKeys, b.seen.keys, Tx.TouchKeys))
}

// flushBatches writes down what was seen and forgets each batch once it is written.
func (b *Broker) flushBatches(
	ctx context.Context, all, seen map[string]time.Time, write func(Tx, context.Context, map[string]time.Time) error,
) error {
	var failed error
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(all)), seenBatch) {
		batch := make(map[string]time.Time, len(ids))
		for _, id := range ids {
			batch[id] = all[id]
		}
		err := b.store.Update(ctx, func(tx Tx) error { return write(tx, ctx, batch) })
		if err != nil {
			failed = err // the others may well be taken
			continue
		}
		b.seen.mu.Lock()
		forget(seen, batch)
		b.seen.mu.Unlock()
	}
	return failed
}

// forget takes out what was written, unless it was seen again meanwhile.
func forget(seen, written map[string]time.Time) {
	for id, at := range written {
		if seen[id].Equal(at) {
			delete(seen, id)
		}
	}
}

// endOver ends for good what was shown after its time.
func (b *Broker) endOver(ctx context.Context) error {
	b.seen.mu.Lock()
	over := maps.Clone(b.seen.over)
	b.seen.mu.Unlock()
	for id, isSession := range over {
		err := b.store.Update(ctx, func(tx Tx) error {
			now, err := tx.Now(ctx) // what ends for good is judged by the clock that all share
			if err != nil || now.Sub(b.now()).Abs() > maxClockOff {
				return err
			}
			if isSession {
				return b.endOverSession(ctx, tx, id, now)
			}
			return b.endOverKey(ctx, tx, id, now)
		})
		if err != nil && !errors.Is(err, identity.ErrNotFound) {
			return err
		}
		b.seen.mu.Lock()
		delete(b.seen.over, id)
		b.seen.mu.Unlock()
	}
	return nil
}

const (
	reasonExpired = "expired"
	// idlePatience is for how long nobody may have been seen beyond the idle time before that is written down: another
	// process may have seen them, and not been able to say so yet.
	idlePatience = 10 * time.Minute
)

func (b *Broker) endOverSession(ctx context.Context, tx Tx, id string, now time.Time) error {
	s, err := tx.Session(ctx, id)
	if err != nil || !s.EndedAt.IsZero() {
		return err
	}
	idle := s.IdleTimeout > 0 && now.After(s.LastSeenAt.Add(s.IdleTimeout+idlePatience))
	if now.Before(s.ExpiresAt) && !idle {
		return nil
	}
	return b.end(ctx, tx, Visit{}, id, reasonExpired, "system")
}

func (b *Broker) endOverKey(ctx context.Context, tx Tx, id string, now time.Time) error {
	k, err := tx.Key(ctx, id)
	if err != nil || !k.EndedAt.IsZero() || now.Before(k.ExpiresAt) {
		return err
	}
	if err := tx.EndKey(ctx, k.AccountID, id, reasonExpired, b.now()); err != nil {
		return err
	}
	return tx.Changed(ctx, ChangeKey, b.now(), id)
}
