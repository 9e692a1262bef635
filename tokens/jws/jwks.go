package jws

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// The bounds of a key set document.
const (
	MaxSetBytes = 256 << 10
	MaxSetKeys  = 100
)

// ParseSet reads a JWK set (RFC 7517 section 5), which must be strict JSON of at most MaxSetBytes and MaxSetKeys.
//
// Keys that are not for verifying (use, key_ops), of unknown type, weak (RSA below 2048 bits), on another curve or with
// an alg that is not theirs are left out, as section 5 asks, and listed by Skipped: one odd key must not close the door
// for the others. A set that holds private or symmetric key material is refused as a whole with ErrSecretKey: whoever
// can read it could sign. A set without any usable key is valid and verifies nothing. Other errors wrap ErrMalformed or
// ErrKey.
func ParseSet(jwks []byte) (Set, error) {
	if len(jwks) > MaxSetBytes {
		return Set{}, fmt.Errorf("%w: key set is longer than %d bytes", ErrMalformed, MaxSetBytes)
	}
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := StrictObject(jwks, &document); err != nil {
		return Set{}, fmt.Errorf("key set: %w", err)
	}
	if document.Keys == nil || len(document.Keys) > MaxSetKeys {
		return Set{}, fmt.Errorf("%w: key set needs keys, at most %d", ErrMalformed, MaxSetKeys)
	}
	var s Set
	for i, raw := range document.Keys {
		k, err := parseKey(raw)
		switch {
		case errors.Is(err, ErrSecretKey):
			return Set{}, fmt.Errorf("key %d: %w", i, err)
		case err != nil:
			s.skipped = append(s.skipped, fmt.Sprintf("key %d: %v", i, err))
		default:
			s.keys = append(s.keys, k)
		}
	}
	if err := s.checkIDs(); err != nil {
		return Set{}, err
	}
	return s, nil
}

// parseKey reads one JWK. Errors wrap ErrSecretKey, ErrKey or ErrMalformed.
func parseKey(raw []byte) (Key, error) {
	c, err := ParseClaims(raw)
	if err != nil {
		return Key{}, err
	}
	kty, err := c.String("kty")
	if err != nil {
		return Key{}, err
	}
	if kty == "oct" || hasSecret(c) {
		return Key{}, ErrSecretKey
	}
	if err := forVerifying(c); err != nil {
		return Key{}, err
	}
	var k Key
	if k.ID, err = c.String("kid"); err != nil {
		return Key{}, err
	}
	if k.Algorithm, err = c.String("alg"); err != nil {
		return Key{}, err
	}
	if k.Public, err = publicOf(kty, c); err != nil {
		return Key{}, err
	}
	return k, k.check()
}

// hasSecret looks for the private members of every registered key type (RFC 7518 section 6, RFC 8037, RFC 9964).
func hasSecret(c Claims) bool {
	return slices.ContainsFunc([]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}, c.Has)
}

// forVerifying honours use and key_ops (RFC 7517 sections 4.2 and 4.3).
func forVerifying(c Claims) error {
	use, err := c.String("use")
	if err != nil {
		return err
	}
	if c.Has("use") && use != "sig" {
		return fmt.Errorf("%w: not for signatures", ErrKey)
	}
	ops, err := c.Strings("key_ops")
	if err != nil {
		return err
	}
	if c.Has("key_ops") && !slices.Contains(ops, "verify") {
		return fmt.Errorf("%w: not for verifying", ErrKey)
	}
	return nil
}

// publicOf makes the public key from its numbers alone: certificates and URLs in a JWK are not even shown to the
// library.
func publicOf(kty string, c Claims) (any, error) {
	names := map[string][]string{"RSA": {"n", "e"}, "EC": {"x", "y"}, "OKP": {"x"}}[kty]
	if names == nil {
		return nil, fmt.Errorf("%w: unknown type", ErrKey)
	}
	crv, err := c.String("crv")
	if err != nil {
		return nil, err
	}
	minimal := map[string]string{"kty": kty, "crv": crv}
	for _, name := range names {
		if minimal[name], err = c.String(name); err != nil {
			return nil, err
		}
		if b, err := decodeBase64(minimal[name]); err != nil || len(b) == 0 {
			return nil, fmt.Errorf("%w: a number is not base64url", ErrKey)
		}
	}
	data, err := json.Marshal(minimal)
	if err != nil {
		return nil, err
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON(data); err != nil || !parsed.Valid() {
		return nil, fmt.Errorf("%w: its numbers are wrong or not supported", ErrKey)
	}
	return parsed.Key, nil
}
