package broker_test

import (
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// behindACutOff is a node that holds a sign-in of Ada's for good, because it has not heard yet of the cut-off that came after.
func behindACutOff(t *testing.T, kind sessions.CutoffKind, key string) (h, late *house, out broker.Outcome, p identity.Principal) {
	t.Helper()
	h = newHouse(t)
	h.addPerson("ada", "viewers")
	out = h.signIn("ada")
	late = h.beside()
	late.poll()
	late.opens(cookie(out))
	h.clock.Advance(500 * time.Millisecond)
	h.cutOff(kind, key)
	h.clock.Advance(300 * time.Millisecond)
	return h, late, out, late.opens(cookie(out)) // from its cache, as the bound allows
}

func TestSES05_NobodyMakesAKeyWithASessionThatWasCutOff(t *testing.T) {
	for name, c := range map[string]struct {
		kind sessions.CutoffKind
		key  string
	}{
		"everything":                {sessions.CutEverything, ""},
		"the provider":              {sessions.CutProvider, "local"},
		"the sign-in's application": {sessions.CutApplication, broker.Self},
	} {
		t.Run(name, func(t *testing.T) {
			h, late, _, p := behindACutOff(t, c.kind, c.key)
			_, _, err := late.CreateKey(t.Context(), late.visit(), p, broker.NewKey{Name: "ci", Application: late.app("app")})
			wantErr(t, err, identity.ErrExpired, "cut_off")
			keys, err := h.Keys(t.Context(), p)
			if err != nil || len(keys) != 0 {
				t.Fatalf("keys are %+v, %v", keys, err)
			}
		})
	}
}

func TestSES05_NobodyRotatesAKeyPastACutOff(t *testing.T) {
	t.Run("with a session that was cut off", func(t *testing.T) {
		h := newHouse(t)
		h.addPerson("ada", "viewers")
		out := h.signIn("ada")
		k, _ := h.newKey(out, "app")
		late := h.beside()
		late.poll()
		p := late.opens(cookie(out))
		h.clock.Advance(500 * time.Millisecond)
		h.cutOff(sessions.CutApplication, broker.Self)
		_, _, err := late.RotateKey(t.Context(), late.visit(), p, k.ID, time.Hour)
		wantErr(t, err, identity.ErrExpired, "cut_off")
	})
	t.Run("where the key was cut off and the session was not", func(t *testing.T) {
		h := newHouse(t)
		h.addPerson("ada", "viewers")
		out := h.signIn("ada")
		k, _ := h.newKey(out, "app")
		h.clock.Advance(500 * time.Millisecond)
		h.cutOff(sessions.CutApplication, "app")
		h.poll()
		_, _, err := h.RotateKey(t.Context(), h.visit(), h.opens(cookie(out)), k.ID, time.Hour)
		wantErr(t, err, identity.ErrExpired, "cut_off")
		_, _, err = h.RotateAnyKey(t.Context(), h.visit(), "cli", k.ID, time.Hour)
		wantErr(t, err, identity.ErrExpired, "cut_off")
	})
}

func TestSES05_ASignInThatWaitsIsCutOffToo(t *testing.T) {
	h, m := confirming(t)
	out, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", password)
	if err != nil {
		t.Fatal(err)
	}
	code := m.code(t)
	h.clock.Advance(time.Second)
	h.cutOff(sessions.CutEverything, "")
	h.clock.Advance(time.Second)
	_, err = h.SendAgain(t.Context(), h.visit(), out.Session.ID, out.Verification)
	wantErr(t, err, identity.ErrExpired, "cut_off")
	_, err = h.confirm(out, code)
	wantErr(t, err, identity.ErrExpired, "cut_off")
	for _, s := range h.sessionsOf("ada") {
		if s.State == sessions.Active {
			t.Errorf("session %s is active", s.ID)
		}
	}
}

func TestSES05_NoTokensAreMadeForASessionThatWasCutOff(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	api := h.begin("ada", "app")
	late := h.beside()
	late.poll()
	p := late.opens(access(api))
	h.clock.Advance(500 * time.Millisecond)
	h.cutOff(sessions.CutApplication, "app")
	_, err := late.IssueTokens(t.Context(), p, late.app("app"))
	wantErr(t, err, identity.ErrExpired, "cut_off")
	_, err = late.tryRefresh("app", api.RefreshToken)
	wantErr(t, err, identity.ErrExpired, "cut_off")
}

func TestSES05_WhatHangsOnASignInIsCutOffWithItAtOnce(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	out := h.signIn("ada")
	before := h.child(out, "app")
	there := h.beside()
	there.opens(cookie(before))
	h.clock.Advance(time.Second)
	h.cutOff(sessions.CutApplication, broker.Self)
	there.poll()
	for _, on := range []*house{h, there, h.beside()} {
		on.refuses(cookie(out))
		_, err := on.show(cookie(before))
		wantErr(t, err, identity.ErrExpired, "cut_off")
	}
	h.clock.Advance(time.Second)
	h.poll()
	h.opens(cookie(h.child(h.signIn("ada"), "app"))) // nobody is locked out
}
