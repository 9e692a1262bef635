package sessions

import (
	"context"
	"time"
)

// Verification is a code that went by e-mail, for a pending session or a pending key.
type Verification struct {
	// ID is public: 128 random bits, base64url.
	ID string
	// Code is what the person types; sealed at rest, because it is short enough to be guessed from a hash.
	Code      string
	AccountID string
	// SessionID or KeyID is what it activates, never both.
	SessionID, KeyID string
	// Tries so far, the present one included.
	Tries     int
	ExpiresAt time.Time
}

// VerificationStore keeps them.
type VerificationStore interface {
	PutVerification(ctx context.Context, v Verification) error
	// TryVerification counts a try and returns what it is about, in one statement: identity.ErrNotFound for one that is
	// unknown, used or expired, or that was tried most times before.
	TryVerification(ctx context.Context, id string, now time.Time, most int) (Verification, error)
	// UseVerification ends it: identity.ErrConflict when it was used already.
	UseVerification(ctx context.Context, id string, now time.Time) error
}
