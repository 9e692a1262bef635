package gateway

import (
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"

	"sallyport/broker"
	"sallyport/web/wire"
)

// rewrite makes the request that the application's server gets: path and query to the byte as they came, no credential of
// ours, and about the client only what we say.
func (g *Gateway) rewrite(p *httputil.ProxyRequest, a admission) {
	f, up := wire.Of(p.In), a.app.Upstream
	p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = up.URL.Scheme, up.URL.Host, ""
	if up.PassHost {
		p.Out.Host = a.app.URL.Host
	}
	p.Out.URL.RawQuery, p.Out.URL.ForceQuery = a.query, p.In.URL.ForceQuery
	p.Out.Trailer = nil // they come after everything was decided
	h := p.Out.Header
	cookies := g.cookies.Without(p.In, a.app, a.opened())
	wire.StripIdentity(h)
	stripCredentials(h, a.app.Profile)
	stripProtocol(h, p.In, len(a.app.Rules) > 0 || a.Principal.ReadOnly)
	if h.Del("Cookie"); cookies != "" {
		h.Set("Cookie", cookies)
	}
	h.Set("X-Forwarded-For", f.Address)
	h.Set("X-Forwarded-Host", a.app.URL.Host)
	h.Set("X-Forwarded-Proto", a.app.URL.Scheme)
	wire.IdentityHeaders(h, a.Principal, a.Token)
}

// stripCredentials removes tokens and keys (FWD-04). Other schemes of Authorization are between the client and the
// application.
func stripCredentials(h http.Header, profile *broker.Profile) {
	const authorization = "Authorization"
	for name := range h {
		if name == authorization {
			continue
		}
		same := wire.SameHeader(name)
		if slices.ContainsFunc(profile.KeyHeaders, func(key string) bool { return same == wire.SameHeader(key) }) ||
			profile.KeySecretHeader != "" && same == wire.SameHeader(profile.KeySecretHeader) {
			delete(h, name)
		}
	}
	kept := slices.DeleteFunc(slices.Clone(h[authorization]), isBearer)
	if h[authorization] = kept; len(kept) == 0 {
		delete(h, authorization)
	}
}

// isBearer is generous about what follows the scheme: what we would not read, somebody else might.
func isBearer(value string) bool {
	const scheme = "bearer"
	value = strings.TrimSpace(value)
	return len(value) >= len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) &&
		(len(value) == len(scheme) || strings.ContainsRune(" \t,:=", rune(value[len(scheme)])))
}

// stripProtocol keeps to the protocol that was decided about: of upgrades only WebSocket (h2c would be a way past every
// rule), no header that makes another method of one that something was decided by, and none that is to some how long a
// request is.
func stripProtocol(h http.Header, in *http.Request, byMethod bool) {
	if in.Method != http.MethodGet || !wire.IsWebSocket(in) {
		h.Del("Upgrade")
		h.Del("Connection")
	}
	h.Del("Http2-Settings")
	for name := range h {
		switch same := wire.SameHeader(name); same {
		case "x-http-method-override", "x-http-method", "x-method-override":
			if byMethod {
				delete(h, name)
			}
		case "content-length", "transfer-encoding", "keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate",
			"http2-settings":
			if name != http.CanonicalHeaderKey(same) { // what the standard library knows, it treats itself
				delete(h, name)
			}
		}
	}
}
