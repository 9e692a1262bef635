package identity

import "errors"

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
)

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
