package postgres

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/internal/testenv"
	"sallyport/storage/sqlite"
)

// BenchmarkUpdate measures sign-ins that survive a power cut: a session and a change per transaction.
func BenchmarkUpdate(b *testing.B) {
	pg := testenv.Postgres(b)
	pg.Durable(b)
	for _, clients := range []int{1, 8} {
		b.Run(fmt.Sprintf("postgres, %d clients", clients), func(b *testing.B) {
			signIns(b, open(b, Options{URL: pg.NewDatabase(b), MasterKey: newKey(b)}), clients)
		})
		b.Run(fmt.Sprintf("sqlite, %d clients", clients), func(b *testing.B) {
			s, err := sqlite.Open(b.Context(), sqlite.Options{Path: filepath.Join(b.TempDir(), "x.db"), MasterKey: newKey(b)})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			signIns(b, s, clients)
		})
	}
}

var serial atomic.Int64

func signIns(b *testing.B, s broker.Store, clients int) {
	b.Helper()
	ctx, now := b.Context(), time.Now()
	err := s.Update(ctx, func(tx broker.Tx) error {
		return tx.CreateAccount(ctx, people.Account{ID: "a1", Username: "a1", UsernameKey: "a1"})
	})
	if err != nil {
		b.Fatal(err)
	}
	var runs atomic.Int64
	b.ResetTimer()
	each(b, clients, func() {
		id := fmt.Sprint("s", serial.Add(1))
		one := sessions.Session{
			ID: id, Kind: sessions.Browser, State: sessions.Active, AccountID: "a1", Provider: "p", Subject: "s",
			CreatedAt: now, ExpiresAt: now.Add(time.Hour),
		}
		err := s.Update(ctx, func(tx broker.Tx) error {
			runs.Add(1)
			if err := tx.CreateSession(ctx, one, "token"+id); err != nil {
				return err
			}
			return tx.Changed(ctx, broker.ChangeSession, now, id)
		})
		if err != nil {
			b.Error(err)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
	b.ReportMetric(float64(runs.Load())/float64(b.N), "runs/tx")
}

// each spreads the runs over exactly so many callers; testing's own parallelism counts in processors.
func each(b *testing.B, clients int, do func()) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				do()
			}
		})
	}
	wg.Wait()
}
