package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	goidc "github.com/coreos/go-oidc/v3/oidc"

	"sallyport/providers"
	"sallyport/tokens/jws"
)

const (
	// leeway is how far the provider's clock and ours may be apart.
	leeway = 60 * time.Second
	// maxTokenAge is how long ago an ID token may have been made when it comes fresh from the token endpoint (OpenID
	// Connect Core section 3.1.3.7 no. 10). Some providers date it five minutes back.
	maxTokenAge = 10 * time.Minute
	// maxSubject is OpenID Connect Core section 2, in bytes.
	maxSubject = 255
)

// idToken is an ID token of this provider for this client: only verifyIDToken makes one.
type idToken struct {
	subject  string
	claims   jws.Claims
	issuedAt time.Time
	// authTime is zero when the provider does not say.
	authTime time.Time
}

// verifyIDToken checks all that OpenID Connect Core section 3.1.3.7 asks and that does not need the flow's memory, for
// which see checkFirst. go-oidc looks at signature, issuer, audience, exp and at_hash; what it leaves open, and where it
// is lenient, is ours.
func (p *Provider) verifyIDToken(ctx context.Context, raw, accessToken string) (idToken, error) {
	m, err := jws.Parse(raw)
	if err != nil {
		return idToken{}, providers.ReplyInvalid("id token: %w", err)
	}
	if m.Header.Type != "" && !strings.EqualFold(m.Header.Type, "JWT") {
		// An access token (at+jwt) or a logout token (logout+jwt) of this issuer is no ID token (RFC 8725 section 3.11).
		return idToken{}, providers.ReplyInvalid("id token: it is a token of another kind")
	}
	keys := &oneMessage{keys: p.keys, message: m, algorithms: p.config.Algorithms}
	now := p.now()
	verified, err := goidc.NewVerifier(p.config.Issuer, keys, &goidc.Config{
		ClientID:             p.config.ClientID,
		SupportedSigningAlgs: p.config.Algorithms,
		Now:                  func() time.Time { return now.Add(-leeway) },
	}).Verify(ctx, raw)
	switch {
	case errors.Is(keys.err, jws.ErrUnavailable):
		return idToken{}, providers.Unavailable(errors.New("id token: the provider's keys cannot be read"))
	case keys.err != nil:
		return idToken{}, providers.ReplyInvalid("id token: %w", keys.err)
	case err != nil:
		// The library's text quotes the token's claims; ours says as well what is wrong.
		if _, precise := p.checkClaims(keys.payload, now); precise != nil {
			return idToken{}, precise
		}
		return idToken{}, providers.ReplyInvalid("id token: a claim has a shape that cannot be read")
	}
	if verified.AccessTokenHash != "" {
		if err := verified.VerifyAccessToken(accessToken); err != nil {
			return idToken{}, providers.ReplyInvalid("id token: at_hash is not that of the access token")
		}
	}
	return p.checkClaims(keys.payload, now)
}

// oneMessage lets go-oidc read the very message that was parsed strictly, and keeps what it cannot pass on: its own
// errors hide whether there was no key or a bad signature.
type oneMessage struct {
	keys       *jws.Remote
	message    jws.Message
	algorithms []string

	payload []byte
	err     error
}

// VerifySignature implements go-oidc's KeySet.
func (o *oneMessage) VerifySignature(ctx context.Context, _ string) ([]byte, error) {
	o.payload, o.err = o.keys.Verify(ctx, o.message, o.algorithms...)
	return o.payload, o.err
}

// checkClaims reads a verified payload by exact names.
func (p *Provider) checkClaims(payload []byte, now time.Time) (idToken, error) {
	claims, err := jws.ParseClaims(payload)
	if err != nil {
		return idToken{}, providers.ReplyInvalid("id token: %w", err)
	}
	r := claimReader{claims: claims}
	issuer, subject, azp := r.text("iss"), r.text("sub"), r.text("azp")
	audience := r.texts("aud")
	expires, issued, authTime := r.time("exp"), r.time("iat"), r.time("auth_time")
	notBefore := r.time("nbf")
	if r.err != nil {
		return idToken{}, providers.ReplyInvalid("id token: %w", r.err)
	}
	switch {
	case issuer != p.config.Issuer:
		// go-oidc takes a second spelling of one large provider's issuer; we take one.
		return idToken{}, providers.ReplyInvalid("id token: iss is another issuer's")
	case !slices.Contains(audience, p.config.ClientID):
		return idToken{}, providers.ReplyInvalid("id token: it is for another client")
	case len(audience) > 1 && azp == "":
		return idToken{}, providers.ReplyInvalid("id token: several audiences, and no azp says whom it was made for")
	case claims.Has("azp") && azp != p.config.ClientID:
		return idToken{}, providers.ReplyInvalid("id token: azp is another client")
	case !validSubject(subject):
		return idToken{}, providers.ReplyInvalid("id token: sub is empty, longer than %d bytes or not plain text", maxSubject)
	case expires.IsZero() || !now.Before(expires.Add(leeway)):
		return idToken{}, providers.ReplyInvalid("id token: expired, or without exp")
	case issued.IsZero() || now.Add(leeway).Before(issued):
		return idToken{}, providers.ReplyInvalid("id token: issued in the future, or without iat")
	case now.After(issued.Add(maxTokenAge + leeway)):
		return idToken{}, providers.ReplyInvalid("id token: issued too long ago")
	case expires.Before(issued):
		return idToken{}, providers.ReplyInvalid("id token: expires before it was issued")
	case now.Add(leeway).Before(notBefore):
		return idToken{}, providers.ReplyInvalid("id token: not valid yet")
	case now.Add(leeway).Before(authTime):
		return idToken{}, providers.ReplyInvalid("id token: auth_time is in the future")
	}
	return idToken{subject: subject, claims: claims, issuedAt: issued, authTime: authTime}, nil
}

// checkFirst checks what only the sign-in itself knows: the nonce, and how old the proof may be.
func (t idToken) checkFirst(nonce string, maxAge *time.Duration, now time.Time) error {
	got, err := t.claims.String("nonce")
	if err != nil || subtle.ConstantTimeCompare([]byte(got), []byte(nonce)) != 1 {
		return providers.ReplyInvalid("id token: nonce is not that of the flow")
	}
	if maxAge == nil {
		return nil
	}
	if t.authTime.IsZero() {
		return providers.ReplyInvalid("id token: max_age was asked for, and auth_time is missing")
	}
	if now.After(t.authTime.Add(*maxAge + leeway)) {
		return providers.ReplyInvalid("id token: the person proved who they are longer ago than max_age")
	}
	return nil
}

// validSubject accepts what can be a key: not empty, bounded, no control characters that a log or a store would treat
// differently.
func validSubject(s string) bool {
	if s == "" || len(s) > maxSubject || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// claimReader reads claims of fixed types; the first mistake stays.
type claimReader struct {
	claims jws.Claims
	err    error
}

func (r *claimReader) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *claimReader) text(name string) string {
	s, err := r.claims.String(name)
	r.note(err)
	return s
}

func (r *claimReader) texts(name string) []string {
	l, err := r.claims.Strings(name)
	r.note(err)
	return l
}

func (r *claimReader) time(name string) time.Time {
	t, err := r.claims.Time(name)
	r.note(err)
	return t
}
