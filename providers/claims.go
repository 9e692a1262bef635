package providers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"sallyport/tokens/jws"
)

// The bounds of what a person's claims may be.
const (
	// MaxText bounds a name or an address, in bytes.
	MaxText = 1024
	// MaxClaimDepth is how many levels of objects are looked into.
	MaxClaimDepth = 8
	// MaxClaimValues and MaxClaimBytes bound all attributes together.
	MaxClaimValues = 10_000
	MaxClaimBytes  = 1 << 20
)

// Why claims are refused rather than cut: fewer groups than somebody has may mean more rights than they have.
var (
	// ErrClaimsTooMany: they are past their bounds.
	ErrClaimsTooMany = fmt.Errorf("more than %d values, %d bytes or %d levels", MaxClaimValues, MaxClaimBytes, MaxClaimDepth)
	// ErrClaimAmbiguous: two claims have one path, and nobody could say which of them a rule means.
	ErrClaimAmbiguous = errors.New("two claims have one path")
)

// LookUp returns the claim at a dotted path, nil when there is none or it is null. Dots walk into objects ("user.id"),
// and names may have dots in them ("https://contoso.com/roles"); a path that leads to two claims is ErrClaimAmbiguous.
func LookUp(claims jws.Claims, path string) (json.RawMessage, error) {
	found, ok := claims[path]
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		head := claims[path[:i]]
		if len(head) == 0 || head[0] != '{' {
			continue
		}
		members, err := jws.ParseClaims(head)
		if err != nil {
			return nil, err
		}
		inner, err := LookUp(members, path[i+1:])
		switch {
		case err != nil:
			return nil, err
		case inner == nil:
			continue
		case ok:
			return nil, ErrClaimAmbiguous
		}
		found, ok = inner, true
	}
	if !ok || string(found) == "null" {
		return nil, nil
	}
	return found, nil
}

// TextAt reads a string of at most MaxText bytes at a dotted path; "" when there is none or it is null.
func TextAt(claims jws.Claims, path string) (string, error) {
	raw, err := LookUp(claims, path)
	if err != nil {
		return "", fmt.Errorf("claim %q: %w", path, err)
	}
	if raw == nil {
		return "", nil
	}
	text, err := jws.Claims{"value": raw}.String("value")
	if err != nil {
		return "", fmt.Errorf("claim %q is not a string", path)
	}
	if len(text) > MaxText {
		return "", fmt.Errorf("claim %q is longer than %d bytes", path, MaxText)
	}
	return text, nil
}

// Attributes turns claims into lists of strings by dotted path: {"a": {"b": [1, true, "x"]}} is a.b = 1, true, x. What
// stands at the top under one of the names in except, the protocol's own, is left out. So are nulls, empty lists, and
// lists that hold lists or objects. Numbers stay as they were written. Errors: ErrClaimsTooMany, ErrClaimAmbiguous, or
// one that wraps jws.ErrMalformed.
func Attributes(claims jws.Claims, except []string) (map[string][]string, error) {
	f := flattener{out: make(map[string][]string, len(claims)), seen: make(map[string]bool, len(claims))}
	for name, value := range claims {
		if slices.Contains(except, name) {
			continue
		}
		if err := f.add(name, value, 1); err != nil {
			return nil, err
		}
	}
	return f.out, nil
}

type flattener struct {
	out    map[string][]string
	seen   map[string]bool
	values int
	bytes  int
}

// add takes one value. The bytes were checked to be strict JSON of bounded depth before.
func (f *flattener) add(path string, value json.RawMessage, depth int) error {
	if depth > MaxClaimDepth {
		return ErrClaimsTooMany
	}
	if f.seen[path] { // an object has a path too: {"a": {"": {…}}, "a.": 1} are two claims at "a."
		return ErrClaimAmbiguous
	}
	f.seen[path] = true
	if len(value) > 0 && value[0] == '{' {
		return f.object(path, value, depth)
	}
	if err := f.count(len(path)); err != nil {
		return err
	}
	texts, ok := scalars(value)
	if !ok {
		return nil
	}
	for _, text := range texts {
		if err := f.count(len(text)); err != nil {
			return err
		}
	}
	if len(texts) > 0 {
		f.out[path] = texts
	}
	return nil
}

func (f *flattener) object(path string, value json.RawMessage, depth int) error {
	members, err := jws.ParseClaims(value)
	if err != nil {
		return err
	}
	for name, inner := range members {
		if err := f.add(path+"."+name, inner, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (f *flattener) count(size int) error {
	f.values++
	f.bytes += size
	if f.values > MaxClaimValues || f.bytes > MaxClaimBytes {
		return ErrClaimsTooMany
	}
	return nil
}

// scalars returns a scalar, or a list of scalars, as strings; false for everything else.
func scalars(value json.RawMessage) ([]string, bool) {
	if len(value) == 0 || value[0] != '[' {
		text, ok := scalar(value)
		return []string{text}, ok
	}
	var items []json.RawMessage
	if err := json.Unmarshal(value, &items); err != nil {
		return nil, false
	}
	texts := make([]string, 0, len(items))
	for _, item := range items {
		text, ok := scalar(item)
		if !ok {
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, true
}

func scalar(value json.RawMessage) (string, bool) {
	value = bytes.TrimSpace(value)
	if len(value) == 0 {
		return "", false
	}
	switch value[0] {
	case '{', '[', 'n':
		return "", false
	case '"':
		var text string
		err := json.Unmarshal(value, &text)
		return text, err == nil
	default: // a number, true or false
		return string(value), true
	}
}
