package mapping

import (
	"regexp"
	"slices"
	"strings"
)

// condition is what a rule asks of an identity: the value that satisfied it, or the code of why none did.
type condition interface {
	check(f *facts) (value, cause string)
}

// exactGroup compares byte for byte.
type exactGroup string

func (g exactGroup) check(f *facts) (string, string) {
	if _, ok := slices.BinarySearch(f.groups(), string(g)); ok {
		return string(g), CauseMatched
	}
	return "", CauseGroupAbsent
}

// dnGroup is a name in its normal spelling.
type dnGroup string

func (g dnGroup) check(f *facts) (string, string) {
	if spelled, ok := f.dns()[string(g)]; ok {
		return spelled, CauseMatched
	}
	return "", CauseGroupAbsent
}

func dnCondition(i int, r Rule, ms *mistakes) condition {
	normal, err := normalDN(r.GroupDN)
	if err != nil {
		ms.rule(i, r, "group_dn", "%q is %v", r.GroupDN, err)
	}
	return dnGroup(normal)
}

// pattern is a glob or an expression; prefix is what every match begins with, so that only a stretch of the sorted
// groups has to be tried.
type pattern struct {
	prefix string
	match  func(string) bool
}

func (p pattern) check(f *facts) (string, string) {
	for _, g := range withPrefix(f.groups(), p.prefix) {
		if p.match(g) {
			return g, CauseMatched
		}
	}
	return "", CauseGroupAbsent
}

func globCondition(i int, r Rule, ms *mistakes) condition {
	if !checkPattern(i, r, "group_glob", r.GroupGlob, ms) {
		return nil
	}
	glob := r.GroupGlob
	prefix := glob
	if cut := strings.IndexAny(glob, "*?"); cut >= 0 {
		prefix = glob[:cut]
	}
	return pattern{prefix: prefix, match: func(s string) bool { return matchGlob(glob, s) }}
}

func regexCondition(i int, r Rule, ms *mistakes) condition {
	if !checkPattern(i, r, "group_regex", r.GroupRegex, ms) {
		return nil
	}
	// By itself first: "a)|(b" would otherwise slip out of the group that anchors it.
	free, err := regexp.Compile(r.GroupRegex)
	if err != nil {
		ms.rule(i, r, "group_regex", "is no RE2 expression: %v", err)
		return nil
	}
	// Anchored at both ends of the text: "adm" must not be found inside "not-an-admin".
	anchored, err := regexp.Compile(`\A(?:` + r.GroupRegex + `)\z`)
	if err != nil {
		ms.rule(i, r, "group_regex", "cannot be anchored: %v", err)
		return nil
	}
	prefix, _ := free.LiteralPrefix()
	return pattern{prefix: prefix, match: anchored.MatchString}
}

// claimEquals compares the values of an attribute.
type claimEquals struct {
	path   string
	values []string // sorted
}

func (c claimEquals) check(f *facts) (string, string) {
	have := f.claim(c.path)
	if len(have) == 0 {
		return "", CauseClaimAbsent
	}
	for _, want := range c.values {
		if _, ok := slices.BinarySearch(have, want); ok {
			return want, CauseMatched
		}
	}
	return "", CauseClaimDiffers
}

// withPrefix returns the stretch of sorted values that begin with prefix.
func withPrefix(sorted []string, prefix string) []string {
	if prefix == "" {
		return sorted
	}
	from, _ := slices.BinarySearch(sorted, prefix)
	rest := sorted[from:]
	to, _ := slices.BinarySearchFunc(rest, prefix, func(value, prefix string) int {
		if strings.HasPrefix(value, prefix) {
			return -1
		}
		return 1
	})
	return rest[:to]
}
