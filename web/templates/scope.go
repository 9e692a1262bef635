package templates

import (
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"
)

// view is what every view struct is, by embedding Chrome and having a heading.
type view interface {
	chrome() Chrome
	heading(p *printer, c Chrome) Message
}

// refresher is a view that takes the browser on by itself.
type refresher interface {
	refreshURL() string
}

// waiter is a refresher that may wait for somebody to read it first.
type waiter interface {
	waits() bool
}

// failure is a view that is an error whatever else it holds.
type failure interface {
	failed()
}

// scope is the dot of every template: the view as .V, what is around every page as .Chrome, and the ways to say
// something.
type scope struct {
	V        any
	Chrome   Chrome
	Page     Page
	Names    names
	Refresh  string
	printer  *printer
	renderer *Renderer
	head     Message
	failed   bool
}

func (r *Renderer) scope(page Page, v view) (scope, error) {
	c := v.chrome()
	p, ok := r.printers[c.Lang]
	if !ok {
		p = r.printers[r.languages[0]]
	}
	c.Lang = p.catalogue.language
	if c.Title == "" {
		c.Title = p.catalogue.words("product.name")
	}
	s := scope{
		V: v, Chrome: c, Page: page, Names: formNames(), printer: p, renderer: r, head: v.heading(p, c),
		failed: len(c.Problems) > 0,
	}
	if _, ok := v.(failure); ok {
		s.failed = true
	}
	if f, ok := v.(refresher); ok {
		if err := onward(f.refreshURL()); err != nil {
			return scope{}, err
		}
		if w, ok := v.(waiter); !ok || !w.waits() {
			s.Refresh = f.refreshURL()
		}
	}
	return s, nil
}

// onward refuses to send a browser to anything but a web address or a path of this site: a javascript: or data: address
// would run with whatever rights the page it came from has.
func onward(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || address == "" || strings.ContainsAny(address, "\\ \t\r\n\"'<>"):
		return fmt.Errorf("the address to go on to cannot be used")
	case (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil:
		return nil
	case u.Scheme == "" && u.Host == "" && strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "//"):
		return nil
	default:
		return fmt.Errorf("the address to go on to has scheme %q", u.Scheme)
	}
}

// With is the same scope around another value, for partial templates.
func (s scope) With(v any) scope { s.V = v; return s }

// T says a sentence as markup.
func (s scope) T(key string, arguments ...any) (template.HTML, error) {
	return s.printer.html(say(key, arguments...))
}

// Text says a sentence as plain text.
func (s scope) Text(key string, arguments ...any) (string, error) {
	return s.printer.plain(say(key, arguments...))
}

// Say says what a view chose.
func (s scope) Say(m Message) (template.HTML, error) { return s.printer.html(m) }

// Plain says what a view chose as plain text, to be an argument of Text.
func (s scope) Plain(m Message) (ours, error) {
	words, err := s.printer.plain(m)
	return ours(words), err
}

// Heading is the page's one h1.
func (s scope) Heading() (template.HTML, error) { return s.printer.html(s.head) }

// PageTitle is the title of the tab; a failure says so first, because that is what is read out first.
func (s scope) PageTitle() (string, error) {
	page, err := s.printer.plain(s.head)
	if err != nil {
		return "", err
	}
	if s.failed {
		return s.Text("title.error", "page", ours(page), "brand", s.Chrome.Title)
	}
	return s.Text("title.page", "page", ours(page), "brand", s.Chrome.Title)
}

// Dir is the direction of the language.
func (s scope) Dir() string { return s.printer.direction() }

// Static is the address of a file of ours.
func (s scope) Static(name string) string { return s.renderer.static(name) }

// Time writes a moment, Date its day.
func (s scope) Time(t time.Time) (template.HTML, error) {
	return s.printer.time(keyTime, s.Chrome.in(t))
}

// Date see Time.
func (s scope) Date(t time.Time) (template.HTML, error) {
	return s.printer.time(keyDate, s.Chrome.in(t))
}

// Stamp writes a moment for support, to the second and always in UTC; script leaves it alone.
func (s scope) Stamp(t time.Time) template.HTML {
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `">` + //nolint:gosec // digits only
		t.Format("2006-01-02 15:04:05 MST") + `</time>`)
}

// PlainTime writes a moment where no markup can be.
func (s scope) PlainTime(t time.Time) string { return s.Chrome.in(t).Format("2006-01-02 15:04") }

// LanguageName is a language's own name for itself.
func (s scope) LanguageName(tag string) string {
	p, ok := s.renderer.printers[tag]
	if !ok {
		return tag
	}
	return p.catalogue.words(keyLanguageName)
}

// ProblemsAt lists the problems of a field, for the text beside it.
func (s scope) ProblemsAt(field string) []Problem {
	var found []Problem
	for _, p := range s.Chrome.Problems {
		if p.Field == field {
			found = append(found, p)
		}
	}
	return found
}

// Invalid reports whether a field has a problem.
func (s scope) Invalid(field string) bool { return len(s.ProblemsAt(field)) > 0 }

// Title, Cause and Advice say the three parts of a problem, see Problem.
func (s scope) Title(p Problem) (template.HTML, error) {
	return s.printer.html(p.title(s.printer, s.Chrome))
}

// Cause see Title.
func (s scope) Cause(p Problem) (template.HTML, error) {
	return s.printer.html(p.text(s.printer, s.Chrome))
}

// Advice see Title.
func (s scope) Advice(p Problem) (template.HTML, error) {
	return s.printer.html(p.advice(s.printer, s.Chrome))
}
