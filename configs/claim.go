package configs

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Claim is what a claim of tokens holds, and how that is spelled. In YAML a plain word is From. The zero value, in YAML
// nothing or "", leaves the claim out.
type Claim struct {
	// From is where its value comes from.
	From string `yaml:"from,omitempty" enum:"id,username,name,email,provider,roles,permissions"`
	// Value is a fixed text, in the place of From.
	Value string `yaml:"value,omitempty"`
	// Shape is string (the default for single values) or, for roles and permissions, list (the default), comma or space
	// (all in one string) or string (one of them, see Prefer).
	Shape string `yaml:"shape,omitempty" enum:"list,string,comma,space"`
	// Rename says what the application calls a value of ours; others stay as they are.
	Rename map[string]string `yaml:"rename,omitempty"`
	// Only lists the roles or permissions that the application gets to see; empty: all.
	Only []string `yaml:"only,omitempty"`
	// Prefer orders roles or permissions for the shape string: the first that somebody has is theirs.
	Prefer []string `yaml:"prefer,omitempty"`
	// Template spells each value: {value}, and of a permission {resource} and {action}.
	Template string `yaml:"template,omitempty"`
}

// UnmarshalText reads the plain word.
func (c *Claim) UnmarshalText(text []byte) error {
	*c = Claim{From: string(text)}
	if c.From != "" && !slices.Contains(claimSources(), c.From) {
		return fmt.Errorf("unknown source %q%s", c.From, suggestion(c.From, claimSources()))
	}
	return nil
}

// The shapes of claims.
const (
	ShapeList   = "list"
	ShapeString = "string"
	ShapeComma  = "comma"
	ShapeSpace  = "space"
)

// The sources of claims that hold several values.
const (
	fromRoles       = "roles"
	fromPermissions = "permissions"
)

func claimSources() []string {
	return []string{"id", "username", "name", "email", "provider", fromRoles, fromPermissions}
}

// coreClaims mean the same for everybody: what they say is what tokens are checked by.
func coreClaims() []string {
	return []string{
		"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "client_id", "auth_time", "amr", "acr", "idp", "azp", "emb",
	}
}

// many reports whether the claim's source has several values.
func (c Claim) many() bool { return c.From == fromRoles || c.From == fromPermissions }

// leftOut reports whether it is the zero value.
func (c Claim) leftOut() bool {
	return c.From == "" && c.Value == "" && c.Shape == "" && len(c.Rename) == 0 && len(c.Only) == 0 && len(c.Prefer) == 0 &&
		c.Template == ""
}

// fillShapes gives claims the shapes that were left to us.
func fillShapes(claims map[string]Claim) {
	for name, c := range claims {
		switch {
		case c.many():
			c.Shape = orElse(c.Shape, ShapeList)
		case c.From != "":
			c.Shape = orElse(c.Shape, ShapeString)
		}
		claims[name] = c
	}
}

// overlay lays claims over others by name. Those that say nothing leave one out.
func overlay(under, over map[string]Claim) map[string]Claim {
	all := maps.Clone(under)
	maps.Copy(all, over)
	maps.DeleteFunc(all, func(_ string, c Claim) bool { return c.leftOut() })
	return all
}

// ClaimsOf returns the claims of an application's tokens by name: its profile's, with its own in their place.
func (c *Config) ClaimsOf(a *Application) map[string]Claim {
	p, ok := c.Profile(a.Profile)
	if !ok {
		return nil
	}
	return overlay(p.Claims, a.Claims)
}

// claimPattern: names as tokens have them, URIs among them.
var claimPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.:/#-]{0,127}$`)

func (d *decoder) checkClaims(path string, claims map[string]Claim) {
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		key, c := join(path, name), claims[name]
		core := slices.IndexFunc(coreClaims(), func(core string) bool { return strings.EqualFold(core, name) })
		switch {
		case !claimPattern.MatchString(name):
			d.wrong(key, "%q is not a claim name", name)
		case core >= 0:
			d.wrong(key, "%s is a core claim and means the same for every application", coreClaims()[core])
		case !c.leftOut() && !d.faulty(key):
			d.checkClaim(key, c)
		}
	}
}

func (d *decoder) checkClaim(path string, c Claim) {
	switch {
	case c.From == "" && c.Value == "":
		d.once(join(path, "from"), "is required, or value; expected one of %s", strings.Join(claimSources(), ", "))
	case c.Value != "":
		d.checkFixed(path, c)
	default:
		d.checkShape(path, c)
		d.checkTemplate(path, c)
		d.checkRename(path, c)
	}
}

