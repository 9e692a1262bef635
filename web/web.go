// Package web owns the HTTP surfaces as a whole: it picks the host, then the route, and hands over to one package per
// surface. Every route of the house stands in this file or in the Routes lists mounted here; a golden file shows them
// all. Applications behind the gateway have all paths of their hosts but ours.
package web

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"sallyport/broker"
	"sallyport/web/admin"
	"sallyport/web/api"
	"sallyport/web/authz"
	"sallyport/web/embed"
	"sallyport/web/gateway"
	"sallyport/web/host"
	"sallyport/web/op"
	"sallyport/web/pages"
	"sallyport/web/static"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// HostStatic is where our files are on applications' hosts.
const HostStatic = "/.sallyport"

// surface is a set of routes that share a name in metrics, a way of telling errors, and a bound for request bodies.
type surface struct {
	name   string
	page   bool
	routes map[string]wire.Handler
	// bound says which requests count against their source, bounds of which routes others do.
	bound  wire.Bound
	bounds map[string]wire.Bound
	// body in bytes; zero: maxBody.
	body int64
}

// issuerSurfaces lists what answers on the issuer's host.
func issuerSurfaces(h *wire.House, profile *broker.Profile) []surface {
	return []surface{
		{name: "pages", page: true, routes: pages.New(h).Routes(), bounds: signInBounds()},
		{name: "saml", page: true, routes: pages.New(h).ACS(), bound: wire.Always, body: pages.MaxACS},
		{name: "api", routes: api.New(h, profile).Routes(), bounds: apiBounds(profile)},
		{name: "admin", routes: admin.New(h, profile).Routes()},
		{name: "op", bound: wire.Never, routes: map[string]wire.Handler{"GET /.well-known/jwks.json": op.JWKS(h)}},
		{name: "authz", bound: wire.Never, routes: authz.Surface(h)},
		{name: "embed", page: true, bound: wire.Never, routes: embed.New(h).Scripts()},
		{name: "static", page: true, bound: wire.Never, routes: map[string]wire.Handler{
			"GET " + static.Prefix: told(static.Handler()),
			"GET /robots.txt":      told(static.Robots()),
		}},
	}
}

// hostSurfaces lists what answers on applications' hosts.
func hostSurfaces(h *wire.House) []surface {
	files := http.StripPrefix(HostStatic, static.Handler())
	return []surface{
		{name: "host", page: true, routes: host.New(h).Routes()},
		{name: "embed", page: true, routes: embed.New(h).Routes(), body: embed.MaxBody},
		{name: "static", page: true, bound: wire.Never, routes: map[string]wire.Handler{"GET " + HostStatic + static.Prefix: told(files)}},
	}
}

// signInBounds are those of the pages on the way in. GET /login and /login/next stay out: who is signed in passes there on
// the way to each application.
func signInBounds() map[string]wire.Bound {
	return map[string]wire.Bound{
		"POST " + templates.PathLogin:     wire.Always,
		"GET " + templates.PathPassword:   wire.Always,
		"POST " + templates.PathPassword:  wire.Always,
		"GET " + templates.PathConfirm:    wire.Always,
		"POST " + templates.PathConfirm:   wire.Always,
		"POST " + templates.PathSendAgain: wire.Always,
		"GET /login/continue/{provider}":  wire.Always,
		"GET /callback/{provider}":        wire.Always,
		"GET " + templates.PathSetup:      wire.Always,
		"POST " + templates.PathSetup:     wire.Always,
	}
}

// apiBounds are those of the API's routes where no credential counts, as the profile spells them.
func apiBounds(p *broker.Profile) map[string]wire.Bound {
	bounds := map[string]wire.Bound{}
	for _, r := range []struct {
		method, name string
		bound        wire.Bound
	}{
		{http.MethodPost, "login", wire.Always},
		{http.MethodPost, "confirm", wire.Always},
		{http.MethodPost, "refresh", wire.Refusals},
		{http.MethodPost, "revoke", wire.Always},
		{http.MethodGet, "csrf", wire.Always},
		{http.MethodGet, "sso_login", wire.Always},
	} {
		if path, ok := p.Routes[r.name]; ok {
			bounds[r.method+" "+p.BasePath+path] = r.bound
		}
	}
	return bounds
}

// Handler serves all surfaces.
type Handler struct {
	house        *wire.House
	issuer, apps *http.ServeMux
	routes       []string
	limits       *wire.Limits
	// gateway takes what is for applications behind us; pass is what it does, with its errors told.
	gateway *gateway.Gateway
	pass    http.Handler
}

// New mounts all surfaces of a house; profile is the spelling of the API on the issuer's host.
func New(h *wire.House, profile *broker.Profile) *Handler {
	out := &Handler{house: h, issuer: http.NewServeMux(), apps: http.NewServeMux(), gateway: gateway.New(h), limits: wire.NewLimits(h)}
	out.pass = h.Page("gateway", out.gateway.Pass)
	out.mount(out.issuer, "issuer", issuerSurfaces(h, profile))
	out.mount(out.apps, "application", hostSurfaces(h))
	slices.Sort(out.routes)
	return out
}

