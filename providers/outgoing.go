package providers

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"sallyport/identity"
)

const (
	// maxAnswer bounds every answer, in bytes: a megabyte of claims or of metadata serves nobody.
	maxAnswer = 1 << 20
	// requestTimeout bounds one request, from dialling to the last byte. Callers that know better pass a context.
	requestTimeout = 10 * time.Second
	dialTimeout    = 3 * time.Second
	maxRedirects   = 3
)

// What can be said of an answer that is none. The texts hold nothing that the peer wrote.
var (
	// ErrTooLarge: the answer is longer than is read of such a thing.
	ErrTooLarge = errors.New("the answer is too large")
	// ErrRedirect: following it would lead elsewhere, take too long, or repeat a POST.
	ErrRedirect = errors.New("the server redirects elsewhere, too often, or a POST")
	// ErrNoAnswer: what came is not what the protocol calls an answer.
	ErrNoAnswer = errors.New("no valid http answer")
)

// NewClient returns the client that all requests to one upstream go through; roots are the authorities trusted for it,
// nil the system's. It takes at most ten seconds for a request and a mebibyte of an answer, which is read to its end
// before anybody parses it; it stays on the host it was sent to and never repeats a POST; TLS is 1.2 or newer.
// Which addresses may be asked at all is for CheckURL.
func NewClient(roots *x509.CertPool) *http.Client {
	transport := &http.Transport{
		Proxy:                  proxy,
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  requestTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           8,
		MaxConnsPerHost:        32,
		IdleConnTimeout:        60 * time.Second,
	}
	return &http.Client{Transport: &bounded{next: transport}, Timeout: requestTimeout, CheckRedirect: sameHostOnly}
}

// Fetch sends a request without a body and returns the answer's body and its media type, without parameters. Errors:
// identity.ErrUnavailable where there was no answer or one with another status than 200, ErrTooLarge past limit bytes.
// No text of them holds anything the peer wrote.
func Fetch(client *http.Client, req *http.Request, limit int) (body []byte, mediaType string, err error) {
	resp, err := client.Do(req) //nolint:gosec // CheckURL held the address, and the client stays there
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", identity.ErrUnavailable, TransportCause(err))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("%w: the server answered %d", identity.ErrUnavailable, resp.StatusCode)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("%w: %w", identity.ErrUnavailable, TransportCause(err))
	case len(body) > limit:
		return nil, "", ErrTooLarge
	}
	mediaType, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return body, mediaType, nil
}

// TransportCause says why a request failed, in a text that holds nothing the peer wrote: net/http quotes malformed
// answers and the targets of redirects.
func TransportCause(err error) error {
	var (
		operation   *net.OpError
		name        *net.DNSError
		certificate *tls.CertificateVerificationError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err):
		return context.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, ErrRedirect):
		return ErrRedirect
	case errors.Is(err, ErrTooLarge):
		return ErrTooLarge
	case errors.As(err, &certificate):
		return certificate
	case errors.As(err, &operation):
		return operation
	case errors.As(err, &name):
		return name
	default:
		return ErrNoAnswer
	}
}

// dial knows that localhost names are loopback (RFC 6761 section 6.3), whatever a resolver may say: http is allowed for
// them only because nothing leaves this machine.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialTimeout}
	host, port, err := net.SplitHostPort(address)
	if err != nil || !isLocalhostName(host) {
		return d.DialContext(ctx, network, address)
	}
	conn, err := d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		if c6, err6 := d.DialContext(ctx, network, net.JoinHostPort("::1", port)); err6 == nil {
			return c6, nil
		}
	}
	return conn, err
}

// proxy is the environment's, but never for what stays on this machine.
func proxy(req *http.Request) (*url.URL, error) {
	if IsLoopback(req.URL) {
		return nil, nil
	}
	return http.ProxyFromEnvironment(req)
}

// sameHostOnly keeps a compromised page of upstream's from sending us, our code or our bearer elsewhere. A POST, which
// may carry a code, is never repeated.
func sameHostOnly(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	if via[0].Method != http.MethodGet || len(via) > maxRedirects ||
		req.URL.Scheme != first.Scheme || req.URL.Host != first.Host {
		return ErrRedirect
	}
	return nil
}

// bounded reads every answer to its end, up to maxAnswer, so that whoever parses it has all of it or an error; a library
// that stops reading at its own limit would parse half.
type bounded struct{ next *http.Transport }

// RoundTrip implements http.RoundTripper.
func (b *bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, ErrTooLarge
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
