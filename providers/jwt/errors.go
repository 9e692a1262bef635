package jwt

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/identity"
	"sallyport/providers"
	"sallyport/tokens/jws"
)

// The public codes of this door's refusals. The errors' texts, which are for logs, name claims and configured keys and
// never hold anything of a token.
const (
	codeMalformed = "jwt_malformed"
	codeSignature = "jwt_signature"
	codeAlgorithm = "jwt_alg"
	codeExpired   = "jwt_expired"
	codeNotYet    = "jwt_not_yet"
	codeTTL       = "jwt_ttl"
	codeClaim     = "jwt_claim"
)

// refused: the token does not verify, or does not say what it must. A token that only comes at the wrong time is worth
// another try with a new one, which is what identity.ErrExpired says.
func refused(code, format string, args ...any) error {
	sentinel := identity.ErrBadCredentials
	if code == codeExpired || code == codeNotYet {
		sentinel = identity.ErrExpired
	}
	return providers.Coded(code, sentinel, fmt.Errorf("%w: token: %w", sentinel, fmt.Errorf(format, args...)))
}

// unverified says why no key verified a token.
func (p *Provider) unverified(m jws.Message, err error) error {
	switch {
	case errors.Is(err, jws.ErrUnavailable):
		return providers.Unavailable(errors.New("the embedding application's keys cannot be read"))
	case errors.Is(err, jws.ErrAlgorithm):
		says := "another" // a name nobody knows is foreign text
		if slices.Contains(append(jws.Asymmetric(), symmetric()...), m.Header.Algorithm) {
			says = m.Header.Algorithm
		}
		return refused(codeAlgorithm, "%w: it says %s, the keys are for %s", err, says, strings.Join(p.keys.algorithms(), ", "))
	default:
		return refused(codeSignature, "%w", err)
	}
}
