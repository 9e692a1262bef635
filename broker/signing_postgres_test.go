package broker_test

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/identity"
	"sallyport/internal/testenv"
	"sallyport/storage"
	"sallyport/storage/postgres"
	"sallyport/tokens"
)

// TestSTO03_OnPostgreSQLOneOfManyProcessesRotates runs the races on an engine where transactions truly overlap.
func TestSTO03_OnPostgreSQLOneOfManyProcessesRotates(t *testing.T) {
	server := testenv.Postgres(t)
	key, err := storage.NewMasterKey()
	if err != nil {
		t.Fatal(err)
	}
	config := newHouse(t, withLegacy).Current()
	var rotations atomic.Int64
	seen := func(e audit.Event) {
		if e.Type == audit.SigningKeyRotated {
			rotations.Add(1)
		}
	}
	process := func(behind time.Duration) *broker.Broker {
		c := &clock{}
		c.ms.Store(time.Now().Add(-behind).UnixMilli())
		now := time.Now
		if behind > 0 {
			now = c.Now
		}
		store, err := postgres.Open(t.Context(), postgres.Options{URL: server.URL, MasterKey: key, Notifications: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		shown := &faults{Store: store}
		if behind > 0 {
			shown.clock = c // the server's clock was as far behind then
		}
		b := broker.New(broker.Options{Store: shown, Log: slog.New(slog.DiscardHandler), Now: now, OnEvent: seen})
		snap := *config
		snap.SigningKeys = broker.SigningKeyRules{RotateEvery: time.Hour, PublishBefore: time.Hour}
		if _, err := b.Load(t.Context(), &snap); err != nil {
			t.Fatal(err)
		}
		if err := b.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		return b
	}
	process(2 * time.Hour) // makes the keys
	nodes := []*broker.Broker{process(0), process(0), process(0)}
	won, lost := parallel(30, func(i int) error { return nodes[i%3].KeepSigningKeys(t.Context()) })
	if won != 30 || rotations.Load() != 1 {
		t.Fatalf("%d went well, %d rotations: %v", won, rotations.Load(), errors.Join(lost...))
	}
	visit := broker.Visit{Snapshot: nodes[0].Current()}
	won, lost = parallel(50, func(i int) error {
		_, err := nodes[i%3].RotateSigningKey(t.Context(), visit, "cli", "", "legacy", false)
		return err
	})
	if won != 1 || rotations.Load() != 2 {
		t.Fatalf("%d won, %d rotations: %v", won, rotations.Load(), errors.Join(lost...))
	}
	if err := nodes[0].Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, err := nodes[0].SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.State == tokens.KeyRetired || k.Application != "" {
			continue
		}
		won, lost := parallel(30, func(i int) error { return nodes[i%3].RevokeSigningKey(t.Context(), visit, "cli", k.ID) })
		if won != 1 {
			t.Fatalf("%d withdrew it: %v", won, errors.Join(lost...))
		}
		for _, err := range lost {
			if !errors.Is(err, identity.ErrNotFound) {
				t.Error(err)
			}
		}
	}
	count := map[tokens.KeyState]int{}
	if err := nodes[1].Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if keys, err = nodes[1].SigningKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.Application == "" {
			count[k.State]++
		}
	}
	if count[tokens.KeyCurrent] != 1 || count[tokens.KeyNext] != 1 || count[tokens.KeyRetired] != 1 {
		t.Fatalf("left are %v", count)
	}
}
