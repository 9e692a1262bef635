package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// module is our own import path.
const module = "sallyport"

// source is one parsed Go file.
type source struct {
	name string // from the root, with slashes
	dir  string // its package's path below the module; "." is the root
	test bool   // a _test.go file
	fset *token.FileSet
	ast  *ast.File
}

// at says where something stands, for people.
func (s source) at(p token.Pos) string { return fmt.Sprintf("%s:%d", s.name, s.fset.Position(p).Line) }

// imports lists the imported paths with their positions.
func (s source) imports() map[string]token.Pos {
	paths := map[string]token.Pos{}
	for _, spec := range s.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths[p] = spec.Pos()
		}
	}
	return paths
}

// skipped are folders that hold nothing of ours.
func skipped(name string) bool {
	base := path.Base(name)
	return name == "build" || name == "data" || base == ".git" || base == "node_modules" || base == "vendor"
}

// parse reads every Go file of the module: nested modules and testdata are not part of it.
func parse(t testing.TB, fsys fs.FS) []source {
	t.Helper()
	var sources []source
	fset := token.NewFileSet()
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, nested := fs.Stat(fsys, path.Join(name, "go.mod"))
			if skipped(name) || path.Base(name) == "testdata" || (name != "." && nested == nil) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		sources = append(sources, source{
			name: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), fset: fset, ast: file,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

// root is the project.
func root() fs.FS { return os.DirFS("../..") }

// planted makes sources out of text, to see that a rule bites.
func planted(t testing.TB, files map[string]string) []source {
	t.Helper()
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return parse(t, m)
}

// report fails with one line for each violation.
func report(t *testing.T, violations []string) {
	t.Helper()
	for _, v := range violations {
		t.Error(v)
	}
}

// expect compares the violations found in planted sources: each must begin with its place and hold its words.
func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d violations, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i, words := range want {
		if !strings.Contains(got[i], words) {
			t.Errorf("violation %q does not say %q", got[i], words)
		}
	}
}

func TestTree_IsReadAtAll(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range parse(t, root()) {
		seen[s.dir] = true
	}
	for _, dir := range []string{"identity", "providers", "broker", "broker/people", "broker/sessions", "internal/arch"} {
		if !seen[dir] {
			t.Errorf("no Go file found in %s: the other tests here would see nothing", dir)
		}
	}
}
