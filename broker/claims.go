package broker

import (
	"slices"
	"strings"

	"sallyport/identity"
)

// Claim is a claim of an application's tokens beyond the core ones: what it holds, how it is called, how it is shaped.
type Claim struct {
	// Name on the wire.
	Name string
	// Source is id, username, name, email, provider, roles or permissions; empty for a claim that always holds Value.
	Source, Value string
	// Shape of roles and permissions: list, string (one of them, see Prefer), comma or space (all of them in one string).
	Shape string
	// Rename says what the application calls a value of ours; values it does not name stay as they are.
	Rename map[string]string
	// Only, when set, lists the values of ours that the application gets to see.
	Only []string
	// Prefer orders roles for the shape string: the first that somebody has is theirs. Without one of them it is the
	// first in the order of the alphabet.
	Prefer []string
	// Template spells each value: {value}, and of a permission {resource} and {action}. Empty: as it is.
	Template string
}

// claims spells a principal for the application. A claim without anything to say is left out; a list stays a list.
func (a *Application) claims(p identity.Principal) map[string]any {
	out := make(map[string]any, len(a.Claims)+2)
	for _, c := range a.Claims {
		if v := c.of(p); v != "" {
			out[c.Name] = v
		}
	}
	if p.Embedder != "" { // which application vouched, and in a page of which origin
		out["azp"] = p.Embedder
		out["emb"] = map[string]any{"origin": p.Origin}
	}
	return out
}

func (c Claim) of(p identity.Principal) any {
	switch c.Source {
	case "":
		return c.Value
	case "id":
		return c.spell(p.Subject)
	case "username":
		return c.spell(p.Username)
	case "name":
		return c.spell(p.Name)
	case "email":
		return c.spell(p.Email)
	case "provider":
		return c.spell(p.Provider)
	case "roles":
		return c.shaped(p.Roles)
	case "permissions":
		return c.shaped(p.Permissions)
	}
	return ""
}

// shaped spells several values in the claim's shape.
func (c Claim) shaped(values []string) any {
	seen := make([]string, 0, len(values)) // never null on the wire
	for _, v := range values {
		if len(c.Only) == 0 || slices.Contains(c.Only, v) {
			seen = append(seen, v)
		}
	}
	if c.Shape == "string" {
		return c.spell(c.one(seen))
	}
	for i := range seen {
		seen[i] = c.spell(seen[i])
	}
	switch c.Shape {
	case "comma":
		return strings.Join(seen, ",")
	case "space":
		return strings.Join(seen, " ")
	default:
		return seen
	}
}

// one picks the value of a claim that takes only one.
func (c Claim) one(values []string) string {
	for _, wanted := range c.Prefer {
		if slices.Contains(values, wanted) {
			return wanted
		}
	}
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// spell renames a value and puts it into the template.
func (c Claim) spell(value string) string {
	if renamed, ok := c.Rename[value]; ok {
		value = renamed
	}
	if c.Template == "" || value == "" {
		return value
	}
	resource, action, _ := strings.Cut(value, ":")
	return strings.NewReplacer("{value}", value, "{resource}", resource, "{action}", action).Replace(c.Template)
}
