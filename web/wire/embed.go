package wire

import (
	"net/http"
	"net/url"
	"strings"

	"sallyport/broker"
)

// FramePath is where applications' hosts have the page that signs in through the page around it.
const FramePath = "/.sallyport/embed/v1/frame"

// FrameFor returns where a browser that loads the application into a frame signs in: the sign-in page is never framed. It
// is "" for every other request, and where nobody may frame the application. to is where it goes on afterwards.
func FrameFor(r *http.Request, app *broker.Application, to string) string {
	if !isFrame(r) || len(Of(r).EmbeddersOf(app)) == 0 {
		return ""
	}
	// Below the application's own path: where it is served below one of the embedding page's, nothing else leads here.
	return strings.TrimSuffix(app.URL.Path, "/") + FramePath + "?" + url.Values{"application": {app.ID}, "to": {to}}.Encode()
}

// isFrame reports whether a browser loads a page into a frame.
func isFrame(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest")
	return dest == "iframe" || dest == "frame"
}

// DropDeadEmbedCookies makes a browser forget the embedder's cookie that the credential of a request came from; it is
// called where that was tried and opens nothing any more, since it would go before a session of one's own. Where something
// else was tried, such as a bearer, the cookie may well be alive and stays. So it does where a page of another site only
// loads something from here: nobody but the browser's owner, or a page of our own, has a say in what it keeps.
func DropDeadEmbedCookies(w http.ResponseWriter, r *http.Request, app *broker.Application) {
	if !IsNavigation(r) && r.Header.Get("Sec-Fetch-Site") != "same-origin" {
		return
	}
	if c, err := Credential(r, app); err != nil || c.Carrier != broker.EmbedCookie {
		return
	}
	for _, e := range Of(r).EmbeddersOf(app) {
		if len(r.CookiesNamed(EmbedCookieName(e))) > 0 { // one: Credential takes no two
			DropEmbedCookie(w, e)
		}
	}
}

// The names of embedded sessions' cookies: never that of a session of one's own, so that the two do not collide. They
// carry the embedder's id, because browsers partition cookies by site and two embedders may be on one site.
const (
	embedPrefix   = "__Host-sp-"
	proxiedPrefix = "__Secure-sp-" // __Host- allows no path but "/"
)

// EmbedCookieName returns the name of the cookie that an embedder's pages are opened with.
func EmbedCookieName(e *broker.Embedder) string {
	if e.Relation == broker.Proxied {
		return proxiedPrefix + e.ID
	}
	return embedPrefix + e.ID
}

// embedCookieOf spells the cookie so that it works in the embedder's pages, and reaches nobody else: below the mount only
// where the embedding page's own server is on the same origin, partitioned where another site embeds.
func embedCookieOf(e *broker.Embedder, value string) *http.Cookie {
	c := &http.Cookie{
		Name: EmbedCookieName(e), Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	switch e.Relation {
	case broker.Proxied:
		c.Path = e.Mount + "/"
	case broker.CrossSite:
		c.SameSite, c.Partitioned = http.SameSiteNoneMode, true
	}
	return c
}

// EmbedCookieLine is the Set-Cookie line of an embedder's cookie with an example value, for administrators to read.
func EmbedCookieLine(e *broker.Embedder) string { return embedCookieOf(e, "VALUE").String() }

// SetEmbedCookie gives the frame the value that opens the application there. A browser keeps one embedded session of an
// application per cookie jar: those of its other embedders are dropped, since no request says which of them it is for.
func SetEmbedCookie(w http.ResponseWriter, r *http.Request, app *broker.Application, e *broker.Embedder, value string) {
	for _, other := range Of(r).EmbeddersOf(app) {
		if _, err := r.Cookie(EmbedCookieName(other)); err == nil && other.ID != e.ID {
			DropEmbedCookie(w, other)
		}
	}
	http.SetCookie(w, embedCookieOf(e, value))
}

// DropEmbedCookie makes the browser forget it.
func DropEmbedCookie(w http.ResponseWriter, e *broker.Embedder) { drop(w, embedCookieOf(e, "")) }

// EmbedCredential reads an embedder's cookie: ErrNoCredential without one, identity.ErrInvalid when it was sent twice.
func EmbedCredential(r *http.Request, e *broker.Embedder) (broker.Credential, error) {
	return cookieNamed(r, EmbedCookieName(e), broker.EmbedCookie)
}
