// Package operations owns what operators and their machines look at: health and metrics, on a listener of their own that
// never faces the public.
package operations

import (
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

// Handler serves /healthz/live, /healthz/ready and /metrics. ready is told why not, in words that hold no secret; a
// refused configuration is told too, and does not make the process unready.
func (m *Metrics) Handler(b *broker.Broker, state State, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz/live", func(w http.ResponseWriter, _ *http.Request) { health(w, nil) })
	mux.HandleFunc("GET /healthz/ready", func(w http.ResponseWriter, r *http.Request) {
		if state.Stopping() {
			health(w, map[string]string{"process": "stopping"})
			return
		}
		if err := b.Ready(r.Context()); err != nil {
			log.WarnContext(r.Context(), "not ready", "err", err)
			health(w, map[string]string{"broker": "not ready, the log says why"}) // a cause may name files and servers
			return
		}
		if state.ConfigurationRefused() {
			answer(w, http.StatusOK, "ok", map[string]string{"configuration": "refused, the earlier one is in force; the log says why"})
			return
		}
		health(w, nil)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return mux
}

// health answers 200, or 503 with what is wrong.
func health(w http.ResponseWriter, wrong map[string]string) {
	status, word := http.StatusOK, "ok"
	if len(wrong) > 0 {
		status, word = http.StatusServiceUnavailable, "unavailable"
	}
	answer(w, status, word, wrong)
}

func answer(w http.ResponseWriter, status int, word string, wrong map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"status": word, "wrong": wrong})
}
