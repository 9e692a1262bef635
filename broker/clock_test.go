package broker_test

import (
	"errors"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/identity"
)

// refusal reports whether an error says no in words that everybody understands.
func refusal(err error) bool {
	return errors.Is(err, identity.ErrExpired) || errors.Is(err, identity.ErrBadCredentials) ||
		errors.Is(err, identity.ErrUnavailable) || errors.Is(err, identity.ErrDenied)
}

func TestREL06_ClocksThatStepForwardsAndBackInTwoProcesses(t *testing.T) {
	for _, c := range []struct {
		name string
		step time.Duration
		// works: everything goes on at the other process while its clock is off.
		works bool
	}{
		{"ten seconds ahead", 10 * time.Second, true},
		{"ten seconds behind", -10 * time.Second, true},
		{"thirty seconds ahead", 30 * time.Second, false},
		{"thirty seconds behind", -30 * time.Second, false},
		{"five minutes ahead", 5 * time.Minute, false},
		{"five minutes behind", -5 * time.Minute, false},
		{"an hour ahead", time.Hour, false},
		{"an hour behind", -time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFleet(t, 0, 0)
			one, two := f.nodes[0], f.nodes[1]
			clock := two.clock
			one.addPerson("ada", "viewers")
			in := one.everything("ada")
			family := one.begin("ada", "app")
			living := append(append([]credential{}, in.all...), apiKey(in.key, "app"), access(family))
			out := one.signIn("ada")
			over := cookie(out)
			if err := one.SignOut(t.Context(), one.visit(), out.Principal); err != nil {
				t.Fatal(err)
			}
			used := one.handOver(in.browser, "app")
			if _, err := one.Redeem(t.Context(), one.visit(), one.app("app"), used, verifier); err != nil {
				t.Fatal(err)
			}

			clock.Advance(c.step)
			two.poll()
			for _, shown := range living {
				if _, err := two.show(shown); c.works && err != nil || err != nil && !refusal(err) {
					t.Errorf("carrier %d at a process whose clock is %s off: %v", shown.carrier, c.step, err)
				}
			}
			nothingComesBack(t, two, over, used)
			if c.works {
				two.refresh(family)
			}

			clock.Advance(-c.step)
			one.poll()
			two.poll()
			nothingComesBack(t, one, over, used)
			nothingComesBack(t, two, over, used)
			for _, h := range []*house{one, two} {
				again := h.signIn("ada")
				one.opens(cookie(again))
				two.opens(cookie(again))
				next := h.refresh(h.begin("ada", "app"))
				one.opens(access(next))
				two.opens(access(next))
			}
		})
	}
}

// nothingComesBack holds what ended, and what was used, against a process.
func nothingComesBack(t *testing.T, h *house, over credential, used string) {
	t.Helper()
	if _, err := h.show(over); err == nil {
		t.Error("who signed out is back")
	}
	if _, err := h.Redeem(t.Context(), h.visit(), h.app("app"), used, verifier); err == nil {
		t.Error("a hand-over code was taken twice")
	}
}

func TestREL06_WhatWasSeenToBeOverStaysOverWhenTheClockJumpsBack(t *testing.T) {
	h := newHouse(t, func(s *settings) {
		short := broker.Limits{Idle: 10 * time.Minute, Lifetime: 20 * time.Minute}
		s.session = short
		for _, a := range s.apps {
			a.Session = short
		}
	})
	h.addPerson("ada", "viewers")
	in := h.everything("ada")
	idle, kept := h.signIn("ada"), h.begin("ada", "app")
	for range 3 { // used, but for the idle one, until the end of its lifetime
		h.pass(7 * time.Minute)
		for _, c := range in.all {
			_, _ = h.show(c)
		}
	}
	over := append(append([]credential{}, in.all...), cookie(idle), access(kept))
	for _, c := range over {
		h.refuses(c)
	}
	if _, err := h.tryRefresh("app", kept.RefreshToken); !refusal(err) {
		t.Errorf("refresh: %v", err)
	}
	if err := h.FlushSeen(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.pass(-time.Hour)
	for _, c := range over {
		h.refuses(c)
	}
	if _, err := h.tryRefresh("app", kept.RefreshToken); !refusal(err) {
		t.Errorf("refresh: %v", err)
	}
	again := h.signIn("ada")
	h.opens(cookie(again))
	h.opens(access(h.refresh(h.begin("ada", "app"))))
}
