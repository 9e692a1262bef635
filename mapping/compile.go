package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// The bounds on what may be configured. They keep the cost of a sign-in in proportion to its size (ADM-07).
const (
	maxRules   = 10_000
	maxRoles   = 1_000
	maxPattern = 512 // bytes of a glob or regular expression
	maxList    = 1_000
)

// Mapper maps identities to roles. It never changes; any number of goroutines may use it.
type Mapper struct {
	roles    roleSet
	defaults []string // direct, sorted, each once
	rules    []rule
	index    map[string]*index // by Rule.Provider
	cautions []Mistake
}

// rule is a Rule made ready. Exactly one of when and copy is set.
type rule struct {
	Rule
	text  string // the condition in a few words
	when  condition
	copy  *copier
	roles []string // granted when the condition holds, sorted, each once
}

// Compile checks everything and makes the mapper. The error joins (errors.Join) one *Mistake for each thing wrong.
// defaults are the roles of those whom no rule gave any.
func Compile(roles []Role, defaults []string, rules []Rule) (*Mapper, error) {
	ms := &mistakes{}
	m := &Mapper{roles: compileRoles(roles, ms), defaults: sortedSet(defaults)}
	for _, name := range m.defaults {
		switch {
		case !m.roles.declared(name):
			ms.other("mapping.default_roles", "%s", undeclared(name, m.roles.names))
		case !m.roles.copyable(name):
			ms.other("mapping.default_roles", "role %q carries a permission on %q, which is never given by default",
				name, Reserved)
		}
	}
	if len(rules) > maxRules {
		ms.other("mapping.rules", "%d rules are too many, at most %d", len(rules), maxRules)
		return nil, errors.Join(ms.list...)
	}
	for i, r := range rules {
		m.rules = append(m.rules, compileRule(i, r, m.roles, ms))
		m.cautions = append(m.cautions, cautionsOf(i, r)...)
	}
	if len(ms.list) > 0 {
		return nil, errors.Join(ms.list...)
	}
	m.buildIndex()
	return m, nil
}

func compileRule(i int, r Rule, roles roleSet, ms *mistakes) rule {
	out := rule{Rule: r, roles: sortedSet(r.Roles)}
	out.Where = ruleWhere(i, r)
	if r.Provider == "" {
		ms.rule(i, r, "provider", "is required: the id of a provider, or \"*\" for all of them")
	}
	checkShape(i, r, ms)
	checkRoleNames(i, r, roles, ms)
	switch {
	case r.Group != "":
		out.when, out.text = exactGroup(r.Group), fmt.Sprintf("group %q", r.Group)
	case r.GroupDN != "":
		out.when, out.text = dnCondition(i, r, ms), fmt.Sprintf("group_dn %q", r.GroupDN)
	case r.GroupGlob != "":
		out.when, out.text = globCondition(i, r, ms), fmt.Sprintf("group_glob %q", r.GroupGlob)
	case r.GroupRegex != "":
		out.when, out.text = regexCondition(i, r, ms), fmt.Sprintf("group_regex %q", r.GroupRegex)
	case r.Claim != "":
		out.when, out.text = claimEquals{path: r.Claim, values: sortedSet(r.Equals)}, claimText(r)
	case r.Copy != "":
		out.copy, out.text = newCopier(r, roles), fmt.Sprintf("copy %q", r.Copy)
	}
	return out
}

func claimText(r Rule) string {
	quoted := make([]string, 0, 3)
	for _, v := range r.Equals[:min(len(r.Equals), 3)] {
		quoted = append(quoted, fmt.Sprintf("%q", v))
	}
	if len(r.Equals) > 3 {
		quoted = append(quoted, "…")
	}
	return fmt.Sprintf("claim %q equals %s", r.Claim, strings.Join(quoted, " or "))
}

