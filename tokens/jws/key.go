package jws

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"slices"
)

// The sizes of RSA keys, in bits: below it is too weak (NIST SP 800-131A), above it one signature costs too much.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// Key is a public key that may verify signatures.
type Key struct {
	// ID is the kid; empty where the issuer gives none.
	ID string
	// Algorithm is the only one the key is for; empty means every one its type can do.
	Algorithm string
	// Public is *rsa.PublicKey, *ecdsa.PublicKey (P-256, P-384, P-521) or ed25519.PublicKey. It must not change.
	Public any
}

// check refuses what must not verify anything. Errors wrap ErrKey.
func (k Key) check() error {
	switch p := k.Public.(type) {
	case *rsa.PublicKey:
		if p == nil || p.N == nil || p.N.BitLen() < minRSABits || p.N.BitLen() > maxRSABits {
			return fmt.Errorf("%w: RSA needs %d to %d bits", ErrKey, minRSABits, maxRSABits)
		}
		if p.E < 3 || p.E%2 == 0 || p.N.Bit(0) == 0 {
			return fmt.Errorf("%w: RSA numbers are wrong", ErrKey)
		}
	case *ecdsa.PublicKey:
		if p == nil || p.Curve == nil {
			return fmt.Errorf("%w: no curve", ErrKey)
		}
		// ECDH checks that the curve is a NIST one and the point lies on it.
		if _, err := p.ECDH(); err != nil {
			return fmt.Errorf("%w: not a point on a supported curve", ErrKey)
		}
	case ed25519.PublicKey:
		if len(p) != ed25519.PublicKeySize {
			return fmt.Errorf("%w: Ed25519 needs %d bytes", ErrKey, ed25519.PublicKeySize)
		}
	default:
		return fmt.Errorf("%w: not a supported public key", ErrKey)
	}
	can := algorithmsOf(k.Public)
	if len(can) == 0 || k.Algorithm != "" && !slices.Contains(can, k.Algorithm) {
		return fmt.Errorf("%w: its type does not fit its algorithm", ErrKey)
	}
	return nil
}

// fits reports whether the key is for the algorithm.
func (k Key) fits(algorithm string) bool {
	if k.Algorithm != "" {
		return k.Algorithm == algorithm
	}
	return slices.Contains(algorithmsOf(k.Public), algorithm)
}

// verify checks the signature with an algorithm that fits. The library holds ECDSA signatures to the fixed length of
// RFC 7518 section 3.4, so that DER is refused.
func (k Key) verify(m Message) bool {
	v := method(m.Header.Algorithm)
	return v != nil && m.signed != "" && v.Verify(m.signed, m.signature, k.Public) == nil
}
