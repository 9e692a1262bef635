package broker_test

import (
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// most limits how many sessions somebody may have: at the house for broker.Self, else at an application.
func (h *house) most(id string, n int, endOldest bool) {
	h.t.Helper()
	app := h.app(id)
	app.Session.Concurrent, app.Session.EndOldest = n, endOldest
}

// endings counts session.ended events of one reason.
func (h *house) endings(reason string) int {
	h.t.Helper()
	n := 0
	for _, e := range h.events(audit.SessionEnded) {
		if e.Detail["reason"] == reason {
			n++
		}
	}
	return n
}

func TestConcurrent_TheOldestSignInMakesRoom(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.addPerson("bob", "viewers")
	h.most(broker.Self, 2, true)
	bob := h.signIn("bob")
	first := h.signIn("ada")
	h.pass(time.Second)
	child := h.child(first, "app")
	second := h.signInAs(h.atAPI(broker.Self), "", "ada")
	if second.Ended != 0 {
		t.Errorf("%d ended while there was room", second.Ended)
	}
	h.pass(time.Second)
	third := h.signIn("ada")
	if third.Ended != 1 {
		t.Errorf("%d ended, want 1", third.Ended)
	}
	h.refuses(cookie(first))
	h.refuses(cookie(child))
	h.opens(h.bearer(second))
	h.opens(cookie(third))
	h.opens(cookie(bob))
	if n := h.endings("session_limit"); n != 1 {
		t.Errorf("%d events of a session that made room, want 1", n)
	}
	why := func(out broker.Outcome) string {
		return h.WhyOut(t.Context(), broker.NewCredential(broker.Cookie, out.Token), h.app(out.Session.Application))
	}
	if got := why(first); got != "session_limit" {
		t.Errorf("the browser that is signed out is told %q", got)
	}
	if got := why(child); got != "session_limit" {
		t.Errorf("the application's browser that is signed out is told %q", got)
	}
	if got := why(third); got != "" {
		t.Errorf("a living session is told %q", got)
	}
	if got := h.WhyOut(t.Context(), broker.NewCredential(broker.Cookie, "nobody's"), h.app(broker.Self)); got != "" {
		t.Errorf("a cookie of nobody's is told %q", got)
	}
}

func TestConcurrent_OneMoreIsRefusedWhereTheOldestStays(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.most(broker.Self, 1, false)
	first := h.signIn("ada")
	_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", password)
	wantErr(t, err, identity.ErrDenied, "session_limit")
	_, err = h.SignInWithPassword(t.Context(), h.visit(), h.atAPI("app"), "", "ada", password)
	wantErr(t, err, identity.ErrDenied, "session_limit")
	h.opens(cookie(first))

	at := h.atBroker()
	at.Replaces = first.Session.ID
	second := h.signInAs(at, "", "ada") // the browser's own session is replaced, and does not count
	h.refuses(cookie(first))
	if second.Ended != 0 {
		t.Errorf("%d older ones ended", second.Ended)
	}
	if err := h.SignOut(t.Context(), h.visit(), second.Principal); err != nil {
		t.Fatal(err)
	}
	h.signIn("ada")
}

func TestConcurrent_WhatIsOverDoesNotCount(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.most(broker.Self, 1, false)
	h.signIn("ada")
	h.pass(31 * time.Minute) // idle since half an hour, though its last use may not be written down yet
	if _, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", password); err == nil {
		t.Error("a session that may be in use on another node does not count")
	}
	h.pass(2 * time.Minute)
	h.signIn("ada")
}

func TestConcurrent_AnApplicationHasALimitOfItsOwn(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.most("app", 1, true)
	one, two := h.signIn("ada"), h.signIn("ada")
	first := h.child(one, "app")
	h.child(one, "open")
	h.pass(time.Second)
	if second := h.child(two, "app"); second.Ended != 1 {
		t.Errorf("%d ended, want 1", second.Ended)
	}
	h.refuses(cookie(first))
	h.opens(cookie(one))
	h.pass(time.Second)
	if third := h.signInAs(h.atAPI("app"), "", "ada"); third.Ended != 1 {
		t.Errorf("%d ended for the API's, want 1", third.Ended)
	}
	h.opens(cookie(two))

	h.most("app", 1, false)
	_, err := h.Redeem(t.Context(), h.visit(), h.app("app"), h.handOver(one, "app"), verifier)
	wantErr(t, err, identity.ErrDenied, "session_limit")
}

