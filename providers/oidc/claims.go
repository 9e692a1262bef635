package oidc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/tokens/jws"
)

// The bounds of what a person's claims may be.
const (
	maxClaimDepth  = 8
	maxClaimValues = 10_000
	maxClaimBytes  = 1 << 20
)

var (
	errClaimsTooMany = fmt.Errorf(
		"more than %d values, %d bytes or %d levels", maxClaimValues, maxClaimBytes, maxClaimDepth)
	errClaimAmbiguous = errors.New("two claims have one path")
)

// flattenClaims turns claims into lists of strings by dotted path: {"a": {"b": [1, true, "x"]}} is a.b = 1, true, x.
// Numbers stay as they were written. Nulls, empty lists, and lists that hold lists or objects are left out, as are the
// protocol's own claims at the top. Two claims of one path (a name with a dot in it beside a nested one) are refused,
// since nobody could say which of them a rule means.
func flattenClaims(claims jws.Claims) (map[string][]string, error) {
	f := flattener{out: make(map[string][]string, len(claims)), seen: make(map[string]bool, len(claims))}
	for name, value := range claims {
		if slices.Contains(protocolClaims(), name) {
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
	if depth > maxClaimDepth {
		return errClaimsTooMany
	}
	if f.seen[path] { // an object has a path too: {"a": {"": {…}}, "a.": 1} are two claims at "a."
		return fmt.Errorf("%w: %q", errClaimAmbiguous, cut(path))
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
	if f.values > maxClaimValues || f.bytes > maxClaimBytes {
		return errClaimsTooMany
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

// lookUp returns the claim at a dotted path, nil when there is none. A name may itself have dots in it
// ("https://contoso.com/roles"); a path that leads to two claims is an error.
func lookUp(claims jws.Claims, path string) (json.RawMessage, error) {
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
		inner, err := lookUp(members, path[i+1:])
		if err != nil {
			return nil, err
		}
		if inner == nil {
			continue
		}
		if ok {
			return nil, fmt.Errorf("%w: %q", errClaimAmbiguous, path)
		}
		found, ok = inner, true
	}
	if !ok || string(found) == "null" {
		return nil, nil
	}
	return found, nil
}

// firstStep is the claim that the path begins with, where a name with dots is not meant.
func firstStep(path string) string {
	head, _, _ := strings.Cut(path, ".")
	return head
}
