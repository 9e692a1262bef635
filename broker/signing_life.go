package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"sallyport/audit"
	"sallyport/identity"
	"sallyport/tokens"
)

const (
	// signingKeysEvery is how often the life of the signing keys is looked after.
	signingKeysEvery = time.Minute
	// keepRetired is how long a key that signs no more stays published: as long as the longest token lives that a
	// configuration may ask for, whatever it asks for today, and what nodes that heard late and whose clocks differ need.
	keepRetired = 24*time.Hour + 5*time.Minute
	// keyChangeTries bounds how often a change is planned anew because somebody else changed the keys meanwhile.
	keyChangeTries = 5
)

// SigningKeyRules say how long a key signs.
type SigningKeyRules struct {
	// RotateEvery is how long; zero: until an administrator says so. A key is published for PublishBefore at least before
	// it signs.
	RotateEvery, PublishBefore time.Duration
}

// mayRotate is when the next key may sign at the earliest.
func (r SigningKeyRules) mayRotate(nextCreated time.Time) time.Time {
	return nextCreated.Add(r.PublishBefore)
}

// rotates is when it does by itself; zero: never.
func (r SigningKeyRules) rotates(u keyUse, currentSince, nextCreated time.Time) time.Time {
	if u.application != "" || r.RotateEvery == 0 {
		return time.Time{}
	}
	return later(currentSince.Add(r.RotateEvery), r.mayRotate(nextCreated))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// due reports whether a moment has come; the zero one never does.
func due(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// keyUse is what one current and one next key are for: an algorithm, of one pinned application or of all others.
type keyUse struct {
	algorithm   tokens.Algorithm
	application string
}

func useOf(k tokens.StoredKey) keyUse { return keyUse{k.Algorithm, k.Application} }

// signsWith returns the use of the key that signs an application's tokens. Those with HS256 have none.
func (a *Application) signsWith() keyUse {
	if a.Pinned {
		return keyUse{a.Algorithm, a.ID}
	}
	return keyUse{algorithm: a.Algorithm}
}

// keyUses lists those the snapshot needs key pairs for.
func keyUses(s *Snapshot) []keyUse {
	need := []keyUse{s.SelfApplication.signsWith()}
	for _, a := range s.Applications() {
		if u := a.signsWith(); a.Algorithm != tokens.HS256 && !slices.Contains(need, u) {
			need = append(need, u)
		}
	}
	return need
}

// storedKeys are all signing keys as they were read, oldest first.
type storedKeys []tokens.StoredKey

// find returns the key of a use in a state that only one can be in, or nil.
func (all storedKeys) find(u keyUse, state tokens.KeyState) *tokens.StoredKey {
	for i := range all {
		if k := &all[i]; k.State == state && useOf(*k) == u {
			return k
		}
	}
	return nil
}

// same reports whether nothing happened between two readings.
func (all storedKeys) same(other storedKeys) bool {
	return slices.EqualFunc(all, other, func(a, b tokens.StoredKey) bool { return a.ID == b.ID && a.State == b.State })
}

// newKey is a signing key to be made.
type newKey struct {
	keyUse
	state tokens.KeyState
}

// keyPlan is what shall happen to the signing keys, all of it or nothing, in the order of its fields. The events get
// their time when it is carried out. The zero value changes nothing.
type keyPlan struct {
	retire, remove, promote []string // ids
	create                  []newKey
	events                  []audit.Event
}

func (p *keyPlan) empty() bool {
	return len(p.retire)+len(p.remove)+len(p.promote)+len(p.create) == 0
}

// rotate makes the next key sign in the place of the current one.
func (p *keyPlan) rotate(u keyUse, current, next *tokens.StoredKey, e audit.Event) {
	p.retire = append(p.retire, current.ID)
	p.takeOver(next, e, map[string]string{"retired": current.ID})
	p.create = append(p.create, newKey{u, tokens.KeyNext})
}

// takeOver makes the next key the current one, when no other is.
func (p *keyPlan) takeOver(next *tokens.StoredKey, e audit.Event, detail map[string]string) {
	p.promote = append(p.promote, next.ID)
	p.tell(e, audit.SigningKeyRotated, next, detail)
}

// tell adds the event of what happens to a key.
func (p *keyPlan) tell(e audit.Event, t audit.Type, k *tokens.StoredKey, detail map[string]string) {
	e.Type, e.Outcome, e.Application = t, audit.Success, k.Application
	e.Detail = map[string]string{"kid": k.ID, "algorithm": string(k.Algorithm)}
	maps.Copy(e.Detail, detail)
	p.events = append(p.events, e)
}

func bySystem() audit.Event { return audit.Event{Actor: "system"} }

// fill makes what a use lacks of a current and a next key. A current one that nobody could learn of before is made only
// where there is none to promote.
func (p *keyPlan) fill(u keyUse, current, next *tokens.StoredKey) {
	switch {
	case current == nil && next != nil:
		p.takeOver(next, bySystem(), nil)
		next = nil
	case current == nil:
		p.create = append(p.create, newKey{u, tokens.KeyCurrent})
	}
	if next == nil {
		p.create = append(p.create, newKey{u, tokens.KeyNext})
	}
}

// missing plans the keys that a snapshot needs and that are not there.
func missing(s *Snapshot, have storedKeys) keyPlan {
	var p keyPlan
	for _, u := range keyUses(s) {
		p.fill(u, have.find(u, tokens.KeyCurrent), have.find(u, tokens.KeyNext))
	}
	return p
}

// dueChanges plans everything whose time has come. A key that this node's configuration has no use for is left alone:
// another node may sign with it, and copies of a pinned one are where nobody can be asked.
func dueChanges(s *Snapshot, have storedKeys, now time.Time) keyPlan {
	p, rules := missing(s, have), s.SigningKeys
	for _, u := range keyUses(s) {
		current, next := have.find(u, tokens.KeyCurrent), have.find(u, tokens.KeyNext)
		if current != nil && next != nil && due(rules.rotates(u, current.CurrentAt, next.CreatedAt), now) {
			p.rotate(u, current, next, bySystem())
		}
	}
	for _, k := range have {
		if k.State == tokens.KeyRetired && due(k.RetiredAt.Add(keepRetired), now) {
			p.remove = append(p.remove, k.ID)
		}
	}
	return p
}

// ensureSigningKeys makes a current and a next key for every use that the snapshot has. The next one is published long
// before it signs; the first current one of a new algorithm or of a newly pinned application cannot be. Two processes
// that start together make one set.
func (b *Broker) ensureSigningKeys(ctx context.Context, s *Snapshot) error {
	return b.changeSigningKeys(ctx, func(have storedKeys) (keyPlan, error) { return missing(s, have), nil })
}

// KeepSigningKeys does what is due in the life of the signing keys: a next key takes the place of a current one whose
// time is over once it was published for long enough, what is missing is made, and retired keys go when no token of
// theirs can live any more. Processes call it every minute through Run; one at a time does the work, and a second run
// finds nothing to do. One whose clock is off leaves it to the others: by its time keys would sign too early, or go
// while their tokens live.
func (b *Broker) KeepSigningKeys(ctx context.Context) error {
	off, err := b.Clock(ctx)
	if err != nil {
		return err
	}
	if off > maxClockOff {
		return fmt.Errorf("clock is %s off the store's: %w", off.Round(time.Second), identity.ErrUnavailable)
	}
	if mine, err := b.acquire(ctx, "signing_keys", signingKeysEvery); err != nil || !mine {
		return err
	}
	now := b.now()
	return b.changeSigningKeys(ctx, func(have storedKeys) (keyPlan, error) { return dueChanges(b.Current(), have, now), nil })
}

// changeSigningKeys reads the keys, lets plan decide, and carries the plan out. If somebody changed the keys between,
// nothing happens and plan decides anew: plan must not repeat what another process did already.
func (b *Broker) changeSigningKeys(ctx context.Context, plan func(have storedKeys) (keyPlan, error)) error {
	for try := 1; ; try++ {
		var have storedKeys
		if err := b.store.View(ctx, func(tx Tx) (err error) {
			have, err = tx.SigningKeys(ctx)
			return err
		}); err != nil {
			return err
		}
		p, err := plan(have)
		if err != nil || p.empty() {
			return err
		}
		err = b.carryOut(ctx, p, have)
		if !errors.Is(err, identity.ErrConflict) || try == keyChangeTries {
			return err
		}
	}
}

// carryOut does what was planned on the keys as they were read: identity.ErrConflict if they are others by now.
func (b *Broker) carryOut(ctx context.Context, p keyPlan, planned storedKeys) error {
	now := b.now()
	made, err := generated(p.create, now)
	if err != nil {
		return err
	}
	return b.store.Update(ctx, func(tx Tx) error {
		have, err := tx.SigningKeys(ctx)
		if err != nil {
			return err
		}
		if !planned.same(have) {
			return fmt.Errorf("signing keys changed meanwhile: %w", identity.ErrConflict)
		}
		if err := move(ctx, tx, p, now); err != nil {
			return err
		}
		for _, k := range made {
			if err := errors.Join(tx.CreateSigningKey(ctx, k), tx.Append(ctx, created(k))); err != nil {
				return err
			}
		}
		for _, e := range p.events {
			e.At = now
			if err := tx.Append(ctx, e); err != nil {
				return err
			}
		}
		return tx.Changed(ctx, ChangeSigningKeys, now, "")
	})
}

// move changes and deletes the keys that are there. The former current key goes before the next one comes: two at a time
// are a conflict.
func move(ctx context.Context, tx Tx, p keyPlan, now time.Time) error {
	for _, id := range p.retire {
		if err := tx.SetSigningKeyState(ctx, id, tokens.KeyRetired, now); err != nil {
			return err
		}
	}
	for _, id := range p.remove {
		if err := tx.DeleteSigningKey(ctx, id); err != nil {
			return err
		}
	}
	for _, id := range p.promote {
		if err := tx.SetSigningKeyState(ctx, id, tokens.KeyCurrent, now); err != nil {
			return err
		}
	}
	return nil
}

// generated makes the keys before the transaction: an RSA key takes longer than others should wait for the store.
func generated(wanted []newKey, now time.Time) ([]tokens.StoredKey, error) {
	made := make([]tokens.StoredKey, 0, len(wanted))
	for _, n := range wanted {
		k, err := tokens.Generate(n.algorithm, n.state, now)
		if err != nil {
			return nil, err
		}
		k.Application = n.application
		made = append(made, k)
	}
	return made, nil
}

func created(k tokens.StoredKey) audit.Event {
	return audit.Event{
		Type: audit.SigningKeyCreated, At: k.CreatedAt, Outcome: audit.Success, Actor: "system", Application: k.Application,
		Detail: map[string]string{"kid": k.ID, "algorithm": string(k.Algorithm), "state": string(k.State)},
	}
}
