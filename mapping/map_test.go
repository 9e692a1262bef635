package mapping

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/identity"
)

func person(provider string, groups ...string) identity.Identity {
	return identity.Identity{Provider: provider, Subject: "s", Groups: groups}
}

func TestRulesGrantDeclaredRoles(t *testing.T) {
	viewer := []string{"viewer"}
	attributes := func(kv map[string][]string) identity.Identity {
		return identity.Identity{Provider: "p", Subject: "s", Attributes: kv, Groups: []string{"g"}}
	}
	for name, c := range map[string]struct {
		rule  Rule
		id    identity.Identity
		want  []string
		cause string
		value string
	}{
		"the exact group":        {Rule{Group: "g", Roles: viewer}, person("p", "f", "g"), viewer, CauseMatched, "g"},
		"case matters for group": {Rule{Group: "g", Roles: viewer}, person("p", "G"), nil, CauseGroupAbsent, ""},
		"no groups at all":       {Rule{Group: "g", Roles: viewer}, person("p"), nil, CauseGroupAbsent, ""},
		"another provider":       {Rule{Group: "g", Roles: viewer}, person("q", "g"), nil, CauseProviderDiffers, ""},
		"no provider at all":     {Rule{Provider: "*", Group: "g", Roles: viewer}, person("", "g"), nil, CauseProviderDiffers, ""},
		"a distinguished name in another spelling": {
			Rule{GroupDN: "CN=SOC Admins,OU=Groups,DC=corp", Roles: viewer},
			person("p", `cn=soc\20 admins, ou=groups,dc=CORP`), viewer, CauseMatched, `cn=soc\20 admins, ou=groups,dc=CORP`,
		},
		"a parent of a distinguished name": {
			Rule{GroupDN: "OU=Groups,DC=corp", Roles: viewer}, person("p", "CN=a,OU=Groups,DC=corp"), nil, CauseGroupAbsent, "",
		},
		"a glob":                 {Rule{GroupGlob: "soc-*-r?", Roles: viewer}, person("p", "soc-a-rw"), viewer, CauseMatched, "soc-a-rw"},
		"a glob is whole":        {Rule{GroupGlob: "soc", Roles: viewer}, person("p", "soc-a", "a-soc"), nil, CauseGroupAbsent, ""},
		"a glob and empty names": {Rule{GroupGlob: "*", Roles: viewer}, person("p", "", ""), nil, CauseGroupAbsent, ""},
		"an expression":          {Rule{GroupRegex: "soc-[0-9]+", Roles: viewer}, person("p", "soc-42"), viewer, CauseMatched, "soc-42"},
		"an expression and empty names": {
			Rule{GroupRegex: ".*", Roles: viewer}, person("p", ""), nil, CauseGroupAbsent, "",
		},
		"a claim": {
			Rule{Claim: "realm.dep", Equals: []string{"x", "soc"}, Roles: viewer},
			attributes(map[string][]string{"realm.dep": {"y", "soc"}}), viewer, CauseMatched, "soc",
		},
		"a claim with other values": {
			Rule{Claim: "dep", Equals: []string{"soc"}, Roles: viewer},
			attributes(map[string][]string{"dep": {"SOC"}}), nil, CauseClaimDiffers, "",
		},
		"a claim that is missing": {
			Rule{Claim: "dep", Equals: []string{"soc"}, Roles: viewer}, attributes(nil), nil, CauseClaimAbsent, "",
		},
		"the claim of groups": {
			Rule{Claim: "groups", Equals: []string{"g"}, Roles: viewer}, attributes(nil), viewer, CauseMatched, "g",
		},
		"a copied group": {Rule{Copy: "groups"}, person("p", "viewer"), viewer, CauseMatched, "viewer"},
		"a copied claim with a prefix": {
			Rule{Copy: "roles", StripPrefix: "app-"},
			attributes(map[string][]string{"roles": {"viewer", "app-viewer"}}), viewer, CauseMatched, "app-viewer",
		},
		"a copied claim that is missing": {Rule{Copy: "roles"}, attributes(nil), nil, CauseClaimAbsent, ""},
		"a copy that only may not": {
			Rule{Copy: "groups", Only: []string{"operator"}}, person("p", "viewer"), nil, CauseNothingCopied, "",
		},
		"nothing is left after the prefix": {
			Rule{Copy: "groups", StripPrefix: "app-"}, person("p", "app-"), nil, CauseNothingCopied, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.rule.Provider == "" {
				c.rule.Provider = "p"
			}
			g := mustCompile(t, house(), nil, c.rule).Map(c.id)
			v := g.Verdicts[0]
			if !slices.Equal(g.Roles, c.want) || v.Cause != c.cause || v.Value != c.value {
				t.Errorf("roles %v, verdict %+v", g.Roles, v)
			}
			if v.Matched != (c.cause == CauseMatched) || !slices.Equal(v.Roles, c.want) {
				t.Errorf("verdict %+v", v)
			}
		})
	}
}

