package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/configs"
	"sallyport/internal/demo/directory"
	"sallyport/internal/testenv"
	"sallyport/providers"
)

// lockedLog is a log that is read while it is written.
type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// lightHouse is a running server with local accounts and a directory whose authority's certificate is missing.
type lightHouse struct {
	*server
	t          *testing.T
	dir        string
	issuer     string
	operations string
	directory  *directory.Server
	lines      *lockedLog
}

const lightPassword = "lantern-keeper-4711-lantern"

func newLightHouse(t *testing.T) *lightHouse {
	t.Helper()
	l := &lightHouse{t: t, dir: t.TempDir(), lines: &lockedLog{}}
	var err error
	l.directory, err = directory.Start(t.Context(), directory.Options{
		Listen: "127.0.0.1:0",
		People: []directory.Person{{Username: "ada", Name: "Ada", Password: lightPassword, Groups: []string{"Staff"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.directory.Close() })
	l.issuer = fmt.Sprintf("http://sso.localhost:%d", testenv.Port(t))
	l.operations = fmt.Sprintf("127.0.0.1:%d", testenv.Port(t))
	l.write("ldap.secret", l.directory.BindPassword)
	l.write("sallyport.yaml", l.config())
	l.start()
	return l
}

func (l *lightHouse) write(name, content string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, name), []byte(content), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lightHouse) config() string {
	return fmt.Sprintf(`server: {issuer: %q, operations_listen: %q}
storage: {sqlite: {path: data/sallyport.db}}
login: {default_provider: local}
providers:
  local: {type: local}
  directory:
    type: ldap
    title: Corp directory
    urls: [%q]
    tls: {ca_file: ca.pem}
    bind_dn: %q
    bind_password: file:ldap.secret
    users: {base: %q}
roles: {viewer: {permissions: ["*:read"]}}
mapping: {default_roles: [viewer]}
`, l.issuer, l.operations, l.directory.URL, l.directory.BindDN, l.directory.PeopleDN)
}

// start runs the server until the test ends.
func (l *lightHouse) start() {
	l.t.Helper()
	console := &console{out: io.Discard, err: io.Discard, env: func(string) (string, bool) { return "", false }}
	file := filepath.Join(l.dir, "sallyport.yaml")
	config, _, err := readConfig(console, file)
	if err != nil {
		l.t.Fatal(err)
	}
	h, err := openHouse(l.t.Context(), config, slog.New(slog.NewTextHandler(l.lines, nil)))
	if err != nil {
		l.t.Fatalf("a missing file keeps the house from opening: %v", err)
	}
	lena := broker.NewPerson{Username: "lena", Password: lightPassword}
	if _, err := h.broker.AddPerson(l.t.Context(), h.visit(), actor, lena); err != nil {
		l.t.Fatal(err)
	}
	_, port, _ := strings.Cut(l.issuer, "localhost:")
	listener, err := (&net.ListenConfig{}).Listen(l.t.Context(), "tcp", "127.0.0.1:"+port)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(l.t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	l.server = &server{house: h, console: console, config: config, file: file, ready: func() { close(ready) }}
	go func() { ended <- errors.Join(l.serve(ctx, listener, nil), h.close()) }()
	l.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			l.t.Errorf("the end of the server: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		l.t.Fatalf("the server does not start: %v", err)
	}
}

// ask sends a request to an address in the name of a host.
func (l *lightHouse) ask(method, address, host, body string) (status int, header http.Header, answer string) {
	l.t.Helper()
	r, err := http.NewRequestWithContext(l.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	r.Host = host
	r.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// signIn returns the status and the code of a sign-in.
func (l *lightHouse) signIn(provider, username string) (int, string) {
	l.t.Helper()
	host := strings.TrimPrefix(l.issuer, "http://")
	_, port, _ := strings.Cut(host, ":")
	body := fmt.Sprintf(`{"username": %q, "password": %q, "provider": %q}`, username, lightPassword, provider)
	status, header, _ := l.ask(http.MethodPost, "http://127.0.0.1:"+port+"/api/auth/login", host, body)
	return status, header.Get("X-Error")
}

// light is what readiness says of the directory.
type light struct{ State, Error string }

func (l *lightHouse) light() light {
	l.t.Helper()
	status, _, body := l.ask(http.MethodGet, "http://"+l.operations+"/healthz/ready", "", "")
	var answer struct{ Providers map[string]light }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK {
		l.t.Fatalf("readiness: %d %s", status, body)
	}
	return answer.Providers["directory"]
}

func (l *lightHouse) await(state, words string) {
	l.t.Helper()
	if err := testenv.Eventually(30*time.Second, nil, func() error {
		if now := l.light(); now.State != state || !strings.Contains(now.Error, words) {
			return fmt.Errorf("the directory is %s %q, want %s %q", now.State, now.Error, state, words)
		}
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lightHouse) metric(line string) bool {
	l.t.Helper()
	_, _, body := l.ask(http.MethodGet, "http://"+l.operations+"/metrics", "", "")
	return strings.Contains(body, line)
}

func TestAProviderThatCannotBeOpenedIsARedLightUntilItCan(t *testing.T) {
	l := newLightHouse(t)
	l.await("down", "cannot be opened: tls.ca_file: ")
	if !l.metric(`sallyport_provider_up{provider="directory",type="ldap"} 0`) ||
		!l.metric(`sallyport_provider_up{provider="local",type="local"} 1`) {
		t.Error("the metrics show other lights")
	}
	if status, code := l.signIn("local", "lena"); status != http.StatusOK {
		t.Errorf("the way in for emergencies: %d %s", status, code)
	}
	if status, code := l.signIn("directory", "ada"); status != http.StatusServiceUnavailable || code != "provider_unavailable" {
		t.Errorf("at the broken door: %d %s", status, code)
	}
	if doors := l.broker.Current().Doors(); len(doors) != 2 || doors[0].Title != "Corp directory" || !doors[0].Typed {
		t.Errorf("doors: %+v", doors)
	}

	l.write("ca.pem", "this is no certificate")
	if err := l.mend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := providers.BrokenBy(l.broker.Current().Providers.All()[0]); s == nil || !strings.Contains(s.Error(), "no certificate") {
		t.Errorf("what is wrong now: %v", s)
	}

	generation := l.broker.Current().Generation
	l.write("ca.pem", string(l.directory.CAPEM))
	l.await("up", "")
	if status, code := l.signIn("directory", "ada"); status != http.StatusOK {
		t.Errorf("at the mended door: %d %s", status, code)
	}
	if !l.metric(`sallyport_provider_up{provider="directory",type="ldap"} 1`) {
		t.Error("the metrics show another light")
	}
	if now := l.broker.Current().Generation; now != generation {
		t.Errorf("generation %d became %d, though the configuration is the same", generation, now)
	}

	if err := l.directory.Close(); err != nil {
		t.Fatal(err)
	}
	if status, code := l.signIn("directory", "ada"); status != http.StatusServiceUnavailable || code != "provider_unavailable" {
		t.Errorf("at the door without a directory: %d %s", status, code)
	}
	l.await("down", "connection refused")
	for line, want := range map[string]int{"provider is down": 2, "provider is up again": 1} {
		if got := l.lines.count(line); got != want {
			t.Errorf("%q stands %d times in the log, want %d", line, got, want)
		}
	}
}

func TestAReloadWithAProviderThatCannotBeOpenedIsDone(t *testing.T) {
	l := newLightHouse(t)
	l.write("sallyport.yaml", strings.Replace(l.config(), "Corp directory", "Another name", 1))
	if err := testenv.Eventually(30*time.Second, nil, func() error {
		if doors := l.broker.Current().Doors(); doors[0].Title != "Another name" {
			return fmt.Errorf("doors: %+v", doors)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if l.ConfigurationRefused() {
		t.Error("the configuration is said to be refused")
	}
	l.await("down", "cannot be opened")
}

func TestExitCodesTellAFindingFromAFault(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "sallyport.yaml")
	const text = `server: {issuer: "http://localhost:8080"}
providers:
  local: {type: local}
  corp:
    type: ldap
    urls: [ldaps://127.0.0.1:1]
    tls: {ca_file: missing.pem}
    bind_dn: cn=svc
    bind_password: env:SECRET
    users: {base: ou=people}
roles: {viewer: {}}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(name string) (string, bool) { return "a secret of the test", name == "SECRET" }
	for command, want := range map[string]int{
		"provider list":         exitFinding,
		"provider list --json":  exitFinding,
		"provider test corp":    exitFinding,
		"provider test local":   0,
		"provider test nobody":  exitFault,
		"config check":          exitFinding,
		"config check --json":   exitFinding,
		"provider list -c none": exitFault,
	} {
		t.Run(command, func(t *testing.T) {
			args := strings.Fields(command)
			if !strings.Contains(command, "-c") {
				args = append(args, "-c", file)
			}
			var out, wrong bytes.Buffer
			if got := run(t.Context(), args, &console{out: &out, err: &wrong, env: env}); got != want {
				t.Errorf("ends with %d, want %d: %s%s", got, want, &out, &wrong)
			}
		})
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("looking made something: %v %v", entries, err)
	}
}

func TestEveryKindButLocalHasAStandIn(t *testing.T) {
	for name, settings := range providerTypes() {
		as, ok := abilityOf(&configs.Provider{ID: "x", Type: name, Settings: settings()})
		if want := name != "local"; ok != want {
			t.Errorf("%s: stand-in %v, want %v", name, ok, want)
		}
		if want, known := map[string]providers.Ability{
			"ldap": providers.AsPassword, "oidc": providers.AsRedirect, "saml": providers.AsPosted, "jwt": providers.AsToken,
		}[name]; known && as != want {
			t.Errorf("%s: ability %d, want %d", name, as, want)
		}
	}
}

func TestLocalIsNeverReplacedSilently(t *testing.T) {
	c, _, err := configs.Load("", providerTypes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	unwired := opener{log: slog.New(slog.DiscardHandler), now: time.Now}
	if set, err := unwired.open(t.Context(), c); err == nil {
		set.Close()
		t.Fatal("local accounts cannot be opened, and nobody is told")
	}
}
