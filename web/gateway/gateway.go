// Package gateway owns applications behind us: it stands between browsers and an application's own server, asks for the
// one decision about every request, and passes on what is allowed, as exactly those bytes it asked about. What a client
// says about itself stays behind, and so do our credentials. It decides nothing itself, and knows nothing of what
// applications say.
package gateway

import (
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/wire"
)

// Gateway passes requests on to applications' own servers. It is safe for concurrent use.
type Gateway struct {
	house   *wire.House
	pool    pool
	cookies wire.OurCookies
	buffers buffers
	log     *log.Logger
	// patience is how long a client may take to send or to take the next piece: instead of the server's bounds for a whole
	// request, which large or endless ones would break.
	patience time.Duration
}

// New returns the gateway of a house.
func New(h *wire.House) *Gateway {
	return &Gateway{house: h, log: slog.NewLogLogger(h.Log.Handler(), slog.LevelDebug), patience: time.Minute}
}

// Takes reports whether a request is for an application behind the gateway. What it does not take is answered by us.
func (g *Gateway) Takes(r *http.Request) bool {
	g.pool.follow(g.house.Broker.Current())
	if path := r.URL.Path; path == ours || strings.HasPrefix(path, ours+"/") {
		return false
	}
	f := wire.Of(r)
	app := f.ApplicationAt(f.Host, r.URL.Path)
	return app != nil && app.Upstream != nil
}

// ours is what we answer ourselves on every application's host.
const ours = "/.sallyport"

// admission is what a request was let in as.
type admission struct {
	app        *broker.Application
	credential broker.Credential
	broker.Access
	// query is what the application gets of it.
	query string
}

// Pass decides about a request and passes it on. Of the errors, those of Authorize are the answer to the client;
// upstream_unavailable and upstream_timeout tell of the application's server.
func (g *Gateway) Pass(w http.ResponseWriter, r *http.Request) error {
	f := wire.Of(r)
	app := f.ApplicationAt(f.Host, r.URL.Path)
	if app == nil || app.Upstream == nil {
		return wire.NotFound()
	}
	query := wire.WithoutCredential(r, app)
	if err := oneReading(r, app, query); err != nil {
		return err
	}
	a, err := g.decide(r, app, query)
	if err != nil {
		return tell(w, r, app, wire.Refusal(err))
	}
	return g.forward(w, r, a)
}

// oneReading refuses what the application's server could understand differently than we do, and what would put a
// credential into its logs.
func oneReading(r *http.Request, app *broker.Application, query string) error {
	if r.Method == http.MethodTrace || r.Method == http.MethodConnect {
		return wire.MethodNotAllowed() // the one would show a page what we add, the other is for proxies of another kind
	}
	if !wire.Canonical(r.URL, r.RequestURI) || wire.CaseLeadsElsewhere(wire.Of(r), app, r.URL.Path) {
		return identity.WithCode("path_not_canonical", fmt.Errorf("path: %w", identity.ErrInvalid))
	}
	if credentialIn(r.URL.Path, query) {
		return identity.WithCode("credential_in_url", fmt.Errorf("credential in the address: %w", identity.ErrInvalid))
	}
	return nil
}

// credentialIn finds what has the shape of a credential of ours in an address. Names such as "token" are the application's own affair here, and so is how it
// divides its query.
func credentialIn(path, query string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if broker.IsCredential(segment) {
			return true
		}
	}
	for part := range strings.FieldsFuncSeq(query, func(c rune) bool { return strings.ContainsRune("&;=", c) }) {
		if plain, err := url.QueryUnescape(part); broker.IsCredential(part) || err == nil && broker.IsCredential(plain) {
			return true
		}
	}
	return false
}

// decide asks the broker.
func (g *Gateway) decide(r *http.Request, app *broker.Application, query string) (admission, error) {
	c, access, err := g.house.Ask(r, wire.Question{Application: app, Method: r.Method, Address: r.URL, Gateway: true})
	return admission{app: app, credential: c, Access: access, query: query}, err
}

// known reports whether somebody in particular was let in.
func (a admission) known() bool { return a.Principal.SessionID+a.Principal.KeyID != "" }

// opened reports whether the application's own cookie let the request in.
func (a admission) opened() bool { return a.known() && a.credential.Carrier == broker.TokenCookie }

// tell is how a no reaches the client: a browser that goes somewhere is led on, everybody else gets the error. Addresses
// are built from configuration; what was asked for is a return address at most.
func tell(w http.ResponseWriter, r *http.Request, app *broker.Application, no error) error {
	if status, _ := wire.Status(no); status == http.StatusUnauthorized {
		wire.DropDeadEmbedCookies(w, r, app)
	}
	if !wire.IsNavigation(r) || wire.IsWebSocket(r) {
		return no
	}
	w.Header().Set("Cache-Control", "no-store")
	f, frame := wire.Of(r), wire.FrameFor(r, app, r.RequestURI)
	to := url.URL{}
	switch status, code := wire.Status(no); {
	case status == http.StatusUnauthorized && frame != "":
		http.Redirect(w, r, frame, http.StatusSeeOther) //nolint:gosec // a path of ours; what was asked for is escaped in its query
		return nil
	case status == http.StatusUnauthorized:
		to.Path, to.RawQuery = pathLogin, url.Values{"to": {r.RequestURI}}.Encode()
	case code == "no_role":
		to = url.URL{Scheme: f.Issuer.Scheme, Host: f.Issuer.Host, Path: pathDenied}
		to.RawQuery = url.Values{"application": {app.ID}}.Encode()
	default:
		return no
	}
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
	return nil
}

// Where people are told: signing in begins on the application's own host, a missing role is explained on the issuer's.
const (
	pathLogin  = ours + "/login"
	pathDenied = "/denied"
)

// forward passes an admitted request on, and its answer back.
func (g *Gateway) forward(w http.ResponseWriter, r *http.Request, a admission) (err error) {
	transport, err := g.pool.transport(a.app.Upstream)
	if err != nil {
		return wire.UpstreamUnavailable(err)
	}
	ctx, stop := g.watch(r, a)
	defer stop()
	x := newExchange(ctx, w, r, g.patience)
	defer x.finish(&err)
	in := r.WithContext(ctx)
	in.Body = x.body
	proxy := httputil.ReverseProxy{
		Transport: transport, BufferPool: &g.buffers, ErrorLog: g.log,
		Rewrite: func(p *httputil.ProxyRequest) { g.rewrite(p, a) },
		ModifyResponse: func(answer *http.Response) error {
			g.clean(answer, wire.Of(r), a.app, x.own)
			wire.RenewCookie(answer.Header, a.app, a.Access)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { x.failed = err },
	}
	proxy.ServeHTTP(x, in)
	return nil
}

// buffers are what answers are copied through.
type buffers struct{ free sync.Pool }

const bufferSize = 32 << 10

// Get see httputil.BufferPool.
func (b *buffers) Get() []byte {
	if have, ok := b.free.Get().(*[bufferSize]byte); ok {
		return have[:]
	}
	return new([bufferSize]byte)[:]
}

// Put see httputil.BufferPool.
func (b *buffers) Put(buffer []byte) {
	if len(buffer) == bufferSize {
		b.free.Put((*[bufferSize]byte)(buffer))
	}
}
