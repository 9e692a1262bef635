package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/configs"
	"sallyport/providers"
	"sallyport/providers/local"
	"sallyport/web/operations"
)

// defaultFile is read when no file is named and it exists.
const defaultFile = "sallyport.yaml"

// readConfig loads the named file, else ./sallyport.yaml, else the built-in default, and prints its warnings.
func readConfig(c *console, file string) (*configs.Config, []configs.Warning, error) {
	if file == "" {
		if _, err := os.Stat(defaultFile); err == nil {
			file = defaultFile
		}
	}
	return configs.Load(file, providerTypes(), c.env)
}

// newLog makes the process's log, on standard error.
func newLog(c *console, l configs.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(c.err, options))
	}
	return slog.New(slog.NewTextHandler(c.err, options))
}

// house is an open store with a broker on it.
type house struct {
	log     *slog.Logger
	now     func() time.Time
	store   broker.Store
	broker  *broker.Broker
	opener  opener
	hasher  *local.Hasher
	metrics *operations.Metrics
	monitor *providers.Monitor
	mail    *postman
	// inForce is the configuration that was loaded last; load alone reads and writes it, and is never called twice at once.
	inForce *configs.Config
}

// openHouse opens the store of a configuration, making it and its master key when there is nothing yet, and loads the
// configuration into a broker on it.
func openHouse(ctx context.Context, c *configs.Config, log *slog.Logger, events ...audit.Event) (*house, error) {
	store, err := openStore(ctx, c, log)
	if err != nil {
		return nil, err
	}
	h := &house{log: log, now: time.Now, store: store, hasher: local.NewHasher(local.HasherOptions{}), metrics: operations.NewMetrics()}
	h.opener = opener{
		log: log, now: h.now, people: localPeople{store, h.now}, hasher: h.hasher, keep: keptCopies{store},
		heavy: providers.NewSlots(0),
	}
	h.monitor = providers.NewMonitor(log, h.now)
	if h.mail, err = newPostman(); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	h.broker = broker.New(broker.Options{Store: store, Log: log, Now: h.now, OnEvent: h.heard, Mailer: h.mail})
	h.gauges()
	if err := h.load(ctx, c, events...); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return h, nil
}

// heard counts an audit event, and lets the monitor know how a sign-in at a provider ended.
func (h *house) heard(e audit.Event) {
	h.metrics.Event(e)
	switch {
	case e.Type == audit.SignInSucceeded:
		h.monitor.Answered(e.Provider)
	case e.Type == audit.SignInRefused && (e.Code == providers.CodeUnavailable || e.Code == providers.CodeMisconfigured):
		h.monitor.Unanswered(e.Provider)
	}
}

// lights is the monitor's knowledge for the operations surface.
func (h *house) lights() []operations.Provider {
	states := h.monitor.States()
	out := make([]operations.Provider, 0, len(states))
	for _, s := range states {
		out = append(out, operations.Provider{
			ID: s.ID, Type: s.Type, State: string(s.Status), Since: s.Since, CheckedAt: s.CheckedAt, Error: s.Error,
		})
	}
	return out
}

// gauges shows what the house counts by itself.
func (h *house) gauges() {
	h.metrics.Providers(h.lights)
	h.metrics.Gauge("sallyport_background_panics", "Panics caught in background work.",
		func() float64 { return float64(h.broker.Panics() + h.monitor.Panics()) })
	h.metrics.Gauge("sallyport_password_hashes", "Password hashes computed since the start.",
		func() float64 { return float64(h.hasher.Runs()) })
	h.metrics.Gauge("sallyport_password_hashes_waiting", "Sign-ins waiting for a free hashing slot.",
		func() float64 { return float64(h.hasher.Queued()) })
	h.metrics.Gauge("sallyport_password_hashes_refused", "Sign-ins answered 503 because too many waited.",
		func() float64 { return float64(h.hasher.Refused()) })
	h.metrics.Gauge("sallyport_configuration_generation", "Number of the configuration in force.",
		func() float64 { return float64(h.broker.Current().Generation) })
}

// load opens the doors of a configuration and makes it the one in force. On an error the earlier one stays.
func (h *house) load(ctx context.Context, c *configs.Config, events ...audit.Event) error {
	sender, err := senderOf(c)
	if err != nil {
		return err
	}
	set, err := h.opener.open(ctx, c)
	if err != nil {
		return err
	}
	before, err := h.put(ctx, c, set, events)
	if err != nil {
		set.Close()
		return err
	}
	h.inForce = c
	h.mail.use(sender)
	h.monitor.Watch(set)
	if before != nil {
		// Sign-ins that began under the earlier configuration end under it; a whole one takes ten seconds at most.
		time.AfterFunc(15*time.Second, before.Providers.Close)
	}
	return nil
}

// put makes the configuration with its opened providers the one in force, and returns the one before.
func (h *house) put(
	ctx context.Context, c *configs.Config, set *providers.Set, events []audit.Event,
) (*broker.Snapshot, error) {
	generation, err := h.broker.Generation(ctx, c.Hash())
	if err != nil {
		return nil, err
	}
	snap, err := snapshotOf(c, set, generation)
	if err != nil {
		return nil, err
	}
	return h.broker.Load(ctx, snap, events...)
}

// mend loads the configuration in force once more when a provider that could not be opened can be opened now.
func (h *house) mend(ctx context.Context) error {
	if !h.broker.Current().Providers.Mended(ctx) {
		return nil
	}
	h.log.InfoContext(ctx, "a provider that could not be opened can be now, the configuration is loaded again")
	return h.load(ctx, h.inForce)
}

// loaded is the event of a configuration that a server answers under; the command line leaves none. The configuration's
// hash stays out of it, because it covers secrets.
func loaded(c *configs.Config) audit.Event {
	return audit.Event{
		Type: audit.ConfigLoaded, Outcome: audit.Success, Actor: "system", Detail: map[string]string{"file": c.Name()},
	}
}

// close ends what the house holds.
func (h *house) close() error {
	if s := h.broker.Current(); s != nil {
		s.Providers.Close()
	}
	return h.store.Close()
}

// visit is the command line's view of the house.
func (h *house) visit() broker.Visit {
	return broker.Visit{Snapshot: h.broker.Current(), UserAgent: "command line"}
}

// withHouse runs a command on the configured store, beside a running server or without one. It makes no store: whoever
// runs it in the wrong folder is told so.
func withHouse(ctx context.Context, c *console, file string, do func(h *house) error) error {
	config, _, err := readConfig(c, file)
	if err != nil {
		return err
	}
	empty, err := emptyStore(ctx, config)
	if err != nil {
		return err
	}
	if empty {
		return fmt.Errorf("there is no store at %s yet; sallyport serve makes it", storePlace(config))
	}
	h, err := openHouse(ctx, config, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return errors.Join(do(h), h.close())
}
