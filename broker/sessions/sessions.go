// Package sessions owns what is issued to somebody who signed in: the session tree, one-use codes and API keys. It
// knows accounts by id only. Whoever holds a secret (cookie, code, key) shows it; the store keeps hashes.
package sessions

import (
	"context"
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
	// TouchKeys moves LastUsedAt forward, never back.
	TouchKeys(ctx context.Context, used map[string]time.Time) error
}

// Store is what sessions need of a transaction.
type Store interface {
	SessionStore
	CodeStore
	KeyStore
}
