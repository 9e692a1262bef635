package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/internal/testenv"
)

// patience is how long a process may take for one step on a busy machine.
const patience = 60 * time.Second

// build makes the binary once for all tests of this run. The file has lost its name already when this returns: it lives
// as long as this process holds it open, so nothing is left behind.
var build = sync.OnceValues(func() (*os.File, error) {
	dir, err := os.MkdirTemp("", "sallyport-e2e-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "sallyport")
	cmd := exec.Command("go", "build", "-o", file, "sallyport/cmd/sallyport")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return os.Open(file)
})

// binary is the name under which the built product can be run.
func binary(t testing.TB) string {
	t.Helper()
	file, err := build()
	if err != nil {
		t.Fatalf("build sallyport: %v", err)
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd())
}

// program is a running sallyport.
type program struct {
	cmd            *exec.Cmd
	done           chan struct{}
	stdout, stderr *output
}

// start runs the binary in a process group of its own until the test ends.
func start(t testing.TB, dir string, env []string, args ...string) *program {
	t.Helper()
	cmd := exec.Command(binary(t), args...)
	cmd.Dir, cmd.Env = dir, append(cleanEnv(), env...)
	p := &program{cmd: cmd, done: make(chan struct{}), stdout: &output{}, stderr: &output{}}
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("sallyport %s said:\n%s", strings.Join(args, " "), tail(p.stderr.String()))
		}
		select {
		case <-p.done: // its number may be somebody else's by now
			return
		default:
			_ = p.signal(syscall.SIGTERM)
		}
		select {
		case <-p.done:
		case <-time.After(patience):
			_ = p.signal(syscall.SIGKILL)
			<-p.done
			t.Error("sallyport did not end on SIGTERM")
		}
	})
	return p
}

// tail keeps a failing test readable.
func tail(s string) string {
	const most = 8 << 10
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}

// cleanEnv is ours without what would configure the binary.
func cleanEnv() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SALLYPORT_") {
			env = append(env, v)
		}
	}
	return env
}

func (p *program) signal(s syscall.Signal) error { return syscall.Kill(-p.cmd.Process.Pid, s) }

// exit waits for the end and returns the exit code.
func (p *program) exit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatal("the process does not end")
		return -1
	}
}

// gone fails the test when a process of the group is left.
func (p *program) gone(t testing.TB) {
	t.Helper()
	if err := p.signal(0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("a process of the group is left (%v)", err)
	}
}

// wait tries until try succeeds.
func (p *program) wait(t testing.TB, what string, try func() error) {
	t.Helper()
	if err := testenv.Eventually(patience, p.done, try); err != nil {
		t.Fatalf("waited for %s: %v", what, err)
	}
}

// ran is what a command of the binary did.
type ran struct {
	code           int
	stdout, stderr string
}

// run runs the binary to its end.
func run(t testing.TB, dir, input string, env []string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t), args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdin = dir, append(cleanEnv(), env...), strings.NewReader(input)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// output keeps what a process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*output)(nil)

// Write see io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String is everything so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
