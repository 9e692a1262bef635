package oidc

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/oauth2"

	"sallyport/identity"
	"sallyport/providers"
)

// tokenAnswer is what the token endpoint gave. Nothing of it is ever logged.
type tokenAnswer struct {
	idToken, accessToken, refreshToken string
	// bearer: the access token may be shown as such (RFC 6750).
	bearer bool
}

// exchange spends the code. It is sent exactly once.
func (p *Provider) exchange(ctx context.Context, doc *metadata, memory pending, code string) (tokenAnswer, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, p.client)
	t, err := p.oauth(doc, memory.RedirectURI).Exchange(ctx, code, oauth2.VerifierOption(memory.Verifier))
	if err != nil {
		return tokenAnswer{}, p.tokenError(ctx, err, providers.FlowExpired("the provider no longer accepts the code"))
	}
	return readTokenAnswer(t)
}

// renew spends a refresh token. The answer holds it again when the provider gave no new one.
func (p *Provider) renew(ctx context.Context, doc *metadata, refreshToken string) (tokenAnswer, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, p.client)
	t, err := p.oauth(doc, "").TokenSource(ctx, &oauth2.Token{RefreshToken: refreshToken}).Token()
	if err != nil {
		gone := fmt.Errorf("the provider no longer accepts the refresh token: %w", identity.ErrNotFound)
		return tokenAnswer{}, p.tokenError(ctx, err, gone)
	}
	return readTokenAnswer(t)
}

func readTokenAnswer(t *oauth2.Token) (tokenAnswer, error) {
	a := tokenAnswer{accessToken: t.AccessToken, refreshToken: t.RefreshToken, bearer: t.Type() == "Bearer"}
	switch v := t.Extra("id_token").(type) {
	case nil:
	case string:
		a.idToken = v
	default:
		return tokenAnswer{}, providers.ReplyInvalid("id_token is not a string")
	}
	return a, nil
}

// tokenError translates what the token endpoint said. The library's errors hold the whole answer, so none of their text
// goes on. spent is the error for invalid_grant.
func (p *Provider) tokenError(ctx context.Context, err, spent error) error {
	var said *oauth2.RetrieveError
	if !errors.As(err, &said) {
		return providers.Unavailable(fmt.Errorf("token endpoint: %w", providers.TransportCause(err)))
	}
	word := errorWord(said.ErrorCode)
	switch {
	case said.Response != nil && said.Response.StatusCode >= 500:
		return providers.Unavailable(fmt.Errorf("token endpoint answered %d", said.Response.StatusCode))
	case said.ErrorCode == "invalid_grant":
		return spent
	case slices.Contains(clientMistakes(), said.ErrorCode):
		p.log.ErrorContext(ctx, "openid provider refuses our client; look at client_id, client_secret and client_auth",
			"provider", p.info.ID, "error", word)
		return providers.Misconfigured(fmt.Errorf("token endpoint answered %s", word))
	default:
		return providers.Unavailable(fmt.Errorf("token endpoint answered with %s", word))
	}
}
