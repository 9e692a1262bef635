package postgres

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/internal/testenv"
)

// soon is how long another node may sleep after a change that it was told of.
const soon = time.Second

// records is a log that tests look into while it is written.
type records struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *records) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *records) count(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.text.String(), text)
}

func (r *records) log() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

// change commits something that caches must see.
func change(t *testing.T, s *Store) {
	t.Helper()
	err := s.Update(t.Context(), func(tx broker.Tx) error {
		return tx.Changed(t.Context(), broker.ChangeSession, time.Now(), "s1")
	})
	if err != nil {
		t.Fatal(err)
	}
}

func woken(t *testing.T, s *Store, limit time.Duration) bool {
	t.Helper()
	select {
	case <-s.Notifications():
		return true
	case <-time.After(limit):
		return false
	}
}

// listening waits until a store hears, which its first signal tells.
func listening(t *testing.T, stores ...*Store) {
	t.Helper()
	for _, s := range stores {
		if !woken(t, s, 10*time.Second) {
			t.Fatal("the store does not listen")
		}
	}
}

func TestAChangeWakesTheOtherNode(t *testing.T) {
	o := Options{URL: server.Get(t).NewDatabase(t), MasterKey: newKey(t), Notifications: true}
	one, two := open(t, o), open(t, o)
	listening(t, one, two)
	for range 3 {
		change(t, one)
		if !woken(t, two, soon) {
			t.Fatal("the other node sleeps on")
		}
	}
	settle(t, two)
	mustAdd(t, one, "a1") // nothing that a cache holds
	err := one.Update(t.Context(), func(tx broker.Tx) error {
		return errors.Join(tx.Changed(t.Context(), broker.ChangeSession, time.Now(), "s1"), errors.New("undone"))
	})
	if err == nil || woken(t, two, 200*time.Millisecond) {
		t.Fatal("the other node was woken for nothing")
	}
}

// settle takes signals until none comes: several may be on their way.
func settle(t *testing.T, s *Store) {
	t.Helper()
	for woken(t, s, 200*time.Millisecond) {
	}
}

func TestManyChangesAreToldTogether(t *testing.T) {
	o := Options{URL: server.Get(t).NewDatabase(t), MasterKey: newKey(t), Notifications: true}
	one, two := open(t, o), open(t, o)
	listening(t, one, two)
	told := make(chan int)
	go func() {
		n := 0
		for woken(t, two, soon) {
			n++
		}
		told <- n
	}()
	const changes = 200
	for range changes {
		change(t, one)
	}
	if n := <-told; n == 0 || n >= changes {
		t.Fatalf("%d signals for %d changes", n, changes)
	}
}

func TestAConnectionThatIsCutListensAgain(t *testing.T) {
	var log records
	pg, o := server.Get(t), Options{URL: server.Get(t).NewDatabase(t), MasterKey: newKey(t), Notifications: true}
	o.Log = log.log()
	one, two := open(t, o), open(t, Options{URL: o.URL, MasterKey: o.MasterKey, Notifications: true})
	listening(t, one, two)
	if n := pg.CutConnections(t, o.URL, "query LIKE 'LISTEN%'"); n != 2 {
		t.Fatalf("%d connections listened", n)
	}
	listening(t, one, two) // and what came in between may have been missed
	settle(t, two)
	change(t, one)
	if !woken(t, two, soon) {
		t.Fatal("the other node sleeps on")
	}
	if warned, again := log.count("level=WARN"), log.count("level=INFO"); warned != 1 || again != 1 {
		t.Errorf("%d warnings and %d all-clears", warned, again)
	}
}

// TestNothingDependsOnNotifications: while nobody can connect to listen, the stores work, and say once that they poll.
func TestNothingDependsOnNotifications(t *testing.T) {
	var log records
	pg := testenv.Postgres(t)
	s := open(t, Options{URL: pg.NewDatabase(t), MasterKey: newKey(t), Notifications: true, Log: log.log()})
	listening(t, s)
	pg.Stop()
	err := testenv.Eventually(5*time.Second, nil, func() error {
		if s.notifier.listening.Load() || log.count("level=WARN") == 0 {
			return errors.New("it has not noticed")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.notifier.notify(t.Context()) // fails and is no more than a note
	if woken(t, s, 700*time.Millisecond) {
		t.Error("a signal came from nowhere")
	}
	if n := log.count("level=WARN"); n != 1 {
		t.Errorf("%d warnings", n)
	}
	pg.Start(t)
	listening(t, s)
	change(t, s)
	if !woken(t, s, soon) {
		t.Error("it sleeps on")
	}
}

func TestWithoutNotificationsNothingListens(t *testing.T) {
	pg, o := server.Get(t), Options{URL: server.Get(t).NewDatabase(t), MasterKey: newKey(t)}
	s := open(t, o)
	change(t, s)
	if s.Notifications() != nil {
		t.Error("there is a channel")
	}
	if n := pg.CutConnections(t, o.URL, "query LIKE 'LISTEN%' OR query LIKE 'NOTIFY%'"); n != 0 {
		t.Errorf("%d connections listen", n)
	}
}

func TestPausesAreJittered(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 50 {
		d := jittered(time.Second)
		if d < time.Second/2 || d > time.Second {
			t.Fatalf("%v", d)
		}
		seen[d] = true
	}
	if len(seen) < 10 {
		t.Errorf("only %d different pauses", len(seen))
	}
}
