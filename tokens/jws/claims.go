package jws

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Claims are the members of a JSON object by exact name. The getters return the zero value for an absent claim and an
// error that wraps ErrMalformed for one of another type; null counts as another type.
type Claims map[string]json.RawMessage

// ParseClaims reads a strict JSON object (CheckJSON). Errors wrap ErrMalformed.
func ParseClaims(payload []byte) (Claims, error) {
	members, err := scanObject(payload, true)
	if err != nil {
		return nil, err
	}
	c := make(Claims, len(members))
	for _, m := range members {
		c[m.name] = m.value
	}
	return c, nil
}

// Has reports whether the claim is present, with whatever value.
func (c Claims) Has(name string) bool {
	_, ok := c[name]
	return ok
}

// String returns a string claim.
func (c Claims) String(name string) (string, error) {
	v, ok := c[name]
	if !ok {
		return "", nil
	}
	text, err := stringOf(v)
	if err != nil {
		return "", fmt.Errorf("claim %s: %w", name, err)
	}
	return text, nil
}

// Strings returns a claim that is a string or a list of strings, such as aud.
func (c Claims) Strings(name string) ([]string, error) {
	v, ok := c[name]
	if !ok {
		return nil, nil
	}
	if v[0] == '"' {
		text, err := c.String(name)
		return []string{text}, err
	}
	var items []json.RawMessage
	if v[0] != '[' || json.Unmarshal(v, &items) != nil {
		return nil, fmt.Errorf("claim %s: %w: not a list of strings", name, ErrMalformed)
	}
	list := make([]string, 0, len(items))
	for _, item := range items {
		text, err := stringOf(item)
		if err != nil {
			return nil, fmt.Errorf("claim %s: %w", name, err)
		}
		list = append(list, text)
	}
	return list, nil
}

// Bool returns a boolean claim; the string "true" is not one.
func (c Claims) Bool(name string) (bool, error) {
	switch v := string(c[name]); v {
	case "true":
		return true, nil
	case "false", "":
		return false, nil
	default:
		return false, fmt.Errorf("claim %s: %w: not a boolean", name, ErrMalformed)
	}
}

// Time returns a NumericDate (RFC 7519 section 2): seconds since 1970, with at most nine decimals, not negative, before
// the year 5138, without exponent.
func (c Claims) Time(name string) (time.Time, error) {
	v, ok := c[name]
	if !ok {
		return time.Time{}, nil
	}
	t, ok := numericDate(string(v))
	if !ok {
		return time.Time{}, fmt.Errorf("claim %s: %w: not a time", name, ErrMalformed)
	}
	return t, nil
}

func numericDate(text string) (time.Time, bool) {
	whole, decimals, fraction := strings.Cut(text, ".")
	if len(whole) > len("99999999999") || len(decimals) > 9 || fraction && decimals == "" {
		return time.Time{}, false
	}
	// ParseUint takes no sign and, with base 10, no underscores.
	seconds, err := strconv.ParseUint(whole, 10, 63)
	if err != nil {
		return time.Time{}, false
	}
	var nanos uint64
	if fraction {
		if nanos, err = strconv.ParseUint(decimals+strings.Repeat("0", 9-len(decimals)), 10, 63); err != nil {
			return time.Time{}, false
		}
	}
	return time.Unix(int64(seconds), int64(nanos)).UTC(), true
}

// stringOf returns the text of a JSON value that is a string.
func stringOf(value []byte) (string, error) {
	if len(value) < 2 || value[0] != '"' {
		return "", fmt.Errorf("%w: not a string", ErrMalformed)
	}
	return unquote(value), nil
}
