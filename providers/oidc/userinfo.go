package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"sallyport/identity"
	"sallyport/providers"
	"sallyport/tokens/jws"
)

// withUserInfo returns base merged with the claims of the userinfo endpoint, where that is wanted. base wins.
func (p *Provider) withUserInfo(
	ctx context.Context, doc *metadata, base jws.Claims, subject string, answer tokenAnswer,
) (jws.Claims, error) {
	if !p.wantsUserInfo(doc) {
		return base, nil
	}
	if !answer.bearer || answer.accessToken == "" {
		return nil, providers.Misconfigured(errors.New("userinfo: the access token is not a bearer token"))
	}
	body, err := getJSON(ctx, p.client, doc.userinfo, answer.accessToken, maxUserInfo)
	switch {
	case errors.Is(err, identity.ErrUnavailable):
		return nil, providers.Unavailable(fmt.Errorf("userinfo: %w", err))
	case err != nil:
		return nil, providers.ReplyInvalid("userinfo: %w", err)
	}
	info, err := jws.ParseClaims(body)
	if err != nil {
		return nil, providers.ReplyInvalid("userinfo: %w", err)
	}
	// Without this, an access token of somebody else slipped in on the way would bring that person's groups (OpenID
	// Connect Core section 5.3.2).
	if got, err := info.String("sub"); err != nil || got != subject {
		return nil, providers.ReplyInvalid("userinfo: sub is not that of the id token")
	}
	return mergeClaims(base, info), nil
}

// mergeClaims adds to the ID token's claims those that only userinfo has. What is about the sign-in itself is taken from
// the signed token only. An address and its being verified are one statement: they come from one source, or
// userinfo's "verified" would speak of the ID token's address.
func mergeClaims(token, info jws.Claims) jws.Claims {
	token, info = withoutNulls(token), withoutNulls(info)
	merged := maps.Clone(token)
	for name, value := range info {
		if !merged.Has(name) && !slices.Contains(signInClaims(), name) {
			merged[name] = value
		}
	}
	source := info
	if token.Has("email") {
		source = token
	}
	delete(merged, "email_verified")
	if verified, ok := source["email_verified"]; ok {
		merged["email_verified"] = verified
	}
	return merged
}

// withoutNulls returns a copy; a claim that is null is one that was left out (OpenID Connect Core section 5.3.2).
func withoutNulls(claims jws.Claims) jws.Claims {
	kept := maps.Clone(claims)
	maps.DeleteFunc(kept, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	return kept
}

// protocolClaims are about the message, not about the person: they are no attributes.
func protocolClaims() []string {
	return []string{
		"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "nonce", "azp", "auth_time", "sid", "typ", "at_hash", "c_hash",
		"s_hash", "amr", "_claim_names", "_claim_sources",
	}
}

// signInClaims are believed in the ID token only.
func signInClaims() []string {
	return []string{
		"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "nonce", "azp", "auth_time", "sid", "typ", "at_hash", "c_hash",
		"s_hash", "acr", "amr",
	}
}
