package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"sallyport/broker"
	"sallyport/configs"
	"sallyport/internal/demo/apps"
	"sallyport/internal/demo/directory"
	"sallyport/internal/demo/idp"
)

type demoCmd struct {
	Listen string `default:"127.0.0.1:8080" help:"Loopback address to listen on; port 0 takes any."`
	JSON   bool   `help:"Print one JSON line on standard output once everything answers."`
}

// Run starts everything in a folder of its own that goes with it: nothing is left behind.
func (d demoCmd) Run(ctx context.Context, c *console) (err error) {
	listener, err := listenLoopback(ctx, d.Listen)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sallyport-demo-")
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	demo := newDemo(dir, listener, newLog(c, configs.Log{Level: demoLevel(d.JSON)}))
	return demo.run(ctx, c, d.JSON)
}

// demoLevel keeps the terminal free for the guide.
func demoLevel(quiet bool) string {
	if quiet {
		return "info"
	}
	return "warn"
}

// listenLoopback refuses addresses that others could reach: the demo's people are printed on a terminal.
func listenLoopback(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("the demo listens on loopback addresses only, not on %q", host)
	}
	return (&net.ListenConfig{}).Listen(ctx, "tcp", address)
}

// demoPerson is somebody to try the demo with.
type demoPerson struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Provider string `json:"provider"`

	name   string
	groups []string
	admin  bool
}

type demoProvider struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	LoginURL string `json:"login_url"`
}

type demoApplication struct {
	ID  string `json:"id"`
	URL string `json:"url"`
}

// demoLine is what --json prints.
type demoLine struct {
	Issuer       string            `json:"issuer"`
	Dial         string            `json:"dial"`
	People       []demoPerson      `json:"people"`
	Providers    []demoProvider    `json:"providers"`
	Applications []demoApplication `json:"applications"`
	Admin        *demoAdmin        `json:"admin"`
}

type demoAdmin struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// demo is the whole of it before it runs.
type demo struct {
	dir      string
	listener net.Listener
	log      *slog.Logger
	line     demoLine
	apps     []apps.Application
}

// The ids of the demo's providers, and the domains their people's names end in.
const (
	demoLocal, demoDirectory, demoPartner = "local", "directory", "partner"
	directoryDomain, partnerDomain        = "corp.example", "partner.example"
)

func newDemo(dir string, l net.Listener, log *slog.Logger) *demo {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	issuer := "http://sso.localhost:" + port
	d := &demo{dir: dir, listener: l, log: log}
	d.line = demoLine{
		Issuer: issuer, Dial: l.Addr().String(), People: demoPeople(),
		Providers: []demoProvider{
			{demoLocal, "local", issuer + "/login?idp_hint=" + demoLocal},
			{demoDirectory, "ldap", issuer + "/login?idp_hint=" + demoDirectory},
			{demoPartner, "oidc", issuer + "/login?idp_hint=" + demoPartner},
		},
	}
	d.apps = []apps.Application{
		{ID: "app", Title: "Host manager", Host: "app.localhost:" + port},
		{ID: "reports", Title: "Reports", Host: "reports.localhost:" + port, Offline: true},
	}
	for _, a := range d.apps {
		d.line.Applications = append(d.line.Applications, demoApplication{a.ID, "http://" + a.Host + "/"})
	}
	for _, p := range d.line.People {
		if p.admin {
			d.line.Admin = &demoAdmin{p.Username, p.Password}
		}
	}
	return d
}

// demoPeople are made anew for each run: there are no default passwords anywhere, not even here.
func demoPeople() []demoPerson {
	people := []demoPerson{
		{Username: "lena", Provider: demoLocal, name: "Lena Local", groups: []string{"operator"}},
		{Username: "root", Provider: demoLocal, name: "Rosa Root", groups: []string{"admin"}, admin: true},
		{Username: "alice@" + directoryDomain, Provider: demoDirectory, name: "Alice Ahlborn", groups: []string{"SOC Admins", "Staff"}},
		{Username: "bob@" + directoryDomain, Provider: demoDirectory, name: "Bob Berger", groups: []string{"Staff"}},
		{Username: "ines@" + partnerDomain, Provider: demoPartner, name: "Inés Ibarra", groups: []string{"soc-administrators", "everyone"}},
		{Username: "omar@" + partnerDomain, Provider: demoPartner, name: "Omar Osman", groups: []string{"everyone"}},
	}
	for i := range people {
		people[i].Password = passphrase()
	}
	return people
}