// checkShape: exactly one condition, exactly one effect, nothing that belongs to another one.
func checkShape(i int, r Rule, ms *mistakes) {
	var conditions, effects []string
	for _, k := range []struct {
		key    string
		set    bool
		effect bool
	}{
		{"group", r.Group != "", false},
		{"group_dn", r.GroupDN != "", false},
		{"group_glob", r.GroupGlob != "", false},
		{"group_regex", r.GroupRegex != "", false},
		{"claim", r.Claim != "", false},
		{"roles", len(r.Roles) > 0, true},
		{"copy", r.Copy != "", true},
		{"deny", r.Deny, true},
	} {
		switch {
		case k.set && k.effect:
			effects = append(effects, k.key)
		case k.set:
			conditions = append(conditions, k.key)
		}
	}
	checkCounts(i, r, conditions, effects, ms)
	if r.Claim != "" && len(r.Equals) == 0 {
		ms.rule(i, r, "equals", "is required with claim: the values that match")
	}
	if r.Claim == "" && len(r.Equals) > 0 {
		ms.rule(i, r, "equals", "belongs to claim, which is missing")
	}
	if slices.Contains(r.Equals, "") {
		ms.rule(i, r, "equals", "an empty value never matches")
	}
	if r.Copy == "" && r.StripPrefix != "" {
		ms.rule(i, r, "strip_prefix", "belongs to copy, which is missing")
	}
	if r.Copy == "" && len(r.Only) > 0 {
		ms.rule(i, r, "only", "belongs to copy, which is missing")
	}
	for _, l := range []struct {
		key  string
		list []string
	}{{"equals", r.Equals}, {"roles", r.Roles}, {"only", r.Only}} {
		if len(l.list) > maxList {
			ms.rule(i, r, l.key, "%d entries are too many, at most %d", len(l.list), maxList)
		}
	}
}

func checkCounts(i int, r Rule, conditions, effects []string, ms *mistakes) {
	switch {
	case r.Copy != "" && len(conditions) > 0:
		ms.rule(i, r, "copy", "is condition and effect in one; take %s away", strings.Join(conditions, " and "))
	case r.Copy == "" && len(conditions) == 0:
		ms.rule(i, r, "", "has no condition: expected one of group, group_dn, group_glob, group_regex, claim, copy")
	case len(conditions) > 1:
		ms.rule(i, r, conditions[1], "a rule has one condition, this one has %s", strings.Join(conditions, " and "))
	}
	switch {
	case len(effects) == 0:
		ms.rule(i, r, "", "has no effect: expected one of roles, copy, deny: true")
	case len(effects) > 1:
		ms.rule(i, r, effects[1], "a rule has one effect, this one has %s", strings.Join(effects, " and "))
	}
}

func checkRoleNames(i int, r Rule, roles roleSet, ms *mistakes) {
	for _, name := range r.Roles {
		if !roles.declared(name) {
			ms.rule(i, r, "roles", "%s", undeclared(name, roles.names))
		}
	}
	for _, name := range r.Only {
		switch {
		case !roles.declared(name):
			ms.rule(i, r, "only", "%s", undeclared(name, roles.names))
		case !roles.copyable(name):
			ms.rule(i, r, "only", "role %q carries a permission on %q and is never copied; grant it by a rule with roles",
				name, Reserved)
		}
	}
}

// cautionsOf is what may be meant, but is worth a second look.
func cautionsOf(i int, r Rule) []Mistake {
	var out []Mistake
	if r.Provider == AnyProvider {
		out = append(out, *ruleMistake(i, r, "provider",
			"speaks of every provider; two of them may mean different people by one name"))
	}
	if _, err := normalDN(r.Group); err == nil && strings.Contains(r.Group, ",") {
		out = append(out, *ruleMistake(i, r, "group",
			"looks like a distinguished name but is compared byte for byte; group_dn ignores case, spaces and escapes"))
	}
	return out
}

// sortedSet returns a sorted copy with each value once.
func sortedSet(values []string) []string {
	out := slices.Clone(values)
	slices.Sort(out)
	return slices.Compact(out)
}

// checkPattern: a pattern is text of a bounded size.
func checkPattern(i int, r Rule, key, pattern string, ms *mistakes) bool {
	switch {
	case len(pattern) > maxPattern:
		ms.rule(i, r, key, "is longer than %d bytes", maxPattern)
	case !utf8.ValidString(pattern):
		ms.rule(i, r, key, "is not valid UTF-8")
	default:
		return true
	}
	return false
}
