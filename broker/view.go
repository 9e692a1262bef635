package broker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/mapping"
	"sallyport/tokens"
)

// cached bounds both caches in entries.
const cached = 200_000

// view is what a session or key is worth right now: immutable but for the two atomics.
type view struct {
	principal identity.Principal
	kind      sessions.Kind // empty for a key
	parent    string
	idle      time.Duration
	// every is how often its use is recorded at most.
	every   time.Duration
	expires time.Time
	// revoked are the session's tokens that died before their time, by jti; of most sessions none.
	revoked []string
	// address is where a session began, or was last seen by those who keep an eye on it; empty for a key.
	address string
	// key is what an API key is limited to; nil for one without limits, and for a session.
	key *keyLimits
	// seen is when it was used last, in milliseconds since 1970.
	seen atomic.Int64
	// told: that it was used from elsewhere is on record.
	told atomic.Bool
	// forward is the token forward-auth hands the application, made once and used until it is half spent.
	forward atomic.Pointer[tokens.Issued]
}

// live judges by time alone; everything else that could end it would have dropped the view.
func (v *view) live(now time.Time) bool {
	return now.Before(v.expires) && (v.idle == 0 || now.UnixMilli() < v.seen.Load()+v.idle.Milliseconds())
}

// binding says which session or key a credential belongs to, once that was proven. It never changes for a credential.
type binding struct {
	id string
	// expires, subject and tokenID (jti) are the token's; zero for cookies and keys.
	expires          time.Time
	subject, tokenID string
}

// digest of a credential and what it was proven against, the key of bindings.
type digest [sha256.Size]byte

// views are the caches of the verify path: credential → session or key, and session or key → what it is worth. Only the
// second can become untrue, and changes drop it by id.
type views struct {
	bindings *otter.Cache[digest, binding]
	byID     *otter.Cache[string, *view]
}

func newViews() *views {
	return &views{
		bindings: otter.Must(&otter.Options[digest, binding]{MaximumSize: cached}),
		byID:     otter.Must(&otter.Options[string, *view]{MaximumSize: cached}),
	}
}

func (v *views) drop(id string) { v.byID.Invalidate(id) }

func (v *views) clear() {
	v.bindings.InvalidateAll()
	v.byID.InvalidateAll()
}

// view returns what a session or key is worth under the visit's snapshot, from the cache or the store.
func (b *Broker) view(ctx context.Context, snap *Snapshot, id string, load loader) (*view, error) {
	now := b.now()
	if snap == b.current.Load() && b.feed.fresh(now) {
		if v, ok := b.views.byID.GetIfPresent(id); ok && v.live(now) {
			return v, nil
		}
	}
	begun := b.feed.begin()
	v, err := load(ctx, b, snap, id)
	if err != nil {
		return nil, err
	}
	b.seen.lift(id, v)
	if snap == b.current.Load() {
		b.feed.unchanged(id, begun, func() {
			if snap == b.current.Load() {
				b.views.byID.Set(id, v)
			}
		})
	}
	if !v.live(now) {
		b.seen.isOver(cmp.Or(v.principal.KeyID, v.principal.SessionID), v.principal.KeyID == "")
		return nil, fmt.Errorf("session or key %s: %w", id, identity.ErrExpired)
	}
	return v, nil
}

// loader reads a view from the store.
type loader func(ctx context.Context, b *Broker, snap *Snapshot, id string) (*view, error)

// loadSession is the loader of sessions.
func loadSession(ctx context.Context, b *Broker, snap *Snapshot, id string) (*view, error) {
	over, err := b.endings(ctx)
	if err != nil {
		return nil, err
	}
	var v *view
	err = b.store.View(ctx, func(tx Tx) error {
		s, err := tx.Session(ctx, id)
		if err != nil {
			return err
		}
		if err := over.coversTree(ctx, tx, s); err != nil {
			return err
		}
		if v, err = sessionView(ctx, tx, snap, s); err != nil {
			return err
		}
		v.revoked, err = tx.RevokedTokens(ctx, id, b.now())
		return err
	})
	return v, err
}

// coversTree refuses a session that a cut-off ended, and one below a sign-in that a cut-off of Self ended. No other kind of
// cut-off is about a sign-in and not about what began below it in time; whatever would begin later is refused by then.
func (e *endings) coversTree(ctx context.Context, tx Tx, s sessions.Session) error {
	if err := e.covers(s.Application, s.Provider, s.CreatedAt); err != nil || s.ParentID == "" {
		return err
	}
	ofSelf := func(c sessions.Cutoff) bool { return c.Kind == sessions.CutApplication && c.Key == Self }
	if !slices.ContainsFunc(e.cutoffs, ofSelf) {
		return nil
	}
	parent, err := tx.Session(ctx, s.ParentID)
	if err != nil {
		return err
	}
	return e.covers(parent.Application, parent.Provider, parent.CreatedAt)
}

// sessionView decides what a stored session is worth. It must be active; its times are judged by the caller.
func sessionView(ctx context.Context, tx Tx, snap *Snapshot, s sessions.Session) (*view, error) {
	if s.State != sessions.Active || !s.EndedAt.IsZero() {
		return nil, fmt.Errorf("session %s is %s: %w", s.ID, s.State, identity.ErrExpired)
	}
	h, err := holderOf(ctx, tx, snap, s.AccountID, s.Provider, s.Subject)
	if err != nil {
		return nil, err
	}
	p, err := h.principalOf(snap, s)
	if err != nil {
		return nil, err
	}
	v := &view{
		principal: p, kind: s.Kind, parent: s.ParentID, idle: s.IdleTimeout, every: seenEvery, expires: s.ExpiresAt,
		address: s.Address,
	}
	if s.IdleTimeout > 0 { // a short idle time is not over for somebody who is there
		v.every = min(seenEvery, s.IdleTimeout/4)
	}
	v.seen.Store(s.LastSeenAt.UnixMilli())
	return v, nil
}

