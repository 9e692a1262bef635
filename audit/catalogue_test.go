package audit

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const page = "../docs/security/audit-events.md"

// declaredTypes reads the values of the constants of type Type from the source, so that a constant which nobody added to
// Types is noticed.
func declaredTypes(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Type" {
			return true
		}
		for _, v := range spec.Values {
			text, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, text)
		}
		return true
	})
	return found
}

// rows returns the first column of the table below a heading of the page.
func rows(t *testing.T, heading string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no heading %q", page, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var names []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| \\S").FindAllStringSubmatch(section, -1) {
		names = append(names, m[1])
	}
	return names
}

func typesAsTexts() []string {
	var all []string
	for _, typ := range Types() {
		all = append(all, string(typ))
	}
	return all
}

func TestCatalogue_TypesListsEveryConstant(t *testing.T) {
	if diff := cmp.Diff(declaredTypes(t), typesAsTexts()); diff != "" {
		t.Errorf("constants (-) and Types (+) differ:\n%s", diff)
	}
}

func TestCatalogue_NoTypeStandsTwice(t *testing.T) {
	all := typesAsTexts()
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("a type stands twice: %v", all)
	}
}

func TestCatalogue_ThePageExplainsEveryTypeAndNoOther(t *testing.T) {
	if diff := cmp.Diff(typesAsTexts(), rows(t, "The catalogue")); diff != "" {
		t.Errorf("code (-) and %s (+) differ:\n%s", page, diff)
	}
}

func TestCatalogue_ThePageExplainsEveryFieldAndNoOther(t *testing.T) {
	var fields []string
	event := reflect.TypeFor[Event]()
	for i := range event.NumField() {
		name, _, _ := strings.Cut(event.Field(i).Tag.Get("json"), ",")
		fields = append(fields, name)
	}
	if diff := cmp.Diff(fields, rows(t, "Fields")); diff != "" {
		t.Errorf("code (-) and %s (+) differ:\n%s", page, diff)
	}
}
