package broker

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"sallyport/identity"
	"sallyport/tokens"
)

// Self is the id of the broker as an application of its own: its cookie, and tokens whose audience is the issuer.
const Self = "sallyport"

// Application is a relying party as configured; immutable.
type Application struct {
	// ID is the client_id on the wire.
	ID, Title string
	// URL is where the application lives (scheme, host, path prefix ending in "/"); nil: it has no pages of its own.
	URL *url.URL
	// Audience is the aud of its tokens.
	Audience string
	// Require lists roles of which one is enough; empty: everybody who has any.
	Require []string
	// Algorithm of its tokens; with HS256, Secret is the key (at least 32 bytes).
	Algorithm tokens.Algorithm
	Secret    []byte
	// TokenLifetime of its access tokens.
	TokenLifetime time.Duration
	// Session limits of sign-ins at the application; both positive.
	Session Limits
	// ForwardToken makes forward-auth hand the application a token of its own.
	ForwardToken bool
	// Profile is its dialect.
	Profile *Profile
}

// Limits of a session: Idle since last seen, Lifetime since the start.
type Limits struct{ Idle, Lifetime time.Duration }

// Admits reports whether the principal's roles let it into the application. Who has none (an administrator whom a rule
// denies, a key whose roles its owner lost) gets no further than the broker itself.
func (a *Application) Admits(p identity.Principal) bool {
	if len(p.Roles) == 0 && a.ID != Self {
		return false
	}
	return len(a.Require) == 0 || slices.ContainsFunc(a.Require, func(r string) bool { return slices.Contains(p.Roles, r) })
}

// ReturnURL is an address on an application's own host, proven to be one; only ReturnURL makes it.
type ReturnURL struct{ u *url.URL }

// String returns the absolute address, or "" for an application without pages.
func (r ReturnURL) String() string {
	if r.u == nil {
		return ""
	}
	return r.u.String()
}

// ReturnURL reads where to go after sign-in: a path of the application, or an absolute address that starts with its
// URL. Everything else, and anything two readers could understand differently, becomes the application's front page.
func (a *Application) ReturnURL(raw string) ReturnURL {
	if a.URL == nil {
		return ReturnURL{}
	}
	if path, ok := localPath(raw); ok {
		if to := a.URL.ResolveReference(path); strings.HasPrefix(to.EscapedPath(), a.URL.EscapedPath()) {
			return ReturnURL{to}
		}
		return ReturnURL{a.URL}
	}
	abs, err := url.Parse(raw)
	if err != nil || abs.Scheme != a.URL.Scheme || !strings.EqualFold(abs.Host, a.URL.Host) || abs.User != nil {
		return ReturnURL{a.URL}
	}
	return a.ReturnURL(abs.RequestURI())
}

// localPath accepts "/path?query" only: one slash at the start, printable ASCII, no backslash, no dot segments.
func localPath(raw string) (*url.URL, bool) {
	if len(raw) > 2048 || !strings.HasPrefix(raw, "/") || strings.HasPrefix(raw, "//") {
		return nil, false
	}
	for i := range len(raw) {
		if raw[i] <= ' ' || raw[i] >= 0x7f || raw[i] == '\\' {
			return nil, false
		}
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host != "" || u.Scheme != "" || u.Fragment != "" {
		return nil, false
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return nil, false
		}
	}
	return u, !strings.HasPrefix(u.Path, "//")
}

// Profile is an application's dialect: how things are spelled for it. It decides nothing.
type Profile struct {
	Name string
	// BasePath and Routes say where the API answers: route name ("login", "me" …) → path below BasePath.
	BasePath string
	Routes   map[string]string
	// Request, Reply and User name JSON fields: ours → the application's. A name that is missing is not written.
	Request, Reply, User map[string]string
	// Claims are those of its tokens.
	Claims []Claim
	// KeyHeaders are where API keys travel, in canonical spelling (http.CanonicalHeaderKey); "Authorization" stands for
	// its scheme Bearer. KeyPrefix starts new keys.
	KeyHeaders []string
	KeyPrefix  string
	// CSRFHeader is where the CSRF token travels.
	CSRFHeader string
	// Error is the shape of error bodies: "problem" (RFC 9457).
	Error string
}

// Claim is a token claim: what it holds, how it is called, how it is shaped.
type Claim struct {
	// Source is username, name, email, roles or permissions.
	Source string
	// Name on the wire.
	Name string
	// Shape of roles and permissions: list, string (the first) or comma.
	Shape string
}
