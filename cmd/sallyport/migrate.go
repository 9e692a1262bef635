package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"text/tabwriter"
	"time"

	"sallyport/configs"
	"sallyport/storage/migrations"
	"sallyport/storage/postgres"
	"sallyport/storage/sqlite"
)

type migrateCmd struct {
	Status migrateStatusCmd `cmd:"" help:"List the steps of the schema: applied and waiting. Exit code 2: some wait."`
	Up     migrateUpCmd     `cmd:"" help:"Apply the steps that wait. A server does so by itself when it starts."`
}

// storeSteps lists the migrations of the configured store without changing anything.
func storeSteps(ctx context.Context, config *configs.Config) ([]migrations.Step, error) {
	if config.Storage.Postgres.URL.IsSet() {
		return postgres.Steps(ctx, config.Storage.Postgres.URL.Reveal())
	}
	return sqlite.Steps(ctx, config.File(config.Storage.SQLite.Path))
}

// existingSteps is storeSteps for commands that make no store.
func existingSteps(ctx context.Context, config *configs.Config) ([]migrations.Step, error) {
	empty, err := emptyStore(ctx, config)
	if err != nil {
		return nil, err
	}
	if empty {
		return nil, fmt.Errorf("there is no store at %s yet; sallyport serve makes it", storePlace(config))
	}
	return storeSteps(ctx, config)
}

type migrateStatusCmd struct{}

// Run only looks.
func (migrateStatusCmd) Run(ctx context.Context, c *console, flags *cli) error {
	config, _, err := readConfig(c, flags.File)
	if err != nil {
		return err
	}
	steps, err := existingSteps(ctx, config)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "STEP\tAPPLIED\tNAME")
	for _, s := range steps {
		applied, name := s.AppliedAt.Format(time.RFC3339), s.Name
		if s.Pending() {
			applied = "waits"
		}
		if s.Newer() {
			name = "(newer than this version)"
		}
		_, _ = fmt.Fprintf(table, "%d\t%s\t%s\n", s.Version, applied, name)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if pending(steps) > 0 {
		return errFinding
	}
	return nil
}

func pending(steps []migrations.Step) int {
	n := 0
	for _, s := range steps {
		if s.Pending() {
			n++
		}
	}
	return n
}

type migrateUpCmd struct{}

// Run opens the store, which brings it up to date under the engine's lock.
func (migrateUpCmd) Run(ctx context.Context, c *console, flags *cli) error {
	config, _, err := readConfig(c, flags.File)
	if err != nil {
		return err
	}
	before, err := existingSteps(ctx, config)
	if err != nil {
		return err
	}
	store, err := openStore(ctx, config, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	after, err := storeSteps(ctx, config)
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "applied %d steps, %d wait\n", pending(before)-pending(after), pending(after))
	return err
}
