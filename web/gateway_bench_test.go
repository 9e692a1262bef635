package web_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"testing"
	"time"
)

// BenchmarkGateway measures requests of somebody signed in, one after the other on one connection, through the gateway
// and through nothing but the standard library's proxy.
func BenchmarkGateway(b *testing.B) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	b.Cleanup(app.Close)
	h := gatewayHouse(b, behind(b, newEcho(b).url()))
	cookie := h.enter("lena", appHost, "app")
	h.configure(behind(b, app.URL))
	bare := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(mustURL(b, app.URL)); r.SetXForwarded() },
		Transport: &http.Transport{DisableCompression: true},
	})
	b.Cleanup(bare.Close)
	took := map[string]time.Duration{}
	for _, c := range []struct{ name, address string }{
		{"bare", bare.Listener.Addr().String()}, {"gateway", h.server.Listener.Addr().String()},
	} {
		b.Run(c.name, func(b *testing.B) {
			transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", c.address)
			}}
			defer transport.CloseIdleConnections()
			r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+appHost+"/x", nil)
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("Cookie", cookie+"; theme=dark")
			b.ReportAllocs()
			for b.Loop() {
				a, err := transport.RoundTrip(r)
				if err != nil || a.StatusCode != http.StatusOK {
					b.Fatal(a, err)
				}
				_, _ = io.Copy(io.Discard, a.Body)
				_ = a.Body.Close()
			}
			if took[c.name] = b.Elapsed() / time.Duration(b.N); c.name == "gateway" && took["bare"] > 0 {
				b.ReportMetric(float64(took["bare"])/float64(took["gateway"]), "of-bare")
			}
		})
	}
}
