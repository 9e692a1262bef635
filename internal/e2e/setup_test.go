package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"sallyport/internal/testenv"
)

// fresh starts the broker without any file in a folder, as somebody does who tries it, on ports of its own.
func fresh(t *testing.T, dir string) (p *program, issuer string) {
	t.Helper()
	port, operations := testenv.Port(t), testenv.Port(t)
	issuer = fmt.Sprintf("http://localhost:%d", port)
	p = start(t, dir, []string{
		fmt.Sprintf("SALLYPORT_SERVER_LISTEN=127.0.0.1:%d", port), "SALLYPORT_SERVER_ISSUER=" + issuer,
		fmt.Sprintf("SALLYPORT_SERVER_OPERATIONS_LISTEN=127.0.0.1:%d", operations),
	}, "serve")
	ready := fmt.Sprintf("http://127.0.0.1:%d/healthz/ready", operations)
	p.wait(t, "readiness", func() error { return answers(ready, 200) })
	return p, issuer
}

// setupLink is the link that the terminal shows, once it is there.
func (p *program) setupLink(t *testing.T, issuer string) string {
	t.Helper()
	link := ""
	p.wait(t, "the set-up link", func() error {
		link = regexp.MustCompile(regexp.QuoteMeta(issuer) + `/setup\?code=\S+`).FindString(p.stderr.String())
		if link == "" {
			return errors.New("it is not printed")
		}
		return nil
	})
	return link
}

func end(t *testing.T, p *program) {
	t.Helper()
	if err := p.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// setUp fills the set-up form in.
func setUp(b *testenv.Browser, link, name string) {
	b.Open(link)
	b.Fill("User name", name)
	b.Fill("Full name", "Ada First")
	b.Fill("Password", passwordOf(name))
	b.Click("Create administrator")
}

func TestLOC09_TheFirstAdministratorComesFromTheLinkPrintedLast(t *testing.T) {
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	dir := t.TempDir()
	first, issuer := fresh(t, dir)
	stale := first.setupLink(t, issuer)
	end(t, first)

	p, issuer := fresh(t, dir)
	link := p.setupLink(t, issuer)
	_, code, _ := strings.Cut(stale, "?")
	setUp(b, issuer+"/setup?"+code, "early")
	b.WaitText("The set-up link is wrong, was used already or has expired.")

	b.Open(link) // as a scanner of links does
	setUp(b, link, "ada")
	b.WaitText("The first administrator was created. Sign in with the new account.")
	b.Fill("E-mail or user name", "ada")
	b.Click("Continue")
	b.WaitURL("/login/password")
	b.Fill("Password", passwordOf("ada"))
	b.Click("Sign in")
	b.WaitURL("/me")
	for _, text := range []string{"Ada First", "sallyport:*", "Granted by hand"} {
		b.WaitText(text)
	}

	again := b.NewContext()
	setUp(again, link, "second")
	again.WaitText("The set-up link is wrong, was used already or has expired.")
	people := run(t, dir, "", nil, "user", "list")
	if people.code != 0 || !strings.Contains(people.stdout, "ada") || strings.Count(people.stdout, "\n") != 2 {
		t.Errorf("there should be ada alone (exit code %d):\n%s%s", people.code, people.stdout, people.stderr)
	}
	end(t, p)

	third, _ := fresh(t, dir)
	if strings.Contains(third.stderr.String(), "/setup") {
		t.Error("a set-up link is printed although there is an administrator")
	}
	end(t, third)
	open := func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others: %04o", path, info.Mode().Perm())
		}
		return err
	}
	if err := filepath.WalkDir(filepath.Join(dir, "data"), open); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("more than data was made: %v %v", entries, err)
	}
}
