package templates

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// catalogue is every sentence in one language, by key.
type catalogue struct {
	language string
	texts    map[string]text
}

// text is one sentence. one is set only where the number named count changes the wording.
type text struct {
	one, other []segment
}

// segment is fixed words, or the place of a named argument.
type segment struct {
	words, argument string
}

// The keys that describe a language rather than say something in it.
const (
	keyLanguageName      = "language.name"
	keyLanguageDirection = "language.direction"
	countArgument        = "count"
)

// defaultLanguage is spoken where nobody asked for one we have, and is the measure for all others.
const defaultLanguage = "en"

// loadCatalogues returns the catalogues, the default language first, all with the same keys and arguments.
func loadCatalogues(o Options) ([]catalogue, error) {
	byLanguage := make(map[string]catalogue)
	shipped, err := fs.Sub(catalogueFiles, "catalogue")
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	for _, fsys := range []fs.FS{shipped, o.Catalogues} {
		if fsys == nil {
			continue
		}
		if err := readCatalogues(fsys, byLanguage); err != nil {
			return nil, err
		}
	}
	reference := byLanguage[defaultLanguage]
	if o.PseudoLocales {
		byLanguage[pseudoAccented] = accented(reference)
		byLanguage[pseudoRightToLeft] = rightToLeft(reference)
	}
	all := []catalogue{reference}
	var mistakes []error
	for _, language := range slices.Sorted(maps.Keys(byLanguage)) {
		c := byLanguage[language]
		if language != defaultLanguage {
			all = append(all, c)
		}
		mistakes = append(mistakes, c.compare(reference)...)
	}
	return all, errors.Join(mistakes...)
}

// readCatalogues adds the files of fsys; a text of a language that is there already replaces the older one.
func readCatalogues(fsys fs.FS, into map[string]catalogue) error {
	names, err := fs.Glob(fsys, "*.json")
	if err != nil {
		return fmt.Errorf("templates: catalogues: %w", err)
	}
	for _, name := range names {
		raw, err := fs.ReadFile(fsys, name)
		if err != nil {
			return fmt.Errorf("templates: catalogue: %w", err)
		}
		c, err := parseCatalogue(strings.TrimSuffix(path.Base(name), ".json"), raw)
		if err != nil {
			return fmt.Errorf("templates: catalogue %s: %w", name, err)
		}
		if older, ok := into[c.language]; ok {
			maps.Copy(older.texts, c.texts)
			continue
		}
		into[c.language] = c
	}
	return nil
}

// parseCatalogue reads one JSON object of key → sentence, or key → {"one": …, "other": …}.
func parseCatalogue(language string, raw []byte) (catalogue, error) {
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		return catalogue{}, err
	}
	c := catalogue{language: language, texts: make(map[string]text, len(entries))}
	for key, value := range entries {
		t, err := parseText(value)
		if err != nil {
			return catalogue{}, fmt.Errorf("key %s: %w", key, err)
		}
		c.texts[key] = t
	}
	return c, nil
}

func parseText(raw json.RawMessage) (text, error) {
	var single string
	if json.Unmarshal(raw, &single) == nil {
		other, err := parseSegments(single)
		return text{other: other}, err
	}
	var plural map[string]string
	if err := json.Unmarshal(raw, &plural); err != nil {
		return text{}, errors.New("neither a sentence nor plural forms")
	}
	if len(plural) != 2 || plural["one"] == "" || plural["other"] == "" {
		return text{}, errors.New(`plural forms are "one" and "other"`)
	}
	one, err := parseSegments(plural["one"])
	if err != nil {
		return text{}, err
	}
	other, err := parseSegments(plural["other"])
	return text{one: one, other: other}, err
}

// parseSegments splits "Signed in as {name}" at its arguments.
func parseSegments(s string) ([]segment, error) {
	if s == "" {
		return nil, errors.New("the sentence is empty")
	}
	argument := regexp.MustCompile(`\{([a-z_]+)\}`)
	var out []segment
	at := 0
	for _, m := range argument.FindAllStringSubmatchIndex(s, -1) {
		if m[0] > at {
			out = append(out, segment{words: s[at:m[0]]})
		}
		out = append(out, segment{argument: s[m[2]:m[3]]})
		at = m[1]
	}
	if at < len(s) {
		out = append(out, segment{words: s[at:]})
	}
	for _, part := range out {
		if strings.ContainsAny(part.words, "{}") {
			return nil, fmt.Errorf("stray brace in %q", s)
		}
	}
	return out, nil
}

// arguments lists the names a sentence needs, sorted.
func (t text) arguments() []string {
	names := make(map[string]bool)
	for _, s := range slices.Concat(t.one, t.other) {
		if s.argument != "" {
			names[s.argument] = true
		}
	}
	if t.one != nil {
		names[countArgument] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// form picks the plural form. English and German know one and other; a language with more forms adds them here and in
// parseText.
func (t text) form(count int) []segment {
	if t.one != nil && count == 1 {
		return t.one
	}
	return t.other
}

// compare lists what is missing, unknown or differently parameterised against the reference.
func (c catalogue) compare(reference catalogue) []error {
	var mistakes []error
	for _, key := range slices.Sorted(maps.Keys(reference.texts)) {
		got, ok := c.texts[key]
		want := reference.texts[key].arguments()
		switch {
		case !ok:
			mistakes = append(mistakes, fmt.Errorf("catalogue %s: %s is missing", c.language, key))
		case !slices.Equal(got.arguments(), want):
			mistakes = append(mistakes,
				fmt.Errorf("catalogue %s: %s has arguments %v, not %v", c.language, key, got.arguments(), want))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.texts)) {
		if _, ok := reference.texts[key]; !ok {
			mistakes = append(mistakes, fmt.Errorf("catalogue %s: %s is not a key", c.language, key))
		}
	}
	if d := c.words(keyLanguageDirection); d != "ltr" && d != "rtl" {
		mistakes = append(mistakes, fmt.Errorf("catalogue %s: %s is ltr or rtl", c.language, keyLanguageDirection))
	}
	return mistakes
}

// words returns a sentence that has no arguments.
func (c catalogue) words(key string) string {
	var b strings.Builder
	for _, s := range c.texts[key].other {
		b.WriteString(s.words)
	}
	return b.String()
}
