package arch

import (
	"fmt"
	"go/ast"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const checklist = "docs/security/checklist.md"

var (
	// item is a requirement of the checklist with its status.
	item = regexp.MustCompile("^- \\*\\*([A-Z]{3}-[0-9]{2})\\*\\* `([a-z]+)` ")
	// itemLike finds what was meant to be one.
	itemLike = regexp.MustCompile(`^\s*[-*] +\**[A-Z]{3}-[0-9]{2}`)
	// named is an id at the beginning of a test's name.
	named = regexp.MustCompile(`^(?:Test|Fuzz|Benchmark)([A-Z]{3})([0-9]{2})_`)
)

// checklistItems reads id → status, and what is wrong with the list itself.
func checklistItems(text string) (items map[string]string, wrong []string) {
	items = map[string]string{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		m := item.FindStringSubmatch(line)
		switch {
		case m == nil && itemLike.MatchString(line):
			wrong = append(wrong, fmt.Sprintf("%s:%d: an item without a status", checklist, n))
		case m == nil:
		case items[m[1]] != "":
			wrong = append(wrong, fmt.Sprintf("%s:%d: %s stands twice", checklist, n, m[1]))
		case m[2] != "met" && m[2] != "partly" && m[2] != "later":
			wrong = append(wrong, fmt.Sprintf("%s:%d: %s is %q: met, partly or later", checklist, n, m[1], m[2]))
			items[m[1]] = m[2]
		default:
			items[m[1]] = m[2]
		}
	}
	return items, wrong
}

// testedItems finds the ids in the names of tests, with one place each.
func testedItems(sources []source) map[string]string {
	tested := map[string]string{}
	for _, s := range sources {
		if !s.test {
			continue
		}
		for _, d := range s.ast.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil {
				continue
			}
			if m := named.FindStringSubmatch(f.Name.Name); m != nil {
				tested[m[1]+"-"+m[2]] = s.at(f.Pos())
			}
		}
	}
	return tested
}

// checklistViolations holds the list and the tests against each other.
func checklistViolations(text string, sources []source) []string {
	items, found := checklistItems(text)
	tested := testedItems(sources)
	for _, id := range slices.Sorted(maps.Keys(tested)) {
		if items[id] == "" {
			found = append(found, fmt.Sprintf("%s: the test speaks of %s, which %s does not have", tested[id], id, checklist))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(items)) {
		if items[id] == "met" && tested[id] == "" {
			found = append(found, fmt.Sprintf("%s: %s is met, but no test has it in its name", checklist, id))
		}
	}
	return found
}

func TestChecklist_AndTestsSpeakOfTheSameIDs(t *testing.T) {
	text, err := fs.ReadFile(root(), checklist)
	if err != nil {
		t.Fatal(err)
	}
	items, _ := checklistItems(string(text))
	if len(items) < 90 {
		t.Errorf("only %d requirements were read", len(items))
	}
	report(t, checklistViolations(string(text), parse(t, root())))
}

func TestChecklist_ViolationsAreFound(t *testing.T) {
	for name, tc := range map[string]struct {
		list, test string
		want       []string
	}{
		"met and tested":                {"- **LOC-01** `met` Text.", "func TestLOC01_X() {}", nil},
		"met and fuzzed":                {"- **LOC-01** `met` Text.", "func FuzzLOC01_X() {}", nil},
		"met and not tested":            {"- **LOC-01** `met` Text.", "func TestOther() {}", []string{"LOC-01 is met, but"}},
		"an id inside a name":           {"- **LOC-01** `met` Text.", "func TestXLOC01_X() {}", []string{"LOC-01 is met, but"}},
		"partly and not tested":         {"- **LOC-01** `partly` Text.", "", nil},
		"later and not tested":          {"- **LOC-01** `later` Text.", "", nil},
		"tested and not in the list":    {"- **LOC-01** `later` Text.", "func TestLOC02_X() {}", []string{"speaks of LOC-02"}},
		"a status nobody knows":         {"- **LOC-01** `soon` Text.", "", []string{"met, partly or later"}},
		"no status":                     {"- **LOC-01** Text.", "", []string{checklist + ":1: an item without"}},
		"twice":                         {"- **LOC-01** `later` Text.\n- **LOC-01** `met` Text.", "", []string{"stands twice"}},
		"a helper is no test":           {"- **LOC-01** `met` Text.", "func checkLOC01_X() {}", []string{"LOC-01 is met, but"}},
		"a method of a type is no test": {"- **LOC-01** `met` Text.", "type t int\nfunc (t) TestLOC01_X() {}", []string{"is met, but"}},
	} {
		t.Run(name, func(t *testing.T) {
			sources := planted(t, map[string]string{"x/x_test.go": "package x\n" + tc.test})
			expect(t, checklistViolations(tc.list, sources), tc.want...)
		})
	}
}
