package mapping

import (
	"maps"
	"slices"

	"sallyport/identity"
)

// The stable codes of Verdict.Cause.
const (
	// CauseMatched: the condition holds.
	CauseMatched = "matched"
	// CauseProviderDiffers: the rule speaks of another provider.
	CauseProviderDiffers = "provider_differs"
	// CauseGroupAbsent: no group satisfies the condition.
	CauseGroupAbsent = "group_absent"
	// CauseClaimAbsent: the claim is not there, or has no value.
	CauseClaimAbsent = "claim_absent"
	// CauseClaimDiffers: the claim has other values.
	CauseClaimDiffers = "claim_differs"
	// CauseNothingCopied: the claim is there, but no value is a role that may come this way.
	CauseNothingCopied = "nothing_copied"
	// CauseDefault: no rule gave a role, so the default roles apply.
	CauseDefault = "default_roles"
)

// DefaultRule is the Verdict.Rule of the default roles.
const DefaultRule = -1

// Grant is what an identity may be, and why.
type Grant struct {
	// Roles are all roles, inherited ones included, sorted; empty when Denied.
	Roles []string `json:"roles"`
	// Direct are those that rules named, without what they inherit, sorted; empty when Denied.
	Direct []string `json:"direct"`
	// Denied: a deny rule matched.
	Denied bool `json:"denied"`
	// Verdicts has one entry for every rule, in their order, and one more when the default roles apply.
	Verdicts []Verdict `json:"verdicts"`
}

// Verdict says what one rule did, and why.
type Verdict struct {
	// Rule is the index of the rule, or DefaultRule.
	Rule int `json:"rule"`
	// Where is "file:line" of the rule.
	Where string `json:"where,omitempty"`
	// Provider the rule speaks of, or "*".
	Provider string `json:"provider"`
	// Condition in a few words, for instance `group_dn "CN=SOC,DC=corp,DC=example"`.
	Condition string `json:"condition"`
	// Matched: the condition holds; for copy, at least one role came through.
	Matched bool `json:"matched"`
	// Deny: the rule's effect is to deny.
	Deny bool `json:"deny,omitempty"`
	// Cause is one of the Cause codes.
	Cause string `json:"cause"`
	// Roles the rule grants by itself, sorted. They say so even when another rule denied.
	Roles []string `json:"roles,omitempty"`
	// Refused are copied values, without the prefix, that are no role which may come this way; sorted, at most 100.
	Refused []string `json:"refused,omitempty"`
	// RefusedMore counts those that Refused leaves out.
	RefusedMore int `json:"refused_more,omitempty"`
	// Value is the group or claim value that matched, as upstream spells it; the first by sort order.
	Value string `json:"value,omitempty"`
}

// Map decides and explains. It is a pure function of the identity.
func (m *Mapper) Map(id identity.Identity) Grant {
	f := &facts{id: id}
	g := Grant{Verdicts: make([]Verdict, 0, len(m.rules)+1)}
	direct := map[string]struct{}{}
	for i := range m.rules {
		v := m.rules[i].verdict(i, f)
		g.Denied = g.Denied || v.Deny && v.Matched
		for _, r := range v.Roles {
			direct[r] = struct{}{}
		}
		g.Verdicts = append(g.Verdicts, v)
	}
	if g.Denied {
		return g
	}
	// An identity that no provider vouches for is a fault of ours; it gets nothing.
	if len(direct) == 0 && len(m.defaults) > 0 && id.Provider != "" {
		g.Verdicts = append(g.Verdicts, m.defaultVerdict())
		for _, r := range m.defaults {
			direct[r] = struct{}{}
		}
	}
	g.Direct = slices.Sorted(maps.Keys(direct))
	g.Roles = m.roles.close(g.Direct)
	return g
}

func (r *rule) verdict(i int, f *facts) Verdict {
	v := Verdict{Rule: i, Where: r.Where, Provider: r.Provider, Condition: r.text, Deny: r.Deny}
	switch {
	case !r.speaksOf(f.id.Provider):
		v.Cause = CauseProviderDiffers
	case r.copy != nil:
		c := r.copy.check(f)
		v.Cause, v.Value, v.Roles, v.Refused, v.RefusedMore = c.cause, c.value, c.roles, c.refused, c.more
		v.Matched = c.cause == CauseMatched
	default:
		v.Value, v.Cause = r.when.check(f)
		if v.Matched = v.Cause == CauseMatched; v.Matched {
			v.Roles = slices.Clone(r.roles)
		}
	}
	return v
}

// speaksOf: rules are scoped, since one group name means different people at two providers (ADM-07).
func (r *rule) speaksOf(provider string) bool {
	return provider != "" && (r.Provider == AnyProvider || r.Provider == provider)
}

func (m *Mapper) defaultVerdict() Verdict {
	return Verdict{
		Rule: DefaultRule, Where: "mapping.default_roles", Provider: AnyProvider, Condition: "no rule gave a role",
		Matched: true, Cause: CauseDefault, Roles: slices.Clone(m.defaults),
	}
}

// Permissions returns those of the roles and of all they inherit, sorted, each once. Undeclared roles have none.
func (m *Mapper) Permissions(roles []string) []string { return m.roles.permissions(roles) }

// RoleNames returns the declared roles, sorted.
func (m *Mapper) RoleNames() []string { return slices.Clone(m.roles.names) }

// Declared reports whether configuration declares the role.
func (m *Mapper) Declared(role string) bool { return m.roles.declared(role) }

// Cautions are what may be meant but is worth a second look: rules for every provider, and group values that look like
// a distinguished name.
func (m *Mapper) Cautions() []Mistake { return slices.Clone(m.cautions) }

// Warnings are the Cautions as sentences.
func (m *Mapper) Warnings() []string {
	out := make([]string, 0, len(m.cautions))
	for i := range m.cautions {
		out = append(out, m.cautions[i].Error())
	}
	return out
}

// MayBeCopied reports whether a role may ever be given by something other than a rule that names it: it is declared and
// carries, through inheritance too, no permission on Reserved.
func (m *Mapper) MayBeCopied(role string) bool { return m.roles.copyable(role) }

// DefaultRoles returns the roles of those whom no rule gave any, sorted.
func (m *Mapper) DefaultRoles() []string { return slices.Clone(m.defaults) }
