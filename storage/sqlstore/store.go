// Package sqlstore owns what the store does, for any SQL engine: every method of broker.Tx over one set of generated
// queries, transactions that are retried where the engine asks for it, and the check that the master key is the right
// one. What differs between engines is a Dialect. Opening, files, pools and migrations belong to the adapters
// (storage/sqlite); what the rows mean belongs to the packages that declare the interfaces.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlstore/internal/db"
)

const (
	// maxAttempts bounds how often a transaction is run when the engine says "again". Of many that want one row one wins
	// in each round, so that the last of a crowd needs several; with the pauses all attempts end within a second and a
	// half.
	maxAttempts = 15
	// firstPause doubles with each attempt up to maxPause, and is jittered: 5, 10, 20, 40, 80, 120, 120 … ms at most.
	firstPause = 5 * time.Millisecond
	maxPause   = 120 * time.Millisecond
	// patience is how long after its beginning a transaction may be run again: an engine that itself waits for seconds
	// before it says "again" is not asked so often.
	patience = 10 * time.Second
)

// Dialect is what an engine does its own way. All functions get an error's whole chain; all but Changed must be set.
type Dialect struct {
	// Unique: a row with this key exists already.
	Unique func(error) bool
	// Foreign: the row that this one refers to does not exist.
	Foreign func(error) bool
	// Busy: nothing happened, and the whole transaction may be run again (locked, serialization failure, deadlock). It is
	// asked about failed commits too, so it must not be true where the commit may have happened.
	Busy func(error) bool
	// Unavailable: the engine does not answer (connection, disk), which says nothing about the data.
	Unavailable func(error) bool
	// Now reads the database's clock.
	Now func(ctx context.Context) (time.Time, error)
	// Changed is called after each commit of a transaction that recorded changes. It must not wait. Nil: nobody asks.
	Changed func()
	// Update and View are how transactions begin. Update must isolate concurrent transactions as if they ran one
	// after the other; View must show one consistent state.
	Update, View *sql.TxOptions
	// Prepare: statements are compiled once at opening, for engines whose driver does not keep them itself.
	Prepare bool
}

// Options are what New needs. All fields must be set.
type Options struct {
	// Writer is the pool for Update, Reader for View; they may be the same. The store closes both.
	Writer, Reader *sql.DB
	Dialect        Dialect
	// MasterKey opens what is sealed; a store sealed with another one is refused.
	MasterKey *storage.MasterKey
}

// Store fills broker.Store. It is safe for concurrent use.
type Store struct {
	writer, reader pool
	dialect        Dialect
	sealer         *storage.Sealer
	closed         atomic.Bool
}

// pool is a connection pool with its statements and its way to begin.
type pool struct {
	db      *sql.DB
	queries *db.Queries
	begin   *sql.TxOptions
}

var _ broker.Store = (*Store)(nil)

// New returns the store over a database whose schema is up to date. A new store takes the master key as its own; one
// that was sealed with another key is refused with an error that wraps ErrWrongMasterKey. The pools are closed with the
// store, and also when New fails.
func New(ctx context.Context, o Options) (_ *Store, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, closePools(o.Writer, o.Reader))
		}
	}()
	sealer, err := storage.NewSealer(o.MasterKey)
	if err != nil {
		return nil, err
	}
	s := &Store{dialect: o.Dialect, sealer: sealer}
	if s.writer, err = newPool(ctx, o.Writer, o.Dialect.Update, o.Dialect.Prepare); err != nil {
		return nil, err
	}
	if s.reader, err = newPool(ctx, o.Reader, o.Dialect.View, o.Dialect.Prepare); err != nil {
		return nil, err
	}
	if err := s.checkMasterKey(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func newPool(ctx context.Context, d *sql.DB, begin *sql.TxOptions, prepare bool) (pool, error) {
	p := pool{db: d, begin: begin, queries: db.New(d)}
	if !prepare {
		return p, nil
	}
	q, err := db.Prepare(ctx, d)
	if err != nil {
		return pool{}, fmt.Errorf("prepare statements: %w", err)
	}
	p.queries = q
	return p, nil
}

// Close waits for the transactions under way and releases the pools. Afterwards every call answers
// identity.ErrUnavailable. A second Close does nothing.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return closePools(s.writer.db, s.reader.db)
}

// closePools closes the writer last: SQLite then folds the write-ahead log into the database.
func closePools(writer, reader *sql.DB) error {
	if writer == reader {
		return writer.Close()
	}
	return errors.Join(reader.Close(), writer.Close())
}

// Update implements broker.Store. A transaction in which a statement failed is undone even when fn returns nil, so that
// an audit event that could not be written takes its change with it. A panic in fn undoes the transaction and goes on.
func (s *Store) Update(ctx context.Context, fn func(tx broker.Tx) error) error {
	return s.run(ctx, s.writer, fn)
}

// View implements broker.Store. Writing inside is refused by the engine.
func (s *Store) View(ctx context.Context, fn func(tx broker.Tx) error) error {
	return s.run(ctx, s.reader, fn)
}

func (s *Store) run(ctx context.Context, p pool, fn func(tx broker.Tx) error) error {
	began := time.Now()
	for attempt := 1; ; attempt++ {
		again, err := s.once(ctx, p, fn)
		if !again || attempt == maxAttempts || time.Since(began) > patience {
			return err
		}
		if err := pause(ctx, attempt); err != nil {
			return s.failure(ctx, "transaction", err)
		}
	}
}

// once runs fn in one transaction and reports whether it may be run again.
func (s *Store) once(ctx context.Context, p pool, fn func(tx broker.Tx) error) (again bool, err error) {
	if s.closed.Load() {
		return false, fmt.Errorf("store is closed: %w", identity.ErrUnavailable)
	}
	sqlTx, err := p.db.BeginTx(ctx, p.begin)
	if err != nil {
		return s.dialect.Busy(err), s.unavailable(ctx, "begin", err)
	}
	committed := false
	defer func() {
		if !committed {
			_ = sqlTx.Rollback() // also after a panic; the first error is the one that tells
		}
	}()
	t := &tx{store: s, q: p.queries.WithTx(sqlTx)}
	if err := fn(t); err != nil {
		return s.dialect.Busy(t.broken), err
	}
	if t.broken != nil {
		return s.dialect.Busy(t.broken), t.broken
	}
	if err := sqlTx.Commit(); err != nil {
		return s.dialect.Busy(err), s.unavailable(ctx, "commit", err)
	}
	committed = true
	if t.changed && s.dialect.Changed != nil {
		s.dialect.Changed()
	}
	return false, nil
}

// pause waits before the next attempt: at random up to a limit that doubles, so that two that collided part.
func pause(ctx context.Context, attempt int) error {
	limit := min(firstPause<<(attempt-1), maxPause)
	timer := time.NewTimer(limit/2 + rand.N(limit/2)) //nolint:gosec // jitter is not a secret
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
