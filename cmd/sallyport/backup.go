package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"time"

	"golang.org/x/term"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/configs"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlstore"
)

// keptStore is what a store of either engine can do beside serving.
type keptStore interface {
	broker.Store
	Backup(ctx context.Context, w io.Writer) (sqlstore.BackupInfo, error)
	Restore(ctx context.Context, r io.Reader, actor string) (sqlstore.Restored, error)
	Reseal(ctx context.Context, batch int) (int, error)
	SealedWith(ctx context.Context) (map[storage.KeyID]int, error)
	UseMasterKey(ctx context.Context, key *storage.MasterKey) error
}

// openKept opens the store without a house around it: what keeps providers or rules from loading does not keep anybody
// from a backup.
func openKept(ctx context.Context, config *configs.Config) (keptStore, error) {
	store, err := openStore(ctx, config, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	kept, ok := store.(keptStore)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a store of %T cannot be backed up", store), store.Close())
	}
	return kept, nil
}

// withKept runs a command on the configured store, beside a running server or without one. It makes no store.
func withKept(ctx context.Context, config *configs.Config, do func(s keptStore) error) error {
	empty, err := emptyStore(ctx, config)
	if err != nil {
		return err
	}
	if empty {
		return fmt.Errorf("there is no store at %s yet; sallyport serve makes it", storePlace(config))
	}
	s, err := openKept(ctx, config)
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.Close())
}

// record writes an audit event of the command line.
func record(ctx context.Context, s broker.Store, t audit.Type, detail map[string]string) error {
	return s.Update(ctx, func(tx broker.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		return tx.Append(ctx, audit.Event{Type: t, At: now, Outcome: audit.Success, Actor: actor, Detail: detail})
	})
}

type backupCmd struct {
	Target string `arg:"" name:"file" help:"File to write; there must not be one yet. - is standard output."`
}

// Run writes the backup and says what is not in it.
func (b backupCmd) Run(ctx context.Context, c *console, flags *cli) error {
	config, _, err := readConfig(c, flags.File)
	if err != nil {
		return err
	}
	return withKept(ctx, config, func(s keptStore) error {
		var info sqlstore.BackupInfo
		write := func(w io.Writer) (err error) {
			if info, err = s.Backup(ctx, w); err != nil {
				return err
			}
			return record(ctx, s, audit.StoreBackedUp, map[string]string{
				"made_at": info.MadeAt.UTC().Format(time.RFC3339), "rows": strconv.FormatInt(info.Total(), 10),
			})
		}
		if err := b.to(c, write); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.err, "%d rows, as of %s.\nThe master key is NOT in the backup, and nobody can restore it "+
			"without: keep a copy of %s,\nin another place than backups.\n", info.Total(), info.MadeAt.UTC().Format(time.RFC3339),
			keyPlace(config))
		return err
	})
}

// to has the backup written where it was asked for.
func (b backupCmd) to(c *console, write func(w io.Writer) error) error {
	if b.Target == "-" {
		if f, ok := c.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return errors.New("a backup is no text for a terminal: name a file, or send it somewhere with a pipe")
		}
		return write(c.out)
	}
	err := storage.WriteNew(b.Target, write)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists; a backup never takes the place of another", b.Target)
	}
	return err
}

// keyPlace says where a configuration has its master key, for people to read.
func keyPlace(config *configs.Config) string {
	if file := config.MasterKeyFile(); file != "" {
		return file
	}
	return config.Storage.MasterKey.Reference()
}

type restoreCmd struct {
	Source string `arg:"" name:"file" help:"A backup."`
	Check  bool   `help:"Prove that the backup is whole and fits the master key, and write nothing."`
}

// Run proves the backup with the key before a store is made for it: a store that took a wrong key would keep it.
func (r restoreCmd) Run(ctx context.Context, c *console, flags *cli) error {
	config, _, err := readConfig(c, flags.File)
	if err != nil {
		return err
	}
	key, err := presentKey(config)
	if err != nil {
		return err
	}
	f, err := os.Open(r.Source)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := sqlstore.CheckBackup(f, key)
	if err != nil {
		return unfit(r.Source, err)
	}
	if r.Check {
		_, err = fmt.Fprintf(c.out, "%s is whole: %d rows, as of %s, schema %d.\n", r.Source, info.Total(),
			info.MadeAt.UTC().Format(time.RFC3339), info.Schema)
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	done, err := restoreInto(ctx, config, f)
	if err != nil {
		return unfit(r.Source, err)
	}
	return report(c, config, done)
}

func restoreInto(ctx context.Context, config *configs.Config, r io.Reader) (done sqlstore.Restored, err error) {
	s, err := openKept(ctx, config)
	if err != nil {
		return done, err
	}
	done, err = s.Restore(ctx, r, actor)
	if errors.Is(err, identity.ErrConflict) {
		err = fmt.Errorf("%s: %w", storePlace(config), err)
	}
	return done, errors.Join(err, s.Close())
}

// presentKey reads the master key and never makes one: a new one could not open what is in a backup.
func presentKey(config *configs.Config) (*storage.MasterKey, error) {
	file := config.MasterKeyFile()
	if file == "" {
		return storage.ParseMasterKey(config.Storage.MasterKey.Reveal())
	}
	key, err := storage.LoadMasterKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no master key at %s: put the one there that the backup's house had", file)
	}
	return key, err
}

// unfit says in words why a backup cannot be used.
func unfit(file string, err error) error {
	if errors.Is(err, sqlstore.ErrWrongMasterKey) {
		return fmt.Errorf("%s was made with another master key, or by somebody else: %w", file, err)
	}
	return fmt.Errorf("%s: %w", file, err)
}

// report says what was not let live on, and what to do now.
func report(c *console, config *configs.Config, done sqlstore.Restored) error {
	_, err := fmt.Fprintf(c.out, `restored %d rows, as of %s, into %s
ended: %d sessions, %d one-use codes, %d refresh tokens, %d API keys that were never confirmed
suspended: %d API keys
dropped: %d signing keys

Everybody signs in again. API keys open nothing until an administrator has looked at each of them
and activates it: sallyport key activate ID.
New signing keys are made when a server starts. Whoever has a copy of a shared one needs the new one.
People who were disabled, and rights that were taken away, after %[2]s are as they were then:
do it again.
`, done.Total(), done.MadeAt.UTC().Format(time.RFC3339), storePlace(config), done.SessionsEnded, done.CodesSpent,
		done.TokensDropped, done.KeysEnded, done.KeysSuspended, done.SigningKeysDropped)
	if err != nil || len(done.PinnedKeys) == 0 {
		return err
	}
	return reportPinned(c, done)
}

// reportPinned names the keys that sign as before, whatever happened to them since.
func reportPinned(c *console, done sqlstore.Restored) error {
	_, _ = fmt.Fprintf(c.out, "\nThese signing keys of pinned applications are in force again, because copies of them are in use.\n"+
		"Withdraw each that was revoked after %s, before a server starts:\n", done.MadeAt.UTC().Format(time.RFC3339))
	for _, k := range done.PinnedKeys {
		_, err := fmt.Fprintf(c.out, "  sallyport signing-key revoke %s   # %s, %s\n", k.ID, k.Application, k.State)
		if err != nil {
			return err
		}
	}
	return nil
}
