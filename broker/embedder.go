package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/audit"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/providers"
)

// Relation says where an embedding page stands to the application it frames, which decides what cookie can work there.
type Relation string

// The relations.
const (
	// Proxied: the application is served below a path of the embedding page's own origin.
	Proxied Relation = "proxied"
	// SameSite: another host of the same registrable domain.
	SameSite Relation = "same_site"
	// CrossSite: any other host; the cookie is partitioned by the embedding page's site.
	CrossSite Relation = "cross_site"
)

// Embedder is an application whose pages frame others and vouch for the people in front of them; immutable.
type Embedder struct {
	ID, Title string
	Relation  Relation
	// Origins of its pages: scheme, host and port.
	Origins []string
	// Applications it may frame, by id.
	Applications []string
	// Provider is the id of the jwt provider that owns its issuer, keys and claims.
	Provider string
	// MaxRoles are the only roles that anybody gets through it; nil: no cap of its own.
	MaxRoles []string
	// Session limits of what it opens; both positive.
	Session Limits
	// Mount is the path that the application is served below on the embedding page's origin (Proxied), without a slash at
	// its end; empty: the root.
	Mount string
	// Global is the name of one more window property with setJWTToken, for pages written for somebody else's frame.
	Global string
	// Debug lets refusals tell the page's developer more than a code.
	Debug bool
}

// May reports whether it may frame the application.
func (e *Embedder) May(app *Application) bool { return slices.Contains(e.Applications, app.ID) }

// Embedder returns an embedding application by id: identity.ErrNotFound coded embedder_unknown otherwise.
func (s *Snapshot) Embedder(id string) (*Embedder, error) {
	for _, e := range s.Embedders {
		if e.ID == id {
			return e, nil
		}
	}
	return nil, identity.WithCode("embedder_unknown", fmt.Errorf("embedder %q: %w", id, identity.ErrNotFound))
}

// EmbeddersOf returns those that may frame the application, in the order of their ids.
func (s *Snapshot) EmbeddersOf(app *Application) []*Embedder {
	var out []*Embedder
	for _, e := range s.Embedders {
		if e.May(app) {
			out = append(out, e)
		}
	}
	return out
}

// EmbedAttempt is a page of an embedder asking to open an application in its frame.
type EmbedAttempt struct {
	Embedder    *Embedder
	Application *Application
	// Origin of the page, as the frame saw it.
	Origin string
	// Verifier, when set, is the secret that the frame made its challenge of: a token with a nonce opens the frame alone
	// that knows it, since the challenge itself is no secret.
	Verifier string
	// Replaces is the session that the frame had; it ends when the new one begins.
	Replaces string
}

// embedRefusals is how many tokens of an embedder a network may show in vain within a minute before no further one is
// looked at: anybody can send them, and each refusal is written down (DOS-03). What opens something is not counted, so that
// an office behind one address is not kept waiting.
const embedRefusals = 30

// SignInEmbedded takes an embedding application's token for somebody the one way in, and opens a session that is good for
// the framed application alone: its roles are capped, and it administers nothing (EMB-03, EMB-07). Errors are those of
// SignIn and of the provider's VerifyToken, identity.ErrDenied coded origin_not_allowed or application_not_allowed, and
// identity.ErrThrottled coded rate_limited, of which the audit log keeps nothing.
func (b *Broker) SignInEmbedded(ctx context.Context, v Visit, at EmbedAttempt, raw string) (Outcome, error) {
	key := throttleKey{path: "embedder " + at.Embedder.ID, who: network(v.Address), requests: embedRefusals, per: time.Minute}
	refusals := b.throttle.bucket(key)
	if refusals.TokensAt(b.throttle.now()) < 1 {
		return Outcome{}, key.exceeded()
	}
	a, err := vouched(ctx, v, at, raw)
	if err != nil {
		if !refusals.AllowN(b.throttle.now(), 1) { // others were refused at the same time
			return Outcome{}, key.exceeded()
		}
		e := v.event(audit.SignInRefused, b.now())
		e.Provider, e.Application = at.Embedder.Provider, at.Application.ID
		e.Detail = at.detail()
		b.refused(ctx, e, err)
		b.log.InfoContext(ctx, "embedding application's token refused", "provider", at.Embedder.Provider,
			"embedder", at.Embedder.ID, "request_id", v.TraceID, "err", err)
		return Outcome{}, err
	}
	out, err := b.SignIn(ctx, v, Attempt{
		Application: at.Application, Kind: sessions.Embed, Replaces: at.Replaces, embedded: &at,
	}, a)
	if err != nil {
		refusals.AllowN(b.throttle.now(), 1)
	}
	return out, err
}

