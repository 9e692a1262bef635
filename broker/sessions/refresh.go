package sessions

import (
	"context"
	"time"
)

// Refresh is a refresh token as it was issued: a secret of 256 random bits that is good once. All those of one session,
// each the successor of the one before, are its family; it ends with the session.
type Refresh struct {
	SessionID string
	// TokenID (jti) and TokenExpiresAt are those of the access token that was issued with it.
	TokenID        string
	TokenExpiresAt time.Time
	IssuedAt       time.Time
	ExpiresAt      time.Time
	// UsedAt is zero until it was taken.
	UsedAt time.Time
}

// RefreshStore keeps refresh tokens, as hashes.
type RefreshStore interface {
	// PutRefresh stores one: identity.ErrNotFound when its session has ended or never was.
	PutRefresh(ctx context.Context, secret string, r Refresh) error
	// Refresh looks one up, used or not: identity.ErrNotFound.
	Refresh(ctx context.Context, secret string) (Refresh, error)
	// TakeRefresh spends one in one statement and keeps the answer for whoever else shows it, sealed under a key that is
	// derived from the secret: identity.ErrConflict for one that is used, unknown or expired.
	TakeRefresh(ctx context.Context, secret, successor string, answer []byte, now time.Time) (Refresh, error)
	// RefreshAnswer returns what the taker was answered, while that is kept and its successor was not used itself:
	// identity.ErrNotFound otherwise.
	RefreshAnswer(ctx context.Context, secret string) ([]byte, error)
	// DropRefreshAnswers forgets up to limit answers given before a time, and says how many.
	DropRefreshAnswers(ctx context.Context, before time.Time, limit int) (int, error)
}
