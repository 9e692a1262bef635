package jws

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// MaxMessage is the longest compact JWS we read, in bytes.
const MaxMessage = 64 << 10

// Header holds the parameters of a JWS header that we read (RFC 7515 section 4). KeyID and Type are empty when absent.
//
// jwk, jku, x5u and x5c are ignored, never used: whoever writes a message must not choose the key that judges it, nor
// make us fetch a URL (RFC 8725 section 3.5).
type Header struct {
	Algorithm, KeyID, Type string
}

// Message is a compact JWS of the right shape. Until a Verify has returned the payload, nothing in it is true. The zero
// value verifies with no key.
type Message struct {
	Header Header
	// Payload is a strict JSON object (CheckJSON).
	Payload []byte

	signed    string // the signing input: header, dot, payload, as received
	signature []byte
}

// Parse reads a compact JWS (RFC 7515 section 7.1) whose payload is a JSON object. It accepts one spelling only: at
// most MaxMessage bytes, three parts, base64url without padding, line ends or spare bits, header and payload as CheckJSON
// wants them, a string alg, kid and typ as non-empty strings where present, no crit, no b64. Errors wrap ErrMalformed.
func Parse(raw string) (Message, error) {
	if len(raw) > MaxMessage {
		return Message{}, fmt.Errorf("%w: message is longer than %d bytes", ErrMalformed, MaxMessage)
	}
	headerPart, rest, _ := strings.Cut(raw, ".")
	payloadPart, signaturePart, ok := strings.Cut(rest, ".")
	if !ok || headerPart == "" || payloadPart == "" || signaturePart == "" {
		return Message{}, fmt.Errorf("%w: not three parts", ErrMalformed)
	}
	header, err := decodeBase64(headerPart)
	if err != nil {
		return Message{}, fmt.Errorf("header: %w", err)
	}
	m := Message{signed: raw[:len(headerPart)+1+len(payloadPart)]}
	if m.Payload, err = decodeBase64(payloadPart); err != nil {
		return Message{}, fmt.Errorf("payload: %w", err)
	}
	if m.signature, err = decodeBase64(signaturePart); err != nil {
		return Message{}, fmt.Errorf("signature: %w", err)
	}
	if m.Header, err = parseHeader(header); err != nil {
		return Message{}, fmt.Errorf("header: %w", err)
	}
	if _, err := scanObject(m.Payload, false); err != nil {
		return Message{}, fmt.Errorf("payload: %w", err)
	}
	return m, nil
}

// Claims returns the payload's members. They are only claims in the literal sense until the signature was verified;
// read those of the payload that Verify returns.
func (m Message) Claims() (Claims, error) { return ParseClaims(m.Payload) }

// Signature returns a copy of the signature's bytes.
func (m Message) Signature() []byte { return append([]byte(nil), m.signature...) }

// Digest is the SHA-256 of what was signed, for remembering a message that has no jti. The raw message must not be
// hashed for that: whoever holds an ECDSA signature (r, s) can write the valid second one (r, -s).
func (m Message) Digest() [sha256.Size]byte { return sha256.Sum256([]byte(m.signed)) }

func parseHeader(data []byte) (Header, error) {
	members, err := scanObject(data, true)
	if err != nil {
		return Header{}, err
	}
	var h Header
	for _, m := range members {
		var into *string
		switch m.name {
		case "alg":
			into = &h.Algorithm
		case "kid":
			into = &h.KeyID
		case "typ":
			into = &h.Type
		case "crit", "b64":
			// We understand no extension, and b64 would change what was signed (RFC 7515 section 4.1.11, RFC 7797).
			return Header{}, fmt.Errorf("%w: crit or b64", ErrMalformed)
		default:
			if foldsInto(m.name, "alg", "kid", "typ", "crit", "b64") {
				return Header{}, fmt.Errorf("%w: a parameter in odd spelling", ErrMalformed)
			}
			continue
		}
		if *into, err = stringOf(m.value); err != nil || *into == "" {
			return Header{}, fmt.Errorf("%w: alg, kid and typ are non-empty strings", ErrMalformed)
		}
	}
	if h.Algorithm == "" {
		return Header{}, fmt.Errorf("%w: no alg", ErrMalformed)
	}
	return h, nil
}

// foldsInto reports whether a lax reader could take name for one of the others.
func foldsInto(name string, others ...string) bool {
	for _, o := range others {
		if strings.EqualFold(name, o) {
			return true
		}
	}
	return false
}

// decodeBase64 reads unpadded base64url (RFC 7515 section 2). The library skips line ends, and so would let one message
// have many spellings.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, fmt.Errorf("%w: not base64url", ErrMalformed)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%w: not base64url", ErrMalformed)
	}
	return b, nil
}
