package oidc

import (
	"errors"
	"fmt"

	"sallyport/identity"
)

// The public codes of this door's refusals.
const (
	codeRefused       = "provider_refused"
	codeReplyInvalid  = "provider_reply_invalid"
	codeUnavailable   = "provider_unavailable"
	codeMisconfigured = "provider_misconfigured"
	codeFlowExpired   = "flow_expired"
	codeOverage       = "groups_overage"
	codeClaimInvalid  = "claim_invalid"
	codeNoRefresh     = "refresh_not_possible"
)

// unavailable: the provider gave no answer, or none that says anything.
func unavailable(cause error) error {
	return coded(codeUnavailable, identity.ErrUnavailable, cause)
}

// misconfigured: an operator must act, here or at the provider; to the person it is a provider that does not work.
func misconfigured(cause error) error {
	return coded(codeMisconfigured, identity.ErrUnavailable, cause)
}

// replyInvalid: what came back does not verify.
func replyInvalid(format string, args ...any) error {
	return coded(codeReplyInvalid, identity.ErrBadCredentials, fmt.Errorf(format, args...))
}

// flowExpired: the flow is no longer valid; begin again.
func flowExpired(why string) error {
	return coded(codeFlowExpired, identity.ErrExpired, errors.New(why))
}

// claimInvalid: a verified token has a claim that configuration gives a meaning to, in a shape that has none.
func claimInvalid(format string, args ...any) error {
	return coded(codeClaimInvalid, identity.ErrDenied, fmt.Errorf(format, args...))
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