// A browser that lost an application's cookie must not be locked out by the session that the cookie opened.
func TestConcurrent_TheSameSignInReplacesItsOwnAtAnApplication(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.most("app", 1, false)
	in := h.signIn("ada")
	first := h.child(in, "app")
	second := h.child(in, "app")
	if second.Ended != 0 {
		t.Errorf("%d ended", second.Ended)
	}
	h.refuses(cookie(first))
	h.opens(cookie(second))
	if n := h.endings("replaced"); n != 1 {
		t.Errorf("%d replaced, want 1", n)
	}
}

func TestConcurrent_FramesCountAtTheirApplicationOnly(t *testing.T) {
	h, door := embedding(t)
	door.again = true
	h.most(broker.Self, 1, false)
	h.most("app", 1, false)
	first, err := h.embed("olga")
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.embed("olga")
	wantErr(t, err, identity.ErrDenied, "session_limit")
	if _, err := h.embed("olga", func(at *broker.EmbedAttempt) { at.Replaces = first.Session.ID }); err != nil {
		t.Errorf("a frame loaded again: %v", err)
	}
	h.most("app", 0, false)
	for range 2 { // nobody signed in at the house for them
		if _, err := h.embed("olga"); err != nil {
			t.Error(err)
		}
	}
}

func TestConcurrent_FiftyAtOnceDoNotGetPastTheLimit(t *testing.T) {
	for name, oldest := range map[string]bool{"the oldest make room": true, "one more is refused": false} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.addPerson("ada", "viewers")
			h.most(broker.Self, 3, oldest)
			won, lost := parallel(50, func(int) error {
				_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", password)
				return err
			})
			want := 50
			if !oldest {
				want = 3
			}
			if won != want {
				t.Errorf("%d signed in, want %d", won, want)
			}
			for _, err := range lost {
				wantErr(t, err, identity.ErrDenied, "session_limit")
			}
			open, err := h.Sessions(t.Context(), identity.Principal{Subject: h.events(audit.SignInSucceeded)[0].AccountID})
			if err != nil || len(open) != 3 {
				t.Errorf("%d sessions are open, want 3 (%v)", len(open), err)
			}
			if oldest && h.endings("session_limit") != 47 {
				t.Errorf("%d ended, want 47", h.endings("session_limit"))
			}
		})
	}
}

func TestRemember_ASignInLastsAsLongAsRememberedOnesDo(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	remembered := h.atBroker()
	remembered.Remember = true
	if out := h.signInAs(remembered, "", "ada"); out.Session.Remembered || out.Session.IdleTimeout != 30*time.Minute {
		t.Errorf("remembered although it is not offered: %+v", out.Session)
	}
	h.Current().Remember = broker.Limits{Idle: 7 * 24 * time.Hour, Lifetime: 30 * 24 * time.Hour}
	if out := h.signIn("ada"); out.Session.Remembered || !out.Session.ExpiresAt.Equal(h.clock.Now().Add(8*time.Hour)) {
		t.Errorf("remembered although nobody asked: %+v", out.Session)
	}
	in := h.signInAs(remembered, "", "ada")
	if !in.Session.Remembered || !in.Session.ExpiresAt.Equal(h.clock.Now().Add(30*24*time.Hour)) {
		t.Errorf("remembered: %+v", in.Session)
	}
	child := h.child(in, "app")
	if s := child.Session; s.Remembered || s.IdleTimeout != 30*time.Minute || !s.ExpiresAt.Equal(h.clock.Now().Add(8*time.Hour)) {
		t.Errorf("an application's session outlives its own limits: %+v", s)
	}
	h.pass(6 * 24 * time.Hour)
	h.opens(cookie(in))
	h.refuses(cookie(child))
	h.pass(7*24*time.Hour + time.Minute)
	h.refuses(cookie(in))

	api := h.atAPI(broker.Self)
	api.Remember = true
	if out := h.signInAs(api, "", "ada"); out.Session.Remembered || out.Session.Kind != sessions.API {
		t.Errorf("an API's sign-in is remembered: %+v", out.Session)
	}
}
