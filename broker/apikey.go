package broker

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"sallyport/audit"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/mapping"
)

// KeyRules limit API keys.
type KeyRules struct {
	// DefaultLifetime applies where none is asked for, MaxLifetime is the most one can ask for.
	DefaultLifetime, MaxLifetime time.Duration
}

// keyText is the alphabet of key ids and secrets: lower case, no padding, nothing that needs escaping anywhere.
var keyText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const (
	keyIDSize, keySecretSize = 16, 32
	keyIDLen, keySumLen      = 26, 7
	keySecretLen             = 52
)

// formatKey spells an API key: <prefix>_<id>_<secret><checksum>, KEY-01. The checksum lets a scanner, or a person who
// lost the last characters, know that this is no key; it protects nothing.
func formatKey(prefix, id, secret string) string {
	body := prefix + "_" + id + "_" + secret
	return body + keySum(body)
}

func keySum(body string) string {
	return keyText.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body))))
}

// IsKey reports whether a value has the shape of an API key rather than of a token.
func IsKey(raw string) bool { _, _, err := ParseKey(raw); return err == nil }

// ParseKey reads the shape of an API key and checks its checksum; it proves nothing. identity.ErrBadCredentials
// otherwise.
func ParseKey(raw string) (id, secret string, err error) {
	bad := fmt.Errorf("api key shape: %w", identity.ErrBadCredentials)
	if len(raw) > 256 {
		return "", "", bad
	}
	rest, tail, ok := cutLast(raw, "_")
	if !ok || len(tail) != keySecretLen+keySumLen {
		return "", "", bad
	}
	prefix, id, ok := cutLast(rest, "_")
	if !ok || prefix == "" || len(id) != keyIDLen {
		return "", "", bad
	}
	secret = tail[:keySecretLen]
	if keySum(rest+"_"+secret) != tail[keySecretLen:] || !isKeyText(id) || !isKeyText(secret) {
		return "", "", bad
	}
	return id, secret, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// isKeyText accepts the one spelling of a value only: what does not encode back to itself is refused.
func isKeyText(s string) bool {
	b, err := keyText.DecodeString(s)
	return err == nil && keyText.EncodeToString(b) == s
}

// maxKeys bounds the living keys of one account.
const maxKeys = 100

// NewKey is what somebody asks for.
type NewKey struct {
	Name        string
	Application *Application
	// Roles the key may use; nil: all of its owner's. A list without any is a mistake, not a wish for all.
	Roles []string
	// Lifetime; zero: the default.
	Lifetime time.Duration
}

// CreateKey makes an API key for the principal, who must have signed in (keys mint nothing, KEY-03) and hold every role
// asked for. The whole key is returned once and never again.
func (b *Broker) CreateKey(ctx context.Context, v Visit, p identity.Principal, n NewKey) (sessions.Key, string, error) {
	k, err := b.newKey(v, p, n)
	if err != nil {
		e := v.event(audit.AccessRefused, b.now())
		e.Actor, e.AccountID, e.Username, e.KeyID, e.SessionID = p.Subject, p.Subject, p.Username, p.KeyID, p.SessionID
		b.refused(ctx, e, err)
		return sessions.Key{}, "", err
	}
	secret := keyText.EncodeToString(randomBytes(keySecretSize))
	err = b.store.Update(ctx, func(tx Tx) error {
		by, err := tx.Session(ctx, p.SessionID)
		if err != nil {
			return err
		}
		if !by.Live(b.now()) {
			return fmt.Errorf("session %s: %w", by.ID, identity.ErrExpired)
		}
		have, err := tx.Keys(ctx, p.Subject)
		if err != nil {
			return err
		}
		if len(have) >= maxKeys {
			return identity.WithCode("too_many_keys", fmt.Errorf("%d keys: %w", len(have), identity.ErrConflict))
		}
		k.Provider, k.Subject = by.Provider, by.Subject
		if err := tx.CreateKey(ctx, k, secret); err != nil {
			return err
		}
		return tx.Append(ctx, b.keyEvent(v, audit.KeyCreated, p, k.ID, k.Application))
	})
	if err != nil {
		return sessions.Key{}, "", err
	}
	return k, formatKey(k.Prefix, k.ID, secret), nil
}

func (b *Broker) newKey(v Visit, p identity.Principal, n NewKey) (sessions.Key, error) {
	if p.SessionID == "" {
		return sessions.Key{}, denied("key_cannot", "key %s cannot make keys", p.KeyID)
	}
	if p.Application != Self { // or one application could make itself keys to another
		return sessions.Key{}, denied("wrong_application", "keys are made at the broker, not at %s", p.Application)
	}
	name := strings.TrimSpace(n.Name)
	if name == "" || len(name) > 100 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return sessions.Key{}, identity.WithCode("name_invalid", fmt.Errorf("key name of %d bytes: %w", len(name), identity.ErrInvalid))
	}
	life := n.Lifetime
	if life == 0 {
		life = v.Keys.DefaultLifetime
	}
	if life < time.Minute || life > v.Keys.MaxLifetime {
		return sessions.Key{}, identity.WithCode("lifetime_invalid",
			fmt.Errorf("key lifetime %s, at most %s: %w", life, v.Keys.MaxLifetime, identity.ErrInvalid))
	}
	roles := slices.Clone(n.Roles)
	if n.Roles == nil {
		roles = slices.Clone(p.Roles)
	} else if len(roles) == 0 {
		return sessions.Key{}, identity.WithCode("roles_missing", fmt.Errorf("key without roles: %w", identity.ErrInvalid))
	}
	slices.Sort(roles)
	roles = slices.Compact(roles)
	for _, r := range roles {
		if !slices.Contains(p.Roles, r) {
			return sessions.Key{}, denied("key_role_not_held", "role %q", r)
		}
	}
	id := make([]byte, keyIDSize)
	_, _ = rand.Read(id)
	now := b.now()
	return sessions.Key{
		ID: keyText.EncodeToString(id), Prefix: n.Application.Profile.KeyPrefix, Name: name, State: sessions.Active,
		AccountID: p.Subject, Application: n.Application.ID, Roles: roles, CreatedAt: now, ExpiresAt: now.Add(life),
	}, nil
}

// Keys lists the principal's living keys, newest first.
func (b *Broker) Keys(ctx context.Context, p identity.Principal) ([]sessions.Key, error) {
	var list []sessions.Key
	err := b.store.View(ctx, func(tx Tx) (err error) {
		list, err = tx.Keys(ctx, p.Subject)
		return err
	})
	return list, err
}

// RevokeKey ends one of the principal's own keys: identity.ErrNotFound for anybody else's.
func (b *Broker) RevokeKey(ctx context.Context, v Visit, p identity.Principal, id string) error {
	return b.store.Update(ctx, func(tx Tx) error {
		now := b.now()
		if err := tx.EndKey(ctx, p.Subject, id, "revoked", now); err != nil {
			return err
		}
		if err := tx.Changed(ctx, ChangeKey, now, id); err != nil {
			return err
		}
		return tx.Append(ctx, b.keyEvent(v, audit.KeyRevoked, p, id, p.Application))
	})
}

func (b *Broker) keyEvent(v Visit, t audit.Type, p identity.Principal, id, application string) audit.Event {
	e := v.event(t, b.now())
	e.Actor, e.AccountID, e.Username, e.KeyID, e.Application = p.Subject, p.Subject, p.Username, id, application
	return e
}

// Allows reports whether the principal holds a permission (resource:action), see mapping.Allows.
func Allows(p identity.Principal, permission string) bool {
	return mapping.Allows(p.Permissions, permission)
}
