package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// leaveAlone is how long a server that hung is not asked, so that not every login waits for it.
const leaveAlone = 5 * time.Second

// server is one of the replicas.
type server struct {
	address  string
	tls      *tls.Config // nil means plain text, in writing
	startTLS bool        // TLS begins by StartTLS and not with the connection

	mu    sync.Mutex
	until time.Time // left alone until then; zero while it answers
}

// claim reports whether the caller may ask this server. When the time of being left alone is over, one caller gets to
// try; the others are kept off until that one knows.
func (s *server) claim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case s.until.IsZero():
		return true
	case now.Before(s.until):
		return false
	}
	s.until = now.Add(leaveAlone)
	return true
}

// hung remembers that the server used up its time without an answer.
func (s *server) hung() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = time.Now().Add(leaveAlone)
}

// answered forgets it again.
func (s *server) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = time.Time{}
}

// resting reports whether the server is being left alone.
func (s *server) resting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.until)
}

// dialer reaches the servers.
type dialer struct {
	servers []*server
	timeout Timeout
	log     *slog.Logger
}

// dialer is made from a complete configuration.
func (c *Config) dialer(dir string, log *slog.Logger) (*dialer, error) {
	roots, err := c.roots(dir)
	if err != nil {
		return nil, err
	}
	d := &dialer{timeout: c.Timeout, log: log}
	for i, raw := range c.URLs {
		u, err := url.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("urls[%d]: is not a URL", i)
		}
		d.servers = append(d.servers, c.server(u, roots))
	}
	return d, nil
}

func (c *Config) server(u *url.URL, roots *x509.CertPool) *server {
	port := or(u.Port(), goldap.DefaultLdapPort)
	if u.Scheme == "ldaps" {
		port = or(u.Port(), goldap.DefaultLdapsPort)
	}
	s := &server{address: net.JoinHostPort(u.Hostname(), port)}
	if u.Scheme == "ldaps" || c.TLS.StartTLS {
		s.startTLS = u.Scheme == "ldap"
		s.tls = &tls.Config{
			MinVersion: tls.VersionTLS12,
			RootCAs:    roots,
			ServerName: or(c.TLS.ServerName, u.Hostname()),
		}
	}
	return s
}

// roots returns the CAs that servers are verified against; nil means the system's.
func (c *Config) roots(dir string) (*x509.CertPool, error) {
	fromFile, err := c.readCA(dir)
	if err != nil || (fromFile == nil && len(c.CAPEM) == 0) {
		return nil, err
	}
	pool := x509.NewCertPool()
	for key, pem := range map[string][]byte{"tls.ca_file": fromFile, "ca": c.CAPEM} {
		if pem != nil && !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: holds no certificate", key)
		}
	}
	return pool, nil
}

// each lets use talk to the servers in order until one gives an answer, be it yes or no. Only a server that gave none is
// followed by the next, so a wrong password is asked about once. use owns the connection.
func (d *dialer) each(ctx context.Context, use func(*conn) error) error {
	last := errors.New("every server hung a moment ago and is left alone")
	for _, s := range d.servers {
		if err := ctx.Err(); err != nil {
			return unavailable(errors.Join(err, last))
		}
		if !s.claim() {
			continue
		}
		c, err := d.connect(ctx, s)
		if err == nil {
			err = use(c)
		}
		if !isTrouble(err) {
			return err
		}
		d.log.WarnContext(ctx, "ldap server gives no answer", "server", s.address, "err", err)
		last = err
	}
	return unavailable(last)
}

// connect returns a connection on which TLS stands, wherever it has to. A StartTLS that fails ends the connection: there
// is no way from here to a bind in the clear.
func (d *dialer) connect(parent context.Context, s *server) (*conn, error) {
	ctx, cancel := context.WithTimeout(parent, d.timeout.Dial)
	defer cancel()
	raw, secured, err := s.open(ctx)
	if err != nil {
		hung := parent.Err() == nil && (ctx.Err() != nil || isTimeout(err))
		if hung {
			s.hung()
		}
		return nil, &trouble{server: s.address, hung: hung, err: fmt.Errorf("connect: %w", err)}
	}
	wire := newFramed(secured)
	c := &conn{
		ldap: goldap.NewConn(wire, s.tls != nil), wire: wire, raw: raw, server: s, timeout: d.timeout.Operation,
	}
	// The library's own limit is a second line: ours, in conn.do, comes first.
	c.ldap.SetTimeout(d.timeout.Operation + time.Second)
	c.ldap.Start()
	return c, nil
}

// open returns the TCP connection and what is spoken over: the same, or TLS on top of it.
func (s *server) open(ctx context.Context) (raw, secured net.Conn, err error) {
	tcp, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, nil, err
	}
	if s.tls == nil {
		return tcp, tcp, nil
	}
	stop := context.AfterFunc(ctx, func() { _ = tcp.Close() })
	over, err := s.secure(ctx, tcp)
	if !stop() {
		err = ctx.Err() // time was up, whatever else went wrong because of it
	}
	if err != nil {
		_ = tcp.Close()
		return nil, nil, err
	}
	return tcp, over, nil
}

// secure puts TLS on a new connection.
func (s *server) secure(ctx context.Context, tcp net.Conn) (*tls.Conn, error) {
	if s.startTLS {
		if err := startTLS(tcp); err != nil {
			return nil, err
		}
	}
	over := tls.Client(tcp, s.tls)
	return over, over.HandshakeContext(ctx)
}
