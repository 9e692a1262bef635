package operations

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Provider is one provider's light on the panel. A red one is for the operator to see; it makes nothing unready.
type Provider struct {
	// ID and Type are the provider's, as configured.
	ID, Type string
	// State is up, down, or unknown before the first check.
	State string
	// Since is when it took on this state.
	Since time.Time
	// CheckedAt is when it was last asked; zero: never, because it was not yet or cannot be.
	CheckedAt time.Time
	// Error says in words why it is down. It holds no secret.
	Error string
}

// light is a Provider in the detail of /healthz/ready.
type light struct {
	Type      string    `json:"type"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	CheckedAt time.Time `json:"checked_at,omitzero"`
	Error     string    `json:"error,omitempty"`
}

// Providers shows the providers' lights in metrics and in the detail of readiness. look is asked each time; it must not
// wait for a provider. It is called once, before Handler.
func (m *Metrics) Providers(look func() []Provider) {
	m.providers = look
	m.registry.MustRegister(&lights{
		look: look,
		up: prometheus.NewDesc("sallyport_provider_up",
			"1 while the provider answers, 0 while it does not; absent before the first check.", []string{"provider", "type"}, nil),
		checked: prometheus.NewDesc("sallyport_provider_last_check_timestamp_seconds",
			"When the provider was last asked, in Unix time; absent for one that never is.", []string{"provider", "type"}, nil),
	})
}

// panel is what readiness shows, by provider id.
func (m *Metrics) panel() map[string]light {
	panel := map[string]light{}
	if m.providers == nil {
		return panel
	}
	for _, p := range m.providers() {
		panel[p.ID] = light{
			Type: p.Type, State: p.State, Since: p.Since.UTC().Truncate(time.Second),
			CheckedAt: p.CheckedAt.UTC().Truncate(time.Second), Error: p.Error,
		}
	}
	return panel
}

// lights collects at each scrape, so that a provider that left the configuration leaves the metrics too.
type lights struct {
	look        func() []Provider
	up, checked *prometheus.Desc
}

// Describe see prometheus.Collector.
func (l *lights) Describe(to chan<- *prometheus.Desc) {
	to <- l.up
	to <- l.checked
}

// Collect see prometheus.Collector.
func (l *lights) Collect(to chan<- prometheus.Metric) {
	for _, p := range l.look() {
		gauge := func(d *prometheus.Desc, value float64) {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, p.ID, p.Type)
		}
		switch p.State {
		case "up":
			gauge(l.up, 1)
		case "down":
			gauge(l.up, 0)
		}
		if !p.CheckedAt.IsZero() {
			gauge(l.checked, float64(p.CheckedAt.UnixMilli())/1000)
		}
	}
}
