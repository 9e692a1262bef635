package jws

import (
	"fmt"
	"slices"
)

// maxSameID bounds how many keys may share a kid, and so how many signatures one message can make us check.
const maxSameID = 4

// Set is an immutable set of the public keys of one issuer. The zero value verifies nothing.
type Set struct {
	keys    []Key
	skipped []string
}

// NewSet makes a set of configured keys. Errors wrap ErrKey.
func NewSet(keys ...Key) (Set, error) {
	for _, k := range keys {
		if err := k.check(); err != nil {
			return Set{}, fmt.Errorf("key %q: %w", k.ID, err)
		}
	}
	s := Set{keys: slices.Clone(keys)}
	return s, s.checkIDs()
}

// Len is the number of usable keys.
func (s Set) Len() int { return len(s.keys) }

// Keys returns the usable keys in the order they were given.
func (s Set) Keys() []Key { return slices.Clone(s.keys) }

// Skipped says, for people, which keys ParseSet left out and why.
func (s Set) Skipped() []string { return slices.Clone(s.skipped) }

// Verify returns the payload of a message that a key of the set signed with one of the allowed algorithms; without
// allowed algorithms nothing verifies. With a kid only keys of that kid are tried; without one exactly one key must
// fit. Errors: ErrAlgorithm, ErrUnknownKey, ErrSignature, ErrMalformed for a zero Message.
func (s Set) Verify(m Message, allowed ...string) ([]byte, error) {
	if m.signed == "" {
		return nil, fmt.Errorf("%w: no message", ErrMalformed)
	}
	if !slices.Contains(allowed, m.Header.Algorithm) || method(m.Header.Algorithm) == nil {
		return nil, ErrAlgorithm
	}
	known, fitting := s.find(m.Header)
	switch {
	case m.Header.KeyID == "" && len(fitting) > 1:
		return nil, fmt.Errorf("%w: no kid, and several keys fit", ErrUnknownKey)
	case len(fitting) == 0 && known && m.Header.KeyID != "":
		return nil, fmt.Errorf("%w: the key is for another", ErrAlgorithm)
	case len(fitting) == 0:
		return nil, ErrUnknownKey
	}
	for _, k := range fitting {
		if k.verify(m) {
			return m.Payload, nil
		}
	}
	return nil, ErrSignature
}

// find returns the keys for a header, and whether its kid is known at all.
func (s Set) find(h Header) (known bool, fitting []Key) {
	for _, k := range s.keys {
		if h.KeyID != "" && k.ID != h.KeyID {
			continue
		}
		known = true
		if k.fits(h.Algorithm) {
			fitting = append(fitting, k)
		}
	}
	return known, fitting
}

func (s Set) checkIDs() error {
	count := make(map[string]int, len(s.keys))
	for _, k := range s.keys {
		if count[k.ID]++; k.ID != "" && count[k.ID] > maxSameID {
			return fmt.Errorf("%w: more than %d keys under one kid", ErrKey, maxSameID)
		}
	}
	return nil
}
