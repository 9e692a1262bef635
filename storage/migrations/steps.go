package migrations

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
)

// Step is one migration, as this version knows it or as the database tells of it.
type Step struct {
	Version int64
	// Name is the file's; empty for a step that this version does not know.
	Name string
	// AppliedAt is when the database took it; zero while it waits.
	AppliedAt time.Time
}

// Pending reports a step that this version has and the database does not.
func (s Step) Pending() bool { return s.AppliedAt.IsZero() }

// Newer reports a step that the database has and this version does not. Migrations only expand, so it serves all the
// same.
func (s Step) Newer() bool { return s.Name == "" }

// Steps lists all steps that this version or the database has, in order, by reading alone.
func Steps(ctx context.Context, db *sql.DB) ([]Step, error) {
	applied, err := appliedAt(ctx, db)
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	var steps []Step
	for _, name := range names {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return nil, err
		}
		steps = append(steps, Step{Version: version, Name: name, AppliedAt: applied[version]})
		delete(applied, version)
	}
	for version, at := range applied {
		steps = append(steps, Step{Version: version, AppliedAt: at})
	}
	slices.SortFunc(steps, func(a, b Step) int { return cmp.Compare(a.Version, b.Version) })
	return steps, nil
}

// appliedAt reads the migrator's own table. Where there is none, nothing was applied.
func appliedAt(ctx context.Context, db *sql.DB) (_ map[int64]time.Time, err error) {
	rows, err := db.QueryContext(ctx,
		`SELECT version_id, tstamp FROM goose_db_version WHERE is_applied AND version_id > 0 ORDER BY id`)
	if err != nil {
		// The engines spell "no such table" each their own way; a database that answers otherwise has none.
		var one int
		return nil, db.QueryRowContext(ctx, `SELECT 1`).Scan(&one)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	applied := map[int64]time.Time{}
	for rows.Next() {
		var version int64
		var at time.Time
		if err := rows.Scan(&version, &at); err != nil {
			return nil, fmt.Errorf("applied migrations: %w", err)
		}
		applied[version] = at.UTC()
	}
	return applied, rows.Err()
}

// Newest is the number of this version's last step.
func Newest() (int64, error) { return newest() }

// Table is a table of ours.
type Table struct {
	Name string
	// Key are the columns of its primary key, in order.
	Key []string
}

var (
	comment   = regexp.MustCompile(`--.*`)
	created   = regexp.MustCompile(`(?s)CREATE TABLE (\w+) \((.*?)\n\);`)
	keyColumn = regexp.MustCompile(`(?m)^\s*(\w+)\s[^\n]*\bPRIMARY KEY\b(?: *,)?$`)
	keyList   = regexp.MustCompile(`(?m)^\s*PRIMARY KEY \(([^)]+)\)`)
)

// Tables lists all tables of this version's schema in the order in which they were made, so that a row comes after those
// that it refers to. They are read from the migrations themselves: no table can be forgotten.
func Tables() ([]Table, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	var tables []Table
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for _, m := range created.FindAllStringSubmatch(comment.ReplaceAllString(string(text), ""), -1) {
			key := keyOf(m[2])
			if len(key) == 0 {
				return nil, fmt.Errorf("%s: table %s has no primary key", name, m[1])
			}
			tables = append(tables, Table{Name: m[1], Key: key})
		}
	}
	return tables, nil
}

func keyOf(body string) []string {
	if m := keyList.FindStringSubmatch(body); m != nil {
		var key []string
		for column := range strings.SplitSeq(m[1], ",") {
			key = append(key, strings.TrimSpace(column))
		}
		return key
	}
	if m := keyColumn.FindStringSubmatch(body); m != nil {
		return []string{m[1]}
	}
	return nil
}
