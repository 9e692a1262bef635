package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/internal/testenv"
	"sallyport/storage/postgres"
)

// samples is how many people of a house show what they hold, spread over all that is in its store.
const samples = 1_000

// million is how many accounts, identities, sessions and keys the large house has; SALLYPORT_BENCH_ROWS says otherwise.
func million(b *testing.B) int {
	b.Helper()
	text := os.Getenv("SALLYPORT_BENCH_ROWS")
	if text == "" {
		return 1_000_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < samples {
		b.Fatalf("SALLYPORT_BENCH_ROWS=%s: expected a number of at least %d", text, samples)
	}
	return n
}

// BenchmarkMillion compares a house of a million sessions, keys and accounts with one of a thousand, for each carrier, on
// each engine: the share of the speed that is left when answers come from the cache, and when they come from the store.
func BenchmarkMillion(b *testing.B) {
	n := million(b)
	b.Run("sqlite", func(b *testing.B) {
		key := newKey(b)
		compare(b, n,
			newHouseOn(b, openSQLite(b, filepath.Join(b.TempDir(), "few.db"), key)),
			newHouseOn(b, openSQLite(b, filepath.Join(b.TempDir(), "many.db"), key)))
	})
	b.Run("postgres", func(b *testing.B) {
		server, key := testenv.Postgres(b), newKey(b)
		open := func() broker.Store {
			store, err := postgres.Open(b.Context(), postgres.Options{
				URL: server.NewDatabase(b), MasterKey: key, Notifications: true, MaxConns: 16,
			})
			if err != nil {
				b.Fatal(err)
			}
			return store
		}
		compare(b, n, newHouseOn(b, open()), newHouseOn(b, open()))
	})
}

func compare(b *testing.B, n int, few, many *house) {
	b.Helper()
	fewShown := few.populate(b, samples)
	began := time.Now()
	manyShown := many.populate(b, n)
	took := time.Since(began)
	_, _ = fmt.Fprintf(os.Stdout, "%s: %d accounts, identities, sessions and keys each were inserted in %s: %.0f rows a second\n", b.Name(), n,
		took.Round(time.Second), 4*float64(n)/took.Seconds())
	for _, carrier := range []string{"cookie", "jwt", "key"} {
		for _, from := range []string{"cached", "stored"} {
			b.Run(carrier+"/"+from, func(b *testing.B) {
				ratio(b, many.shows(b, manyShown[carrier], from == "stored"), few.shows(b, fewShown[carrier], from == "stored"))
			})
		}
	}
}

// shows authenticates one credential after the other. Under a snapshot that is not in force answers come from the store.
func (h *house) shows(b *testing.B, credentials []broker.Credential, stored bool) func() {
	b.Helper()
	at, app := h.visit(), h.app
	if stored {
		at.Snapshot = h.snapshot(b)
		app = h.app // the one of that snapshot
	}
	for _, c := range credentials { // what is cached is in the cache from here on
		if _, err := h.Authenticate(b.Context(), at, c, app); err != nil {
			b.Fatal(err)
		}
	}
	i := 0
	return func() {
		i = (i + 379) % len(credentials)
		if _, err := h.Authenticate(b.Context(), at, credentials[i], app); err != nil {
			b.Fatal(err)
		}
	}
}

// populate fills the store with n people by the statements that sign-ins run, most of them in large transactions. Those
// who will show something sign in between them as people do.
func (h *house) populate(b *testing.B, n int) map[string][]broker.Credential {
	b.Helper()
	shown := map[string][]broker.Credential{}
	for i, written := 0, samples; i < samples; i++ {
		upTo := samples + (n-samples)*(i+1)/samples
		h.insert(b, written, upTo)
		written = upTo
		for carrier, c := range h.sample(b, i) {
			shown[carrier] = append(shown[carrier], c)
		}
	}
	return shown
}

// insert writes people numbered from first to below end, each with a session and a key.
func (h *house) insert(b *testing.B, first, end int) {
	b.Helper()
	if first >= end {
		return
	}
	now := time.Now()
	err := h.store.Update(b.Context(), func(tx broker.Tx) error {
		for i := first; i < end; i++ {
			if err := somebody(b.Context(), tx, fmt.Sprintf("person-%d", i), now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// somebody is an account with its identity, a session at the application, and a key.
func somebody(ctx context.Context, tx broker.Tx, name string, now time.Time) error {
	a := people.Account{ID: broker.NewID(), Username: name, UsernameKey: name, CreatedAt: now}
	if err := tx.CreateAccount(ctx, a); err != nil {
		return err
	}
	if err := tx.CreateIdentity(ctx, people.LinkedIdentity{
		Provider: "corp", Subject: name, AccountID: a.ID, FetchedAt: now, CreatedAt: now, Generation: 1,
		Snapshot: identity.Identity{Provider: "corp", Subject: name, Username: name, Groups: []string{"operators", "staff"}},
	}); err != nil {
		return err
	}
	if err := tx.CreateSession(ctx, sessions.Session{
		ID: broker.NewID(), Kind: sessions.App, State: sessions.Active, AccountID: a.ID, Provider: "corp", Subject: name,
		Application: "app", AuthTime: now, CreatedAt: now, LastSeenAt: now, IdleTimeout: 4 * time.Hour,
		ExpiresAt: now.Add(8 * time.Hour),
	}, broker.NewSecret()); err != nil {
		return err
	}
	return tx.CreateKey(ctx, sessions.Key{
		ID: broker.NewID(), Prefix: "sp", Name: "ci", State: sessions.Active, AccountID: a.ID, Provider: "corp", Subject: name,
		Application: "app", Roles: []string{"viewer"}, CreatedAt: now, ExpiresAt: now.Add(8 * time.Hour),
	}, broker.NewSecret())
}

// sample is somebody who signs in, opens the application and makes a key.
func (h *house) sample(b *testing.B, i int) map[string]broker.Credential {
	b.Helper()
	name := fmt.Sprintf("sample-%d", i)
	in, err := h.SignIn(b.Context(), h.visit(), broker.Attempt{Application: h.Current().SelfApplication, Kind: sessions.Browser},
		identity.Assertion{Identity: identity.Identity{
			Provider: "corp", Subject: name, Username: name, Groups: []string{"operators", "staff"},
		}})
	if err != nil {
		b.Fatal(err)
	}
	code, err := h.HandOver(b.Context(), h.visit(), in.Principal, h.app, broker.Challenge("verifier"))
	if err != nil {
		b.Fatal(err)
	}
	child, err := h.Redeem(b.Context(), h.visit(), h.app, code, "verifier")
	if err != nil {
		b.Fatal(err)
	}
	token, err := h.IssueToken(b.Context(), child.Principal, h.app)
	if err != nil {
		b.Fatal(err)
	}
	_, key, err := h.CreateKey(b.Context(), h.visit(), in.Principal, broker.NewKey{Name: "ci", Application: h.app})
	if err != nil {
		b.Fatal(err)
	}
	return map[string]broker.Credential{
		"cookie": broker.NewCredential(broker.Cookie, child.Token),
		"jwt":    broker.NewCredential(broker.Bearer, token.Token),
		"key":    broker.NewCredential(broker.APIKey, key),
	}
}
