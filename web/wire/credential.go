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

// BrokerCookie is the name of the broker's own cookie. An application's cookie is called after it, see CookieName; all
// our cookies begin with it, and after "_" come those that no application's id can lead to.
const BrokerCookie = "__Host-sallyport"

// CookieName returns the name of an application's cookie on its own host; the broker's own for broker.Self.
func CookieName(app *broker.Application) string {
	if app.ID == broker.Self {
		return BrokerCookie
	}
	return BrokerCookie + "-" + app.ID
}

// SetCookie gives the browser the opaque value that opens the application (SES-01). It lasts as long as the browser
// session; the server ends it earlier.
func SetCookie(w http.ResponseWriter, app *broker.Application, value string) {
	http.SetCookie(w, &http.Cookie{
		Name: CookieName(app), Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// DropCookie makes the browser forget it.
func DropCookie(w http.ResponseWriter, app *broker.Application) {
	http.SetCookie(w, &http.Cookie{
		Name: CookieName(app), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: -1, Expires: time.Unix(1, 0),
	})
}

// ErrNoCredential says that a request shows nothing at all.
var ErrNoCredential = identity.WithCode("unauthenticated", fmt.Errorf("no credential: %w", identity.ErrBadCredentials))

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

// CookieCredential reads the application's cookie only.
func CookieCredential(r *http.Request, app *broker.Application) (broker.Credential, error) {
	switch cookies := r.CookiesNamed(CookieName(app)); len(cookies) {
	case 0:
		return broker.Credential{}, ErrNoCredential
	case 1:
		return broker.NewCredential(broker.Cookie, cookies[0].Value), nil
	default:
		return broker.Credential{}, two("cookie sent twice")
	}
}

// bearerHeader is where tokens travel, and API keys where the profile says so.
const bearerHeader = "Authorization"

// HeaderCredential reads Authorization: Bearer (a token, or an API key) and the headers that the application's profile
// has for API keys. A key in a header that the profile does not name is none.
func HeaderCredential(r *http.Request, app *broker.Application) (broker.Credential, error) {
	var found broker.Credential
	count := 0
	for _, v := range r.Header[bearerHeader] {
		scheme, value, _ := strings.Cut(v, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			continue
		}
		value = strings.TrimSpace(value) // an empty one is a credential too, a bad one: it must not let a cookie count
		carrier := broker.Bearer
		if broker.IsKey(value) && slices.Contains(app.Profile.KeyHeaders, bearerHeader) {
			carrier = broker.APIKey
		}
		found, count = broker.NewCredential(carrier, value), count+1
	}
	for _, name := range app.Profile.KeyHeaders {
		if name == bearerHeader {
			continue
		}
		for _, v := range r.Header[name] {
			found, count = broker.NewCredential(broker.APIKey, v), count+1
		}
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

func two(what string) error {
	return identity.WithCode("two_credentials", fmt.Errorf("%s: %w", what, identity.ErrInvalid))
}

// RefuseInURL refuses requests that carry a credential in the query: addresses end up in logs (KEY-03).
func RefuseInURL(r *http.Request) error {
	for segment := range strings.SplitSeq(r.URL.Path, "/") {
		if broker.IsKey(segment) {
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
		case "access_token", "api_key", "apikey", "api-key", "x-api-key", "token", "password":
			return inURL()
		}
		for _, v := range values {
			if broker.IsKey(v) {
				return inURL()
			}
		}
	}
	return nil
}

func inURL() error {
	return identity.WithCode("credential_in_url", fmt.Errorf("credential in the address: %w", identity.ErrInvalid))
}
