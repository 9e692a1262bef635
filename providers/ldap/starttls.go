package ldap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
)

// startTLS asks a server to begin TLS on a fresh connection (RFC 4511 section 4.14) and returns nil only when it agreed.
// Nothing else has been said on the connection, and exactly one message is read from it: bytes that somebody slips in
// behind the answer meet the TLS handshake and spoil it, instead of being taken for an answer given under TLS.
func startTLS(c net.Conn) error {
	if _, err := c.Write(startTLSRequest()); err != nil {
		return err
	}
	h, err := readHeader(c)
	if err != nil {
		return err
	}
	if h.tag != tagSequence || h.length > 4096 {
		return fmt.Errorf("%w in answer to StartTLS", errMalformed)
	}
	content := make([]byte, h.length)
	if _, err := io.ReadFull(c, content); err != nil {
		return err
	}
	code, err := extendedResult(content)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("StartTLS refused with result %d", code)
	}
	return nil
}

// startTLSRequest is message 1: ExtendedRequest with requestName 1.3.6.1.4.1.1466.20037.
func startTLSRequest() []byte {
	const oid = "1.3.6.1.4.1.1466.20037"
	n := byte(len(oid))
	return append([]byte{tagSequence, n + 7, 0x02, 1, 1, 0x77, n + 2, 0x80, n}, oid...)
}

// extendedResult reads the result code of message 1, which must be an ExtendedResponse.
func extendedResult(content []byte) (int, error) {
	malformed := fmt.Errorf("%w in answer to StartTLS", errMalformed)
	if err := checkInside(content, 1); err != nil {
		return 0, errors.Join(malformed, err)
	}
	id, rest, ok := cut(content, 0x02)
	if !ok || !bytes.Equal(id, []byte{1}) {
		return 0, malformed
	}
	response, _, ok := cut(rest, 0x78)
	if !ok {
		return 0, malformed
	}
	code, _, ok := cut(response, 0x0a)
	if !ok || len(code) != 1 {
		return 0, malformed
	}
	return int(code[0]), nil
}

// cut takes the first element, which must have the given tag, off checked content.
func cut(content []byte, tag byte) (inner, rest []byte, ok bool) {
	h, err := readHeader(bytes.NewReader(content))
	if err != nil || h.tag != tag || h.length > len(content)-h.size {
		return nil, nil, false
	}
	end := h.size + h.length
	return content[h.size:end], content[end:], true
}
