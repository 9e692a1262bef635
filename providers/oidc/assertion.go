package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"sallyport/identity"
	"sallyport/providers"
	"sallyport/tokens/jws"
)

// maxUpstream bounds what we keep of the provider: a refresh token and a sid.
const maxUpstream = 16 << 10

// upstream is the memory of this door between sign-in and refresh.
type upstream struct {
	RefreshToken string `json:"refresh_token"`
}

// assertion says what a verified token, with userinfo merged into claims, says about a person.
func (p *Provider) assertion(
	ctx context.Context, token idToken, claims jws.Claims, refreshToken string,
) (identity.Assertion, error) {
	who, err := p.identity(ctx, token.subject, claims)
	if err != nil {
		return identity.Assertion{}, err
	}
	who.AuthTime = token.authTime
	if who.AMR, err = listOf(token.claims, "amr"); err != nil {
		return identity.Assertion{}, err
	}
	a := identity.Assertion{Identity: who}
	if a.UpstreamSession, err = textAt(token.claims, "sid"); err != nil {
		return identity.Assertion{}, err
	}
	a.Upstream, err = keepRefreshToken(refreshToken)
	return a, err
}

// keepRefreshToken returns what Refresh will read; nil when there is no refresh token.
func keepRefreshToken(refreshToken string) ([]byte, error) {
	if refreshToken == "" {
		return nil, nil
	}
	if len(refreshToken) > maxUpstream {
		return nil, providers.ReplyInvalid("the refresh token is longer than %d bytes", maxUpstream)
	}
	kept, err := json.Marshal(upstream{RefreshToken: refreshToken})
	if err != nil {
		return nil, fmt.Errorf("oidc: %w", err)
	}
	return kept, nil
}

// identity reads the claims that we give a meaning to, and keeps the others as attributes.
func (p *Provider) identity(ctx context.Context, subject string, claims jws.Claims) (identity.Identity, error) {
	who := identity.Identity{Provider: p.info.ID, Subject: subject}
	var err error
	if who.Groups, err = p.groups(ctx, claims); err != nil {
		return who, err
	}
	for path, into := range map[string]*string{
		p.config.UsernameClaim: &who.Username, "name": &who.Name, "email": &who.Email,
	} {
		if *into, err = textAt(claims, path); err != nil {
			return who, err
		}
	}
	// Only the JSON literal counts: "true", 1 and "yes" are what an attacker-controlled attribute looks like.
	who.EmailVerified = who.Email != "" && string(claims["email_verified"]) == "true"
	switch who.Attributes, err = providers.Attributes(claims, protocolClaims()); {
	case errors.Is(err, providers.ErrClaimsTooMany), errors.Is(err, providers.ErrClaimAmbiguous):
		return who, claimInvalid("claims: %w", err)
	case err != nil:
		return who, providers.ReplyInvalid("claims: %w", err)
	}
	return who, nil
}

// groups reads the groups claim. A provider that says it left them out, because there are too many, is a refusal: fewer
// groups than somebody has may mean more rights than they have, and no address a token names is ever asked for them.
func (p *Provider) groups(ctx context.Context, claims jws.Claims) ([]string, error) {
	path := p.config.GroupsClaim
	overage, err := leftOut(claims, path)
	if err != nil {
		return nil, err
	}
	if overage {
		return nil, providers.Coded(codeOverage, identity.ErrDenied, fmt.Errorf("the provider left claim %q out because there "+
			"are too many groups; have it send only those assigned to the application", path))
	}
	groups, err := listOf(claims, path)
	if err == nil && groups == nil {
		p.log.InfoContext(ctx, "no groups claim, so no groups", "provider", p.info.ID, "claim", path)
	}
	return groups, err
}

// leftOut recognises distributed claims (OpenID Connect Core section 5.6.2), which Entra ID uses for people with more
// than 200 groups, and its short form.
func leftOut(claims jws.Claims, path string) (bool, error) {
	if string(claims["hasgroups"]) == "true" && path == defaultGroupsClaim {
		return true, nil
	}
	raw, ok := claims["_claim_names"]
	if !ok {
		return false, nil
	}
	names, err := jws.ParseClaims(raw)
	if err != nil {
		return false, providers.ReplyInvalid("_claim_names is not an object")
	}
	first, _, _ := strings.Cut(path, ".") // where a name with dots is not meant
	return names.Has(path) || names.Has(first), nil
}

// listOf reads a list of strings, or one string that is one element; nil when the claim is absent. Empty strings are no
// values.
func listOf(claims jws.Claims, path string) ([]string, error) {
	raw, err := providers.LookUp(claims, path)
	if err != nil {
		return nil, claimInvalid("claim %q: %w", path, err)
	}
	if raw == nil {
		return nil, nil
	}
	all, err := jws.Claims{"value": raw}.Strings("value")
	if err != nil {
		return nil, claimInvalid("claim %q is neither a list of strings nor a string", path)
	}
	kept := make([]string, 0, len(all))
	for _, s := range all {
		if s != "" {
			kept = append(kept, s)
		}
	}
	return kept, nil
}

// textAt reads a string; "" when the claim is absent.
func textAt(claims jws.Claims, path string) (string, error) {
	text, err := providers.TextAt(claims, path)
	if err != nil {
		return "", claimInvalid("%w", err)
	}
	return text, nil
}
