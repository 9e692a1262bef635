package wire

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"sallyport/broker"
	"sallyport/identity"
)

// Question is what a request in front of an application comes down to.
type Question struct {
	Application *broker.Application
	// Method and Address are those of the request that the application would get. An empty method is one that the proxy did
	// not tell.
	Method  string
	Address *url.URL
	// Gateway says that we pass the request on ourselves, and leave out of its address what was meant for us.
	Gateway bool
}

// Ask puts the one question in front of an application to the broker: may this request reach it, and as whom. The
// credential is what r shows, in its headers or, of a WebSocket, in its address. A cookie that another site's page made a
// browser send counts for nothing (SES-06): identity.ErrDenied coded csrf where nobody in particular is not welcome either.
// Somebody who has more roles than headers hold is identity.ErrDenied coded headers_too_large, and a read-only API key that
// asks for an upgrade is identity.ErrDenied coded key_read_only. Other errors are those of
// Credential, Broker.TakeTicket and Broker.Authorize.
func (h *House) Ask(r *http.Request, q Question) (broker.Credential, broker.Access, error) {
	app, method := q.Application, q.Method
	c, err := h.shown(r, q)
	if err != nil && !errors.Is(err, ErrNoCredential) {
		return c, broker.Access{}, err
	}
	var forged error
	if c.Carrier.IsCookie() {
		if forged = fromItself(r, app, method); forged != nil {
			c = broker.Credential{}
		}
	}
	access, err := h.Broker.Authorize(r.Context(), Of(r).Visit, broker.Request{
		Application: app, Credential: c, Method: method, Path: q.Address.Path,
	})
	if err != nil && forged != nil {
		err = forged
	}
	if err == nil {
		err = readsOnly(r, q, access.Principal)
	}
	if err == nil {
		err = fitsHeaders(access)
	}
	return c, access, err
}

// IsWebSocket reports whether a request asks for a WebSocket (RFC 6455 section 4.1), also where a proxy that asks us about
// it kept the hop's own headers back.
func IsWebSocket(r *http.Request) bool {
	upgrade := r.Header["Upgrade"]
	return len(upgrade) == 1 && strings.EqualFold(upgrade[0], "websocket") || len(r.Header["Sec-Websocket-Key"]) > 0
}

// fromItself refuses requests that a page of another site made a browser send with its cookies: those with an unsafe
// method, and WebSockets, which no browser keeps from other sites. A browser says where such a request comes from, each in
// Sec-Fetch-Site or in Origin; one that says neither is no browser's, and nobody was made to send it. A WebSocket must say.
func fromItself(r *http.Request, app *broker.Application, method string) error {
	socket := IsWebSocket(r)
	if !socket && (method == "" || method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions) {
		return nil
	}
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if site != "same-origin" && site != "none" {
			return forged("Sec-Fetch-Site")
		}
	}
	origins := r.Header["Origin"]
	if len(origins) > 1 || socket && len(origins) == 0 {
		return forged("one Origin is needed")
	}
	if len(origins) == 1 && !isOwnOrigin(Of(r), app, origins[0]) {
		return forged("Origin")
	}
	return nil
}

func forged(what string) error {
	return identity.WithCode("csrf", fmt.Errorf("request of another site: %s: %w", what, identity.ErrDenied))
}

// isOwnOrigin reports whether pages of the application have the origin: its own, or that of an embedding page below which
// it is served.
func isOwnOrigin(f *Facts, app *broker.Application, origin string) bool {
	if strings.EqualFold(origin, app.URL.Scheme+"://"+app.URL.Host) {
		return true
	}
	return slices.ContainsFunc(f.EmbeddersOf(app), func(e *broker.Embedder) bool {
		return e.Relation == broker.Proxied && slices.Contains(e.Origins, origin)
	})
}
