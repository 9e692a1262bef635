package web_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/web/operations"
)

// processState is what the process says of itself.
type processState struct{ stopping, refused bool }

func (p *processState) Stopping() bool { return p.stopping }

func (p *processState) ConfigurationRefused() bool { return p.refused }

func TestOperationsTellWhetherTheHouseIsReady(t *testing.T) {
	h := newHouse(t)
	state := processState{}
	m := operations.NewMetrics()
	m.Gauge("sallyport_test", "A gauge.", func() float64 { return 42 })
	handler := m.Handler(h.broker, &state, slog.New(slog.NewTextHandler(h.log, nil)))
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return w
	}
	expect := func(what, path string, status int) {
		t.Helper()
		if w := get(path); w.Code != status || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s answers %d %s", what, path, w.Code, w.Body)
		}
	}
	expect("at work", "/healthz/live", 200)
	expect("at work", "/healthz/ready", 200)

	h.store.broken.Store(true)
	expect("store away", "/healthz/live", 200)
	expect("store away", "/healthz/ready", 503)
	if w := get("/healthz/ready"); strings.Contains(w.Body.String(), "secret") {
		t.Errorf("the cause leaves: %s", w.Body)
	}
	if !strings.Contains(h.log.String(), "not ready") || !strings.Contains(h.log.String(), "disk on fire") {
		t.Error("the log does not say why")
	}
	h.store.broken.Store(false)
	expect("store back", "/healthz/ready", 200)

	h.clock.advance(6 * time.Second)
	expect("deaf for six seconds", "/healthz/ready", 503)
	h.poll()
	expect("heard again", "/healthz/ready", 200)

	state.refused = true
	expect("with a refused configuration", "/healthz/ready", 200)
	if w := get("/healthz/ready"); !strings.Contains(w.Body.String(), "refused, the earlier one is in force") {
		t.Errorf("REL-08: health does not tell of a refused configuration: %s", w.Body)
	}

	state.stopping = true
	expect("stopping", "/healthz/ready", 503)
	expect("stopping", "/healthz/live", 200)
}

func TestProvidersAreLightsAndNoReasonToBeUnready(t *testing.T) {
	h := newHouse(t)
	m := operations.NewMetrics()
	since := time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.FixedZone("somewhere", 3600))
	shown := []operations.Provider{
		{ID: "directory", Type: "ldap", State: "down", Since: since, CheckedAt: since.Add(time.Minute), Error: "connection refused"},
		{ID: "local", Type: "local", State: "up", Since: since},
		{ID: "partner", Type: "oidc", State: "unknown", Since: since},
	}
	m.Providers(func() []operations.Provider { return shown })
	state := processState{}
	handler := m.Handler(h.broker, &state, slog.New(slog.DiscardHandler))
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return w
	}
	panel := `"providers":{` +
		`"directory":{"type":"ldap","state":"down","since":"2026-03-01T11:00:00Z","checked_at":"2026-03-01T11:01:00Z",` +
		`"error":"connection refused"},` +
		`"local":{"type":"local","state":"up","since":"2026-03-01T11:00:00Z"},` +
		`"partner":{"type":"oidc","state":"unknown","since":"2026-03-01T11:00:00Z"}}}` + "\n"
	if w := get("/healthz/ready"); w.Code != 200 || w.Body.String() != `{"status":"ok","wrong":null,`+panel {
		t.Errorf("readiness: %d %s", w.Code, w.Body)
	}
	if w := get("/healthz/live"); w.Body.String() != `{"status":"ok","wrong":null}`+"\n" {
		t.Errorf("liveness: %d %s", w.Code, w.Body)
	}
	state.stopping = true
	if w := get("/healthz/ready"); w.Code != 503 || !strings.HasSuffix(w.Body.String(), panel) {
		t.Errorf("stopping: %d %s", w.Code, w.Body)
	}

	metrics := get("/metrics").Body.String()
	for line, want := range map[string]int{
		`sallyport_provider_up{provider="directory",type="ldap"} 0`:                                           1,
		`sallyport_provider_up{provider="local",type="local"} 1`:                                              1,
		`sallyport_provider_last_check_timestamp_seconds{provider="directory",type="ldap"} 1.77236286025e+09`: 1,
		`sallyport_provider_up{provider="partner"`:                                                            0,
		`sallyport_provider_last_check_timestamp_seconds{provider="local"`:                                    0,
		`connection refused`: 0,
	} {
		if got := strings.Count(metrics, line); got != want {
			t.Errorf("%d times %s in the metrics, want %d", got, line, want)
		}
	}
	shown = shown[1:]
	if strings.Contains(get("/metrics").Body.String(), `provider="directory"`) {
		t.Error("a provider that left the configuration stays in the metrics")
	}
}

func TestMetricsCountWithoutNames(t *testing.T) {
	h := newHouse(t)
	m := operations.NewMetrics()
	m.Event(audit.Event{
		Type: audit.SignInRefused, Outcome: audit.Refusal, Code: "bad_credentials", Provider: "local", Username: "lena-the-person",
		Address: "198.51.100.7", AccountID: "the-account", TraceID: "the-trace",
	})
	m.Answer("pages", 401)
	w := httptest.NewRecorder()
	m.Handler(h.broker, &processState{}, slog.New(slog.DiscardHandler)).
		ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	text := w.Body.String()
	for _, want := range []string{
		`sallyport_events_total{code="bad_credentials",outcome="refusal",provider="local",type="sign_in.refused"} 1`,
		`sallyport_http_answers_total{status="401",surface="pages"} 1`, "go_goroutines",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	for _, secret := range []string{"lena-the-person", "198.51.100.7", "the-account", "the-trace"} {
		if strings.Contains(text, secret) {
			t.Errorf("metrics hold %s", secret)
		}
	}
}
