// Package testenv starts real peers for tests (directories, identity providers, reverse proxies, browsers) on loopback
// and ends them with the test. A peer whose program is not installed skips the test, unless SALLYPORT_TEST_REQUIRE
// names it (comma-separated, or "all"), as CI does: then the test fails.
package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Need skips the test when a program is absent, or fails it where the peer is required. It returns the programs' paths.
func Need(t testing.TB, peer string, programs ...string) []string {
	t.Helper()
	paths := make([]string, 0, len(programs))
	for _, p := range programs {
		path, err := lookPath(p)
		if err != nil {
			Missing(t, peer, fmt.Sprintf("%s is not installed", p))
		}
		paths = append(paths, path)
	}
	return paths
}

// Missing skips the test because of an absent peer, or fails it where the peer is required.
func Missing(t testing.TB, peer, why string) {
	t.Helper()
	if Required(peer) {
		t.Fatalf("peer %s is required here, but %s", peer, why)
	}
	t.Skipf("peer %s is absent: %s (scripts/peers.sh installs it)", peer, why)
}

// Required reports whether SALLYPORT_TEST_REQUIRE names the peer.
func Required(peer string) bool {
	names := strings.Split(os.Getenv("SALLYPORT_TEST_REQUIRE"), ",")
	return slices.Contains(names, peer) || slices.Contains(names, "all")
}

// lookPath also looks into the sbin folders, which are not on everybody's PATH.
func lookPath(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// Port returns a TCP port on 127.0.0.1 that is free, below Linux's ephemeral range. Until the test ends no other test gets
// it, of this process or of another: they run side by side, and a port is not taken before its server listens.
func Port(t testing.TB) int {
	t.Helper()
	for range 200 {
		port := 10000 + rand.IntN(22000) //nolint:gosec // a port is no secret
		release, ok := reserve(port)
		if !ok {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = l.Close()
			t.Cleanup(release)
			return port
		}
		release()
	}
	t.Fatal("no free port between 10000 and 32000")
	return 0
}

// reserve takes a lock that goes with the process, however it ends.
func reserve(port int) (release func(), ok bool) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("sallyport-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false
	}
	f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // a number in a folder of ours
	if err != nil {
		return nil, false
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, false
	}
	return func() { _ = f.Close() }, true
}

// Dir returns a new folder that every user can enter (t.TempDir makes closed ones) and that goes with the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sallyport-peer-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // peers run as other users and must get in
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Process is a running peer.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	out  *lockedBuffer
}

// Start runs a program in its own process group until the test ends. env is added to ours.
func Start(t testing.TB, dir string, env []string, program string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(program, args...) //nolint:gosec // test peers only
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{}), out: out}
	go func() { _ = cmd.Wait(); close(p.done) }()
	t.Cleanup(p.Stop)
	return p
}

// Stop ends the process group: TERM, and KILL after five seconds. It may be called twice.
func (p *Process) Stop() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// Signal sends a signal to the process group.
func (p *Process) Signal(sig syscall.Signal) error { return syscall.Kill(-p.cmd.Process.Pid, sig) }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Output is what the process printed so far.
func (p *Process) Output() string { return p.out.String() }

// WaitPort waits until the process accepts connections at address.
func (p *Process) WaitPort(t testing.TB, address string) {
	t.Helper()
	p.Wait(t, address, func() error {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

// Wait tries until try succeeds, the process dies or 30 s have passed.
func (p *Process) Wait(t testing.TB, what string, try func() error) {
	t.Helper()
	if err := Eventually(30*time.Second, p.done, try); err != nil {
		t.Fatalf("%s: %v\n%s", what, err, p.Output())
	}
}

// Eventually tries until try succeeds; it returns the last error when the time is over or gone is closed.
func Eventually(limit time.Duration, gone <-chan struct{}, try func() error) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-gone:
			return errors.Join(errors.New("the process died"), err)
		case <-deadline.C:
			return err
		case <-tick.C:
		}
	}
}

// lockedBuffer keeps the output of a process.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
