package jwt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/identity"
	"sallyport/tokens/jws"
)

// maxText bounds a name or an address, in bytes.
const maxText = 1024

// The bounds of the attributes. The message itself is bounded too.
const (
	maxAttributeDepth = 8
	maxAttributes     = 1000
)

// errAmbiguous: nobody could say which of two claims a path means.
var errAmbiguous = errors.New("two claims have one path")

// identity reads what a verified payload says about the person. Errors hold names of claims that are configured, never
// anything of the token.
func (p *Provider) identity(claims jws.Claims) (identity.Identity, error) {
	who := identity.Identity{Provider: p.info.ID}
	subject, err := lookUp(claims, p.config.SubjectKey)
	switch {
	case err != nil:
		return who, fmt.Errorf("claim %q: %w", p.config.SubjectKey, err)
	case subject == nil:
		return who, fmt.Errorf("claim %q is missing", p.config.SubjectKey)
	}
	who.Subject, err = jws.Claims{"value": subject}.String("value")
	if err != nil || !isPlain(who.Subject, maxSubject) {
		return who, fmt.Errorf(
			"claim %q is empty, longer than %d bytes or no plain text", p.config.SubjectKey, maxSubject)
	}
	for _, c := range []struct {
		path string
		into *string
	}{{p.config.UsernameKey, &who.Username}, {p.config.NameKey, &who.Name}, {p.config.EmailKey, &who.Email}} {
		if *c.into, err = textAt(claims, c.path); err != nil {
			return who, err
		}
	}
	if who.Groups, err = rolesAt(claims, p.config.RolesKey); err != nil {
		return who, err
	}
	if who.AMR, err = claims.Strings("amr"); err != nil {
		return who, errors.New("claim \"amr\" is no list of strings")
	}
	who.Attributes, err = attributes(claims)
	return who, err
}

// lookUp returns the claim that a configured key means; nil when there is none. A claim of exactly that name counts
// first, since names may have dots in them; else dots walk into objects.
func lookUp(claims jws.Claims, path string) (json.RawMessage, error) {
	if literal, ok := claims[path]; ok {
		return literal, nil
	}
	var found json.RawMessage
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
		switch {
		case err != nil:
			return nil, err
		case inner != nil && found != nil:
			return nil, errAmbiguous
		case inner != nil:
			found = inner
		}
	}
	return found, nil
}

// textAt reads a string; "" when the claim is absent or null.
func textAt(claims jws.Claims, path string) (string, error) {
	raw, err := lookUp(claims, path)
	if err != nil {
		return "", fmt.Errorf("claim %q: %w", path, err)
	}
	if raw == nil || string(raw) == "null" {
		return "", nil
	}
	text, err := jws.Claims{"value": raw}.String("value")
	if err != nil || len(text) > maxText {
		return "", fmt.Errorf("claim %q is not a string of at most %d bytes", path, maxText)
	}
	return text, nil
}

// rolesAt reads the groups in the shapes that embedding applications write them: a list, whose elements are taken as
// they are, or one string. A comma separates before a space does, so that names may have spaces in them. Each group
// counts once, in the order given.
func rolesAt(claims jws.Claims, path string) ([]string, error) {
	raw, err := lookUp(claims, path)
	if err != nil {
		return nil, fmt.Errorf("claim %q: %w", path, err)
	}
	if raw == nil || string(raw) == "null" {
		return nil, nil
	}
	all, err := jws.Claims{"value": raw}.Strings("value")
	if err != nil {
		return nil, fmt.Errorf("claim %q is neither a list of strings nor a string", path)
	}
	if raw[0] == '"' {
		all = separate(all[0])
	}
	groups := make([]string, 0, len(all))
	seen := make(map[string]bool, len(all))
	for _, g := range all {
		if g != "" && !seen[g] {
			seen[g] = true
			groups = append(groups, g)
		}
	}
	return groups, nil
}

func separate(text string) []string {
	if !strings.Contains(text, ",") {
		return strings.Fields(text)
	}
	parts := strings.Split(text, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// attributes keeps the claims that speak of the person for mapping rules, by dotted path: {"a": {"b": [1, "x"]}} is
// a.b = 1, x. Nulls, and lists that hold lists or objects, are left out. Two claims of one path are refused.
func attributes(claims jws.Claims) (map[string][]string, error) {
	out := make(map[string][]string, len(claims))
	for name, value := range claims {
		if slices.Contains(protocolClaims(), name) {
			continue
		}
		if err := addAttribute(out, name, value, 1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func addAttribute(out map[string][]string, path string, value json.RawMessage, depth int) error {
	if depth > maxAttributeDepth || len(out) >= maxAttributes {
		return fmt.Errorf("more than %d claims or %d levels", maxAttributes, maxAttributeDepth)
	}
	if value[0] == '{' {
		members, err := jws.ParseClaims(value)
		if err != nil {
			return err
		}
		for name, inner := range members {
			if err := addAttribute(out, path+"."+name, inner, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	if _, twice := out[path]; twice {
		return errAmbiguous
	}
	if texts := scalars(value); len(texts) > 0 {
		out[path] = texts
	}
	return nil
}

// scalars returns a scalar, or a list of scalars, as strings; nil for everything else. Numbers stay as written.
func scalars(value json.RawMessage) []string {
	items := []json.RawMessage{value}
	if value[0] == '[' {
		items = nil
		if json.Unmarshal(value, &items) != nil {
			return nil
		}
	}
	texts := make([]string, 0, len(items))
	for _, item := range items {
		switch item = bytes.TrimSpace(item); item[0] {
		case '{', '[', 'n':
			return nil
		case '"':
			text, err := jws.Claims{"value": item}.String("value")
			if err != nil {
				return nil
			}
			texts = append(texts, text)
		default: // a number, true or false
			texts = append(texts, string(item))
		}
	}
	return texts
}