// passphrase is easy to type and new each time.
func passphrase() string {
	words := strings.Fields("amber birch cedar delta ember falcon grove harbor indigo jasper kestrel lagoon maple nectar orchid " +
		"pebble quartz raven saffron tundra umber violet willow yarrow zephyr copper dune fjord glacier heron island juniper")
	pick := func(n int) int {
		i, _ := rand.Int(rand.Reader, big.NewInt(int64(n))) // never fails
		return int(i.Int64())
	}
	return fmt.Sprintf("%s-%s-%s-%02d", words[pick(len(words))], words[pick(len(words))], words[pick(len(words))], pick(100))
}

// run starts the upstreams, then the broker on a real configuration file, then waits.
func (d *demo) run(ctx context.Context, c *console, asJSON bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dir, err := d.startDirectory(ctx)
	if err != nil {
		return errors.Join(err, d.listener.Close())
	}
	defer func() { _ = dir.Close() }()
	upstream, secret, err := d.startProvider(ctx)
	if err != nil {
		return errors.Join(err, d.listener.Close())
	}
	defer func() { _ = upstream.Close() }()
	file, err := d.writeConfig(dir, upstream, secret)
	if err != nil {
		return errors.Join(err, d.listener.Close())
	}
	config, _, err := readConfig(c, file)
	if err != nil {
		return errors.Join(err, d.listener.Close())
	}
	h, err := openHouse(ctx, config, d.log, loaded(config))
	if err != nil {
		return errors.Join(err, d.listener.Close())
	}
	if err := d.addPeople(ctx, h); err != nil {
		return errors.Join(err, d.listener.Close(), h.close())
	}
	s := &server{house: h, console: c, config: config, file: file}
	s.ready = func() { d.tell(c, asJSON) }
	var front *apps.Front
	err = s.serve(ctx, d.listener, func(surfaces http.Handler) http.Handler {
		front = apps.NewFront(d.line.Issuer, d.line.Dial, surfaces, d.apps...)
		return front
	})
	if front != nil {
		front.Close()
	}
	return errors.Join(err, h.close())
}

func (d *demo) startDirectory(ctx context.Context) (*directory.Server, error) {
	var people []directory.Person
	for _, p := range d.line.People {
		if name, ok := strings.CutSuffix(p.Username, "@"+directoryDomain); ok {
			people = append(people, directory.Person{
				Username: name, Name: p.name, Email: p.Username, Password: p.Password, Groups: p.groups,
			})
		}
	}
	return directory.Start(ctx, directory.Options{Listen: "127.0.0.1:0", People: people, Log: d.log.With("demo", "directory")})
}

func (d *demo) startProvider(ctx context.Context) (*idp.Server, string, error) {
	var people []idp.Person
	for _, p := range d.line.People {
		if p.Provider == demoPartner {
			people = append(people, idp.Person{Username: p.Username, Name: p.name, Email: p.Username, Password: p.Password, Groups: p.groups})
		}
	}
	secret := broker.NewSecret()
	s, err := idp.Start(ctx, idp.Options{
		Listen: "127.0.0.1:0", People: people, Log: d.log.With("demo", "identity provider"),
		Clients: []idp.Client{{
			ID: "sallyport", Secret: secret, RedirectURIs: []string{d.line.Issuer + "/callback/" + demoPartner},
		}},
	})
	return s, secret, err
}

