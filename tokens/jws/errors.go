package jws

import "errors"

// The ways in which reading or verifying ends. None of their texts holds anything of the message.
var (
	// ErrMalformed: the bytes are not in the one form we accept.
	ErrMalformed = errors.New("malformed")
	// ErrAlgorithm: the algorithm is not allowed here, or is not that of the key.
	ErrAlgorithm = errors.New("algorithm is not allowed")
	// ErrUnknownKey: no configured key fits, or without a kid more than one does.
	ErrUnknownKey = errors.New("unknown key")
	// ErrSignature: the key fits, the signature does not.
	ErrSignature = errors.New("signature does not verify")
	// ErrKey: a key that must not be used (too weak, wrong curve, wrong type).
	ErrKey = errors.New("key is not usable")
	// ErrSecretKey: a published key set holds private or symmetric key material.
	ErrSecretKey = errors.New("key set holds secret key material")
	// ErrUnavailable: a remote key set was never read and cannot be read now. Never an answer about the message.
	ErrUnavailable = errors.New("key set is not available")
)
