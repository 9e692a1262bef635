package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/storagetest"
)

// nodes opens one database from two sides, as two processes do.
func nodes(t testing.TB) [2]*Store {
	t.Helper()
	o := Options{URL: server.Get(t).NewDatabase(t), MasterKey: newKey(t)}
	return [2]*Store{open(t, o), open(t, o)}
}

// crowd runs do for 50 callers at once, in turn on both nodes.
func crowd(both [2]*Store, do func(i int, s *Store)) {
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() { do(i, both[i%2]) })
	}
	wg.Wait()
}

func TestNodes(t *testing.T) {
	storagetest.RunNodes(t, func(t testing.TB) [2]broker.Store {
		both := nodes(t)
		return [2]broker.Store{both[0], both[1]}
	})
}

func TestFiftyWhoChangeOneRowOnTwoNodesAllSucceed(t *testing.T) {
	both := nodes(t)
	mustAdd(t, both[0], "a")
	var runs [50]int
	crowd(both, func(i int, s *Store) {
		err := s.Update(t.Context(), func(tx broker.Tx) error {
			runs[i]++
			return count(t.Context(), tx)
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Logf("the last of 50 needed %d runs", slices.Max(runs[:]))
	err := both[0].View(t.Context(), func(tx broker.Tx) error {
		a, err := tx.Account(t.Context(), "a")
		if a.Name != "50" {
			t.Errorf("counted to %s", a.Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// count reads and then writes, which loses updates wherever transactions are not serializable.
func count(ctx context.Context, tx broker.Tx) error {
	a, err := tx.Account(ctx, "a")
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(a.Name) // empty at first
	a.Name = strconv.Itoa(n + 1)
	return tx.UpdateAccount(ctx, a)
}

// TestTransactionsThatWouldBreakARuleTogether: each of two reads that the other's row is absent and then writes its own.
// One after the other only one may write; snapshots alone would let both (write skew).
func TestTransactionsThatWouldBreakARuleTogether(t *testing.T) {
	both := nodes(t)
	var first sync.WaitGroup
	first.Add(2)
	var runs atomic.Int32
	errTaken := errors.New("the other was first")
	only := func(s *Store, mine, other string) error {
		met := false
		return s.Update(t.Context(), func(tx broker.Tx) error {
			runs.Add(1)
			_, err := tx.Account(t.Context(), other)
			if !met { // both have read before either writes
				met = true
				first.Done()
				first.Wait()
			}
			if err == nil {
				return errTaken
			}
			if !errors.Is(err, identity.ErrNotFound) {
				return err
			}
			return tx.CreateAccount(t.Context(), people.Account{ID: mine, UsernameKey: mine})
		})
	}
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = only(both[0], "x", "y") })
	wg.Go(func() { errs[1] = only(both[1], "y", "x") })
	wg.Wait()
	if taken := errors.Is(errs[0], errTaken) != errors.Is(errs[1], errTaken); !taken || (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("got %v and %v, want one success", errs[0], errs[1])
	}
	if n := accounts(t, both[0]); n != 1 || runs.Load() < 3 {
		t.Fatalf("%d accounts after %d runs", n, runs.Load())
	}
}

func TestNodesSeeEachOther(t *testing.T) {
	both := nodes(t)
	crowd(both, func(i int, s *Store) {
		if err := addAccount(t, s, fmt.Sprint("a", i)); err != nil {
			t.Error(err)
		}
	})
	if a, b := accounts(t, both[0]), accounts(t, both[1]); a != 50 || b != 50 {
		t.Fatalf("%d and %d accounts, want 50", a, b)
	}
}

const (
	helperURL  = "SALLYPORT_TEST_DATABASE"
	helperKey  = "SALLYPORT_TEST_KEYFILE"
	helperName = "SALLYPORT_TEST_WRITER"
	perProcess = 10
)

// TestWriterProcess is not a test of its own: TestProcessesThatStartTogether runs it in other processes.
func TestWriterProcess(t *testing.T) {
	url := os.Getenv(helperURL)
	if url == "" {
		t.Skip("only run as a child process")
	}
	empty, err := Empty(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	key, err := storage.LoadOrCreateMasterKey(os.Getenv(helperKey), empty)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{URL: url, MasterKey: key})
	for n := range perProcess {
		mustAdd(t, s, fmt.Sprint(os.Getenv(helperName), "-", n))
	}
}

func TestProcessesThatStartTogether(t *testing.T) {
	const processes = 4
	url, keyFile := server.Get(t).NewDatabase(t), t.TempDir()+"/master.key"
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestWriterProcess$")
			cmd.Env = append(os.Environ(), helperURL+"="+url, helperKey+"="+keyFile, helperName+"="+fmt.Sprint("p", i))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("process %d: %v\n%s", i, err, out)
			}
		})
	}
	wg.Wait()
	key, err := storage.LoadMasterKey(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if n := accounts(t, open(t, Options{URL: url, MasterKey: key})); n != processes*perProcess {
		t.Fatalf("%d accounts, want %d", n, processes*perProcess)
	}
}
