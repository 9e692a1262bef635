package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"sallyport/audit"
	"sallyport/configs"
	"sallyport/storage"
)

const (
	// resealBatch is how many values are sealed again in one transaction: so few that sign-ins do not wait for it.
	resealBatch = 100
	// resealRounds bounds how often values are looked for that servers sealed with the old key meanwhile.
	resealRounds = 3
	// looksAgain is after how many looks, each 5 s apart, a server holds an unchanged key against the store again, and
	// repeats what it cannot take: a file that a mount hides from it looks unchanged for ever.
	looksAgain = 12
)

type masterKeyCmd struct {
	Status  masterKeyStatusCmd  `cmd:"" help:"List the keys, and how many values each of them sealed."`
	Rotate  masterKeyRotateCmd  `cmd:"" help:"Change over to a new key while servers run: add, promote, reseal, drop-old."`
	Add     masterKeyAddCmd     `cmd:"" help:"Add a new key that opens, but does not seal yet."`
	Promote masterKeyPromoteCmd `cmd:"" help:"Seal with the newest key from now on."`
	Reseal  masterKeyResealCmd  `cmd:"" help:"Seal with the present key what older ones sealed."`
	DropOld masterKeyDropCmd    `cmd:"" name:"drop-old" help:"Remove the keys that nothing in the store needs any more."`
}

// withKeyFile runs a command on the configured store and the file that has its master key.
func withKeyFile(ctx context.Context, c *console, flags *cli, do func(s keptStore, file string) error) error {
	config, _, err := readConfig(c, flags.File)
	if err != nil {
		return err
	}
	file, err := keyFileOf(config)
	if err != nil {
		return err
	}
	return withKept(ctx, config, func(s keptStore) error { return do(s, file) })
}

func keyFileOf(config *configs.Config) (string, error) {
	if file := config.MasterKeyFile(); file != "" {
		return file, nil
	}
	return "", fmt.Errorf("the master key comes from %s, which no command can change: put it into a file, change it there "+
		"with storage.master_key naming the file, and put the file's content back", config.Storage.MasterKey.Reference())
}

// newest is the key that was added last, and whether it is the one that seals.
func newest(key *storage.MasterKey) (storage.KeyInfo, error) {
	keys, err := key.Keys()
	if err != nil {
		return storage.KeyInfo{}, err
	}
	return keys[len(keys)-1], nil
}

// sealing is the key that seals.
func sealing(key *storage.MasterKey) (storage.KeyID, error) {
	keys, err := key.Keys()
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(keys, func(k storage.KeyInfo) bool { return k.Primary })
	if i < 0 {
		return 0, errors.New("the master key has no key that seals")
	}
	return keys[i].ID, nil
}

type masterKeyStatusCmd struct{}

// Run needs no file: a key from the environment has a state too.
func (masterKeyStatusCmd) Run(ctx context.Context, c *console, flags *cli) error {
	config, _, err := readConfig(c, flags.File)
	if err != nil {
		return err
	}
	key, err := presentKey(config)
	if err != nil {
		return err
	}
	keys, err := key.Keys()
	if err != nil {
		return err
	}
	return withKept(ctx, config, func(s keptStore) error {
		counts, err := s.SealedWith(ctx)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "KEY ID\tSTATE\tVALUES")
		for _, k := range keys {
			state := "opens"
			if k.Primary {
				state = "seals"
			}
			_, _ = fmt.Fprintf(table, "%s\t%s\t%d\n", k.ID, state, counts[k.ID])
			delete(counts, k.ID)
		}
		for _, id := range slices.Sorted(maps.Keys(counts)) {
			_, _ = fmt.Fprintf(table, "%s\tmissing\t%d\n", id, counts[id])
		}
		if err := table.Flush(); err != nil {
			return err
		}
		if len(counts) > 0 {
			return errFinding
		}
		return nil
	})
}

type masterKeyAddCmd struct {
	From string `placeholder:"FILE" help:"Bring back the keys of this file instead, to open what they sealed."`
}

// Run changes the file alone.
func (a masterKeyAddCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withKeyFile(ctx, c, flags, func(_ keptStore, file string) error {
		if a.From != "" {
			return addOld(c, file, a.From)
		}
		if _, err := addKey(c, file); err != nil {
			return err
		}
		return next(c, "promote")
	})
}

