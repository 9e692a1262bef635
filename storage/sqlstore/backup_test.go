package sqlstore

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/migrations"
	"sallyport/storage/sqlstore/internal/db"
)

// keptStore is a test store with a clock.
func keptStore(t *testing.T) *Store {
	t.Helper()
	s := testStore(t)
	s.dialect.Now = func(context.Context) (time.Time, error) { return time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC), nil }
	return s
}

// crafted makes a backup of lines, with a good sum and seal; the numbers of rows are told.
func crafted(t testing.TB, sealer *storage.Sealer, rows map[string]int64, lines ...string) []byte {
	t.Helper()
	text := strings.Join(lines, "\n") + "\n"
	sum := sha256.Sum256([]byte(text))
	seal, err := sealer.Seal(sum[:], backupSeal())
	if err != nil {
		t.Fatal(err)
	}
	end, err := json.Marshal(trailer{Rows: rows, SHA256: hex.EncodeToString(sum[:]), Seal: seal})
	if err != nil {
		t.Fatal(err)
	}
	return zipped(t, text+string(end)+"\n")
}

func zipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	if _, err := zip.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// craftedHouse is the header and the canary's table of a backup of the store's own house.
func craftedHouse(t testing.TB, s *Store, schema int64) []string {
	t.Helper()
	canary, err := s.sealer.Seal([]byte(canaryRow), canaryPlace())
	if err != nil {
		t.Fatal(err)
	}
	row, err := json.Marshal([]any{canaryRow, canary})
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		fmt.Sprintf(`{"sallyport_backup":1,"schema":%d,"made_at":"2031-05-06T07:08:09Z"}`, schema),
		`{"table":"meta","columns":[{"name":"name","type":"TEXT"},{"name":"value","type":"BYTEA"}]}`, string(row),
	}
}

const (
	oldAccounts = `{"table":"accounts","columns":[{"name":"id","type":"TEXT"},{"name":"username","type":"TEXT"},` +
		`{"name":"username_key","type":"TEXT"},{"name":"name","type":"TEXT"},{"name":"email","type":"TEXT"},` +
		`{"name":"email_verified","type":"BOOLEAN"},{"name":"disabled","type":"BOOLEAN"},` +
		`{"name":"created_at","type":"BIGINT"},{"name":"signed_in_at","type":"BIGINT"}]}`
	oldAccount = `["a1","ada","ada","Ada","",true,false,9223372036854775807,0]`
)

func restored(t *testing.T, s *Store, file []byte) error {
	t.Helper()
	_, err := s.Restore(t.Context(), bytes.NewReader(file), "cli")
	return err
}

func TestABackupOfAnOlderSchemaGetsTheDefaults(t *testing.T) {
	s := keptStore(t)
	file := crafted(t, s.sealer, map[string]int64{"meta": 1, "accounts": 1},
		append(craftedHouse(t, s, 1), oldAccounts, oldAccount)...)
	if err := restored(t, s, file); err != nil {
		t.Fatal(err)
	}
	var kind string
	var created int64
	row := s.reader.db.QueryRowContext(t.Context(), `SELECT kind, created_at FROM accounts WHERE id = 'a1'`)
	if err := row.Scan(&kind, &created); err != nil || kind != "person" || created != math.MaxInt64 {
		t.Fatalf("got kind %q, %d, %v", kind, created, err)
	}
}

