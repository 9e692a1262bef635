package mapping

import (
	"slices"
	"sort"
)

// maxRefused bounds Verdict.Refused; the rest is a number. A copy of "groups" meets thousands of foreign names.
const maxRefused = 100

// copier takes role names from a claim.
type copier struct {
	path, prefix string
	allowed      []string // sorted: declared, copyable, in only
}

func newCopier(r Rule, roles roleSet) *copier {
	c := &copier{path: r.Copy, prefix: r.StripPrefix}
	only := sortedSet(r.Only)
	for _, name := range roles.names {
		if _, ok := slices.BinarySearch(only, name); roles.copyable(name) && (ok || len(only) == 0) {
			c.allowed = append(c.allowed, name)
		}
	}
	return c
}

// copied is what a copier found.
type copied struct {
	cause   string
	value   string   // the first value, as upstream spells it, that became a role
	roles   []string // sorted
	refused []string // sorted, at most maxRefused, without the prefix
	more    int      // refused beyond that
}

// check walks the shorter of the two lists for the roles, and no more values than it reports, so that a thousand rules
// over eight thousand groups stay cheap.
func (c *copier) check(f *facts) copied {
	all := f.claim(c.path)
	if len(all) == 0 {
		return copied{cause: CauseClaimAbsent}
	}
	values := withPrefix(all, c.prefix)
	if len(values) > 0 && values[0] == c.prefix {
		values = values[1:] // nothing is left of it, and nothing is no role
	}
	out := copied{cause: CauseNothingCopied, roles: c.intersect(values)}
	if len(out.roles) > 0 {
		out.cause, out.value = CauseMatched, c.prefix+out.roles[0]
	}
	for _, v := range values {
		if len(out.refused) == maxRefused {
			break
		}
		if name := v[len(c.prefix):]; !contains(out.roles, name) {
			out.refused = append(out.refused, name)
		}
	}
	out.more = len(values) - len(out.roles) - len(out.refused)
	return out
}

func (c *copier) intersect(values []string) []string {
	var out []string
	if len(values) <= len(c.allowed) {
		for _, v := range values {
			if name := v[len(c.prefix):]; contains(c.allowed, name) {
				out = append(out, name)
			}
		}
		return out
	}
	for _, name := range c.allowed {
		if containsJoined(values, c.prefix, name) {
			out = append(out, name)
		}
	}
	return out
}

func contains(sorted []string, s string) bool {
	_, ok := slices.BinarySearch(sorted, s)
	return ok
}

// containsJoined looks for prefix+name among sorted values that all begin with prefix.
func containsJoined(values []string, prefix, name string) bool {
	i := sort.Search(len(values), func(i int) bool { return values[i][len(prefix):] >= name })
	return i < len(values) && values[i][len(prefix):] == name
}
