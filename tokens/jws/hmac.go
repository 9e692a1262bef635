package jws

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// MinSecret is the shortest secret for HMAC, in bytes (RFC 7518 section 3.2 for HS256).
const MinSecret = 32

// CheckSecret refuses secrets that are too short, and public keys or certificates in PEM: everybody has those, and
// somebody who configures one as a secret lets everybody sign. Errors wrap ErrKey.
func CheckSecret(secret []byte) error {
	if len(secret) < MinSecret {
		return fmt.Errorf("%w: an HMAC secret needs at least %d bytes", ErrKey, MinSecret)
	}
	if bytes.Contains(secret, []byte("-----BEGIN ")) {
		return fmt.Errorf("%w: an HMAC secret must not be PEM", ErrKey)
	}
	return nil
}

// VerifyHMAC returns the payload of a message that was signed with the secret by one of the allowed algorithms (HS256,
// HS384, HS512), compared in constant time. The caller has configured a secret: keys of a Set never come here.
func VerifyHMAC(m Message, secret []byte, allowed ...string) ([]byte, error) {
	if err := CheckSecret(secret); err != nil {
		return nil, err
	}
	v := hmacMethod(m.Header.Algorithm)
	if v == nil || !slices.Contains(allowed, m.Header.Algorithm) {
		return nil, ErrAlgorithm
	}
	if m.signed == "" || v.Verify(m.signed, m.signature, secret) != nil {
		return nil, ErrSignature
	}
	return m.Payload, nil
}

func hmacMethod(algorithm string) jwt.SigningMethod {
	switch algorithm {
	case "HS256":
		return jwt.SigningMethodHS256
	case "HS384":
		return jwt.SigningMethodHS384
	case "HS512":
		return jwt.SigningMethodHS512
	default:
		return nil
	}
}
