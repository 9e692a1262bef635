package mapping

import (
	"fmt"
	"strings"
)

// Mistake is one thing wrong with (or, among Cautions, doubtful about) roles and rules, with enough to find the place.
type Mistake struct {
	// Rule is the index of the rule, or -1 when it is not about a rule.
	Rule int
	// Role is the declared role it is about; empty when it is not about one.
	Role string
	// Where is the Where of that rule or role.
	Where string
	// Key is the key inside it, for instance "group_regex"; empty: the whole.
	Key string
	// Text says what is wrong and what was expected.
	Text string
}

// Error is "where: key: text".
func (m *Mistake) Error() string {
	if m.Key == "" {
		return m.Where + ": " + m.Text
	}
	return m.Where + ": " + m.Key + ": " + m.Text
}

// mistakes gathers while compiling.
type mistakes struct{ list []error }

func (ms *mistakes) rule(i int, r Rule, key, format string, args ...any) {
	ms.list = append(ms.list, ruleMistake(i, r, key, fmt.Sprintf(format, args...)))
}

func (ms *mistakes) role(r Role, key, format string, args ...any) {
	where := r.Where
	if where == "" {
		where = "roles." + r.Name
	}
	ms.list = append(ms.list, &Mistake{Rule: -1, Role: r.Name, Where: where, Key: key, Text: fmt.Sprintf(format, args...)})
}

func (ms *mistakes) other(where, format string, args ...any) {
	ms.list = append(ms.list, &Mistake{Rule: -1, Where: where, Text: fmt.Sprintf(format, args...)})
}

func ruleMistake(i int, r Rule, key, text string) *Mistake {
	return &Mistake{Rule: i, Where: ruleWhere(i, r), Key: key, Text: text}
}

func ruleWhere(i int, r Rule) string {
	if r.Where == "" {
		return fmt.Sprintf("mapping.rules[%d]", i)
	}
	return r.Where
}

// undeclared is the sentence for a role nobody declared, with the nearest declared one.
func undeclared(name string, declared []string) string {
	text := fmt.Sprintf("role %q is not declared under roles", name)
	if near := Nearest(name, declared); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	return text
}

// Nearest returns the known word with the smallest edit distance to word, or "" when none is near enough to be a slip
// of the pen (at most a third of its length, at least 1, at most 3). Case differences do not count.
func Nearest(word string, known []string) string {
	w := []rune(strings.ToLower(word))
	if len(w) > 64 { // a slip of the pen is not that long, and distance costs its square
		return ""
	}
	best, bestDistance := "", min(3, max(1, len(w)/3))+1
	for _, k := range known {
		if d := distance(w, []rune(strings.ToLower(k)), bestDistance); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is Levenshtein's with transpositions of neighbours; it gives up with limit when the lengths alone say so.
func distance(a, b []rune, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	older, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], older[j-2]+1)
			}
		}
		older, prev, cur = prev, cur, older
	}
	return prev[len(b)]
}
