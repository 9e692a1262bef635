package configs

import (
	"errors"
	"maps"
	"slices"

	"sallyport/mapping"
)

// checkMapping compiles roles and rules, and gives the mapping's mistakes their places.
func (d *decoder) checkMapping(cfg *Config) {
	var roles []mapping.Role
	for _, name := range slices.Sorted(maps.Keys(cfg.Roles)) {
		path, r := join("roles", name), cfg.Roles[name]
		roles = append(roles, mapping.Role{
			Name: name, Inherits: r.Inherits, Permissions: r.Permissions, Where: d.where(path),
		})
	}
	rules := slices.Clone(cfg.Mapping.Rules)
	ids := slices.Sorted(maps.Keys(cfg.Providers))
	for i := range rules {
		path := indexed("mapping.rules", i)
		rules[i].Where = d.where(path)
		cfg.Mapping.Rules[i].Where = rules[i].Where
		if p := rules[i].Provider; p != "" && p != mapping.AnyProvider && !slices.Contains(ids, p) {
			d.wrong(join(path, "provider"), "there is no provider %q%s", p, suggestion(p, ids))
		}
	}
	mapper, err := mapping.Compile(roles, cfg.Mapping.DefaultRoles, rules)
	if err != nil {
		d.adoptMapping(err)
		return
	}
	cfg.mapper = mapper
	for _, m := range mapper.Cautions() {
		d.warn(mappingKey(&m), "%s", m.Text)
	}
}

func (d *decoder) where(path string) string {
	at := d.place(path)
	at.Column = 0
	return at.String()
}

func (d *decoder) adoptMapping(err error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		d.wrong("mapping", "%v", err)
		return
	}
	for _, e := range joined.Unwrap() {
		var m *mapping.Mistake
		if !errors.As(e, &m) {
			d.wrong("mapping", "%v", e)
			continue
		}
		d.wrong(mappingKey(m), "%s", m.Text)
	}
}

// mappingKey is the dotted key of what a mapping's mistake is about.
func mappingKey(m *mapping.Mistake) string {
	base := m.Where // "mapping.default_roles", "roles"
	switch {
	case m.Rule >= 0:
		base = indexed("mapping.rules", m.Rule)
	case m.Role != "":
		base = join("roles", m.Role)
	}
	if m.Key == "" {
		return base
	}
	return join(base, m.Key)
}

// checkRoles: references to roles from elsewhere.
func (d *decoder) checkRoles(cfg *Config, path string, names []string) {
	declared := slices.Sorted(maps.Keys(cfg.Roles))
	for i, name := range names {
		if !slices.Contains(declared, name) {
			d.wrong(indexed(path, i), "there is no role %q%s", name, suggestion(name, declared))
		}
	}
}
