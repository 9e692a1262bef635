package oidc

import (
	"context"
	"errors"
	"fmt"

	"sallyport/identity"
	"sallyport/providers"
	"sallyport/tokens/jws"
)

// Refresh asks the provider again about somebody who signed in before, with the refresh token that sign-in gave.
//
// identity.ErrNotFound: the provider no longer accepts it, so the person, the session or our grant is gone there.
// identity.ErrUnavailable: no answer, which says nothing about the person. identity.ErrExpired (refresh_not_possible):
// there is nothing to ask with, the person must sign in again.
//
// Providers that rotate refresh tokens have spent the old one by the time a later step fails. The assertion returned
// beside such an error holds last's identity and the new Upstream; whoever keeps assertions must keep that Upstream, or
// the next Refresh will take an honest person for gone.
func (p *Provider) Refresh(ctx context.Context, last identity.Assertion) (identity.Assertion, error) {
	var memory upstream
	if len(last.Upstream) == 0 || jws.StrictObject(last.Upstream, &memory) != nil || memory.RefreshToken == "" {
		return last, providers.Coded(codeNoRefresh, identity.ErrExpired, errors.New("the sign-in gave no refresh token"))
	}
	doc, err := p.discovery.get(ctx)
	if err != nil {
		return last, err
	}
	answer, err := p.renew(ctx, doc, memory.RefreshToken)
	if err != nil {
		return last, err
	}
	kept, err := keepRefreshToken(answer.refreshToken)
	if err != nil {
		return last, err
	}
	last.Upstream = kept
	fresh, err := p.ask(ctx, doc, last, answer)
	if err != nil {
		return last, err
	}
	fresh.Upstream = kept
	return fresh, nil
}

// ask reads what the provider says now: a new ID token (OpenID Connect Core section 12.2), userinfo, or both.
func (p *Provider) ask(
	ctx context.Context, doc *metadata, last identity.Assertion, answer tokenAnswer,
) (identity.Assertion, error) {
	if answer.idToken == "" {
		return p.askUserInfoOnly(ctx, doc, last, answer)
	}
	token, err := p.verifyIDToken(ctx, answer.idToken, answer.accessToken)
	if err != nil {
		return identity.Assertion{}, err
	}
	if token.subject != last.Identity.Subject {
		return identity.Assertion{}, providers.ReplyInvalid("id token: the refreshed one speaks of somebody else")
	}
	claims, err := p.withUserInfo(ctx, doc, token.claims, token.subject, answer)
	if err != nil {
		return identity.Assertion{}, err
	}
	fresh, err := p.assertion(ctx, token, claims, "")
	if err != nil {
		return identity.Assertion{}, err
	}
	return keepSignIn(fresh, last), nil
}

func (p *Provider) askUserInfoOnly(
	ctx context.Context, doc *metadata, last identity.Assertion, answer tokenAnswer,
) (identity.Assertion, error) {
	if !p.wantsUserInfo(doc) {
		return identity.Assertion{}, providers.Coded(codeNoRefresh, identity.ErrExpired,
			fmt.Errorf("the provider refreshes without an id token, and userinfo is off: nothing says what holds now"))
	}
	claims, err := p.withUserInfo(ctx, doc, jws.Claims{}, last.Identity.Subject, answer)
	if err != nil {
		return identity.Assertion{}, err
	}
	who, err := p.identity(ctx, last.Identity.Subject, claims)
	if err != nil {
		return identity.Assertion{}, err
	}
	return keepSignIn(identity.Assertion{Identity: who}, last), nil
}

// keepSignIn keeps what is about the sign-in itself: being asked again is no new proof of who somebody is.
func keepSignIn(fresh, last identity.Assertion) identity.Assertion {
	fresh.Identity.AuthTime, fresh.Identity.AMR = last.Identity.AuthTime, last.Identity.AMR
	if acr, ok := last.Identity.Attributes["acr"]; ok {
		fresh.Identity.Attributes["acr"] = acr
	}
	if fresh.UpstreamSession == "" {
		fresh.UpstreamSession = last.UpstreamSession
	}
	return fresh
}
