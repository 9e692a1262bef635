package providers

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadFile_TakesFilesUpToTheirBound(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f", file} {
		if data, err := ReadFile(dir, name, 5); err != nil || string(data) != "12345" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if data, err := ReadFile(dir, "f", 4); err == nil || !strings.Contains(err.Error(), "longer than 4") || data != nil {
		t.Errorf("past the bound: %q, %v", data, err)
	}
	if _, err := ReadFile(dir, "none", 5); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := ReadFile(dir, ".", 5); err == nil {
		t.Error("a folder was read")
	}
}

func TestReadRoots_AnEmptyNameMeansTheSystemsAndAnEmptyFileIsAMistake(t *testing.T) {
	dir := t.TempDir()
	if roots, err := ReadRoots(dir, ""); roots != nil || err != nil {
		t.Errorf("got %v, %v", roots, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "empty"), []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"empty", "none"} {
		if roots, err := ReadRoots(dir, name); roots != nil || err == nil {
			t.Errorf("%s: got %v, %v", name, roots, err)
		}
	}
}
