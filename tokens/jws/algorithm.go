package jws

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// algorithmsOf lists what a public key can verify (RFC 7518 section 3.1, RFC 8037). A byte slice is no public key, so
// no HMAC is ever computed with one.
func algorithmsOf(public any) []string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return []string{"ES256"}
		case 384:
			return []string{"ES384"}
		case 521:
			return []string{"ES512"}
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	}
	return nil
}

// method returns the library's verifier. It knows asymmetric algorithms only: none and HMAC are unreachable from a key
// set, whatever a message says.
func method(algorithm string) jwt.SigningMethod {
	switch algorithm {
	case "RS256":
		return jwt.SigningMethodRS256
	case "RS384":
		return jwt.SigningMethodRS384
	case "RS512":
		return jwt.SigningMethodRS512
	case "PS256":
		return exactSalt(jwt.SigningMethodPS256)
	case "PS384":
		return exactSalt(jwt.SigningMethodPS384)
	case "PS512":
		return exactSalt(jwt.SigningMethodPS512)
	case "ES256":
		return jwt.SigningMethodES256
	case "ES384":
		return jwt.SigningMethodES384
	case "ES512":
		return jwt.SigningMethodES512
	case "EdDSA":
		return jwt.SigningMethodEdDSA
	default:
		return nil
	}
}

// exactSalt wants the salt as long as the hash (RFC 7518 section 3.5); the library would take any.
func exactSalt(m *jwt.SigningMethodRSAPSS) jwt.SigningMethod {
	return &jwt.SigningMethodRSAPSS{SigningMethodRSA: m.SigningMethodRSA, Options: m.Options}
}

// Asymmetric lists every algorithm a key set can verify, for configurations that do not narrow it.
func Asymmetric() []string {
	return slices.Concat(
		algorithmsOf(&rsa.PublicKey{}), []string{"ES256", "ES384", "ES512"}, algorithmsOf(ed25519.PublicKey{}))
}
