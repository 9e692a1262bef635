package tokens

import (
	"bytes"
	"crypto/elliptic"
	"math/big"
)

// Of every ECDSA signature (r, s) there is a second valid one, (r, n-s), that anybody can write. We sign with the lower
// s and verify nothing else, so that one token of ours has one spelling, and whoever remembers or blocks a token by its
// text cannot be got around. Other verifiers accept both and notice nothing.

// scalarSize is the length of r and of s for P-256 in a JWS (RFC 7518 section 3.4).
const scalarSize = 32

// halfOrder is (n-1)/2 for P-256, big-endian.
func halfOrder() [scalarSize]byte {
	return [scalarSize]byte{
		0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
	}
}

// isLowS reports whether a signature is in our one spelling.
func isLowS(signature []byte) bool {
	half := halfOrder()
	return len(signature) == 2*scalarSize && bytes.Compare(signature[scalarSize:], half[:]) <= 0
}

// lowerS puts a signature into our one spelling, in place.
func lowerS(signature []byte) {
	if len(signature) != 2*scalarSize || isLowS(signature) {
		return
	}
	s := new(big.Int).SetBytes(signature[scalarSize:])
	s.Sub(elliptic.P256().Params().N, s)
	s.FillBytes(signature[scalarSize:])
}
