// Package wire owns what every surface needs of HTTP: the facts of a request, the credential it shows, the sealed flow
// cookie, the guard against forged requests, and the one place where an error becomes an answer. It decides nothing
// about people; it routes nothing.
package wire

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"sallyport/broker"
	"sallyport/web/templates"
)

// House is what handlers work with; immutable after New.
type House struct {
	Broker *broker.Broker
	Log    *slog.Logger
	Now    func() time.Time
	// Pages renders for the issuer's host, HostPages for applications' hosts (other addresses of the same files).
	Pages, HostPages *templates.Renderer
	Flows            *Flows
	Guard            *Guard
	// TrustedProxies may say where a request came from; empty: nobody.
	TrustedProxies []netip.Prefix
	// Leaving is closed when this process is about to stop: streams end then, so that readers go elsewhere. Nil: never.
	Leaving <-chan struct{}
	// Count, when set, is told of every answer.
	Count func(surface string, status int)
}

// Facts are what is known of a request before any handler runs.
type Facts struct {
	broker.Visit
	// FromProxy is true when the peer is a trusted proxy, whose X-Original-… and X-Forwarded-… headers count.
	FromProxy bool
	// Host as the client named it, lower case.
	Host string
	// Below is the application whose own path stood before one of ours; nil for what was asked for at the top of a host.
	Below *broker.Application
}

type factsKey struct{}

// Of returns the facts of a request that came through Enter.
func Of(r *http.Request) *Facts {
	f, _ := r.Context().Value(factsKey{}).(*Facts)
	return f
}

// Enter establishes the facts of a request: the configuration snapshot it is served under, its trace id, and where it
// came from.
func (h *House) Enter(r *http.Request) *http.Request {
	peer := address(r.RemoteAddr)
	f := &Facts{
		Visit: broker.Visit{
			Snapshot: h.Broker.Current(), Address: peer.String(), UserAgent: agent(r), TraceID: traceID(),
		},
		FromProxy: h.trusted(peer), Host: strings.ToLower(r.Host),
	}
	if f.FromProxy {
		f.Address = h.client(peer, r.Header.Values("X-Forwarded-For")).String()
	}
	if r.Method == http.MethodPost || strings.HasPrefix(r.URL.Path, "/callback/") {
		f.Language = h.Lang(r) // only what may open something leads to an e-mail; a proxy's question must not pay for it
	}
	return r.WithContext(context.WithValue(r.Context(), factsKey{}, f))
}

// agent is the User-Agent as text: cut, and without bytes that no store would take.
func agent(r *http.Request) string {
	const longest = 512
	sent := r.UserAgent()
	return strings.ToValidUTF8(sent[:min(len(sent), longest)], "")
}

func traceID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func address(remote string) netip.Addr {
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return ap.Addr().Unmap()
	}
	a, _ := netip.ParseAddr(remote)
	return a.Unmap()
}

func (h *House) trusted(a netip.Addr) bool {
	for _, p := range h.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// client walks X-Forwarded-For from its end, past the proxies we trust, to the first address that we do not. What
// stands further left is the client's own word.
func (h *House) client(peer netip.Addr, forwarded []string) netip.Addr {
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(hops) - 1; i >= 0 && h.trusted(peer); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil || hop.Zone() != "" { // a zone is free text, and means nothing on another machine
			return peer
		}
		peer = hop.Unmap()
	}
	return peer
}

// IsNavigation reports whether a person's browser is going somewhere, so that a page or a redirect is of use. Programs
// get 401 instead.
func IsNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}
