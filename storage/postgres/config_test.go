package postgres

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sallyport/identity"
)

func TestSTO05_LimitsAreInForceOnLiveConnections(t *testing.T) {
	config, err := parse(server.Get(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	db := pool(config, 1)
	defer func() { _ = db.Close() }()
	for name, want := range map[string]string{
		"statement_timeout": "10s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "15s",
		"application_name": "sallyport",
	} {
		if got := show(t, db, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := db.Stats().MaxOpenConnections; got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}

func TestAStepOfTheSchemaMayTakeItsTimeWhateverTheURLSays(t *testing.T) {
	config, err := parse(server.Get(t).URL + "&statement_timeout=1ms")
	if err != nil {
		t.Fatal(err)
	}
	db := pool(patient(config), 1)
	defer func() { _ = db.Close() }()
	for name, want := range startLimits {
		if got := show(t, db, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if config.RuntimeParams["statement_timeout"] != "1ms" {
		t.Error("the limits of the start stay")
	}
}

func TestSTO05_AURLMaySetItsOwnLimits(t *testing.T) {
	config, err := parse(server.Get(t).URL + "&statement_timeout=7s&application_name=other")
	if err != nil {
		t.Fatal(err)
	}
	db := pool(config, 1)
	defer func() { _ = db.Close() }()
	for name, want := range map[string]string{
		"statement_timeout": "7s", "lock_timeout": "5s", "application_name": "other",
	} {
		if got := show(t, db, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestSTO05_LimitsThatAreNotInForceAreLogged(t *testing.T) {
	var log bytes.Buffer
	open(t, Options{
		URL: server.Get(t).NewDatabase(t) + "&lock_timeout=0", MasterKey: newKey(t),
		Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if got := log.String(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, "lock_timeout") {
		t.Errorf("logged %q", got)
	}
}

func TestSTO05_ALockOrAStatementThatHangsIsUnavailableInTime(t *testing.T) {
	url := server.Get(t).NewDatabase(t) + "&lock_timeout=100ms&statement_timeout=1s"
	s := open(t, Options{URL: url, MasterKey: newKey(t)})
	config, err := parse(url)
	if err != nil {
		t.Fatal(err)
	}
	db := pool(config, 1)
	defer func() { _ = db.Close() }()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), "LOCK TABLE accounts"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := addAccount(t, s, "a1"); !errors.Is(err, identity.ErrUnavailable) || code(err) != "55P03" {
		t.Errorf("lock: got %v", err)
	}
	if d := time.Since(began); d > quickly {
		t.Errorf("it took %v", d)
	}
	if _, err := s.side.ExecContext(t.Context(), "SELECT pg_sleep(10)"); !unavailable(err) || code(err) != "57014" {
		t.Errorf("statement: got %v", err)
	}
}

func show(t *testing.T, db *sql.DB, name string) string {
	t.Helper()
	var value string
	if err := db.QueryRowContext(t.Context(), "SHOW "+name).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestURLsThatAreRefused(t *testing.T) {
	for name, url := range map[string]string{
		"nothing":                               "",
		"another engine's":                      "mysql://u:S3cret@h/d",
		"keywords and values":                   "host=h user=u password=S3cret",
		"no host after a broken escape":         "postgres://u:S3cret%zz@h/d",
		"an @ in the password":                  "postgres://u:x@S3cret@h/d",
		"a slash in the password":               "postgres://u:12/S3cret@h/d",
		"a question mark in the password":       "postgres://u:12?S3cret@h/d",
		"a number sign in the password":         "postgres://u:12#S3cret@h/d",
		"a port that is none":                   "postgres://u:S3cret@h:S3cret/d",
		"a way of encryption that there is not": "postgres://u:S3cret@h/d?sslmode=S3cret",
		"NUL":                                   "postgres://u:S3cret@h/d\x00S3cret",
		"certificates that are not there":       "postgres://u:S3cret@h/d?sslmode=verify-full&sslrootcert=/absent/ca.pem",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), Options{URL: url, MasterKey: newKey(t)})
			if !errors.Is(err, identity.ErrInvalid) {
				t.Errorf("open: got %v", err)
			}
			withoutSecret(t, err)
			_, err = Empty(t.Context(), url)
			if !errors.Is(err, identity.ErrInvalid) {
				t.Errorf("empty: got %v", err)
			}
			withoutSecret(t, err)
			if strings.Contains(url, "/absent/") && !strings.Contains(err.Error(), "/absent/ca.pem") {
				t.Errorf("%v does not say what is missing", err)
			}
		})
	}
}

func TestNoErrorShowsThePassword(t *testing.T) {
	here := strings.Replace(server.Get(t).URL, "app-database-pass", "S3cret", 1)
	for name, url := range map[string]string{
		"nobody listens":       "postgres://u:S3cret@127.0.0.1:1/d",
		"a host unknown":       "postgres://u:S3cret@nowhere.invalid/d",
		"several hosts":        "postgres://u:S3cret@127.0.0.1:1,127.0.0.1:2/d",
		"a password as option": "postgres://u@127.0.0.1:1/d?password=S3cret",
		"a wrong password":     here,
		"no encryption there":  strings.Replace(here, "sslmode=disable", "sslmode=require", 1),
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			_, err := Open(t.Context(), Options{
				URL: url, MasterKey: newKey(t), Notifications: true, Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if !errors.Is(err, identity.ErrUnavailable) {
				t.Errorf("open: got %v", err)
			}
			withoutSecret(t, err)
			_, err = Empty(t.Context(), url)
			if !errors.Is(err, identity.ErrUnavailable) {
				t.Errorf("empty: got %v", err)
			}
			withoutSecret(t, err)
			if strings.Contains(log.String(), "S3cret") {
				t.Errorf("logged %s", log.String())
			}
		})
	}
}

func withoutSecret(t *testing.T, err error) {
	t.Helper()
	for ; err != nil; err = errors.Unwrap(err) {
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err)} {
			if strings.Contains(text, "S3cret") {
				t.Errorf("%s shows the password", text)
			}
		}
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range many.Unwrap() {
				withoutSecret(t, e)
			}
		}
	}
}
