package oidc

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
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sallyport/identity"
	"sallyport/tokens/jws"
)

const (
	// maxBody bounds every answer of a provider; a megabyte of claims would not pass the mapper's bounds either.
	maxBody = 1 << 20
	// maxDiscovery bounds the discovery document.
	maxDiscovery = 256 << 10
	// requestTimeout bounds one request to the provider, from dialling to the last byte.
	requestTimeout = 10 * time.Second
	// discoveryTimeout bounds fetching the discovery document.
	discoveryTimeout = 5 * time.Second
	maxRedirects     = 3
)

// What can be said of an answer that is none.
var (
	errTooLarge = errors.New("the answer is too large")
	errRedirect = errors.New("the provider redirects a request elsewhere, too often, or a POST")
	errNoAnswer = errors.New("no valid http answer")
)

// newClient returns the client that all requests to one provider go through.
func newClient(roots *x509.CertPool) *http.Client {
	transport := &http.Transport{
		Proxy:                  proxy,
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    3 * time.Second,
		ResponseHeaderTimeout:  requestTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           8,
		MaxConnsPerHost:        32,
		IdleConnTimeout:        60 * time.Second,
	}
	return &http.Client{Transport: &bounded{next: transport}, Timeout: requestTimeout, CheckRedirect: sameHostOnly}
}

// dial knows that localhost names are loopback (RFC 6761 section 6.3), whatever a resolver may say: http is allowed for
// them only because nothing leaves this machine.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: 3 * time.Second}
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
	if isLoopback(req.URL) {
		return nil, nil
	}
	return http.ProxyFromEnvironment(req)
}

// sameHostOnly keeps a compromised page of the provider from sending us, our code or our bearer elsewhere. A POST, which
// carries the code, is never repeated.
func sameHostOnly(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	if via[0].Method != http.MethodGet || len(via) > maxRedirects ||
		req.URL.Scheme != first.Scheme || req.URL.Host != first.Host {
		return errRedirect
	}
	return nil
}

// bounded reads every answer to its end, up to maxBody, so that whoever parses it has all of it or an error; a library
// that stops reading at its own limit would parse half.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b *bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxBody {
		return nil, errTooLarge
	}
	if req.Method == http.MethodPost && resp.StatusCode == http.StatusOK && !isClearObject(resp, body) {
		return nil, errNoAnswer
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// isClearObject: golang.org/x/oauth2 reads token answers leniently, also as forms; RFC 6749 section 5.1 knows one way.
func isClearObject(resp *http.Response, body []byte) bool {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	_, err := jws.ParseClaims(body)
	return kind == "application/json" && err == nil
}

// CloseIdleConnections passes the wish on.
func (b *bounded) CloseIdleConnections() {
	if c, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// getJSON fetches an endpoint whose answer must be application/json. bearer may be empty.
func getJSON(ctx context.Context, client *http.Client, endpoint, bearer string, limit int) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	req.Header.Set("Accept", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", identity.ErrUnavailable, transportCause(err))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: answered %d", identity.ErrUnavailable, resp.StatusCode)
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "application/json" {
		return nil, fmt.Errorf("answered with content type %q, not application/json", cut(kind))
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", identity.ErrUnavailable, err)
	}
	if len(body) > limit {
		return nil, errTooLarge
	}
	return body, nil
}

// transportCause keeps only causes whose texts hold nothing the peer wrote: net/http quotes malformed answers and the
// targets of redirects.
func transportCause(err error) error {
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
	case errors.Is(err, errRedirect):
		return errRedirect
	case errors.Is(err, errTooLarge):
		return errTooLarge
	case errors.As(err, &certificate):
		return certificate
	case errors.As(err, &operation):
		return operation
	case errors.As(err, &name):
		return name
	default:
		return errNoAnswer
	}
}

// checkURL accepts absolute https URLs, and http ones on loopback where that is allowed.
func checkURL(u *url.URL, loopbackHTTP bool) error {
	switch {
	case u.Hostname() == "" || u.Opaque != "":
		return errors.New("must be an absolute URL with a host")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && loopbackHTTP && isLoopback(u):
		return nil
	case u.Scheme == "http":
		return errors.New("must be https; http is for localhost only")
	default:
		return errors.New("must be https")
	}
}

func isLoopback(u *url.URL) bool {
	if isLocalhostName(u.Hostname()) {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}

func isLocalhostName(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// readRoots reads a PEM file of authorities; an empty name means the system's.
func readRoots(file, dir string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	pem, err := os.ReadFile(file) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

// cut keeps foreign text short; callers quote it.
func cut(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most]
	}
	return s
}
