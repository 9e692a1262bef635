package tokens

import (
	"context"
	"time"
)

// KeyState is where a signing key is in its life: next (published, not yet used), current, retired (published until
// the last token it signed has expired).
type KeyState string

// The states of a signing key.
const (
	KeyNext    KeyState = "next"
	KeyCurrent KeyState = "current"
	KeyRetired KeyState = "retired"
)

// StoredKey is a signing key as the store keeps it: Private is PKCS #8 DER, sealed at rest.
type StoredKey struct {
	// ID is the kid: the RFC 7638 thumbprint of the public key.
	ID        string
	Algorithm Algorithm
	State     KeyState
	Private   []byte
	// Application is the id of the one application whose tokens it signs; empty: all that have no key of their own.
	Application string
	CreatedAt   time.Time
	// CurrentAt and RetiredAt are zero until then.
	CurrentAt, RetiredAt time.Time
}

// KeyStore keeps signing keys.
type KeyStore interface {
	// SigningKeys lists all, oldest first.
	SigningKeys(ctx context.Context) ([]StoredKey, error)
	// CreateSigningKey answers identity.ErrConflict when a key in the same state (next or current) exists for the
	// application and algorithm, so that two processes that start together make one.
	CreateSigningKey(ctx context.Context, k StoredKey) error
	// SetSigningKeyState moves a key on: next to current, next or current to retired. identity.ErrNotFound for an unknown
	// key, identity.ErrConflict for one in another state and for a second current one.
	SetSigningKeyState(ctx context.Context, id string, s KeyState, at time.Time) error
	// DeleteSigningKey removes a retired key: identity.ErrNotFound and identity.ErrConflict as above.
	DeleteSigningKey(ctx context.Context, id string) error
}
