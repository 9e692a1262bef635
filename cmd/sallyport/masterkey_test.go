package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/storage"
)

// TestSTO02_AKeyThatIsNotTakenIsToldEveryMinute: also one that fits no longer although its file looks unchanged, as one
// does that is mounted by itself.
func TestSTO02_AKeyThatIsNotTakenIsToldEveryMinute(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	if _, err := storage.GenerateMasterKey(path); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	var wrong error
	w := &keyWatch{file: storage.KeyFile{Path: path}}
	look := func(times int) (told, changed int) {
		text.Reset()
		for range times {
			w.look(t.Context(), log, func(context.Context, *storage.MasterKey) error { return wrong })
		}
		return strings.Count(text.String(), "level=ERROR"), strings.Count(text.String(), "master key changed")
	}
	if told, changed := look(5 * looksAgain); told+changed != 0 {
		t.Fatalf("%d errors, %d changes of a file that stayed: %s", told, changed, text.String())
	}
	wrong = errors.New("does not fit")
	if told, _ := look(3 * looksAgain); told != 3 {
		t.Fatalf("told %d times in three minutes: %s", told, text.String())
	}
	wrong = nil
	if told, changed := look(looksAgain); told+changed != 0 {
		t.Fatalf("%d errors, %d changes after it was put right: %s", told, changed, text.String())
	}
	if _, err := storage.ChangeMasterKey(path, (*storage.MasterKey).Add); err != nil {
		t.Fatal(err)
	}
	if told, changed := look(2 * looksAgain); told != 0 || changed != 1 {
		t.Fatalf("%d errors, %d changes: %s", told, changed, text.String())
	}
}
