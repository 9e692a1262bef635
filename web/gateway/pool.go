package gateway

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/broker"
)

// Bounds of what applications' servers may cost us.
const (
	dialTimeout       = 10 * time.Second
	handshakeTimeout  = 10 * time.Second
	headerTimeout     = 60 * time.Second
	continueTimeout   = time.Second
	idleTimeout       = 90 * time.Second
	idlePerUpstream   = 64
	connsPerUpstream  = 4096 // WebSockets too
	maxResponseHeader = 64 << 10
)

// pool keeps connections to applications' servers: one transport for each way of reaching one, for as long as the
// configuration has it. The zero value is ready.
type pool struct {
	snap atomic.Pointer[broker.Snapshot]
	mu   sync.Mutex
	open map[way]*http.Transport
}

// way is all that makes a difference to a connection.
type way struct {
	scheme, host, roots string
	timeout             time.Duration
}

func wayTo(u *broker.Upstream) way {
	return way{u.URL.Scheme, u.URL.Host, string(u.Roots), cmp.Or(u.HeaderTimeout, headerTimeout)}
}

// follow closes the connections to servers that the configuration in force does not have any more. Requests under way on
// them go on, and their connections close after them.
func (p *pool) follow(current *broker.Snapshot) {
	if p.snap.Load() == current {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := map[way]*http.Transport{}
	for _, app := range current.Applications() {
		if app.Upstream == nil {
			continue
		}
		to := wayTo(app.Upstream)
		kept[to] = p.open[to] // nil: not reached yet
	}
	for to, transport := range p.open {
		if _, ok := kept[to]; !ok && transport != nil {
			transport.CloseIdleConnections()
		}
	}
	p.open = kept
	p.snap.Store(current)
}

// transport returns how to reach an application's server.
func (p *pool) transport(u *broker.Upstream) (*http.Transport, error) {
	to := wayTo(u)
	p.mu.Lock()
	defer p.mu.Unlock()
	have, known := p.open[to]
	if have != nil {
		return have, nil
	}
	made, err := newTransport(to)
	if err != nil {
		return nil, err
	}
	if made.DisableKeepAlives = !known; known { // a request from before the last change keeps nothing open
		p.open[to] = made
	}
	return made, nil
}

// newTransport makes connections that go where the configuration says and nowhere else (no proxy from the environment),
// in HTTP/1.1, in which a request says the same to every server.
func newTransport(to way) (*http.Transport, error) {
	verify := &tls.Config{MinVersion: tls.VersionTLS12}
	if to.roots != "" {
		if verify.RootCAs = x509.NewCertPool(); !verify.RootCAs.AppendCertsFromPEM([]byte(to.roots)) {
			return nil, errPEM
		}
	}
	return &http.Transport{
		DialContext:     (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig: verify, TLSHandshakeTimeout: handshakeTimeout,
		ResponseHeaderTimeout: to.timeout, ExpectContinueTimeout: continueTimeout,
		MaxResponseHeaderBytes: maxResponseHeader, DisableCompression: true,
		MaxIdleConnsPerHost: idlePerUpstream, MaxConnsPerHost: connsPerUpstream, IdleConnTimeout: idleTimeout,
	}, nil
}

// errPEM says that no authority could be read where the configuration names some: none is not all.
var errPEM = errors.New("no certificate authority in its configuration")
