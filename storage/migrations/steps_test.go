package migrations_test

import (
	"database/sql"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite" // any engine would do

	"sallyport/storage/migrations"
)

func database(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func steps(t *testing.T, db *sql.DB) []migrations.Step {
	t.Helper()
	got, err := migrations.Steps(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestStepsOfAnEmptyDatabaseAllWait(t *testing.T) {
	db := database(t)
	got := steps(t, db)
	if len(got) < 3 {
		t.Fatalf("%d steps", len(got))
	}
	for _, s := range got {
		if !s.Pending() || s.Newer() {
			t.Errorf("%+v does not wait", s)
		}
	}
	var tables int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM sqlite_master`).Scan(&tables); err != nil || tables > 0 {
		t.Errorf("looking made %d tables, %v", tables, err)
	}
}

func TestStepsThatWereAppliedHaveTheirTime(t *testing.T) {
	db := database(t)
	if _, err := migrations.Up(t.Context(), db, migrations.SQLite); err != nil {
		t.Fatal(err)
	}
	for _, s := range steps(t, db) {
		if s.Pending() || s.Newer() || s.AppliedAt.Year() < 2024 {
			t.Errorf("%+v was not applied", s)
		}
	}
}

func TestAStepOfANewerVersionIsToldApart(t *testing.T) {
	db := database(t)
	if _, err := migrations.Up(t.Context(), db, migrations.SQLite); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`); err != nil {
		t.Fatal(err)
	}
	all := steps(t, db)
	last := all[len(all)-1]
	if last.Version != 99 || !last.Newer() || last.Pending() {
		t.Errorf("the newest step is %+v", last)
	}
	if newest, err := migrations.Newest(); err != nil || newest != all[len(all)-2].Version {
		t.Errorf("our newest is %d, %v", newest, err)
	}
}

func TestStepsOfADatabaseThatDoesNotAnswerAreAnError(t *testing.T) {
	db := database(t)
	_ = db.Close()
	if got, err := migrations.Steps(t.Context(), db); err == nil {
		t.Errorf("got %v", got)
	}
}

// TestTablesAreThoseOfTheDatabase holds what is read from the migrations' text against what the engine made of it.
func TestTablesAreThoseOfTheDatabase(t *testing.T) {
	db := database(t)
	if _, err := migrations.Up(t.Context(), db, migrations.SQLite); err != nil {
		t.Fatal(err)
	}
	told, err := migrations.Tables()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, table := range told {
		got[table.Name] = table.Key
	}
	if diff := cmp.Diff(inDatabase(t, db), got); diff != "" {
		t.Errorf("database (-) and Tables (+) differ:\n%s", diff)
	}
	if at := func(name string) int {
		return slices.IndexFunc(told, func(t migrations.Table) bool { return t.Name == name })
	}; at("accounts") > at("identities") || at("accounts") > at("manual_grants") {
		t.Error("rows come before those that they refer to")
	}
}

func inDatabase(t *testing.T, db *sql.DB) map[string][]string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT IN ('goose_db_version', 'sqlite_sequence') AND c.pk > 0 ORDER BY m.name, c.pk`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	keys := map[string][]string{}
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			t.Fatal(err)
		}
		keys[table] = append(keys[table], column)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return keys
}
