package oidc

import (
	"fmt"

	"sallyport/identity"
	"sallyport/providers"
)

// The public codes of refusals that only this kind has.
const (
	codeOverage      = "groups_overage"
	codeClaimInvalid = "claim_invalid"
	codeNoRefresh    = "refresh_not_possible"
)

// claimInvalid: a verified token has a claim that configuration gives a meaning to, in a shape that has none.
func claimInvalid(format string, args ...any) error {
	return providers.Coded(codeClaimInvalid, identity.ErrDenied, fmt.Errorf(format, args...))
}
