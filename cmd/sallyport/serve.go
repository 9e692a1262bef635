package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/configs"
	"sallyport/web"
	"sallyport/web/static"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// lookEvery is how often the configuration's content is looked at.
const lookEvery = 5 * time.Second

// What a process that is asked to stop may still take (REL-09): twenty seconds in all, with the hand-off, and with what is
// written down at the end.
const (
	// drain is how long requests under way may take; what is not done by then is cut off.
	drain = 12 * time.Second
	// longest is how much of that a request may take before its context ends: streams would go on for ever.
	longest = 8 * time.Second
)

// handOff is how long a process that is asked to stop goes on taking requests where others share its database: whatever
// stands before them needs a moment to see that it is not ready any more, and what it sends meanwhile must not be lost.
const handOff = 3 * time.Second

type serveCmd struct{}

// Run serves until ctx ends.
func (serveCmd) Run(ctx context.Context, c *console, flags *cli) error {
	config, warnings, err := readConfig(c, flags.File)
	if err != nil {
		return err
	}
	log := newLog(c, config.Log)
	for _, w := range warnings {
		log.Warn("configuration", "warning", w.String())
	}
	h, err := openHouse(ctx, config, log, loaded(config))
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", config.Server.Listen)
	if err != nil {
		return errors.Join(err, h.close())
	}
	s := &server{house: h, console: c, config: config, file: flags.File}
	return errors.Join(s.serve(ctx, listener, nil), h.close())
}

// server is a house with its listeners.
type server struct {
	*house
	console  *console
	config   *configs.Config
	file     string
	stopping atomic.Bool
	leaving  chan struct{} // closed when streams shall end
	refused  atomic.Bool   // the configuration on disk
	ready    func()        // called once the listeners are open; nil: nobody waits
}

// serve answers on the listener until ctx ends. front, when given, wraps the surfaces (the demo puts applications
// beside them).
func (s *server) serve(ctx context.Context, listener net.Listener, front func(http.Handler) http.Handler) error {
	s.leaving = make(chan struct{})
	surfaces, err := s.surfaces(ctx)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if front != nil {
		surfaces = front(surfaces)
	}
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	main := hardened(surfaces, s.log)
	main.BaseContext = func(net.Listener) context.Context { return requests }
	if main.TLSConfig, err = s.tls(); err != nil {
		return errors.Join(err, listener.Close())
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var work sync.WaitGroup
	work.Go(func() { s.broker.Run(background) })
	work.Go(func() { s.monitor.Run(background) })
	work.Go(func() { s.watch(background) })

	failed := make(chan error, 2)
	go func() { failed <- serveOn(main, listener) }()
	operations := hardened(s.metrics.Handler(s.broker, s, s.log), s.log)
	if address := s.config.Server.OperationsListen; address != "" {
		operationsListener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return errors.Join(err, main.Close())
		}
		s.log.Info("operations", "listen", operationsListener.Addr().String())
		go func() { failed <- serveOn(operations, operationsListener) }()
	}
	s.greet(ctx, listener)
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	// Readiness goes off first, so that nobody sends new requests while those under way finish.
	s.stopping.Store(true)
	if err == nil && s.config.Storage.Postgres.URL.IsSet() {
		select {
		case <-time.After(handOff):
		case err = <-failed:
		}
	}
	close(s.leaving)
	defer time.AfterFunc(longest, endRequests).Stop()
	err = errors.Join(err, s.finish(ctx, main, drain), s.finish(ctx, operations, time.Second))
	stop()
	work.Wait()
	s.log.Info("stopped")
	return err
}

// finish lets requests under way finish, and cuts off those that take too long, such as one whose body never comes.
func (s *server) finish(ctx context.Context, server *http.Server, within time.Duration) error {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	err := server.Shutdown(last)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.WarnContext(last, "requests that took too long were cut off")
		return server.Close()
	}
	return err
}

// Stopping see operations.State.
func (s *server) Stopping() bool { return s.stopping.Load() }

// ConfigurationRefused see operations.State.
func (s *server) ConfigurationRefused() bool { return s.refused.Load() }

