// Package storagetest owns the one suite that every adapter of broker.Store is held against: what the comments of the
// interfaces promise, sentence by sentence. What only one engine has (files, pragmas, servers) is tested beside its
// adapter.
package storagetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
)

// Run holds an adapter against the suite. open returns a new, empty store each time it is called and closes it with the
// test.
func Run(t *testing.T, open func(t testing.TB) broker.Store) {
	for _, subject := range []struct {
		name string
		run  func(*testing.T, opener)
	}{
		{"transactions", transactions},
		{"accounts", accounts},
		{"identities", identities},
		{"local people", localPeople},
		{"grants", grants},
		{"service accounts", serviceAccounts},
		{"failures", failures},
		{"sessions", sessionTree},
		{"living sessions", liveSessions},
		{"activating sessions", activating},
		{"moving sessions", moving},
		{"ending", ending},
		{"codes", codes},
		{"one use", oneUse},
		{"refresh tokens", refreshTokens},
		{"refresh answers", refreshAnswers},
		{"revoked tokens", revokedTokens},
		{"revocations", revocations},
		{"cut-offs", cutoffs},
		{"verifications", verifications},
		{"keys", keys},
		{"living keys", liveKeys},
		{"limited keys", limitedKeys},
		{"succession of keys", succession},
		{"signing keys", signingKeys},
		{"audit", auditEvents},
		{"changes and jobs", changesAndJobs},
		{"clean up", cleanUp},
		{"settings", settings},
		{"texts", texts},
	} {
		t.Run(subject.name, func(t *testing.T) { subject.run(t, open) })
	}
}

type opener = func(t testing.TB) broker.Store

// now is the moment of most tests: in another zone and finer than what is stored, to show that both are levelled.
func now() time.Time {
	return time.Date(2031, 5, 6, 7, 8, 9, 123_456_789, time.FixedZone("elsewhere", 2*60*60))
}

// stored is how a time comes back: UTC, cut to milliseconds.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func after(d time.Duration) time.Time { return now().Add(d) }

// update runs fn and fails the test with its error.
func update(t testing.TB, s broker.Store, fn func(ctx context.Context, tx broker.Tx) error) {
	t.Helper()
	if err := tryUpdate(t, s, fn); err != nil {
		t.Fatal(err)
	}
}

func tryUpdate(t testing.TB, s broker.Store, fn func(ctx context.Context, tx broker.Tx) error) error {
	t.Helper()
	return s.Update(t.Context(), func(tx broker.Tx) error { return fn(t.Context(), tx) })
}

// view runs fn and fails the test with its error.
func view(t testing.TB, s broker.Store, fn func(ctx context.Context, tx broker.Tx) error) {
	t.Helper()
	if err := s.View(t.Context(), func(tx broker.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// refused fails the test unless an update ends with the wanted sentinel.
func refused(t testing.TB, s broker.Store, want error, fn func(ctx context.Context, tx broker.Tx) error) {
	t.Helper()
	if err := tryUpdate(t, s, fn); !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func same(t testing.TB, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
}

// must is for steps inside a transaction that should all succeed.
func must(errs ...error) error { return errors.Join(errs...) }

func anAccount(id string) people.Account {
	return people.Account{
		ID: id, Username: "Name-" + id, UsernameKey: "name-" + id, Name: "Person " + id, Email: id + "@example.org",
		EmailVerified: true, CreatedAt: stored(now()), Kind: people.PersonAccount,
	}
}

func aSession(id, parent, account string) sessions.Session {
	return sessions.Session{
		ID: id, ParentID: parent, Kind: sessions.Browser, State: sessions.Active, AccountID: account,
		Provider: "corp", Subject: "s-" + account, Application: "sallyport", AMR: []string{"pwd", "otp"},
		AuthTime: stored(now()), CreatedAt: stored(now()), LastSeenAt: stored(now()), IdleTimeout: 30 * time.Minute,
		ExpiresAt: stored(after(8 * time.Hour)), Address: "192.0.2.7", UserAgent: "Browser/1.0",
	}
}

func aKey(id, account string) sessions.Key {
	return sessions.Key{
		ID: id, Prefix: "sp", Name: "key " + id, State: sessions.Active, AccountID: account, Provider: "corp",
		Subject: "s-" + account, Application: "app", Roles: []string{"viewer"}, CreatedAt: stored(now()),
		ExpiresAt: stored(after(time.Hour)),
	}
}

func aCode(p sessions.Purpose, session, account string) sessions.Code {
	return sessions.Code{
		Purpose: p, SessionID: session, AccountID: account, Application: "app", Challenge: "challenge",
		ExpiresAt: stored(after(30 * time.Second)),
	}
}

func anEvent(n int) audit.Event {
	return audit.Event{
		Type: audit.SignInRefused, At: stored(after(time.Duration(n) * time.Second)), Outcome: audit.Refusal,
		Code: "bad_credentials", Actor: "system", AccountID: "a1", Username: fmt.Sprint("u", n), Provider: "corp",
		Application: "app", SessionID: "s1", KeyID: "k1", Address: "192.0.2.7", TraceID: "t1",
		Detail: map[string]string{"rule": "three"},
	}
}