func TestRolesComeWithWhatTheyInherit(t *testing.T) {
	m := mustCompile(t, house(), nil, Rule{Provider: "p", Group: "g", Roles: []string{"operator"}})
	g := m.Map(person("p", "g"))
	if diff := cmp.Diff([]string{"operator", "viewer"}, g.Roles); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"operator"}, g.Direct); diff != "" {
		t.Error(diff)
	}
	want := []string{"*:read", "hosts:*", "packages:write"}
	if diff := cmp.Diff(want, m.Permissions([]string{"operator", "unknown"})); diff != "" {
		t.Error(diff)
	}
	if got := m.Closure("operator"); !slices.Equal(got, g.Roles) || m.Closure("unknown") != nil {
		t.Errorf("closure %v", got)
	}
	if !m.Declared("chief") || m.Declared("unknown") || len(m.RoleNames()) != 5 {
		t.Error("declared roles are not those of the house")
	}
}

func TestDenyWins(t *testing.T) {
	m := mustCompile(t, house(), []string{"viewer"},
		Rule{Provider: "p", Group: "g", Roles: []string{"admin"}},
		Rule{Provider: "p", Group: "bad", Deny: true},
	)
	g := m.Map(person("p", "g", "bad"))
	if !g.Denied || len(g.Roles) > 0 || len(g.Direct) > 0 || len(g.Verdicts) != 2 {
		t.Errorf("%+v", g)
	}
	if v := g.Verdicts[1]; !v.Deny || !v.Matched || v.Value != "bad" {
		t.Errorf("%+v", v)
	}
}

func TestDefaultRolesAreForThoseWithNone(t *testing.T) {
	m := mustCompile(t, house(), []string{"viewer"},
		Rule{Provider: "p", Group: "g", Roles: []string{"operator"}},
		Rule{Provider: "p", Group: "bad", Deny: true},
	)
	none := m.Map(person("p"))
	want := Verdict{
		Rule: DefaultRule, Where: "mapping.default_roles", Provider: "*", Condition: "no rule gave a role", Matched: true,
		Cause: CauseDefault, Roles: []string{"viewer"},
	}
	if diff := cmp.Diff(want, none.Verdicts[2]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"viewer"}, none.Roles); diff != "" {
		t.Error(diff)
	}
	for name, id := range map[string]identity.Identity{
		"granted": person("p", "g"), "denied": person("p", "bad"), "nobody's": person(""),
	} {
		if g := m.Map(id); len(g.Verdicts) != 2 || slices.Equal(g.Roles, []string{"viewer"}) {
			t.Errorf("%s: default roles applied: %+v", name, g)
		}
	}
}

func TestADM07_SameGroupNameFromTwoProvidersIsTwoGroups(t *testing.T) {
	m := mustCompile(t, house(), nil,
		Rule{Provider: "corp", Group: "admins", Roles: []string{"admin"}},
		Rule{Provider: "partner", Group: "admins", Roles: []string{"viewer"}},
	)
	for provider, want := range map[string][]string{
		"corp": {"admin", "operator", "viewer"}, "partner": {"viewer"}, "third": nil, "Corp": nil,
	} {
		if got := m.Map(person(provider, "admins")).Roles; !slices.Equal(got, want) {
			t.Errorf("%s: %v", provider, got)
		}
	}
}

