// Package embed owns the web surface of applications that are framed by another application's page: the page that the
// frame shows first, the session that its script opens with the embedding application's token, and the two scripts that
// speak to each other across the frame (docs/developer/embedding.md). It signs nobody in by itself and shows no form: a
// frame is where a forged sign-in form would stand.
package embed

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/wire"
)

// Base is where applications' hosts answer for embedding. The page there names everything else by relative addresses,
// so that it works below a path of the embedding page's origin too.
const Base = "/.sallyport/embed/v1/"

// MaxBody bounds what a frame posts, in bytes: a token and a few short fields.
const MaxBody int64 = 64 << 10

// Embed answers for framed applications.
type Embed struct{ house *wire.House }

// New returns the surface of a house.
func New(h *wire.House) *Embed { return &Embed{h} }

// Routes lists "METHOD path" → handler on applications' hosts.
func (e *Embed) Routes() map[string]wire.Handler {
	routes := map[string]wire.Handler{
		"GET " + Base + "frame":    e.frame,
		"GET " + Base + "login":    e.frame, // pages made for other frames wait for an address that ends like this
		"GET " + Base + "session":  e.session,
		"POST " + Base + "session": e.open,
		"POST " + Base + "logout":  e.end,
	}
	for _, name := range []string{"child.js", "frame.css", "parent.js", "parent.umd.js"} {
		routes["GET "+Base+name] = script(name)
		routes["GET "+Base+"{hash}/"+name] = script(name)
	}
	return routes
}

// parentBase is where the issuer's host has the embedding page's script.
const parentBase = "/embed/v1/"

// Scripts lists "METHOD path" → handler on the issuer's host: the embedding page's side only, nothing is framed there.
func (e *Embed) Scripts() map[string]wire.Handler {
	routes := map[string]wire.Handler{}
	for _, name := range []string{"parent.js", "parent.umd.js"} {
		routes["GET "+parentBase+name] = script(name)
		routes["GET "+parentBase+"{hash}/"+name] = script(name)
	}
	return routes
}

// application finds what a request is for: the application below whose path it stands, the one application of its host,
// or the one that ?application= names there. identity.ErrNotFound coded application_unknown otherwise, also where one is
// named below the path of another.
func application(r *http.Request) (*broker.Application, error) {
	f, named := wire.Of(r), r.URL.Query()["application"]
	var here []*broker.Application
	for _, app := range f.Applications() {
		at := app.URL != nil && strings.EqualFold(app.URL.Host, f.Host)
		if f.Below != nil {
			at = app == f.Below
		}
		if at && (len(named) == 0 || app.ID == named[0]) {
			here = append(here, app)
		}
	}
	if len(here) != 1 || len(named) > 1 {
		return nil, identity.WithCode("application_unknown",
			fmt.Errorf("%d applications fit the host and name: %w", len(here), identity.ErrNotFound))
	}
	return here[0], nil
}

// embedderOf finds whose page frames the application: the one that was named, else the one whose page has the origin.
// Errors: identity.ErrNotFound coded embedder_unknown, identity.ErrDenied coded origin_not_allowed, identity.ErrInvalid
// coded embedder_unknown where several share the origin and none was named.
func embedderOf(f *wire.Facts, app *broker.Application, origin, named string) (*broker.Embedder, error) {
	all := f.EmbeddersOf(app)
	if named != "" {
		all = slices.DeleteFunc(all, func(e *broker.Embedder) bool { return e.ID != named })
	}
	if len(all) == 0 {
		return nil, identity.WithCode("embedder_unknown", fmt.Errorf("embedder of %s: %w", app.ID, identity.ErrNotFound))
	}
	all = slices.DeleteFunc(all, func(e *broker.Embedder) bool { return !slices.Contains(e.Origins, origin) })
	switch len(all) {
	case 0:
		return nil, identity.WithCode("origin_not_allowed",
			fmt.Errorf("origin is on no list of %s: %w", app.ID, identity.ErrDenied))
	case 1:
		return all[0], nil
	default:
		return nil, identity.WithCode("embedder_unknown",
			fmt.Errorf("%d embedders of %s share the origin: %w", len(all), app.ID, identity.ErrInvalid))
	}
}

// sameOrigin refuses what did not come from a page of the application's own origin (SES-06). No token could stand in for
// that here: the page has no session yet.
func sameOrigin(r *http.Request, app *broker.Application) error {
	sites, origins := r.Header.Values("Sec-Fetch-Site"), r.Header.Values("Origin")
	own := len(origins) == 1 && strings.EqualFold(origins[0], app.URL.Scheme+"://"+app.URL.Host)
	switch {
	case len(origins) > 0 && !own:
	case len(sites) == 1 && sites[0] == "same-origin", len(sites) == 0 && own:
		return nil
	}
	return identity.WithCode("csrf", fmt.Errorf("not a request of the application's own page: %w", identity.ErrDenied))
}

// held is the embedded session that a browser shows.
type held struct {
	embedder  *broker.Embedder
	principal identity.Principal
}

// holds reads the embedded session of the application. Errors: identity.ErrBadCredentials coded no_session,
// identity.ErrInvalid for two cookies, identity.ErrUnavailable.
func (e *Embed) holds(r *http.Request, app *broker.Application) (held, error) {
	f := wire.Of(r)
	for _, by := range f.EmbeddersOf(app) {
		c, err := wire.EmbedCredential(r, by)
		if errors.Is(err, wire.ErrNoCredential) {
			continue
		}
		if err != nil {
			return held{}, err
		}
		p, err := e.house.Broker.Authenticate(r.Context(), f.Visit, c, app)
		switch {
		case errors.Is(err, identity.ErrUnavailable):
			return held{}, err
		case err == nil && p.Embedder == by.ID: // another kind of session under this name opens nothing (EMB-07)
			return held{by, p}, nil
		}
	}
	return held{}, identity.WithCode("no_session", fmt.Errorf("no embedded session: %w", identity.ErrBadCredentials))
}
