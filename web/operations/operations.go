// Package operations owns what operators and their machines look at: health and metrics, on a listener of their own that
// never faces the public.
package operations

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sallyport/audit"
	"sallyport/broker"
)

// Metrics counts. It has a registry of its own; no label ever holds a user name.
type Metrics struct {
	registry *prometheus.Registry
	events   *prometheus.CounterVec
	answers  *prometheus.CounterVec
	// providers looks at the lights; nil: there are none to show.
	providers func() []Provider
}

// NewMetrics returns metrics that also show the given functions as gauges and counters by name.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_events_total", Help: "Audit events by type, outcome, code and provider.",
		}, []string{"type", "outcome", "code", "provider"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_http_answers_total", Help: "Answers by surface and status.",
		}, []string{"surface", "status"}),
	}
	m.registry.MustRegister(m.events, m.answers, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Gauge shows a value that is asked for at each scrape.
func (m *Metrics) Gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// Event counts a committed audit event.
func (m *Metrics) Event(e audit.Event) {
	m.events.WithLabelValues(string(e.Type), string(e.Outcome), e.Code, e.Provider).Inc()
}

// Answer counts an answer of a surface.
func (m *Metrics) Answer(surface string, status int) {
	m.answers.WithLabelValues(surface, strconv.Itoa(status)).Inc()
}

// State is what the process itself knows of its health.
type State interface {
	// Stopping: no new requests, please.
	Stopping() bool
	// ConfigurationRefused: the file on disk is broken, and the configuration before it is in force (REL-08).
	ConfigurationRefused() bool
}

// Handler serves /healthz/live, /healthz/ready and /metrics. Readiness says why not, in words that hold no secret. It
// tells of a refused configuration and of the providers too; neither makes the process unready.
func (m *Metrics) Handler(b *broker.Broker, state State, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz/live", func(w http.ResponseWriter, _ *http.Request) { answer(w, health{}) })
	mux.HandleFunc("GET /healthz/ready", func(w http.ResponseWriter, r *http.Request) {
		h := ready(r.Context(), b, state, log)
		h.Providers = m.panel()
		answer(w, h)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return mux
}

// health is the body of the answers. They are 503 when unavailable, else 200.
type health struct {
	unavailable bool
	Status      string            `json:"status"`
	Wrong       map[string]string `json:"wrong"`
	Providers   map[string]light  `json:"providers,omitempty"`
}

// ready says whether this process should get requests. Only what would fail every request makes it unready.
func ready(ctx context.Context, b *broker.Broker, state State, log *slog.Logger) health {
	if state.Stopping() {
		return health{unavailable: true, Wrong: map[string]string{"process": "stopping"}}
	}
	if err := b.Ready(ctx); err != nil {
		log.WarnContext(ctx, "not ready", "err", err)
		// a cause may name files and servers
		return health{unavailable: true, Wrong: map[string]string{"broker": "not ready, the log says why"}}
	}
	if state.ConfigurationRefused() {
		return health{Wrong: map[string]string{"configuration": "refused, the earlier one is in force; the log says why"}}
	}
	return health{}
}

func answer(w http.ResponseWriter, h health) {
	status := http.StatusOK
	h.Status = "ok"
	if h.unavailable {
		status, h.Status = http.StatusServiceUnavailable, "unavailable"
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(h)
}
