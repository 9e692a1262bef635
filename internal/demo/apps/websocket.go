package apps

import (
	"bufio"
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 1.3 has it; it protects nothing
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The kinds of frames (RFC 6455 section 5.2).
const (
	frameContinuation = 0x0
	frameText         = 0x1
	frameBinary       = 0x2
	frameClose        = 0x8
	framePing         = 0x9
	framePong         = 0xA
)

const (
	maxMessage = 64 << 10
	maxControl = 125
	// socketIdle is how long a browser may say nothing.
	socketIdle = 5 * time.Minute
)

// closing is why a socket ends, as it is told to the other side (RFC 6455 section 7.4.1).
type closing uint16

const (
	closedNormally   closing = 1000
	closedProtocol   closing = 1002
	closedNotText    closing = 1003
	closedNotUnicode closing = 1007
	closedTooBig     closing = 1009
)

// Error see error.
func (c closing) Error() string { return fmt.Sprintf("the socket closes with %d", uint16(c)) }

// echo is a WebSocket that sends every text message back.
func (u *Upstream) echo(w http.ResponseWriter, r *http.Request) {
	key, err := checkUpgrade(r)
	if err != nil {
		w.Header().Set("Sec-WebSocket-Version", "13")
		http.Error(w, "this is a WebSocket: "+err.Error(), http.StatusBadRequest)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "no WebSocket over this connection", http.StatusNotImplemented)
		return
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(r.Context(), func() { _ = conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(streamWrites)); err != nil {
		return
	}
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", acceptKey(key))
	if err != nil {
		return
	}
	if err := echoMessages(conn, buffered.Reader); err != nil {
		u.log.Debug("demo application: socket ended", "err", err)
	}
}

// checkUpgrade is the server's side of the opening handshake (RFC 6455 section 4.2.1). A page of another origin is
// refused: browsers let any page open sockets anywhere, with cookies (section 10.2).
func checkUpgrade(r *http.Request) (key string, err error) {
	key = r.Header.Get("Sec-WebSocket-Key")
	nonce, notBase64 := base64.StdEncoding.DecodeString(key)
	switch {
	case !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket"):
		return "", errors.New("no upgrade is asked for")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return "", errors.New("only version 13 is spoken")
	case notBase64 != nil || len(nonce) != 16:
		return "", errors.New("the key is not 16 bytes in base64")
	case !sameOrigin(r):
		return "", errors.New("it is for our own pages")
	default:
		return key, nil
	}
}

func hasToken(h http.Header, name, token string) bool {
	return slices.ContainsFunc(h.Values(name), func(value string) bool {
		return slices.ContainsFunc(strings.Split(value, ","), func(t string) bool {
			return strings.EqualFold(strings.TrimSpace(t), token)
		})
	})
}

// sameOrigin compares by the name the browser used, which the gateway passes on in one of two ways.
func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true // no browser
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" &&
		(strings.EqualFold(u.Host, r.Host) || strings.EqualFold(u.Host, r.Header.Get("X-Forwarded-Host")))
}

// acceptKey proves that the request was understood as one for a WebSocket.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455 section 4.2.2
	return base64.StdEncoding.EncodeToString(sum[:])
}

// echoMessages answers until one side has had enough, and says why it ends.
func echoMessages(conn net.Conn, from *bufio.Reader) error {
	for {
		if err := conn.SetDeadline(time.Now().Add(socketIdle)); err != nil {
			return err
		}
		message, err := readMessage(from, conn)
		if err == nil {
			err = writeFrame(conn, frameText, message)
		}
		var reason closing
		if errors.As(err, &reason) {
			return errors.Join(reason, writeFrame(conn, frameClose, binary.BigEndian.AppendUint16(nil, uint16(reason))))
		}
		if err != nil {
			return err
		}
	}
}

// readMessage puts the fragments of one text message together and answers the control frames between them. It ends with
// a closing where the other side closes or breaks the rules.
func readMessage(from io.Reader, to io.Writer) ([]byte, error) {
	var message []byte
	for begun := false; ; {
		f, err := readFrame(from, maxMessage-len(message))
		if err != nil {
			return nil, err
		}
		switch f.kind {
		case framePing:
			if err := writeFrame(to, framePong, f.payload); err != nil {
				return nil, err
			}
			continue
		case framePong:
			continue
		case frameClose:
			return nil, closedNormally
		case frameBinary:
			return nil, closedNotText
		}
		if (f.kind == frameText) == begun {
			return nil, closedProtocol
		}
		begun, message = true, append(message, f.payload...)
		if !f.final {
			continue
		}
		if !utf8.Valid(message) {
			return nil, closedNotUnicode
		}
		return message, nil
	}
}

// frame is one frame of the other side, unmasked.
type frame struct {
	final   bool
	kind    byte
	payload []byte
}

// readFrame reads one frame of a client, whose payload has at most limit bytes (RFC 6455 section 5.2).
func readFrame(from io.Reader, limit int) (frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{final: head[0]&0x80 != 0, kind: head[0] & 0x0F}
	control := f.kind >= frameClose
	switch {
	case head[0]&0x70 != 0, // no extension was agreed on
		head[1]&0x80 == 0, // clients mask (section 5.1)
		f.kind > frameBinary && !control, f.kind > framePong,
		control && (!f.final || head[1]&0x7F > maxControl):
		return frame{}, closedProtocol
	}
	length, err := readLength(from, head[1]&0x7F)
	if err != nil {
		return frame{}, err
	}
	if !control && length > uint64(max(limit, 0)) {
		return frame{}, closedTooBig
	}
	var mask [4]byte
	if _, err := io.ReadFull(from, mask[:]); err != nil {
		return frame{}, err
	}
	f.payload = make([]byte, length)
	if _, err := io.ReadFull(from, f.payload); err != nil {
		return frame{}, err
	}
	for i := range f.payload {
		f.payload[i] ^= mask[i%4]
	}
	return f, nil
}

// readLength reads the longer forms, which must be needed.
func readLength(from io.Reader, short byte) (uint64, error) {
	var (
		size  int
		least uint64
	)
	switch short {
	case 126:
		size, least = 2, 126
	case 127:
		size, least = 8, 1<<16
	default:
		return uint64(short), nil
	}
	var raw [8]byte
	if _, err := io.ReadFull(from, raw[8-size:]); err != nil {
		return 0, err
	}
	length := binary.BigEndian.Uint64(raw[:])
	if length < least || length>>63 != 0 {
		return 0, closedProtocol
	}
	return length, nil
}

// writeFrame writes one frame that is a whole message; servers do not mask.
func writeFrame(to io.Writer, kind byte, payload []byte) error {
	out := []byte{0x80 | kind}
	switch n := len(payload); {
	case n <= maxControl:
		out = append(out, byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, 126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, 127), uint64(n))
	}
	_, err := to.Write(append(out, payload...))
	return err
}
