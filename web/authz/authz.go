// Package authz owns forward-auth: a reverse proxy asks about each request, we answer yes with identity headers or no.
// One decision, spelled per proxy by a table. It reads the same credentials as every other surface and decides nothing
// itself.
package authz

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/wire"
)

// Spelling is how one kind of proxy asks.
type Spelling struct {
	// URL is the header that carries the address of the original request.
	URL string
}

// Nginx is auth_request of nginx: it understands 2xx, 401 and 403; every other denial becomes a 500 there.
func Nginx() Spelling { return Spelling{URL: "X-Original-Url"} }

// Identity headers of a yes. The proxy must set each of them from this answer on the request it passes on, empty ones
// too, so that a client's own never arrive (FWD-02).
const (
	headerUser   = "X-Auth-User"
	headerID     = "X-Auth-Id"
	headerName   = "X-Auth-Name"
	headerEmail  = "X-Auth-Email"
	headerRoles  = "X-Auth-Roles"
	headerToken  = "X-Auth-Token"
	headerCookie = "X-Auth-Cookie" // the request's cookies without ours (FWD-04)
)

// Decide answers GET /authz/….
func Decide(h *wire.House, s Spelling) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		app, err := asked(r, s)
		if err != nil {
			return err
		}
		p, err := decide(r, h, app)
		if err != nil {
			return proxyError(err)
		}
		token := ""
		if app.ForwardToken {
			if token, err = h.Broker.ForwardToken(r.Context(), wire.Of(r).Snapshot, p, app); err != nil {
				return proxyError(err)
			}
		}
		spell(w.Header(), p, token, withoutOurs(r))
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// asked finds the application the original request was for. Only a listed proxy may say so (FWD-01), and an address we
// do not know is denied (FWD-03).
func asked(r *http.Request, s Spelling) (*broker.Application, error) {
	f := wire.Of(r)
	if !f.FromProxy {
		return nil, denied("proxy_not_trusted", "peer is not in server.trusted_proxies")
	}
	values := r.Header[s.URL]
	if len(values) != 1 {
		return nil, denied("original_url_missing", "exactly one header with the original address is needed")
	}
	u, err := url.Parse(values[0])
	if err != nil || !wholeAddress(u, values[0]) {
		return nil, denied("original_url_invalid", "original address cannot be read")
	}
	app := f.ApplicationAt(u.Host, u.Path)
	if app == nil {
		return nil, denied("unknown_host", "no application at the original address")
	}
	if twoReadings(u) && shared(f, app) {
		return nil, denied("original_url_invalid", "path may lead to another application of the host")
	}
	return app, nil
}

// wholeAddress reports whether raw is scheme, host and path, with nothing between them that we read as the end of the
// host and the proxy as a part of it: a Host header such as "open.example#.closed.example" must not choose for us.
func wholeAddress(u *url.URL, raw string) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.Opaque == "" &&
		strings.HasPrefix(raw, u.Scheme+"://"+u.Host+"/")
}

// twoReadings reports whether a proxy that cleans or decodes paths may understand another path than we do.
func twoReadings(u *url.URL) bool {
	raw := strings.ToLower(u.EscapedPath())
	if strings.Contains(raw, "//") || strings.ContainsAny(u.Path, "\\;") || strings.Contains(raw, "%2f") {
		return true
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// shared reports whether the path, and not the host alone, chose the application.
func shared(f *wire.Facts, app *broker.Application) bool {
	return app.URL.Path != "/" || slices.ContainsFunc(f.Applications(), func(other *broker.Application) bool {
		return other.ID != app.ID && other.URL != nil && strings.EqualFold(other.URL.Host, app.URL.Host)
	})
}

func decide(r *http.Request, h *wire.House, app *broker.Application) (identity.Principal, error) {
	c, err := wire.Credential(r, app)
	if err != nil {
		return identity.Principal{}, err
	}
	p, err := h.Broker.Authenticate(r.Context(), wire.Of(r).Snapshot, c, app)
	if err != nil {
		return p, err
	}
	if !app.Admits(p) {
		return p, denied("no_role", "roles do not admit to the application")
	}
	return p, nil
}

func denied(code, why string) error {
	return identity.WithCode(code, fmt.Errorf("%s: %w", why, identity.ErrDenied))
}

// proxyError keeps to what proxies understand: a malformed credential is no credential. A denial that signing in again
// may cure is 401; "unavailable" stays 503, which a proxy answers with an error of its own, never with a yes.
func proxyError(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, identity.ErrInvalid):
		return identity.WithCode(identity.CodeOf(err), fmt.Errorf("%w: %w", identity.ErrBadCredentials, err))
	case errors.Is(err, identity.ErrDenied) && identity.CodeOf(err) != "no_role":
		// The account was closed or its roles are gone: this sign-in is over.
		return fmt.Errorf("%w: %w", identity.ErrBadCredentials, err)
	default:
		return err
	}
}

// spell writes the identity headers. Header values take visible ASCII only; what is outside is percent-encoded, so that
// nothing a person calls themselves can end a header or start another.
func spell(to http.Header, p identity.Principal, token, cookies string) {
	clear(to) // a proxy reads this answer: what protects browsers would only be carried around
	to[headerUser] = []string{headerText(p.Username)}
	to[headerID] = []string{p.Subject}
	to[headerName] = []string{headerText(p.Name)}
	to[headerEmail] = []string{headerText(p.Email)}
	to[headerRoles] = []string{strings.Join(p.Roles, ",")}
	to[headerToken] = []string{token}
	to[headerCookie] = []string{cookies}
	to["Cache-Control"] = []string{"no-store"}
}

func headerText(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '%' {
			return url.PathEscape(s)
		}
	}
	return s
}

// isOurs finds our cookies however they are spelt: some readers ignore case, some take a comma for the end of a cookie.
func isOurs(pair string) bool {
	return strings.Contains(pair, wire.BrokerCookie) ||
		strings.Contains(strings.ToLower(pair), strings.ToLower(wire.BrokerCookie))
}

// withoutOurs returns the request's cookies as they were sent, less ours.
func withoutOurs(r *http.Request) string {
	lines := r.Header["Cookie"]
	if len(lines) == 0 {
		return ""
	}
	var kept []string
	for pair := range strings.SplitSeq(strings.Join(lines, "; "), ";") {
		pair = strings.TrimSpace(pair)
		if pair != "" && !isOurs(pair) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "; ")
}
