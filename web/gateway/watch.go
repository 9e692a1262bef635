package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/wire"
)

const (
	// lookEvery is how often a request under way is looked at again.
	lookEvery = time.Second
	// lookWithin bounds one look; with it and lookEvery, what ended is closed within five seconds (FWD-06).
	lookWithin = 3 * time.Second
)

// look is a request under way. Nothing runs between two looks.
type look struct {
	house        *wire.House
	visit        broker.Visit
	host, method string
	path         string
	was          admission

	ctx   context.Context
	end   context.CancelCauseFunc
	mu    sync.Mutex
	timer *time.Timer
}

// watch returns a context that ends, with the cause, when the request would not be let in any more as what it was let in
// (FWD-06). stop ends it too.
func (g *Gateway) watch(r *http.Request, a admission) (ctx context.Context, stop func()) {
	f := wire.Of(r)
	l := &look{house: g.house, visit: f.Visit, host: f.Host, method: r.Method, path: r.URL.Path, was: a}
	l.ctx, l.end = context.WithCancelCause(r.Context())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(lookEvery, l.again)
	return l.ctx, l.stop
}

func (l *look) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end(nil)
	l.timer.Stop()
}

// again looks once, and comes back.
func (l *look) again() {
	ctx, cancel := context.WithTimeout(l.ctx, lookWithin)
	defer cancel()
	if err := l.still(ctx); err != nil {
		l.end(err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() == nil {
		l.timer.Reset(lookEvery)
	}
}

// still reports that the request would be let in now as it was. Under the same configuration this asks who it is, and no
// more: a look must not count as a request.
func (l *look) still(ctx context.Context) error {
	snap := l.house.Broker.Current()
	app := snap.ApplicationAt(l.host, l.path)
	if app == nil || app.ID != l.was.app.ID || app.Upstream == nil || *app.Upstream.URL != *l.was.app.Upstream.URL {
		return identity.WithCode("application_unknown", fmt.Errorf("behind the gateway: %w", identity.ErrNotFound))
	}
	if app != l.was.app {
		return l.asked(ctx, snap, app)
	}
	if !l.was.known() {
		return nil
	}
	visit := l.visit
	visit.Snapshot = snap
	p, err := l.house.Broker.Authenticate(ctx, visit, l.was.credential, app)
	if err != nil {
		return err
	}
	return l.same(p)
}

// asked decides anew under another configuration.
func (l *look) asked(ctx context.Context, snap *broker.Snapshot, app *broker.Application) error {
	visit := l.visit
	visit.Snapshot = snap
	access, err := l.house.Broker.Authorize(ctx, visit, broker.Request{
		Application: app, Credential: l.was.credential, Method: l.method, Path: l.path,
	})
	if err != nil {
		return err
	}
	l.was.app = app
	return l.same(access.Principal)
}

// errChanged says that the application was told something about the person that is true no more.
var errChanged = identity.WithCode("expired", fmt.Errorf("roles changed: %w", identity.ErrExpired))

func (l *look) same(p identity.Principal) error {
	was := l.was.Principal
	if p.Subject != was.Subject || p.SessionID != was.SessionID || p.KeyID != was.KeyID || !slices.Equal(p.Roles, was.Roles) {
		return errChanged
	}
	return nil
}
