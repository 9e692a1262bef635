package jws

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// MinSecret is the shortest secret for HMAC, in bytes (RFC 7518 section 3.2 for HS256).
const MinSecret = 32

// CheckSecret refuses secrets that are too short, and keys and certificates, in PEM or as what stands between its lines, in
// base64 or decoded: a public one everybody has, and somebody who configures it as a secret lets everybody sign. Errors
// wrap ErrKey.
func CheckSecret(secret []byte) error {
	switch {
	case len(secret) < MinSecret:
		return fmt.Errorf("%w: an HMAC secret needs at least %d bytes", ErrKey, MinSecret)
	case bytes.Contains(secret, []byte("-----BEGIN ")):
		return fmt.Errorf("%w: an HMAC secret must not be PEM", ErrKey)
	case isKey(secret) || isKey(fromBase64(secret)):
		return fmt.Errorf("%w: an HMAC secret must not be a key or certificate of another kind", ErrKey)
	}
	return nil
}

// isKey reports whether this is a key or a certificate in DER. All of them are a SEQUENCE; the first byte says so, and
// spares nearly every secret the parsers, which take longer than the HMAC.
func isKey(der []byte) bool {
	const sequence = 0x30
	if len(der) == 0 || der[0] != sequence {
		return false
	}
	if _, err := x509.ParsePKIXPublicKey(der); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return true
	}
	if _, err := x509.ParseCertificate(der); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return true
	}
	_, err := x509.ParseECPrivateKey(der)
	return err == nil
}

// fromBase64 decodes text as PEM has it, line ends or not; nil for what is no such text.
func fromBase64(text []byte) []byte {
	der, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return nil
	}
	return der
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
