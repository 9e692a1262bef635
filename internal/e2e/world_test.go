package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sallyport/internal/testenv"
)

// The local people of every world, with their groups; a password is passwordOf the name.
func localPeople() map[string]string { return map[string]string{"lena": "operator", "omar": "viewer"} }

func passwordOf(name string) string { return "quiet-harbour-" + name + "-4711" }

// world is a house with everything around it: upstreams where asked for, nginx, applications, people.
type world struct {
	t                  testing.TB
	dir, file          string
	issuer, operations string
	app, reports       string // addresses of applications for viewers; reports gets a token
	vault              string // the address of one for operators only
	directory          *testenv.Directory
	oidc               *testenv.OIDC
	saml               *testenv.SimpleSAML
	nginx              *testenv.NginxServer
	echo               *echo
	server             *program
	// cluster is what stands before several processes; nil where there is one.
	cluster *cluster
	// variables are added to every process's environment.
	variables []string
}

// options say what a world needs beyond local people and nginx.
type options struct {
	directory, oidc, saml bool
	// sealed has requests to the SAML provider signed, and its assertions encrypted.
	sealed bool
	level  string // of the log; default info
	// cluster has two processes on one PostgreSQL server, with a front that sends every request to the other one.
	cluster bool
	// variables are added to every process's environment.
	variables []string
	// more adds applications, and sections of their own, to the file.
	more func(w *world) (applications, sections string)
}

// newWorld starts everything and ends it with the test. Browsers are started after it, so that they end before: the
// connections they open in advance would hold the broker up for five seconds.
func newWorld(t testing.TB, o options) *world {
	t.Helper()
	testenv.Need(t, "nginx", "nginx")
	w := &world{t: t, dir: t.TempDir(), echo: newEcho(t), variables: o.variables}
	port, operations, front := testenv.Port(t), testenv.Port(t), testenv.Port(t)
	w.issuer = fmt.Sprintf("http://sso.localhost:%d", port)
	w.operations = fmt.Sprintf("http://127.0.0.1:%d", operations)
	w.app = fmt.Sprintf("http://app.localhost:%d", front)
	w.reports = fmt.Sprintf("http://reports.localhost:%d", front)
	w.vault = fmt.Sprintf("http://vault.localhost:%d", front)
	if o.directory {
		w.directory = testenv.Slapd(t)
	}
	if o.oidc {
		w.oidc = testenv.OIDCProvider(t, testenv.OIDCOptions{RedirectURIs: []string{w.issuer + "/callback/partner"}})
	}
	if o.level == "" {
		o.level = "info"
	}
	if o.saml {
		w.saml = testenv.SimpleSAMLphp(t)
	}
	w.file = filepath.Join(w.dir, "sallyport.yaml")
	w.writeConfig(w.config(port, operations, o))
	if o.cluster {
		w.cluster = newCluster(w, port)
	}
	w.nginx = testenv.Nginx(t, testenv.NginxOptions{
		Port: front, Issuer: strings.TrimPrefix(w.issuer, "http://"), Sallyport: fmt.Sprintf("127.0.0.1:%d", port),
		Sites: []testenv.NginxSite{
			{Host: "app.localhost", Upstream: w.echo.address()},
			{Host: "reports.localhost", Upstream: w.echo.address()},
			{Host: "vault.localhost", Upstream: w.echo.address()},
		},
	})
	w.serve()
	if o.saml {
		w.registerAtCampus(o.sealed)
	}
	for name, group := range localPeople() {
		w.command(passwordOf(name)+"\n", "user", "add", name, "--email", name+"@house.example", "--group", group)
	}
	return w
}

// serve starts the broker and waits until it is ready.
func (w *world) serve() {
	w.t.Helper()
	if w.cluster != nil {
		w.cluster.serve(w)
		return
	}
	w.server = start(w.t, w.dir, w.secrets(), "serve", "--config", w.file)
	w.server.wait(w.t, "readiness", func() error { return answers(w.operations+"/healthz/ready", http.StatusOK) })
}

