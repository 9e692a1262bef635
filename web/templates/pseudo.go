package templates

import (
	"strings"
	"unicode/utf8"
)

// The pseudo-locales; both tags are in the range reserved for private use.
const (
	pseudoAccented    = "en-XA"
	pseudoRightToLeft = "ar-XB"
)

// accented writes every word with accents, 40 % longer and in brackets: text without brackets is not in the catalogue,
// and text without its closing bracket was cut off.
func accented(c catalogue) catalogue {
	return c.rewrite(pseudoAccented, "ltr", func(segments []segment) []segment {
		letters := 0
		out := []segment{{words: "["}}
		for _, s := range segments {
			letters += utf8.RuneCountInString(s.words)
			out = append(out, segment{words: addAccents(s.words), argument: s.argument})
		}
		return append(out, segment{words: strings.Repeat(" ẽẽẽ", (letters*4/10+3)/4) + "]"})
	})
}

// rightToLeft makes every word run right to left, as Arabic and Hebrew do.
func rightToLeft(c catalogue) catalogue {
	const override, pop = "\u202e", "\u202c"
	return c.rewrite(pseudoRightToLeft, "rtl", func(segments []segment) []segment {
		out := make([]segment, 0, len(segments))
		for _, s := range segments {
			if s.words != "" {
				s.words = override + s.words + pop
			}
			out = append(out, s)
		}
		return out
	})
}

func (c catalogue) rewrite(language, direction string, change func([]segment) []segment) catalogue {
	out := catalogue{language: language, texts: make(map[string]text, len(c.texts))}
	for key, t := range c.texts {
		next := text{other: change(t.other)}
		if t.one != nil {
			next.one = change(t.one)
		}
		out.texts[key] = next
	}
	out.texts[keyLanguageName] = text{other: []segment{{words: language}}}
	out.texts[keyLanguageDirection] = text{other: []segment{{words: direction}}}
	return out
}

func addAccents(s string) string {
	return strings.NewReplacer(
		"a", "å", "c", "ç", "d", "ð", "e", "é", "g", "ğ", "h", "ĥ", "i", "î", "k", "ķ", "l", "ļ", "n", "ñ", "o", "ö",
		"r", "ŕ", "s", "š", "t", "ţ", "u", "û", "w", "ŵ", "y", "ý", "z", "ž",
		"A", "Å", "C", "Ç", "E", "É", "I", "Î", "N", "Ñ", "O", "Ö", "R", "Ŕ", "S", "Š", "T", "Ţ", "U", "Û", "Y", "Ý",
	).Replace(s)
}
