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
	id       string // jti; empty where compat lets it go
	expires  time.Time
	authTime time.Time
}

// protocolClaims speak of the token, not of the person.
func protocolClaims() []string {
	return []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "nonce", "sid", "auth_time", "amr"}
}

// check reads what a verified payload says of itself: whose it is, for whom, from when to when (EMB-01). Whatever is
// there must be right; what is not there may only lack by compat.
func (p *Provider) check(claims jws.Claims) (token, error) {
	for _, name := range append(lackable(), "exp") {
		if !claims.Has(name) && !slices.Contains(p.config.Compat.Missing, name) {
			return token{}, invalid("%s is missing", name)
		}
	}
	id, err := p.checkNames(claims)
	if err != nil {
		return token{}, err
	}
	t, err := p.checkTimes(claims)
	t.id = id
	return t, err
}

// checkNames returns the jti.
func (p *Provider) checkNames(claims jws.Claims) (string, error) {
	issuer, err := claims.String("iss")
	if err != nil || claims.Has("iss") && issuer != p.config.Issuer {
		return "", invalid("iss is not the configured issuer")
	}
	// A token that is meant for others too could be taken from here to them, or from them to here.
	audience, err := claims.Strings("aud")
	if err != nil || claims.Has("aud") && (len(audience) != 1 || audience[0] != p.config.Audience) {
		return "", invalid("aud is not this house alone")
	}
	id, err := claims.String("jti")
	if err != nil || claims.Has("jti") && !isPlain(id, maxSubject) {
		return "", invalid("jti is empty, longer than %d bytes or no plain text", maxSubject)
	}
	return id, nil
}

func (p *Provider) checkTimes(claims jws.Claims) (token, error) {
	read := func(name string, err *error) time.Time {
		t, wrong := claims.Time(name)
		if *err == nil && wrong != nil {
			*err = wrong
		}
		return t
	}
	var err error
	expires, issued := read("exp", &err), read("iat", &err)
	notBefore, authTime := read("nbf", &err), read("auth_time", &err)
	if err != nil {
		return token{}, invalid("%w", err)
	}
	now, skew := p.now(), *p.config.Skew
	latest := now.Add(skew) // what lies beyond is the future, also to a clock that runs ahead of ours
	lives := expires.Sub(issued)
	if !claims.Has("iat") {
		// It was made now at the latest, so it has at least this long to live.
		lives = expires.Sub(latest)
	}
	switch {
	case claims.Has("iat") && issued.After(latest):
		return token{}, invalid("iat is in the future")
	case claims.Has("iat") && lives <= 0:
		return token{}, invalid("exp is not after iat")
	case lives > p.config.MaxTTL:
		return token{}, invalid("it lives longer than max_ttl, %s", p.config.MaxTTL)
	case notBefore.After(latest):
		return token{}, invalid("nbf is in the future")
	case authTime.After(latest):
		return token{}, invalid("auth_time is in the future")
	case !now.Before(expires.Add(skew)):
		return token{}, expired()
	}
	if !claims.Has("auth_time") {
		authTime = issued
	}
	if !claims.Has("auth_time") && !claims.Has("iat") {
		authTime = time.Time{}
	}
	return token{expires: expires, authTime: authTime}, nil
}
