package configs

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// freeNames are the names that a script uses without declaring them: what it takes from its window. It need not tell all
// apart that JavaScript has, only what our scripts are written in.
func freeNames(source string) []string {
	for _, quiet := range []string{`(?m)^\s*//.*$|\s// .*`, `/\^.*?\$/`, `/(?:\\.|[^/\s\\])+/g`, `"[^"\n]*"`, `'(?:[^'\\\n]|\\.)*'`} {
		source = regexp.MustCompile(quiet).ReplaceAllString(source, `""`)
	}
	var inside strings.Builder // of templates only what is computed
	for i, part := range strings.Split(source, "`") {
		if i%2 == 0 {
			inside.WriteString(part)
			continue
		}
		for _, m := range regexp.MustCompile(`\$\{([^}]*)\}`).FindAllStringSubmatch(part, -1) {
			inside.WriteString(" " + m[1] + ";")
		}
	}
	source = inside.String()
	name, declared := regexp.MustCompile(`[A-Za-z_$][\w$]*`), map[string]bool{}
	for _, where := range []string{
		`\b(?:const|let|class)\s+([\w$]+)`, `\b(?:const|let)\s+\{([^}]*)\}`, `\b(?:const|let)\s+([\w$, ]+);`,
		`\(([^()]*)\)\s*=>`, `\b(?:constructor|catch)\s*\(([^()]*)\)`, `([\w$]+)\s*=>`, `new Promise\(\(([^()]*)\)`,
	} {
		for _, m := range regexp.MustCompile(where).FindAllStringSubmatch(source, -1) {
			for _, n := range name.FindAllString(m[1], -1) {
				declared[n] = true
			}
		}
	}
	free := map[string]bool{}
	for _, at := range name.FindAllStringIndex(source, -1) {
		n, before := source[at[0]:at[1]], strings.TrimRight(source[:at[0]], " \n")
		member := strings.HasSuffix(before, ".") && !strings.HasSuffix(before, "...")
		if !declared[n] && !member && !strings.HasPrefix(source[at[1]:], ":") {
			free[n] = true
		}
	}
	return slices.Sorted(maps.Keys(free))
}

func TestNoFurtherNameOfTheFramesScriptIsOneThatTheScriptNeeds(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "web", "embed", "child.js"))
	if err != nil {
		t.Fatal(err)
	}
	names := freeNames(string(raw))
	for _, must := range []string{"TextEncoder", "crypto", "fetch", "URLSearchParams", "AbortSignal", "JSON", "Uint8Array", "decodeURIComponent"} {
		if !slices.Contains(names, must) {
			t.Errorf("the test does not see that the script uses %s", must)
		}
	}
	for _, n := range append(names, "setJWTToken", "SallyportEmbedded") {
		if isFreeGlobal(n) {
			t.Errorf("compat_global: %s would be taken", n)
		}
	}
	for _, n := range []string{"sireninvestigate", "portalEmbedded", "$siren_1"} {
		if !isFreeGlobal(n) {
			t.Errorf("compat_global: %s would not be taken", n)
		}
	}
}
