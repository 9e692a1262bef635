package embed

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

//go:embed frame.html
var frameSource string

var frameTemplate = template.Must(template.New("frame").Parse(frameSource))

// policy is what the frame's page works under; the origins that may frame it follow.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors "

// view is the frame's page.
type view struct {
	Lang, Title, Script, Style string
	// Failed and Ended are for people; Trace stands behind Failed where the failure has no number of its own.
	Failed, Ended, Trace string
	Settings             settings
}

// settings are what the page's script goes by. Nothing here is secret: whoever opens the page reads it.
type settings struct {
	Application string `json:"application"`
	Embedder    string `json:"embedder,omitempty"`
	// To is where the frame goes on to: below the application.
	To string `json:"to"`
	// Origins may speak to the frame.
	Origins []string `json:"origins"`
	// Globals are further names of the script's window property.
	Globals []string `json:"globals"`
}

// frame shows the page that signs in through the page around it. It is blank until something goes wrong. Whoever may not
// frame the application is kept out by the browser, before any script of theirs could see anything (EMB-06).
func (e *Embed) frame(w http.ResponseWriter, r *http.Request) error {
	app, err := application(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	by := wire.Of(r).EmbeddersOf(app)
	s := settings{Application: app.ID, Embedder: q.Get("embedder"), To: app.ReturnURL(q.Get("to")).String()}
	named := func(one *broker.Embedder) bool { return one.ID == s.Embedder }
	if len(by) == 0 || s.Embedder != "" && !slices.ContainsFunc(by, named) {
		return identity.WithCode("embedder_unknown", fmt.Errorf("embedder of %s: %w", app.ID, identity.ErrNotFound))
	}
	s.Origins, s.Globals = []string{}, []string{}
	for _, one := range by {
		s.Origins = append(s.Origins, one.Origins...)
		if one.Global != "" {
			s.Globals = append(s.Globals, one.Global)
		}
	}
	s.Origins, s.Globals = distinct(s.Origins), distinct(s.Globals)
	return e.show(w, r, app, s)
}

func (e *Embed) show(w http.ResponseWriter, r *http.Request, app *broker.Application, s settings) error {
	lang := e.house.Lang(r)
	said := func(code string) string {
		_, text := e.house.Pages.ProblemText(lang, templates.Problem{Code: code})
		return text
	}
	var b bytes.Buffer
	err := frameTemplate.Execute(&b, view{
		Lang: lang, Title: app.Title, Script: hashed("child.js"), Style: hashed("frame.css"),
		Failed: said("frame_failed"), Ended: said("frame_ended"), Trace: wire.Of(r).TraceID, Settings: s,
	})
	if err != nil {
		return err
	}
	// Where the two pages do not find each other, this number is all that people can tell.
	e.house.Log.InfoContext(r.Context(), "frame shown", "application", app.ID, "embedder", s.Embedder,
		"request_id", wire.Of(r).TraceID, "address", wire.Of(r).Address)
	h := w.Header()
	h.Del("X-Frame-Options") // it knows no list, and some browsers would heed it before the policy
	h.Set("Content-Security-Policy", policy+strings.Join(s.Origins, " "))
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	_, err = b.WriteTo(w)
	return err
}

func distinct(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
