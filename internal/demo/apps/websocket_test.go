package apps

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// masked makes a frame as a client sends it.
func masked(final bool, kind byte, payload []byte) []byte {
	var b bytes.Buffer
	head := kind
	if final {
		head |= 0x80
	}
	b.WriteByte(head)
	switch n := len(payload); {
	case n <= 125:
		b.WriteByte(0x80 | byte(n))
	case n < 1<<16:
		b.WriteByte(0x80 | 126)
		b.Write(binary.BigEndian.AppendUint16(nil, uint16(n)))
	default:
		b.WriteByte(0x80 | 127)
		b.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	}
	mask := [4]byte{1, 2, 3, 4}
	b.Write(mask[:])
	for i, c := range payload {
		b.WriteByte(c ^ mask[i%4])
	}
	return b.Bytes()
}

// socket is a client that has shaken hands.
type socket struct {
	t    *testing.T
	conn net.Conn
	from *bufio.Reader
}

const handshake = "GET /echo HTTP/1.1\r\nHost: live.localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Auth-User: lena\r\n\r\n"

func dial(t *testing.T, u *Upstream) socket {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(u.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	s := socket{t, conn, bufio.NewReader(conn)}
	s.send([]byte(handshake))
	answer, err := http.ReadResponse(s.from, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	// The very value of RFC 6455 section 1.3.
	if answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%d %v", answer.StatusCode, answer.Header)
	}
	return s
}

func (s socket) send(b []byte) {
	s.t.Helper()
	if _, err := s.conn.Write(b); err != nil {
		s.t.Fatal(err)
	}
}

// receive reads a frame of the server.
func (s socket) receive() (kind byte, payload []byte) {
	s.t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(s.from, head[:]); err != nil {
		s.t.Fatal(err)
	}
	if head[0]&0x80 == 0 || head[1]&0x80 != 0 {
		s.t.Fatalf("head %x", head)
	}
	length, err := readLength(s.from, head[1])
	if err != nil {
		s.t.Fatal(err)
	}
	payload = make([]byte, length)
	if _, err := io.ReadFull(s.from, payload); err != nil {
		s.t.Fatal(err)
	}
	return head[0] & 0x0F, payload
}

func TestTheSocketSendsTextBack(t *testing.T) {
	s := dial(t, startUpstream(t))
	for name, tc := range map[string]struct {
		sent []byte
		want string
	}{
		"a word":      {masked(true, frameText, []byte("grüezi")), "grüezi"},
		"nothing":     {masked(true, frameText, nil), ""},
		"126 bytes":   {masked(true, frameText, bytes.Repeat([]byte("x"), 126)), strings.Repeat("x", 126)},
		"64 kibibyte": {masked(true, frameText, bytes.Repeat([]byte("x"), 1<<16)), strings.Repeat("x", 1<<16)},
		"in parts, torn inside a letter": {
			bytes.Join([][]byte{masked(false, frameText, []byte("gr\xc3")), masked(true, framePong, nil), masked(true, frameContinuation, []byte("\xbcezi"))}, nil),
			"grüezi",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s.send(tc.sent)
			if kind, got := s.receive(); kind != frameText || string(got) != tc.want {
				t.Errorf("%x %q", kind, got)
			}
		})
	}
	s.send(masked(true, framePing, []byte("there?")))
	if kind, got := s.receive(); kind != framePong || string(got) != "there?" {
		t.Errorf("%x %q", kind, got)
	}
}

func TestTheSocketEndsWithAReason(t *testing.T) {
	u := startUpstream(t)
	unmasked := []byte{0x81, 1, 'x'}
	reserved := masked(true, frameText, []byte("x"))
	reserved[0] |= 0x40
	long := append([]byte{0x81, 0x80 | 126, 0, 5}, make([]byte, 9)...)
	negative := append([]byte{0x81, 0x80 | 127, 0xFF, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 4)...)
	for name, tc := range map[string]struct {
		sent []byte
		want closing
	}{
		"the other side closes":           {masked(true, frameClose, []byte{3, 0xE8}), closedNormally},
		"a frame without mask":            {unmasked, closedProtocol},
		"a bit that means nothing here":   {reserved, closedProtocol},
		"an unknown kind":                 {masked(true, 0x3, nil), closedProtocol},
		"an unknown control frame":        {masked(true, 0xB, nil), closedProtocol},
		"a ping in parts":                 {masked(false, framePing, nil), closedProtocol},
		"a ping too long":                 {masked(true, framePing, bytes.Repeat([]byte("x"), 126)), closedProtocol},
		"a part of nothing":               {masked(true, frameContinuation, []byte("x")), closedProtocol},
		"a message within a message":      {append(masked(false, frameText, []byte("x")), masked(true, frameText, []byte("y"))...), closedProtocol},
		"a length in the longer form":     {long, closedProtocol},
		"a length with the highest bit":   {negative, closedProtocol},
		"bytes":                           {masked(true, frameBinary, []byte{1}), closedNotText},
		"no unicode":                      {masked(true, frameText, []byte{0xFF}), closedNotUnicode},
		"a message too long":              {masked(true, frameText, make([]byte, maxMessage+1))[:16], closedTooBig},
		"a message too long in its parts": {append(masked(false, frameText, make([]byte, maxMessage)), masked(true, frameContinuation, []byte("x"))[:6]...), closedTooBig},
	} {
		t.Run(name, func(t *testing.T) {
			s := dial(t, u)
			s.send(tc.sent)
			kind, got := s.receive()
			if kind != frameClose || len(got) != 2 || closing(binary.BigEndian.Uint16(got)) != tc.want {
				t.Errorf("%x %v, want %d", kind, got, tc.want)
			}
		})
	}
}

func TestTheHandshakeIsRefused(t *testing.T) {
	u := startUpstream(t)
	for name, change := range map[string]func(http.Header){
		"without upgrade":          func(h http.Header) { h.Del("Upgrade") },
		"without connection":       func(h http.Header) { h.Set("Connection", "keep-alive") },
		"of another version":       func(h http.Header) { h.Set("Sec-WebSocket-Version", "8") },
		"without key":              func(h http.Header) { h.Del("Sec-WebSocket-Key") },
		"with a short key":         func(h http.Header) { h.Set("Sec-WebSocket-Key", "c2hvcnQ=") },
		"for a page elsewhere":     func(h http.Header) { h.Set("Origin", "https://evil.example") },
		"for a page without place": func(h http.Header) { h.Set("Origin", "null") },
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.URL()+"/echo", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{
				"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
				"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "X-Auth-User": {"lena"}, "Origin": {u.URL()},
			}
			change(r.Header)
			if status, _ := fetch(t, r); status != http.StatusBadRequest {
				t.Errorf("status %d", status)
			}
		})
	}
}

func FuzzReadMessage(f *testing.F) {
	f.Add(masked(true, frameText, []byte("x")))
	f.Add(append(masked(false, frameText, []byte("x")), masked(true, frameContinuation, []byte("y"))...))
	f.Add(masked(true, frameClose, []byte{3, 0xE8}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		message, err := readMessage(bytes.NewReader(raw), io.Discard)
		var reason closing
		switch {
		case err == nil && len(message) > maxMessage:
			t.Errorf("%d bytes", len(message))
		case err != nil && !errors.As(err, &reason) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			t.Error(err)
		}
	})
}
