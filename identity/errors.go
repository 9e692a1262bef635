package identity

import (
	"errors"
	"time"
)

// The sentinels every floor understands. Anything else is a fault. Surfaces turn a sentinel into a status and a public
// sentence; the error's own text is for logs only.
var (
	// ErrBadCredentials: the name, password, token or key is not right. It never says which.
	ErrBadCredentials = errors.New("bad credentials")
	// ErrDenied: known, but not allowed.
	ErrDenied = errors.New("denied")
	// ErrExpired: it was right once; begin again.
	ErrExpired = errors.New("expired")
	// ErrNotFound: there is no such thing, or it is not yours to see.
	ErrNotFound = errors.New("not found")
	// ErrConflict: it exists already, or was used already.
	ErrConflict = errors.New("conflict")
	// ErrInvalid: the request itself is wrong.
	ErrInvalid = errors.New("invalid")
	// ErrUnavailable: something we depend on does not answer. Never an answer about the person.
	ErrUnavailable = errors.New("unavailable")
	// ErrThrottled: too often; RetryAfter says when to come back.
	ErrThrottled = errors.New("throttled")
)

// throttled is ErrThrottled with the time to wait.
type throttled struct{ after time.Duration }

// Throttled returns an error that wraps ErrThrottled and remembers how long to wait.
func Throttled(after time.Duration) error { return throttled{after} }

// Error is the sentinel's text.
func (t throttled) Error() string { return ErrThrottled.Error() }

// Unwrap returns ErrThrottled.
func (t throttled) Unwrap() error { return ErrThrottled }

// RetryAfter returns how long whoever gets err should wait, at least a second; zero where err does not say.
func RetryAfter(err error) time.Duration {
	var t throttled
	if !errors.As(err, &t) {
		return 0
	}
	return max(t.after, time.Second)
}

// Coded is an error with a stable public code (snake_case) that is more precise than its sentinel.
type Coded struct {
	// Code is what API clients see, for instance "provider_unavailable".
	Code string
	// Err is the cause; it wraps one of the sentinels.
	Err error
}

// WithCode gives err a public code. A nil err stays nil.
func WithCode(code string, err error) error {
	if err == nil {
		return nil
	}
	return &Coded{Code: code, Err: err}
}

// Error returns the cause's text, for logs.
func (c *Coded) Error() string { return c.Code + ": " + c.Err.Error() }

// Unwrap returns the cause.
func (c *Coded) Unwrap() error { return c.Err }

// CodeOf returns the outermost code given to err by WithCode, or "" when there is none.
func CodeOf(err error) string {
	var c *Coded
	if errors.As(err, &c) {
		return c.Code
	}
	return ""
}