// checkFixed: a fixed text takes nothing else.
func (d *decoder) checkFixed(path string, c Claim) {
	d.checkText(join(path, "value"), c.Value, 200)
	for _, other := range []struct {
		key string
		set bool
	}{
		{"from", c.From != ""},
		{"shape", c.Shape != "" && c.From == ""},
		{"rename", len(c.Rename) > 0},
		{"only", len(c.Only) > 0},
		{"prefer", len(c.Prefer) > 0},
		{"template", c.Template != ""},
	} {
		if other.set {
			d.wrong(join(path, other.key), "cannot stand beside value, which is all that the claim says")
		}
	}
}

func (d *decoder) checkShape(path string, c Claim) {
	if !c.many() && c.Shape != ShapeString {
		d.once(join(path, "shape"), "cannot be %s: %s is a single value, and a string", c.Shape, c.From)
	}
	if !c.many() && len(c.Only) > 0 {
		d.wrong(join(path, "only"), "is for roles and permissions; %s is a single value", c.From)
	}
	switch prefer := join(path, "prefer"); {
	case len(c.Prefer) > 0 && (!c.many() || c.Shape != ShapeString):
		d.wrong(prefer, "is for roles or permissions in the shape string: it says which one of them")
	case len(c.Prefer) == 0 && c.many() && c.Shape == ShapeString:
		d.warn(path, "holds one of somebody's %s, the first in the order of the alphabet; prefer says which", c.From)
	}
}

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

func (d *decoder) checkTemplate(path string, c Claim) {
	if c.Template == "" {
		return
	}
	key := join(path, "template")
	d.checkText(key, c.Template, 200)
	allowed := []string{"{value}"}
	if c.From == fromPermissions {
		allowed = append(allowed, "{resource}", "{action}")
	}
	found := placeholder.FindAllString(c.Template, -1)
	if len(found) == 0 {
		d.once(key, "has no place for the value, expected one of %s", strings.Join(allowed, ", "))
	}
	for _, p := range found {
		if !slices.Contains(allowed, p) {
			d.once(key, "unknown place %s; expected one of %s", p, strings.Join(allowed, ", "))
		}
	}
	d.checkSeparator(key, c, c.Template)
}

func (d *decoder) checkRename(path string, c Claim) {
	for _, ours := range slices.Sorted(maps.Keys(c.Rename)) {
		key, theirs := join(join(path, "rename"), ours), c.Rename[ours]
		if theirs == "" {
			d.once(key, "is empty; only says which values the application gets to see")
		}
		d.checkText(key, theirs, 200)
		d.checkSeparator(key, c, theirs)
	}
}

// checkSeparator: a value with the separator in it would be read as two, which may be roles that somebody has not.
func (d *decoder) checkSeparator(path string, c Claim, text string) {
	if c.Shape == ShapeComma && strings.Contains(text, ",") || c.Shape == ShapeSpace && strings.Contains(text, " ") {
		d.once(path, "has the separator of the shape %s in it: one value would be read as two", c.Shape)
	}
}

// checkClaimValues: roles and permissions that claims speak of must be there, permissions as the roles have them.
func (d *decoder) checkClaimValues(cfg *Config, path string, claims map[string]Claim) {
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		key, c := join(path, name), claims[name]
		if !c.many() {
			continue
		}
		known, lack := slices.Sorted(maps.Keys(cfg.Roles)), "there is no role"
		if c.From == fromPermissions {
			known, lack = declaredPermissions(cfg), "no role has the permission"
		}
		check := func(path, value string) {
			if !slices.Contains(known, value) {
				d.wrong(path, "%s %q%s", lack, value, suggestion(value, known))
			}
		}
		for i, value := range c.Only {
			check(indexed(join(key, "only"), i), value)
		}
		for i, value := range c.Prefer {
			check(indexed(join(key, "prefer"), i), value)
		}
		for _, ours := range slices.Sorted(maps.Keys(c.Rename)) {
			check(join(join(key, "rename"), ours), ours)
		}
	}
}

func declaredPermissions(cfg *Config) []string {
	var all []string
	for _, r := range cfg.Roles {
		all = append(all, r.Permissions...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// checkLeftOut: to leave out what is not there is a slip of the pen.
func (d *decoder) checkLeftOut(path string, under, over map[string]Claim) {
	for _, name := range slices.Sorted(maps.Keys(over)) {
		if _, there := under[name]; !there && over[name].leftOut() && !d.faulty(join(path, name)) {
			d.warn(join(path, name), "leaves out a claim that is not there%s",
				suggestion(name, slices.Sorted(maps.Keys(under))))
		}
	}
}
