package people

import (
	"context"
	"time"
)

// Failure counts failed sign-ins of one account or from one source within a window.
type Failure struct {
	// Key is a hash of what is counted.
	Key string
	// Scope says what that is.
	Scope string
	// Label names it for an administrator; empty where it could be a secret.
	Label string
	Count int
	// Since and Until are the window's.
	Since, Until time.Time
}

// FailureStore counts failed sign-ins, for all processes.
type FailureStore interface {
	// Strike counts one in one statement, beginning anew after the window, and returns the row as it is now. Where most
	// are counted already it counts nothing: identity.ErrThrottled that knows when the window ends (identity.RetryAfter).
	Strike(ctx context.Context, f Failure, most int) (Failure, error)
	// ForgiveFailure takes one back.
	ForgiveFailure(ctx context.Context, key string) error
	// ClearFailure forgets all of a key: identity.ErrNotFound where there is none. ClearFailures forgets everything.
	ClearFailure(ctx context.Context, key string) error
	ClearFailures(ctx context.Context) (int, error)
	// Failures lists those whose window has not ended, by key, starting after one.
	Failures(ctx context.Context, now time.Time, after string, limit int) ([]Failure, error)
}
