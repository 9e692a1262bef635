package templates

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"text/template/parse"
)

func static(name string) string { return "/static/" + name }

func english(t *testing.T) catalogue {
	t.Helper()
	raw, err := fs.ReadFile(catalogueFiles, "catalogue/en.json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseCatalogue("en", raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEveryLanguageHasTheSameKeysWithTheSameArguments(t *testing.T) {
	catalogues, err := loadCatalogues(Options{PseudoLocales: true})
	if err != nil {
		t.Fatal(err)
	}
	var languages []string
	for _, c := range catalogues {
		languages = append(languages, c.language)
	}
	if want := []string{"en", "ar-XB", "de", "en-XA"}; !slices.Equal(languages, want) {
		t.Errorf("languages are %v, not %v", languages, want)
	}
}

func TestTheShippedLanguagesHaveNoPseudoLocale(t *testing.T) {
	r, err := New(Options{Static: static})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Languages(); !slices.Equal(got, []string{"en", "de"}) {
		t.Errorf("languages are %v", got)
	}
}

func TestCataloguesFromAFolder(t *testing.T) {
	for name, try := range map[string]struct {
		file, content string
		want          string // part of the error; empty: none
	}{
		"replace a single text": {
			"de.json", `{"login.title": "Guten Tag"}`, "",
		},
		"cannot drop an argument": {
			"de.json", `{"layout.support": "Hilfe"}`, "layout.support has arguments [], not [support]",
		},
		"cannot add an argument": {
			"de.json", `{"login.title": "{x}"}`, "login.title has arguments [x], not []",
		},
		"cannot have a key nobody uses": {
			"de.json", `{"login.titel": "x"}`, "login.titel is not a key",
		},
		"cannot be half a language": {
			"fr.json", `{"login.title": "Connexion"}`, "catalogue fr: login.continue is missing",
		},
		"must be JSON": {
			"de.json", `{`, "catalogue de.json",
		},
		"must have words": {
			"de.json", `{"login.title": ""}`, "the sentence is empty",
		},
		"must have all plural forms": {
			"de.json", `{"me.permissions": {"one": "x"}}`, "plural forms are",
		},
		"must not have a stray brace": {
			"de.json", `{"login.title": "a {B}"}`, "stray brace",
		},
		"must be sentences": {
			"de.json", `{"login.title": 3}`, "neither a sentence nor plural forms",
		},
		"know two directions": {
			"de.json", `{"language.direction": "up"}`, "ltr or rtl",
		},
		"are read from the top only": {
			"x/de.json", `{`, "",
		},
		"cannot lose the count of the plural": {
			"de.json", `{"me.permissions": "viele"}`, "has arguments [], not [count]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Options{
				Static: static, Catalogues: fstest.MapFS{try.file: {Data: []byte(try.content)}},
			})
			switch {
			case try.want == "" && err != nil:
				t.Error(err)
			case try.want != "" && (err == nil || !strings.Contains(err.Error(), try.want)):
				t.Errorf("error is %v, want %q", err, try.want)
			}
		})
	}
}

// use is one place where a sentence is said, with the names of its arguments.
type use struct {
	where, key string
	arguments  []string
}

// templateUses finds .T "key" "name" value … and .Text in the HTML templates.
func templateUses(t *testing.T) []use {
	t.Helper()
	var uses []use
	names, err := fs.Glob(pageFiles, "html/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		raw, err := pageFiles.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		trees, err := parse.Parse(name, string(raw), "", "", map[string]any{
			"and": 0, "or": 0, "not": 0, "eq": 0, "ne": 0, "gt": 0, "len": 0, "index": 0,
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, tree := range trees {
			walk(tree.Root, func(c *parse.CommandNode) {
				if u, ok := said(c); ok {
					u.where = name
					uses = append(uses, u)
				}
			})
		}
	}
	return uses
}

// said reads one command as a use.
func said(c *parse.CommandNode) (use, bool) {
	var fields []string
	switch n := c.Args[0].(type) {
	case *parse.FieldNode:
		fields = n.Ident
	case *parse.VariableNode:
		fields = n.Ident[1:]
	}
	if len(fields) != 1 || (fields[0] != "T" && fields[0] != "Text") || len(c.Args) < 2 {
		return use{}, false
	}
	var u use
	if s, ok := c.Args[1].(*parse.StringNode); ok {
		u.key = s.Text
	}
	for i := 2; i < len(c.Args); i += 2 {
		s, ok := c.Args[i].(*parse.StringNode)
		if !ok {
			return use{key: u.key + " has an argument without a name"}, true
		}
		u.arguments = append(u.arguments, s.Text)
	}
	return u, true
}

