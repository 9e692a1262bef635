package templates

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// LanguageParameter is the query parameter (OpenID Connect Core section 3.1.2.1) by which the picker's links, and
// applications, ask for a language.
const LanguageParameter = "ui_locales"

// LanguageLink is one choice of the language picker.
type LanguageLink struct {
	// Lang is the language tag.
	Lang string
	// URL shows the same page in that language.
	URL string
}

// Pick chooses among the shipped languages: the first known tag of uiLocales (separated by spaces, best first), then of
// the cookie, then of the Accept-Language header by its weights, then English. All three come from outside and may be
// anything.
func Pick(uiLocales, cookie, acceptLanguage string) string {
	return pick([]string{defaultLanguage, "de"}, uiLocales, cookie, acceptLanguage)
}

// Pick is the function Pick for the languages of this renderer.
func (r *Renderer) Pick(uiLocales, cookie, acceptLanguage string) string {
	return pick(r.languages, uiLocales, cookie, acceptLanguage)
}

// LanguageLinks returns the picker's links for the page at u: same path and query, other language. The host of u is
// dropped, so that a link never leaves the site.
func (r *Renderer) LanguageLinks(u *url.URL) []LanguageLink {
	links := make([]LanguageLink, 0, len(r.languages))
	for _, language := range r.languages {
		q := u.Query()
		q.Set(LanguageParameter, language)
		path := "/" + strings.TrimLeft(u.EscapedPath(), "/\\")
		links = append(links, LanguageLink{Lang: language, URL: path + "?" + q.Encode()})
	}
	return links
}

func pick(known []string, uiLocales, cookie, acceptLanguage string) string {
	const longest = 1024
	wishes := append(strings.Fields(shorten(uiLocales, longest)), shorten(cookie, longest))
	for _, tag := range append(wishes, byWeight(shorten(acceptLanguage, longest))...) {
		if language := match(known, tag); language != "" {
			return language
		}
	}
	return known[0]
}

// match finds a tag, or the language it is a variety of (RFC 4647 section 3.4): de-AT is served by de.
func match(known []string, tag string) string {
	for tag != "" {
		for _, language := range known {
			if strings.EqualFold(language, tag) {
				return language
			}
		}
		tag = tag[:max(strings.LastIndexByte(tag, '-'), 0)]
	}
	return ""
}

// byWeight reads Accept-Language (RFC 9110 section 12.5.4), heaviest first; what it cannot read it leaves out.
func byWeight(header string) []string {
	type wish struct {
		tag    string
		weight float64
	}
	var wishes []wish
	for part := range strings.SplitSeq(header, ",") {
		tag, parameters, _ := strings.Cut(part, ";")
		w := wish{tag: strings.TrimSpace(tag), weight: 1}
		if q, ok := strings.CutPrefix(strings.TrimSpace(parameters), "q="); ok {
			weight, err := strconv.ParseFloat(q, 64)
			if err != nil || !(weight >= 0 && weight <= 1) {
				continue
			}
			w.weight = weight
		}
		if w.weight > 0 {
			wishes = append(wishes, w)
		}
	}
	slices.SortStableFunc(wishes, func(a, b wish) int {
		switch {
		case a.weight > b.weight:
			return -1
		case a.weight < b.weight:
			return 1
		default:
			return 0
		}
	})
	tags := make([]string, 0, len(wishes))
	for _, w := range wishes {
		tags = append(tags, w.tag)
	}
	return tags
}

func shorten(s string, limit int) string { return s[:min(len(s), limit)] }