func (h *Handler) mount(mux *http.ServeMux, where string, all []surface) {
	for _, s := range all {
		for _, pattern := range slices.Sorted(maps.Keys(s.routes)) {
			wrap, bound := h.house.API, s.bound
			if s.page {
				wrap = h.house.Page
			}
			if own, other := s.bounds[pattern]; other {
				bound = own
			}
			handler := h.limits.Bound(bound, s.routes[pattern])
			mux.Handle(pattern, route{bounded(wrap(s.name, handler), cmp.Or(s.body, maxBody))})
			h.routes = append(h.routes, where+" "+pattern)
		}
	}
}

// route marks what we mounted, to tell it from what the mux answers by itself (redirects to cleaned paths, 404, 405).
type route struct{ http.Handler }

// Routes lists every route, sorted: "issuer GET /login" …
func (h *Handler) Routes() []string { return slices.Clone(h.routes) }

// maxBody bounds request bodies in bytes (DOS-01): forms and small JSON objects. A surface that needs more says so.
const maxBody int64 = 64 << 10

// bounded reads no more of a body than a surface needs. What no surface answers has its body read by nobody.
func bounded(next http.Handler, most int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, most)
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP picks the host before anything else: a request for a host that is not ours gets no answer of ours.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = h.house.Enter(r)
	f := wire.Of(r)
	protect(w.Header(), f.Issuer.Scheme == "https")
	var mux *http.ServeMux
	switch {
	case f.IsIssuer(f.Host):
		mux = h.issuer
	case f.HasHost(f.Host):
		r = mounted(r)
		if h.gateway.Takes(r) {
			h.pass.ServeHTTP(w, r)
			return
		}
		mux = h.apps
	default:
		h.refuse(w, r, wire.UnknownHost())
		return
	}
	// An address that the mux would clean first has two readings; it is no address of ours (one reading).
	handler, _ := mux.Handler(r)
	if _, ours := handler.(route); !ours {
		h.unrouted(w, r, handler)
		return
	}
	mux.ServeHTTP(w, r)
}

// mounted takes an application's path prefix from what is ours below it: where an application is served below a path of
// somebody else's origin, only that path may lead here.
func mounted(r *http.Request) *http.Request {
	f := wire.Of(r)
	app := f.ApplicationAt(f.Host, r.URL.Path)
	if app == nil || app.URL.Path == "/" {
		return r
	}
	path, ok := strings.CutPrefix(r.URL.Path, strings.TrimSuffix(app.URL.Path, "/"))
	if !ok || !strings.HasPrefix(path, HostStatic+"/") || r.URL.RawPath != "" {
		return r
	}
	f.Below = app
	in := *r
	in.URL = new(url.URL)
	*in.URL = *r.URL
	in.URL.Path = path
	return &in
}

// protect sets what every answer carries unless its surface says something stricter or, for what is public, something
// else: nothing is framed, sniffed, kept, or told to other sites (SES-07, EMB-06).
func protect(h http.Header, secure bool) {
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if secure {
		h.Set("Strict-Transport-Security", hsts)
	}
}

// hsts is a year, in seconds; subdomains are other people's.
const hsts = "max-age=31536000"

// unrouted tells "no such page" and "not this way" as every other error is told.
func (h *Handler) unrouted(w http.ResponseWriter, r *http.Request, standard http.Handler) {
	probe := &probeWriter{header: http.Header{}}
	standard.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", probe.header.Get("Allow"))
		h.refuse(w, r, wire.MethodNotAllowed())
		return
	}
	h.refuse(w, r, wire.NotFound())
}

func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	wrap := h.house.Page
	if strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/authz/") {
		wrap = h.house.API
	}
	wrap("unrouted", func(http.ResponseWriter, *http.Request) error { return err }).ServeHTTP(w, r)
}

// told makes a handler of files tell its refusals as every other error is told.
func told(files http.Handler) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		f := &fileWriter{ResponseWriter: w}
		files.ServeHTTP(f, r)
		if f.refused {
			return wire.NotFound()
		}
		return nil
	}
}

// fileWriter passes on successes only.
type fileWriter struct {
	http.ResponseWriter
	refused bool
}

// WriteHeader see http.ResponseWriter.
func (f *fileWriter) WriteHeader(status int) {
	if f.refused = status >= http.StatusBadRequest; !f.refused {
		f.ResponseWriter.WriteHeader(status)
	}
}

// Write see http.ResponseWriter.
func (f *fileWriter) Write(b []byte) (int, error) {
	if f.refused {
		return len(b), nil
	}
	return f.ResponseWriter.Write(b)
}

// probeWriter hears what the standard mux would answer.
type probeWriter struct {
	header http.Header
	status int
}

// Header see http.ResponseWriter.
func (p *probeWriter) Header() http.Header { return p.header }

// Write see http.ResponseWriter.
func (p *probeWriter) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader see http.ResponseWriter.
func (p *probeWriter) WriteHeader(status int) { p.status = status }