func TestADM07_ExpressionsAreAnchored(t *testing.T) {
	for _, expression := range []string{"admins", "admins|adm", "(?i)admins|(?m)adm$", "adm|admins"} {
		m := mustCompile(t, house(), nil, Rule{Provider: "p", GroupRegex: expression, Roles: []string{"viewer"}})
		for _, group := range []string{"no-admins", "admins-not", "admins\n", "x\nadmins", "adm\nx"} {
			if g := m.Map(person("p", group)); len(g.Roles) > 0 {
				t.Errorf("%q matched %q", expression, group)
			}
		}
		if g := m.Map(person("p", "admins")); len(g.Roles) == 0 {
			t.Errorf("%q did not match admins", expression)
		}
	}
}

func TestADM07_CopiedValuesAreDeclaredRolesOrNothing(t *testing.T) {
	m := mustCompile(t, house(), nil, Rule{Provider: "p", Copy: "groups", StripPrefix: "app-"})
	g := m.Map(person("p", "app-viewer", "app-{{.role}}", "app-root", "app-VIEWER", "viewer", "app-chief", "app-keeper"))
	if diff := cmp.Diff([]string{"viewer"}, g.Roles); diff != "" {
		t.Error(diff)
	}
	// chief and keeper are declared, but administer the broker.
	if diff := cmp.Diff([]string{"VIEWER", "chief", "keeper", "root", "{{.role}}"}, g.Verdicts[0].Refused); diff != "" {
		t.Error(diff)
	}
}

func TestADM07_RolesThatAdministerTheBrokerNeedARuleThatNamesThem(t *testing.T) {
	m := mustCompile(t, house(), nil,
		Rule{Provider: "p", Group: "bosses", Roles: []string{"chief"}}, Rule{Provider: "p", Copy: "groups"})
	if got := m.Map(person("p", "chief")).Roles; len(got) > 0 {
		t.Errorf("copied %v", got)
	}
	if got := m.Map(person("p", "bosses")).Roles; !slices.Equal(got, []string{"chief", "keeper"}) {
		t.Errorf("granted %v", got)
	}
	if m.MayBeCopied("chief") || m.MayBeCopied("unknown") || !m.MayBeCopied("admin") {
		t.Error("MayBeCopied disagrees")
	}
}

func TestRefusedValuesAreBounded(t *testing.T) {
	m := mustCompile(t, house(), nil, Rule{Provider: "p", Copy: "groups", Only: []string{"viewer"}})
	groups := []string{"viewer"}
	for i := range 8000 {
		groups = append(groups, fmt.Sprintf("g%d", i))
	}
	v := m.Map(person("p", append(groups, groups...)...)).Verdicts[0]
	if len(v.Refused) != maxRefused || v.RefusedMore != 8000-maxRefused || !slices.Equal(v.Roles, []string{"viewer"}) {
		t.Errorf("%d refused, %d more, roles %v", len(v.Refused), v.RefusedMore, v.Roles)
	}
}

func TestMapLeavesTheIdentityAlone(t *testing.T) {
	m := mustCompile(t, house(), nil, Rule{Provider: "p", Copy: "groups"}, Rule{Provider: "p", GroupGlob: "b*", Deny: true})
	id := person("p", "z", "viewer", "", "a", "a")
	m.Map(id)
	m.Roles(id)
	if diff := cmp.Diff([]string{"z", "viewer", "", "a", "a"}, id.Groups); diff != "" {
		t.Error(diff)
	}
	g := m.Map(person("p", "operator"))
	g.Roles[0], g.Direct[0], g.Verdicts[0].Roles[0] = "x", "x", "x"
	if got := m.Map(person("p", "operator")).Roles; !slices.Equal(got, []string{"operator", "viewer"}) {
		t.Errorf("a caller changed the mapper: %v", got)
	}
}

// words are few, so that random rules and random people meet often.
func words() []string {
	return []string{
		"viewer", "operator", "chief", "app-viewer", "app-admin", "app-", "CN=A,DC=x", "cn=a, dc=X", `cn=\61,dc=x`,
		"cn=b+sn=c,dc=x", "SN=C+CN=B,dc=x", "soc-1", "soc-22", "", "ä", "Ä",
	}
}

