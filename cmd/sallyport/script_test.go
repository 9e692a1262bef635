package main

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/internal/testenv"
)

// TestMain lets the stories run this very binary as "sallyport".
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sallyport": main})
}

// TestStories runs testdata/script/*.txtar: what an administrator types, and what comes back.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireUniqueNames: true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"waitfor": waitFor},
	})
}

// waitFor waits until a file is there and not empty.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfor FILE")
	}
	err := testenv.Eventually(20*time.Second, nil, func() error {
		info, err := os.Stat(ts.MkAbs(args[0]))
		if err == nil && info.Size() == 0 {
			err = errors.New("still empty")
		}
		return err
	})
	if err != nil {
		ts.Fatalf("waitfor %s: %v", args[0], err)
	}
}
