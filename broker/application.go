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
	// Algorithm of its tokens; with HS256, Secret is the key (at least 32 bytes). FormerSecrets still verify, so that
	// tokens made with them live on.
	Algorithm     tokens.Algorithm
	Secret        []byte
	FormerSecrets [][]byte
	// Pinned applications have signing keys of their own, which change only when an administrator says so.
	Pinned bool
	// TokenLifetime of its access tokens.
	TokenLifetime time.Duration
	// Session limits of sign-ins at the application; both positive.
	Session Limits
	// AddressChange says what happens when a browser's session is used from another network.
	AddressChange AddressPolicy
	// ConfirmByEmail makes a sign-in wait until a code that went by e-mail is typed in.
	ConfirmByEmail bool
	// ForwardToken makes forward-auth and the gateway hand the application a token of its own.
	ForwardToken bool
	// Claims are those of its tokens beyond the core ones: the profile's, with the application's own in their place.
	Claims []Claim
	// Rules narrow what Require opens, see Rule; none: every request of who is admitted is allowed.
	Rules []*Rule
	// Upstream is where the gateway sends its requests; nil: the application is not behind the gateway.
	Upstream *Upstream
	// Profile is its dialect.
	Profile *Profile
}

// Upstream is an application's own server, as the gateway reaches it.
type Upstream struct {
	// URL is scheme (http or https) and host; requests keep their path.
	URL *url.URL
	// Roots are the authorities its certificate may come from, in PEM; empty: the system's.
	Roots []byte
	// PassHost hands the Host header on as the client sent it, instead of the upstream's own.
	PassHost bool
	// HeaderTimeout is how long it may take to begin its answer; zero: 60 s.
	HeaderTimeout time.Duration
}

// Limits of sessions.
type Limits struct {
	// Idle since last seen, Lifetime since the start.
	Idle, Lifetime time.Duration
	// Concurrent is how many somebody may have at a time; zero: as many as they like. One more is refused, or with
	// EndOldest ends the oldest.
	Concurrent int
	EndOldest  bool
}

// AddressPolicy says what happens when a browser's session is used from another network than it began in.
type AddressPolicy string

// The policies; the zero value is AddressIgnore. With AddressReauthenticate the session opens nothing there, and goes on
// where it began.
const (
	AddressIgnore         AddressPolicy = "ignore"
	AddressAudit          AddressPolicy = "audit"
	AddressReauthenticate AddressPolicy = "reauthenticate"
	AddressEnd            AddressPolicy = "end"
)

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
	// Cookie is how an application's cookie on its own host is spelled.
	Cookie CookieSpelling
	// KeyHeaders are where API keys travel, in canonical spelling (http.CanonicalHeaderKey); "Authorization" stands for
	// its scheme Bearer. KeyPrefix starts new keys.
	KeyHeaders []string
	KeyPrefix  string
	// KeySecretHeader is where a key's secret half travels when its public half stands in one of KeyHeaders; empty: the
	// whole key stands in one.
	KeySecretHeader string
	// EndsToken makes the access token of before die when its refresh token is used.
	EndsToken bool
	// TokenQuery is the parameter of an address that a WebSocket may bring its token in; empty: none.
	TokenQuery string
	// CSRFHeader is where the CSRF token travels.
	CSRFHeader string
	// Error is the shape of error bodies: "problem" (RFC 9457).
	Error string
}

// CookieSpelling is how an application's own cookie looks. The zero value is ours: a host-only cookie with an opaque value.
type CookieSpelling struct {
	// Name of the cookie; empty: __Host-sallyport-<application>.
	Name string
	// Token puts the application's token itself into the cookie, for applications that verify it there. It lives as long
	// as the token.
	Token bool
	// RefreshBelow is how little of its life may be left before the browser gets a new one with the next answer.
	RefreshBelow time.Duration
	// Domain, when set, is a parent of the application's host: every host below it gets the cookie.
	Domain string
	// Strict withholds the cookie from navigations that begin on other sites (SameSite=Strict instead of Lax).
	Strict bool
}
