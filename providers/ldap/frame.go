package ldap

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
)

// Bounds on what a server may send. The BER library's own bound is 2 GiB and a variable shared by the whole process, so
// each connection has its own here and nothing global is touched.
const (
	maxMessageBytes = 8 << 20  // one LDAP message, such as an entry
	maxAnswerBytes  = 64 << 20 // everything sent in answer to one request
	maxMessageDepth = 32       // LDAP messages nest about ten deep
)

var errMalformed = errors.New("malformed LDAP message")

// framed hands on whole, checked LDAP messages only: each is complete, within its bound, of definite length (RFC 4511
// section 5.1), and everything inside it ends where its parent ends.
type framed struct {
	net.Conn
	from    *bufio.Reader
	message bytes.Buffer
	// left is what may still arrive in answer to the current request.
	left atomic.Int64
}

func newFramed(c net.Conn) *framed {
	f := &framed{Conn: c, from: bufio.NewReader(c)}
	f.allow()
	return f
}

// allow begins a new request, with a new allowance for its answer.
func (f *framed) allow() { f.left.Store(maxAnswerBytes) }

// Read returns bytes of the current message, and fetches the next when it is used up. Only the library's one reader
// calls it.
func (f *framed) Read(p []byte) (int, error) {
	if f.message.Len() == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	return f.message.Read(p)
}

func (f *framed) next() error {
	f.message.Reset()
	h, err := readHeader(io.TeeReader(f.from, &f.message))
	if err != nil {
		return err
	}
	switch {
	case h.tag != tagSequence:
		return fmt.Errorf("%w: tag %#x in place of a sequence", errMalformed, h.tag)
	case h.length > maxMessageBytes:
		return fmt.Errorf("%w: %d bytes announced, %d allowed", errMalformed, h.length, maxMessageBytes)
	}
	if f.left.Add(-int64(h.size+h.length)) < 0 {
		return fmt.Errorf("%w: an answer of more than %d bytes", errMalformed, maxAnswerBytes)
	}
	// CopyN grows with what arrives: an announcement alone costs no memory.
	if _, err := io.CopyN(&f.message, f.from, int64(h.length)); err != nil {
		return err
	}
	return checkInside(f.message.Bytes()[h.size:], 1)
}

const tagSequence = 0x30

// header is the beginning of a BER element.
type header struct {
	tag    byte
	length int // of the content
	size   int // of the header itself
}

// constructed reports whether the content is made of further elements.
func (h header) constructed() bool { return h.tag&0x20 != 0 }

// readHeader reads a tag of one byte (LDAP has no others) and a definite length of up to four.
func readHeader(r io.Reader) (header, error) {
	var b [2]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return header{}, err
	}
	if b[0]&0x1f == 0x1f {
		return header{}, fmt.Errorf("%w: long tag", errMalformed)
	}
	if b[1] < 0x80 {
		return header{tag: b[0], length: int(b[1]), size: 2}, nil
	}
	n := int(b[1] & 0x7f)
	if n == 0 || n > 4 {
		return header{}, fmt.Errorf("%w: length of %d bytes", errMalformed, n)
	}
	var long [4]byte
	if _, err := io.ReadFull(r, long[:n]); err != nil {
		return header{}, err
	}
	length := 0
	for _, c := range long[:n] {
		length = length<<8 | int(c)
	}
	return header{tag: b[0], length: length, size: 2 + n}, nil
}

// checkInside walks the elements of a content to their ends. Without it an inner length could claim bytes of the
// messages that follow.
func checkInside(content []byte, depth int) error {
	if depth > maxMessageDepth {
		return fmt.Errorf("%w: nested deeper than %d", errMalformed, maxMessageDepth)
	}
	for len(content) > 0 {
		h, err := readHeader(bytes.NewReader(content))
		if err != nil || h.length > len(content)-h.size {
			return fmt.Errorf("%w: an element does not end inside its parent", errMalformed)
		}
		inner := content[h.size : h.size+h.length]
		if h.constructed() {
			if err := checkInside(inner, depth+1); err != nil {
				return err
			}
		}
		content = content[h.size+h.length:]
	}
	return nil
}
