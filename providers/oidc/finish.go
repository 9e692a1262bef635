package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sallyport/identity"
	"sallyport/providers"
)

// maxCode bounds an authorization code.
const maxCode = 8 << 10

// Finish checks the authorization response, exchanges the code, checks the ID token and returns who it speaks of.
//
// Its errors: identity.ErrDenied (provider_refused when upstream said no, groups_overage, claim_invalid), ErrExpired
// (flow_expired), ErrBadCredentials (provider_reply_invalid), ErrUnavailable (provider_unavailable, or
// provider_misconfigured when an operator must act).
func (p *Provider) Finish(
	ctx context.Context, f providers.Flow, sealed []byte, reply url.Values,
) (identity.Assertion, error) {
	memory, err := p.readPending(f, sealed)
	if err != nil {
		return identity.Assertion{}, err
	}
	if err := checkReply(f, reply); err != nil {
		return identity.Assertion{}, err
	}
	doc, err := p.discovery.get(ctx)
	if err != nil {
		return identity.Assertion{}, err
	}
	if err := p.checkResponseIssuer(doc, reply); err != nil {
		return identity.Assertion{}, err
	}
	if reply.Has("error") {
		return identity.Assertion{}, p.refusal(ctx, reply)
	}
	code := reply.Get("code")
	if code == "" || len(code) > maxCode {
		return identity.Assertion{}, providers.ReplyInvalid("the response has no usable code")
	}
	return p.redeem(ctx, doc, memory, code)
}

// checkReply refuses a response that two readers could understand differently, and one that is not for this flow.
func checkReply(f providers.Flow, reply url.Values) error {
	for _, values := range reply {
		if len(values) != 1 {
			return providers.ReplyInvalid("a parameter appears %d times", len(values))
		}
	}
	if f.ID == "" || subtle.ConstantTimeCompare([]byte(reply.Get("state")), []byte(f.ID)) != 1 {
		return providers.ReplyInvalid("state is not that of the flow")
	}
	if reply.Has("error") && reply.Has("code") {
		return providers.ReplyInvalid("the response has both a code and an error")
	}
	return nil
}

// checkResponseIssuer is the defence against mix-up (RFC 9207 section 2.4): a response of another provider that was
// steered to this one's redirect URI would make us hand that provider's code to this one.
func (p *Provider) checkResponseIssuer(doc *metadata, reply url.Values) error {
	switch {
	case reply.Has("iss") && reply.Get("iss") != p.config.Issuer:
		return providers.ReplyInvalid("iss of the response is another issuer's")
	case !reply.Has("iss") && doc.announcesIssuer:
		return providers.ReplyInvalid("the provider announces iss in its responses, this one has none")
	}
	return nil
}

// refusal turns an error response (RFC 6749 section 4.1.2.1, OpenID Connect Core section 3.1.2.6) into one of ours. The
// description is anybody's text: it is cut, quoted and logged, never shown.
func (p *Provider) refusal(ctx context.Context, reply url.Values) error {
	code := reply.Get("error")
	word := errorWord(code)
	p.log.InfoContext(ctx, "openid provider answered with an error", "provider", p.info.ID,
		"error", word, "description", strconv.QuoteToASCII(cut(reply.Get("error_description"))))
	switch {
	case slices.Contains([]string{"temporarily_unavailable", "server_error"}, code):
		return providers.Unavailable(fmt.Errorf("the provider answered %s", word))
	case slices.Contains(clientMistakes(), code):
		// Anybody can write such a response to a flow of their own, hence not Error.
		p.log.WarnContext(ctx, "openid provider refuses our request; look at its client registration",
			"provider", p.info.ID, "error", word)
		return providers.Misconfigured(fmt.Errorf("the provider answered %s", word))
	default:
		return providers.Coded(providers.CodeRefused, identity.ErrDenied, fmt.Errorf("the provider answered %s", word))
	}
}

// errorWord returns an error code for logs. Anything that does not look like one is foreign text and stays outside.
func errorWord(code string) string {
	const letters = "abcdefghijklmnopqrstuvwxyz_"
	if code == "" || len(code) > 64 || strings.Trim(code, letters) != "" {
		return "no known error code"
	}
	return code
}

// clientMistakes are error codes that speak of us, not of the person.
func clientMistakes() []string {
	return []string{
		"invalid_request", "invalid_client", "unauthorized_client", "invalid_scope", "unsupported_response_type",
		"unsupported_grant_type", "invalid_redirect_uri", "invalid_request_uri", "invalid_request_object",
		"request_not_supported", "request_uri_not_supported", "registration_not_supported", "invalid_target",
	}
}

// redeem goes from the code to the assertion.
func (p *Provider) redeem(ctx context.Context, doc *metadata, memory pending, code string) (identity.Assertion, error) {
	answer, err := p.exchange(ctx, doc, memory, code)
	if err != nil {
		return identity.Assertion{}, err
	}
	if answer.idToken == "" {
		return identity.Assertion{}, providers.Misconfigured(errors.New("the token response has no id_token"))
	}
	token, err := p.verifyIDToken(ctx, answer.idToken, answer.accessToken)
	if err != nil {
		return identity.Assertion{}, err
	}
	if err := token.checkFirst(memory.Nonce, p.config.MaxAge, p.now()); err != nil {
		return identity.Assertion{}, err
	}
	claims, err := p.withUserInfo(ctx, doc, token.claims, token.subject, answer)
	if err != nil {
		return identity.Assertion{}, err
	}
	return p.assertion(ctx, token, claims, answer.refreshToken)
}

// cut keeps foreign text short for the log, where it is quoted.
func cut(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most]
	}
	return s
}
