package saml

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"
)

const (
	// metadataLife is how long a document is used before it is looked at again.
	metadataLife = time.Hour
	// fetchTimeout bounds one look, from dialling to the last byte.
	fetchTimeout = 5 * time.Second
	maxRedirects = 3
	// firstRetry and lastRetry bound the pause after a failure, which doubles each time.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// source knows the provider. It looks when it is first asked, keeps the last good copy, and shares one look among all who
// wait; after a failure it does not look again before the pause is over.
type source struct {
	load func(context.Context) (*idp, error)
	now  func() time.Time
	log  *slog.Logger

	mu      sync.Mutex
	current *idp
	looked  time.Time
	running *look
	failure error
	failed  time.Time
	pause   time.Duration
}

// look is one load under way; done is closed when the result stands.
type look struct {
	done  chan struct{}
	found *idp
	err   error
}

// get returns what is known: at once where there is a copy that has not ended (an old one is renewed in the background).
func (s *source) get(ctx context.Context) (*idp, error) {
	s.mu.Lock()
	now := s.now()
	current := s.current
	if current != nil && current.ended(now) {
		current = nil
	}
	waiting := s.failure != nil && !passed(now, s.failed, s.pause)
	if current != nil && (waiting || !passed(now, s.looked, metadataLife)) {
		s.mu.Unlock()
		return current, nil
	}
	if waiting && s.running == nil {
		defer s.mu.Unlock()
		return nil, s.failure
	}
	running := s.start()
	s.mu.Unlock()
	if current != nil {
		return current, nil
	}
	return running.wait(ctx)
}

// refresh looks now, whatever is kept, or joins a look under way.
func (s *source) refresh(ctx context.Context) (*idp, error) {
	s.mu.Lock()
	running := s.start()
	s.mu.Unlock()
	return running.wait(ctx)
}

// start begins a look unless one is under way. It outlives the request that began it, others may be waiting. The lock is
// held.
func (s *source) start() *look {
	if s.running != nil {
		return s.running
	}
	l := &look{done: make(chan struct{})}
	s.running = l
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
		defer cancel()
		l.found, l.err = s.load(ctx)
		s.finish(l)
	}()
	return l
}

func (s *source) finish(l *look) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(l.done)
	s.running = nil
	if errors.Is(l.err, errNoCertificate) {
		s.current = nil
	}
	if l.err != nil {
		l.err = unavailable(fmt.Errorf("metadata: %w", l.err))
		s.pause = min(max(2*s.pause, firstRetry), lastRetry)
		s.failure, s.failed = l.err, s.now()
		s.log.Warn("saml metadata cannot be used", "err", l.err, "last_good_copy", s.current != nil)
		return
	}
	s.current, s.looked = l.found, s.now()
	s.failure, s.pause = nil, 0
}

func (l *look) wait(ctx context.Context) (*idp, error) {
	select {
	case <-l.done:
		return l.found, l.err
	case <-ctx.Done():
		return nil, unavailable(fmt.Errorf("metadata: %w", ctx.Err()))
	}
}

// passed reports whether d has passed since then. A clock that jumped back counts as passed.
func passed(now, then time.Time, d time.Duration) bool {
	age := now.Sub(then)
	return age < 0 || age >= d
}

// newClient returns the client that metadata is fetched with.
func newClient(roots *x509.CertPool) *http.Client {
	transport := &http.Transport{
		Proxy: func(req *http.Request) (*url.URL, error) {
			if isLoopback(req.URL) { // what stays on this machine needs no proxy
				return nil, nil
			}
			return http.ProxyFromEnvironment(req)
		},
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    3 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		MaxConnsPerHost:        4,
		DisableKeepAlives:      true, // once an hour
	}
	return &http.Client{Transport: transport, Timeout: fetchTimeout, CheckRedirect: sameHostOnly}
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

var (
	errRedirect = errors.New("the server redirects elsewhere or too often")
	errNoAnswer = errors.New("no valid http answer")
)

func sameHostOnly(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	if len(via) > maxRedirects || req.URL.Scheme != first.Scheme || req.URL.Host != first.Host {
		return errRedirect
	}
	return nil
}

// fetch gets the document, bounded.
func fetch(ctx context.Context, client *http.Client, endpoint string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	req.Header.Set("Accept", "application/samlmetadata+xml, application/xml;q=0.9, text/xml;q=0.8")
	resp, err := client.Do(req)
	if err != nil {
		return nil, transportCause(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxMetadata+1))
	if err != nil {
		return nil, transportCause(err)
	}
	return body, nil // parseMetadata refuses what is larger
}

// transportCause keeps only causes whose texts hold nothing the peer wrote.
func transportCause(err error) error {
	var (
		operation   *net.OpError
		name        *net.DNSError
		certificate *tls.CertificateVerificationError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err):
		return context.DeadlineExceeded
	case errors.Is(err, errRedirect):
		return errRedirect
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

// readRoots reads a PEM file of authorities; an empty name means the system's.
func readRoots(file, dir string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(inDir(file, dir))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

// readFile reads a document of bounded size.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxMetadata+1))
}
