package broker_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

func TestSES01_NoSecretIsInTheStoreAsItWasIssued(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "operators")
	out := h.signIn("ada")
	child := h.child(out, "app")
	open := h.handOver(out, "app")
	_, whole := h.newKey(out, "app")
	_, secret, err := broker.ParseKey(whole)
	if err != nil {
		t.Fatal(err)
	}
	setup := h.setupCode()
	var stored strings.Builder
	for _, file := range []string{h.path, h.path + "-wal"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		stored.Write(b)
	}
	if !strings.Contains(stored.String(), out.Session.ID) {
		t.Fatal("the session's public id is not in the file: the search finds nothing")
	}
	for what, value := range map[string]string{
		"cookie": out.Token, "application cookie": child.Token, "hand-over code": open, "key": whole, "key secret": secret,
		"set-up code": setup,
	} {
		if len(value) < 43 {
			t.Errorf("%s has %d characters, less than 256 bits", what, len(value))
		}
		if strings.Contains(stored.String(), value) {
			t.Errorf("%s is in the store as it was issued", what)
		}
	}
}

func TestSES01_ACookieOpensItsOwnApplicationOnly(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "operators")
	own := h.signIn("ada")
	child := h.child(own, "app")
	h.opens(cookie(own))
	h.opens(cookie(child))
	for _, c := range []struct {
		name string
		credential
	}{
		{"the application's cookie at the broker", credential{broker.Cookie, child.Token, broker.Self}},
		{"the broker's cookie at the application", credential{broker.Cookie, own.Token, "app"}},
		{"one application's cookie at another", credential{broker.Cookie, child.Token, "reports"}},
		{"the public id as a cookie", credential{broker.Cookie, own.Session.ID, broker.Self}},
		{"a cookie as a bearer token", credential{broker.Bearer, own.Token, broker.Self}},
		{"a cookie as an API key", credential{broker.APIKey, own.Token, broker.Self}},
		{"an unknown cookie", credential{broker.Cookie, broker.NewSecret(), broker.Self}},
		{"an empty cookie", credential{broker.Cookie, "", broker.Self}},
		{"a cookie longer than any", credential{broker.Cookie, strings.Repeat("a", 17<<10), broker.Self}},
		{"a carrier that nobody knows", credential{broker.Carrier(9), own.Token, broker.Self}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := h.show(c.credential)
			wantErr(t, err, identity.ErrBadCredentials, "credential_invalid")
		})
	}
}

func TestSES01_ACredentialDoesNotPrintItself(t *testing.T) {
	c := broker.NewCredential(broker.Cookie, "a secret value")
	if got := c.String() + c.GoString(); strings.Contains(got, "secret") {
		t.Fatalf("printed as %s", got)
	}
}

func TestSES02_TheOldCookieIsDeadAfterSignIn(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	before := h.signIn("ada")
	child := h.child(before, "app")
	bearer := h.bearer(child)
	for _, c := range []credential{cookie(before), cookie(child), bearer} {
		h.opens(c) // and now it is cached
	}
	at := h.atBroker()
	at.Replaces = before.Session.ID
	after := h.signInAs(at, "", "ada")
	if after.Session.ID == before.Session.ID || after.Token == before.Token {
		t.Fatal("the sign-in kept its id or cookie")
	}
	h.opens(cookie(after))
	for _, c := range []credential{cookie(before), cookie(child), bearer} {
		h.refuses(c)
	}
}

func TestSES03_IdleAndAbsoluteEndAreKeptByTheServer(t *testing.T) {
	const idle, absolute = 30 * time.Minute, 8 * time.Hour
	for _, c := range []struct {
		name  string
		steps []time.Duration
		lives bool
	}{
		{"one second before the idle end it lives", []time.Duration{idle - time.Second}, true},
		{"at the idle end it is over", []time.Duration{idle}, false},
		{"being used keeps it", []time.Duration{20 * time.Minute, 20 * time.Minute, 20 * time.Minute}, true},
		{"used all day, it ends at the absolute end", steps(20*time.Minute, absolute), false},
		{"used all day, it lives until a second before", append(steps(20*time.Minute, absolute-20*time.Minute), 20*time.Minute-time.Second), true},
	} {
		for _, noted := range []bool{false, true} {
			t.Run(c.name+map[bool]string{true: ", also from the store"}[noted], func(t *testing.T) {
				h := newHouse(t)
				h.addPerson("ada", "viewers")
				in := cookie(h.signIn("ada"))
				var err error
				for _, d := range c.steps {
					h.pass(d)
					_, err = h.show(in)
					if noted {
						if err := h.FlushSeen(t.Context()); err != nil {
							t.Fatal(err)
						}
						h.reload() // empties the caches
					}
				}
				if c.lives && err != nil {
					t.Fatal(err)
				}
				if !c.lives {
					if !errors.Is(err, identity.ErrExpired) {
						t.Fatalf("error is %v, want expired", err)
					}
					h.refuses(in)
				}
			})
		}
	}
}

