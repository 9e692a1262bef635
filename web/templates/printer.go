package templates

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// printer says things in one language.
type printer struct {
	catalogue catalogue
}

// Message is a sentence of the catalogue with the values of its arguments, to be said in whatever language the page has.
// Only this package makes one.
type Message struct {
	key       string
	arguments []any
}

// say is how Go code names a sentence; the tests find the keys it is called with.
func say(key string, arguments ...any) Message { return Message{key: key, arguments: arguments} }

// fill looks up the sentence and pairs its arguments, which must be exactly those it has.
func (p *printer) fill(m Message) ([]segment, map[string]any, error) {
	t, ok := p.catalogue.texts[m.key]
	if !ok {
		return nil, nil, fmt.Errorf("%s: no such text", m.key)
	}
	values := make(map[string]any, len(m.arguments)/2)
	for i := 0; i+1 < len(m.arguments); i += 2 {
		name, ok := m.arguments[i].(string)
		if !ok {
			return nil, nil, fmt.Errorf("%s: argument %d has no name", m.key, i/2)
		}
		values[name] = m.arguments[i+1]
	}
	names := t.arguments()
	if len(m.arguments) != 2*len(names) {
		return nil, nil, fmt.Errorf("%s takes %v", m.key, names)
	}
	for _, name := range names {
		if _, ok := values[name]; !ok {
			return nil, nil, fmt.Errorf("%s takes %v", m.key, names)
		}
	}
	count, _ := values[countArgument].(int)
	return t.form(count), values, nil
}

// html returns the sentence as markup; each value from outside is escaped and set in <bdi>.
func (p *printer) html(m Message) (template.HTML, error) {
	segments, values, err := p.fill(m)
	if err != nil {
		return "", err
	}
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	var b strings.Builder
	for _, s := range segments {
		if s.argument == "" {
			b.WriteString(escape.Replace(s.words))
			continue
		}
		switch v := values[s.argument].(type) {
		case template.HTML:
			b.WriteString(string(v))
		case int:
			b.WriteString(strconv.Itoa(v))
		default:
			b.WriteString("<bdi>" + template.HTMLEscapeString(fmt.Sprint(v)) + "</bdi>")
		}
	}
	return template.HTML(b.String()), nil //nolint:gosec // every part was escaped above
}

// plain returns the sentence as text, for titles and attributes, where there is no <bdi>.
func (p *printer) plain(m Message) (string, error) {
	segments, values, err := p.fill(m)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, s := range segments {
		if s.argument == "" {
			b.WriteString(s.words)
			continue
		}
		if v, ok := values[s.argument].(ours); ok {
			b.WriteString(string(v))
			continue
		}
		b.WriteString(p.isolate(fmt.Sprint(values[s.argument])))
	}
	return b.String(), nil
}

// ours is an argument that is a sentence of the catalogue itself, so that its direction is the page's.
type ours string

// isolate keeps a value's direction to itself (Unicode FSI … PDI) where the direction can matter.
func (p *printer) isolate(value string) string {
	const firstStrong, pop = "\u2068", "\u2069"
	if p.direction() == "ltr" && !strings.ContainsFunc(value, turns) {
		return value
	}
	return firstStrong + value + pop
}

// turns reports whether a rune is written right to left or changes the direction.
func turns(r rune) bool {
	return unicode.In(r, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko,
		unicode.Adlam, unicode.Bidi_Control)
}

func (p *printer) direction() string { return p.catalogue.words(keyLanguageDirection) }

// time returns a <time> element, in the zone of t.
func (p *printer) time(key string, t time.Time) (template.HTML, error) {
	month, err := p.plain(say("month." + strconv.Itoa(int(t.Month()))))
	if err != nil {
		return "", err
	}
	arguments := []any{"day", t.Day(), "month", month, "year", t.Year()}
	if key == keyTime {
		arguments = append(arguments, "clock", t.Format("15:04"), "zone", t.Format("MST"))
	}
	words, err := p.plain(say(key, arguments...))
	if err != nil {
		return "", err
	}
	kind := "date"
	if key == keyTime {
		kind = "time"
	}
	//nolint:gosec // the words are escaped, the rest is made here
	return template.HTML(`<time datetime="` + t.UTC().Format(time.RFC3339) + `" data-local="` + kind + `">` +
		template.HTMLEscapeString(words) + `</time>`), nil
}

// How times are written.
const (
	keyTime = "format.time"
	keyDate = "format.date"
)