// serveOn serves until Shutdown, with TLS where it is configured.
func serveOn(s *http.Server, l net.Listener) error {
	var err error
	if s.TLSConfig != nil {
		err = s.ServeTLS(l, "", "")
	} else {
		err = s.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// hardened is a server that slow clients and large headers cannot stop (DOS-01).
func hardened(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// surfaces mounts everything that answers on the public listener.
func (s *server) surfaces(ctx context.Context) (http.Handler, error) {
	keys, err := s.broker.WebKeys(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := templates.New(templates.Options{Static: static.URL})
	if err != nil {
		return nil, err
	}
	hostPages, err := templates.New(templates.Options{
		Static: func(name string) string { return web.HostStatic + static.URL(name) },
	})
	if err != nil {
		return nil, err
	}
	return web.New(&wire.House{
		Broker: s.broker, Log: s.log, Now: s.now, Pages: pages, HostPages: hostPages,
		Flows: wire.NewFlows(keys, s.now), Guard: wire.NewGuard(keys.CSRF),
		TrustedProxies: prefixes(s.config.Server.TrustedProxies), Count: s.metrics.Answer, Leaving: s.leaving,
	}, s.broker.Current().SelfApplication.Profile), nil
}

func prefixes(networks []configs.Network) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(networks))
	for _, n := range networks {
		out = append(out, n.Prefix)
	}
	return out
}

// tls terminates TLS where a certificate is configured. Its files are read again when they change.
func (s *server) tls() (*tls.Config, error) {
	pair := s.config.Server.TLS
	if pair.Certificate == "" {
		return nil, nil
	}
	c := &certificate{certificate: s.config.File(pair.Certificate), key: s.config.File(pair.Key), log: s.log, now: s.now}
	if _, err := c.get(nil); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get, NextProtos: []string{"h2", "http/1.1"}}, nil
}

// greet says where we are, and how to make the first administrator.
func (s *server) greet(ctx context.Context, l net.Listener) {
	s.log.Info("sallyport", "version", version(), "issuer", s.config.Server.Issuer, "listen", l.Addr().String(),
		"generation", s.broker.Current().Generation)
	if _, err := s.broker.Current().Providers.Keeper(""); err == nil {
		s.offerSetup(ctx)
	}
	if s.ready != nil {
		s.ready()
	}
}

// offerSetup prints the one-use link for the first administrator while there is none (LOC-09). It goes to the terminal,
// not through the log.
func (s *server) offerSetup(ctx context.Context) {
	code, err := s.broker.OpenSetup(ctx, broker.Visit{Snapshot: s.broker.Current()})
	if err != nil {
		s.log.Error("set-up link cannot be made", "err", err)
		return
	}
	if code == "" {
		return
	}
	link := s.config.Server.Issuer + templates.PathSetup + "?" + url.Values{templates.FieldCode: {code}}.Encode()
	_, _ = fmt.Fprintf(s.console.err, "\nNobody can administer this broker yet. Open this link within an hour to make the "+
		"first administrator.\nIt works once, and a new start prints a new one:\n\n  %s\n\n", link)
}

// watch loads the configuration again on SIGHUP, when its content changed, and when a provider that could not be opened
// can be opened now. A broken file changes nothing and says so (REL-08).
func (s *server) watch(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	said, keys := "", newKeyWatch(s.config)
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-hup:
			asked = true
		case <-tick.C:
		}
		said = s.reload(ctx, asked, said)
		if store, ok := s.store.(keptStore); ok {
			keys.look(ctx, s.log, store.UseMasterKey)
		}
		if err := s.mend(ctx); err != nil {
			s.log.WarnContext(ctx, "configuration not loaded again", "err", err)
		}
	}
}

// reload looks at the configuration once. said is the mistake that was reported last, so that a broken file is reported
// once and not every five seconds.
func (s *server) reload(ctx context.Context, asked bool, said string) string {
	config, warnings, err := readConfig(s.console, s.file)
	if err == nil && config.Hash() == s.broker.Current().Hash {
		s.refused.Store(false)
		if asked {
			s.log.Info("configuration is unchanged", "generation", s.broker.Current().Generation)
		}
		return ""
	}
	if err == nil {
		err = s.load(ctx, config, loaded(config))
	}
	s.refused.Store(err != nil)
	if err != nil {
		if asked || err.Error() != said {
			s.log.Error("configuration refused, the earlier one stays in force", "err", err)
			s.recordRefused(ctx)
		}
		return err.Error()
	}
	for _, w := range warnings {
		s.log.Warn("configuration", "warning", w.String())
	}
	if needsRestart(s.config, config) {
		s.log.Warn("server and storage keys changed: they take effect at the next start")
	}
	s.log.Info("configuration loaded", "generation", s.broker.Current().Generation)
	return ""
}

// needsRestart reports whether keys differ that are read at the start only.
func needsRestart(a, b *configs.Config) bool {
	return a.Server.Listen != b.Server.Listen || a.Server.OperationsListen != b.Server.OperationsListen ||
		a.Server.TLS != b.Server.TLS || !slices.Equal(a.Server.TrustedProxies, b.Server.TrustedProxies) ||
		a.Storage.SQLite != b.Storage.SQLite || a.Storage.MasterKey.Reference() != b.Storage.MasterKey.Reference() ||
		a.Storage.Postgres.URL.Reveal() != b.Storage.Postgres.URL.Reveal() ||
		a.Storage.Postgres.Notifications != b.Storage.Postgres.Notifications ||
		a.Storage.Postgres.MaxConnections != b.Storage.Postgres.MaxConnections
}

func (s *server) recordRefused(ctx context.Context) {
	err := s.broker.Record(ctx, audit.Event{Type: audit.ConfigRefused, Outcome: audit.Refusal, Actor: "system", Code: "config_invalid"})
	if err != nil {
		s.log.Error("audit event not written", "type", audit.ConfigRefused, "err", err)
	}
}