func walk(n parse.Node, visit func(*parse.CommandNode)) {
	branch := func(b *parse.BranchNode) {
		walk(b.Pipe, visit)
		walk(b.List, visit)
		if b.ElseList != nil {
			walk(b.ElseList, visit)
		}
	}
	switch n := n.(type) {
	case *parse.ListNode:
		for _, child := range n.Nodes {
			walk(child, visit)
		}
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	case *parse.ActionNode:
		walk(n.Pipe, visit)
	case *parse.TemplateNode:
		if n.Pipe != nil {
			walk(n.Pipe, visit)
		}
	case *parse.PipeNode:
		for _, c := range n.Cmds {
			visit(c)
			for _, a := range c.Args {
				walk(a, visit)
			}
		}
	}
}

// goUses finds say("key", "name", value …) in the Go code, and the other keys that stand there.
func goUses(t *testing.T) []use {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var uses []use
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !isSay(call.Fun) || len(call.Args) == 0 || call.Ellipsis.IsValid() {
				return true
			}
			key, ok := literal(call.Args[0])
			if !ok {
				return true
			}
			u := use{where: name, key: key}
			for i := 1; i < len(call.Args); i += 2 {
				argument, _ := literal(call.Args[i])
				u.arguments = append(u.arguments, argument)
			}
			uses = append(uses, u)
			return true
		})
	}
	return uses
}

// isSay recognises say(…) and s.Text(…), s.T(…).
func isSay(fun ast.Expr) bool {
	switch f := fun.(type) {
	case *ast.Ident:
		return f.Name == "say"
	case *ast.SelectorExpr:
		return f.Sel.Name == "Text" || f.Sel.Name == "T"
	}
	return false
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

func TestEveryTextThatIsSaidExistsAndEveryTextIsSaid(t *testing.T) {
	c := english(t)
	used := map[string]bool{}
	uses := append(templateUses(t), goUses(t)...)
	if len(uses) < 100 {
		t.Fatalf("found only %d uses: the search is broken", len(uses))
	}
	for _, u := range uses {
		text, ok := c.texts[u.key]
		if !ok {
			t.Errorf("%s says %q, which is not in the catalogue", u.where, u.key)
			continue
		}
		used[u.key] = true
		slices.Sort(u.arguments)
		if !slices.Equal(u.arguments, text.arguments()) {
			t.Errorf("%s says %s with %v, not %v", u.where, u.key, u.arguments, text.arguments())
		}
	}
	// Keys that are put together: the parts of errors, months, and what describes a language.
	made := regexp.MustCompile(`^(error\.[a-z_]+\.(title|text|text_bare|advice)|month\.([1-9]|1[0-2])|` +
		`format\.(time|date)|language\.(name|direction)|product\.name)$`)
	for key := range c.texts {
		if !used[key] && !made.MatchString(key) {
			t.Errorf("nobody says %s", key)
		}
	}
}

func TestEveryErrorHasAllItsParts(t *testing.T) {
	c := english(t)
	part := regexp.MustCompile(`^(error\.[a-z_]+)\.(title|text|advice|text_bare)$`)
	for key, text := range c.texts {
		m := part.FindStringSubmatch(key)
		if m == nil {
			continue
		}
		for _, other := range []string{"title", "text", "advice"} {
			if _, ok := c.texts[m[1]+"."+other]; !ok {
				t.Errorf("%s has no %s", m[1], other)
			}
		}
		_, bare := c.texts[m[1]+"."+m[2]+"_bare"]
		if needs := len(text.arguments()) > 0; needs != bare && m[2] != "text_bare" {
			t.Errorf("%s: has arguments %v, but a sentence without them: %v", key, text.arguments(), bare)
		}
		if m[2] == "text_bare" && len(text.arguments()) > 0 {
			t.Errorf("%s has arguments", key)
		}
	}
}

func TestASentenceWithWrongArgumentsIsAnError(t *testing.T) {
	p := &printer{catalogue: english(t)}
	for name, m := range map[string]Message{
		"missing":       say("layout.support"),
		"another":       say("layout.support", "help", "x"),
		"one too many":  say("login.title", "x", "y"),
		"twice":         say("layout.support", "support", "x", "support", "y"),
		"without name":  say("layout.support", 3, "x"),
		"without value": say("layout.support", "support"),
		"unknown":       say("no.such.text"),
	} {
		if got, err := p.html(m); err == nil {
			t.Errorf("%s: %q", name, got)
		}
		if got, err := p.plain(m); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}
