package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"

	"sallyport/broker"
	"sallyport/configs"
	"sallyport/internal/demo/apps"
	"sallyport/internal/demo/directory"
	"sallyport/internal/demo/guide"
	"sallyport/internal/demo/idp"
	"sallyport/internal/demo/loopback"
	"sallyport/internal/demo/portal"
	"sallyport/internal/demo/samlidp"
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
	if err := loopback.Check(address); err != nil {
		return nil, err
	}
	return (&net.ListenConfig{}).Listen(ctx, "tcp", address)
}

// demo is everything around the broker, and what is told about it.
type demo struct {
	dir      string
	listener net.Listener
	log      *slog.Logger
	line     demoLine
	apps     []demoApp

	directory *directory.Server
	partner   *idp.Server
	secret    string // of the broker at the partner
	campus    *samlidp.Server
	live      *apps.Upstream
	portal    *portal.Portal
}

func newDemo(dir string, l net.Listener, log *slog.Logger) *demo {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	d := &demo{dir: dir, listener: l, log: log, apps: demoApps(port)}
	d.line = newDemoLine(l.Addr().String(), port, d.apps)
	return d
}

// run starts what is around the broker, then the broker on a real configuration file, then waits.
func (d *demo) run(ctx context.Context, c *console, asJSON bool) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opened, err := d.start(ctx)
	defer func() {
		for _, o := range opened {
			_ = o.Close()
		}
	}()
	if err != nil {
		return errors.Join(err, d.listener.Close())
	}
	file, err := d.writeConfig()
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
	page, err := d.prepare(ctx, h)
	if err != nil {
		return errors.Join(err, d.listener.Close(), h.close())
	}
	s := &server{house: h, console: c, config: config, file: file}
	s.ready = func() { d.tell(c, asJSON) }
	var front *apps.Front
	err = s.serve(ctx, d.listener, func(surfaces http.Handler) http.Handler {
		front = d.front(surfaces, page)
		return front
	})
	if front != nil {
		front.Close()
	}
	return errors.Join(err, h.close())
}

// start starts the upstream servers. What it returns is to be closed, also with an error.
func (d *demo) start(ctx context.Context) (opened []io.Closer, err error) {
	if d.directory, err = d.startDirectory(ctx); err != nil {
		return opened, err
	}
	opened = append(opened, d.directory)
	if d.partner, err = d.startPartner(ctx); err != nil {
		return opened, err
	}
	opened = append(opened, d.partner)
	if d.campus, err = d.startCampus(ctx); err != nil {
		return opened, err
	}
	opened = append(opened, d.campus)
	if d.live, err = apps.StartUpstream(ctx, apps.UpstreamOptions{Log: d.log.With("demo", "live view")}); err != nil {
		return opened, err
	}
	opened = append(opened, d.live)
	d.portal, err = d.newPortal()
	return opened, err
}

func (d *demo) startDirectory(ctx context.Context) (*directory.Server, error) {
	var people []directory.Person
	for _, p := range d.line.at(demoDirectory) {
		people = append(people, directory.Person{
			Username: p.local(), Name: p.name, Email: p.Username, Password: *p.Password, Groups: p.groups,
		})
	}
	return directory.Start(ctx, directory.Options{Listen: "127.0.0.1:0", People: people, Log: d.log.With("demo", "directory")})
}

func (d *demo) startPartner(ctx context.Context) (*idp.Server, error) {
	var people []idp.Person
	for _, p := range d.line.at(demoPartner) {
		people = append(people, idp.Person{Username: p.Username, Name: p.name, Email: p.Username, Password: *p.Password, Groups: p.groups})
	}
	d.secret = broker.NewSecret()
	return idp.Start(ctx, idp.Options{
		Listen: "127.0.0.1:0", People: people, Log: d.log.With("demo", "identity provider"),
		Clients: []idp.Client{{
			ID: "sallyport", Secret: d.secret, RedirectURIs: []string{d.line.Issuer + "/callback/" + demoPartner},
		}},
	})
}

func (d *demo) startCampus(ctx context.Context) (*samlidp.Server, error) {
	var people []samlidp.Person
	for _, p := range d.line.at(demoCampus) {
		people = append(people, samlidp.Person{
			Username: p.Username, Name: p.name, Email: p.Username, Password: *p.Password, Groups: p.groups,
		})
	}
	return samlidp.Start(ctx, samlidp.Options{
		Listen: "127.0.0.1:0", People: people, Log: d.log.With("demo", "SAML identity provider"),
		ServiceProvider: samlidp.ServiceProvider{MetadataURL: d.line.Issuer + "/saml/" + demoCampus + "/metadata"},
	})
}

func (d *demo) newPortal() (*portal.Portal, error) {
	var people []portal.Person
	for _, p := range d.line.at(demoPortalKeys) {
		people = append(people, portal.Person{Username: p.Username, Name: p.name, Email: p.Username + "@portal.example", Roles: p.groups})
	}
	framed := d.apps[0]
	return portal.New(portal.Options{
		Issuer: d.line.Issuer, Origin: d.line.portal(), Embedder: demoPortal, People: people, Log: d.log.With("demo", "portal"),
		Application: portal.Application{ID: framed.id, Title: framed.title, Origin: "http://" + framed.host},
	})
}

// prepare makes the local people, and the page that tells what there is.
func (d *demo) prepare(ctx context.Context, h *house) (http.Handler, error) {
	for _, p := range d.line.at(demoLocal) {
		_, err := h.broker.AddPerson(ctx, h.visit(), actor, broker.NewPerson{
			Username: p.Username, Name: p.name, Email: p.Username + "@demo.example", Password: *p.Password,
			Groups: p.groups, Administrator: p.admin,
		})
		if err != nil {
			return nil, err
		}
	}
	return guide.New(d.guide(h.broker.Current()))
}

// front is what the demo's listener answers with: the broker, what stands before it, and the pages beside it.
func (d *demo) front(surfaces, page http.Handler) *apps.Front {
	var inProcess []apps.Application
	for _, a := range d.apps {
		if a.protection != guide.Gateway {
			inProcess = append(inProcess, apps.Application{
				ID: a.id, Title: a.title, Host: a.host, Offline: a.protection == guide.OfflineToken,
			})
		}
	}
	f := apps.NewFront(d.line.Issuer, d.line.Dial, surfaces, inProcess...)
	f.Handle("GET sso.localhost/{$}", page)
	f.Handle("GET sso.localhost"+guide.StylePath, page)
	f.Handle("portal.localhost/", d.portal)
	return f
}
