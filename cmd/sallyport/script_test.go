package main

import (
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
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"eventually": eventually},
	})
}

// eventually runs a command until it succeeds.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: eventually COMMAND …")
	}
	if err := testenv.Eventually(30*time.Second, nil, func() error { return ts.Exec(args[0], args[1:]...) }); err != nil {
		ts.Fatalf("%v: %v", args, err)
	}
}
