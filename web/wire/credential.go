package wire

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"sallyport/broker"
	"sallyport/identity"
)

// BrokerCookie is the name of the broker's own cookie. An application's cookie is called after it, see CookieName; after
// "_" come those that no application's id can lead to.
const BrokerCookie = "__Host-sallyport"

// widePrefix begins the names of applications' cookies that a whole domain sees: browsers keep __Host- for one host.
const widePrefix = "__Secure-sallyport-"

// CookieName returns the name of an application's cookie on its own host, as its profile spells it; the broker's own for
// broker.Self.
func CookieName(app *broker.Application) string {
	spelled := app.Profile.Cookie
	switch {
	case app.ID == broker.Self:
		return BrokerCookie
	case spelled.Name != "":
		return spelled.Name
	case spelled.Domain != "":
		return widePrefix + app.ID
	default:
		return BrokerCookie + "-" + app.ID
	}
}

// SetCookie gives the browser the value that opens the application (SES-01). It lasts as long as the browser session; the
// server ends it earlier.
func SetCookie(w http.ResponseWriter, app *broker.Application, value string) {
	http.SetCookie(w, cookieOf(app, value))
}

// DropCookie makes the browser forget it.
func DropCookie(w http.ResponseWriter, app *broker.Application) {
	drop(w, cookieOf(app, ""))
}

// largestCookie is what browsers keep of a cookie at least, in bytes of name, value and attributes (RFC 6265 section 6.1).
const largestCookie = 4096

// FitsCookie reports whether browsers keep a cookie of the value.
func FitsCookie(value string) bool { return len(value) <= largestCookie-256 }

// RenewCookie sets the cookie anew on a yes of Authorize that says so. No cache may keep such an answer: whoever got it
// from there would be signed in as somebody else.
func RenewCookie(answer http.Header, app *broker.Application, a broker.Access) {
	if a.NewCookie == "" || !FitsCookie(a.NewCookie) {
		return
	}
	answer.Add("Set-Cookie", cookieOf(app, a.NewCookie).String())
	answer.Set("Cache-Control", "no-store")
}

