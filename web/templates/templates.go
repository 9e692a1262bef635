// Package templates owns what people see: the pages, their words in every language, and nothing else. A handler fills a
// view and names a page; this package turns the two into HTML. It decides nothing, sets no status and no cookie, reads
// no request, and knows neither accounts nor sessions. Every sentence is a key of catalogue/<language>.json: there is no
// English in the Go code and none in the HTML, and sentences are never put together from pieces.
//
// Pages work without script, under ContentSecurityPolicy. Whatever came from outside is escaped where it stands
// (html/template) and set in <bdi>, so that it can change neither the markup nor the direction of the text around it.
package templates

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"reflect"
)

//go:embed html/*.html
var pageFiles embed.FS

//go:embed catalogue/*.json
var catalogueFiles embed.FS

// Page names a page and the file it is made from.
type Page string

// The pages; each takes the view of the same name.
const (
	PageLogin     Page = "login"
	PagePassword  Page = "password"
	PageConfirm   Page = "confirm"
	PageContinue  Page = "continue"
	PageNext      Page = "next"
	PageDenied    Page = "denied"
	PageSignOut   Page = "sign_out"
	PageSignedOut Page = "signed_out"
	PageSetup     Page = "setup"
	PageMe        Page = "me"
	PageError     Page = "error"
)

// pageViews says which view each page takes.
func pageViews() map[Page]view {
	return map[Page]view{
		PageLogin: Login{}, PagePassword: Password{}, PageConfirm: Confirm{}, PageContinue: Continue{}, PageNext: Next{},
		PageDenied: Denied{}, PageSignOut: SignOut{}, PageSignedOut: SignedOut{}, PageSetup: Setup{},
		PageMe: Me{}, PageError: Error{},
	}
}

// ContentSecurityPolicy is what every page is made to work under. form-action 'self' also stops redirects to another
// host after a POST, so a POST answers with PageNext instead.
const ContentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// SetHeaders sets the content type and the headers that protect a page: no script or frame but ours, no copy in a
// cache, no address passed on to other sites.
func SetHeaders(h http.Header) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", ContentSecurityPolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// Options are what a Renderer needs.
type Options struct {
	// Static returns the address of a file of ours by name ("sallyport.css"). Required.
	Static func(name string) string
	// Catalogues, when set, holds <language>.json files at its top: further languages, which must be complete, and
	// single texts that replace shipped ones.
	Catalogues fs.FS
	// PseudoLocales adds en-XA (accents, 40 % longer) and ar-XB (right to left). For tests: they show texts that are
	// not in the catalogue and layouts that break.
	PseudoLocales bool
}

// Renderer turns views into pages. It is safe for concurrent use.
type Renderer struct {
	pages     map[Page]*template.Template
	views     map[Page]view
	languages []string
	printers  map[string]*printer
	static    func(string) string
}

// New reads all catalogues and pages; every mistake in them is found here, not when somebody looks at the page.
func New(o Options) (*Renderer, error) {
	if o.Static == nil {
		return nil, errors.New("templates: Options.Static is missing")
	}
	catalogues, err := loadCatalogues(o)
	if err != nil {
		return nil, err
	}
	r := &Renderer{
		pages:    make(map[Page]*template.Template),
		views:    pageViews(),
		printers: make(map[string]*printer),
		static:   o.Static,
	}
	for _, c := range catalogues {
		r.languages = append(r.languages, c.language)
		r.printers[c.language] = &printer{catalogue: c}
	}
	layout, err := template.ParseFS(pageFiles, "html/layout.html")
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	for page := range r.views {
		t, err := layout.Clone()
		if err == nil {
			t, err = t.ParseFS(pageFiles, "html/"+string(page)+".html")
		}
		if err != nil {
			return nil, fmt.Errorf("templates: page %s: %w", page, err)
		}
		r.pages[page] = t
	}
	return r, nil
}

// Languages lists the language tags that can be chosen; the first is the default.
func (r *Renderer) Languages() []string { return append([]string(nil), r.languages...) }

// Render writes the page with the view of the same name. Nothing is written when an error is returned; the caller sets
// status and headers (SetHeaders) before, or writes into a buffer of its own. An unknown Chrome.Lang means the default.
func (r *Renderer) Render(w io.Writer, page Page, v any) error {
	t, ok := r.pages[page]
	if !ok {
		return fmt.Errorf("templates: there is no page %q", page)
	}
	typed, ok := v.(view)
	if !ok || reflect.TypeOf(v) != reflect.TypeOf(r.views[page]) {
		return fmt.Errorf("templates: page %s takes a %T, not a %T", page, r.views[page], v)
	}
	s, err := r.scope(page, typed)
	if err != nil {
		return fmt.Errorf("templates: page %s: %w", page, err)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "layout.html", s); err != nil {
		return fmt.Errorf("templates: page %s: %w", page, err)
	}
	_, err = b.WriteTo(w)
	return err
}
