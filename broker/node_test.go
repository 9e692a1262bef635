package broker_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/mapping"
	"sallyport/tokens"
)

func denyAdmins() mapping.Rule {
	return mapping.Rule{Provider: "local", Group: "admins", Deny: true}
}

var errDown = fmt.Errorf("the store does not answer: %w", identity.ErrUnavailable)

func (h *house) down()   { h.store.set(func(f *faults) { f.any = func() error { return errDown } }) }
func (h *house) isBack() { h.store.set(func(f *faults) { f.any = nil }) }

func TestREL02_ABlindProcessAnswersFromItsCacheForFiveSecondsAndThenNotAtAll(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	ada := h.everything("ada")
	all := append(ada.all, h.bearer(ada.api), apiKey(ada.key, "app"))
	h.poll()
	h.down()
	for _, c := range []struct {
		name  string
		after time.Duration
		opens bool
	}{
		{"at once", 0, true},
		{"after five seconds", 5 * time.Second, true},
		{"a millisecond later", time.Millisecond, false},
		{"much later", time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.clock.Advance(c.after)
			if err := h.Poll(t.Context()); err == nil {
				t.Fatal("the poll did not fail: the test shows nothing")
			}
			for _, shown := range all {
				p, err := h.show(shown)
				switch {
				case c.opens && err != nil:
					t.Fatal(err)
				case !c.opens && (!errors.Is(err, identity.ErrUnavailable) || p.Subject != ""):
					t.Fatalf("answered %+v, %v", p, err)
				}
			}
		})
	}
	t.Run("the published keys are still there", func(t *testing.T) {
		if keys, err := h.JWKS(t.Context()); err != nil || len(keys) == 0 {
			t.Fatalf("%s, %v", keys, err)
		}
	})
	t.Run("what is not in the cache was never answered", func(t *testing.T) {
		_, err := h.show(credential{broker.Cookie, broker.NewSecret(), "app"})
		if !errors.Is(err, identity.ErrUnavailable) {
			t.Fatalf("error is %v", err)
		}
	})
	t.Run("and it recovers by itself", func(t *testing.T) {
		h.isBack()
		h.clock.Advance(-time.Hour) // the sessions would be over otherwise
		h.poll()
		for _, shown := range all {
			h.opens(shown)
		}
	})
}

func TestREL02_ABlindProcessAsksTheStore(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	ada := h.everything("ada")
	h.store.set(func(f *faults) { f.changes = func() error { return errDown } }) // polls fail, the rest works
	h.clock.Advance(6 * time.Second)
	other := h.beside()
	if err := other.SignOut(t.Context(), other.visit(), ada.browser.Principal); err != nil {
		t.Fatal(err)
	}
	for _, c := range ada.all {
		h.refuses(c)
	}
	h.opens(apiKey(ada.key, "app"))
}

func TestREL02_ABlindProcessDoesNotTrustTheSigningKeysItRemembers(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	api := h.signInAs(h.atAPI("app"), "", "ada")
	raw := h.token(api, "app")
	h.store.set(func(f *faults) { f.changes = func() error { return errDown } })
	h.clock.Advance(6 * time.Second)
	withdrawKeys(t, h.beside())
	h.refuses(credential{broker.Bearer, raw, "app"})
}