func cookieOf(app *broker.Application, value string) *http.Cookie {
	c := &http.Cookie{
		Name: CookieName(app), Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if app.ID != broker.Self {
		c.Domain = app.Profile.Cookie.Domain
		if app.Profile.Cookie.Strict {
			c.SameSite = http.SameSiteStrictMode
		}
	}
	return c
}

func drop(w http.ResponseWriter, c *http.Cookie) { //nolint:gosec // cookieOf and embedCookieOf set every field
	c.MaxAge, c.Expires = -1, time.Unix(1, 0)
	http.SetCookie(w, c)
}

// ErrNoCredential says that a request shows nothing at all.
var ErrNoCredential = broker.ErrNoCredential

// Credential reads the one credential of a request to an application: a header credential, which makes us ignore
// cookies, else the application's cookie. Two header credentials, or a cookie sent twice, are identity.ErrInvalid;
// nothing at all is ErrNoCredential. Other schemes in Authorization (Basic …) belong to the application, not to us.
func Credential(r *http.Request, app *broker.Application) (broker.Credential, error) {
	c, err := HeaderCredential(r, app)
	if err == nil || !errors.Is(err, ErrNoCredential) {
		return c, err
	}
	return CookieCredential(r, app)
}

// CookieCredential reads the cookie that opens the application: its own, or that of an embedder whose page frames it.
// Where both came along, a page that a person opens by itself shows its own. Everything else shows the embedder's, which is
// worth less: a framed page must not act as whoever is signed in directly (EMB-07).
func CookieCredential(r *http.Request, app *broker.Application) (broker.Credential, error) {
	carrier := broker.Cookie
	if app.ID != broker.Self && app.Profile.Cookie.Token {
		carrier = broker.TokenCookie
	}
	own, err := cookieNamed(r, CookieName(app), carrier)
	if app.ID == broker.Self || err == nil && r.Header.Get("Sec-Fetch-Dest") == "document" {
		return own, err
	}
	framed, ferr := embedCookie(r, app)
	if errors.Is(ferr, ErrNoCredential) && !framedByOthers(r, app) {
		return own, err
	}
	return framed, ferr
}

// framedByOthers reports whether another origin's page loads the application into a frame: nobody is signed in there until
// that page has vouched for them, whoever the browser knows otherwise.
func framedByOthers(r *http.Request, app *broker.Application) bool {
	return isFrame(r) && r.Header.Get("Sec-Fetch-Site") != "same-origin" && len(Of(r).EmbeddersOf(app)) > 0
}

func cookieNamed(r *http.Request, name string, carrier broker.Carrier) (broker.Credential, error) {
	switch cookies := r.CookiesNamed(name); len(cookies) {
	case 0:
		return broker.Credential{}, ErrNoCredential
	case 1:
		return broker.NewCredential(carrier, cookies[0].Value), nil
	default:
		return broker.Credential{}, two("cookie sent twice")
	}
}

// embedCookie reads the one cookie of an embedder of the application.
func embedCookie(r *http.Request, app *broker.Application) (broker.Credential, error) {
	found, err := broker.Credential{}, ErrNoCredential
	for _, e := range Of(r).EmbeddersOf(app) {
		switch c, why := EmbedCredential(r, e); {
		case errors.Is(why, ErrNoCredential):
		case why != nil:
			return c, why
		case err == nil:
			return broker.Credential{}, two("cookies of two embedders")
		default:
			found, err = c, nil
		}
	}
	return found, err
}

// bearerHeader is where tokens travel, and API keys where the profile says so.
const bearerHeader = "Authorization"

// HeaderCredential reads Authorization: Bearer (a token, or an API key) and the headers that the application's profile
// has for API keys. A key in a header that the profile does not name is none. Where the profile has a header for the secret
// half, a key comes in two: half a key, or a whole one in one header, is a credential all the same, a bad one.
func HeaderCredential(r *http.Request, app *broker.Application) (broker.Credential, error) {
	profile := app.Profile
	var found broker.Credential
	count := 0
	secrets := secretHalves(r, profile)
	if len(secrets) > 1 {
		return found, two("secret of a key sent twice")
	}
	lone := len(secrets) == 1 // no public half stands beside it
	for _, v := range r.Header[bearerHeader] {
		scheme, value, _ := strings.Cut(v, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			continue
		}
		value = strings.TrimSpace(value) // an empty one is a credential too, a bad one: it must not let a cookie count
		found, count = broker.NewCredential(broker.Bearer, value), count+1
		if !slices.Contains(profile.KeyHeaders, bearerHeader) {
			continue
		}
		switch {
		case len(secrets) == 1:
			found, lone = broker.NewCredential(broker.APIKey, joined(value, secrets)), false
		case profile.KeySecretHeader == "" && broker.IsKey(value):
			found = broker.NewCredential(broker.APIKey, value)
		}
	}
	for _, name := range profile.KeyHeaders {
		if name == bearerHeader {
			continue
		}
		for _, v := range r.Header[name] {
			if profile.KeySecretHeader != "" {
				v = joined(v, secrets)
			}
			found, count = broker.NewCredential(broker.APIKey, v), count+1
			lone = false
		}
	}
	if lone {
		found, count = broker.NewCredential(broker.APIKey, joined("", secrets)), count+1
	}
	switch count {
	case 0:
		return broker.Credential{}, ErrNoCredential
	case 1:
		return found, nil
	default:
		return broker.Credential{}, two("two header credentials")
	}
}

// secretHalves are the secret halves of API keys that a request brings, where the profile has a header for them.
func secretHalves(r *http.Request, profile *broker.Profile) []string {
	if profile.KeySecretHeader == "" {
		return nil
	}
	return r.Header[profile.KeySecretHeader]
}

// joined is the key whose public half is given. There is one place to cut a key in two; any other makes no key.
func joined(public string, secrets []string) string {
	if len(secrets) != 1 || strings.Contains(secrets[0], "_") {
		return public + "_"
	}
	return public + "_" + secrets[0]
}

func two(what string) error {
	return identity.WithCode("two_credentials", fmt.Errorf("%s: %w", what, identity.ErrInvalid))
}

// RefuseInURL refuses requests that carry a credential in the query: addresses end up in logs (KEY-03).
func RefuseInURL(r *http.Request) error {
	for segment := range strings.SplitSeq(r.URL.Path, "/") {
		if broker.IsCredential(segment) {
			return inURL()
		}
	}
	if r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil { // what we cannot read, a log further on may hold all the same
		return identity.WithCode("bad_request", fmt.Errorf("query: %w", identity.ErrInvalid))
	}
	for name, values := range query {
		switch strings.ToLower(name) {
		case "access_token", "refresh_token", "api_key", "apikey", "api-key", "x-api-key", "token", "ticket", "password":
			return inURL()
		}
		for _, v := range values {
			if broker.IsCredential(v) {
				return inURL()
			}
		}
	}
	return nil
}

func inURL() error {
	return identity.WithCode("credential_in_url", fmt.Errorf("credential in the address: %w", identity.ErrInvalid))
}