// writeConfig makes the same kind of file an administrator writes.
func (d *demo) writeConfig(dir *directory.Server, upstream *idp.Server, secret string) (string, error) {
	files := map[string]string{
		"ca.pem": string(dir.CAPEM), "ldap.secret": dir.BindPassword, "oidc.secret": secret,
		"sallyport.yaml": demoConfig(d, dir, upstream),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(d.dir, "sallyport.yaml"), nil
}

func demoConfig(d *demo, dir *directory.Server, upstream *idp.Server) string {
	return fmt.Sprintf(`server:
  issuer: %q
  listen: %q
  operations_listen: ""
  trusted_proxies: [127.0.0.1, "::1"]
storage:
  sqlite: {path: data/sallyport.db}
branding: {title: Sallyport demo}
login:
  default_provider: local
  domains: {%s: directory, %s: partner}
providers:
  local: {type: local, title: Demo accounts}
  directory:
    type: ldap
    title: Corp directory
    urls: [%q]
    tls: {ca_file: ca.pem}
    bind_dn: %q
    bind_password: file:ldap.secret
    users: {base: %q, filter: "(&(objectClass=person)(|(uid={username})(mail={username})))"}
    attributes: {groups: memberOf}
  partner:
    type: oidc
    title: Partner login
    issuer: %q
    client_id: sallyport
    client_secret: file:oidc.secret
    scopes: [openid, profile, email, groups]
roles:
  admin: {inherits: [operator], permissions: ["*:*"]}
  operator: {inherits: [viewer], permissions: ["hosts:*", "packages:write"]}
  viewer: {permissions: ["*:read"]}
mapping:
  rules:
    - {provider: local, copy: groups, only: [admin, operator, viewer]}
    - {provider: directory, group_dn: %q, roles: [admin]}
    - {provider: directory, group_dn: %q, roles: [viewer]}
    - {provider: partner, group: soc-administrators, roles: [admin]}
    - {provider: partner, group: everyone, roles: [viewer]}
applications:
  app: {title: Host manager, url: "http://%s/", require: [viewer]}
  reports: {title: Reports, url: "http://%s/", require: [operator], forward_token: true}
`, d.line.Issuer, d.line.Dial, directoryDomain, partnerDomain, dir.URL, dir.BindDN, dir.PeopleDN, upstream.Issuer(),
		"cn=SOC Admins,"+dir.GroupsDN, "cn=Staff,"+dir.GroupsDN, d.apps[0].Host, d.apps[1].Host)
}

func (d *demo) addPeople(ctx context.Context, h *house) error {
	for _, p := range d.line.People {
		if p.Provider != demoLocal {
			continue
		}
		_, err := h.broker.AddPerson(ctx, h.visit(), actor, broker.NewPerson{
			Username: p.Username, Name: p.name, Email: p.Username + "@demo.example", Password: p.Password,
			Groups: p.groups, Administrator: p.admin,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tell prints the guide, or one line of JSON.
func (d *demo) tell(c *console, asJSON bool) {
	if asJSON {
		_ = json.NewEncoder(c.out).Encode(d.line)
		return
	}
	_, _ = fmt.Fprintf(c.out, "\nSallyport demo. Open one of the applications; Ctrl-C ends everything and leaves nothing behind.\n\n")
	for i, a := range d.apps {
		how := "asks Sallyport about each request"
		if a.Offline {
			how = "verifies the token itself; needs the role operator"
		}
		_, _ = fmt.Fprintf(c.out, "  %-14s %-34s %s\n", a.Title, d.line.Applications[i].URL, how)
	}
	_, _ = fmt.Fprintf(c.out, "  %-14s %-34s who am I, sessions, API keys\n\n", "Your account", d.line.Issuer+"/me")
	_, _ = fmt.Fprintf(c.out, "  %-22s %-30s %-12s %s\n", "name", "password", "provider", "groups there")
	for _, p := range d.line.People {
		_, _ = fmt.Fprintf(c.out, "  %-22s %-30s %-12s %s\n", p.Username, p.Password, p.Provider, strings.Join(p.groups, ", "))
	}
	_, _ = fmt.Fprintf(c.out, "\nA token for a program:\n\n  curl -s --resolve %s:127.0.0.1 %s/api/auth/login \\\n"+
		"    -H 'Content-Type: application/json' -d '{\"username\":\"lena\",\"password\":\"%s\",\"application\":\"reports\"}'\n\n",
		strings.TrimPrefix(d.line.Issuer, "http://"), d.line.Issuer, d.line.People[0].Password)
}
