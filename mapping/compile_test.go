package mapping

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// house is the roles most tests use.
func house() []Role {
	return []Role{
		{Name: "admin", Inherits: []string{"operator"}, Permissions: []string{"*:*"}},
		{Name: "operator", Inherits: []string{"viewer"}, Permissions: []string{"hosts:*", "packages:write"}},
		{Name: "viewer", Permissions: []string{"*:read"}},
		{Name: "keeper", Permissions: []string{"sallyport:accounts"}},
		{Name: "chief", Inherits: []string{"keeper"}},
	}
}

func mustCompile(t testing.TB, roles []Role, defaults []string, rules ...Rule) *Mapper {
	t.Helper()
	m, err := Compile(roles, defaults, rules)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// texts returns the joined errors one by one.
func texts(t *testing.T, err error) []string {
	t.Helper()
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		t.Fatalf("not a joined error: %v", err)
	}
	var out []string
	for _, e := range joined.Unwrap() {
		var m *Mistake
		if !errors.As(e, &m) {
			t.Errorf("%v is no *Mistake", e)
		}
		out = append(out, e.Error())
	}
	return out
}

func TestMistakesInRulesAreAllNamed(t *testing.T) {
	grant := []string{"viewer"}
	for name, c := range map[string]struct {
		rule Rule
		want []string
	}{
		"no provider": {
			Rule{Group: "g", Roles: grant},
			[]string{`c.yaml:7: provider: is required: the id of a provider, or "*" for all of them`},
		},
		"no condition": {
			Rule{Provider: "p", Roles: grant},
			[]string{"c.yaml:7: has no condition: expected one of group, group_dn, group_glob, group_regex, claim, copy"},
		},
		"two conditions": {
			Rule{Provider: "p", Group: "g", GroupGlob: "g*", Roles: grant},
			[]string{"c.yaml:7: group_glob: a rule has one condition, this one has group and group_glob"},
		},
		"no effect": {
			Rule{Provider: "p", Group: "g"},
			[]string{"c.yaml:7: has no effect: expected one of roles, copy, deny: true"},
		},
		"two effects": {
			Rule{Provider: "p", Group: "g", Roles: grant, Deny: true},
			[]string{"c.yaml:7: deny: a rule has one effect, this one has roles and deny"},
		},
		"copy with a condition": {
			Rule{Provider: "p", Group: "g", Copy: "groups"},
			[]string{"c.yaml:7: copy: is condition and effect in one; take group away"},
		},
		"an undeclared role with a near one": {
			Rule{Provider: "p", Group: "g", Roles: []string{"veiwer"}},
			[]string{`c.yaml:7: roles: role "veiwer" is not declared under roles; did you mean "viewer"?`},
		},
		"an undeclared role with none near": {
			Rule{Provider: "p", Group: "g", Roles: []string{"astronaut"}},
			[]string{`c.yaml:7: roles: role "astronaut" is not declared under roles`},
		},
		"a templated role": {
			Rule{Provider: "p", Group: "g", Roles: []string{"{{.group}}"}},
			[]string{`c.yaml:7: roles: role "{{.group}}" is not declared under roles`},
		},
		"only names an undeclared role": {
			Rule{Provider: "p", Copy: "groups", Only: []string{"Admin"}},
			[]string{`c.yaml:7: only: role "Admin" is not declared under roles; did you mean "admin"?`},
		},
		"only names a role that administers the broker": {
			Rule{Provider: "p", Copy: "groups", Only: []string{"chief"}},
			[]string{`c.yaml:7: only: role "chief" carries a permission on "sallyport" and is never copied; ` +
				`grant it by a rule with roles`},
		},
		"a bad expression": {
			Rule{Provider: "p", GroupRegex: "a(", Roles: grant},
			[]string{"c.yaml:7: group_regex: is no RE2 expression: error parsing regexp: missing closing ): `a(`"},
		},
		"an expression that slips out of its anchors": {
			Rule{Provider: "p", GroupRegex: "a)|(b", Roles: grant},
			[]string{"c.yaml:7: group_regex: is no RE2 expression: error parsing regexp: unexpected ): `a)|(b`"},
		},
		"an expression that swallows its end": {
			Rule{Provider: "p", GroupRegex: `\Qabc`, Roles: grant},
			[]string{"c.yaml:7: group_regex: cannot be anchored: error parsing regexp: missing closing ): `\\A(?:\\Qabc)\\z`"},
		},
		"a back-reference, which RE2 does not know": {
			Rule{Provider: "p", GroupRegex: `(a)\1`, Roles: grant},
			[]string{"c.yaml:7: group_regex: is no RE2 expression: error parsing regexp: invalid escape sequence: `\\1`"},
		},
		"an endless expression": {
			Rule{Provider: "p", GroupRegex: strings.Repeat("a", maxPattern+1), Roles: grant},
			[]string{"c.yaml:7: group_regex: is longer than 512 bytes"},
		},
		"an expression that explodes": {
			Rule{Provider: "p", GroupRegex: "((a{100}){100}){100}", Roles: grant},
			[]string{"c.yaml:7: group_regex: is no RE2 expression: error parsing regexp: " +
				"invalid repeat count: `{100}`"},
		},
		"a glob that is no text": {
			Rule{Provider: "p", GroupGlob: "\xff*", Roles: grant},
			[]string{"c.yaml:7: group_glob: is not valid UTF-8"},
		},
		"a bad distinguished name": {
			Rule{Provider: "p", GroupDN: "admins", Roles: grant},
			[]string{`c.yaml:7: group_dn: "admins" is not a distinguished name (RFC 4514), such as ` +
				`"cn=admins,ou=groups,dc=example,dc=com"`},
		},
		"a claim without values": {
			Rule{Provider: "p", Claim: "department", Roles: grant},
			[]string{"c.yaml:7: equals: is required with claim: the values that match"},
		},
		"an empty value": {
			Rule{Provider: "p", Claim: "department", Equals: []string{""}, Roles: grant},
			[]string{"c.yaml:7: equals: an empty value never matches"},
		},
		"leftovers of other conditions": {
			Rule{Provider: "p", Group: "g", Equals: []string{"x"}, StripPrefix: "x", Only: grant, Roles: grant},
			[]string{
				"c.yaml:7: equals: belongs to claim, which is missing",
				"c.yaml:7: strip_prefix: belongs to copy, which is missing",
				"c.yaml:7: only: belongs to copy, which is missing",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.rule.Where = "c.yaml:7"
			m, err := Compile(house(), nil, []Rule{c.rule})
			if m != nil || err == nil {
				t.Fatal("compiled")
			}
			if diff := cmp.Diff(c.want, texts(t, err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMistakesInRolesAreAllNamed(t *testing.T) {
	for name, c := range map[string]struct {
		roles    []Role
		defaults []string
		want     []string
	}{
		"a bad name": {
			[]Role{{Name: "a b", Where: "c.yaml:3"}},
			nil,
			[]string{`c.yaml:3: "a b" is no role name: letters, digits and . _ : -, at most 64, beginning with a letter or digit`},
		},
		"declared twice": {
			[]Role{{Name: "a"}, {Name: "a"}},
			nil,
			[]string{`roles.a: role "a" is declared twice`},
		},
		"a bad permission": {
			[]Role{{Name: "a", Permissions: []string{"Hosts:read", "hosts", "hosts:*", "a*:b", ":"}}},
			nil,
			[]string{
				`roles.a: permissions: "Hosts:read" is no permission: resource:action, each * or of a-z 0-9 _ . -`,
				`roles.a: permissions: "hosts" is no permission: resource:action, each * or of a-z 0-9 _ . -`,
				`roles.a: permissions: "a*:b" is no permission: resource:action, each * or of a-z 0-9 _ . -`,
				`roles.a: permissions: ":" is no permission: resource:action, each * or of a-z 0-9 _ . -`,
			},
		},
		"an unknown parent": {
			[]Role{{Name: "viewer"}, {Name: "a", Inherits: []string{"viewr"}}},
			nil,
			[]string{`roles.a: inherits: role "viewr" is not declared under roles; did you mean "viewer"?`},
		},
		"a circle": {
			[]Role{{Name: "a", Inherits: []string{"b"}}, {Name: "b", Inherits: []string{"c"}}, {Name: "c", Inherits: []string{"a"}}},
			nil,
			[]string{"roles.a: inherits: roles inherit each other in a circle: a -> b -> c -> a"},
		},
		"itself": {
			[]Role{{Name: "a", Inherits: []string{"a"}}},
			nil,
			[]string{"roles.a: inherits: roles inherit each other in a circle: a -> a"},
		},
		"an undeclared default": {
			house(),
			[]string{"vieweer"},
			[]string{`mapping.default_roles: role "vieweer" is not declared under roles; did you mean "viewer"?`},
		},
		"a default that administers the broker by inheritance": {
			house(),
			[]string{"chief"},
			[]string{`mapping.default_roles: role "chief" carries a permission on "sallyport", which is never given by default`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Compile(c.roles, c.defaults, nil)
			if m != nil || err == nil {
				t.Fatal("compiled")
			}
			if diff := cmp.Diff(c.want, texts(t, err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMistakesKnowTheirRule(t *testing.T) {
	_, err := Compile(house(), nil, []Rule{
		{Provider: "p", Group: "g", Roles: []string{"viewer"}},
		{Provider: "p", Group: "g", Roles: []string{"nobody-declared-it"}},
	})
	var m *Mistake
	if !errors.As(err, &m) {
		t.Fatal(err)
	}
	want := Mistake{
		Rule: 1, Where: "mapping.rules[1]", Key: "roles", Text: `role "nobody-declared-it" is not declared under roles`,
	}
	if diff := cmp.Diff(want, *m); diff != "" {
		t.Error(diff)
	}
}

func TestADM07_RulesAndRolesAreBounded(t *testing.T) {
	rule := Rule{Provider: "p", Group: "g", Roles: []string{"viewer"}}
	rules := make([]Rule, maxRules+1)
	for i := range rules {
		rules[i] = rule
	}
	if _, err := Compile(house(), nil, rules); err == nil {
		t.Error("more rules than allowed were compiled")
	}
	if _, err := Compile(house(), nil, rules[:maxRules]); err != nil {
		t.Error(err)
	}
	roles := make([]Role, maxRoles+1)
	for i := range roles {
		roles[i] = Role{Name: fmt.Sprintf("r%d", i)}
	}
	if _, err := Compile(roles, nil, nil); err == nil {
		t.Error("more roles than allowed were compiled")
	}
	if _, err := Compile(roles[:maxRoles], nil, nil); err != nil {
		t.Error(err)
	}
	many := make([]string, maxList+1)
	for i := range many {
		many[i] = "x"
	}
	if _, err := Compile(house(), nil, []Rule{{Provider: "p", Claim: "c", Equals: many, Deny: true}}); err == nil {
		t.Error("more values than allowed were compiled")
	}
}

func TestWarningsNameWhatIsDoubtful(t *testing.T) {
	m := mustCompile(t, house(), nil,
		Rule{Provider: "*", Group: "g", Roles: []string{"viewer"}, Where: "c.yaml:1"},
		Rule{Provider: "p", Group: "CN=SOC,DC=corp", Roles: []string{"viewer"}, Where: "c.yaml:2"},
		Rule{Provider: "p", Group: "team=soc", Roles: []string{"viewer"}, Where: "c.yaml:3"},
		Rule{Provider: "p", GroupDN: "CN=SOC,DC=corp", Roles: []string{"viewer"}, Where: "c.yaml:4"},
	)
	want := []string{
		"c.yaml:1: provider: speaks of every provider; two of them may mean different people by one name",
		"c.yaml:2: group: looks like a distinguished name but is compared byte for byte; " +
			"group_dn ignores case, spaces and escapes",
	}
	if diff := cmp.Diff(want, m.Warnings()); diff != "" {
		t.Error(diff)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"group_dn", "group_glob", "group_regex", "provider", "roles"}
	for word, want := range map[string]string{
		"groupdn": "group_dn", "Provider": "provider", "role": "roles", "providre": "provider", "colour": "", "": "",
		"x": "", strings.Repeat("provider", 100): "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
