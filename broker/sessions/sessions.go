// Package sessions owns what is issued to somebody who signed in: the session tree, one-use codes and API keys. It
// knows accounts by id only. Whoever holds a secret (cookie, code, key) shows it; the store keeps hashes.
package sessions

import (
	"context"
	"net/netip"
	"time"
)

// Kind of a session.
type Kind string

// The kinds. A Browser session is the broker's own cookie; App and Embed sessions live on an application's host; API
// sessions carry JWTs. An App session has a Browser session as its parent; an Embed session has none, because nobody
// signed in at the broker: the embedding application vouched for them.
const (
	Browser Kind = "browser"
	App     Kind = "app"
	Embed   Kind = "embed"
	API     Kind = "api"
)

// State of a session or key. A pending one opens nothing.
type State string

// The states.
const (
	Pending State = "pending"
	Active  State = "active"
	Ended   State = "ended"
	// Suspended is a key that came back from a backup and waits for an administrator.
	Suspended State = "suspended"
)

// Session is a sign-in that holds. Ending a parent ends its children.
type Session struct {
	// ID is the public name (the sid claim): 128 random bits, base64url. It opens nothing.
	ID string
	// ParentID is empty for the root of a tree.
	ParentID string
	Kind     Kind
	State    State
	// AccountID, and the linked identity the person came in with.
	AccountID, Provider, Subject string
	// Application this session opens; the broker's own is "sallyport".
	Application string
	AMR         []string
	AuthTime    time.Time
	CreatedAt   time.Time
	LastSeenAt  time.Time
	// IdleTimeout ends the session when nobody was seen for so long; zero: no idle limit of its own.
	IdleTimeout time.Duration
	// ExpiresAt is the absolute end.
	ExpiresAt time.Time
	// EndedAt is zero while the session lives; EndReason is a snake_case word.
	EndedAt   time.Time
	EndReason string
	// Address and UserAgent are of the request that made it, for the owner to recognise.
	Address, UserAgent string
	// Remembered: the person asked the browser to keep its cookie.
	Remembered bool
	// Embedder vouched for the person, in a page of Origin; both are empty for every kind but Embed.
	Embedder, Origin string
}

// Live reports whether the session opens anything at the given time.
func (s Session) Live(now time.Time) bool {
	return s.State == Active && s.EndedAt.IsZero() && now.Before(s.ExpiresAt) &&
		(s.IdleTimeout == 0 || now.Before(s.LastSeenAt.Add(s.IdleTimeout)))
}

// SessionStore is the tree. Look-ups answer identity.ErrNotFound; they return ended and expired sessions too, the
// caller judges with Live.
type SessionStore interface {
	// CreateSession stores s. token is the cookie value that opens it (kept hashed), or "" when no cookie does.
	CreateSession(ctx context.Context, s Session, token string) error
	Session(ctx context.Context, id string) (Session, error)
	SessionByToken(ctx context.Context, token string) (Session, error)
	// Sessions lists those of an account that have not ended and not expired at now, newest first.
	Sessions(ctx context.Context, accountID string, now time.Time) ([]Session, error)
	// EndSession ends the session and everything below it, and spends the codes that hang on them; it returns the ids
	// that ended now, none when it had ended before.
	EndSession(ctx context.Context, id, reason string, at time.Time) ([]string, error)
	// EndSessions does so for everything of an account.
	EndSessions(ctx context.Context, accountID, reason string, at time.Time) ([]string, error)
	// LiveSessions lists those that live at now, by id.
	LiveSessions(ctx context.Context, f Filter, now time.Time) ([]Session, error)
	// ActivateSession makes a pending session active, opened by a cookie of the given value ("": by none):
	// identity.ErrConflict when it is not pending (any more).
	ActivateSession(ctx context.Context, id, token string) error
	// MoveSession notes that a session is used from another address: identity.ErrConflict when somebody noted it first.
	MoveSession(ctx context.Context, id, from, to string) error
	// TouchSessions moves LastSeenAt forward, never back.
	TouchSessions(ctx context.Context, seen map[string]time.Time) error
}

// Purpose of a code. A code taken for another purpose is not found.
type Purpose string

// The purposes so far.
const (
	// HandOver carries a sign-in from the broker's host to an application's own host.
	HandOver Purpose = "hand_over"
	// Setup makes the first administrator.
	Setup Purpose = "setup"
	// Ticket opens a WebSocket for a session, where a browser cannot send a header.
	Ticket Purpose = "ticket"
)

