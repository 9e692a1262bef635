package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is a pair of PEM files that may be renewed while we run.
type certificate struct {
	certificate, key string
	log              *slog.Logger
	now              func() time.Time

	mu       sync.Mutex
	loaded   *tls.Certificate
	modified time.Time // of the newer file
	looked   time.Time
}

// get returns the pair, reading it again when a file changed; it looks at most every five seconds. A broken renewal is
// reported, and the pair we have is served on.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.loaded != nil && now.Sub(c.looked) < lookEvery {
		return c.loaded, nil
	}
	c.looked = now
	modified, err := c.changed()
	if err == nil && c.loaded != nil && modified.Equal(c.modified) {
		return c.loaded, nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(c.certificate, c.key); err == nil {
			c.loaded, c.modified = &pair, modified
			return c.loaded, nil
		}
	}
	if c.loaded == nil {
		return nil, fmt.Errorf("server.tls: %w", err)
	}
	c.log.Error("TLS certificate not renewed, the earlier one is served on", "err", err)
	return c.loaded, nil
}

func (c *certificate) changed() (time.Time, error) {
	var newest time.Time
	for _, name := range []string{c.certificate, c.key} {
		info, err := os.Stat(name)
		if err != nil {
			return newest, err
		}
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	return newest, nil
}