// steps divides a time.
func steps(each, all time.Duration) []time.Duration {
	var out []time.Duration
	for ; all > 0; all -= each {
		out = append(out, each)
	}
	return out
}

func TestSES03_AShortIdleTimeIsNotOverForSomebodyWhoIsThere(t *testing.T) {
	h := newHouse(t, func(s *settings) { s.session = broker.Limits{Idle: 10 * time.Second, Lifetime: time.Hour} })
	h.addPerson("ada", "viewers")
	in := cookie(h.signIn("ada"))
	for range 20 {
		h.pass(4 * time.Second)
		h.opens(in)
	}
	h.pass(10 * time.Second)
	h.refuses(in)
}

func TestSES03_AChildsUseKeepsItsParentAlive(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	parent := h.signIn("ada")
	child := h.child(parent, "app")
	h.opens(cookie(parent)) // cached, so that its own copy must hear of it
	for range 6 {
		h.pass(20 * time.Minute)
		h.opens(cookie(child))
	}
	h.opens(cookie(parent))

	t.Run("also before it was written down and after the cache forgot it", func(t *testing.T) {
		h.pass(25 * time.Minute)
		h.opens(cookie(child))
		h.reload()
		h.pass(10 * time.Minute)
		h.opens(cookie(parent))
	})
	t.Run("and for another process once it was written down", func(t *testing.T) {
		if err := h.FlushSeen(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.beside().opens(cookie(parent))
	})
}

func TestSES03_AChildNeverOutlivesItsParent(t *testing.T) {
	long := application("app", "https://app.example.test/")
	long.Session = broker.Limits{Idle: 5 * time.Hour, Lifetime: 24 * time.Hour}
	h := newHouse(t, func(s *settings) { s.apps = []*broker.Application{long} })
	h.addPerson("ada", "viewers")

	t.Run("by its absolute end", func(t *testing.T) {
		parent := h.signIn("ada")
		h.pass(20 * time.Minute)
		child := h.child(parent, "app")
		if !child.Session.ExpiresAt.Equal(parent.Session.ExpiresAt) {
			t.Fatalf("child ends %s, parent %s", child.Session.ExpiresAt, parent.Session.ExpiresAt)
		}
	})
	t.Run("by being idle longer, nor does it bring its parent back", func(t *testing.T) {
		parent := h.signIn("ada")
		child := h.child(parent, "app")
		h.pass(31 * time.Minute)
		h.refuses(cookie(child))
		h.refuses(cookie(parent))
		if err := h.FlushSeen(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.reload()
		h.refuses(cookie(parent))
	})
	t.Run("nor is it made under one that is over", func(t *testing.T) {
		parent := h.signIn("ada")
		h.pass(30*time.Minute - time.Second)
		code := h.handOver(parent, "app")
		h.pass(2 * time.Second)
		_, err := h.Redeem(t.Context(), h.visit(), h.app("app"), code, verifier)
		wantErr(t, err, identity.ErrExpired, "")
	})
}

func TestSES03_WhatTheStoreDidNotTakeIsWrittenDownTheNextTime(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	h.pass(20 * time.Minute)
	h.opens(cookie(in))
	h.store.set(func(f *faults) { f.any = func() error { return identity.ErrUnavailable } })
	if err := h.FlushSeen(t.Context()); !errors.Is(err, identity.ErrUnavailable) {
		t.Fatalf("error is %v", err)
	}
	h.store.set(func(f *faults) { f.any = nil })
	if err := h.FlushSeen(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.pass(20 * time.Minute)
	h.beside().opens(cookie(in))
}

// signedIn is somebody with one of everything.
type signedIn struct {
	browser, child, api broker.Outcome
	all                 []credential
	code, key           string
}

func (h *house) everything(name string) signedIn {
	h.t.Helper()
	s := signedIn{browser: h.signIn(name), api: h.signInAs(h.atAPI("app"), "", name)}
	s.child = h.child(s.browser, "app")
	s.code = h.handOver(s.browser, "app")
	_, s.key = h.newKey(s.browser, "app")
	s.all = []credential{cookie(s.browser), cookie(s.child), h.bearer(s.child)}
	for _, c := range append(s.all, h.bearer(s.api), apiKey(s.key, "app")) {
		h.opens(c)
	}
	return s
}

func TestSES04_SignOutEndsTheSignInWithEverythingBelowItAndNothingElse(t *testing.T) {
	for _, c := range []struct {
		name string
		who  func(s signedIn) identity.Principal
	}{
		{"asked at the broker", func(s signedIn) identity.Principal { return s.browser.Principal }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.addPerson("ada", "viewers")
			h.addPerson("ben", "viewers")
			ada, ben, elsewhere := h.everything("ada"), h.everything("ben"), h.signIn("ada")
			if err := h.SignOut(t.Context(), h.visit(), c.who(ada)); err != nil {
				t.Fatal(err)
			}
			for _, gone := range ada.all {
				h.refuses(gone)
			}
			_, err := h.Redeem(t.Context(), h.visit(), h.app("app"), ada.code, verifier)
			wantErr(t, err, identity.ErrExpired, "code_invalid")
			if _, err := h.HandOver(t.Context(), h.visit(), ada.browser.Principal, h.app("app"), "x"); err == nil {
				t.Fatal("an ended sign-in was handed over")
			}
			if _, _, err := h.CreateKey(t.Context(), h.visit(), ada.browser.Principal,
				broker.NewKey{Name: "late", Application: h.app("app")}); !errors.Is(err, identity.ErrExpired) {
				t.Fatalf("key of an ended sign-in: %v", err)
			}
			for _, lives := range append(ben.all, cookie(elsewhere), h.bearer(ada.api), apiKey(ada.key, "app"), apiKey(ben.key, "app")) {
				h.opens(lives)
			}
			if _, err := h.Redeem(t.Context(), h.visit(), h.app("app"), ben.code, verifier); err != nil {
				t.Fatalf("the other person's code: %v", err)
			}
		})
	}
}

// TestSES04_AnApplicationSignsOutOfItselfOnly: it can forge or replay its own tokens, so they must end nothing of others.
func TestSES04_AnApplicationSignsOutOfItselfOnly(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	ada := h.everything("ada")
	bearer := h.bearer(ada.child)
	if err := h.SignOut(t.Context(), h.visit(), ada.child.Principal); err != nil {
		t.Fatal(err)
	}
	h.refuses(cookie(ada.child))
	h.refuses(bearer)
	for _, lives := range []credential{cookie(ada.browser), h.bearer(ada.api), apiKey(ada.key, "app")} {
		h.opens(lives)
	}
}

func TestSES04_AnAPISignOutEndsItsTokensOnly(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	ada := h.everything("ada")
	bearer := h.bearer(ada.api)
	if err := h.SignOut(t.Context(), h.visit(), ada.api.Principal); err != nil {
		t.Fatal(err)
	}
	h.refuses(bearer)
	for _, c := range ada.all {
		h.opens(c)
	}
}

func TestSES04_PeopleListAndEndTheirOwnSessions(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.addPerson("ben", "viewers")
	here, there, other := h.signIn("ada"), h.signIn("ada"), h.signIn("ben")
	below := h.child(there, "app")
	list, err := h.Sessions(t.Context(), here.Principal)
	if err != nil || len(list) != 3 {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
	for _, s := range list {
		if s.AccountID != here.Principal.Subject {
			t.Fatalf("session of %s in the list", s.AccountID)
		}
	}
	t.Run("not another person's", func(t *testing.T) {
		err := h.EndSession(t.Context(), h.visit(), here.Principal, other.Session.ID)
		wantErr(t, err, identity.ErrNotFound, "")
		h.opens(cookie(other))
	})
	t.Run("not one that never was", func(t *testing.T) {
		err := h.EndSession(t.Context(), h.visit(), here.Principal, broker.NewID())
		wantErr(t, err, identity.ErrNotFound, "")
	})
	t.Run("their own elsewhere, with what hangs on it", func(t *testing.T) {
		h.opens(cookie(below))
		if err := h.EndSession(t.Context(), h.visit(), here.Principal, there.Session.ID); err != nil {
			t.Fatal(err)
		}
		h.refuses(cookie(there))
		h.refuses(cookie(below))
		h.opens(cookie(here))
	})
	t.Run("but only once", func(t *testing.T) {
		err := h.EndSession(t.Context(), h.visit(), here.Principal, there.Session.ID)
		wantErr(t, err, identity.ErrNotFound, "")
	})
	t.Run("an application's without its parent", func(t *testing.T) {
		child := h.child(here, "app")
		if err := h.EndSession(t.Context(), h.visit(), here.Principal, child.Session.ID); err != nil {
			t.Fatal(err)
		}
		h.refuses(cookie(child))
		h.opens(cookie(here))
	})
}

func TestSES04_EndingTheOthersLeavesTheTreeOneIsIn(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.addPerson("ben", "viewers")
	here, there, api, ben := h.signIn("ada"), h.signIn("ada"), h.signInAs(h.atAPI("app"), "", "ada"), h.signIn("ben")
	mine, theirs, bearer := h.child(here, "app"), h.child(there, "app"), h.bearer(api)
	n, err := h.EndOtherSessions(t.Context(), h.visit(), mine.Principal)
	if err != nil || n != 2 {
		t.Fatalf("%d sign-ins ended, %v", n, err)
	}
	for _, c := range []credential{cookie(here), cookie(mine), cookie(ben)} {
		h.opens(c)
	}
	for _, c := range []credential{cookie(there), cookie(theirs), bearer} {
		h.refuses(c)
	}
}

func TestSES04_EndingTheOthersReachesOneThatTheStoreThinksIdle(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	there := h.signIn("ada")
	h.pass(29 * time.Minute)
	h.opens(cookie(there)) // not written down yet
	h.pass(90 * time.Second)
	here := h.signIn("ada")
	if _, err := h.EndOtherSessions(t.Context(), h.visit(), here.Principal); err != nil {
		t.Fatal(err)
	}
	h.refuses(cookie(there))
}

func TestSES05_ADisabledPersonIsOutEverywhereAtOnceAndNothingComesBack(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.addPerson("ben", "viewers")
	ada, ben := h.everything("ada"), h.everything("ben")
	all := append(ada.all, h.bearer(ada.api), apiKey(ada.key, "app"))
	gone := func(t *testing.T) {
		t.Helper()
		for _, c := range all {
			h.refuses(c)
		}
		_, err := h.Redeem(t.Context(), h.visit(), h.app("app"), ada.code, verifier)
		wantErr(t, err, identity.ErrExpired, "code_invalid")
	}
	if err := h.SetDisabled(t.Context(), h.visit(), "cli", "ADA", true); err != nil {
		t.Fatal(err)
	}
	t.Run("while it is disabled", gone)
	t.Run("no new sign-in", func(t *testing.T) {
		_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", password)
		wantErr(t, err, identity.ErrBadCredentials, "")
	})
	t.Run("after it was opened again", func(t *testing.T) {
		if err := h.SetDisabled(t.Context(), h.visit(), "cli", "ada", false); err != nil {
			t.Fatal(err)
		}
		gone(t)
		h.opens(cookie(h.signIn("ada")))
	})
	t.Run("and nobody else noticed", func(t *testing.T) {
		for _, c := range append(ben.all, h.bearer(ben.api), apiKey(ben.key, "app")) {
			h.opens(c)
		}
	})
}

func TestSES05_DisablingIsOneTransaction(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	ada := h.everything("ada")
	h.refuseEvents("account.disabled")
	if err := h.SetDisabled(t.Context(), h.visit(), "cli", "ada", true); err == nil {
		t.Fatal("disabled without an event")
	}
	for _, c := range append(ada.all, h.bearer(ada.api), apiKey(ada.key, "app")) {
		h.opens(c)
	}
	if _, err := h.Redeem(t.Context(), h.visit(), h.app("app"), ada.code, verifier); err != nil {
		t.Fatal(err)
	}
}

func TestLOC06_ANewPasswordEndsAllSessions(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	ada := h.everything("ada")
	if err := h.SetPassword(t.Context(), h.visit(), "cli", "ada", "another password"); err != nil {
		t.Fatal(err)
	}
	for _, c := range append(ada.all, credential{broker.Cookie, ada.browser.Token, broker.Self}) {
		h.refuses(c)
	}
	_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", password)
	wantErr(t, err, identity.ErrBadCredentials, "")
	if _, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", "another password"); err != nil {
		t.Fatal(err)
	}
}

func TestAPendingSessionOpensNothing(t *testing.T) {
	s := sessions.Session{State: sessions.Pending, ExpiresAt: time.Now().Add(time.Hour)}
	if s.Live(time.Now()) {
		t.Fatal("a pending session lives")
	}
	k := sessions.Key{State: sessions.Pending, ExpiresAt: time.Now().Add(time.Hour)}
	if k.Live(time.Now()) {
		t.Fatal("a pending key lives")
	}
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	out := h.signIn("ada")
	pending := out.Session
	pending.ID, pending.State = broker.NewID(), sessions.Pending
	token := broker.NewSecret()
	if err := h.store.Update(t.Context(), func(tx broker.Tx) error {
		return tx.CreateSession(t.Context(), pending, token)
	}); err != nil {
		t.Fatal(err)
	}
	h.refuses(credential{broker.Cookie, token, broker.Self})
}
