package jwt

import (
	"errors"
	"fmt"

	"sallyport/identity"
)

// The public codes of this door's refusals. The errors' texts, which are for logs, name claims and configured keys and
// never hold anything of a token.
const (
	codeInvalid     = "token_invalid"
	codeExpired     = "token_expired"
	codeUnavailable = "provider_unavailable"
)

// invalid: the token does not verify, or does not say what it must.
func invalid(format string, args ...any) error {
	why := fmt.Errorf(format, args...)
	return identity.WithCode(codeInvalid, fmt.Errorf("%w: token: %w", identity.ErrBadCredentials, why))
}

// expired: the token was right once.
func expired() error {
	return identity.WithCode(codeExpired, fmt.Errorf("%w: token: its exp has passed", identity.ErrExpired))
}

// unavailable: the key set cannot be read. Never an answer about the token.
func unavailable(why string) error {
	return identity.WithCode(codeUnavailable, fmt.Errorf("%w: %w", identity.ErrUnavailable, errors.New(why)))
}
