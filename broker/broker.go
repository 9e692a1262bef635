// Package broker owns the decisions: who may sign in, what they hold, how long it lasts, and what ends it. Every door's
// Assertion comes in through SignIn, every credential through Authenticate; there is no other way. The broker knows no
// HTTP, no SQL and no protocol; web spells what it decides, storage keeps it, providers feed it.
package broker

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"sallyport/audit"
	"sallyport/identity"
	"sallyport/providers"
)

// Options are what a Broker is made of.
type Options struct {
	Store Store
	Log   *slog.Logger
	// Now is the one clock of the house.
	Now func() time.Time
	// Node names this process among those that share the store; random when empty.
	Node string
	// OnEvent, when set, sees every audit event after its transaction was committed (for metrics). It must not block.
	OnEvent func(audit.Event)
	// Mailer sends codes by e-mail; nil: nothing can be confirmed, and what must be is refused.
	Mailer Mailer
}

// Broker decides. It is safe for concurrent use.
type Broker struct {
	store    *observedStore
	log      *slog.Logger
	now      func() time.Time
	node     string
	current  atomic.Pointer[Snapshot]
	signing  atomic.Pointer[signing]
	over     atomic.Pointer[endings]
	feed     *feed
	views    *views
	seen     *lastSeen
	throttle *throttle
	mailer   Mailer
	panics   atomic.Uint64
}

// New returns a broker on a store. Load must be called with a first snapshot before anything else.
func New(o Options) *Broker {
	b := &Broker{
		log: o.Log, now: o.Now, node: o.Node, feed: newFeed(o.Now()), views: newViews(), seen: newLastSeen(),
		throttle: newThrottle(o.Now), mailer: o.Mailer,
	}
	if b.node == "" {
		b.node = NewID()
	}
	b.store = &observedStore{Store: o.Store, now: o.Now, onChange: b.apply, onEvent: o.OnEvent}
	return b
}

// Load makes the snapshot the one that new requests are served under, after making sure that its signing keys exist.
// The events are written before; if they cannot be, the snapshot does not take force (AUD-02). On an error the earlier
// snapshot stays. The earlier one is returned so that its providers can be closed.
func (b *Broker) Load(ctx context.Context, s *Snapshot, events ...audit.Event) (*Snapshot, error) {
	if err := b.keepsAdministrators(ctx, s); err != nil {
		return nil, err
	}
	if err := b.ensureSigningKeys(ctx, s); err != nil {
		return nil, err
	}
	if _, err := b.readSigning(ctx, s.Issuer.String()); err != nil {
		return nil, err
	}
	if err := b.Record(ctx, events...); err != nil {
		return nil, err
	}
	var before *Snapshot
	b.feed.changed(allProofs, b.now(), func() { // no cache fill under the earlier snapshot can come between
		before = b.current.Swap(s)
		b.views.clear()
		b.signing.Store(nil) // it may name another issuer
	})
	if _, err := b.signingKeys(ctx); err != nil { // it was there a moment ago; the next use asks again
		b.log.WarnContext(ctx, "signing keys not read", "err", err)
	}
	return before, nil
}

// keepsAdministrators refuses a configuration without the provider through which the last administrator comes in
// (ADM-04): identity.ErrConflict coded last_administrator.
func (b *Broker) keepsAdministrators(ctx context.Context, s *Snapshot) error {
	return b.store.View(ctx, func(tx Tx) error {
		holders, err := tx.GrantHolders(ctx, Administer)
		if err != nil || len(holders) == 0 {
			return err
		}
		if comes, err := b.oneComesIn(ctx, tx, s, holders); err != nil || comes {
			return err
		}
		return identity.WithCode("last_administrator", fmt.Errorf(
			"no provider is left through which an administrator of this broker comes in: %w", identity.ErrConflict))
	})
}

// opens reports whether people can come in by a provider of a new configuration. One that cannot be opened counts where it
// could not before either: at the start something else is not known to be better.
func (b *Broker) opens(s *Snapshot, id string) bool {
	p, err := s.Providers.Get(id)
	if err != nil {
		return false
	}
	if providers.BrokenBy(p) == nil {
		return true
	}
	before := b.current.Load()
	if before == nil {
		return true
	}
	was, err := before.Providers.Get(id)
	return err == nil && providers.BrokenBy(was) != nil
}

// Current returns the snapshot in force.
func (b *Broker) Current() *Snapshot { return b.current.Load() }

// Generation returns the store's number for a configuration's content.
func (b *Broker) Generation(ctx context.Context, hash string) (int64, error) {
	var n int64
	err := b.store.Update(ctx, func(tx Tx) (err error) {
		n, err = tx.Generation(ctx, hash, b.now())
		return err
	})
	return n, err
}

// Record appends events that belong to no other change (configuration loaded, refused …).
func (b *Broker) Record(ctx context.Context, events ...audit.Event) error {
	if len(events) == 0 {
		return nil
	}
	return b.store.Update(ctx, func(tx Tx) error {
		for _, e := range events {
			e.At = b.now()
			if err := tx.Append(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// Visit is one request as the broker needs to know it: the snapshot it is served under and where it came from.
type Visit struct {
	*Snapshot
	// Address is the client's, without port; UserAgent as sent, cut; TraceID that of the answer.
	Address, UserAgent, TraceID string
	// Language is the tag that the person reads best; empty: the house's own.
	Language string
}

// event starts an audit event of this visit.
func (v Visit) event(t audit.Type, at time.Time) audit.Event {
	return audit.Event{Type: t, At: at, Outcome: audit.Success, Address: v.Address, TraceID: v.TraceID}
}

// refused writes the event of a refusal in a transaction of its own. The refusal stands even if that fails; then an
// operator hears of it.
func (b *Broker) refused(ctx context.Context, e audit.Event, cause error) {
	e.Outcome, e.At = audit.Refusal, b.now()
	if e.Code == "" {
		e.Code = codeOf(cause)
	}
	// The client may have gone; its refusal is recorded all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := b.store.Update(ctx, func(tx Tx) error { return tx.Append(ctx, e) }); err != nil {
		b.log.ErrorContext(ctx, "audit event not written", "type", e.Type, "trace_id", e.TraceID, "err", err)
	}
}

// codeOf is a refusal's code: its own, or that of the sentinel it wraps.
func codeOf(err error) string {
	if code := identity.CodeOf(err); code != "" {
		return code
	}
	for _, s := range []struct {
		sentinel error
		code     string
	}{
		{identity.ErrBadCredentials, "bad_credentials"},
		{identity.ErrDenied, "denied"},
		{identity.ErrExpired, "expired"},
		{identity.ErrNotFound, "not_found"},
		{identity.ErrConflict, "conflict"},
		{identity.ErrInvalid, "bad_request"},
		{identity.ErrUnavailable, "unavailable"},
		{identity.ErrThrottled, "rate_limited"},
	} {
		if errors.Is(err, s.sentinel) {
			return s.code
		}
	}
	return "fault"
}

// NewID returns a public identifier: 128 random bits, base64url, 22 characters.
func NewID() string { return random(16) }

// NewSecret returns a secret: 256 random bits, base64url, 43 characters.
func NewSecret() string { return random(32) }

func random(n int) string { return base64.RawURLEncoding.EncodeToString(randomBytes(n)) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails since Go 1.24: the process ends instead
	return b
}

// cut shortens what others sent before we keep it.
func cut(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}

// denied is a refusal with a code.
func denied(code, format string, args ...any) error {
	return identity.WithCode(code, fmt.Errorf(format+": %w", append(args, identity.ErrDenied)...))
}
