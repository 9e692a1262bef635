package mapping

import (
	"sallyport/identity"
)

// index is the rules that name one provider, arranged so that an identity's values look up rules and not the other way
// round. Roles uses it where nobody wants to know why.
type index struct {
	exact map[string][]int
	dn    map[string][]int
	walk  []int // conditions that no look-up finds
	copy  []int
}

func (m *Mapper) buildIndex() {
	m.index = map[string]*index{}
	for i := range m.rules {
		r := &m.rules[i]
		if m.index[r.Provider] == nil {
			m.index[r.Provider] = &index{exact: map[string][]int{}, dn: map[string][]int{}}
		}
		m.index[r.Provider].add(i, r)
	}
}

func (ix *index) add(i int, r *rule) {
	switch c := r.when.(type) {
	case exactGroup:
		ix.exact[string(c)] = append(ix.exact[string(c)], i)
	case dnGroup:
		ix.dn[string(c)] = append(ix.dn[string(c)], i)
	case nil:
		ix.copy = append(ix.copy, i)
	default:
		ix.walk = append(ix.walk, i)
	}
}

// Roles gives Map's Roles and Denied without the explanation and at a fraction of its cost.
func (m *Mapper) Roles(id identity.Identity) (roles []string, denied bool) {
	if id.Provider == "" {
		return nil, false
	}
	t := taking{rules: m.rules, facts: facts{id: id}}
	t.from(m.index[id.Provider])
	t.from(m.index[AnyProvider])
	switch {
	case t.denied:
		return nil, true
	case len(t.direct) == 0:
		return m.roles.close(m.defaults), false
	default:
		return m.roles.close(t.direct), false
	}
}

// taking is one run of Roles.
type taking struct {
	rules  []rule
	facts  facts
	direct []string
	denied bool
}

// from takes what the rules of one index give; nil has none.
func (t *taking) from(ix *index) {
	if ix == nil || t.denied {
		return
	}
	var scratch []byte
	for _, g := range t.facts.id.Groups {
		t.take(ix.exact[g])
		if len(ix.dn) == 0 {
			continue
		}
		normal, ok := appendNormalDN(scratch[:0], g)
		if scratch = normal; ok {
			t.take(ix.dn[string(normal)])
		}
	}
	for _, i := range ix.walk {
		if _, cause := t.rules[i].when.check(&t.facts); cause == CauseMatched {
			t.take([]int{i})
		}
	}
	for _, i := range ix.copy {
		t.direct = append(t.direct, t.rules[i].copy.check(&t.facts).roles...)
	}
}

func (t *taking) take(rules []int) {
	for _, i := range rules {
		t.direct = append(t.direct, t.rules[i].roles...)
		t.denied = t.denied || t.rules[i].Deny
	}
}