// Code is a one-use secret of at least 128 random bits, kept hashed.
type Code struct {
	Purpose Purpose
	// SessionID the code hangs on; ending that session spends it. Empty for Setup.
	SessionID   string
	AccountID   string
	Application string
	// Challenge binds the code to whoever holds the verifier: base64url(SHA-256(verifier)).
	Challenge string
	ExpiresAt time.Time
}

// CodeStore keeps one-use things.
type CodeStore interface {
	PutCode(ctx context.Context, secret string, c Code) error
	// TakeCode reads and spends in one statement: identity.ErrNotFound for unknown, spent and expired alike.
	TakeCode(ctx context.Context, p Purpose, secret string, now time.Time) (Code, error)
	// SpendCodes spends all open codes of a purpose.
	SpendCodes(ctx context.Context, p Purpose, now time.Time) error
	// Consume records that id was used: nil once, then identity.ErrConflict until it is cleaned up after until.
	Consume(ctx context.Context, id string, until time.Time) error
}

// Key is an API key: <prefix>_<id>_<secret>. The store keeps the hash of the secret only.
type Key struct {
	// ID is public: 128 random bits in lower-case base32 without padding.
	ID string
	// Prefix as issued, for the list ("sp").
	Prefix string
	Name   string
	State  State
	// AccountID owns it; Provider and Subject are the identity that made it and that its rights follow.
	AccountID, Provider, Subject string
	Application                  string
	// Roles the key may use at most; what it can do is these and the owner's, now.
	Roles      []string
	CreatedAt  time.Time
	ExpiresAt  time.Time
	LastUsedAt time.Time // zero: never
	EndedAt    time.Time
	EndReason  string
	// Networks it may be used from; none: from anywhere.
	Networks []netip.Prefix
	// ReadOnly keys do nothing that changes anything (GET, HEAD and OPTIONS only).
	ReadOnly bool
	// Requests per Per are what it may make; zero: no limit of its own.
	Requests int
	Per      time.Duration
	// Successor is the id of the key that takes its place; empty: none yet.
	Successor string
}

// Never is the end of what never ends by itself: late enough for anybody, and a time like all others.
func Never() time.Time { return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC) }

// Filter narrows a list of what lives. Empty fields narrow nothing.
type Filter struct {
	// Application and Provider are ids; State is for keys only, Provider for sessions only.
	Application, Provider string
	State                 State
	// After is the id that the list begins after, Limit how long it is at most.
	After string
	Limit int
}

// Live reports whether the key opens anything at the given time.
func (k Key) Live(now time.Time) bool {
	return k.State == Active && k.EndedAt.IsZero() && now.Before(k.ExpiresAt)
}

// KeyStore keeps API keys. Look-ups answer identity.ErrNotFound and return ended keys too, the caller judges with Live.
type KeyStore interface {
	CreateKey(ctx context.Context, k Key, secret string) error
	Key(ctx context.Context, id string) (Key, error)
	// KeyBySecret answers identity.ErrNotFound for an unknown id and a wrong secret alike; hashes are compared in
	// constant time.
	KeyBySecret(ctx context.Context, id, secret string) (Key, error)
	// Keys lists those of an account that have not ended, newest first.
	Keys(ctx context.Context, accountID string) ([]Key, error)
	// EndKey ends one of the account's keys: identity.ErrNotFound when the account has no such living key.
	EndKey(ctx context.Context, accountID, id, reason string, at time.Time) error
	// EndKeys ends all of an account's and returns the ids that ended now.
	EndKeys(ctx context.Context, accountID, reason string, at time.Time) ([]string, error)
	// LiveKeys lists those that have neither ended nor expired at now, by id.
	LiveKeys(ctx context.Context, f Filter, now time.Time) ([]Key, error)
	// ActivateKey makes a key active that is in the given state: identity.ErrConflict when it is in another one.
	ActivateKey(ctx context.Context, id string, from State) error
	// SucceedKey names a living key's one successor and lets it end at until: identity.ErrConflict when it has one or is
	// none of the account's living keys.
	SucceedKey(ctx context.Context, accountID, id, successor string, until time.Time) error
	// TouchKeys moves LastUsedAt forward, never back.
	TouchKeys(ctx context.Context, used map[string]time.Time) error
}

// Store is what sessions need of a transaction.
type Store interface {
	SessionStore
	CodeStore
	KeyStore
	RefreshStore
	RevocationStore
	VerificationStore
}
