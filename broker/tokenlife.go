package broker

import (
	"context"
	"fmt"
	"time"

	"sallyport/broker/sessions"
	"sallyport/identity"
)

// endings are what ended before its time without a row of its own that says so. They are few, every proof of a credential
// depends on them, and a change of them empties all caches; immutable.
type endings struct {
	// tokens are revoked ones whose session is not known, by jti.
	tokens  map[string]bool
	cutoffs []sessions.Cutoff
}

// covers refuses what a cut-off ended: identity.ErrExpired coded cut_off.
func (e *endings) covers(application, provider string, created time.Time) error {
	for _, c := range e.cutoffs {
		if covers(c, application, provider, created) {
			return identity.WithCode("cut_off", fmt.Errorf("%s %q was cut off at %s: %w", c.Kind, c.Key, c.At, identity.ErrExpired))
		}
	}
	return nil
}

// covers reports whether a cut-off is about what was made for the application, through the provider, at the time.
func covers(c sessions.Cutoff, application, provider string, created time.Time) bool {
	if created.After(c.At) {
		return false
	}
	switch c.Kind {
	case sessions.CutApplication:
		return c.Key == application
	case sessions.CutProvider:
		return c.Key == provider
	case sessions.CutEverything:
		return true
	}
	return false
}

// endings returns them as they are; while we do not hear of changes they are read anew.
func (b *Broker) endings(ctx context.Context) (*endings, error) {
	if over := b.over.Load(); over != nil && b.feed.fresh(b.now()) {
		return over, nil
	}
	for {
		begun := b.feed.begin()
		over, err := b.readEndings(ctx)
		if err != nil {
			return nil, err
		}
		if b.feed.unchanged(allProofs, begun, func() { b.over.Store(over) }) {
			return over, nil
		}
	}
}

func (b *Broker) readEndings(ctx context.Context) (*endings, error) {
	var over *endings
	err := b.store.View(ctx, func(tx Tx) (err error) {
		over, err = endingsIn(ctx, tx, b.now())
		return err
	})
	return over, err
}

func endingsIn(ctx context.Context, tx Tx, now time.Time) (*endings, error) {
	ids, err := tx.RevokedTokens(ctx, "", now)
	if err != nil {
		return nil, err
	}
	over := &endings{tokens: make(map[string]bool, len(ids))}
	for _, id := range ids {
		over.tokens[id] = true
	}
	over.cutoffs, err = tx.Cutoffs(ctx)
	return over, err
}

// notCutOff holds a session that another one is about to hang on against the cut-offs as the transaction sees them: the
// new one begins after any of them, and would be a way past.
func notCutOff(ctx context.Context, tx Tx, s sessions.Session) error {
	cutoffs, err := tx.Cutoffs(ctx)
	if err != nil {
		return err
	}
	return (&endings{cutoffs: cutoffs}).covers(s.Application, s.Provider, s.CreatedAt)
}

// IsCredential reports whether a value has the shape of something that opens a door: an API key, a refresh token, a ticket,
// or what confirms a sign-in. Such a value belongs into no address and no log.
func IsCredential(raw string) bool {
	return IsKey(raw) || isRefreshToken(raw) || IsTicket(raw) || isPending(raw)
}

// shaped reports whether a value is the prefix with a secret of NewSecret behind it.
func shaped(raw, prefix string) bool {
	const secret = 43 // 256 bits in base64url
	if len(raw) != len(prefix)+secret || raw[:len(prefix)] != prefix {
		return false
	}
	for i := len(prefix); i < len(raw); i++ {
		switch c := raw[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
