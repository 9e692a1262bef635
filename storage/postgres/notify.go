package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	listenSQL = "LISTEN sallyport_changes"
	notifySQL = "NOTIFY sallyport_changes"
	// betweenNotices bounds how often one process wakes the others: what it commits in between is told together.
	betweenNotices = 20 * time.Millisecond
	// noticeTimeout ends a notice that hangs; the next one says the same.
	noticeTimeout = 5 * time.Second
	// A connection that was lost is made again after a pause that doubles between these.
	firstRest, maxRest = 200 * time.Millisecond, 30 * time.Second
)

// notifier wakes other processes after our changes, and this one after theirs. It is a convenience: whatever fails here
// is logged once, and a poll finds the changes a second later. Notices are sent after the commit, on a connection of
// their own: inside a transaction NOTIFY takes a lock at commit that all databases of the server share, and CockroachDB
// has no such statement. A nil notifier does nothing.
type notifier struct {
	config *pgx.ConnConfig
	side   *sql.DB
	log    *slog.Logger
	// wake and send hold one signal each: whoever reads it has seen all before.
	wake, send chan struct{}
	// listening says whether LISTEN works; where it does not, NOTIFY is not tried.
	listening atomic.Bool
	stop      context.CancelFunc
	work      sync.WaitGroup
}

func newNotifier(config *pgx.ConnConfig, side *sql.DB, log *slog.Logger) *notifier {
	return &notifier{
		config: config, side: side, log: log, wake: make(chan struct{}, 1), send: make(chan struct{}, 1),
		stop: func() {},
	}
}

func (n *notifier) start() {
	if n == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	n.work.Go(func() { n.listen(ctx) })
	n.work.Go(func() { n.tell(ctx) })
}

// close ends what start began, and waits for it.
func (n *notifier) close() {
	if n == nil {
		return
	}
	n.stop()
	n.work.Wait()
}

// changed asks for a notice, and does not wait for it.
func (n *notifier) changed() {
	if n != nil {
		ring(n.send)
	}
}

func ring(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// tell sends the notices.
func (n *notifier) tell(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-n.send:
		}
		if n.listening.Load() {
			n.notify(ctx)
		}
		pause(ctx, betweenNotices)
	}
}

func (n *notifier) notify(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	if _, err := n.side.ExecContext(limited, notifySQL); err != nil && ctx.Err() == nil {
		n.log.DebugContext(ctx, "others were not told of a change, they will find it at their next poll", "err", err)
	}
}

// listen keeps the connection that hears.
func (n *notifier) listen(ctx context.Context) {
	rest := firstRest
	silent := false
	for {
		err := n.hear(ctx, func() {
			if silent {
				n.log.InfoContext(ctx, "the database notifies us again")
			}
			rest, silent = firstRest, false
		})
		if ctx.Err() != nil {
			return
		}
		if !silent {
			n.log.WarnContext(ctx, "the database does not notify us, changes are polled for alone", "err", err)
		}
		silent = true
		pause(ctx, jittered(rest))
		rest = min(2*rest, maxRest)
	}
}

// hear listens on a connection of its own until that fails, which it always does in the end. What came while nobody
// listened is lost, so the beginning is a signal too.
func (n *notifier) hear(ctx context.Context, began func()) error {
	conn, err := pgx.ConnectConfig(ctx, n.config)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	if _, err := conn.Exec(ctx, listenSQL); err != nil {
		return err
	}
	n.listening.Store(true)
	defer n.listening.Store(false)
	began()
	for {
		ring(n.wake)
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}

// hangUp says goodbye to a server that may be gone.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// jittered is between half of d and d, so that processes that lost the server together do not come back together.
func jittered(d time.Duration) time.Duration {
	var b [1]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process first
	return d/2 + d/2*time.Duration(b[0])/256
}
