package jwt

import (
	"slices"
	"time"

	"sallyport/tokens/jws"
)

// maxSubject is OpenID Connect Core section 2, in bytes; jti, sid and iss are held to it too.
const maxSubject = 255

// token is what a token says of itself, checked.
type token struct {
	id          string // jti; empty where compat lets it go
	nonce       string // empty where there is none
	application string // empty where there is none
	session     string // sid; empty where there is none
	expires     time.Time
	authTime    time.Time
}

// protocolClaims speak of the token, not of the person.
func protocolClaims() []string {
	return []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "nonce", "application", "sid", "auth_time", "amr"}
}

// check reads what a verified payload says of itself: whose it is, for whom, from when to when (EMB-01). Whatever is
// there must be right; what is not there may only lack by compat.
func (p *Provider) check(claims jws.Claims) (token, error) {
	for _, name := range append(lackable(), "exp") {
		if !claims.Has(name) && !slices.Contains(p.config.Compat.Missing, name) {
			return token{}, refused(codeClaim, "claim %q is missing", name)
		}
	}
	var t token
	if err := p.checkParties(claims); err != nil {
		return token{}, err
	}
	for name, into := range map[string]*string{
		"jti": &t.id, "nonce": &t.nonce, "application": &t.application, "sid": &t.session,
	} {
		text, err := claims.String(name)
		if err != nil || claims.Has(name) && !isPlain(text, maxSubject) {
			return token{}, refused(codeClaim, "claim %q is empty, longer than %d bytes or no plain text", name, maxSubject)
		}
		*into = text
	}
	return p.checkTimes(claims, t)
}

// checkParties holds the token to who may speak here, and to whom.
func (p *Provider) checkParties(claims jws.Claims) error {
	issuer, err := claims.String("iss")
	if err != nil || claims.Has("iss") && issuer != p.config.Issuer {
		return refused(codeClaim, `claim "iss" is not the configured issuer`)
	}
	// A token that is meant for others too could be taken from here to them, or from them to here.
	audience, err := claims.Strings("aud")
	if err != nil || claims.Has("aud") && (len(audience) != 1 || audience[0] != p.config.Audience) {
		return refused(codeClaim, `claim "aud" is not this house alone`)
	}
	return nil
}

// times are the claims that are points in time; absent ones are zero.
type times struct{ expires, issued, notBefore, authTime time.Time }

func readTimes(claims jws.Claims) (times, error) {
	var t times
	for name, into := range map[string]*time.Time{
		"exp": &t.expires, "iat": &t.issued, "nbf": &t.notBefore, "auth_time": &t.authTime,
	} {
		at, err := claims.Time(name)
		if err != nil {
			return times{}, refused(codeClaim, "%w", err)
		}
		*into = at
	}
	return t, nil
}

// checkTimes adds what t lacks: when the token ends, and when the person proved who they are.
func (p *Provider) checkTimes(claims jws.Claims, t token) (token, error) {
	at, err := readTimes(claims)
	if err != nil {
		return token{}, err
	}
	now, skew := p.now(), *p.config.Skew
	latest := now.Add(skew) // what lies beyond is the future, also to a clock that runs ahead of ours
	lives := at.expires.Sub(at.issued)
	if !claims.Has("iat") {
		// It was made now at the latest, so it has at least this long to live.
		lives = at.expires.Sub(latest)
	}
	ahead := func(t time.Time) time.Duration { return t.Sub(now).Round(time.Second) }
	switch {
	case claims.Has("iat") && lives <= 0:
		return token{}, refused(codeClaim, `claim "exp" is not after iat`)
	case lives > p.config.MaxTTL:
		return token{}, refused(codeTTL, "it lives %s, max_ttl allows %s", lives.Round(time.Second), p.config.MaxTTL)
	case at.issued.After(latest):
		return token{}, refused(codeNotYet, `claim "iat" lies %s in the future`, ahead(at.issued))
	case at.notBefore.After(latest):
		return token{}, refused(codeNotYet, `claim "nbf" lies %s in the future`, ahead(at.notBefore))
	case at.authTime.After(latest):
		return token{}, refused(codeNotYet, `claim "auth_time" lies %s in the future`, ahead(at.authTime))
	case !now.Before(at.expires.Add(skew)):
		return token{}, refused(codeExpired, "it expired %s ago", -ahead(at.expires))
	}
	t.expires, t.authTime = at.expires, at.authTime
	if !claims.Has("auth_time") {
		t.authTime = at.issued // zero where that lacks too
	}
	return t, nil
}
