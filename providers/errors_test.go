package providers

import (
	"errors"
	"fmt"
	"testing"

	"sallyport/identity"
)

func TestCoded_KeepsTheInnerCodeAndJoinsTheSentinelOnce(t *testing.T) {
	cause := errors.New("why")
	for name, tt := range map[string]struct {
		err      error
		sentinel error
		text     string
	}{
		"Unavailable":   {Unavailable(cause), identity.ErrUnavailable, "provider_unavailable: unavailable: why"},
		"Misconfigured": {Misconfigured(cause), identity.ErrUnavailable, "provider_misconfigured: unavailable: why"},
		"Refused":       {Refused("why"), identity.ErrDenied, "provider_refused: denied: why"},
		"ReplyInvalid": {
			ReplyInvalid("%w", cause), identity.ErrBadCredentials, "provider_reply_invalid: bad credentials: why",
		},
		"FlowExpired": {FlowExpired("why"), identity.ErrExpired, "flow_expired: expired: why"},
		"the code is there already": {
			ReplyInvalid("text: %w", Misconfigured(cause)), identity.ErrUnavailable,
			"text: provider_misconfigured: unavailable: why",
		},
		"the sentinel is there already": {
			Unavailable(fmt.Errorf("%w: why", identity.ErrUnavailable)), identity.ErrUnavailable,
			"provider_unavailable: unavailable: why",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if !errors.Is(tt.err, tt.sentinel) || tt.err.Error() != tt.text {
				t.Errorf("got %v, want %v: %s", tt.err, tt.sentinel, tt.text)
			}
		})
	}
}
