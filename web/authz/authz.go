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
	"strings"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/wire"
)

// Spelling is how one kind of proxy asks, and how it wants to be told.
type Spelling struct {
	// Address lists the headers that put together are the address of the original request: one with all of it, or three
	// with scheme, host, and path with query.
	Address []string
	// Method is the header with the original request's method. An application with rules needs it; no other does where
	// MethodOptional says so.
	Method         string
	MethodOptional bool
	// Passes means that the proxy hands our answer to the client as it is: a browser that goes somewhere is told no by a
	// redirect, and who comes too often gets 429. Otherwise the proxy keeps a no to itself, and knows only 401 and 403.
	Passes bool
	// Cookies are the headers of a yes that carry the request's cookies without ours (FWD-04).
	Cookies []string
	// Yes is the status of a yes.
	Yes int
}

// Nginx is auth_request of nginx: it understands 2xx, 401 and 403; every other denial becomes a 500 there.
func Nginx() Spelling {
	return Spelling{
		Address: []string{"X-Original-Url"}, Method: "X-Original-Method", MethodOptional: true,
		Cookies: []string{headerCookie}, Yes: http.StatusNoContent,
	}
}

// Forward is forward_auth of Caddy and ForwardAuth of Traefik. Traefik can copy a header but not rename one, so cookies
// stand under their own name too.
func Forward() Spelling {
	return Spelling{
		Address: []string{"X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri"}, Method: "X-Forwarded-Method",
		Passes: true, Cookies: []string{headerCookie, "Cookie"}, Yes: http.StatusOK,
	}
}

// Surface lists "METHOD path" → handler of all spellings. auth_request asks with any method, the others with GET.
func Surface(h *wire.House) map[string]wire.Handler {
	return map[string]wire.Handler{"/authz/nginx": Decide(h, Nginx()), "GET /authz/forward": Decide(h, Forward())}
}

// headerCookie of a yes has the request's cookies without ours (FWD-04). The proxy must set it, and each identity header,
// from this answer on the request it passes on, empty ones too, so that a client's own never arrive (FWD-02).
const headerCookie = "X-Auth-Cookie"

// Decide answers GET /authz/….
func Decide(h *wire.House, s Spelling) wire.Handler {
	ours := &wire.OurCookies{}
	return func(w http.ResponseWriter, r *http.Request) error {
		q, err := s.asked(r)
		if err != nil {
			return err
		}
		c, access, err := h.Ask(r, wire.Question{Application: q.app, Method: q.method, Address: q.address})
		if err != nil {
			return s.tell(w, r, q, s.refusal(err))
		}
		clear(w.Header()) // a proxy reads this answer: what protects browsers would only be carried around
		w.Header().Set("Cache-Control", "no-store")
		wire.IdentityHeaders(w.Header(), access.Principal, access.Token)
		wire.RenewCookie(w.Header(), q.app, access)
		opened := c.Carrier == broker.TokenCookie && access.Principal.Subject != ""
		for _, name := range s.Cookies {
			w.Header()[name] = []string{ours.Without(r, q.app, opened)}
		}
		w.WriteHeader(s.Yes)
		return nil
	}
}

// question is what a proxy asks: may this request reach the application.
type question struct {
	app *broker.Application
	// address of the original request; method is empty where the spelling has none.
	address *url.URL
	method  string
}

