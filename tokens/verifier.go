package tokens

import (
	"errors"
	"fmt"
	"time"

	"sallyport/identity"
	"sallyport/tokens/jws"
)

// skew is how far iat and nbf may lie in the future: another node of ours, or the application that verifies, may have a
// clock that is behind. exp has no leeway: a token ends when it says.
const skew = 30 * time.Second

// Verifier verifies our own access tokens with the public keys of one Keyring. Safe for concurrent use.
type Verifier struct {
	issuer      string
	ring        *Keyring
	application string
	now         func() time.Time
}

// NewVerifier returns a Verifier of tokens whose iss is exactly issuer. Keys that are pinned to an application verify
// nothing for it, see For.
func NewVerifier(issuer string, ring *Keyring, now func() time.Time) *Verifier {
	return &Verifier{issuer: issuer, ring: ring, now: now}
}

// For returns a Verifier that also takes what the application's own keys signed. What another application's key signed
// is no token of this one, whatever its claims say.
func (v *Verifier) For(application string) *Verifier {
	own := *v
	own.application = application
	return &own
}

// Verify returns the claims of an access token that a key of the ring signed for the audience. The kid picks the key,
// the key picks the algorithm. A genuine token whose time is over is identity.ErrExpired; everything else that is wrong
// with it is identity.ErrBadCredentials.
func (v *Verifier) Verify(raw, audience string) (Claims, error) {
	m, err := parse(raw, typeAccessToken)
	if err != nil {
		return Claims{}, refuse(err)
	}
	payload, err := v.verifySignature(m)
	if err != nil {
		return Claims{}, refuse(err)
	}
	return v.check(m.Header.KeyID, payload, audience)
}

// VerifyHMAC is Verify for a token signed with an application's own secret (HS256 only), or with a former one while
// tokens of it live. A secret that jws.CheckSecret refuses is a fault of ours, so neither of the two errors.
func (v *Verifier) VerifyHMAC(raw, audience string, secret []byte, former ...[]byte) (Claims, error) {
	for _, s := range append([][]byte{secret}, former...) {
		if err := jws.CheckSecret(s); err != nil {
			return Claims{}, err
		}
	}
	m, err := parse(raw, typeAccessToken)
	if err != nil {
		return Claims{}, refuse(err)
	}
	payload, err := jws.VerifyHMAC(m, secret, string(HS256))
	for i := 0; err != nil && i < len(former); i++ {
		payload, err = jws.VerifyHMAC(m, former[i], string(HS256))
	}
	if err != nil {
		return Claims{}, refuse(err)
	}
	return v.check(m.Header.KeyID, payload, audience)
}

// parse reads a message of exactly one type: what was made for another purpose must not open this door (RFC 8725
// section 3.11).
func parse(raw, typ string) (jws.Message, error) {
	m, err := jws.Parse(raw)
	if err != nil {
		return jws.Message{}, err
	}
	if m.Header.Type != typ {
		return jws.Message{}, errors.New("typ is another")
	}
	return m, nil
}

// verifySignature wants a kid, since ours always have one.
func (v *Verifier) verifySignature(m jws.Message) ([]byte, error) {
	if m.Header.KeyID == "" {
		return nil, errors.New("no kid")
	}
	if k, ok := v.ring.Lookup(m.Header.KeyID); ok && k.Application != "" && k.Application != v.application {
		return nil, errors.New("the key is pinned to another application")
	}
	if m.Header.Algorithm == string(ES256) && !isLowS(m.Signature()) {
		return nil, jws.ErrSignature
	}
	return v.ring.set.Verify(m, string(ES256), string(RS256), string(EdDSA))
}

// check judges the claims of a payload whose signature is right.
func (v *Verifier) check(kid string, payload []byte, audience string) (Claims, error) {
	c, err := readClaims(payload)
	if err != nil {
		return Claims{}, refuse(err)
	}
	c.KeyID = kid
	soon := v.now().Add(skew)
	switch {
	case c.Issuer != v.issuer:
		return Claims{}, refuse(errors.New("iss is another"))
	case audience == "" || c.Audience != audience:
		return Claims{}, refuse(errors.New("aud is another"))
	case c.IssuedAt.After(soon) || c.NotBefore.After(soon):
		return Claims{}, refuse(errors.New("iat or nbf lies in the future"))
	case !c.ExpiresAt.After(c.IssuedAt):
		return Claims{}, refuse(errors.New("exp is not after iat"))
	case !v.now().Before(c.ExpiresAt):
		return Claims{}, fmt.Errorf("token: %w", identity.ErrExpired)
	}
	return c, nil
}

// refuse keeps the reason for logs; it never holds anything of the token.
func refuse(why error) error { return fmt.Errorf("token: %w: %w", identity.ErrBadCredentials, why) }
