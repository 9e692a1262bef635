package broker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sallyport/audit"
	"sallyport/identity"
	"sallyport/tokens"
)

// SigningKey is a signing key with what is ahead of it. Its private half is nowhere in it.
type SigningKey struct {
	tokens.PublishedKey
	// Used reports whether the configuration in force signs, or will sign, with keys like this one. That of another node
	// may, where this one does not.
	Used bool
	// Due is when the key moves on: a next one may sign from then on, a current one stops signing, a retired one is
	// deleted. Zero: not by itself.
	Due time.Time
}

// SigningKeys returns all signing keys, oldest first.
func (b *Broker) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	s, err := b.signingKeys(ctx)
	if err != nil {
		return nil, err
	}
	published, need, rules := s.ring.Published(), keyUses(b.Current()), b.Current().SigningKeys
	all := make([]SigningKey, 0, len(published))
	for _, k := range published {
		u := keyUse{k.Algorithm, k.Application}
		shown := SigningKey{PublishedKey: k, Used: slices.Contains(need, u)}
		switch {
		case k.State == tokens.KeyRetired:
			shown.Due = k.RetiredAt.Add(keepRetired)
		case !shown.Used: // stays until somebody withdraws it
		case k.State == tokens.KeyNext:
			shown.Due = rules.mayRotate(k.CreatedAt)
		default:
			shown.Due = rules.rotates(u, k.CurrentAt, nextCreated(published, u))
		}
		all = append(all, shown)
	}
	return all, nil
}

func nextCreated(all []tokens.PublishedKey, u keyUse) time.Time {
	for _, k := range all {
		if k.State == tokens.KeyNext && k.Algorithm == u.algorithm && k.Application == u.application {
			return k.CreatedAt
		}
	}
	return time.Time{}
}

// RotateSigningKey makes the next key sign now, and returns its id: that of a pinned application, or with an empty
// application that which all others share for the algorithm (empty: the broker's own). The former one stays published
// until its last token has expired. Unless forced, a next key that was published for less than PublishBefore is
// identity.ErrConflict coded signing_key_too_young: who verifies with a copy of the keys may not have it yet. Other
// errors: identity.ErrNotFound coded application_unknown or signing_key_unknown, identity.ErrInvalid coded
// signing_key_shared for an application without keys of its own, identity.ErrConflict coded signing_key_rotated when
// somebody else rotated at the same moment.
func (b *Broker) RotateSigningKey(
	ctx context.Context, v Visit, actor string, algorithm tokens.Algorithm, application string, force bool,
) (kid string, err error) {
	u, err := v.keyUse(algorithm, application)
	if err != nil {
		return "", err
	}
	before := ""
	err = b.changeSigningKeys(ctx, func(have storedKeys) (p keyPlan, err error) {
		current, next := have.find(u, tokens.KeyCurrent), have.find(u, tokens.KeyNext)
		if current == nil || next == nil {
			return p, unknownKey("there are no %s keys to rotate", u.algorithm)
		}
		if before == "" {
			before = current.ID
		}
		switch {
		case current.ID != before:
			return p, identity.WithCode("signing_key_rotated", fmt.Errorf("rotated meanwhile: %w", identity.ErrConflict))
		case !force && !due(v.SigningKeys.mayRotate(next.CreatedAt), b.now()):
			return p, identity.WithCode("signing_key_too_young", fmt.Errorf("key %s: %w", next.ID, identity.ErrConflict))
		}
		kid = next.ID
		p.rotate(u, current, next, v.by(actor))
		return p, nil
	})
	return kid, err
}

// keyUse says whose keys an administrator means.
func (s *Snapshot) keyUse(algorithm tokens.Algorithm, application string) (keyUse, error) {
	if application == "" {
		if algorithm == "" {
			algorithm = s.SelfApplication.Algorithm
		}
		return keyUse{algorithm: algorithm}, nil
	}
	app, err := s.Application(application)
	if err != nil {
		return keyUse{}, err
	}
	if !app.Pinned || (algorithm != "" && algorithm != app.Algorithm) {
		return keyUse{}, identity.WithCode("signing_key_shared",
			fmt.Errorf("application %q has no %s keys of its own: %w", application, algorithm, identity.ErrInvalid))
	}
	return app.signsWith(), nil
}

// by starts the event of what somebody does to the signing keys.
func (v Visit) by(actor string) audit.Event {
	return audit.Event{Actor: actor, Address: v.Address, TraceID: v.TraceID}
}

func unknownKey(format string, args ...any) error {
	return identity.WithCode("signing_key_unknown", fmt.Errorf(format+": %w", append(args, identity.ErrNotFound)...))
}

// RevokeSigningKey withdraws a key that others may have: it is deleted, and every token it signed is dead at all our
// doors as soon as the processes hear of it. Was it the current one, the next one signs at once, however short it was
// published. identity.ErrNotFound coded signing_key_unknown for an unknown id.
func (b *Broker) RevokeSigningKey(ctx context.Context, v Visit, actor, kid string) error {
	return b.changeSigningKeys(ctx, func(have storedKeys) (p keyPlan, err error) {
		i := slices.IndexFunc(have, func(k tokens.StoredKey) bool { return k.ID == kid })
		if i < 0 {
			return p, unknownKey("signing key %q", cut(kid, 64))
		}
		k := have[i]
		if k.State != tokens.KeyRetired {
			p.retire = []string{kid} // only those can be deleted
		}
		p.remove = []string{kid}
		if u := useOf(k); k.State != tokens.KeyRetired && slices.Contains(keyUses(v.Snapshot), u) {
			left := slices.Delete(slices.Clone(have), i, i+1)
			p.fill(u, left.find(u, tokens.KeyCurrent), left.find(u, tokens.KeyNext))
		}
		p.tell(v.by(actor), audit.SigningKeyRevoked, &k, nil)
		return p, nil
	})
}
