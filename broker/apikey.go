package broker

import (
	"cmp"
	"context"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/audit"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/mapping"
)

// KeyRules limit API keys.
type KeyRules struct {
	// DefaultLifetime applies where none is asked for, MaxLifetime is the most one can ask for.
	DefaultLifetime, MaxLifetime time.Duration
	// NeverExpire lets somebody ask for a key without an end.
	NeverExpire bool
	// ConfirmByEmail makes a new key wait until a code that went by e-mail is typed in.
	ConfirmByEmail bool
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

// maxKeys bounds the keys of one account that have not ended or expired, those that wait or are suspended too.
const maxKeys = 100

// NewKey is what somebody asks for.
type NewKey struct {
	Name        string
	Application *Application
	// Roles the key may use; nil: all of its owner's. A list without any is a mistake, not a wish for all.
	Roles []string
	// Lifetime; zero: the default.
	Lifetime time.Duration
	// Never asks for a key without an end, which KeyRules must allow.
	Never bool
	// Networks it may be used from, see ParseNetwork; none: from anywhere.
	Networks []netip.Prefix
	// ReadOnly keys change nothing (GET, HEAD and OPTIONS only).
	ReadOnly bool
	// Requests per Per are what it may make, on each node; zero: no limit of its own.
	Requests int
	Per      time.Duration
}

// IssuedKey is a key that was just made.
type IssuedKey struct {
	sessions.Key
	// Verification is the id of what must be confirmed by a code from an e-mail before the key opens anything; empty where
	// it does already.
	Verification string
}

// CreateKey makes an API key for the principal, who must have signed in (keys mint nothing, KEY-03) and hold every role
// asked for. The whole key is returned once and never again. Where KeyRules say so it is Pending until it is confirmed,
// see Confirm. Errors: identity.ErrDenied coded key_cannot, wrong_application or key_role_not_held; identity.ErrInvalid
// coded name_invalid, lifetime_invalid, roles_missing, network_invalid or rate_invalid; identity.ErrConflict coded
// too_many_keys; and those of an e-mail that cannot be sent.
func (b *Broker) CreateKey(ctx context.Context, v Visit, p identity.Principal, n NewKey) (IssuedKey, string, error) {
	k, err := b.ownKey(v, p, n)
	if err != nil {
		b.keyRefused(ctx, v, p, err)
		return IssuedKey{}, "", err
	}
	if v.Keys.ConfirmByEmail {
		k.State = sessions.Pending
		if _, err := b.counterKeys(ctx); err != nil { // at hand before the transaction, in which they could not be made
			return IssuedKey{}, "", uncounted(err)
		}
	}
	var send sendable
	secret := newKeySecret()
	err = b.store.Update(ctx, func(tx Tx) error {
		by, err := b.signedInWith(ctx, tx, p)
		if err != nil {
			return err
		}
		owner, err := tx.Account(ctx, p.Subject)
		if err != nil {
			return err
		}
		k.Provider, k.Subject = by.Provider, by.Subject
		send, err = b.putKey(ctx, tx, v, p.Subject, owner, k, secret)
		return err
	})
	if err != nil {
		return IssuedKey{}, "", err
	}
	return b.issueKey(ctx, v, k, secret, send)
}

// issueKey shows a key that was kept, after the e-mail went out that one waits for.
func (b *Broker) issueKey(
	ctx context.Context, v Visit, k sessions.Key, secret string, send sendable,
) (IssuedKey, string, error) {
	if k.State == sessions.Pending {
		if err := b.sendVerification(ctx, v, send); err != nil {
			return IssuedKey{}, "", err
		}
	}
	return IssuedKey{k, send.verification.ID}, formatKey(k.Prefix, k.ID, secret), nil
}

// ownKey checks what a principal asks for themselves.
func (b *Broker) ownKey(v Visit, p identity.Principal, n NewKey) (sessions.Key, error) {
	if err := mayMakeKeys(p); err != nil {
		return sessions.Key{}, err
	}
	k, err := b.newKey(v.Keys, p.Roles, n)
	k.AccountID = p.Subject
	return k, err
}

// mayMakeKeys refuses keys, and one application that could make itself keys to another.
func mayMakeKeys(p identity.Principal) error {
	if p.SessionID == "" {
		return denied("key_cannot", "key %s cannot make keys", p.KeyID)
	}
	if p.Application != Self {
		return denied("wrong_application", "keys are made at the broker, not at %s", p.Application)
	}
	return nil
}

// signedInWith returns the principal's session as it is in the transaction, where it must still live.
func (b *Broker) signedInWith(ctx context.Context, tx Tx, p identity.Principal) (sessions.Session, error) {
	by, err := tx.Session(ctx, p.SessionID)
	if err != nil {
		return by, err
	}
	if !by.Live(b.now()) {
		return by, fmt.Errorf("session %s: %w", by.ID, identity.ErrExpired)
	}
	return by, notCutOff(ctx, tx, by)
}

// putKey keeps a new key of an account, with its event. The e-mail for one that waits is to be sent afterwards.
func (b *Broker) putKey(
	ctx context.Context, tx Tx, v Visit, actor string, owner people.Account, k sessions.Key, secret string,
) (sendable, error) {
	have, err := tx.Keys(ctx, k.AccountID)
	if err != nil {
		return sendable{}, err
	}
	now := b.now()
	have = slices.DeleteFunc(have, func(k sessions.Key) bool { return !now.Before(k.ExpiresAt) }) // they wait for the clean-up
	if len(have) >= maxKeys {
		return sendable{}, identity.WithCode("too_many_keys", fmt.Errorf("%d keys: %w", len(have), identity.ErrConflict))
	}
	if err := tx.CreateKey(ctx, k, secret); err != nil {
		return sendable{}, err
	}
	if err := tx.Append(ctx, b.keyEvent(v, audit.KeyCreated, actor, owner.Username, k)); err != nil {
		return sendable{}, err
	}
	if k.State != sessions.Pending {
		return sendable{}, nil
	}
	return b.putVerification(ctx, tx, v, owner, waitingKey(k))
}

// newKey is the key that somebody who holds the given roles asks for, without its owner.
func (b *Broker) newKey(rules KeyRules, held []string, n NewKey) (sessions.Key, error) {
	name := strings.TrimSpace(n.Name)
	if name == "" || len(name) > 100 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return sessions.Key{}, identity.WithCode("name_invalid", fmt.Errorf("key name of %d bytes: %w", len(name), identity.ErrInvalid))
	}
	now := b.now()
	ends, err := rules.ends(now, n)
	if err != nil {
		return sessions.Key{}, err
	}
	roles, err := keyRoles(held, n.Roles)
	if err != nil {
		return sessions.Key{}, err
	}
	networks, err := keyNetworks(n.Networks)
	if err != nil {
		return sessions.Key{}, err
	}
	if err := checkRate(n.Requests, n.Per); err != nil {
		return sessions.Key{}, err
	}
	return sessions.Key{
		ID: newKeyID(), Prefix: n.Application.Profile.KeyPrefix, Name: name, State: sessions.Active,
		Application: n.Application.ID, Roles: roles, CreatedAt: now, ExpiresAt: ends,
		Networks: networks, ReadOnly: n.ReadOnly, Requests: n.Requests, Per: n.Per,
	}, nil
}

