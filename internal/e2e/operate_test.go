package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rolesNow are the roles that the application is told for a credential.
func (w *world) rolesNow(c credential) string {
	w.t.Helper()
	a := get(w.t, w.app+"/", c.header, c.value)
	if a.status != http.StatusOK {
		return fmt.Sprintf("status %d", a.status)
	}
	return a.heard(w.t).Header.Get("X-Auth-Roles")
}

// rolesBecome waits until the application is told these roles.
func (w *world) rolesBecome(t *testing.T, c credential, want string) time.Duration {
	t.Helper()
	begun := time.Now()
	w.server.wait(t, "the roles "+want, func() error {
		if got := w.rolesNow(c); got != want {
			return fmt.Errorf("they are %q", got)
		}
		return nil
	})
	return time.Since(begun)
}

// refusals counts how often a configuration was refused.
func (w *world) refusals() int {
	return strings.Count(w.server.stderr.String(), "configuration refused, the earlier one stays in force")
}

func TestREL08_ReloadIsAllOrNothing(t *testing.T) {
	w := newWorld(t, options{})
	c := bearer(w.token(local("lena"), "app"))
	if got := w.rolesNow(c); got != "operator,viewer" {
		t.Fatalf("roles at the beginning: %q", got)
	}

	const both, less = "only: [viewer, operator]}", "group: operator, roles: [viewer]}"
	w.editConfig("copy: groups, "+both, less)
	// The file is looked at every five seconds; the rest is for a busy machine.
	if took := w.rolesBecome(t, c, "viewer"); took > 15*time.Second {
		t.Errorf("a changed file was in force after %v only", took)
	}

	w.editConfig("permissions: [\"*:read\"]", "grants: [\"*:read\"]")
	w.server.wait(t, "the broken file to be refused", func() error {
		if w.refusals() == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	if got := w.rolesNow(c); got != "viewer" {
		t.Errorf("with a broken file: roles %q", got)
	}
	w.token(local("lena"), "app") // sign-in goes on, too
	check := run(t, w.dir, "", w.secrets(), "--config", w.file, "config", "check")
	if check.code != 2 {
		t.Errorf("config check: exit code %d, want 2", check.code)
	}
	if !regexp.MustCompile(`sallyport\.yaml:[0-9]+:[0-9]+: .*grants`).MatchString(check.stdout) {
		t.Errorf("config check does not say where:\n%s%s", check.stdout, check.stderr)
	}
	metrics := get(t, w.operations+"/metrics").body
	if !regexp.MustCompile(`sallyport_events_total\{[^}]*type="config.refused"\} [1-9]`).MatchString(metrics) {
		t.Error("the metrics do not count the refusal")
	}
	if ready := get(t, w.operations+"/healthz/ready"); ready.status != 200 || !strings.Contains(ready.body, "refused, the earlier one") {
		t.Errorf("health does not tell of the refused file: %d %s", ready.status, ready.body)
	}

	before := w.refusals()
	w.hangUp(t)
	w.server.wait(t, "SIGHUP to look again", func() error {
		if w.refusals() == before {
			return errors.New("nothing was said")
		}
		return nil
	})
	w.editConfig("grants: [", "permissions: [")
	w.editConfig(less, "copy: groups, "+both)
	w.hangUp(t)
	w.rolesBecome(t, c, "operator,viewer")
	select {
	case <-w.server.done:
		t.Error("the process ended")
	default:
	}
}

func (w *world) hangUp(t *testing.T) {
	t.Helper()
	if err := w.server.signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func TestREL09_SIGTERMLetsARequestUnderWayFinish(t *testing.T) {
	w := newWorld(t, options{})
	body := fmt.Sprintf(`{"username":"lena","password":%q}`, passwordOf("lena"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	at := "127.0.0.1" + w.issuer[strings.LastIndex(w.issuer, ":"):]
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST /api/auth/login HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", host(w.issuer), len(body))
	if err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	line, err := answers.ReadString('\n')
	if err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("the handler does not wait for the body: %q %v", line, err)
	}
	if _, err := answers.ReadString('\n'); err != nil { // the empty line
		t.Fatal(err)
	}

	if err := w.server.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	w.server.wait(t, "readiness to go off", func() error {
		a := get(t, w.operations+"/healthz/ready")
		if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "stopping") {
			return fmt.Errorf("it is %d %s", a.status, a.body)
		}
		return nil
	})
	if a := get(t, w.operations+"/healthz/live"); a.status != http.StatusOK {
		t.Errorf("a stopping process is not alive: %d", a.status)
	}
	w.server.wait(t, "new connections to be refused", func() error {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", at)
		if err == nil {
			c.Close()
			return errors.New("they are taken")
		}
		return nil
	})
	if _, err := io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatalf("the request under way was dropped: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the request under way: %s", resp.Status)
	}
	if code := w.server.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	w.server.gone(t)
}

func TestREL09_ARequestThatNeverEndsKeepsNoProcess(t *testing.T) {
	w := newWorld(t, options{})
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1"+w.issuer[strings.LastIndex(w.issuer, ":"):])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "POST /api/auth/login HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+
		"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n", host(w.issuer))
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("the handler does not wait for the body: %q %v", line, err)
	}
	begun := time.Now()
	if code := w.stopServer(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}
