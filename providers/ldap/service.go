package ldap

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sallyport/identity"
)

const (
	maxIdle     = 4
	maxIdleTime = time.Minute // below the idle limits of the usual servers and firewalls
)

// service holds connections that are bound as the service account, for searches.
type service struct {
	dialer   *dialer
	dn       string
	password identity.Secret
	log      *slog.Logger

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

// do lets use search on an idle connection, or on a new one. A connection that died while it was idle is no failure of
// its server: use runs once more on a new one, so it must start from nothing each time.
func (s *service) do(ctx context.Context, use func(*conn) error) error {
	if c := s.take(); c != nil {
		err := use(c)
		s.put(c)
		if !isTrouble(err) {
			return err
		}
	}
	return s.fresh(ctx, use)
}

// fresh is do without the idle connections.
func (s *service) fresh(ctx context.Context, use func(*conn) error) error {
	return s.dialer.each(ctx, func(c *conn) error {
		defer s.put(c)
		if err := s.bind(ctx, c); err != nil {
			c.broken = true
			return err
		}
		return use(c)
	})
}

// bind signs the service account in. A refusal is the operator's to mend and says nothing about the person at the door.
func (s *service) bind(ctx context.Context, c *conn) error {
	err := c.bind(ctx, s.dn, s.password.Reveal())
	if err == nil || isTrouble(err) {
		return err
	}
	s.log.ErrorContext(ctx, "ldap service account cannot sign in", "bind_dn", s.dn, "server", c.server.address, "err", err)
	// The cause goes by its text only: its sentinel would blame the person.
	return fmt.Errorf("service account: %w: %s", identity.ErrUnavailable, err.Error())
}

// take returns an idle connection that looks alive, or nil.
func (s *service) take() *conn {
	for {
		c := s.pop()
		if c == nil || (!c.ldap.IsClosing() && !c.server.resting() && time.Since(c.idle) < maxIdleTime) {
			return c
		}
		c.close()
	}
}

func (s *service) pop() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) == 0 {
		return nil
	}
	last := len(s.idle) - 1
	c := s.idle[last]
	s.idle = s.idle[:last]
	return c
}

// put takes a connection back, or ends it.
func (s *service) put(c *conn) {
	if !s.keep(c) {
		c.close()
	}
}

func (s *service) keep(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.broken || s.closed || len(s.idle) >= maxIdle || c.ldap.IsClosing() {
		return false
	}
	c.idle = time.Now()
	s.idle = append(s.idle, c)
	return true
}

// close ends the idle connections; those in use end when they come back.
func (s *service) close() error {
	s.mu.Lock()
	idle := s.idle
	s.idle, s.closed = nil, true
	s.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
	return nil
}