// detail is what the audit log keeps of an attempt. The origin is on the embedder's list, or was made shorter.
func (at EmbedAttempt) detail() map[string]string {
	return map[string]string{"embedder": at.Embedder.ID, "origin": cut(strings.ToValidUTF8(at.Origin, ""), 256)}
}

// vouched holds an attempt against what the embedder may do before its token is looked at.
func vouched(ctx context.Context, v Visit, at EmbedAttempt, raw string) (identity.Assertion, error) {
	switch {
	case !at.Embedder.May(at.Application):
		return identity.Assertion{}, denied("application_not_allowed", "embedder %s at %s", at.Embedder.ID, at.Application.ID)
	case !slices.Contains(at.Embedder.Origins, at.Origin):
		return identity.Assertion{}, denied("origin_not_allowed", "embedder %s", at.Embedder.ID)
	}
	door, err := v.Providers.Token(at.Embedder.Provider)
	if err != nil {
		return identity.Assertion{}, err
	}
	a, err := door.VerifyToken(ctx, raw)
	if err != nil {
		return identity.Assertion{}, err
	}
	return a, at.fits(door.Binding(a))
}

// fits holds what a token was made for against where it is shown. What one frame was handed opens no other, and what one
// application's host got hold of opens none of the embedder's other applications (EMB-04).
func (at EmbedAttempt) fits(nonce, application string) error {
	made := ""
	if at.Verifier != "" {
		made = Challenge(at.Verifier)
	}
	switch {
	case nonce != "" && nonce != made:
		return claimRefused("nonce is not the challenge of this frame")
	case application != "" && application != at.Application.ID:
		return claimRefused("application is not this one")
	}
	return nil
}

func claimRefused(why string) error {
	return identity.WithCode("jwt_claim", fmt.Errorf("%s: %w", why, identity.ErrBadCredentials))
}

// cap lowers a holder to what comes through an embedder: the roles it may give, none that administers the broker, no grant
// made by hand. The embedder of a session is looked up anew each time, so that one that left the configuration, or one of
// its pages, takes its sessions along.
func (h holder) cap(snap *Snapshot, s sessions.Session) (holder, error) {
	e, err := snap.Embedder(s.Embedder)
	switch {
	case err != nil:
		return holder{}, denied("embedder_removed", "embedder %s", s.Embedder)
	case e.Provider != h.linked.Provider || !slices.Contains(e.Applications, s.Application):
		return holder{}, denied("application_not_allowed", "embedder %s at %s", s.Embedder, s.Application)
	case !slices.Contains(e.Origins, s.Origin):
		return holder{}, denied("origin_not_allowed", "embedder %s", s.Embedder)
	}
	h.grants = nil
	h.roles = slices.DeleteFunc(slices.Clone(h.roles), func(r string) bool {
		return e.MaxRoles != nil && !slices.Contains(e.MaxRoles, r) || !snap.Mapper.MayBeCopied(r)
	})
	if len(h.roles) == 0 {
		return holder{}, denied("no_role", "embedder %s leaves no role", s.Embedder)
	}
	return h, nil
}

// withoutOurs leaves out the permissions to administer the broker itself: they never come with a key or an embedder.
func withoutOurs(permissions []string) []string {
	return slices.DeleteFunc(permissions, func(have string) bool { return strings.HasPrefix(have, Self+":") })
}

// amrExternal says that another application vouched.
const amrExternal = "ext"

// takeOnce remembers an assertion that may open its door one time only (SML-07, EMB-02), in a transaction of its own: what
// was shown and refused is used up as well.
func (b *Broker) takeOnce(ctx context.Context, v Visit, a identity.Assertion) error {
	p, err := v.Providers.Get(a.Identity.Provider)
	if err != nil {
		return err
	}
	door, ok := p.(providers.OnceProvider)
	if !ok {
		return nil
	}
	id, until, must, err := door.Once(a)
	if err != nil || !must {
		return err
	}
	err = b.store.Update(ctx, func(tx Tx) error { return tx.Consume(ctx, "assertion:"+id, until) })
	if !errors.Is(err, identity.ErrConflict) {
		return err
	}
	err = fmt.Errorf("assertion was used before: %w", identity.ErrExpired)
	if _, ok := p.(providers.TokenProvider); ok {
		return identity.WithCode("jwt_replayed", err)
	}
	return identity.WithCode("assertion_replayed", err)
}
