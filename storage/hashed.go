package storage

import (
	"crypto/sha256"
	"crypto/subtle"
)

// Hashed is the SHA-256 of a secret with at least 128 random bits (a cookie, a code, the secret of an API key): all
// that the store keeps of it. A fast hash is right for these, because nobody can guess their way through 128 bits; it
// is wrong for passwords, which never come here. It prints as [redacted].
type Hashed [sha256.Size]byte

// Hash hashes a secret as it was issued.
func Hash(secret string) Hashed { return sha256.Sum256([]byte(secret)) }

// Bytes returns the hash as it is stored.
func (h Hashed) Bytes() []byte { return h[:] }

// Equal compares with a stored hash in constant time. A stored value of another length is not equal.
func (h Hashed) Equal(stored []byte) bool { return subtle.ConstantTimeCompare(h[:], stored) == 1 }

// String never shows the hash.
func (Hashed) String() string { return "[redacted]" }

// GoString never shows the hash.
func (Hashed) GoString() string { return "[redacted]" }
