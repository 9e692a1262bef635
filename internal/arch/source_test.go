package arch

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

// drawers are package names that say nothing about what is inside.
var drawers = []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "lib"}

// sourceViolations finds what no file may do.
func sourceViolations(sources []source) []string {
	var found []string
	for _, s := range sources {
		name := strings.TrimSuffix(s.ast.Name.Name, "_test")
		if slices.Contains(drawers, name) || slices.Contains(drawers, path.Base(s.dir)) {
			found = append(found, fmt.Sprintf("%s: a package called %s is a drawer for everything: name what it owns",
				s.at(s.ast.Package), name))
		}
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				found = append(found, s.at(f.Pos())+": init() acts behind the reader's back: call it from cmd")
			}
		}
		found = append(found, sleeps(s)...)
	}
	return found
}

// sleeps finds time.Sleep: in a test it is slow and still fails on a busy machine, in a server it cannot be ended.
func sleeps(s source) []string {
	name := importName(s, "time")
	if name == "" {
		return nil
	}
	var found []string
	ast.Inspect(s.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "Sleep" {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == name {
			found = append(found, s.at(n.Pos())+": time.Sleep: wait for the thing itself")
		}
		return true
	})
	return found
}

// importName is what a package of the standard library is called in this file, "" where it is not imported.
func importName(s source, imported string) string {
	for _, spec := range s.ast.Imports {
		if spec.Path.Value != fmt.Sprintf("%q", imported) {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(imported)
	}
	return ""
}

func TestSource_NoFileDoesWhatNoneMay(t *testing.T) {
	report(t, sourceViolations(parse(t, root())))
}

func TestSource_ViolationsAreFound(t *testing.T) {
	for name, tc := range map[string]struct {
		file, text string
		want       []string
	}{
		"an init function": {"web/x.go", "package web\nfunc init() {}", []string{"web/x.go:2: init()"}},
		"one in a test":    {"web/x_test.go", "package web\nfunc init() {}", []string{"init()"}},
		"a method of that name": {
			"web/x.go", "package web\ntype x struct{}\nfunc (x) init() {}", nil,
		},
		"a drawer":                     {"web/utils/x.go", "package utils", []string{"called utils"}},
		"a drawer's outside test":      {"web/helpers/x_test.go", "package helpers_test", []string{"called helpers"}},
		"a drawer under another name":  {"web/common/x.go", "package web", []string{"drawer"}},
		"a sleep in a test":            {"web/x_test.go", "package web\nimport \"time\"\nvar _ = time.Sleep", []string{"web/x_test.go:3: time.Sleep"}},
		"a sleep under another name":   {"web/x.go", "package web\nimport clock \"time\"\nfunc f() { clock.Sleep(1) }", []string{"time.Sleep"}},
		"something else called Sleep":  {"web/x.go", "package web\nimport \"time\"\nvar _ time.Time\nfunc f() { cat.Sleep() }", nil},
		"nothing":                      {"web/x.go", "package web", nil},
		"a nested module is not ours":  {"tools/util/x.go", "package util\nfunc init() {}", nil},
		"testdata is not ours":         {"web/testdata/x.go", "package util\nfunc init() {}", nil},
		"what was built is not ours":   {"build/x.go", "package util\nfunc init() {}", nil},
		"a name that holds a drawer's": {"web/libel/x.go", "package libel", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := sourceViolations(planted(t, map[string]string{
				tc.file: tc.text, "go.mod": "module sallyport", "tools/go.mod": "module tools",
			}))
			expect(t, got, tc.want...)
		})
	}
}
