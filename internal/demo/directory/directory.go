// Package directory is the demonstration's LDAP directory: people and groups in memory, behind real LDAPS on loopback,
// so that the ldap provider has something real to talk to where nothing is installed. It owns the little of LDAP that a
// sign-in needs (simple bind, search, its own certificate) and is no directory for anything else: it takes no changes,
// and listens on loopback only.
package directory

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/jimlambrt/gldap"
)

// Person is somebody in the directory.
type Person struct {
	// Username is the uid; unique.
	Username string
	// Name, Email and Password are cn, mail and userPassword. An empty Password lets nobody in.
	Name, Email, Password string
	// Groups are names of groups, made as needed.
	Groups []string
}

// Options says what to serve.
type Options struct {
	// Listen is a loopback address; port 0 takes a free one.
	Listen string
	People []Person
	// Log gets one line per sign-in attempt; nil means none.
	Log *slog.Logger
}

// Server is a running directory.
type Server struct {
	// URL is ldaps://host:port.
	URL string
	// BaseDN is the root; PeopleDN and GroupsDN are the branches of inetOrgPerson and groupOfNames entries.
	BaseDN, PeopleDN, GroupsDN string
	// BindDN and BindPassword are the service account, whose password is made anew at each start.
	BindDN, BindPassword string
	// CAPEM verifies the server's certificate.
	CAPEM []byte

	tree  *tree
	log   *slog.Logger
	ldap  *gldap.Server
	ended chan struct{}
	once  sync.Once

	mu    sync.Mutex
	bound map[int]string // who a connection is signed in as, by normalized DN
	open  []opened
}

// opened is a connection and when it was accepted.
type opened struct {
	conn net.Conn
	at   time.Time
}

// connectionLife is how long the LDAP library lets a connection live: it sets one deadline, at the beginning.
const connectionLife = time.Minute

// Start serves the directory until ctx ends or Close is called. It returns when the server answers.
func Start(ctx context.Context, o Options) (*Server, error) {
	host, port, err := loopback(o.Listen)
	if err != nil {
		return nil, err
	}
	cert, ca, err := certificate(host)
	if err != nil {
		return nil, fmt.Errorf("demo directory certificate: %w", err)
	}
	s := &Server{
		BaseDN: base, PeopleDN: people, GroupsDN: groups, BindDN: service, BindPassword: newPassword(), CAPEM: ca,
		log: o.Log, bound: map[int]string{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.tree, err = plant(o.People, s.BindPassword); err != nil {
		return nil, err
	}
	if err := s.serve(ctx, host, port, cert); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	return s, nil
}

// GroupDN is the DN of a group, as memberOf and the ldap provider spell it.
func (s *Server) GroupDN(name string) string { return groupDN(name) }

// loopback takes an address apart and refuses every host but this machine: the people here have known passwords.
func loopback(address string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		return "", "", fmt.Errorf("demo directory address: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", "", fmt.Errorf("demo directory: %q is not a loopback address", host)
	}
	return host, port, nil
}

func newPassword() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// serve starts the LDAP library's server. It opens its listener itself and keeps the port to itself, so for port 0 a
// free one is picked first; when somebody else is quicker another is picked.
func (s *Server) serve(ctx context.Context, host, port string, cert tls.Certificate) error {
	const tries = 5
	var last error
	for range tries {
		address, err := pick(host, port)
		if err != nil {
			return err
		}
		if last = s.run(ctx, address, cert); last == nil {
			s.URL = "ldaps://" + address
			return nil
		}
		if port != "0" || ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("demo directory: %w", last)
}

func pick(host, port string) (string, error) {
	if port != "0" {
		return net.JoinHostPort(host, port), nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return "", fmt.Errorf("demo directory: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// run returns nil once the server answers at the address with our certificate.
func (s *Server) run(ctx context.Context, address string, cert tls.Certificate) error {
	server, err := gldap.NewServer(
		gldap.WithLogger(hclog.NewNullLogger()), // it calls every idle connection an error
		gldap.WithReadTimeout(connectionLife),
		gldap.WithOnClose(s.forget),
	)
	if err != nil {
		return err
	}
	mux, err := s.routes()
	if err != nil {
		return err
	}
	if err := server.Router(mux); err != nil {
		return err
	}
	s.ldap, s.ended = server, make(chan struct{})
	failed := make(chan error, 1)
	go func(ended chan struct{}) {
		defer close(ended)
		failed <- server.Run(address, gldap.WithTLSConfig(s.tlsConfig(cert)))
	}(s.ended)
	return s.await(ctx, address, failed)
}

func (s *Server) tlsConfig(cert tls.Certificate) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		s.remember(hello.Conn)
		return nil, nil // the same configuration
	}
	return c
}

// await tries until TLS with our own certificate stands: only then the port is ours.
func (s *Server) await(ctx context.Context, address string, failed <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.answers(ctx, address) {
			return nil
		}
		select {
		case err := <-failed:
			return errors.Join(errors.New("does not listen"), err)
		case <-ctx.Done():
			_ = s.Close()
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (s *Server) answers(ctx context.Context, address string) bool {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CAPEM)
	d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// remember keeps a connection, so that Close can end it, and drops those that have long ended.
func (s *Server) remember(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.open) > 0 && now.Sub(s.open[0].at) > 2*connectionLife {
		s.open = s.open[1:]
	}
	s.open = append(s.open, opened{conn: c, at: now})
}

// Close ends the server and its connections. It may be called more than once.
func (s *Server) Close() error {
	s.once.Do(func() {
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			_ = s.ldap.Stop() // waits for every connection, idle ones included
		}()
		s.hangUp(stopped)
	})
	return nil
}

// hangUp ends connections until the library has stopped. Whoever connected without ever speaking TLS is not known here,
// and is left to the library's deadline.
func (s *Server) hangUp(stopped <-chan struct{}) {
	limit := time.NewTimer(2 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		for _, o := range s.open {
			_ = o.conn.Close()
		}
		s.mu.Unlock()
		select {
		case <-stopped:
			<-s.ended
			return
		case <-limit.C:
			return
		case <-tick.C:
		}
	}
}
