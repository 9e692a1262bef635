package jws

import (
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"
)

// manyNames is where looking for a duplicate name turns from a walk into a map, so that work stays linear in the input.
const manyNames = 24

// scanner walks over the input once. Names of the objects that are open lie on one stack.
type scanner struct {
	data    []byte
	pos     int
	depth   int
	names   []string
	collect bool
	members []member
}

func (s *scanner) fail(why string) error {
	return fmt.Errorf("%w: json at byte %d: %s", ErrMalformed, s.pos, why)
}

// peek returns the next byte, or 0 at the end; a real NUL is no token either.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) end() error {
	s.space()
	if s.pos != len(s.data) {
		return s.fail("trailing data")
	}
	return nil
}

func (s *scanner) value() error {
	switch c := s.peek(); {
	case c == '{':
		return s.nested(s.object)
	case c == '[':
		return s.nested(s.array)
	case c == '"':
		_, err := s.str()
		return err
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	case c == '-' || isDigit(c):
		return s.number()
	default:
		return s.fail("no value")
	}
}

func (s *scanner) nested(read func() error) error {
	if s.depth++; s.depth > MaxDepth {
		return s.fail("nested too deeply")
	}
	s.pos++
	s.space()
	err := read()
	s.depth--
	return err
}

func (s *scanner) object() error {
	base := len(s.names)
	defer func() { s.names = s.names[:base] }()
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	var seen map[string]struct{}
	for {
		name, err := s.name()
		if err != nil {
			return err
		}
		if seen, err = s.unique(name, base, seen); err != nil {
			return err
		}
		start := s.pos
		if err := s.value(); err != nil {
			return err
		}
		if s.collect && s.depth == 1 {
			s.members = append(s.members, member{name, s.data[start:s.pos]})
		}
		if done, err := s.next('}'); done || err != nil {
			return err
		}
	}
}

// name reads a member's name, the colon, and the space around it.
func (s *scanner) name() (string, error) {
	if s.peek() != '"' {
		return "", s.fail("no name")
	}
	name, err := s.str()
	if err != nil {
		return "", err
	}
	s.space()
	if s.peek() != ':' {
		return "", s.fail("no colon")
	}
	s.pos++
	s.space()
	return unquote(name), nil
}

// unique remembers a name of the object whose names begin at base. seen is nil until there are many.
func (s *scanner) unique(name string, base int, seen map[string]struct{}) (map[string]struct{}, error) {
	open := s.names[base:]
	if seen == nil && len(open) == manyNames {
		seen = make(map[string]struct{}, 2*manyNames)
		for _, n := range open {
			seen[n] = struct{}{}
		}
	}
	var duplicate bool
	if seen == nil {
		duplicate = slices.Contains(open, name)
	} else {
		_, duplicate = seen[name]
		seen[name] = struct{}{}
	}
	if duplicate {
		return seen, s.fail("duplicate name")
	}
	if seen == nil {
		s.names = append(s.names, name)
	}
	return seen, nil
}

func (s *scanner) array() error {
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := s.value(); err != nil {
			return err
		}
		if done, err := s.next(']'); done || err != nil {
			return err
		}
	}
}

// next reads a comma, or the closing bracket.
func (s *scanner) next(closing byte) (done bool, err error) {
	s.space()
	switch s.peek() {
	case closing:
		s.pos++
		return true, nil
	case ',':
		s.pos++
		s.space()
		return false, nil
	default:
		return false, s.fail("no comma or end")
	}
}

func (s *scanner) literal(word string) error {
	if len(s.data)-s.pos < len(word) || string(s.data[s.pos:s.pos+len(word)]) != word {
		return s.fail("no value")
	}
	s.pos += len(word)
	return nil
}

// number reads RFC 8259 section 6: no leading zeros, digits on both sides of the point.
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return s.fail("bad number")
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return s.fail("bad number")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.fail("bad number")
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for isDigit(s.peek()) {
		s.pos++
	}
	return s.pos > start
}

// str reads a string and returns it with its quotes and escapes.
func (s *scanner) str() ([]byte, error) {
	start := s.pos
	s.pos++
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.data[start:s.pos], nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		case c < ' ':
			return nil, s.fail("control character")
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, size := utf8.DecodeRune(s.data[s.pos:])
			if r == utf8.RuneError && size == 1 {
				return nil, s.fail("invalid utf-8")
			}
			s.pos += size
		}
	}
	return nil, s.fail("unterminated string")
}

// escape reads one escape. Surrogates must come in pairs: readers differ in what they make of a lone one, which is how
// two names become one. NUL is refused because C readers and databases end a string there.
func (s *scanner) escape() error {
	s.pos++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
	default:
		return s.fail("bad escape")
	}
	r, ok := s.hex4()
	switch {
	case !ok:
		return s.fail("bad escape")
	case r == 0:
		return s.fail("nul character")
	case r < 0xD800 || r > 0xDFFF:
		return nil
	case r > 0xDBFF || s.peek() != '\\':
		return s.fail("unpaired surrogate")
	}
	s.pos++
	if low, ok := s.hex4(); !ok || low < 0xDC00 || low > 0xDFFF {
		return s.fail("unpaired surrogate")
	}
	return nil
}

// hex4 reads "u" and four hexadecimal digits.
func (s *scanner) hex4() (rune, bool) {
	if len(s.data)-s.pos < 5 || s.data[s.pos] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range s.data[s.pos+1 : s.pos+5] {
		switch {
		case isDigit(c):
			r = r<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	s.pos += 5
	return r, true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// unquote returns the text of a JSON string that the scanner has accepted.
func unquote(quoted []byte) string {
	if !slices.Contains(quoted, '\\') {
		return string(quoted[1 : len(quoted)-1])
	}
	var text string
	// It cannot fail on what the scanner accepted.
	_ = json.Unmarshal(quoted, &text)
	return text
}
