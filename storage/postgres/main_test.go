package postgres

import (
	"context"
	"fmt"
	"testing"

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/internal/testenv"
	"sallyport/storage"
)

var server testenv.SharedPostgres

func TestMain(m *testing.M) {
	m.Run() // its verdict is the process's, once this returns
	server.Close()
}

func newKey(t testing.TB) *storage.MasterKey {
	t.Helper()
	key, err := storage.NewMasterKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// open opens a store that is closed with the test.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func addAccount(t testing.TB, s broker.Store, id string) error {
	t.Helper()
	return s.Update(t.Context(), func(tx broker.Tx) error {
		return tx.CreateAccount(t.Context(), people.Account{ID: id, Username: id, UsernameKey: id})
	})
}

func mustAdd(t testing.TB, s broker.Store, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := addAccount(t, s, id); err != nil {
			t.Fatal(err)
		}
	}
}

func tryAccounts(s broker.Store) (n int, err error) {
	ctx := context.Background()
	err = s.View(ctx, func(tx broker.Tx) error {
		list, err := tx.Accounts(ctx, "", 10000)
		n = len(list)
		return err
	})
	return n, err
}

func accounts(t testing.TB, s broker.Store) int {
	t.Helper()
	n, err := tryAccounts(s)
	if err != nil {
		t.Fatal(fmt.Errorf("count accounts: %w", err))
	}
	return n
}