func newKeyID() string     { return keyText.EncodeToString(randomBytes(keyIDSize)) }
func newKeySecret() string { return keyText.EncodeToString(randomBytes(keySecretSize)) }

// ends says when a key made now ends: a key without an end is a wish of its own, never what a missing one means.
func (r KeyRules) ends(now time.Time, n NewKey) (time.Time, error) {
	if n.Never {
		if !r.NeverExpire || n.Lifetime != 0 {
			return time.Time{}, identity.WithCode("lifetime_invalid", fmt.Errorf("key without an end: %w", identity.ErrInvalid))
		}
		return sessions.Never(), nil
	}
	life := cmp.Or(n.Lifetime, r.DefaultLifetime)
	if life < time.Minute || life > r.MaxLifetime {
		return time.Time{}, identity.WithCode("lifetime_invalid",
			fmt.Errorf("key lifetime %s, at most %s: %w", life, r.MaxLifetime, identity.ErrInvalid))
	}
	return now.Add(life), nil
}

// keyRoles returns the wanted roles, all held ones where nothing is said, sorted.
func keyRoles(held, wanted []string) ([]string, error) {
	if wanted == nil {
		wanted = held
	} else if len(wanted) == 0 {
		return nil, identity.WithCode("roles_missing", fmt.Errorf("key without roles: %w", identity.ErrInvalid))
	}
	roles := slices.Clone(wanted)
	slices.Sort(roles)
	roles = slices.Compact(roles)
	for _, r := range roles {
		if !slices.Contains(held, r) {
			return nil, denied("key_role_not_held", "role %q", r)
		}
	}
	return roles, nil
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
		k, err := tx.Key(ctx, id)
		if err != nil {
			return err
		}
		if k.AccountID != p.Subject {
			return fmt.Errorf("key %s of another: %w", id, identity.ErrNotFound)
		}
		return b.endKey(ctx, tx, v, p.Subject, p.Username, k)
	})
}

// endKey ends a key for good, at once and everywhere.
func (b *Broker) endKey(ctx context.Context, tx Tx, v Visit, actor, username string, k sessions.Key) error {
	now := b.now()
	if err := tx.EndKey(ctx, k.AccountID, k.ID, "revoked", now); err != nil {
		return err
	}
	if err := tx.Changed(ctx, ChangeKey, now, k.ID); err != nil {
		return err
	}
	return tx.Append(ctx, b.keyEvent(v, audit.KeyRevoked, actor, username, k))
}

// keyEvent starts an event about a key; username is its owner's.
func (b *Broker) keyEvent(v Visit, t audit.Type, actor, username string, k sessions.Key) audit.Event {
	e := v.event(t, b.now())
	e.Actor, e.AccountID, e.Username, e.KeyID, e.Application = actor, k.AccountID, username, k.ID, k.Application
	return e
}

// keyRefused records that a principal may not do something with keys.
func (b *Broker) keyRefused(ctx context.Context, v Visit, p identity.Principal, err error) {
	e := v.event(audit.AccessRefused, b.now())
	e.Actor, e.AccountID, e.Username, e.KeyID, e.SessionID = p.Subject, p.Subject, p.Username, p.KeyID, p.SessionID
	b.refused(ctx, e, err)
}

// Allows reports whether the principal holds a permission (resource:action), see mapping.Allows.
func Allows(p identity.Principal, permission string) bool {
	return mapping.Allows(p.Permissions, permission)
}
