package postgres

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
	"sallyport/internal/testenv"
)

// quickly is how soon a caller must hear that the database is gone.
const quickly = 3 * time.Second

func TestAServerThatGoesAndComesBack(t *testing.T) {
	pg := testenv.Postgres(t) // one of its own: the others' must not be stopped
	s := open(t, Options{URL: pg.NewDatabase(t), MasterKey: newKey(t), Notifications: true})
	mustAdd(t, s, "a1")
	pg.Stop()
	for range 3 {
		began := time.Now()
		if err := addAccount(t, s, "a2"); !errors.Is(err, identity.ErrUnavailable) {
			t.Errorf("update: got %v", err)
		}
		if _, err := tryAccounts(s); !errors.Is(err, identity.ErrUnavailable) {
			t.Errorf("view: got %v", err)
		}
		if d := time.Since(began); d > quickly {
			t.Errorf("the answer took %v", d)
		}
	}
	pg.Start(t)
	if err := testenv.Eventually(10*time.Second, nil, func() error { return addAccount(t, s, "a2") }); err != nil {
		t.Fatal(err)
	}
	if n := accounts(t, s); n != 2 {
		t.Fatalf("%d accounts", n)
	}
}

func TestConnectionsThatAreCutAreMadeAnew(t *testing.T) {
	pg, database := server.Get(t), server.Get(t).NewDatabase(t)
	s := open(t, Options{URL: database, MasterKey: newKey(t)})
	mustAdd(t, s, "a1")
	if pg.CutConnections(t, database, "application_name = 'sallyport'") == 0 {
		t.Fatal("there was no connection")
	}
	// Each connection of the pool may be found dead once.
	if err := testenv.Eventually(10*time.Second, nil, func() error { return addAccount(t, s, "a2") }); err != nil {
		t.Fatal(err)
	}
}

func TestATransactionWhoseConnectionIsCutIsUndone(t *testing.T) {
	pg, database := server.Get(t), server.Get(t).NewDatabase(t)
	s := open(t, Options{URL: database, MasterKey: newKey(t)})
	runs := 0
	err := s.Update(t.Context(), func(tx broker.Tx) error {
		runs++
		if err := tx.CreateAccount(t.Context(), people.Account{ID: "a1", UsernameKey: "a1"}); err != nil {
			return err
		}
		pg.CutConnections(t, database, "state = 'idle in transaction'")
		return tx.CreateAccount(t.Context(), people.Account{ID: "a2", UsernameKey: "a2"})
	})
	if !errors.Is(err, identity.ErrUnavailable) || runs != 1 || accounts(t, s) != 0 {
		t.Fatalf("got %v after %d runs", err, runs)
	}
}

// TestACommitWhoseAnswerIsLostIsNotRunAgain: the database did what we asked, and only we do not know it. Run again, a
// second invitation would be sent, a second code be issued.
func TestACommitWhoseAnswerIsLostIsNotRunAgain(t *testing.T) {
	database := server.Get(t).NewDatabase(t)
	way := cutter(t, database)
	s := open(t, Options{URL: way.url, MasterKey: newKey(t)})
	way.armed.Store(true)
	runs := 0
	err := s.Update(t.Context(), func(tx broker.Tx) error {
		runs++
		return tx.CreateAccount(t.Context(), people.Account{ID: "a1", UsernameKey: "a1"})
	})
	if !errors.Is(err, identity.ErrUnavailable) || runs != 1 || way.armed.Load() {
		t.Fatalf("got %v after %d runs", err, runs)
	}
	if n := accounts(t, s); n != 1 {
		t.Fatalf("%d accounts", n)
	}
}

// commitCutter stands between a store and the server. Armed, it lets the next commit pass and swallows the answer
// together with the connection.
type commitCutter struct {
	url   string
	armed atomic.Bool
}

func cutter(t *testing.T, database string) *commitCutter {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	u.Host = l.Addr().String()
	c := &commitCutter{url: u.String()}
	var work sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); work.Wait() })
	work.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { c.carry(client, server, &work) })
		}
	})
	return c
}

func (c *commitCutter) carry(client net.Conn, address string, work *sync.WaitGroup) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	var swallow atomic.Bool
	work.Go(func() {
		defer func() { _ = client.Close() }()
		_, _ = io.Copy(writer(func(b []byte) (int, error) {
			if swallow.Load() {
				return 0, io.ErrClosedPipe
			}
			return client.Write(b)
		}), server)
	})
	_, _ = io.Copy(writer(func(b []byte) (int, error) {
		if bytes.Contains(b, []byte("commit\x00")) && c.armed.CompareAndSwap(true, false) {
			swallow.Store(true)
		}
		return server.Write(b)
	}), client)
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestNothingIsLeftAfterClose(t *testing.T) {
	database := server.Get(t).NewDatabase(t)
	before := goleak.IgnoreCurrent()
	s, err := Open(t.Context(), Options{URL: database, MasterKey: newKey(t), Notifications: true})
	if err != nil {
		t.Fatal(err)
	}
	mustAdd(t, s, "a1")
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
	if _, err := tryAccounts(s); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("after close: got %v", err)
	}
	for _, url := range []string{database, "postgres://app@127.0.0.1:1/app?sslmode=disable"} {
		if _, err := Open(t.Context(), Options{URL: url, MasterKey: newKey(t), Notifications: true}); err == nil {
			t.Error("it was opened")
		}
	}
	goleak.VerifyNone(t, before)
	left := testenv.Eventually(5*time.Second, nil, func() error {
		if n := server.Get(t).CutConnections(t, database, "true"); n > 0 {
			return errors.New("connections are left")
		}
		return nil
	})
	if left != nil {
		t.Error(left)
	}
}

func TestACallerWhoGoesWhileTheyWaitIsToldSo(t *testing.T) {
	s := open(t, Options{URL: server.Get(t).NewDatabase(t), MasterKey: newKey(t), MaxConns: 2})
	err := s.Update(t.Context(), func(broker.Tx) error { // the only connection for updates is taken
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return s.Update(ctx, func(broker.Tx) error { return nil })
	})
	if !errors.Is(err, identity.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}
