package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/identity"
	"sallyport/tokens"
	"sallyport/tokens/jws"
)

const (
	rotateEvery   = 30 * 24 * time.Hour
	publishBefore = 24 * time.Hour
)

// keyRules puts other rules for signing keys in force; the rest of the configuration stays.
func (h *house) keyRules(every, before time.Duration) {
	h.t.Helper()
	snap := *h.Current()
	snap.SigningKeys = broker.SigningKeyRules{RotateEvery: every, PublishBefore: before}
	if _, err := h.Load(h.t.Context(), &snap); err != nil {
		h.t.Fatal(err)
	}
}

// newKeyHouse is a house whose keys rotate every 30 days, and with it a pinned application "legacy".
func newKeyHouse(t testing.TB) *house {
	t.Helper()
	h := newHouse(t, withLegacy)
	h.keyRules(rotateEvery, publishBefore)
	h.addPerson("ada", "operators")
	return h
}

func (h *house) keysBeside() *house {
	h.t.Helper()
	there := h.beside()
	there.reload(withLegacy)
	there.keyRules(rotateEvery, publishBefore)
	return there
}

func withLegacy(s *settings) {
	legacy := application("legacy", "https://legacy.example.test/")
	legacy.Pinned = true
	s.apps = append(s.apps, legacy)
}