func TestABackupThatIsSealedAndStillNoGoodIsRefused(t *testing.T) {
	newest, err := migrations.Newest()
	if err != nil {
		t.Fatal(err)
	}
	s := keptStore(t)
	house := craftedHouse(t, s, newest)
	grants := `{"table":"manual_grants","columns":[{"name":"account_id","type":"TEXT"},{"name":"permission","type":"TEXT"},` +
		`{"name":"granted_by","type":"TEXT"},{"name":"granted_at","type":"BIGINT"}]}`
	for name, tc := range map[string]struct {
		lines []string
		rows  map[string]int64
		want  error
	}{
		"of a newer schema":               {craftedHouse(t, s, newest+1), map[string]int64{"meta": 1}, identity.ErrInvalid},
		"of another format":               {[]string{`{"sallyport_backup":2,"schema":1,"made_at":"2031-05-06T07:08:09Z"}`}, nil, identity.ErrInvalid},
		"with an unknown field":           {[]string{`{"sallyport_backup":1,"schema":1,"made_at":"2031-05-06T07:08:09Z","more":1}`}, nil, identity.ErrInvalid},
		"without its canary":              {house[:1], map[string]int64{}, identity.ErrNotFound},
		"with fewer rows than told":       {house, map[string]int64{"meta": 2}, identity.ErrInvalid},
		"with another table than told":    {house, map[string]int64{"meta": 1, "accounts": 0}, identity.ErrInvalid},
		"with a table that is not ours":   {with(house, `{"table":"goose_db_version","columns":[]}`), map[string]int64{"meta": 1, "goose_db_version": 0}, identity.ErrInvalid},
		"with a table twice":              {with(house, house[1]), map[string]int64{"meta": 0}, identity.ErrInvalid},
		"with children before parents":    {with(house, grants, oldAccounts), map[string]int64{"meta": 1, "manual_grants": 0, "accounts": 0}, identity.ErrInvalid},
		"with a column that is not ours":  {with(house, `{"table":"accounts","columns":[{"name":"id\" --","type":"TEXT"}]}`), map[string]int64{"meta": 1, "accounts": 0}, identity.ErrInvalid},
		"with a column of another type":   {with(house, `{"table":"accounts","columns":[{"name":"id","type":"BIGINT"}]}`), map[string]int64{"meta": 1, "accounts": 0}, identity.ErrInvalid},
		"with a column twice":             {with(house, `{"table":"accounts","columns":[{"name":"id","type":"TEXT"},{"name":"id","type":"TEXT"}]}`), map[string]int64{"meta": 1, "accounts": 0}, identity.ErrInvalid},
		"with a value too few":            {with(house, oldAccounts, `["a1"]`), map[string]int64{"meta": 1, "accounts": 1}, identity.ErrInvalid},
		"with a number for a text":        {with(house, oldAccounts, strings.Replace(oldAccount, `"a1"`, `1`, 1)), map[string]int64{"meta": 1, "accounts": 1}, identity.ErrInvalid},
		"with a number that is too large": {with(house, oldAccounts, strings.Replace(oldAccount, "9223372036854775807", "9223372036854775808", 1)), map[string]int64{"meta": 1, "accounts": 1}, identity.ErrInvalid},
		"with a fraction":                 {with(house, oldAccounts, strings.Replace(oldAccount, "9223372036854775807", "1.5", 1)), map[string]int64{"meta": 1, "accounts": 1}, identity.ErrInvalid},
		"with an object for a value":      {with(house, oldAccounts, strings.Replace(oldAccount, "true", "{}", 1)), map[string]int64{"meta": 1, "accounts": 1}, identity.ErrInvalid},
		"with base64 that is none":        {[]string{house[0], house[1], `["x","***"]`}, map[string]int64{"meta": 1}, identity.ErrInvalid},
		"with an empty line":              {with(house, ""), map[string]int64{"meta": 1}, identity.ErrInvalid},
		"with a row before any table":     {[]string{house[0], `["x"]`}, map[string]int64{}, identity.ErrInvalid},
		"of nothing at all":               {[]string{""}, nil, identity.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			s := keptStore(t)
			own := craftedHouse(t, s, newest)
			lines := append([]string(nil), tc.lines...)
			if len(lines) > 2 && lines[2] == house[2] {
				lines[2] = own[2] // a canary of this store
			}
			if err := restored(t, s, crafted(t, s.sealer, tc.rows, lines...)); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if n := count(t, s); n != 0 {
				t.Errorf("%d accounts were written", n)
			}
			if err := s.checkMasterKey(t.Context()); err != nil {
				t.Errorf("the store's own canary: %v", err)
			}
		})
	}
}

func with(lines []string, more ...string) []string {
	return append(lines[:len(lines):len(lines)], more...)
}

