package postgres

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlstore"
)

func TestSTO01_AWrongKeyDoesNotOpenTheStore(t *testing.T) {
	url, right := server.Get(t).NewDatabase(t), newKey(t)
	mustAdd(t, open(t, Options{URL: url, MasterKey: right}), "a1")
	if _, err := Open(t.Context(), Options{URL: url, MasterKey: newKey(t)}); !errors.Is(err, sqlstore.ErrWrongMasterKey) {
		t.Fatalf("got %v", err)
	}
	if _, err := Open(t.Context(), Options{URL: url}); !errors.Is(err, identity.ErrInvalid) {
		t.Fatalf("no key: got %v", err)
	}
	open(t, Options{URL: url, MasterKey: right}) // and the attempts broke nothing
}

func TestSTO01_AStoreThatLostItsCanaryIsRefused(t *testing.T) {
	url, key := server.Get(t).NewDatabase(t), newKey(t)
	mustAdd(t, open(t, Options{URL: url, MasterKey: key}), "a1")
	server.Get(t).Exec(t, url, "DELETE FROM meta")
	if _, err := Open(t.Context(), Options{URL: url, MasterKey: newKey(t)}); !errors.Is(err, sqlstore.ErrWrongMasterKey) {
		t.Fatalf("got %v", err)
	}
	if empty, err := Empty(t.Context(), url); err != nil || empty {
		t.Fatalf("empty: got %v, %v", empty, err)
	}
}

func TestSTO01_AKeyIsMadeForAnEmptyStoreOnly(t *testing.T) {
	url, file := server.Get(t).NewDatabase(t), filepath.Join(t.TempDir(), "master.key")
	for _, c := range []struct {
		what, file string
		want       error
	}{
		{"first start", file, nil},
		{"second start", file, nil},
		{"start with a lost key", file + ".other", identity.ErrNotFound},
	} {
		empty, err := Empty(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		key, err := storage.LoadOrCreateMasterKey(c.file, empty)
		if !errors.Is(err, c.want) {
			t.Fatalf("%s: got %v", c.what, err)
		}
		if err == nil {
			open(t, Options{URL: url, MasterKey: key})
		}
	}
}

func TestEmptyTellsAStoreFromNone(t *testing.T) {
	pg := server.Get(t)
	for name, c := range map[string]struct {
		opened bool
		sql    string
		want   bool
	}{
		"nothing":                           {sql: "SELECT 1", want: true},
		"a store":                           {opened: true, sql: "SELECT 1"},
		"a start that ended before sealing": {opened: true, sql: "DELETE FROM meta", want: true},
		"a start that waited for another":   {sql: "CREATE TABLE sallyport_start (id BIGINT)", want: true},
		"tables of others":                  {sql: "CREATE TABLE somebody_elses (x TEXT)", want: true},
		"a store in another schema":         {sql: "CREATE SCHEMA other; CREATE TABLE other.meta (x TEXT)", want: true},
		"a part of a store":                 {opened: true, sql: "DROP TABLE meta"},
	} {
		t.Run(name, func(t *testing.T) {
			url := pg.NewDatabase(t)
			if c.opened {
				open(t, Options{URL: url, MasterKey: newKey(t)})
			}
			pg.Exec(t, url, c.sql)
			if got, err := Empty(t.Context(), url); err != nil || got != c.want {
				t.Errorf("got %v, %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestADatabaseThatDoesNotAnswerIsNotEmpty(t *testing.T) {
	absent := strings.Replace(server.Get(t).URL, "/app?", "/absent?", 1)
	for _, url := range []string{absent, "postgres://app@127.0.0.1:1/app?sslmode=disable"} {
		if empty, err := Empty(t.Context(), url); empty || !errors.Is(err, identity.ErrUnavailable) {
			t.Errorf("got %v, %v", empty, err)
		}
	}
}

func TestANewerSchemaIsLeftAsItIs(t *testing.T) {
	url, key := server.Get(t).NewDatabase(t), newKey(t)
	mustAdd(t, open(t, Options{URL: url, MasterKey: key}), "a1")
	server.Get(t).Exec(t, url, `ALTER TABLE accounts ADD COLUMN later TEXT;
		INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`)
	s := open(t, Options{URL: url, MasterKey: key})
	mustAdd(t, s, "a2")
	if n := accounts(t, s); n != 2 {
		t.Fatalf("%d accounts", n)
	}
}

func TestTheSchemaChangesUnderARunningNode(t *testing.T) {
	url := server.Get(t).NewDatabase(t)
	s := open(t, Options{URL: url, MasterKey: newKey(t), MaxConns: 2})
	mustAdd(t, s, "a1")
	accounts(t, s) // statements are prepared now
	server.Get(t).Exec(t, url, "ALTER TABLE accounts ADD COLUMN later TEXT")
	mustAdd(t, s, "a2")
	if n := accounts(t, s); n != 2 {
		t.Fatalf("%d accounts", n)
	}
}

func TestAStartWaitsForAnother(t *testing.T) {
	url := server.Get(t).NewDatabase(t)
	config, err := parse(url)
	if err != nil {
		t.Fatal(err)
	}
	db := pool(patient(config), 2)
	defer func() { _ = db.Close() }()
	unlock, err := lockStart(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		s, err := Open(t.Context(), Options{URL: url, MasterKey: newKey(t)})
		if err == nil {
			err = s.Close()
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestTheLockIsMadeByManyAtOnce(t *testing.T) {
	for range 10 {
		config, err := parse(server.Get(t).NewDatabase(t))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				db := pool(patient(config), 1)
				unlock, err := lockStart(t.Context(), db)
				if err == nil {
					err = unlock()
				}
				if err := errors.Join(err, db.Close()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

func TestAUD02_AnAuditTableThatTakesNothingUndoesTheChange(t *testing.T) {
	url := server.Get(t).NewDatabase(t)
	s := open(t, Options{URL: url, MasterKey: newKey(t)})
	server.Get(t).Exec(t, url, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'read only'; END $$;
		CREATE TRIGGER frozen BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse()`)
	err := s.Update(t.Context(), func(tx broker.Tx) error {
		if err := tx.CreateAccount(t.Context(), people.Account{ID: "a1", UsernameKey: "a1"}); err != nil {
			return err
		}
		_ = tx.Append(t.Context(), audit.Event{Type: audit.AccountCreated, At: time.Now(), Outcome: audit.Success})
		return nil
	})
	if err == nil || accounts(t, s) != 0 {
		t.Fatalf("the change was made without its event (%v)", err)
	}
}

func TestTheClockIsTheDatabases(t *testing.T) {
	s := open(t, Options{URL: server.Get(t).NewDatabase(t), MasterKey: newKey(t), MaxConns: 2})
	before := time.Now().Truncate(time.Millisecond)
	err := s.View(t.Context(), func(tx broker.Tx) error {
		got, err := tx.Now(t.Context())
		if got.Before(before) || got.After(time.Now()) || got.Location() != time.UTC {
			t.Errorf("got %v between %v and now", got, before)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
