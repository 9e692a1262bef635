package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"sallyport/broker"
	"sallyport/web/wire"
)

// clean takes from an application's answer what is ours to say: our cookies, and who may frame its pages. All else it
// says stays as it is, but for trailers: they come after everything was looked at.
func (g *Gateway) clean(answer *http.Response, f *wire.Facts, app *broker.Application, own http.Header) {
	if answer.StatusCode != http.StatusSwitchingProtocols {
		answer.Trailer, answer.Body = nil, &untrailed{answer.Body, answer}
	}
	h := answer.Header
	g.cookies.Drop(h, f.Snapshot)
	const hsts = "Strict-Transport-Security"
	if said := own[hsts]; said != nil && h[hsts] == nil {
		h[hsts] = said
	}
	frame(h, f.EmbeddersOf(app))
}

// untrailed is an answer's body that leaves no trailers at its end.
type untrailed struct {
	io.ReadCloser
	answer *http.Response
}

// Read see io.Reader.
func (u *untrailed) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if err != nil {
		u.answer.Trailer = nil
	}
	return n, err
}

// frame lets exactly the embedders frame an application's pages, beside what its own policy allows (EMB-06). Where nobody
// embeds and the application says nothing, only its own pages frame it.
func frame(h http.Header, embedders []*broker.Embedder) {
	const policy, options = "Content-Security-Policy", "X-Frame-Options"
	if len(embedders) == 0 && (strings.TrimSpace(strings.Join(h[options], "")) != "" || saysAncestors(h[policy])) {
		return
	}
	ancestors := strings.Builder{}
	ancestors.WriteString("frame-ancestors 'self'")
	for _, e := range embedders {
		for _, origin := range e.Origins {
			ancestors.WriteString(" " + origin)
		}
		h.Del(options) // knows no origins; browsers that heed it would ignore the policy's
	}
	h.Add(policy, ancestors.String())
}

func saysAncestors(policies []string) bool {
	for _, policy := range policies {
		for directive := range strings.FieldsFuncSeq(policy, func(c rune) bool { return c == ';' || c == ',' }) {
			if name, _, _ := strings.Cut(strings.TrimSpace(directive), " "); strings.EqualFold(name, "frame-ancestors") {
				return true
			}
		}
	}
	return false
}

// exchange is one request and its answer as the client's side sees them: it writes the answer, and remembers how it went.
type exchange struct {
	http.ResponseWriter
	client   context.Context // ends when the client goes
	both     context.Context // ends with client, and when access does
	control  *http.ResponseController
	body     *clientBody
	patience time.Duration
	// own are the headers that our own answers have.
	own      http.Header
	hijacked bool
	// failed is why the application's server gave no answer, or not all of it.
	failed error
}

func newExchange(both context.Context, w http.ResponseWriter, r *http.Request, patience time.Duration) *exchange {
	x := &exchange{
		ResponseWriter: w, client: r.Context(), both: both, control: http.NewResponseController(w), own: w.Header().Clone(),
		patience: patience,
	}
	x.body = &clientBody{ReadCloser: r.Body, control: x.control, patience: patience, alone: r.ProtoMajor > 1}
	clear(w.Header()) // the application speaks for itself
	if r.ContentLength == 0 {
		_ = x.control.SetReadDeadline(time.Time{}) // nothing to wait for but the client's leaving
	}
	x.wait()
	return x
}

// extend gives the client time to take the next piece. Where a connection has no deadlines (in tests) there is nothing to
// extend.
func (x *exchange) extend() { _ = x.control.SetWriteDeadline(time.Now().Add(x.patience)) }

// wait leaves the application all the time it takes: in HTTP/2 a deadline ends the request when it comes, not at the next
// piece.
func (x *exchange) wait() { _ = x.control.SetWriteDeadline(time.Time{}) }

// WriteHeader leaves out what comes before an answer (103 …): it has not been looked at.
func (x *exchange) WriteHeader(status int) {
	if status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write see http.ResponseWriter.
func (x *exchange) Write(b []byte) (int, error) {
	x.extend()
	defer x.wait()
	return x.ResponseWriter.Write(b)
}

// FlushError see http.ResponseController.
func (x *exchange) FlushError() error {
	x.extend()
	defer x.wait()
	return x.control.Flush()
}

// Unwrap see http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// Hijack see http.Hijacker: after a protocol was switched, no answer of ours may be written.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := x.control.Hijack()
	if err != nil {
		return nil, nil, err
	}
	x.hijacked = true
	return &patientConn{conn, x.patience}, rw, nil
}

// finish makes an error of how it went, and of the panic with which the standard library tells that an answer broke off.
func (x *exchange) finish(err *error) {
	broke := recover()
	if broke != nil && broke != http.ErrAbortHandler { //nolint:errorlint // the very value
		panic(broke)
	}
	if !x.hijacked {
		x.extend() // what is still to be flushed
	}
	switch {
	case x.hijacked, x.failed == nil && broke == nil:
		return
	case x.failed == nil:
		x.failed = io.ErrUnexpectedEOF
	}
	*err = x.why()
	clear(x.Header())
	maps.Copy(x.Header(), x.own)
}

// why tells apart a client that left, access that ended, and an application's server in trouble.
func (x *exchange) why() error {
	switch {
	case x.client.Err() != nil:
		return x.client.Err()
	case x.both.Err() != nil:
		return context.Cause(x.both)
	case x.body.broke.Load():
		return fmt.Errorf("the client's body: %w", context.Canceled)
	}
	var network net.Error
	if errors.As(x.failed, &network) && network.Timeout() {
		return wire.UpstreamTimeout(x.failed)
	}
	return wire.UpstreamUnavailable(withoutText(x.failed))
}

// withoutText leaves out errors that may repeat what a server said.
func withoutText(err error) error {
	var network net.Error
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &network) || errors.As(err, &certificate) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return errors.New("its answer is not HTTP as we speak it")
}

// clientBody is a request's body that may be of any size, as long as enough of it comes: a byte now and then would keep an
// application's worker busy for good.
type clientBody struct {
	io.ReadCloser
	control  *http.ResponseController
	patience time.Duration
	// alone means that deadlines concern this request and no other on its connection. They end it when they come (HTTP/2).
	alone bool
	// owed is how much of the client's time is used up; what the application takes to read does not count.
	owed time.Duration
	// broke tells that the client did not send it to its end.
	broke atomic.Bool
}

// piece is how much of a body must come, on average, in the time that a client may be silent.
const piece = 32 << 10

// Read see io.Reader.
func (b *clientBody) Read(p []byte) (int, error) {
	begun := time.Now()
	_ = b.control.SetReadDeadline(begun.Add(b.patience - b.owed))
	n, err := b.ReadCloser.Read(p)
	b.owed = max(0, b.owed+time.Since(begun)-b.patience*time.Duration(n)/piece)
	switch {
	case errors.Is(err, http.ErrBodyReadAfterClose):
	case err == io.EOF, err == nil && b.alone:
		_ = b.control.SetReadDeadline(time.Time{})
	case err != nil:
		b.broke.Store(true)
	}
	return n, err
}

// patientConn is a switched connection whose client takes what it is sent, or loses it.
type patientConn struct {
	net.Conn
	patience time.Duration
}

// Write see net.Conn.
func (c *patientConn) Write(b []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(c.patience))
	return c.Conn.Write(b)
}