// second is another process of the same house: on the same store, reached at another port under the same name.
type second struct{ issuer, here string }

// at is an address at this process, if it is one of the issuer's.
func (s *second) at(address string) string {
	if rest, ok := strings.CutPrefix(address, s.issuer+"/"); ok {
		return s.here + "/" + rest
	}
	return address
}

// second starts another process beside the first, with an operations listener of its own.
func (w *world) second() *second {
	w.t.Helper()
	s := &second{w.issuer, fmt.Sprintf("http://127.0.0.1:%d", testenv.Port(w.t))}
	operations := fmt.Sprintf("127.0.0.1:%d", testenv.Port(w.t))
	env := append(w.secrets(), "SALLYPORT_SERVER_LISTEN="+host(s.here), "SALLYPORT_SERVER_OPERATIONS_LISTEN="+operations)
	p := start(w.t, w.dir, env, "serve", "--config", w.file)
	p.wait(w.t, "readiness of the second", func() error { return answers("http://"+operations+"/healthz/ready", http.StatusOK) })
	return s
}

// secrets is the environment that the configuration takes its secrets from.
func (w *world) secrets() []string {
	env := append([]string{"VAULT_SECRET=" + vaultSecret, "NOTES_SECRET=" + notesSecret}, w.variables...)
	if w.cluster != nil {
		env = append(env, "SALLYPORT_STORAGE_POSTGRES_URL="+w.cluster.database.URL)
	}
	if w.directory != nil {
		env = append(env, "DIRECTORY_PASSWORD="+w.directory.BindPassword)
	}
	if w.oidc != nil {
		env = append(env, "PARTNER_SECRET="+w.oidc.ClientSecret)
	}
	return env
}

// vaultSecret signs the tokens of the application vault (HS256), notesSecret those of notes where there is one.
const (
	vaultSecret = "a-shared-secret-of-more-than-thirty-two-bytes"
	notesSecret = "another-shared-secret-of-more-than-thirty-two-bytes"
)

