package jwt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

// requestTimeout bounds one request for the key set.
const requestTimeout = 5 * time.Second

// newClient returns the client that fetches the key set. Sizes and redirects are bounded by jws.Remote.
func newClient(roots *x509.CertPool) *http.Client {
	return &http.Client{Timeout: requestTimeout, Transport: &http.Transport{
		Proxy:                  proxy,
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    3 * time.Second,
		ResponseHeaderTimeout:  requestTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           2,
		MaxConnsPerHost:        2,
		IdleConnTimeout:        60 * time.Second,
	}}
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
	if isLoopback(req.URL.Hostname()) {
		return nil, nil
	}
	return http.ProxyFromEnvironment(req)
}

// checkURL accepts absolute https URLs without user, query and fragment, and such http ones on this machine. Its errors
// do not repeat the text, which may hold a password.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("is not a URL")
	case u.Hostname() == "" || u.Opaque != "":
		return errors.New("must be an absolute URL with a host")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return errors.New("must have no user, query or fragment")
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	default:
		return errors.New("must be https; http is for localhost only")
	}
}

func isLoopback(host string) bool {
	if isLocalhostName(host) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func isLocalhostName(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// cause says why a fetch failed, without what the peer wrote: net/http quotes malformed answers and redirects.
func cause(err error) string {
	var (
		request     *url.Error
		certificate *tls.CertificateVerificationError
		operation   *net.OpError
		name        *net.DNSError
	)
	switch {
	case !errors.As(err, &request):
		return err.Error() // our own reader's words
	case errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err):
		return "no answer in time"
	case errors.As(err, &certificate):
		return certificate.Error()
	case errors.As(err, &operation):
		return operation.Error()
	case errors.As(err, &name):
		return name.Error()
	default:
		return "no valid http answer"
	}
}