// withdrawKeys takes all signing keys back, as an operator would after a theft.
func withdrawKeys(t *testing.T, h *house) {
	t.Helper()
	err := h.store.Update(t.Context(), func(tx broker.Tx) error {
		all, err := tx.SigningKeys(t.Context())
		for _, k := range all {
			err = errors.Join(err, tx.SetSigningKeyState(t.Context(), k.ID, tokens.KeyRetired, h.clock.Now()),
				tx.DeleteSigningKey(t.Context(), k.ID))
		}
		return errors.Join(err, tx.Changed(t.Context(), broker.ChangeSigningKeys, h.clock.Now(), ""))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestREL03_WhatAnotherProcessChangedIsSeenAfterOnePoll(t *testing.T) {
	type scene struct {
		here, there *house
		ada         signedIn
	}
	refused := func(of func(s scene) []credential) func(t *testing.T, s scene) {
		return func(t *testing.T, s scene) {
			t.Helper()
			for _, c := range of(s) {
				s.here.refuses(c)
			}
		}
	}
	whole := func(s scene) []credential {
		return append(s.ada.all, s.here.bearer(s.ada.api), apiKey(s.ada.key, "app"))
	}
	for _, c := range []struct {
		name   string
		change func(s scene) error
		seen   func(t *testing.T, s scene)
	}{
		{
			"a session that was ended",
			func(s scene) error { return s.there.SignOut(t.Context(), s.there.visit(), s.ada.browser.Principal) },
			refused(func(s scene) []credential { return s.ada.all }),
		},
		{
			"a key that was revoked",
			func(s scene) error {
				id, _, err := broker.ParseKey(s.ada.key)
				return errors.Join(err, s.there.RevokeKey(t.Context(), s.there.visit(), s.ada.browser.Principal, id))
			},
			refused(func(s scene) []credential { return []credential{apiKey(s.ada.key, "app")} }),
		},
		{
			"a person who was disabled",
			func(s scene) error { return s.there.SetDisabled(t.Context(), s.there.visit(), "cli", "ada", true) },
			func(t *testing.T, s scene) {
				for _, c := range append(s.ada.all, apiKey(s.ada.key, "app")) {
					s.here.refuses(c)
				}
			},
		},
		{
			"groups that were changed",
			func(s scene) error {
				return s.there.SetGroups(t.Context(), s.there.visit(), "cli", "ada", []string{"operators"})
			},
			func(t *testing.T, s scene) {
				for _, c := range s.ada.all {
					if p := s.here.opens(c); len(p.Roles) != 2 {
						t.Fatalf("roles are %v", p.Roles)
					}
				}
				if p := s.here.opens(apiKey(s.ada.key, "app")); len(p.Roles) != 1 {
					t.Fatalf("key's roles are %v", p.Roles)
				}
			},
		},
		{
			"a person without any role left",
			func(s scene) error { return s.there.SetGroups(t.Context(), s.there.visit(), "cli", "ada", nil) },
			func(t *testing.T, s scene) {
				for _, c := range append(s.ada.all, apiKey(s.ada.key, "app")) {
					_, err := s.here.show(c)
					wantErr(t, err, identity.ErrDenied, "no_role")
				}
			},
		},
		{
			"a password that was set",
			func(s scene) error {
				return s.there.SetPassword(t.Context(), s.there.visit(), "cli", "ada", "another password")
			},
			refused(func(s scene) []credential { return s.ada.all }),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			here := newHouse(t)
			here.addPerson("ada", "viewers")
			s := scene{here: here, there: here.beside(), ada: here.everything("ada")}
			for _, shown := range whole(s) {
				s.there.opens(shown) // any process knows what any process issued
			}
			here.clock.Advance(time.Second)
			if err := c.change(s); err != nil {
				t.Fatal(err)
			}
			here.poll()
			c.seen(t, s)
			t.Run("and by the process that changed it without one", func(t *testing.T) {
				s.here = s.there
				c.seen(t, s)
			})
		})
	}
}

func TestREL03_SigningKeysThatWereWithdrawnElsewhereVerifyNothingAfterOnePoll(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	out := h.signInAs(h.atAPI("app"), "", "ada")
	raw := h.token(out, "app")
	h.opens(credential{broker.Bearer, raw, "app"})
	there := h.beside()
	withdrawKeys(t, there)
	h.clock.Advance(time.Second)
	h.poll()
	h.refuses(credential{broker.Bearer, raw, "app"})
	t.Run("and those that another process made sign and verify here", func(t *testing.T) {
		there.poll()
		there.reload() // makes new ones
		h.clock.Advance(time.Second)
		h.poll()
		there.opens(h.bearer(out))
		h.opens(there.bearer(out))
	})
}

func TestREL03_AProcessThatWasStoppedHearsWhatItMissed(t *testing.T) {
	for _, gap := range []time.Duration{45 * time.Second, 10 * time.Minute, 7 * time.Hour} {
		t.Run(gap.String(), func(t *testing.T) {
			h := newHouse(t)
			h.addPerson("ada", "viewers")
			k, whole := h.newKey(h.signIn("ada"), "app")
			h.opens(apiKey(whole, "app"))
			owner := h.signIn("ada").Principal
			there := h.beside()
			h.clock.Advance(time.Second)
			if err := there.RevokeKey(t.Context(), there.visit(), owner, k.ID); err != nil {
				t.Fatal(err)
			}
			h.clock.Advance(gap) // no poll: suspended, or cut off from the store
			h.poll()
			h.refuses(apiKey(whole, "app"))
		})
	}
}

func TestREL06_AClockThatIsPutBackDoesNotMakeAnOldViewFresh(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := cookie(h.signIn("ada"))
	h.opens(in)
	h.poll()
	h.clock.Advance(-time.Hour)
	h.down()
	if _, err := h.show(in); !errors.Is(err, identity.ErrUnavailable) {
		t.Fatalf("error is %v", err)
	}
}

// stalled runs fill while its read from the store is held back, makes a change, and lets it go on.
func (h *house) stalled(what string, fill, change func()) {
	h.t.Helper()
	reached, goOn := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	h.store.set(func(f *faults) {
		f.read = func(read string) {
			if read == what && first.CompareAndSwap(false, true) { // the others go on
				close(reached)
				<-goOn
			}
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		fill()
	}()
	<-reached
	change()
	close(goOn)
	<-done
	h.store.set(func(f *faults) { f.read = nil })
}

func TestFWD05_AChangeBetweenReadingAndCachingLeavesNoStaleView(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(h *house, out broker.Outcome) error
		check  func(t *testing.T, h *house, in credential)
	}{
		{
			"the session ends",
			func(h *house, out broker.Outcome) error { return h.SignOut(t.Context(), h.visit(), out.Principal) },
			func(_ *testing.T, h *house, in credential) { h.refuses(in) },
		},
		{
			"the groups change",
			func(h *house, _ broker.Outcome) error {
				return h.SetGroups(t.Context(), h.visit(), "cli", "ada", []string{"operators"})
			},
			func(t *testing.T, h *house, in credential) {
				if p := h.opens(in); len(p.Roles) != 2 {
					t.Fatalf("roles are %v", p.Roles)
				}
			},
		},
		{
			"the configuration changes",
			func(h *house, _ broker.Outcome) error {
				h.reload(func(s *settings) {
					s.rules = []mapping.Rule{{Provider: "local", Group: "viewers", Roles: []string{"admin"}}}
				})
				return nil
			},
			func(t *testing.T, h *house, in credential) {
				if p := h.opens(in); len(p.Roles) != 3 {
					t.Fatalf("roles are %v", p.Roles)
				}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.addPerson("ada", "viewers")
			out := h.signIn("ada")
			in := cookie(out)
			snap := h.Current()
			var p identity.Principal
			var err error
			h.stalled("view", func() {
				p, err = h.Authenticate(t.Context(), broker.Visit{Snapshot: snap}, broker.NewCredential(in.carrier, in.value), snap.SelfApplication)
			}, func() {
				if err := c.change(h, out); err != nil {
					t.Error(err)
				}
			})
			if err != nil || len(p.Roles) != 1 { // it was read before the change: that answer was right then
				t.Fatalf("the fill itself got %+v, %v", p, err)
			}
			c.check(t, h, in)
		})
	}
}

func TestFWD05_SigningKeysReadBeforeAChangeAreNotKept(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	raw := h.token(h.signInAs(h.atAPI("app"), "", "ada"), "app")
	if err := h.store.Update(t.Context(), func(tx broker.Tx) error {
		return tx.Changed(t.Context(), broker.ChangeSigningKeys, h.clock.Now(), "")
	}); err != nil {
		t.Fatal(err)
	}
	h.poll() // now they must be read again
	h.stalled("signing keys", func() { _, _ = h.JWKS(t.Context()) }, func() {
		withdrawKeys(t, h.beside())
		h.clock.Advance(time.Second)
		h.poll()
	})
	h.refuses(credential{broker.Bearer, raw, "app"})
}

func TestAReloadReMapsEverybodyAtTheirNextRequest(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "admins")
	out := h.signIn("ada")
	bearer := h.bearer(h.child(out, "app"))
	if p := h.opens(bearer); len(p.Roles) != 3 {
		t.Fatalf("roles are %v", p.Roles)
	}
	h.reload(func(s *settings) {
		s.rules = []mapping.Rule{{Provider: "local", Group: "admins", Roles: []string{"viewer"}}}
	})
	if p := h.opens(bearer); len(p.Roles) != 1 || broker.Allows(p, "hosts:write") {
		t.Fatalf("principal is %+v", p)
	}
	t.Run("a request under way keeps the configuration it began with", func(t *testing.T) {
		old := h.Current()
		h.reload(func(s *settings) { s.rules = []mapping.Rule{denyAdmins()} })
		c := broker.NewCredential(broker.Cookie, out.Token)
		if p, err := h.Authenticate(t.Context(), broker.Visit{Snapshot: old}, c, old.SelfApplication); err != nil || len(p.Roles) != 1 {
			t.Fatalf("principal is %+v, %v", p, err)
		}
		_, err := h.show(cookie(out))
		wantErr(t, err, identity.ErrDenied, "denied_by_rule")
	})
}

func TestCON03_ManyAtOnceGetTheirOwnAnswers(t *testing.T) {
	h := newHouse(t)
	type seat struct {
		credential
		who   string
		roles int
	}
	var seats []seat
	for i, groups := range []string{"viewers", "operators", "admins"} {
		name := fmt.Sprintf("person%d", i)
		h.addPerson(name, groups)
		in := h.signIn(name)
		_, whole := h.newKey(in, "app")
		child, open := h.child(in, "app"), h.child(in, "open")
		for _, c := range []credential{cookie(in), cookie(child), h.bearer(child), cookie(open), h.bearer(open), apiKey(whole, "app")} {
			seats = append(seats, seat{c, name, i + 1})
		}
	}
	apps := []string{broker.Self, "app", "open", "reports"}
	stop := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() { // caches are emptied and filled all the time
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := h.Load(t.Context(), h.Current()); err != nil {
				t.Error(err)
			}
			_ = h.Poll(t.Context())
			_ = h.FlushSeen(t.Context())
		}
	})
	_, lost := parallel(16, func(i int) error {
		for n := range 60 {
			s := seats[(i+n)%len(seats)]
			app, err := h.Current().Application(apps[n%len(apps)])
			if err != nil {
				return err
			}
			p, err := h.Authenticate(t.Context(), h.visit(), broker.NewCredential(s.carrier, s.value), app)
			switch {
			case app.ID != s.app && !errors.Is(err, identity.ErrBadCredentials):
				return fmt.Errorf("credential of %s for %s opened %s: %+v, %w", s.who, s.app, app.ID, p, errors.Join(err))
			case app.ID == s.app && (err != nil || p.Username != s.who || len(p.Roles) != s.roles || p.Application != s.app):
				return fmt.Errorf("credential of %s at %s: %+v, %w", s.who, s.app, p, errors.Join(err))
			}
		}
		return nil
	})
	close(stop)
	churn.Wait()
	for _, err := range lost {
		t.Error(err)
	}
}
