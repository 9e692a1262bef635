package testenv

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// XMLSec1 runs xmlsec1, the XML Security Library's command, in a folder with these files, and returns what it prints: the
// document it made. A failure fails the test. Where it is not installed the test is skipped, see Missing.
func XMLSec1(t testing.TB, files map[string][]byte, args ...string) []byte {
	t.Helper()
	program := Need(t, "xmlsec1", "xmlsec1")[0]
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), program, args...) //nolint:gosec // test peers only
	var complaints bytes.Buffer
	cmd.Dir, cmd.Stderr = dir, &complaints
	made, err := cmd.Output()
	if err != nil {
		t.Fatalf("xmlsec1 %v: %v\n%s", args, err, complaints.String())
	}
	return made
}