// loadKey is the loader of API keys.
func loadKey(ctx context.Context, b *Broker, snap *Snapshot, id string) (*view, error) {
	over, err := b.endings(ctx)
	if err != nil {
		return nil, err
	}
	var v *view
	err = b.store.View(ctx, func(tx Tx) error {
		k, err := tx.Key(ctx, id)
		if err != nil {
			return err
		}
		if err := over.covers(k.Application, k.Provider, k.CreatedAt); err != nil {
			return err
		}
		v, err = keyView(ctx, tx, snap, k)
		return err
	})
	return v, err
}

// keyView decides what a key is worth: its own roles as far as its owner has them now, and never administration.
func keyView(ctx context.Context, tx Tx, snap *Snapshot, k sessions.Key) (*view, error) {
	if k.State != sessions.Active || !k.EndedAt.IsZero() {
		return nil, fmt.Errorf("key %s is %s: %w", k.ID, k.State, identity.ErrExpired)
	}
	h, err := holderOf(ctx, tx, snap, k.AccountID, k.Provider, k.Subject)
	if err != nil {
		return nil, err
	}
	h.grants = nil
	roles := slices.DeleteFunc(slices.Clone(h.roles), func(r string) bool { return !slices.Contains(k.Roles, r) })
	p := h.principal(snap, roles)
	p.Permissions = withoutOurs(p.Permissions)
	p.Application, p.KeyID, p.ExpiresAt, p.AuthTime = k.Application, k.ID, k.ExpiresAt, k.CreatedAt
	p.ReadOnly = k.ReadOnly
	v := &view{principal: p, every: seenEvery, expires: k.ExpiresAt, key: limitsOfKey(k)}
	v.seen.Store(k.LastUsedAt.UnixMilli())
	return v, nil
}

// holder is an account as one of its identities brings it in.
type holder struct {
	account people.Account
	linked  people.LinkedIdentity
	roles   []string
	grants  []people.ManualGrant
}

// holderOf reads an account and maps its identity's last snapshot under the configuration in force: a reload re-maps
// everybody at their next request. A disabled account, a provider that left the configuration, a deny rule, or no role
// where no manual grant stands in, closes the door here too.
func holderOf(ctx context.Context, tx Tx, snap *Snapshot, accountID, provider, subject string) (holder, error) {
	account, err := tx.Account(ctx, accountID)
	if err != nil {
		return holder{}, err
	}
	if account.Disabled {
		return holder{}, denied("account_disabled", "account %s", accountID)
	}
	if account.Kind == people.ServiceAccount {
		return serviceHolder(snap, account, provider)
	}
	if _, err := snap.Providers.Get(provider); err != nil {
		return holder{}, denied("provider_removed", "provider %s of account %s", provider, accountID)
	}
	linked, err := tx.Identity(ctx, provider, subject)
	if err != nil {
		return holder{}, err
	}
	if linked.AccountID != accountID {
		return holder{}, denied("identity_moved", "identity of %s is another account's now", accountID)
	}
	grants, err := tx.Grants(ctx, accountID)
	if err != nil {
		return holder{}, err
	}
	h := holder{account: account, linked: linked, grants: grants}
	h.roles, err = rolesOf(snap.Mapper.Map(linked.Snapshot), grants)
	return h, err
}

// rolesOf judges a grant: denied, or nothing at all, is a refusal unless a manual grant lets the account administer the
// broker. Then it has no roles, so that a mapping mistake cannot lock the last administrator out (ADM-04).
func rolesOf(g mapping.Grant, manual []people.ManualGrant) ([]string, error) {
	switch {
	case g.Denied && len(manual) == 0:
		return nil, denied("denied_by_rule", "a deny rule matched")
	case len(g.Roles) == 0 && len(manual) == 0:
		return nil, denied("no_role", "no rule matched")
	case g.Denied:
		return nil, nil
	default:
		return g.Roles, nil
	}
}

// principalOf spells the holder as a session carries them: all they have, or what comes through an embedder.
func (h holder) principalOf(snap *Snapshot, s sessions.Session) (identity.Principal, error) {
	if s.Kind == sessions.Embed {
		var err error
		if h, err = h.cap(snap, s); err != nil {
			return identity.Principal{}, err
		}
	}
	p := h.principal(snap, h.roles)
	if s.Kind == sessions.Embed {
		p.Permissions = withoutOurs(p.Permissions)
	}
	p.Application, p.SessionID, p.AMR, p.AuthTime, p.ExpiresAt = s.Application, s.ID, s.AMR, s.AuthTime, s.ExpiresAt
	p.Embedder, p.Origin = s.Embedder, s.Origin
	return p, nil
}

// principal spells the holder with the given roles.
func (h holder) principal(snap *Snapshot, roles []string) identity.Principal {
	permissions := snap.Mapper.Permissions(roles)
	for _, g := range h.grants {
		permissions = append(permissions, g.Permission)
	}
	slices.Sort(permissions)
	return identity.Principal{
		Subject: h.account.ID, Username: h.account.Username, Name: h.account.Name, Email: h.account.Email,
		Provider: h.linked.Provider, Roles: roles, Permissions: slices.Compact(permissions),
	}
}
