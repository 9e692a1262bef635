package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	"sallyport/audit"
	"sallyport/identity"
	"sallyport/tokens"
)

// signing is what a set of stored keys can do; immutable.
type signing struct {
	ring     *tokens.Keyring
	issuer   *tokens.Issuer
	verifier *tokens.Verifier
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
	return &signing{ring, tokens.NewIssuer(issuer, ring, b.now), tokens.NewVerifier(issuer, ring, b.now)}, nil
}

// JWKS returns the published keys as a JWK set (RFC 7517 section 5), ready to be sent.
func (b *Broker) JWKS(ctx context.Context) ([]byte, error) {
	s, err := b.signingKeys(ctx)
	if err != nil {
		return nil, err
	}
	return s.ring.JWKS(), nil
}

// SigningKeys returns the public halves of all signing keys, oldest first.
func (b *Broker) SigningKeys(ctx context.Context) ([]tokens.PublishedKey, error) {
	s, err := b.signingKeys(ctx)
	if err != nil {
		return nil, err
	}
	return s.ring.Published(), nil
}

// SigningKeyPEM returns one of them as PEM, for verifiers that read no JWK set: identity.ErrNotFound for an unknown id.
func (b *Broker) SigningKeyPEM(ctx context.Context, kid string) ([]byte, error) {
	s, err := b.signingKeys(ctx)
	if err != nil {
		return nil, err
	}
	return s.ring.PEM(kid)
}

// ensureSigningKeys makes a current and a next key for every algorithm that the snapshot signs with. The next one is
// published long before it is used. Two processes that start together make one set.
func (b *Broker) ensureSigningKeys(ctx context.Context, s *Snapshot) error {
	var have []tokens.StoredKey
	if err := b.store.View(ctx, func(tx Tx) (err error) {
		have, err = tx.SigningKeys(ctx)
		return err
	}); err != nil {
		return err
	}
	for _, alg := range algorithms(s) {
		for _, state := range []tokens.KeyState{tokens.KeyCurrent, tokens.KeyNext} {
			exists := slices.ContainsFunc(have, func(k tokens.StoredKey) bool { return k.Algorithm == alg && k.State == state })
			if exists {
				continue
			}
			if err := b.createSigningKey(ctx, alg, state); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Broker) createSigningKey(ctx context.Context, alg tokens.Algorithm, state tokens.KeyState) error {
	now := b.now()
	key, err := tokens.Generate(alg, state, now)
	if err != nil {
		return err
	}
	err = b.store.Update(ctx, func(tx Tx) error {
		return errors.Join(
			tx.CreateSigningKey(ctx, key),
			tx.Changed(ctx, ChangeSigningKeys, now, ""),
			tx.Append(ctx, audit.Event{
				Type: audit.SigningKeyCreated, At: now, Outcome: audit.Success, Actor: "system",
				Detail: map[string]string{"kid": key.ID, "algorithm": string(alg), "state": string(state)},
			}))
	})
	if errors.Is(err, identity.ErrConflict) {
		return nil // another process was first
	}
	return err
}

// algorithms lists those the snapshot needs key pairs for.
func algorithms(s *Snapshot) []tokens.Algorithm {
	need := []tokens.Algorithm{s.SelfApplication.Algorithm}
	for _, a := range s.Applications() {
		if a.Algorithm != tokens.HS256 && !slices.Contains(need, a.Algorithm) {
			need = append(need, a.Algorithm)
		}
	}
	return need
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
