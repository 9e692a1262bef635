package sqlstore

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/identity"
	"sallyport/storage/migrations"
	"sallyport/storage/sqlstore/internal/db"
	"sallyport/tokens"
)

const (
	// loadRows and loadBytes bound what one INSERT takes. SQLite's driver looks for each parameter among all of them, so
	// that a hundred rows take twice the time of ten.
	loadRows  = 10
	loadBytes = 4 << 20
	// reasonRestored is why what was alive in a backup is over.
	reasonRestored = "restored"
)

// Restored says what a backup was and what was not let live on.
type Restored struct {
	BackupInfo
	// SessionsEnded counts sessions, CodesSpent one-use codes of all kinds, TokensDropped refresh tokens.
	SessionsEnded, CodesSpent, TokensDropped int64
	// KeysSuspended counts API keys that wait for an administrator, KeysEnded those that were never confirmed.
	KeysSuspended, KeysEnded int64
	// SigningKeysDropped counts the signing keys that new ones take the place of.
	SigningKeysDropped int64
	// PinnedKeys are the signing keys that were kept, because applications hold copies of them.
	PinnedKeys []PinnedKey
}

// PinnedKey is a signing key that one application alone verifies.
type PinnedKey struct {
	ID, Application string
	State           tokens.KeyState
}

// Restore fills an empty store from a backup, in one transaction: either all of it is there afterwards or nothing. What
// was alive in the backup may have been ended since, so nobody comes back by it: sessions are ended, codes spent, refresh
// tokens and codes that went by e-mail dropped, API keys suspended until an administrator activates them. Signing keys are
// dropped, since one that was withdrawn must not sign again and no living token needs them; only those that pinned
// applications have copies of are kept, and told, for somebody to judge. Ids that were used up stay used up. An event
// tells of it, with actor.
//
// A store that holds anything is identity.ErrConflict. What is no backup, is cut off or altered, or comes from a newer
// schema is identity.ErrInvalid; one of a house with another master key is ErrWrongMasterKey. An older one is taken:
// what it does not have gets the schema's defaults.
func (s *Store) Restore(ctx context.Context, r io.Reader, actor string) (Restored, error) {
	const op = "restore"
	var done Restored
	begun := false
	err := s.updateRaw(ctx, func(t *tx, q db.DBTX) error {
		if begun {
			return errAgain(op)
		}
		begun = true
		var err error
		if done, err = t.restore(ctx, q, r, actor); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		return nil
	})
	return done, err
}

func (t *tx) restore(ctx context.Context, q db.DBTX, r io.Reader, actor string) (Restored, error) {
	now, err := t.Now(ctx)
	if err != nil {
		return Restored{}, err
	}
	tables, err := kept()
	if err != nil {
		return Restored{}, err
	}
	if err := t.mustBeEmpty(ctx, q, tables); err != nil {
		return Restored{}, err
	}
	// The canary that the store got when it was opened gives way to the backup's.
	if _, err := q.ExecContext(ctx, `DELETE FROM meta`); err != nil {
		return Restored{}, t.fail(ctx, "make room", err)
	}
	l := &loader{checker: checker{tables: tables}, ctx: ctx, tx: t, q: q, now: ms(now)}
	l.done.BackupInfo, err = readBackup(r, t.store.sealer, l)
	if err != nil {
		return Restored{}, err
	}
	if err := l.flush(); err != nil {
		return Restored{}, err
	}
	if err := t.openCanary(ctx, t.store.sealer); err != nil {
		return Restored{}, err
	}
	return l.done, t.tellRestored(ctx, l.done, now, actor)
}

// mustBeEmpty refuses a store that holds anything but its canary: rows of two houses would be no house.
func (t *tx) mustBeEmpty(ctx context.Context, q db.DBTX, tables []migrations.Table) error {
	for _, table := range tables {
		if table.Name == "meta" {
			continue
		}
		var holds bool
		err := q.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM "+quoted(table.Name)+")").Scan(&holds)
		if err != nil {
			return t.fail(ctx, "look for data", err)
		}
		if holds {
			return fmt.Errorf("the store is not empty, %s has rows: %w", table.Name, identity.ErrConflict)
		}
	}
	return nil
}

