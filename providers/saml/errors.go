package saml

import (
	"errors"
	"fmt"

	"sallyport/identity"
)

// The public codes of this door's refusals.
const (
	codeRefused      = "provider_refused"
	codeReplyInvalid = "provider_reply_invalid"
	codeUnavailable  = "provider_unavailable"
	codeFlowExpired  = "flow_expired"
)

// unavailable: the provider's metadata cannot be had, or says nothing we could trust.
func unavailable(cause error) error {
	return coded(codeUnavailable, identity.ErrUnavailable, cause)
}

// replyInvalid: what came back does not verify. The text never holds what the message says.
func replyInvalid(format string, args ...any) error {
	return coded(codeReplyInvalid, identity.ErrBadCredentials, fmt.Errorf(format, args...))
}

// refused: upstream said no.
func refused(why string) error {
	return coded(codeRefused, identity.ErrDenied, errors.New(why))
}

// flowExpired: the flow is no longer valid; begin again.
func flowExpired(why string) error {
	return coded(codeFlowExpired, identity.ErrExpired, errors.New(why))
}

// coded joins sentinel and cause under a code. A code that is there already stays: the inner floor knew better.
func coded(code string, sentinel, cause error) error {
	if identity.CodeOf(cause) != "" {
		return cause
	}
	if !errors.Is(cause, sentinel) {
		cause = fmt.Errorf("%w: %w", sentinel, cause)
	}
	return identity.WithCode(code, cause)
}
