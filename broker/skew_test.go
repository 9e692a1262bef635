package broker_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// fleet are nodes on one store that has a clock of its own, as a database server has.
type fleet struct {
	clock *clock
	nodes []*house
}

// newFleet starts a node for each offset from the store's clock, all of them with the right time: what is off begins
// afterwards.
func newFleet(t *testing.T, offsets ...time.Duration) fleet {
	t.Helper()
	f := fleet{clock: newClock()}
	for i := range offsets {
		if i == 0 {
			f.nodes = append(f.nodes, newHouse(t))
			continue
		}
		first := f.nodes[0]
		f.nodes = append(f.nodes, openHouse(t, first.path, first.key, newClock()))
	}
	for i, h := range f.nodes {
		h.store.set(func(s *faults) { s.clock = f.clock })
		h.clock.Advance(offsets[i])
		h.poll()
	}
	return f
}

// pass lets time go by everywhere.
func (f fleet) pass(d time.Duration) {
	f.clock.Advance(d)
	for _, h := range f.nodes {
		h.clock.Advance(d)
	}
}

// tick lets seconds go by, at each of which all nodes poll.
func (f fleet) tick(seconds int) {
	for range seconds {
		f.pass(time.Second)
		for _, h := range f.nodes {
			h.poll()
		}
	}
}

func TestREL06_NoReadyNodeMissesARevocationWhateverTheClocksSay(t *testing.T) {
	for _, offsets := range [][2]time.Duration{
		{0, 0},
		{10 * time.Second, -10 * time.Second},
		{-10 * time.Second, 10 * time.Second}, // where a poll looks latest and a change lies earliest
		{-11 * time.Second, 10 * time.Second},
		{-25 * time.Second, 25 * time.Second},
		{0, 50 * time.Second},
		{0, -50 * time.Second},
		{-50 * time.Second, 0},
		{time.Hour, -time.Hour},
	} {
		t.Run(fmt.Sprintf("one %s off, the other %s", offsets[0], offsets[1]), func(t *testing.T) {
			f := newFleet(t, offsets[:]...)
			writer, reader := f.nodes[0], f.nodes[1]
			writer.addPerson("ada", "viewers")
			out := writer.signIn("ada")
			reader.opens(cookie(out))
			f.tick(6)
			reader.opens(cookie(out))
			err := writer.EndAnySession(t.Context(), writer.visit(), "admin", out.Session.ID)
			if offsets[0].Abs() > 10*time.Second {
				wantErr(t, err, identity.ErrUnavailable, "clock_off")
				reader.opens(cookie(out)) // nothing was written
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			f.tick(2)
			reader.refuses(cookie(out))
			writer.refuses(cookie(out))
		})
	}
}

func TestREL06_ATransactionThatCommitsLateOnASlowNodeIsFoundByAFastOne(t *testing.T) {
	for _, c := range []struct {
		late    int
		refused bool
	}{{4, false}, {5, false}, {6, true}, {60, true}} {
		t.Run(fmt.Sprintf("%d s", c.late), func(t *testing.T) {
			f := newFleet(t, -10*time.Second, 10*time.Second)
			slow, fast := f.nodes[0], f.nodes[1]
			slow.addPerson("ada", "viewers")
			out := slow.signIn("ada")
			fast.opens(cookie(out))
			slow.store.set(func(s *faults) {
				s.appending = func(audit.Event) error { // after the change was numbered
					for range c.late {
						f.pass(time.Second)
						fast.poll()
					}
					return nil
				}
			})
			err := slow.EndAnySession(t.Context(), slow.visit(), "admin", out.Session.ID)
			slow.store.set(func(s *faults) { s.appending = nil })
			fast.poll()
			if c.refused {
				wantErr(t, err, identity.ErrUnavailable, "")
				slow.opens(cookie(out))
				fast.opens(cookie(out))
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			fast.refuses(cookie(out))
		})
	}
}

func TestREL06_ANodeWhoseClockIsOffAsksTheStoreChangesNothingAndRecovers(t *testing.T) {
	for _, off := range []time.Duration{10*time.Second + time.Millisecond, -11 * time.Second, 5 * time.Minute, -time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			f := newFleet(t, 0, 0)
			right, wrong := f.nodes[0], f.nodes[1]
			right.addPerson("ada", "viewers")
			out, other := right.signIn("ada"), right.signIn("ada")
			wrong.opens(cookie(out))
			wrong.clock.Advance(off)
			f.tick(6)

			if err := wrong.Ready(t.Context()); !errors.Is(err, identity.ErrUnavailable) || identity.CodeOf(err) != "clock_off" {
				t.Fatalf("ready: %v", err)
			}
			wantErr(t, wrong.EndAnySession(t.Context(), wrong.visit(), "admin", other.Session.ID), identity.ErrUnavailable, "clock_off")
			wantErr(t, wrong.CutOff(t.Context(), wrong.visit(), "admin", sessions.CutEverything, ""), identity.ErrUnavailable, "clock_off")
			right.opens(cookie(other))
			wrong.opens(cookie(out))
			if err := right.EndAnySession(t.Context(), right.visit(), "admin", out.Session.ID); err != nil {
				t.Fatal(err)
			}
			wrong.refuses(cookie(out)) // no poll told it
			wrong.down()
			if _, err := wrong.show(cookie(other)); !errors.Is(err, identity.ErrUnavailable) {
				t.Fatalf("answered out of a cache: %v", err)
			}
			wrong.isBack()

			wrong.clock.Advance(-off)
			f.tick(1)
			if err := wrong.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			wrong.opens(cookie(other))
			if err := wrong.EndAnySession(t.Context(), wrong.visit(), "admin", other.Session.ID); err != nil {
				t.Fatal(err)
			}
			f.tick(1)
			right.refuses(cookie(other))
		})
	}
}