// addOld brings keys back that were dropped.
func addOld(c *console, file, from string) error {
	former, err := storage.LoadMasterKey(from)
	if err != nil {
		return err
	}
	added := 0
	_, err = storage.ChangeMasterKey(file, func(key *storage.MasterKey) (*storage.MasterKey, error) {
		made, err := key.AddOld(former)
		if err != nil {
			return nil, err
		}
		before, err1 := key.Keys()
		after, err2 := made.Keys()
		added = len(after) - len(before)
		return made, errors.Join(err1, err2)
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(c.out, "added %d keys of %s to %s; they open, and seal nothing\n", added, from, file)
	return next(c, "reseal")
}

// next names the command that follows.
func next(c *console, command string) error {
	_, err := fmt.Fprintf(c.out, "next, when every server has read the file: sallyport master-key %s\n", command)
	return err
}

func addKey(c *console, file string) (*storage.MasterKey, error) {
	key, err := storage.ChangeMasterKey(file, (*storage.MasterKey).Add)
	if err != nil {
		return nil, err
	}
	added, err := newest(key)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(c.out, "added key %s to %s; it seals nothing yet\n", added.ID, file)
	return key, err
}

type masterKeyPromoteCmd struct{}

// Run changes the file alone.
func (masterKeyPromoteCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withKeyFile(ctx, c, flags, func(_ keptStore, file string) error {
		if _, err := promoteKey(c, file); err != nil {
			return err
		}
		return next(c, "reseal")
	})
}

func promoteKey(c *console, file string) (*storage.MasterKey, error) {
	key, err := storage.ChangeMasterKey(file, (*storage.MasterKey).Promote)
	if err != nil {
		return nil, err
	}
	id, err := sealing(key)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(c.out, "key %s seals from now on\n", id)
	return key, err
}

type masterKeyResealCmd struct{}

// Run works beside servers.
func (masterKeyResealCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withKeyFile(ctx, c, flags, func(s keptStore, file string) error {
		key, err := storage.LoadMasterKey(file)
		if err != nil {
			return err
		}
		return reseal(ctx, c, s, key)
	})
}

// reseal seals everything with the key that seals, and leaves an audit event when there was something to do. What
// servers that have not read the key yet seal meanwhile is looked for again.
func reseal(ctx context.Context, c *console, s keptStore, key *storage.MasterKey) error {
	id, err := sealing(key)
	if err != nil {
		return err
	}
	total := 0
	for range resealRounds {
		n, err := s.Reseal(ctx, resealBatch)
		total += n
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
	}
	if total > 0 {
		err := record(ctx, s, audit.MasterKeyResealed, map[string]string{"values": strconv.Itoa(total), "key": id.String()})
		if err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(c.out, "sealed %d values with key %s\n", total, id)
	return err
}

type masterKeyDropCmd struct{}

// Run refuses while anything needs an old key.
func (masterKeyDropCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withKeyFile(ctx, c, flags, func(s keptStore, file string) error { return dropOld(ctx, c, s, file) })
}

func dropOld(ctx context.Context, c *console, s keptStore, file string) error {
	dropped := 0
	_, err := storage.ChangeMasterKey(file, func(key *storage.MasterKey) (*storage.MasterKey, error) {
		counts, err := s.SealedWith(ctx)
		if err != nil {
			return nil, err
		}
		id, err := sealing(key)
		if err != nil {
			return nil, err
		}
		delete(counts, id)
		waiting := 0
		for _, n := range counts {
			waiting += n
		}
		if waiting > 0 {
			return nil, fmt.Errorf("%d values are sealed with old keys: sallyport master-key reseal", waiting)
		}
		keys, err := key.Keys()
		dropped = len(keys) - 1
		if err != nil {
			return nil, err
		}
		return key.DropOld()
	})
	if err != nil {
		return err
	}
	if dropped == 0 {
		_, err = fmt.Fprintln(c.out, "dropped 0 old keys")
		return err
	}
	kept, err := storage.OldKeyFile(file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "dropped %d old keys; they are kept in %s.\nDestroy that file when every server has said "+
		"\"master key changed\", sallyport master-key status shows\nnothing missing a day later, and no backup is left that "+
		"was made with them.\n", dropped, kept)
	return err
}

type masterKeyRotateCmd struct {
	Wait   time.Duration `default:"15s" help:"How long servers get to read a changed file; they look every 5 s. 0s when none runs."`
	Shared bool          `help:"With PostgreSQL: every node reads this very file. Without, each node has to be given the key in steps."`
}

// Run goes on where an earlier one was interrupted.
func (r masterKeyRotateCmd) Run(ctx context.Context, c *console, flags *cli) error {
	config, _, err := readConfig(c, flags.File)
	if err != nil {
		return err
	}
	if config.Storage.Postgres.URL.IsSet() && !r.Shared {
		return errors.New("several nodes may work on this store: with --shared when all of them read this very file, " +
			"otherwise add, promote, reseal and drop-old one after the other")
	}
	return withKeyFile(ctx, c, flags, func(s keptStore, file string) error { return r.rotate(ctx, c, s, file) })
}

func (r masterKeyRotateCmd) rotate(ctx context.Context, c *console, s keptStore, file string) error {
	key, err := storage.LoadMasterKey(file)
	if err != nil {
		return err
	}
	keys, err := key.Keys()
	if err != nil {
		return err
	}
	if len(keys) == 1 {
		if key, err = addKey(c, file); err != nil {
			return err
		}
	} else {
		_, _ = fmt.Fprintln(c.out, "going on with a change that was begun earlier")
	}
	last, err := newest(key)
	if err != nil {
		return err
	}
	if !last.Primary {
		if err := r.wait(ctx, c); err != nil {
			return err
		}
		if key, err = promoteKey(c, file); err != nil {
			return err
		}
	}
	// A server that still seals with the old key would seal what nobody can open once that is gone.
	if err := r.wait(ctx, c); err != nil {
		return err
	}
	if err := s.UseMasterKey(ctx, key); err != nil {
		return err
	}
	if err := reseal(ctx, c, s, key); err != nil {
		return err
	}
	return dropOld(ctx, c, s, file)
}

// wait gives servers the time to read the file.
func (r masterKeyRotateCmd) wait(ctx context.Context, c *console) error {
	if r.Wait <= 0 {
		return nil
	}
	_, _ = fmt.Fprintf(c.out, "waiting %s for servers to read the file\n", r.Wait)
	timer := time.NewTimer(r.Wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w; nothing is lost, run it again to go on", ctx.Err())
	case <-timer.C:
		return nil
	}
}

// keyWatch has a server use its master key's file as it changes. It belongs to one goroutine.
type keyWatch struct {
	file  storage.KeyFile
	keys  []storage.KeyInfo // in use; nil: none yet
	looks int
	said  string
}

// newKeyWatch watches nothing where the key does not come from a file.
func newKeyWatch(config *configs.Config) *keyWatch {
	return &keyWatch{file: storage.KeyFile{Path: config.MasterKeyFile()}}
}

// look takes a changed key. One that is no good, or does not fit the store any more, changes nothing, and is told again
// every minute for as long as it stays so.
func (w *keyWatch) look(ctx context.Context, log *slog.Logger, use func(context.Context, *storage.MasterKey) error) {
	if w.file.Path == "" {
		return
	}
	if w.looks++; w.looks%looksAgain == 0 {
		w.file, w.said = storage.KeyFile{Path: w.file.Path}, ""
	}
	var keys []storage.KeyInfo
	var seals storage.KeyID
	taken, err := w.file.Look(func(key *storage.MasterKey) (err error) {
		if seals, err = sealing(key); err != nil {
			return err
		}
		if keys, err = key.Keys(); err != nil {
			return err
		}
		return use(ctx, key)
	})
	if err != nil {
		if err.Error() != w.said {
			log.ErrorContext(ctx, "master key not taken, the earlier one stays in use", "err", err)
		}
		w.said = err.Error()
		return
	}
	w.said = ""
	if !taken {
		return
	}
	if w.keys != nil && !slices.Equal(keys, w.keys) {
		log.InfoContext(ctx, "master key changed", "seals", seals.String())
	}
	w.keys = keys
}
