package mapping

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"
)

// maxDN bounds a distinguished name in bytes; real ones have a few hundred.
const maxDN = 4096

var errNotDN = errors.New("not a distinguished name (RFC 4514), such as \"cn=admins,ou=groups,dc=example,dc=com\"")

// normalDN returns the one spelling that equal distinguished names share: attribute types in lower case, values
// unescaped, case-folded, with insignificant spaces squeezed (RFC 4518 section 2.6), RDNs of several values sorted.
// Type names and their OIDs are not equated, nor are Unicode normal forms: what differs there does not match. What is
// not a clean name is an error, also a name with an empty value.
func normalDN(s string) (string, error) {
	b, ok := appendNormalDN(nil, s)
	if !ok {
		return "", errNotDN
	}
	return string(b), nil
}

// appendNormalDN is normalDN into a buffer, so that a directory's thousands of groups cost no allocation each.
func appendNormalDN(dst []byte, s string) ([]byte, bool) {
	if s == "" || len(s) > maxDN || !utf8.ValidString(s) {
		return dst, false
	}
	if strings.ContainsAny(s, "\\#\";<>+\x00") {
		return appendParsedDN(dst, s)
	}
	return appendPlainDN(dst, s)
}

// appendPlainDN handles a name without escapes, hex values and RDNs of several values, which is nearly every name. It
// agrees with appendParsedDN; a fuzz test holds the two together.
func appendPlainDN(dst []byte, s string) ([]byte, bool) {
	start := len(dst)
	for rest, more := s, true; more; {
		var rdn string
		rdn, rest, more = strings.Cut(rest, ",")
		attribute, value, ok := strings.Cut(rdn, "=")
		attribute = strings.Trim(attribute, " ")
		if !ok || !isAttributeType(attribute) {
			return dst, false
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = appendType(dst, attribute)
		before := len(dst)
		if dst = appendValue(dst, value); len(dst) == before {
			return dst, false
		}
	}
	return dst, true
}

// appendParsedDN lets go-ldap do the reading.
func appendParsedDN(dst []byte, s string) ([]byte, bool) {
	if !hexValuesAreText(s) {
		return dst, false
	}
	dn, err := goldap.ParseDN(s)
	if err != nil || len(dn.RDNs) == 0 {
		return dst, false
	}
	for i, rdn := range dn.RDNs {
		if i > 0 {
			dst = append(dst, ',')
		}
		parts := make([]string, 0, len(rdn.Attributes))
		for _, a := range rdn.Attributes {
			if !isAttributeType(a.Type) || !utf8.ValidString(a.Value) || strings.ContainsRune(a.Value, 0) {
				return dst, false
			}
			part := appendType(nil, a.Type)
			head := len(part)
			if part = appendValue(part, a.Value); len(part) == head {
				return dst, false
			}
			parts = append(parts, string(part))
		}
		slices.Sort(parts)
		dst = append(dst, strings.Join(parts, "+")...)
	}
	return dst, true
}

// hexValuesAreText refuses "#…" values (RFC 4514 section 2.4) whose BER type is no string: go-ldap compares contents
// only, so that the INTEGER 0x41 would equal the text "A". It errs on the strict side.
func hexValuesAreText(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			continue
		}
		value := strings.TrimLeft(s[i+1:], " ")
		if !strings.HasPrefix(value, "#") {
			continue
		}
		if len(value) < 3 {
			return false
		}
		switch strings.ToLower(value[1:3]) {
		case "04", "0c", "13", "16": // OCTET STRING, UTF8String, PrintableString, IA5String
		default:
			return false
		}
	}
	return true
}

// isAttributeType: descr or numericoid (RFC 4512 section 1.4).
func isAttributeType(t string) bool {
	if t == "" {
		return false
	}
	digits := t[0] >= '0' && t[0] <= '9'
	for i := range len(t) {
		c := t[i]
		switch {
		case c >= '0' && c <= '9':
		case digits && c == '.':
		case !digits && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' && i > 0):
		default:
			return false
		}
	}
	return true
}

// appendType appends "type=" in lower case.
func appendType(dst []byte, t string) []byte {
	for i := range len(t) {
		c := t[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return append(dst, '=')
}

// appendValue appends the value folded and squeezed, escaped as RFC 4514 wants it so that no value can pretend to be
// two. Nothing is appended for a value of spaces only.
func appendValue(dst []byte, v string) []byte {
	space := false
	before := len(dst)
	for _, r := range v {
		if r == ' ' {
			space = len(dst) > before
			continue
		}
		if space {
			dst, space = append(dst, ' '), false
		}
		if strings.ContainsRune(`,+;"<>#\`, r) {
			dst = append(dst, '\\')
		}
		dst = utf8.AppendRune(dst, foldRune(r))
	}
	return dst
}

// foldRune returns the same rune for all runes that differ by case only, as strings.EqualFold sees it: the lower-case
// one in ASCII, else the first in Unicode's order.
func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		if r != 'k' && r != 's' { // these two fold with the Kelvin sign and the long s
			return r
		}
	}
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	if least >= 'A' && least <= 'Z' {
		return least + 'a' - 'A'
	}
	return least
}