// command runs the command line beside the running server; it must succeed.
func (w *world) command(input string, args ...string) string {
	w.t.Helper()
	r := run(w.t, w.dir, input, w.secrets(), append([]string{"--config", w.file}, args...)...)
	if r.code != 0 {
		w.t.Fatalf("sallyport %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

func (w *world) writeConfig(text string) {
	w.t.Helper()
	// Written beside and moved into place, as editors do: nobody reads half a file.
	part := w.file + ".part"
	if err := errors.Join(os.WriteFile(part, []byte(text), 0o600), os.Rename(part, w.file)); err != nil {
		w.t.Fatal(err)
	}
}

// editConfig replaces text in the configuration file.
func (w *world) editConfig(from, to string) {
	w.t.Helper()
	text, err := os.ReadFile(w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		w.t.Fatalf("the configuration does not say %q", from)
	}
	w.writeConfig(strings.ReplaceAll(string(text), from, to))
}

// config is the file an administrator would write. Directory and provider spell their groups in their own ways; what
// comes out are the same roles.
func (w *world) config(port, operations int, o options) string {
	var providers, rules, domains, applications, sections string
	if d := w.directory; d != nil {
		domains += "example.test: corp"
		providers += fmt.Sprintf(`
  corp: # LDAPS and a service account
    type: ldap
    title: Corp directory
    urls: [%q]
    tls: {ca_file: %q}
    bind_dn: %q
    bind_password: env:DIRECTORY_PASSWORD
    users: {base: %q, filter: "(&(objectClass=person)(|(uid={username})(mail={username})))"}
    groups: {base: %q, nested: true}
  branch: # the same people through StartTLS and a DN template
    type: ldap
    title: Branch directory
    urls: [%q]
    tls: {ca_file: %q, start_tls: true}
    user_dn: "uid={username},%s"
    attributes: {groups: memberOf}`,
			d.LDAPSURL, d.CAFile, d.BindDN, d.PeopleDN, d.GroupsDN, d.URL, d.CAFile, d.PeopleDN)
		rules += fmt.Sprintf(`
    - {provider: corp, group_dn: "CN=Eng,%[1]s", roles: [operator]}
    - {provider: corp, group_dn: "cn=staff,%[1]s", roles: [viewer]}
    - {provider: branch, group_dn: "cn=eng,%[1]s", roles: [operator]}`, d.GroupsDN)
	}
	if w.oidc != nil {
		if domains != "" {
			domains += ", "
		}
		domains += "partner.example: partner"
		providers += fmt.Sprintf(`
  partner:
    type: oidc
    title: Partner
    issuer: %q
    client_id: %s
    client_secret: env:PARTNER_SECRET
    scopes: [openid, profile, email, groups]`, w.oidc.Issuer, w.oidc.ClientID)
		rules += `
    - {provider: partner, group: engineering, roles: [operator]}
    - {provider: partner, group: everyone, roles: [viewer]}`
	}
	if w.saml != nil {
		providers += w.campusConfig(o.sealed)
		rules += `
    - {provider: campus, group: engineering, roles: [operator]}
    - {provider: campus, group: everyone, roles: [viewer]}`
	}
	if o.more != nil {
		applications, sections = o.more(w)
	}
	return fmt.Sprintf(`server:
  issuer: %s
  listen: 127.0.0.1:%d
  operations_listen: 127.0.0.1:%d
  trusted_proxies: [127.0.0.1]
storage: {sqlite: {path: data/sallyport.db}}
log: {level: %s}
login:
  default_provider: local
  domains: {%s}
providers:
  local: {type: local, title: House accounts}%s
roles:
  operator: {inherits: [viewer], permissions: ["hosts:*"]}
  viewer: {permissions: ["*:read"]}
  auditor: {permissions: ["audit:read"]}
mapping:
  rules:
    - {provider: local, copy: groups, only: [viewer, operator]}%s
throttle: {requests_per_minute: 100000} # everybody here is 127.0.0.1
applications:
  app: {title: Host manager, url: %s/, require: [viewer]}
  reports: {title: Reports, url: %s/, require: [viewer], forward_token: true}
  vault: {title: Vault, url: %s/, require: [operator], algorithm: HS256, secret: env:VAULT_SECRET}
%s%s`, w.issuer, port, operations, o.level, domains, providers, rules, w.app, w.reports, w.vault, applications, sections)
}

// answers is nil when a GET has this status.
func answers(address string, status int) error {
	resp, err := (&http.Client{Timeout: patience}).Get(address)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != status {
		body, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s: %s %s", address, resp.Status, body)
	}
	return nil
}

// echo is the application behind nginx: it answers with what reached it.
type echo struct {
	server *httptest.Server
	mu     sync.Mutex
	seen   []heard
}

// heard is one request as the application saw it.
type heard struct {
	Method string      `json:"method"`
	Host   string      `json:"host"`
	URL    string      `json:"url"`
	Header http.Header `json:"header"`
}

func newEcho(t testing.TB) *echo {
	e := &echo{}
	e.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := heard{r.Method, r.Host, r.URL.RequestURI(), r.Header.Clone()}
		e.mu.Lock()
		e.seen = append(e.seen, h)
		e.mu.Unlock()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8") // so that a browser shows it as it is
		_ = json.NewEncoder(w).Encode(h)
	}))
	t.Cleanup(e.server.Close)
	return e
}

func (e *echo) address() string { return strings.TrimPrefix(e.server.URL, "http://") }

// all are the requests that reached the application so far.
func (e *echo) all() []heard {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]heard(nil), e.seen...)
}

// stopServer ends the broker and returns its exit code.
func (w *world) stopServer() int {
	w.t.Helper()
	if err := w.server.signal(syscall.SIGTERM); err != nil {
		w.t.Fatal(err)
	}
	return w.server.exit(w.t)
}
