package postgres

import (
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestAVanishedServerIsNoticed(t *testing.T) {
	for network, address := range map[string]string{
		"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "socket"),
	} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		c, err := dialer().DialContext(t.Context(), network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if tcp, ok := c.(*net.TCPConn); ok {
			if got := userTimeout(t, tcp); got != unanswered {
				t.Errorf("what we sent may stay unanswered for %v", got)
			}
		}
		if err := errors.Join(c.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	}
}

func userTimeout(t *testing.T, c *net.TCPConn) time.Duration {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ms int
	control := func(fd uintptr) { ms, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout) }
	if controlErr := raw.Control(control); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
	return time.Duration(ms) * time.Millisecond
}