// keep runs the job once.
func (h *house) keep() {
	h.t.Helper()
	if err := h.KeepSigningKeys(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// keys returns the keys of one use in one state.
func (h *house) keysIn(application string, state tokens.KeyState) []broker.SigningKey {
	h.t.Helper()
	all, err := h.SigningKeys(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(k broker.SigningKey) bool { return k.Application != application || k.State != state })
}

// key returns the only one.
func (h *house) keyIn(application string, state tokens.KeyState) broker.SigningKey {
	h.t.Helper()
	found := h.keysIn(application, state)
	if len(found) != 1 {
		h.t.Fatalf("%d %s keys of %q", len(found), state, application)
	}
	return found[0]
}

func (h *house) rotate(application string, force bool) (string, error) {
	h.t.Helper()
	return h.RotateSigningKey(h.t.Context(), h.visit(), "cli", "", application, force)
}

func (h *house) mustRotate(application string) string {
	h.t.Helper()
	kid, err := h.rotate(application, true)
	if err != nil {
		h.t.Fatal(err)
	}
	return kid
}

func (h *house) revoke(kid string) error {
	return h.RevokeSigningKey(h.t.Context(), h.visit(), "cli", kid)
}

func kidOf(t testing.TB, raw string) string {
	t.Helper()
	m, err := jws.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return m.Header.KeyID
}

// published reports whether the JWK set holds a key.
func (h *house) published(kid string) bool {
	h.t.Helper()
	set, err := h.JWKS(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.Contains(string(set), `"kid":"`+kid+`"`)
}

func TestSTO03_ANextKeyIsPublishedBeforeItSigns(t *testing.T) {
	h := newKeyHouse(t)
	first, next := h.keyIn("", tokens.KeyCurrent), h.keyIn("", tokens.KeyNext)
	if !h.published(first.ID) || !h.published(next.ID) {
		t.Fatal("a key is not in the JWK set")
	}
	if !first.Due.Equal(first.CurrentAt.Add(rotateEvery)) || !next.Due.Equal(next.CreatedAt.Add(publishBefore)) {
		t.Fatalf("due are %s and %s", first.Due, next.Due)
	}
	h.pass(rotateEvery - time.Second)
	h.keep()
	if got := h.keyIn("", tokens.KeyCurrent).ID; got != first.ID {
		t.Fatal("rotated a second too early")
	}
	h.pass(time.Second)
	h.keep()
	current, young := h.keyIn("", tokens.KeyCurrent), h.keyIn("", tokens.KeyNext)
	if current.ID != next.ID || young.ID == first.ID || !current.CurrentAt.Equal(h.clock.Now()) || !young.CreatedAt.Equal(h.clock.Now()) {
		t.Fatalf("current is %+v, next is %+v", current, young)
	}
	if out := h.signInAs(h.atAPI("app"), "", "ada"); kidOf(t, h.token(out, "app")) != next.ID {
		t.Fatal("another key signs")
	}
	t.Run("and one that is too young waits", func(t *testing.T) {
		h.keyRules(time.Hour, publishBefore)
		h.pass(publishBefore - time.Second)
		h.keep()
		if h.keyIn("", tokens.KeyCurrent).ID != next.ID {
			t.Fatal("a key signs that was published too short a time")
		}
		if due := h.keyIn("", tokens.KeyCurrent).Due; !due.Equal(young.CreatedAt.Add(publishBefore)) {
			t.Fatalf("due is %s", due)
		}
		h.pass(time.Second)
		h.keep()
		if h.keyIn("", tokens.KeyCurrent).ID != young.ID {
			t.Fatal("not rotated")
		}
	})
	t.Run("and without a schedule it waits for an administrator", func(t *testing.T) {
		h.keyRules(0, publishBefore)
		h.pass(10 * 365 * 24 * time.Hour)
		h.keep()
		if k := h.keyIn("", tokens.KeyCurrent); k.ID != young.ID || !k.Due.IsZero() {
			t.Fatalf("current is %+v", k)
		}
	})
}

func TestAUD01_ARotationLeavesAnEvent(t *testing.T) {
	h := newKeyHouse(t)
	first, next := h.keyIn("", tokens.KeyCurrent), h.keyIn("", tokens.KeyNext)
	h.pass(rotateEvery)
	h.keep()
	own, ownNext := h.keyIn("legacy", tokens.KeyCurrent), h.keyIn("legacy", tokens.KeyNext)
	h.pass(time.Second)
	h.mustRotate("legacy")
	got := h.events(audit.SigningKeyRotated)
	if len(got) != 2 {
		t.Fatalf("%d events", len(got))
	}
	for i, want := range []audit.Event{
		{Actor: "system", Detail: map[string]string{"kid": next.ID, "retired": first.ID, "algorithm": "ES256"}},
		{Actor: "cli", Application: "legacy", Detail: map[string]string{"kid": ownNext.ID, "retired": own.ID, "algorithm": "ES256"}},
	} {
		e := got[i]
		if e.Actor != want.Actor || e.Application != want.Application || h.clock.Now().Sub(e.At) > time.Second || e.Outcome != audit.Success ||
			fmt.Sprint(e.Detail) != fmt.Sprint(want.Detail) {
			t.Errorf("event is %+v", e)
		}
	}
	t.Run("and one that cannot be written undoes it", func(t *testing.T) {
		h.store.set(func(f *faults) {
			f.appending = func(e audit.Event) error {
				if e.Type == audit.SigningKeyRotated || e.Type == audit.SigningKeyRevoked {
					return errDown
				}
				return nil
			}
		})
		before := h.keyIn("", tokens.KeyCurrent).ID
		if _, err := h.rotate("", true); err == nil {
			t.Fatal("rotated without an event")
		}
		if err := h.revoke(before); err == nil {
			t.Fatal("revoked without an event")
		}
		h.store.set(func(f *faults) { f.appending = nil })
		h.reload()
		if h.keyIn("", tokens.KeyCurrent).ID != before {
			t.Fatal("it is not undone")
		}
	})
}

func TestSTO03_ARetiredKeyStaysUntilItsLastTokenHasExpired(t *testing.T) {
	const day = 24 * time.Hour
	h := newKeyHouse(t)
	h.reload(func(s *settings) {
		s.apps[0].TokenLifetime, s.apps[0].Session = day, broker.Limits{Idle: 90 * day, Lifetime: 90 * day}
	})
	h.keyRules(rotateEvery, publishBefore)
	out := h.signInAs(h.atAPI("app"), "", "ada")
	h.pass(rotateEvery)
	last := h.bearer(out)
	old := kidOf(t, last.value)
	h.keep()
	h.reload(func(s *settings) { s.apps[0].TokenLifetime = time.Minute }) // what lives on was made before
	h.keyRules(rotateEvery, publishBefore)
	for range 24 {
		h.opens(last)
		if !h.published(old) {
			t.Fatal("not published while its tokens live")
		}
		h.pass(time.Hour - 3*time.Second)
		h.keep()
	}
	h.opens(last)
	h.pass(72 * time.Second)
	h.refuses(last) // its own time is over
	if k := h.keyIn("", tokens.KeyRetired); k.ID != old || !k.Due.After(h.clock.Now()) {
		t.Fatalf("retired is %+v", k)
	}
	h.pass(5 * time.Minute)
	h.keep()
	if h.published(old) || len(h.keysIn("", tokens.KeyRetired)) != 0 {
		t.Fatal("a retired key is never deleted")
	}
}

func TestREL06_AClockThatIsPutBackNeitherRotatesAgainNorDeletesEarly(t *testing.T) {
	h := newKeyHouse(t)
	h.pass(rotateEvery)
	h.keep()
	current, retired := h.keyIn("", tokens.KeyCurrent).ID, h.keyIn("", tokens.KeyRetired).ID
	for _, move := range []time.Duration{-time.Hour, time.Minute, time.Hour, time.Minute} {
		h.pass(move)
		h.keep()
		if h.keyIn("", tokens.KeyCurrent).ID != current || h.keyIn("", tokens.KeyRetired).ID != retired {
			t.Fatalf("changed after the clock moved by %s", move)
		}
	}
	if n := len(h.events(audit.SigningKeyRotated)); n != 1 {
		t.Fatalf("%d rotations", n)
	}
	t.Run("and a process whose clock is off leaves the keys to the others", func(t *testing.T) {
		fast := newClock()
		fast.ms.Store(h.clock.Now().Add(2 * rotateEvery).UnixMilli())
		b := broker.New(broker.Options{Store: h.store, Log: h.log(), Now: fast.Now})
		if _, err := b.Load(t.Context(), h.Current()); err != nil {
			t.Fatal(err)
		}
		if err := b.KeepSigningKeys(t.Context()); !errors.Is(err, identity.ErrUnavailable) {
			t.Fatalf("error is %v", err)
		}
		h.reload()
		if h.keyIn("", tokens.KeyCurrent).ID != current || h.keyIn("", tokens.KeyRetired).ID != retired {
			t.Fatal("it changed them")
		}
	})
}

func TestSTO03_OfManyProcessesOneRotatesOnce(t *testing.T) {
	h := newKeyHouse(t)
	houses := []*house{h, h.keysBeside(), h.keysBeside()}
	h.pass(rotateEvery)
	if won, lost := parallel(30, func(i int) error { return houses[i%3].KeepSigningKeys(t.Context()) }); won != 30 {
		t.Fatalf("%d went well, %v", won, lost)
	}
	if n := len(h.events(audit.SigningKeyRotated)); n != 1 {
		t.Fatalf("%d rotations", n)
	}
	for i := range 3 { // each gets the lease once
		h.clock.Advance(time.Minute)
		houses[i].poll()
		houses[i].keep()
	}
	if n := len(h.events(audit.SigningKeyRotated)); n != 1 {
		t.Fatalf("%d rotations later on", n)
	}
	t.Run("fifty administrators as well", func(t *testing.T) {
		h.pass(publishBefore)
		won, lost := parallel(50, func(i int) error {
			_, err := houses[i%3].RotateSigningKey(t.Context(), h.visit(), "cli", "", "", false)
			return err
		})
		if n := len(h.events(audit.SigningKeyRotated)); won != 1 || n != 2 {
			t.Fatalf("%d won, %d rotations", won, n)
		}
		for _, err := range lost {
			if !errors.Is(err, identity.ErrConflict) {
				t.Fatal(err)
			}
		}
	})
	t.Run("also when they insist", func(t *testing.T) {
		before := len(h.events(audit.SigningKeyRotated))
		won, lost := parallel(20, func(i int) error {
			_, err := houses[i%3].RotateSigningKey(t.Context(), h.visit(), "cli", "", "", true)
			return err
		})
		if n := len(h.events(audit.SigningKeyRotated)) - before; n != won || won == 0 {
			t.Fatalf("%d won, %d rotations", won, n)
		}
		for _, err := range lost {
			wantErr(t, err, identity.ErrConflict, "signing_key_rotated")
		}
	})
	t.Run("and one withdrawal of fifty", func(t *testing.T) {
		kid := h.keyIn("", tokens.KeyCurrent).ID
		won, lost := parallel(50, func(i int) error { return houses[i%3].revoke(kid) })
		if won != 1 || len(h.events(audit.SigningKeyRevoked)) != 1 {
			t.Fatalf("%d won", won)
		}
		for _, err := range lost {
			wantErr(t, err, identity.ErrNotFound, "signing_key_unknown")
		}
		h.poll()
		h.keyIn("", tokens.KeyCurrent)
		h.keyIn("", tokens.KeyNext)
	})
}

func TestSTO03_ATokenOfAKeyThatAnotherProcessMadeAMomentAgoIsVerified(t *testing.T) {
	h := newKeyHouse(t)
	there := h.keysBeside()
	out := h.signInAs(h.atAPI("app"), "", "ada")
	there.opens(h.bearer(out))
	h.mustRotate("")
	h.mustRotate("") // this one nobody else has heard of
	raw := h.token(out, "app")
	var reads atomic.Int64
	there.store.set(func(f *faults) {
		f.read = func(what string) {
			if what == "signing keys" {
				reads.Add(1)
			}
		}
	})
	won, lost := parallel(50, func(int) error {
		_, err := there.show(credential{broker.Bearer, raw, "app"})
		return err
	})
	if won != 50 || reads.Load() != 1 {
		t.Fatalf("%d verified with %d readings: %v", won, reads.Load(), lost)
	}
	t.Run("and unknown keys make it read once a second", func(t *testing.T) {
		strange := newKeyHouse(t)
		stranger := strange.signInAs(strange.atAPI("app"), "", "ada")
		there.clock.Advance(time.Second)
		reads.Store(0)
		for range 100 {
			there.refuses(credential{broker.Bearer, strange.token(stranger, "app"), "app"})
		}
		there.clock.Advance(time.Second)
		parallel(100, func(int) error {
			there.refuses(credential{broker.Bearer, strange.token(stranger, "app"), "app"})
			return nil
		})
		if n := reads.Load(); n != 2 {
			t.Fatalf("%d readings", n)
		}
	})
	// {"alg":"ES256","typ":"at+jwt"}.{}
	const withoutKid = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.e30.AAAA"
	t.Run("and what is no token, names no key, or is signed with a secret, never does", func(t *testing.T) {
		there.clock.Advance(time.Second)
		reads.Store(0)
		there.refuses(credential{broker.Bearer, "no.to.ken", "app"})
		there.refuses(credential{broker.Bearer, withoutKid, "app"})
		there.refuses(credential{broker.Bearer, h.forge(secretB, h.clock.Now, func(*tokens.Spec) {}), "hmac-a"})
		if n := reads.Load(); n != 0 {
			t.Fatalf("%d readings", n)
		}
	})
	t.Run("and without an answer of the store nobody knows", func(t *testing.T) {
		h.mustRotate("")
		h.mustRotate("")
		raw := h.token(out, "app")
		there.store.set(func(f *faults) { f.any = func() error { return errDown } })
		for range 3 {
			if _, err := there.show(credential{broker.Bearer, raw, "app"}); !errors.Is(err, identity.ErrUnavailable) {
				t.Fatalf("error is %v", err)
			}
		}
		there.store.set(func(f *faults) { f.any = nil })
		there.clock.Advance(time.Second)
		there.opens(credential{broker.Bearer, raw, "app"})
	})
}

func TestSTO03_WhatIsMissingIsMade(t *testing.T) {
	h := newKeyHouse(t)
	withdrawKeys(t, h)
	h.keep()
	for _, application := range []string{"", "legacy"} {
		h.keyIn(application, tokens.KeyCurrent)
		h.keyIn(application, tokens.KeyNext)
	}
	t.Run("and a next key signs where no current one is left", func(t *testing.T) {
		current, next := h.keyIn("", tokens.KeyCurrent), h.keyIn("", tokens.KeyNext)
		err := h.store.Update(t.Context(), func(tx broker.Tx) error {
			return errors.Join(tx.SetSigningKeyState(t.Context(), current.ID, tokens.KeyRetired, h.clock.Now()),
				tx.Changed(t.Context(), broker.ChangeSigningKeys, h.clock.Now(), ""))
		})
		if err != nil {
			t.Fatal(err)
		}
		h.pass(time.Second)
		h.reload()
		if got := h.keyIn("", tokens.KeyCurrent).ID; got != next.ID || h.keyIn("", tokens.KeyNext).ID == next.ID {
			t.Fatalf("%s signs", got)
		}
	})
}

func TestSTO03_ARotationByHand(t *testing.T) {
	h := newKeyHouse(t)
	_, err := h.rotate("", false)
	wantErr(t, err, identity.ErrConflict, "signing_key_too_young")
	h.pass(publishBefore)
	out := h.signInAs(h.atAPI("app"), "", "ada")
	old := h.bearer(out)
	next := h.keyIn("", tokens.KeyNext).ID
	if kid, err := h.rotate("", false); err != nil || kid != next {
		t.Fatalf("%s, %v", kid, err)
	}
	h.opens(old)
	if fresh := h.bearer(out); kidOf(t, fresh.value) != next {
		t.Fatal("another key signs")
	}
	_, err = h.rotate("", false)
	wantErr(t, err, identity.ErrConflict, "signing_key_too_young")
	h.mustRotate("")
	h.opens(old)
	for name, c := range map[string]struct {
		alg         tokens.Algorithm
		application string
		sentinel    error
		code        string
	}{
		"an application that nobody knows":           {"", "nobody", identity.ErrNotFound, "application_unknown"},
		"an application that shares its keys":        {"", "app", identity.ErrInvalid, "signing_key_shared"},
		"an application with a secret":               {"", "hmac-a", identity.ErrInvalid, "signing_key_shared"},
		"another algorithm than the application has": {tokens.RS256, "legacy", identity.ErrInvalid, "signing_key_shared"},
		"an algorithm that nobody uses":              {tokens.RS256, "", identity.ErrNotFound, "signing_key_unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.RotateSigningKey(t.Context(), h.visit(), "cli", c.alg, c.application, true)
			wantErr(t, err, c.sentinel, c.code)
		})
	}
}

func TestREL03_AWithdrawnKeyIsDeadEverywhere(t *testing.T) {
	for _, state := range []tokens.KeyState{tokens.KeyCurrent, tokens.KeyRetired} {
		t.Run(string(state), func(t *testing.T) {
			h := newKeyHouse(t)
			there := h.keysBeside()
			out := h.signInAs(h.atAPI("app"), "", "ada")
			child := h.child(h.signIn("ada"), "open")
			forwarded, err := there.ForwardToken(t.Context(), there.Current(), child.Principal, there.app("open"))
			if err != nil {
				t.Fatal(err)
			}
			raw := h.bearer(out)
			stolen, next := kidOf(t, raw.value), h.keyIn("", tokens.KeyNext).ID
			if state == tokens.KeyRetired {
				h.mustRotate("")
				there.poll()
			}
			h.opens(raw)
			there.opens(raw) // both have the proof at hand
			if err := h.revoke(stolen); err != nil {
				t.Fatal(err)
			}
			h.refuses(raw)
			h.clock.Advance(time.Second)
			there.poll()
			there.refuses(raw)
			there.refuses(credential{broker.Bearer, forwarded, "open"})
			for _, one := range []*house{h, there} {
				if one.published(stolen) {
					t.Error("still in the JWK set")
				}
				one.opens(h.bearer(out))
				one.opens(there.bearer(out)) // the session goes on
				again, err := one.ForwardToken(t.Context(), one.Current(), child.Principal, one.app("open"))
				if err != nil {
					t.Fatal(err)
				}
				one.opens(credential{broker.Bearer, again, "open"})
			}
			if got := h.keyIn("", tokens.KeyCurrent).ID; got != next {
				t.Errorf("%s signs", got)
			}
			h.keyIn("", tokens.KeyNext)
			e := h.events(audit.SigningKeyRevoked)
			if len(e) != 1 || e[0].Actor != "cli" || e[0].Detail["kid"] != stolen || e[0].Detail["algorithm"] != "ES256" ||
				!e[0].At.Equal(h.clock.Now().Add(-time.Second)) {
				t.Errorf("events are %+v", e)
			}
		})
	}
	t.Run("a next one never signs", func(t *testing.T) {
		h := newKeyHouse(t)
		current, next := h.keyIn("", tokens.KeyCurrent).ID, h.keyIn("", tokens.KeyNext).ID
		if err := h.revoke(next); err != nil {
			t.Fatal(err)
		}
		if h.published(next) || h.keyIn("", tokens.KeyCurrent).ID != current || h.keyIn("", tokens.KeyNext).ID == next {
			t.Fatal("it is still there, or the current one is not")
		}
	})
	t.Run("an unknown one cannot be withdrawn", func(t *testing.T) {
		h := newKeyHouse(t)
		wantErr(t, h.revoke("nobody"), identity.ErrNotFound, "signing_key_unknown")
	})
}
