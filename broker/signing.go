package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"sallyport/identity"
	"sallyport/tokens"
	"sallyport/tokens/jws"
)

const (
	// renewEvery is how often tokens whose key we do not know make us read the keys at most, renewWithin how long that
	// may take.
	renewEvery  = time.Second
	renewWithin = 5 * time.Second
)

// signing is what a set of stored keys can do. What was read never changes.
type signing struct {
	ring     *tokens.Keyring
	issuer   *tokens.Issuer
	verifier *tokens.Verifier

	renewal renewal
}

// renewal bounds what tokens with unknown keys can make us read.
type renewal struct {
	mu sync.Mutex
	// last is when such a token made us read, failed how that ended; zero: none did.
	last   time.Time
	failed error
}

// issue makes a token with the key that signs the application's.
func (s *signing) issue(app *Application, spec tokens.Spec) (tokens.Issued, error) {
	switch {
	case app.Algorithm == tokens.HS256:
		return s.issuer.IssueHMAC(app.Secret, app.ID, spec)
	case app.Pinned:
		return s.issuer.Pinned(app.ID).Issue(app.Algorithm, spec)
	default:
		return s.issuer.Issue(app.Algorithm, spec)
	}
}

// verify returns the claims of an application's token. An application that is pinned, or was, has tokens of its own keys
// and of the shared ones; another application's key never verifies here. The configured kind of key decides, never the
// token.
func (s *signing) verify(app *Application, raw string) (tokens.Claims, error) {
	if app.Algorithm == tokens.HS256 {
		return s.verifier.VerifyHMAC(raw, app.Audience, app.Secret, app.FormerSecrets...)
	}
	return s.verifier.For(app.ID).Verify(raw, app.Audience)
}

// knows reports whether the token's kid is one of ours. What is no token, or names no key, needs no other keys to be
// refused.
func (s *signing) knows(raw string) bool {
	m, err := jws.Parse(raw)
	if err != nil || m.Header.KeyID == "" {
		return true
	}
	_, ok := s.ring.Lookup(m.Header.KeyID)
	return ok
}

// signingFor returns the keys that a token is verified with. A key that we do not know may have been made on another
// node a moment ago: the keys are then read again before the token is refused, so that any node verifies any node's
// tokens at any moment (STO-03).
func (b *Broker) signingFor(ctx context.Context, raw string, app *Application) (*signing, error) {
	s, err := b.signingNow(ctx)
	if err != nil || app.Algorithm == tokens.HS256 || s.knows(raw) {
		return s, err
	}
	return b.renewSigning(ctx, s)
}

// renewSigning reads the keys again, at most once a second however many tokens ask for it; those that come while it is
// done wait for it.
func (b *Broker) renewSigning(ctx context.Context, s *signing) (*signing, error) {
	s.renewal.mu.Lock()
	defer s.renewal.mu.Unlock()
	if newer := b.signing.Load(); newer != nil && newer != s {
		return newer, nil
	}
	now := b.now()
	if age := now.Sub(s.renewal.last); age >= 0 && age < renewEvery {
		return s, s.renewal.failed
	}
	// Whoever came first may be gone before those that wait for the same answer.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewWithin)
	defer cancel()
	made, err := b.loadSigning(ctx)
	s.renewal.last, s.renewal.failed = now, err
	if err != nil {
		return nil, err
	}
	made.renewal.mu.Lock()
	defer made.renewal.mu.Unlock()
	made.renewal.last = now
	return made, nil
}

// signingNow returns the keys in force; while we do not hear of changes they are read anew, since one may have been
// withdrawn.
func (b *Broker) signingNow(ctx context.Context) (*signing, error) {
	if b.feed.fresh(b.now()) {
		return b.signingKeys(ctx)
	}
	return b.loadSigning(ctx)
}

// signingKeys returns the keys in force, reading them again after a change.
func (b *Broker) signingKeys(ctx context.Context) (*signing, error) {
	if s := b.signing.Load(); s != nil {
		return s, nil
	}
	return b.loadSigning(ctx)
}

// loadSigning reads the keys and keeps them, unless they, or the issuer they sign for, changed meanwhile: then again.
func (b *Broker) loadSigning(ctx context.Context) (*signing, error) {
	for {
		begun := b.feed.begin()
		made, err := b.readSigning(ctx, b.Current().Issuer.String())
		if err != nil {
			return nil, err
		}
		if b.feed.unchanged(allProofs, begun, func() { b.signing.Store(made) }) {
			return made, nil
		}
	}
}

func (b *Broker) readSigning(ctx context.Context, issuer string) (*signing, error) {
	var stored []tokens.StoredKey
	err := b.store.View(ctx, func(tx Tx) (err error) {
		stored, err = tx.SigningKeys(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	ring, err := tokens.NewKeyring(stored)
	if err != nil {
		return nil, err
	}
	return &signing{
		ring: ring, issuer: tokens.NewIssuer(issuer, ring, b.now), verifier: tokens.NewVerifier(issuer, ring, b.now),
	}, nil
}

// JWKS returns the published keys as a JWK set (RFC 7517 section 5), ready to be sent.
func (b *Broker) JWKS(ctx context.Context) ([]byte, error) {
	s, err := b.signingKeys(ctx)
	if err != nil {
		return nil, err
	}
	return s.ring.JWKS(), nil
}

// SigningKeyPEM returns one of them as PEM, for verifiers that read no JWK set: identity.ErrNotFound for an unknown id.
func (b *Broker) SigningKeyPEM(ctx context.Context, kid string) ([]byte, error) {
	s, err := b.signingKeys(ctx)
	if err != nil {
		return nil, err
	}
	return s.ring.PEM(kid)
}

// WebKeys are the symmetric keys that the web floor seals its own small things with. All processes share them.
type WebKeys struct {
	// FlowHash and FlowBlock seal flow cookies (HMAC-SHA-256, AES-256); CSRF keys the tokens against forged requests.
	FlowHash, FlowBlock, CSRF []byte
}

// WebKeys returns them, making them on first use of a store.
func (b *Broker) WebKeys(ctx context.Context) (WebKeys, error) {
	const name, size = "web_keys", 32
	var raw []byte
	read := func(tx Tx) (err error) {
		raw, err = tx.SealedSetting(ctx, name)
		return err
	}
	err := b.store.View(ctx, read)
	if errors.Is(err, identity.ErrNotFound) {
		fresh := randomBytes(3 * size)
		err = b.store.Update(ctx, func(tx Tx) error { return tx.PutSealedSetting(ctx, name, fresh) })
		if err == nil || errors.Is(err, identity.ErrConflict) {
			err = b.store.View(ctx, read)
		}
	}
	if err != nil {
		return WebKeys{}, err
	}
	if len(raw) != 3*size {
		return WebKeys{}, errors.New("web keys in the store have a wrong size")
	}
	return WebKeys{FlowHash: raw[:size], FlowBlock: raw[size : 2*size], CSRF: raw[2*size:]}, nil
}

// Clock returns how far the store's clock is from ours.
func (b *Broker) Clock(ctx context.Context) (time.Duration, error) {
	var off time.Duration
	err := b.store.View(ctx, func(tx Tx) error {
		now, err := tx.Now(ctx)
		off = b.now().Sub(now).Abs()
		return err
	})
	return off, err
}
