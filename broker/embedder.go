package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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
	// Challenge, when set, is what the token's nonce must be where it has one.
	Challenge string
	// Replaces is the session that the frame had; it ends when the new one begins.
	Replaces string
}

// SignInEmbedded takes an embedding application's token for somebody the one way in, and opens a session that is good for
// the framed application alone: its roles are capped, and it administers nothing (EMB-03, EMB-07). Errors are those of
// SignIn and of the provider's VerifyToken, and identity.ErrDenied coded origin_not_allowed or application_not_allowed.
func (b *Broker) SignInEmbedded(ctx context.Context, v Visit, at EmbedAttempt, raw string) (Outcome, error) {
	a, err := vouched(ctx, v, at, raw)
	if err != nil {
		e := v.event(audit.SignInRefused, b.now())
		e.Provider, e.Application = at.Embedder.Provider, at.Application.ID
		e.Detail = at.detail()
		b.refused(ctx, e, err)
		b.log.InfoContext(ctx, "embedding application's token refused", "provider", at.Embedder.Provider,
			"embedder", at.Embedder.ID, "request_id", v.TraceID, "err", err)
		return Outcome{}, err
	}
	return b.SignIn(ctx, v, Attempt{
		Application: at.Application, Kind: sessions.Embed, Replaces: at.Replaces, embedded: &at,
	}, a)
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
	if nonce := door.Nonce(a); nonce != "" && nonce != at.Challenge { // made for another document, or for no frame of ours
		return identity.Assertion{}, identity.WithCode("jwt_claim",
			fmt.Errorf("nonce is not the challenge: %w", identity.ErrBadCredentials))
	}
	return a, nil
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
