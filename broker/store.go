package broker

import (
	"context"
	"time"

	"sallyport/audit"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/tokens"
)

// Store is where everything that must survive lives. Adapters are in storage/…, all held against one suite.
type Store interface {
	// Update runs fn in a transaction that is committed when fn returns nil and undone otherwise. fn does no I/O but
	// through tx and may be run again, so it must not keep results of an earlier run.
	Update(ctx context.Context, fn func(tx Tx) error) error
	// View runs fn on one consistent state.
	View(ctx context.Context, fn func(tx Tx) error) error
	// Close releases the store.
	Close() error
}

// Tx is a transaction, composed of the small interfaces that their consumers own. A store that does not answer yields
// identity.ErrUnavailable.
type Tx interface {
	people.Store
	sessions.Store
	tokens.KeyStore
	audit.Appender
	ChangeLog
	JobStore
	Settings
	Reader
}

// ChangeKind says what a Change is about.
type ChangeKind string

// The kinds of change that caches must see.
const (
	ChangeSession     ChangeKind = "session"      // key: session id
	ChangeKey         ChangeKind = "key"          // key: API key id
	ChangeSigningKeys ChangeKind = "signing_keys" // key: ""
)

// Change tells every process that something cached is no longer true.
type Change struct {
	// Seq orders by time: milliseconds since 1970 in the high 41 bits, 22 random bits below. Unique, with gaps.
	Seq  int64
	Kind ChangeKind
	Key  string
	At   time.Time
}

// ChangeLog is written in the transaction of the change itself and polled by every process.
type ChangeLog interface {
	// Changed records changes of one kind. at is when it was decided; changes whose times the polls of other nodes may not
	// find are not committed: identity.ErrUnavailable, coded clock_off where our clock is the reason.
	Changed(ctx context.Context, kind ChangeKind, at time.Time, keys ...string) error
	// Changes lists those at or after since, oldest first.
	Changes(ctx context.Context, since time.Time) ([]Change, error)
}

// JobStore gives background work to one process at a time.
type JobStore interface {
	// AcquireJob takes or extends the lease and reports whether holder has it until then.
	AcquireJob(ctx context.Context, name, holder string, now, until time.Time) (bool, error)
	// CleanUp deletes up to limit rows of each kind that nobody can need any more: codes and consumed flow ids past
	// their time, sessions and keys ended or expired before the given time, changes older than an hour before it. It
	// returns how many went. Refresh tokens, revoked
	// tokens, counted failures and verifications go past their time as well.
	CleanUp(ctx context.Context, now, before time.Time, limit int) (int, error)
}

// Settings are the few values the house itself keeps.
type Settings interface {
	// Generation returns the number of the configuration with this content hash, giving it the next one if it is new.
	Generation(ctx context.Context, hash string, at time.Time) (int64, error)
	// SealedSetting returns a named value, sealed at rest: identity.ErrNotFound when there is none.
	SealedSetting(ctx context.Context, name string) ([]byte, error)
	// PutSealedSetting stores it once: identity.ErrConflict when the name is taken.
	PutSealedSetting(ctx context.Context, name string, value []byte) error
	// ReplaceSealedSetting stores it whether or not there is one.
	ReplaceSealedSetting(ctx context.Context, name string, value []byte) error
}

// Reader shows what was recorded.
type Reader interface {
	// Events lists audit events, newest first, with IDs below before (0: from the newest).
	Events(ctx context.Context, before int64, limit int) ([]audit.Event, error)
	// Now is the store's clock, which all nodes share where they share a server; not as old as the transaction's state.
	Now(ctx context.Context) (time.Time, error)
}