// tellRestored writes the event, and makes processes that run on this store forget all that they know.
func (t *tx) tellRestored(ctx context.Context, done Restored, now time.Time, actor string) error {
	if err := t.Changed(ctx, broker.ChangeSigningKeys, now, ""); err != nil {
		return err
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return t.Append(ctx, audit.Event{
		Type: audit.StoreRestored, At: now, Outcome: audit.Success, Actor: actor,
		Detail: map[string]string{
			"made_at": done.MadeAt.UTC().Format(time.RFC3339), "schema": number(done.Schema), "rows": number(done.Total()),
			"sessions": number(done.SessionsEnded), "keys": number(done.KeysSuspended),
			"signing_keys": number(done.SigningKeysDropped),
		},
	})
}

// checker holds a backup's schema and tables against ours.
type checker struct {
	tables []migrations.Table
	last   int // one more than the index of the last table
}

func (c *checker) begin(h header) error {
	ours, err := migrations.Newest()
	if err != nil {
		return err
	}
	if h.Schema > ours {
		return fmt.Errorf("the backup's schema (%d) is newer than this version's (%d): use the newer version: %w", h.Schema,
			ours, identity.ErrInvalid)
	}
	return nil
}

// table takes tables of ours in their order only, which is that of what refers to what.
func (c *checker) table(t tableLine) error {
	i := slices.IndexFunc(c.tables, func(known migrations.Table) bool { return known.Name == t.Table })
	if i < c.last {
		return fmt.Errorf("backup: table %q has no place there: %w", t.Table, identity.ErrInvalid)
	}
	c.last = i + 1
	return nil
}

func (*checker) row([]any) error { return nil }

// loader writes a backup's rows.
type loader struct {
	checker
	ctx  context.Context //nolint:containedctx // lives as long as one call
	tx   *tx
	q    db.DBTX
	now  int64
	done Restored

	into    tableLine
	waiting []any
	rows    int
	bytes   int
}

func (l *loader) table(t tableLine) error {
	if err := l.checker.table(t); err != nil {
		return err
	}
	if err := l.flush(); err != nil {
		return err
	}
	ours, err := columnsOf(l.ctx, l.q, t.Table)
	if err != nil {
		return l.tx.fail(l.ctx, "columns", err)
	}
	for i, c := range t.Columns {
		if !slices.Contains(ours, c) || slices.Contains(t.Columns[:i], c) {
			return fmt.Errorf("backup: %s has no column %q of type %q: %w", t.Table, c.Name, c.Type, identity.ErrInvalid)
		}
	}
	l.into = t
	return nil
}

func (l *loader) row(values []any) error {
	if !l.arrive(record{l.into, values}) {
		return nil
	}
	l.waiting = append(l.waiting, values...)
	l.rows++
	for _, v := range values {
		l.bytes += size(v)
	}
	if l.rows < loadRows && l.bytes < loadBytes {
		return nil
	}
	return l.flush()
}

func size(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []byte:
		return len(v)
	}
	return 8
}

// flush writes the rows that wait.
func (l *loader) flush() error {
	if l.rows == 0 {
		return nil
	}
	columns := names(l.into.Columns)
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES ", quoted(l.into.Table), quoted(columns...))
	for i := range l.rows {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("(" + placeholders(1+i*len(columns), len(columns)) + ")")
	}
	_, err := l.q.ExecContext(l.ctx, b.String(), l.waiting...)
	l.waiting, l.rows, l.bytes = l.waiting[:0], 0, 0
	return l.tx.fail(l.ctx, "write "+l.into.Table, err)
}

// record is a row that can be changed by column name. A column that an older backup does not have reads as nil and takes
// nothing.
type record struct {
	table  tableLine
	values []any
}

func (r record) get(name string) any {
	if i := slices.IndexFunc(r.table.Columns, func(c column) bool { return c.Name == name }); i >= 0 {
		return r.values[i]
	}
	return nil
}

func (r record) set(name string, value any) {
	if i := slices.IndexFunc(r.table.Columns, func(c column) bool { return c.Name == name }); i >= 0 {
		r.values[i] = value
	}
}

func (r record) end(at int64) {
	r.set("state", "ended")
	r.set("ended_at", at)
	r.set("end_reason", reasonRestored)
}

// arrive changes a row so that nothing lives on that may have been ended since, and reports whether it is kept at all.
func (l *loader) arrive(r record) bool {
	switch r.table.Table {
	case "sessions":
		if r.get("ended_at") == nil {
			r.end(l.now)
			l.done.SessionsEnded++
		}
	case "codes":
		if r.get("used_at") == nil {
			r.set("used_at", l.now)
			l.done.CodesSpent++
		}
	case "api_keys":
		l.arriveKey(r)
	case "signing_keys":
		return l.arriveSigningKey(r)
	case "refresh_tokens":
		l.done.TokensDropped++
		return false
	case "verifications":
		return false
	}
	return true
}

// arriveKey suspends a key. One that waits to be confirmed is over: its code is gone, and no administrator should take
// the confirmation's place by activating it.
func (l *loader) arriveKey(r record) {
	switch {
	case r.get("ended_at") != nil:
	case r.get("state") == "pending":
		r.end(l.now)
		l.done.KeysEnded++
	default:
		r.set("state", "suspended")
		if expires, ok := r.get("expires_at").(int64); ok && expires > l.now {
			l.done.KeysSuspended++
		}
	}
}

// arriveSigningKey keeps the keys that a pinned application's tokens are, or will be, signed with. A backup from before
// there were any has none.
func (l *loader) arriveSigningKey(r record) bool {
	k := PinnedKey{}
	k.ID, _ = r.get("id").(string)
	k.Application, _ = r.get("application").(string)
	state, _ := r.get("state").(string)
	k.State = tokens.KeyState(state)
	if k.Application == "" || k.State == tokens.KeyRetired {
		l.done.SigningKeysDropped++
		return false
	}
	l.done.PinnedKeys = append(l.done.PinnedKeys, k)
	return true
}
