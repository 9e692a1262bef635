package embed_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sallyport/broker"
	"sallyport/internal/testenv"
)

// snippet is the block of a language in the documentation, made to sign for this house.
func snippet(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "developer", "embedding.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindStringSubmatch(string(page))
	if m == nil {
		t.Fatalf("the documentation has nothing in %s", language)
	}
	return strings.NewReplacer(
		"https://portal.example.org", "https://portal.example", "https://sso.example.com", "https://sso.corp.test", `"2026"`, `"one"`,
	).Replace(m[1])
}

func TestWhatTheDocumentationSignsIsTaken(t *testing.T) {
	challenge := broker.Challenge("secret")
	goRest := `func main() {
	key, _ := base64.StdEncoding.DecodeString(os.Getenv("PORTAL_KEY"))
	token, err := mint(key, "u-1", "Ada Example", []string{"operator"}, "app", "` + challenge + `")
	fmt.Print(token, err)
}
`
	const goHead = `package main
import ("crypto/hmac"; "crypto/rand"; "crypto/sha256"; "encoding/base64"; "encoding/json"; "fmt"; "os"; "time")
`
	for language, c := range map[string]struct {
		program         []string
		file, head, end string
	}{
		"go":     {[]string{"go", "run"}, "main.go", goHead, goRest},
		"js":     {[]string{"node"}, "mint.mjs", "", `console.log(mint({ id: "u-1", name: "Ada Example", roles: ["operator"] }, "app", "` + challenge + `"));`},
		"python": {[]string{"python3"}, "mint.py", "", `print(mint({"id": "u-1", "name": "Ada Example", "roles": ["operator"]}, "app", "` + challenge + `"))`},
	} {
		t.Run(language, func(t *testing.T) {
			h := newHouse(t, nil)
			testenv.Need(t, c.program[0], c.program[0])
			file := filepath.Join(t.TempDir(), c.file)
			if err := os.WriteFile(file, []byte(c.head+snippet(t, language)+c.end), 0o600); err != nil {
				t.Fatal(err)
			}
			run := exec.CommandContext(t.Context(), c.program[0], append(c.program[1:], file)...)
			run.Env = append(os.Environ(), "PORTAL_KEY="+base64.StdEncoding.EncodeToString(key))
			out, err := run.Output()
			if err != nil {
				t.Fatal(err)
			}
			token := strings.TrimSuffix(strings.TrimSpace(string(out)), "<nil>")
			stolen, _ := json.Marshal(map[string]any{"jwt": token, "origin": h.at(portalHost, ""), "verifier": "secret"})
			h.ask(http.MethodPost, h.at("shared.corp.test", base+"session?application=one"), string(stolen)).
				problem(http.StatusUnauthorized, "jwt_claim")
			h.post(map[string]any{"jwt": token, "origin": h.at(portalHost, "")}).problem(http.StatusUnauthorized, "jwt_claim")
			h.post(map[string]any{"jwt": token, "origin": h.at(portalHost, ""), "verifier": "secret"}).ok(http.StatusOK)
		})
	}
}

func TestEveryCodeOfTheScriptsIsInTheDocumentation(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "developer", "embedding.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"child.js", "parent.js"} {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?:EmbedError|fail|failed)\(\s*"([A-Z_]+)"`).FindAllStringSubmatch(string(source), -1) {
			if m[1] != "FAILED" && !strings.Contains(string(page), "`"+m[1]+"`") {
				t.Errorf("%s: %s is explained nowhere", name, m[1])
			}
		}
	}
}
