package sqlstore

import (
	"context"
	"fmt"
	"io"
	"time"

	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/migrations"
	"sallyport/storage/sqlstore/internal/db"
)

// backupPage is how many rows a backup reads with one statement.
const backupPage = 500

// BackupInfo says what a backup is.
type BackupInfo struct {
	// Schema is the newest migration of the store that it was made of.
	Schema int64
	MadeAt time.Time
	// Rows counts the rows of each table.
	Rows map[string]int64
}

// Total is the number of all rows.
func (i BackupInfo) Total() int64 {
	var n int64
	for _, rows := range i.Rows {
		n += rows
	}
	return n
}

// Backup writes everything that the store keeps, as one consistent state, while others write; memory is bounded whatever
// its size. What is sealed stays sealed and hashes stay hashes: the master key is not in it, and without that key it
// cannot be restored. A store with steps that this version does not know is identity.ErrConflict, because their tables
// would be missing. After an error what was written is no backup.
func (s *Store) Backup(ctx context.Context, w io.Writer) (BackupInfo, error) {
	const op = "backup"
	info := BackupInfo{}
	begun := false
	err := s.viewRaw(ctx, func(t *tx, q db.DBTX) error {
		if begun {
			return errAgain(op)
		}
		begun = true
		out := newBackupWriter(w)
		if err := t.backUp(ctx, q, out, &info); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		info.Rows = out.rows
		return nil
	})
	return info, err
}

func (t *tx) backUp(ctx context.Context, q db.DBTX, out *backupWriter, info *BackupInfo) error {
	var err error
	if info.MadeAt, err = t.Now(ctx); err != nil {
		return err
	}
	if info.Schema, err = t.schema(ctx, q); err != nil {
		return err
	}
	if err := out.line(header{Format: backupFormat, Schema: info.Schema, MadeAt: info.MadeAt}); err != nil {
		return err
	}
	tables, err := kept()
	if err != nil {
		return err
	}
	for _, table := range tables {
		if err := t.backUpTable(ctx, q, table, out); err != nil {
			return err
		}
	}
	return out.finish(t.store.sealer)
}

// schema is the database's newest step, which must be one of ours.
func (t *tx) schema(ctx context.Context, q db.DBTX) (int64, error) {
	ours, err := migrations.Newest()
	if err != nil {
		return 0, err
	}
	var schema int64
	err = q.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&schema)
	if err != nil {
		return 0, t.fail(ctx, "schema", err)
	}
	if schema > ours {
		return 0, fmt.Errorf("the store's schema (%d) is newer than this version's (%d): use the newer version: %w", schema,
			ours, identity.ErrConflict)
	}
	return schema, nil
}

func (t *tx) backUpTable(ctx context.Context, q db.DBTX, table migrations.Table, out *backupWriter) error {
	columns, err := columnsOf(ctx, q, table.Name)
	if err != nil {
		return t.fail(ctx, "columns", err)
	}
	if err := out.line(tableLine{Table: table.Name, Columns: columns}); err != nil {
		return err
	}
	out.rows[table.Name] = 0
	p := &pages{table: table, columns: names(columns), limit: backupPage}
	for {
		page, err := p.next(ctx, q)
		if err != nil {
			return t.fail(ctx, "read "+table.Name, err)
		}
		for _, row := range page {
			if err := out.row(table.Name, columns, row); err != nil {
				return err
			}
		}
		if len(page) < backupPage {
			return nil
		}
	}
}

func names(columns []column) []string {
	out := make([]string, 0, len(columns))
	for _, c := range columns {
		out = append(out, c.Name)
	}
	return out
}

// CheckBackup reads a whole backup and proves that it is complete, unaltered, of a schema that this version knows, and
// made by a house with this master key. Nothing is written anywhere. The errors are those of Store.Restore.
func CheckBackup(r io.Reader, key *storage.MasterKey) (BackupInfo, error) {
	sealer, err := storage.NewSealer(key)
	if err != nil {
		return BackupInfo{}, err
	}
	tables, err := kept()
	if err != nil {
		return BackupInfo{}, err
	}
	return readBackup(r, sealer, &checker{tables: tables})
}
