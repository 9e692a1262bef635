package storage

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	"sallyport/identity"
)

const (
	// underContext keeps the key away from every other use of the same secret: it is a bearer token's hash elsewhere.
	underContext = "sallyport/storage/sealed-under/1"
	// minSecret is what 128 random bits need as text in base64: what is shorter might be a password, and from a
	// password no key is ever derived here.
	minSecret = 22
)

// SealUnder encrypts plain for its place with AES-256-GCM under a key derived (HKDF-SHA256, RFC 5869) from a secret
// that only its holder has, such as a refresh token of which the store keeps the hash alone: neither the database nor
// the master key opens the value, only whoever presents the secret again. The secret must have at least 128 random
// bits; one of fewer than 22 characters is identity.ErrInvalid. Equal values give different ciphertexts.
func SealUnder(secret string, plain []byte, at Place) ([]byte, error) {
	gcm, err := under(secret)
	if err != nil {
		return nil, fmt.Errorf("seal %s.%s: %w", at.Table, at.Column, err)
	}
	return gcm.Seal(nil, nil, plain, at.associatedData()), nil //nolint:gosec // the cipher draws its nonce itself
}

// OpenUnder decrypts what SealUnder made with the same secret for the same place. Another secret, a changed value and
// another place are told apart by nobody: identity.ErrInvalid.
func OpenUnder(secret string, sealed []byte, at Place) ([]byte, error) {
	gcm, err := under(secret)
	if err != nil {
		return nil, fmt.Errorf("open %s.%s: %w", at.Table, at.Column, err)
	}
	plain, err := gcm.Open(nil, nil, sealed, at.associatedData())
	if err != nil {
		return nil, fmt.Errorf("open %s.%s: %w", at.Table, at.Column, identity.ErrInvalid)
	}
	return plain, nil
}

// under derives the key and returns its cipher, which draws a random nonce and puts it in front of the ciphertext.
func under(secret string) (cipher.AEAD, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("secret is too short for a key: %w", identity.ErrInvalid)
	}
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, underContext, keyBytes)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
