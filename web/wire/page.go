package wire

import (
	"bytes"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/templates"
)

// languageCookie remembers the chosen language; it is no secret and says nothing about a person.
const languageCookie = "__Host-sallyport_lang"

// Lang chooses the language of an answer: ui_locales, the cookie, Accept-Language, the default.
func (h *House) Lang(r *http.Request) string {
	chosen := ""
	if c, err := r.Cookie(languageCookie); err == nil {
		chosen = c.Value
	}
	wish := ""
	if r.URL.RawQuery != "" {
		wish = r.URL.Query().Get("ui_locales")
	}
	return h.Pages.Pick(wish, chosen, r.Header.Get("Accept-Language"))
}

// Renderer returns the one for the request's host.
func (h *House) Renderer(r *http.Request) *templates.Renderer {
	if Of(r).IsIssuer(Of(r).Host) {
		return h.Pages
	}
	return h.HostPages
}

// SetRememberedCookie gives the browser a value that opens the application, to be kept until the session ends at the
// latest: for who asked to be remembered, see broker.Attempt.
func SetRememberedCookie(w http.ResponseWriter, app *broker.Application, value string, rest time.Duration) {
	c := cookieOf(app, value) //nolint:gosec // cookieOf sets every field
	c.MaxAge = max(int(rest/time.Second), 1)
	http.SetCookie(w, c)
}

// Chrome returns what stands around a page for this request.
func (h *House) Chrome(r *http.Request) templates.Chrome {
	c := templates.Chrome{Lang: h.Lang(r), Title: Of(r).Brand, Support: Of(r).Support}
	if r.Method == http.MethodGet && Of(r).IsIssuer(Of(r).Host) {
		c.Languages = h.Pages.LanguageLinks(r.URL)
	}
	return c
}

// Render answers with a page. A language asked for in the address is remembered.
func (h *House) Render(w http.ResponseWriter, r *http.Request, status int, page templates.Page, view any) error {
	var b bytes.Buffer
	if err := h.Renderer(r).Render(&b, page, view); err != nil {
		return err
	}
	if r.URL.Query().Has("ui_locales") {
		http.SetCookie(w, &http.Cookie{
			Name: languageCookie, Value: h.Lang(r), Path: "/", Secure: true, HttpOnly: true,
			SameSite: http.SameSiteLaxMode, MaxAge: 180 * 24 * 3600,
		})
	}
	templates.SetHeaders(w.Header())
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := b.WriteTo(w)
	return err
}

// WriteErrorPage tells an error to a person.
func (h *House) WriteErrorPage(w http.ResponseWriter, r *http.Request, cause error, back string) {
	status, code := Status(cause)
	SetErrorHeaders(w.Header(), status, code, Of(r).TraceID)
	setRetryAfter(w.Header(), cause)
	chrome := h.Chrome(r)
	chrome.Languages = nil // the address may hold a code or a state: no link repeats it
	view := templates.Error{
		Chrome: chrome, Problem: templates.Problem{Code: code}, BackURL: back,
		Trace: templates.Trace{Code: code, At: h.Now(), ID: Of(r).TraceID},
	}
	if p, err := Of(r).Providers.Get(r.PathValue("provider")); err == nil {
		view.Problem.Provider = p.Info().Title
	}
	if err := h.Render(w, r, status, templates.PageError, view); err != nil {
		h.Log.ErrorContext(r.Context(), "error page not rendered", "request_id", Of(r).TraceID, "err", err)
		h.WriteProblem(w, r, cause)
	}
}

// BackURL is where somebody goes on from an error: to the application they were on the way to, or the sign-in page.
func (h *House) BackURL(r *http.Request) string {
	f := Of(r)
	if app, err := f.Application(r.URL.Query().Get("application")); err == nil && app.URL != nil {
		return app.URL.String()
	}
	if !f.IsIssuer(f.Host) {
		if app := f.ApplicationAt(f.Host, "/"); app != nil {
			return app.URL.String()
		}
		return "/"
	}
	return templates.PathLogin
}

// wantsPage reports whether the answer to an error should be a page: navigations and form posts of a browser.
func wantsPage(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		return false
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// formType is what the forms of our pages send.
const formType = "application/x-www-form-urlencoded"

// FormField reads a form field that must stand there once at most (one reading): identity.ErrInvalid otherwise.
func FormField(r *http.Request, name string) (string, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != formType {
		return "", MediaType() // read as a form, anything else would be an empty one
	}
	if err := r.ParseForm(); err != nil {
		return "", invalidForm(err)
	}
	switch v := r.PostForm[name]; len(v) {
	case 0:
		return "", nil
	case 1:
		if !utf8.ValidString(v[0]) { // bytes that two readers would take for different texts
			return "", identity.WithCode("bad_request", identity.ErrInvalid)
		}
		return v[0], nil
	default:
		return "", identity.WithCode("bad_request", identity.ErrInvalid)
	}
}

// invalidForm keeps the one cause that has an answer of its own.
func invalidForm(err error) error {
	if TooLarge(err) {
		return err
	}
	return identity.WithCode("bad_request", identity.ErrInvalid)
}
