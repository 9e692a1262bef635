package providers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"sallyport/identity"
	"sallyport/tokens/jws"
)

// The public codes that refusals of several kinds share. The errors' texts are for logs and hold nothing foreign.
const (
	CodeUnavailable   = "provider_unavailable"
	CodeMisconfigured = "provider_misconfigured"
	CodeRefused       = "provider_refused"
	CodeReplyInvalid  = "provider_reply_invalid"
	CodeFlowExpired   = "flow_expired"
)

// Unavailable (provider_unavailable): upstream gave no answer, or none that says anything. Never an answer about the
// person.
func Unavailable(cause error) error {
	return Coded(CodeUnavailable, identity.ErrUnavailable, cause)
}

// Misconfigured (provider_misconfigured): an operator must act, here or upstream; to the person it is a provider that
// does not work.
func Misconfigured(cause error) error {
	return Coded(CodeMisconfigured, identity.ErrUnavailable, cause)
}

// Refused (provider_refused): upstream said no.
func Refused(why string) error {
	return Coded(CodeRefused, identity.ErrDenied, errors.New(why))
}

// ReplyInvalid (provider_reply_invalid): what came back does not verify.
func ReplyInvalid(format string, args ...any) error {
	return Coded(CodeReplyInvalid, identity.ErrBadCredentials, fmt.Errorf(format, args...))
}

// FlowExpired (flow_expired): the flow is no longer valid; begin again.
func FlowExpired(why string) error {
	return Coded(CodeFlowExpired, identity.ErrExpired, errors.New(why))
}

// Coded joins sentinel and cause under a code. A code that is there already stays: the inner floor knew better.
func Coded(code string, sentinel, cause error) error {
	if identity.CodeOf(cause) != "" {
		return cause
	}
	if !errors.Is(cause, sentinel) {
		cause = fmt.Errorf("%w: %w", sentinel, cause)
	}
	return identity.WithCode(code, cause)
}

// CheckKeys fetches a published key set now, whatever is cached. Unavailable says that it cannot be had, Misconfigured
// that there is no key in it that may verify anything.
func CheckKeys(ctx context.Context, keys *jws.Remote) error {
	if err := keys.Refresh(ctx); err != nil {
		if request := (*url.Error)(nil); errors.As(err, &request) { // else they are our own reader's words
			err = TransportCause(err)
		}
		return Unavailable(fmt.Errorf("key set: %w", err))
	}
	if s := keys.Status(); s.Keys == 0 {
		return Misconfigured(fmt.Errorf("key set: no usable key (%s)", strings.Join(s.Skipped, "; ")))
	}
	return nil
}