func randomRule(r *rand.Rand) Rule {
	one := func(from ...string) string { return from[r.IntN(len(from))] }
	rule := Rule{Provider: one("p", "q", "*")}
	switch r.IntN(7) {
	case 0:
		rule.Group = one(words()[:13]...)
	case 1:
		rule.GroupDN = one("CN=A,DC=x", "cn=b+sn=c,dc=x", "cn=none,dc=x")
	case 2:
		rule.GroupGlob = one("*", "soc-*", "soc-?", "?", "*viewer", "app-*")
	case 3:
		rule.GroupRegex = one("soc-[0-9]+", "(?i)ä", "app-.*", "viewer|operator", "cn=.*")
	case 4:
		rule.Claim, rule.Equals = one("c", "groups"), []string{one(words()[:13]...)}
	default:
		rule.Copy, rule.StripPrefix = one("c", "groups", "absent"), one("", "app-", "soc")
		if r.IntN(2) == 0 {
			rule.Only = []string{one("viewer", "operator", "admin")}
		}
		return rule
	}
	if rule.Deny = r.IntN(5) == 0; !rule.Deny {
		rule.Roles = []string{one("viewer", "operator", "admin", "chief"), one("viewer", "keeper")}
	}
	return rule
}

func randomPerson(r *rand.Rand) identity.Identity {
	some := func() (out []string) {
		for range r.IntN(5) {
			out = append(out, words()[r.IntN(len(words()))])
		}
		return out
	}
	providers := []string{"p", "q", "third", "", "*"}
	return identity.Identity{
		Provider: providers[r.IntN(len(providers))], Groups: some(), Attributes: map[string][]string{"c": some()},
	}
}

func TestOrderOfRulesAndGroupsMeansNothingAndRolesAgreesWithMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	granted, denied := 0, 0
	for range 3000 {
		rules := make([]Rule, r.IntN(8))
		for i := range rules {
			rules[i] = randomRule(r)
		}
		var defaults []string
		if r.IntN(2) == 0 {
			defaults = []string{"viewer"}
		}
		id := randomPerson(r)
		m := mustCompile(t, house(), defaults, rules...)
		g := m.Map(id)
		if roles, no := m.Roles(id); no != g.Denied || !slices.Equal(roles, g.Roles) {
			t.Fatalf("Roles says %v %v, Map says %v %v\n%+v\n%+v", roles, no, g.Roles, g.Denied, rules, id)
		}
		r.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
		r.Shuffle(len(id.Groups), func(i, j int) { id.Groups[i], id.Groups[j] = id.Groups[j], id.Groups[i] })
		other := mustCompile(t, house(), defaults, rules...).Map(id)
		if other.Denied != g.Denied || !slices.Equal(other.Roles, g.Roles) || !slices.Equal(other.Direct, g.Direct) {
			t.Fatalf("in another order %v %v, before %v %v\n%+v\n%+v", other.Roles, other.Denied, g.Roles, g.Denied, rules, id)
		}
		if g.Denied {
			denied++
		} else if len(g.Roles) > 0 {
			granted++
		}
	}
	if granted < 300 || denied < 100 {
		t.Errorf("only %d grants and %d denials: the property was hardly tried", granted, denied)
	}
}

// crowd is the worst ordinary case: 8,000 groups and 1,000 rules of all kinds.
func crowd(b testing.TB) (*Mapper, identity.Identity) {
	var rules []Rule
	for i := range 1000 {
		dn := fmt.Sprintf("CN=Group %d,OU=Security Groups,DC=corp,DC=example", i*7)
		r := Rule{Provider: "p", Roles: []string{"viewer"}}
		switch i % 4 {
		case 0:
			r.Group = dn
		case 1:
			r.GroupDN = dn
		case 2:
			r.GroupGlob = fmt.Sprintf("CN=Group %d,*", i)
		default:
			r.Roles, r.Copy, r.StripPrefix = nil, "groups", "CN="
		}
		rules = append(rules, r)
	}
	id := person("p")
	for i := range 8000 {
		id.Groups = append(id.Groups, fmt.Sprintf("cn=Group %d,ou=Sécurity Groups,dc=corp,dc=example", i))
	}
	return mustCompile(b, house(), nil, rules...), id
}

func BenchmarkMap8000Groups1000Rules(b *testing.B) {
	m, id := crowd(b)
	b.ReportAllocs()
	for b.Loop() {
		m.Map(id)
	}
}

func BenchmarkRoles8000Groups1000Rules(b *testing.B) {
	m, id := crowd(b)
	b.ReportAllocs()
	for b.Loop() {
		m.Roles(id)
	}
}
