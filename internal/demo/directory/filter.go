package directory

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

// matches evaluates a parsed filter (RFC 4511 section 4.5.1.7). Comparison is caseIgnoreMatch, or for DNs
// distinguishedNameMatch. Conditions of other kinds match nothing.
func (e *entry) matches(filter *ber.Packet) bool {
	switch filter.Tag {
	case goldap.FilterAnd:
		for _, part := range filter.Children {
			if !e.matches(part) {
				return false
			}
		}
		return true
	case goldap.FilterOr:
		for _, part := range filter.Children {
			if e.matches(part) {
				return true
			}
		}
		return false
	case goldap.FilterNot:
		return len(filter.Children) == 1 && !e.matches(filter.Children[0])
	case goldap.FilterPresent:
		return len(e.values(text(filter))) > 0
	case goldap.FilterEqualityMatch, goldap.FilterSubstrings:
		return len(filter.Children) == 2 && e.compares(filter)
	}
	return false
}

func (e *entry) compares(filter *ber.Packet) bool {
	name, condition := text(filter.Children[0]), filter.Children[1]
	for _, value := range e.values(name) {
		if filter.Tag == goldap.FilterSubstrings && contains(value, condition.Children) ||
			filter.Tag == goldap.FilterEqualityMatch && equal(name, value, text(condition)) {
			return true
		}
	}
	return false
}

func equal(name, have, want string) bool {
	if !strings.EqualFold(name, "member") && !strings.EqualFold(name, "memberOf") {
		return strings.EqualFold(have, strings.TrimSpace(want))
	}
	one, err := normal(have)
	if err != nil {
		return false
	}
	other, err := normal(want)
	return err == nil && one == other
}

// contains looks for the parts of a substring condition in order.
func contains(value string, parts []*ber.Packet) bool {
	value = strings.ToLower(value)
	for _, part := range parts {
		want := strings.ToLower(text(part))
		switch part.Tag {
		case goldap.FilterSubstringsInitial:
			rest, ok := strings.CutPrefix(value, want)
			if !ok {
				return false
			}
			value = rest
		case goldap.FilterSubstringsAny:
			_, rest, ok := strings.Cut(value, want)
			if !ok {
				return false
			}
			value = rest
		case goldap.FilterSubstringsFinal:
			return strings.HasSuffix(value, want)
		}
	}
	return true
}

// text is an element's content as the library keeps it: decoded where it knows the type, else as bytes.
func text(p *ber.Packet) string {
	if s, ok := p.Value.(string); ok {
		return s
	}
	return p.Data.String()
}

func hash(password string) []byte {
	sum := sha256.Sum256([]byte(password))
	return sum[:]
}

func equalHashes(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
