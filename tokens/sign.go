package tokens

import (
	"errors"
	"strings"

	"sallyport/tokens/jws"
)

// Sign signs a payload of another kind with the current key of an algorithm: an ID token, a logout token. Its claims
// belong to whoever makes it. typ is the header's type; that of an access token is refused, so that Issue remains the
// only way to one. The payload must be a strict JSON object.
func (i *Issuer) Sign(alg Algorithm, typ string, payload []byte) (string, error) {
	k, err := i.current(alg)
	if err != nil {
		return "", err
	}
	// Media types have no case, and may be written out (RFC 7515 section 4.1.9).
	if !validText(typ) || strings.EqualFold(strings.TrimPrefix(strings.ToLower(typ), "application/"), typeAccessToken) {
		return "", errors.New("typ is empty or that of an access token")
	}
	if _, err := jws.ParseClaims(payload); err != nil {
		return "", err
	}
	return sign(encodeHeader(alg, typ, k.ID), payload, k.method, k.private)
}

// VerifySigned returns the payload of a message that Sign made with exactly this typ (an id_token_hint, for instance).
// Its claims, times included, are the caller's to check. Everything wrong is identity.ErrBadCredentials.
func (v *Verifier) VerifySigned(raw, typ string) ([]byte, error) {
	if typ == typeAccessToken {
		return nil, refuse(errors.New("access tokens have a verifier of their own"))
	}
	m, err := parse(raw, typ)
	if err != nil {
		return nil, refuse(err)
	}
	payload, err := v.verifySignature(m)
	if err != nil {
		return nil, refuse(err)
	}
	return payload, nil
}
