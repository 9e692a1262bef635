package sqlite

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sallyport/storage/migrations"
)

func pools(t *testing.T) (writer, reader *sql.DB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	if err := prepareFile(path); err != nil {
		t.Fatal(err)
	}
	writer, reader, err := openPools(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(reader.Close(), writer.Close()); err != nil {
			t.Error(err)
		}
	})
	if _, err := migrations.Up(t.Context(), writer, migrations.SQLite); err != nil {
		t.Fatal(err)
	}
	return writer, reader
}

func TestSTO05_PragmasOfLiveConnections(t *testing.T) {
	writer, reader := pools(t)
	for name, pool := range map[string]*sql.DB{"writer": writer, "reader": reader} {
		want := map[string]string{
			"journal_mode": "wal", "synchronous": "2", "busy_timeout": "5000", "foreign_keys": "1", "query_only": "0",
		}
		if name == "reader" {
			want["query_only"] = "1"
		}
		for pragma, value := range want {
			var got string
			if err := pool.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != value {
				t.Errorf("%s: %s is %q (%v), want %q", name, pragma, got, err, value)
			}
		}
	}
	if got := writer.Stats().MaxOpenConnections; got != 1 {
		t.Errorf("%d writers, want 1", got)
	}
}

func TestAWriterHasTheLockFromTheStart(t *testing.T) {
	writer, _ := pools(t)
	tx, err := writer.BeginTx(t.Context(), dialect(nil).Update)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	var seq int
	var name, file string
	if err := tx.QueryRowContext(t.Context(), "PRAGMA database_list").Scan(&seq, &name, &file); err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open(driverName, "file:"+file+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	_, err = other.BeginTx(t.Context(), nil)
	if err == nil || !dialect(nil).Busy(err) {
		t.Fatalf("got %v, want busy", err)
	}
}

// TestLookupsUseAnIndex keeps the house from slowing down with its size: no query may read a whole table that grows.
func TestLookupsUseAnIndex(t *testing.T) {
	writer, _ := pools(t)
	files, err := filepath.Glob("../queries/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no queries (%v)", err)
	}
	// Signing keys are a handful, and there is one cut-off at most for each application and provider; setup codes are
	// spent once in the life of a house; HoldsData stops at the first row; clearing all failures reads all.
	small := []string{"SigningKeys", "SpendCodes", "HoldsData", "Cutoffs", "CleanCutoffs", "ClearFailures"}
	seen := 0
	for _, file := range files {
		for name, query := range queriesIn(t, file) {
			seen++
			for _, step := range plan(t, writer, name, query) {
				if strings.HasPrefix(step, "SCAN ") && !strings.Contains(step, "INDEX") && !harmless(step) &&
					!slices.Contains(small, name) {
					t.Errorf("%s: %s", name, step)
				}
			}
		}
	}
	if seen < 50 {
		t.Fatalf("only %d queries were looked at", seen)
	}
}

// harmless are steps over what the query itself made.
func harmless(step string) bool {
	return step == "SCAN tree" || step == "SCAN CONSTANT ROW" || strings.HasPrefix(step, "SCAN (")
}

func queriesIn(t *testing.T, file string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parameter := regexp.MustCompile(`\$\d+|sqlc\.n?arg\(\w+\)`)
	queries := map[string]string{}
	for _, part := range strings.Split(string(b), "-- name: ")[1:] {
		head, query, _ := strings.Cut(part, "\n")
		name, _, _ := strings.Cut(head, " ")
		queries[name] = parameter.ReplaceAllString(query, "'x'")
	}
	return queries
}

func plan(t *testing.T, d *sql.DB, name, query string) []string {
	t.Helper()
	rows, err := d.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer func() { _ = rows.Close() }()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return steps
}
