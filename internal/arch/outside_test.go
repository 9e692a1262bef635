package arch

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

var (
	// elsewhere are folders of one machine. (In brackets, so that this line is none.)
	elsewhere = regexp.MustCompile(`/[w]ork/|/[f]arm/|/[h]ome/[a-z]|/[U]sers/|[.][.]/[s]hared|[C]:\\`)
	// document is a document as one names it: in capitals. Each one named must be here.
	document = regexp.MustCompile(`\b[A-Z][A-Z-]{3,}\.md\b`)
)

// outsideViolations finds references to what a reader of the project does not have.
func outsideViolations(t testing.TB, fsys fs.FS) []string {
	t.Helper()
	var found []string
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skipped(name) {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || path.Base(name) == "go.sum" {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return nil // no text
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			if hit := elsewhere.FindString(line); hit != "" {
				found = append(found, fmt.Sprintf("%s:%d: %s is a place outside the project", name, n, hit))
			}
			for _, doc := range document.FindAllString(line, -1) {
				if !exists(fsys, doc, path.Join(path.Dir(name), doc)) {
					found = append(found, fmt.Sprintf("%s:%d: there is no document %s", name, n, doc))
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func exists(fsys fs.FS, names ...string) bool {
	for _, name := range names {
		if _, err := fs.Stat(fsys, name); err == nil {
			return true
		}
	}
	return false
}

func TestOutside_NothingIsReferredToThatIsNotHere(t *testing.T) {
	report(t, outsideViolations(t, root()))
}

func TestOutside_ViolationsAreFound(t *testing.T) {
	for name, tc := range map[string]struct {
		file, text string
		want       []string
	}{
		"a folder of one machine":       {"docs/x.md", "first\nsee /" + "work/main", []string{"docs/x.md:2: /" + "work/"}},
		"somebody's home":               {"x.go", "// /" + "home/alice", []string{"outside the project"}},
		"a folder beside the project":   {"Makefile", "cat ../" + "shared/x", []string{"outside the project"}},
		"a document that is not here":   {"x.go", "// see see HOUSE-RUL" + "ES.md", []string{"there is no document HOUSE"}},
		"a document that is here":       {"x.go", "// see README.md", nil},
		"a document beside its reader":  {"docs/x.md", "see GUIDE" + ".md", nil},
		"a binary":                      {"x.bin", "\x00/" + "work/", nil},
		"what was built is not ours":    {"build/x.txt", "/" + "work/", nil},
		"an ordinary path":              {"docs/x.md", "/var/lib/sallyport and /etc/ssl", nil},
		"a hidden folder is looked at":  {".ci/run", "cd /" + "work/main", []string{"outside the project"}},
		"checksums are not references":  {"go.sum", "/" + "work/", nil},
		"lower case names are ordinary": {"docs/x.md", "see operations.md", nil},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{
				"README.md":          {Data: []byte("readme")},
				"docs/GUIDE" + ".md": {Data: []byte("guide")},
				tc.file:              {Data: []byte(tc.text)},
			}
			expect(t, outsideViolations(t, fsys), tc.want...)
		})
	}
}