func TestREL06_WhatANodeKeptWhileItsClockWasOffIsForgotten(t *testing.T) {
	right := newHouse(t)
	right.addPerson("ada", "viewers")
	store, fast := newClock(), newClock()
	fast.Advance(time.Hour)
	wrong := openHouse(t, right.path, right.key, fast)
	f := fleet{clock: store, nodes: []*house{right, wrong}}
	for _, h := range f.nodes {
		h.store.set(func(s *faults) { s.clock = store })
	}
	b := broker.New(broker.Options{Store: wrong.store, Log: wrong.log(), Now: fast.Now}) // never heard of anything
	if _, err := b.Load(t.Context(), wrong.Current()); err != nil {
		t.Fatal(err)
	}
	wrong.Broker = b
	owner := right.signIn("ada")
	key, whole := right.newKey(owner, "app")
	wrong.poll()
	wrong.opens(apiKey(whole, "app"))
	f.tick(1)
	if err := right.RevokeKey(t.Context(), right.visit(), owner.Principal, key.ID); err != nil {
		t.Fatal(err)
	}
	f.tick(60)
	fast.Advance(-time.Hour)
	f.tick(1)
	wrong.refuses(apiKey(whole, "app"))
}

func TestREL06_AClockThatIsOffIsSaidOnceAndSoIsItsEnd(t *testing.T) {
	h := newHouse(t)
	store := newClock()
	h.store.set(func(s *faults) { s.clock = store })
	var out bytes.Buffer
	b := broker.New(broker.Options{Store: h.store, Log: slog.New(slog.NewTextHandler(&out, nil)), Now: h.clock.Now})
	for range 2 {
		for _, move := range []time.Duration{11 * time.Second, 0, time.Minute, -71 * time.Second, 0} {
			h.clock.Advance(move)
			if err := b.Poll(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := strings.Count(out.String(), "level=ERROR"); n != 2 {
		t.Errorf("its beginning was said %d times: %s", n, out.String())
	}
	if n := strings.Count(out.String(), "level=INFO"); n != 2 {
		t.Errorf("its end was said %d times: %s", n, out.String())
	}
}

func TestREL06_ANodeWhoseClockIsOffMakesNoSigningKeysAtItsStart(t *testing.T) {
	h := newHouse(t)
	empty := openHouse(t, t.TempDir()+"/empty.db", h.key, newClock())
	withdrawKeys(t, empty)
	store := newClock()
	store.Advance(time.Minute)
	for _, on := range []*house{h, empty} {
		on.store.set(func(s *faults) { s.clock = store })
	}
	b := broker.New(broker.Options{Store: empty.store, Log: h.log(), Now: h.clock.Now})
	_, err := b.Load(t.Context(), h.Current())
	wantErr(t, err, identity.ErrUnavailable, "clock_off")
	t.Run("but starts where they are there", func(t *testing.T) {
		b := broker.New(broker.Options{Store: h.store, Log: h.log(), Now: h.clock.Now})
		if _, err := b.Load(t.Context(), h.Current()); err != nil {
			t.Fatal(err)
		}
		wantErr(t, b.Ready(t.Context()), identity.ErrUnavailable, "clock_off")
	})
}

func TestREL03_ACutOffEndsWhatBeganOnANodeWhoseClockIsAhead(t *testing.T) {
	for _, c := range []struct {
		kind sessions.CutoffKind
		key  string
		// child: what hangs on the sign-in is what is cut off.
		child bool
	}{
		{sessions.CutEverything, "", false}, {sessions.CutProvider, "local", false}, {sessions.CutApplication, "app", true},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			f := newFleet(t, 0, 10*time.Second)
			right, ahead := f.nodes[0], f.nodes[1]
			right.addPerson("ada", "viewers")
			out := ahead.signIn("ada")
			all := []credential{cookie(ahead.child(out, "app"))}
			_, whole := ahead.newKey(out, "app")
			all = append(all, apiKey(whole, "app"))
			elsewhere := cookie(ahead.child(out, "open"))
			if !c.child {
				all = append(all, cookie(out), elsewhere)
			}
			f.tick(1)
			right.cutOff(c.kind, c.key)
			f.tick(1)
			for _, h := range f.nodes {
				for _, shown := range all {
					h.refuses(shown)
				}
				if c.child {
					h.opens(elsewhere)
					h.opens(cookie(out))
				}
				again := cookie(h.child(h.signIn("ada"), "app")) // whoever comes afterwards is in, at once
				right.opens(again)
				ahead.opens(again)
			}
		})
	}
}

func TestREL03_ACutOffEndsManyThatBeganAheadOfIt(t *testing.T) {
	f := newFleet(t, 0, 10*time.Second)
	right, ahead := f.nodes[0], f.nodes[1]
	right.addPerson("ada", "viewers")
	var all []credential
	for range 210 { // more than one transaction ends
		all = append(all, cookie(ahead.signIn("ada")))
	}
	right.cutOff(sessions.CutEverything, "")
	for _, c := range all {
		right.refuses(c)
	}
}

func TestCON02_TwoTabsOnNodesWhoseClocksDifferGetTheSameAnswer(t *testing.T) {
	for _, c := range []struct{ first, second time.Duration }{
		{-10 * time.Second, 10 * time.Second}, {10 * time.Second, -10 * time.Second}, {0, 15 * time.Second}, {15 * time.Second, 0},
	} {
		t.Run(fmt.Sprintf("%s and %s", c.first, c.second), func(t *testing.T) {
			f := newFleet(t, c.first, c.second)
			one, two := f.nodes[0], f.nodes[1]
			one.addPerson("ada", "viewers")
			have := one.begin("ada", "app")
			next := one.refresh(have)
			f.pass(10 * time.Second)
			if again := two.refresh(have); again.RefreshToken != next.RefreshToken {
				t.Fatal("another answer")
			}
			two.opens(access(next))
			if max(c.first.Abs(), c.second.Abs()) > 10*time.Second {
				return // such a node ends nothing
			}
			t.Run("until ten seconds of the store's time have passed", func(*testing.T) {
				f.pass(time.Millisecond)
				two.noRefresh("app", have.RefreshToken, identity.ErrExpired, "refresh_reused")
			})
		})
	}
}

func TestCON02_TwentyOnNodesWhoseClocksDifferRotateOnce(t *testing.T) {
	f := newFleet(t, -10*time.Second, 10*time.Second)
	h := f.nodes[0]
	h.addPerson("ada", "viewers")
	have := h.begin("ada", "app")
	var mu sync.Mutex
	answers := map[string]int{}
	won, lost := parallel(20, func(i int) error {
		on := f.nodes[i%2]
		next, err := on.Refresh(t.Context(), on.visit(), on.app("app"), have.RefreshToken)
		mu.Lock()
		defer mu.Unlock()
		answers[next.RefreshToken]++
		return err
	})
	if won != 20 || len(answers) != 1 {
		t.Fatalf("%d answers, %d different; refused: %v", won, len(answers), lost)
	}
	if n := len(h.events(audit.TokenReused, audit.SessionEnded)); n != 0 {
		t.Fatalf("%d events", n)
	}
}

func TestCON02_NoNodeForgetsAnAnswerBeforeItsTime(t *testing.T) {
	f := newFleet(t, 0, 10*time.Second)
	right, ahead := f.nodes[0], f.nodes[1]
	right.addPerson("ada", "viewers")
	over, have := right.begin("ada", "app"), right.begin("ada", "app")
	right.refresh(over)
	f.pass(2 * time.Second)
	next := right.refresh(have)
	f.pass(9 * time.Second)
	end := ahead.run()
	defer end()
	wait(t, func() error {
		return right.store.View(t.Context(), func(tx broker.Tx) error {
			if _, err := tx.RefreshAnswer(t.Context(), over.RefreshToken); !errors.Is(err, identity.ErrNotFound) {
				return errors.New("the older answer is still there")
			}
			return nil
		})
	})
	if again := right.refresh(have); again.RefreshToken != next.RefreshToken {
		t.Fatal("another answer")
	}
}
