package mail

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"sync"
)

// line is the connection of one Send, kept here so that it can be cut: the library leaves it open when a greeting or a
// handshake fails, and knows no end of a whole conversation with a server that is slow on purpose.
type line struct {
	sender *Sender
	mu     sync.Mutex
	conn   net.Conn
	cut    bool
}

func (l *line) dial(ctx context.Context) (net.Conn, error) {
	o := l.sender.options
	address := net.JoinHostPort(o.Host, strconv.Itoa(o.Port))
	var conn net.Conn
	var err error
	if o.TLS == ImplicitTLS {
		conn, err = (&tls.Dialer{Config: l.sender.tls}).DialContext(ctx, "tcp", address)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn = conn; l.cut {
		_ = conn.Close()
		return nil, context.Cause(ctx)
	}
	return conn, nil
}

// close cuts the connection, also one that is still to come.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	if l.conn != nil {
		_ = l.conn.Close() // it may be closed already
	}
}
