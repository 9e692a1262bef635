package mapping

import (
	"maps"
	"slices"
	"strings"
)

// roleSet is the declared roles with everything that follows from them.
type roleSet struct {
	names []string // sorted
	by    map[string]*roleInfo
}

// roleInfo is what a declared role amounts to.
type roleInfo struct {
	closure  []string // itself and all it inherits, sorted
	own      []string // permissions, without inherited ones
	reserved bool     // a permission of the closure speaks of Reserved
}

func (rs roleSet) declared(name string) bool { return rs.by[name] != nil }

// copyable: a role that administers the broker is given by a rule that names it, never because upstream has a group
// of that name.
func (rs roleSet) copyable(name string) bool {
	info := rs.by[name]
	return info != nil && !info.reserved
}

// close returns the roles with all they inherit, sorted. Undeclared ones are dropped.
func (rs roleSet) close(roles []string) []string {
	all := map[string]struct{}{}
	for _, r := range roles {
		if info := rs.by[r]; info != nil {
			for _, c := range info.closure {
				all[c] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func (rs roleSet) permissions(roles []string) []string {
	all := map[string]struct{}{}
	for _, r := range rs.close(roles) {
		for _, p := range rs.by[r].own {
			all[p] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// compileRoles checks the declarations and works out closures. With mistakes found, the set holds the roles as far as
// they could be understood, so that rules can be checked against it.
func compileRoles(roles []Role, ms *mistakes) roleSet {
	rs := roleSet{by: make(map[string]*roleInfo, len(roles))}
	if len(roles) > maxRoles {
		ms.other("roles", "%d roles are too many, at most %d", len(roles), maxRoles)
		return rs
	}
	byName := make(map[string]Role, len(roles))
	for _, r := range roles {
		if !isRoleName(r.Name) {
			ms.role(r, "", "%q is no role name: letters, digits and . _ : -, at most 64, beginning with a letter or digit",
				r.Name)
			continue
		}
		if _, twice := byName[r.Name]; twice {
			ms.role(r, "", "role %q is declared twice", r.Name)
			continue
		}
		byName[r.Name] = r
		rs.names = append(rs.names, r.Name)
	}
	slices.Sort(rs.names)
	for _, name := range rs.names {
		checkRole(byName[name], rs.names, ms)
	}
	findCycles(rs.names, byName, ms)
	for _, name := range rs.names {
		rs.by[name] = inherit(name, byName)
	}
	return rs
}

func checkRole(r Role, declared []string, ms *mistakes) {
	for _, parent := range r.Inherits {
		if _, ok := slices.BinarySearch(declared, parent); !ok {
			ms.role(r, "inherits", "%s", undeclared(parent, declared))
		}
	}
	for _, p := range r.Permissions {
		if _, _, ok := splitPermission(p); !ok {
			ms.role(r, "permissions", "%q is no permission: resource:action, each * or of a-z 0-9 _ . -", p)
		}
	}
}

// inherit walks what a role inherits; cycles, though a mistake, must not keep it from ending.
func inherit(name string, byName map[string]Role) *roleInfo {
	seen := map[string]struct{}{name: {}}
	info := &roleInfo{own: byName[name].Permissions}
	for queue := []string{name}; len(queue) > 0; {
		r := byName[queue[0]]
		queue = queue[1:]
		for _, p := range r.Permissions {
			info.reserved = info.reserved || isReserved(p)
		}
		for _, parent := range r.Inherits {
			_, known := byName[parent]
			if _, again := seen[parent]; known && !again {
				seen[parent] = struct{}{}
				queue = append(queue, parent)
			}
		}
	}
	info.closure = slices.Sorted(maps.Keys(seen))
	return info
}

// findCycles reports each cycle of inheritance once, beginning with its first role by name.
func findCycles(names []string, byName map[string]Role, ms *mistakes) {
	const (
		unseen = iota
		onPath
		done
	)
	state := make(map[string]int, len(names))
	var path []string
	var visit func(name string)
	visit = func(name string) {
		state[name] = onPath
		path = append(path, name)
		for _, parent := range byName[name].Inherits {
			if _, known := byName[parent]; !known {
				continue
			}
			switch state[parent] {
			case onPath:
				cycle := append(slices.Clone(path[slices.Index(path, parent):]), parent)
				ms.role(byName[parent], "inherits", "roles inherit each other in a circle: %s", strings.Join(cycle, " -> "))
			case unseen:
				visit(parent)
			}
		}
		path = path[:len(path)-1]
		state[name] = done
	}
	for _, name := range names {
		if state[name] == unseen {
			visit(name)
		}
	}
}

// isRoleName: [A-Za-z0-9][A-Za-z0-9._:-]{0,63}.
func isRoleName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '_' && c != ':' && c != '-') {
			return false
		}
	}
	return true
}