// TestABackupThatSomebodyMadeIsRefused: whoever can write to where backups lie can compute a sum, but not seal it.
func TestABackupThatSomebodyMadeIsRefused(t *testing.T) {
	s := keptStore(t)
	rows := map[string]int64{"meta": 1, "accounts": 1}
	lines := append(craftedHouse(t, s, 1), oldAccounts, oldAccount)
	foreign, err := storage.NewMasterKey()
	if err != nil {
		t.Fatal(err)
	}
	other, err := storage.NewSealer(foreign)
	if err != nil {
		t.Fatal(err)
	}
	if err := restored(t, s, crafted(t, other, rows, lines...)); !errors.Is(err, ErrWrongMasterKey) {
		t.Errorf("sealed with a key of their own: %v", err)
	}
	// The seal of a true backup, under a text with another person in it.
	mine := unzippedLines(t, crafted(t, s.sealer, rows, lines...))
	text := strings.Replace(strings.Join(mine[:len(mine)-1], "\n")+"\n", `"Ada"`, `"Eve"`, 1)
	sum := sha256.Sum256([]byte(text))
	var end trailer
	if err := json.Unmarshal([]byte(mine[len(mine)-1]), &end); err != nil {
		t.Fatal(err)
	}
	end.SHA256 = hex.EncodeToString(sum[:])
	last, err := json.Marshal(end)
	if err != nil {
		t.Fatal(err)
	}
	if err := restored(t, s, zipped(t, text+string(last)+"\n")); !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("with another backup's seal: %v", err)
	}
	if n := count(t, s); n != 0 {
		t.Errorf("%d accounts were written", n)
	}
}

func unzippedLines(t testing.TB, file []byte) []string {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(zip); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// TestSTO02_EverySealedColumnIsSealedAgain holds the list against the schema: a column that is added and forgotten here
// would be lost with the old key.
func TestSTO02_EverySealedColumnIsSealedAgain(t *testing.T) {
	s := keptStore(t)
	known := map[string]bool{"refresh_tokens.answer_sealed": true} // under a secret of its holder
	for _, c := range sealedColumns() {
		known[c.table.Name+"."+c.column] = true
	}
	tables, err := migrations.Tables()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, table := range tables {
		columns, err := columnsOf(t.Context(), s.reader.db, table.Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range columns {
			if !strings.HasSuffix(c.Name, "_sealed") {
				continue
			}
			found++
			if !known[table.Name+"."+c.Name] {
				t.Errorf("%s.%s is not sealed again", table.Name, c.Name)
			}
		}
	}
	if found < 4 {
		t.Errorf("only %d sealed columns were found", found)
	}
}

// TestSTO02_AValueThatSomebodyReplacedIsLeftToThem has somebody write between the reading and the writing.
func TestSTO02_AValueThatSomebodyReplacedIsLeftToThem(t *testing.T) {
	s := keptStore(t)
	put := func(value string) {
		t.Helper()
		if err := s.Update(t.Context(), func(tx broker.Tx) error {
			return tx.ReplaceSealedSetting(t.Context(), "n", []byte(value))
		}); err != nil {
			t.Fatal(err)
		}
	}
	put("first")
	setting := sealedColumns()[3]
	var row []any
	if err := s.viewRaw(t.Context(), func(_ *tx, q db.DBTX) error {
		page, err := setting.pages(10).next(t.Context(), q)
		row = page[0]
		return err
	}); err != nil {
		t.Fatal(err)
	}
	put("second")
	if err := s.updateRaw(t.Context(), func(_ *tx, q db.DBTX) error {
		result, err := q.ExecContext(t.Context(), setting.update(), []byte("mine"), row[1], row[0])
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n != 0 {
			t.Errorf("%d rows were written over, %v", n, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.View(t.Context(), func(tx broker.Tx) error {
		got, err := tx.SealedSetting(t.Context(), "n")
		if string(got) != "second" {
			t.Errorf("got %q", got)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// FuzzSTO04_ReadBackup: whatever lies where a backup should is refused, or proved itself.
func FuzzSTO04_ReadBackup(f *testing.F) {
	key, err := storage.NewMasterKey()
	if err != nil {
		f.Fatal(err)
	}
	sealer, err := storage.NewSealer(key)
	if err != nil {
		f.Fatal(err)
	}
	head := `{"sallyport_backup":1,"schema":1,"made_at":"2031-05-06T07:08:09Z"}`
	f.Add(head + "\n" + oldAccounts + "\n" + oldAccount + "\n")
	f.Add(head + "\n" + `{"rows":{},"sha256":"","seal":""}` + "\n")
	f.Add("\n")
	tables, err := kept()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, file := range [][]byte{[]byte(text), zipped(t, text)} {
			if _, err := readBackup(bytes.NewReader(file), sealer, &checker{tables: tables}); err == nil {
				t.Errorf("taken without a seal: %q", text)
			}
		}
	})
}
