package tokens

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// rsaBits is the size of the RSA keys we make: good beyond 2030 (NIST SP 800-57). minRSABits is what we still load.
const (
	rsaBits    = 3072
	minRSABits = 2048
)

// Generate makes a signing key in the state next or current. HS256 has no key of ours and is an error.
func Generate(alg Algorithm, s KeyState, now time.Time) (StoredKey, error) {
	k := StoredKey{Algorithm: alg, State: s, CreatedAt: now}
	switch s {
	case KeyNext:
	case KeyCurrent:
		k.CurrentAt = now
	default:
		return StoredKey{}, fmt.Errorf("a new signing key cannot be %q", s)
	}
	private, err := newPrivate(alg)
	if err != nil {
		return StoredKey{}, err
	}
	if k.ID, err = thumbprint(private.Public()); err != nil {
		return StoredKey{}, err
	}
	if k.Private, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
		return StoredKey{}, fmt.Errorf("signing key: %w", err)
	}
	return k, nil
}

func newPrivate(alg Algorithm) (crypto.Signer, error) {
	switch alg {
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RS256:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	case EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	default:
		return nil, fmt.Errorf("no signing keys for algorithm %q", alg)
	}
}

// parsePrivate reads the private key and checks that it is of the algorithm's type.
func parsePrivate(k StoredKey) (crypto.Signer, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(k.Private)
	if err != nil {
		// The parser's error could describe the key.
		return nil, errors.New("not a PKCS #8 key")
	}
	switch p := parsed.(type) {
	case *ecdsa.PrivateKey:
		if k.Algorithm == ES256 && p.Curve == elliptic.P256() {
			return p, nil
		}
	case *rsa.PrivateKey:
		if k.Algorithm == RS256 && p.N.BitLen() >= minRSABits {
			return p, nil
		}
	case ed25519.PrivateKey:
		if k.Algorithm == EdDSA {
			return p, nil
		}
	}
	return nil, fmt.Errorf("not a key for %q", k.Algorithm)
}

// thumbprint is the RFC 7638 thumbprint with SHA-256, as base64url.
func thumbprint(public crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}
