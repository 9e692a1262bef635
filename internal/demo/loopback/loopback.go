// Package loopback owns how the demonstration's servers listen: on addresses of this machine alone, because everybody's
// password is public there, and with bounds, because they are HTTP servers all the same.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Check refuses an address ("127.0.0.1:0") that others could reach.
func Check(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return fmt.Errorf("listen address %q is not a loopback address: everybody's password is public", host)
	}
	return nil
}

// PublicURL reads what a server is called: http or https, host, and nothing else. "" stays "".
func PublicURL(raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("public url %q is not http(s)://host[:port]", raw)
	}
	return u.Scheme + "://" + u.Host, nil
}

// Server is a running HTTP server.
type Server struct {
	http   *http.Server
	cancel context.CancelFunc
	served chan struct{}
}

// Serve answers on the listener until ctx ends or Close is called. Requests end with it too.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) *Server {
	base, cancel := context.WithCancel(ctx)
	s := &Server{cancel: cancel, served: make(chan struct{})}
	s.http = &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context { return base },
	}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("demo server stopped", "err", err)
		}
	}()
	context.AfterFunc(ctx, func() { _ = s.Close() })
	return s
}

// Done is closed once it serves no more.
func (s *Server) Done() <-chan struct{} { return s.served }

// Close stops serving and waits for it. It may be called twice.
func (s *Server) Close() error {
	s.cancel()
	err := s.http.Close()
	<-s.served
	return err
}
