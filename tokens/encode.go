package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"sallyport/tokens/jws"
)

// Claims are appended to a buffer rather than marshalled by reflection: with EdDSA the encoder would otherwise cost a
// good part of the signature. Everything here writes what encoding/json would, without its escapes for HTML.

// appendName begins a member of an object.
func appendName(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(appendString(b, name), ':')
}

// appendMember appends a member whose value is a string.
func appendMember(b []byte, name, value string) []byte {
	return appendString(appendName(b, name), value)
}

// appendSeconds appends a member whose value is a NumericDate in whole seconds.
func appendSeconds(b []byte, name string, unix int64) []byte {
	return strconv.AppendInt(appendName(b, name), unix, 10)
}

// appendStrings appends a list of strings.
func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// appendString appends a JSON string (RFC 8259 section 7). The text must be valid UTF-8.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c != 0xE2 {
			continue
		}
		if c == 0xE2 {
			// U+2028 and U+2029 end a line in older JavaScript.
			if strings.HasPrefix(s[i:], "\u2028") || strings.HasPrefix(s[i:], "\u2029") {
				b = append(append(b, s[start:i]...), `\u202`...)
				b = append(b, hex[s[i+2]&0xF])
				i += 2
				start = i + 1
			}
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&0xF])
		}
	}
	return append(append(b, s[start:]...), '"')
}

// appendExtra appends a profile's claims, sorted by name so that equal claims give equal bytes.
func appendExtra(b []byte, claims map[string]any) ([]byte, error) {
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		if !validText(name) {
			return nil, errors.New("a claim's name is empty or not text")
		}
		if core, ok := coreClaim(name); ok {
			return nil, fmt.Errorf("claim %q would overwrite %q", name, core)
		}
		var err error
		if b, err = appendValue(appendName(b, name), claims[name]); err != nil {
			return nil, fmt.Errorf("claim %q: %w", name, err)
		}
	}
	return b, nil
}

// appendValue appends the usual types directly and the others by reflection.
func appendValue(b []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case string:
		if !plain(v) {
			return nil, errNotText
		}
		return appendString(b, v), nil
	case []string:
		if !plain(v...) {
			return nil, errNotText
		}
		return appendStrings(b, v), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	default:
		data, err := json.Marshal(v)
		if err != nil {
			return nil, errors.New("cannot be written as JSON")
		}
		// A value may write itself, or be raw.
		if err := jws.CheckJSON(data); err != nil {
			return nil, err
		}
		return append(b, data...), nil
	}
}

// coreClaim reports which core claim a reader, be it a lax one that folds case, could take name for.
func coreClaim(name string) (string, bool) {
	switch name {
	case "iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "client_id", "auth_time", "amr", "acr", "idp":
		return name, true
	}
	for _, core := range [...]string{
		"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "client_id", "auth_time", "amr", "acr", "idp",
	} {
		if strings.EqualFold(name, core) {
			return core, true
		}
	}
	return "", false
}

// plain reports whether all texts are valid UTF-8 without NUL, which our own reader refuses.
func plain(texts ...string) bool {
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
			return false
		}
	}
	return true
}

// validText reports whether a text is plain and not empty. Empty is not a value.
func validText(s string) bool { return s != "" && plain(s) }
