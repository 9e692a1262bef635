// Sallyport is a federated single sign-on broker. This package is the only place that knows everybody: it reads the
// configuration, opens the store and the doors, mounts the surfaces, and offers the command line.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes: 0 fine, 1 a fault, 2 a finding (something was looked for and found wanting).
const (
	exitFault   = 1
	exitFinding = 2
)

// errFinding makes the process end with exitFinding; what was found has been printed.
var errFinding = errors.New("finding")

// cli is the command line.
type cli struct {
	File string `name:"config" short:"c" env:"SALLYPORT_CONFIG" type:"path" help:"Configuration file. Without one, and without ./sallyport.yaml, a small default is used: local accounts, SQLite in ./data."`

	Serve    serveCmd      `cmd:"" help:"Run the broker."`
	Demo     demoCmd       `cmd:"" help:"Run the broker with a directory, an identity provider, people and applications to try."`
	Check    configCmd     `cmd:"" name:"config" help:"Check, print or describe the configuration."`
	Explain  explainCmd    `cmd:"" help:"Say which rule gives somebody which role, and why the others do not."`
	User     userCmd       `cmd:"" help:"Manage people."`
	Session  sessionCmd    `cmd:"" help:"Look at what people are signed in with, and end it."`
	Key      keyCmd        `cmd:"" help:"Manage API keys."`
	Service  serviceCmd    `cmd:"" help:"Manage accounts that only API keys act for."`
	Lockout  lockoutCmd    `cmd:"" help:"Look at who failed to sign in too often, and let them try again."`
	Provider providerCmd   `cmd:"" help:"Look at the configured providers."`
	Signing  signingKeyCmd `cmd:"" name:"signing-key" help:"Look at the keys that tokens are signed with, and change them."`
	Master   masterKeyCmd  `cmd:"" name:"master-key" help:"Look at the key that secrets are sealed with, and change it."`
	Backup   backupCmd     `cmd:"" help:"Write everything in the store into one file, beside a running server."`
	Restore  restoreCmd    `cmd:"" help:"Fill an empty store from a backup."`
	Migrate  migrateCmd    `cmd:"" help:"Look at the schema of the store, and bring it up to date."`
	Version  versionCmd    `cmd:"" help:"Print the version."`
}

// console is what commands talk to; tests put their own in its place.
type console struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) (string, bool)
}

func main() {
	// The standard library's HTTP client tells this logger what servers said unasked, which may be somebody's data (AUD-04).
	log.SetOutput(io.Discard)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], &console{os.Stdin, os.Stdout, os.Stderr, os.LookupEnv})
	stop()
	os.Exit(code)
}

// run is main without the process around it.
func run(ctx context.Context, args []string, c *console) int {
	var flags cli
	parser, err := kong.New(&flags, kong.Name("sallyport"), kong.Description("Federated single sign-on broker."),
		kong.UsageOnError(), kong.Writers(c.out, c.err), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		_, _ = fmt.Fprintln(c.err, "sallyport:", err)
		return exitFault
	}
	command, err := parser.Parse(args)
	if err != nil {
		parser.FatalIfErrorf(err)
		return exitFault
	}
	command.BindTo(ctx, (*context.Context)(nil))
	err = command.Run(c, &flags)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFinding):
		return exitFinding
	default:
		_, _ = fmt.Fprintln(c.err, "sallyport:", err)
		return exitFault
	}
}

type versionCmd struct{}

// Run prints the version the binary was built from.
func (versionCmd) Run(c *console) error {
	_, err := fmt.Fprintln(c.out, "sallyport", version())
	return err
}

// version is the module version, or the commit the binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (v == "" || v == "(devel)") {
			v = s.Value
		}
	}
	if v == "" {
		v = "(devel)"
	}
	return v + " " + info.GoVersion
}