// asked reads the question. Only a listed proxy may ask (FWD-01), and an address we do not know is denied (FWD-03).
func (s Spelling) asked(r *http.Request) (question, error) {
	f := wire.Of(r)
	if !f.FromProxy {
		return question{}, denied("proxy_not_trusted", "peer is not in server.trusted_proxies")
	}
	q := question{}
	var ok bool
	if q.method, ok = only(r, s.Method); !ok && (!s.MethodOptional || len(r.Header[s.Method]) > 0) {
		return q, denied("original_url_missing", "exactly one header with the original method is needed")
	}
	parts := make([]string, len(s.Address))
	for i, name := range s.Address {
		if parts[i], ok = only(r, name); !ok {
			return q, denied("original_url_missing", "exactly one header with the original address is needed")
		}
	}
	if q.address, ok = whole(parts); !ok {
		return q, denied("original_url_invalid", "original address cannot be read")
	}
	if q.app = f.ApplicationAt(q.address.Host, q.address.Path); q.app == nil {
		return q, denied("unknown_host", "no application at the original address")
	}
	ruled := len(q.app.Rules) > 0
	if q.method == "" && (ruled || len(f.EmbeddersOf(q.app)) > 0) {
		// Cookies for frames travel from other sites: with any method, then, the request would have to be its own page's.
		return q, denied("original_url_missing", "the application has rules or embedders, and the method was not told")
	}
	if wire.LeadsAside(f, q.app, q.address) {
		return q, denied("original_url_invalid", "path may lead to another application of the host, or past a rule")
	}
	return q, nil
}

// only returns a header that is there exactly once.
func only(r *http.Request, name string) (string, bool) {
	values := r.Header[name]
	if len(values) != 1 {
		return "", false
	}
	return values[0], true
}

// whole reads an address from one part or from three, each of which must be all of what it stands for: a scheme such as
// "http://open.example/?" would make the host a part of the query.
func whole(parts []string) (*url.URL, bool) {
	raw := parts[0]
	if len(parts) > 1 {
		raw = parts[0] + "://" + parts[1] + parts[2]
	}
	u, err := url.Parse(raw)
	if err != nil || !wholeAddress(u, raw) {
		return nil, false
	}
	return u, len(parts) == 1 || u.Scheme == parts[0] && u.Host == parts[1]
}

// wholeAddress reports whether raw is scheme, host and path, with nothing between them that we read as the end of the
// host and the proxy as a part of it: a Host header such as "open.example#.closed.example" must not choose for us.
func wholeAddress(u *url.URL, raw string) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.Opaque == "" &&
		strings.HasPrefix(raw, u.Scheme+"://"+u.Host+"/")
}

// tell is how a no reaches the client: as an error that the proxy acts upon, or, where the client sees our answer, as the
// way on for a browser that goes somewhere. Both ways are built from configuration; what was asked for is a return
// address at most.
func (s Spelling) tell(w http.ResponseWriter, r *http.Request, q question, no error) error {
	original := *r
	original.Method = q.method
	if !s.Passes || !wire.IsNavigation(&original) {
		return no
	}
	var to url.URL
	switch status, code := wire.Status(no); {
	case status == http.StatusUnauthorized:
		back := q.app.ReturnURL(q.address.RequestURI()).String()
		query := url.Values{"to": {back}}
		to = url.URL{Scheme: q.app.URL.Scheme, Host: q.app.URL.Host, Path: pathLogin, RawQuery: query.Encode()}
	case status == http.StatusForbidden && code == "no_role":
		issuer := wire.Of(r).Issuer
		query := url.Values{"application": {q.app.ID}}
		to = url.URL{Scheme: issuer.Scheme, Host: issuer.Host, Path: pathDenied, RawQuery: query.Encode()}
	default:
		return no
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
	return nil
}

// Where people are told: signing in begins on the application's own host, a missing role is explained on the issuer's.
const (
	pathLogin  = "/.sallyport/login"
	pathDenied = "/denied"
)

func denied(code, why string) error {
	return identity.WithCode(code, fmt.Errorf("%s: %w", why, identity.ErrDenied))
}

// refusal keeps to what proxies understand: a malformed credential is no credential, and who comes too often is denied
// where 429 would become a fault. "Unavailable" stays 503, which a proxy answers with an error of its own, never with a
// yes.
func (s Spelling) refusal(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, identity.ErrInvalid):
		return identity.WithCode(identity.CodeOf(err), fmt.Errorf("%w: %w", identity.ErrBadCredentials, err))
	case errors.Is(err, identity.ErrThrottled) && !s.Passes:
		return denied(identity.CodeOf(err), "too often")
	default:
		return wire.Refusal(err)
	}
}
