// Package postgres owns the store in a PostgreSQL database, and in those that speak its language as far as CockroachDB
// and YugabyteDB do: connecting (address, encryption, limits), bringing the schema up to date one process at a time,
// what PostgreSQL's errors mean, and waking other processes when something changed. What the store does is
// storage/sqlstore's.
//
// Several processes share one database. Updates are serializable and run again when the database says so; views are
// snapshots. Nothing that must be right depends on what only PostgreSQL has: there is no sequence, no advisory lock, and
// notifications only spare a poll its wait.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlstore"
)

const (
	// defaultConns suits a server of a hundred connections (PostgreSQL's default) with a few processes on it.
	defaultConns = 16
	minConns     = 2
	// Connections are given back when nobody used them for a while, and made anew now and then, so that they follow an
	// address that moved to another server.
	idleTime = 5 * time.Minute
	lifetime = 30 * time.Minute
)

// Options are what Open needs.
type Options struct {
	// URL is the database as postgres://user:password@host:port/database?sslmode=verify-full, with several hosts and
	// libpq's parameters where wanted. It is a secret: no error and no log shows it. Behind a pooler that gives a
	// connection to one transaction at a time, and knows no prepared statements, it needs default_query_exec_mode=exec.
	URL string
	// MasterKey seals and opens secrets at rest.
	MasterKey *storage.MasterKey
	// Notifications has other processes woken after a change, and this one by theirs. Without them, and wherever they do
	// not work (CockroachDB, a pooler that gives connections to transactions), a change is found by the next poll.
	Notifications bool
	// MaxConns bounds the connections that transactions take, half of them for updates; up to two more serve the clock
	// and notifications. 0: 16.
	MaxConns int
	// Log hears when limits or notifications do not work. Nil: nobody does.
	Log *slog.Logger
}

// Store fills broker.Store over a PostgreSQL database. It is safe for concurrent use.
type Store struct {
	*sqlstore.Store
	side     *sql.DB
	notifier *notifier
}

var _ broker.Store = (*Store)(nil)

// Open connects to the database, brings its schema up to date and checks the master key: a store sealed with another
// one is refused with sqlstore.ErrWrongMasterKey. A URL that cannot be read is identity.ErrInvalid, a database that does
// not answer or does not let us in identity.ErrUnavailable.
func Open(ctx context.Context, o Options) (*Store, error) {
	config, err := parse(o.URL)
	if err != nil {
		return nil, err
	}
	if o.MasterKey == nil {
		return nil, fmt.Errorf("open database: no master key: %w", identity.ErrInvalid)
	}
	if o.MaxConns == 0 {
		o.MaxConns = defaultConns
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := migrate(ctx, config); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	s := &Store{side: pool(config, 1)}
	if o.Notifications {
		s.notifier = newNotifier(config, s.side, o.Log)
	}
	if err := s.open(ctx, config, o); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), s.side.Close())
	}
	return s, nil
}

// open makes the pools: two, so that a crowd of updates does not keep sign-ins from reading.
func (s *Store) open(ctx context.Context, config *pgx.ConnConfig, o Options) (err error) {
	conns := max(o.MaxConns, minConns)
	writers := conns / 2
	writer, reader := pool(config, writers), pool(config, conns-writers)
	s.Store, err = sqlstore.New(ctx, sqlstore.Options{
		Writer: writer, Reader: reader, Dialect: dialect(s.side, s.notifier.changed), MasterKey: o.MasterKey,
	})
	if err != nil {
		return err
	}
	if err := warnUnlimited(ctx, s.side, o.Log); err != nil {
		return errors.Join(err, s.Store.Close())
	}
	s.notifier.start()
	return nil
}

// Notifications receives after another process, or this one, committed changes, and after a time in which that could
// have been missed. Several commits may be told once. It is nil, so never ready, without Options.Notifications.
func (s *Store) Notifications() <-chan struct{} {
	if s.notifier == nil {
		return nil
	}
	return s.notifier.wake
}

// Close waits for the transactions under way and releases all connections. Afterwards every call answers
// identity.ErrUnavailable. A second Close does nothing.
func (s *Store) Close() error {
	s.notifier.close()
	return errors.Join(s.Store.Close(), s.side.Close())
}

// pool opens no connection yet.
func pool(config *pgx.ConnConfig, conns int) *sql.DB {
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxIdleTime(idleTime)
	db.SetConnMaxLifetime(lifetime)
	return db
}
