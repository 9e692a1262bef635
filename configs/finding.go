package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sallyport/identity"
)

// Place is where something stands. Line and Column count from 1; 0 means that there is none.
type Place struct {
	// File as named when loading, or the name of an environment variable.
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String is file:line:column as far as known.
func (p Place) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// Mistake is one thing wrong in a file.
type Mistake struct {
	Place
	// Key is dotted from the top: applications.reports.url, mapping.rules[3].roles.
	Key string `json:"key,omitempty"`
	// Text says what is wrong and what was expected; never a secret.
	Text string `json:"text"`
}

// Error is "file:line:column: key: text".
func (m Mistake) Error() string { return line(m.Place, m.Key, m.Text) }

// Mistakes are all things wrong, in the order they stand in the file. It wraps identity.ErrInvalid.
type Mistakes []Mistake

// Error has one line for each.
func (ms Mistakes) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes errors.Is(err, identity.ErrInvalid) true.
func (ms Mistakes) Unwrap() error { return identity.ErrInvalid }

// Warning is something allowed that weakens the house or is probably not meant.
type Warning struct {
	Place
	// Key and Text are as in Mistake.
	Key  string `json:"key,omitempty"`
	Text string `json:"text"`
}

// String is "file:line:column: key: text".
func (w Warning) String() string { return line(w.Place, w.Key, w.Text) }

func line(p Place, key, text string) string {
	if key == "" {
		return p.String() + ": " + text
	}
	return p.String() + ": " + key + ": " + text
}

func comparePlaces(a, b Place) int {
	return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}

func sortMistakes(ms []Mistake) Mistakes {
	slices.SortStableFunc(ms, func(a, b Mistake) int { return comparePlaces(a.Place, b.Place) })
	return ms
}

func sortWarnings(ws []Warning) []Warning {
	slices.SortStableFunc(ws, func(a, b Warning) int { return comparePlaces(a.Place, b.Place) })
	return ws
}
