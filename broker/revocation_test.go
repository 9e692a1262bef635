package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

func (h *house) revokeShown(app, raw string) {
	h.t.Helper()
	if err := h.Revoke(h.t.Context(), h.visit(), h.app(app), raw); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) cutOff(kind sessions.CutoffKind, key string) {
	h.t.Helper()
	if err := h.CutOff(h.t.Context(), h.visit(), "cli", kind, key); err != nil {
		h.t.Fatal(err)
	}
}

func TestSES05_ARevokedTokenIsDeadOnEveryNodeAndItsSessionIsNot(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	there := h.beside()
	first := h.begin("ada", "app")
	second := h.refresh(first)
	for _, on := range []*house{h, there} {
		on.opens(access(first))
	}
	h.revokeShown("app", first.Access.Token)
	_, err := h.show(access(first))
	wantErr(t, err, identity.ErrExpired, "token_revoked")
	h.opens(access(second))
	there.poll()
	there.refuses(access(first))
	there.opens(access(second))
	h.beside().refuses(access(first))
	h.revokeShown("app", first.Access.Token) // again
	events := h.events(audit.TokenRevoked)
	if len(events) != 1 || events[0].Detail["token_id"] != first.Access.ID || events[0].SessionID != first.Principal.SessionID ||
		events[0].AccountID != first.Principal.Subject {
		t.Fatalf("events are %+v", events)
	}
	t.Run("the token that a proxy hands on is made anew", func(t *testing.T) {
		child := h.child(h.signIn("ada"), "app")
		p := h.opens(cookie(child))
		forward := func() string {
			raw, err := h.ForwardToken(t.Context(), h.Current(), p, h.app("app"))
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
		was := forward()
		h.revokeShown("app", was)
		h.opens(cookie(child))
		if forward() == was {
			t.Fatal("the application is handed a revoked token")
		}
	})
}

func TestSES05_ARefreshTokenIsRevokedWithItsSession(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	first := h.begin("ada", "app")
	h.revokeShown("open", first.RefreshToken) // another application's word ends nothing
	h.opens(access(first))
	h.revokeShown("app", first.RefreshToken)
	h.refuses(access(first))
	h.noRefresh("app", first.RefreshToken, identity.ErrExpired, "")
	if n := len(h.events(audit.SessionEnded)); n != 1 {
		t.Fatalf("%d events", n)
	}
}

func TestRevokingWhatIsNoTokenChangesNothingAndSaysNothing(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	have, hmac := h.begin("ada", "app"), h.begin("ada", "hmac-a")
	h.revokeShown("app", "")
	h.revokeShown("app", "x.y.z")
	h.revokeShown("app", "sprt_"+broker.NewSecret())
	h.revokeShown("open", have.Access.Token)
	// An application that signs itself names another one's session.
	h.revokeShown("hmac-a", h.forged(have, secretA))
	h.opens(access(have))
	h.opens(access(hmac))
	h.pass(16 * time.Minute)
	h.revokeShown("app", have.Access.Token)
	if n := len(h.events(audit.TokenRevoked)); n != 0 {
		t.Fatalf("%d events", n)
	}
}

func TestOPT08_ARevocationThatCannotBeStoredIsNoSuccess(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	have := h.begin("ada", "app")
	h.down()
	for _, raw := range []string{have.RefreshToken, have.Access.Token} {
		if err := h.Revoke(t.Context(), h.visit(), h.app("app"), raw); !errors.Is(err, identity.ErrUnavailable) {
			t.Fatalf("error is %v", err)
		}
	}
	h.isBack()
	h.opens(access(have))
	t.Run("nor one that cannot be told of", func(t *testing.T) {
		h.store.set(func(f *faults) { f.appending = func(audit.Event) error { return errDown } })
		if err := h.Revoke(t.Context(), h.visit(), h.app("app"), have.Access.Token); !errors.Is(err, identity.ErrUnavailable) {
			t.Fatalf("error is %v", err)
		}
		h.store.set(func(f *faults) { f.appending = nil })
		h.opens(access(have))
	})
}

func TestSES05_ATokenOfNoKnownSessionIsRevokedByItsIDAlone(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	there := h.beside()
	have := h.begin("ada", "app")
	next := h.refresh(have)
	for _, on := range []*house{h, there} {
		on.opens(access(have))
	}
	err := h.RevokeToken(t.Context(), h.visit(), "cli", sessions.RevokedToken{ID: have.Access.ID, ExpiresAt: have.Access.ExpiresAt})
	if err != nil {
		t.Fatal(err)
	}
	there.poll()
	for _, on := range []*house{h, there, h.beside()} {
		_, err := on.show(access(have))
		wantErr(t, err, identity.ErrExpired, "token_revoked")
		on.opens(access(next))
	}
}

func TestSES05_NoEarlierRevocationKeepsATokenAlive(t *testing.T) {
	for name, first := range map[string]func(h *house, token, session string) error{
		"an administrator's with another session": func(h *house, token, session string) error {
			return h.RevokeToken(t.Context(), h.visit(), "cli", sessions.RevokedToken{
				ID: token, SessionID: h.begin("ada", "open").Principal.SessionID, ExpiresAt: h.clock.Now().Add(24 * time.Hour),
			})
		},
		"an application's, in a token that it forged with its own secret": func(h *house, token, _ string) error {
			return h.Revoke(t.Context(), h.visit(), h.app("hmac-a"), h.forgedJTI(token, h.signInAs(h.atAPI("hmac-a"), "", "ada")))
		},
		"one that was to end sooner": func(h *house, token, session string) error {
			return h.RevokeToken(t.Context(), h.visit(), "cli", sessions.RevokedToken{
				ID: token, SessionID: session, ExpiresAt: h.clock.Now().Add(time.Second),
			})
		},
	} {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, then one whose session is known: %t", name, known), func(t *testing.T) {
				h := newHouse(t)
				h.addPerson("ada", "viewers")
				have := h.begin("ada", "app")
				if err := first(h, have.Access.ID, have.Principal.SessionID); err != nil {
					t.Fatal(err)
				}
				right := sessions.RevokedToken{ID: have.Access.ID, ExpiresAt: have.Access.ExpiresAt}
				if known {
					right.SessionID = have.Principal.SessionID
				}
				if err := h.RevokeToken(t.Context(), h.visit(), "cli", right); err != nil {
					t.Fatal(err)
				}
				h.pass(2 * time.Second)
				_, err := h.show(access(have))
				wantErr(t, err, identity.ErrExpired, "token_revoked")
			})
		}
	}
}

// forgedJTI is a token of the application "hmac-a", as it can make them itself, with a jti of its choice.
func (h *house) forgedJTI(tokenID string, of broker.Outcome) string {
	h.t.Helper()
	now := h.clock.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": issuer, "sub": of.Principal.Subject, "aud": h.app("hmac-a").Audience, "iat": now.Unix(), "nbf": now.Unix(),
		"exp": now.Add(time.Minute).Unix(), "jti": tokenID, "sid": of.Session.ID, "client_id": "hmac-a",
		"auth_time": now.Unix(), "amr": []string{"pwd"}, "idp": "local",
	})
	token.Header["typ"] = "at+jwt"
	raw, err := token.SignedString([]byte(secretA))
	if err != nil {
		h.t.Fatal(err)
	}
	h.opens(credential{broker.Bearer, raw, "hmac-a"})
	return raw
}

func TestRevokingATokenTakesTheApplicationFromItsSession(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	have := h.begin("ada", "app")
	revoke := func(session string) error {
		return h.RevokeToken(t.Context(), h.visit(), "cli", sessions.RevokedToken{
			ID: have.Access.ID, SessionID: session, Application: "open", ExpiresAt: have.Access.ExpiresAt,
		})
	}
	wantErr(t, revoke("nobody's"), identity.ErrNotFound, "")
	if err := revoke(have.Principal.SessionID); err != nil {
		t.Fatal(err)
	}
	for app, want := range map[string]int{"app": 1, "open": 0} {
		list, _, err := h.Revocations(t.Context(), h.Current(), app, time.Time{}, 10)
		if err != nil || len(list) != want {
			t.Errorf("at %s: %+v, %v", app, list, err)
		}
	}
	if events := h.events(audit.TokenRevoked); len(events) != 1 || events[0].Application != "app" {
		t.Errorf("events are %+v", events)
	}
}

func TestSES05_ACutOffEndsEverythingItIsAboutAtOnceAndNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		kind sessions.CutoffKind
		key  string
		// ends says which of app, open, corp (through another provider) and key end at once.
		ends []string
	}{
		"an application": {sessions.CutApplication, "app", []string{"app", "corp", "key", "api"}},
		"a provider":     {sessions.CutProvider, "local", []string{"app", "open", "key", "api", "browser"}},
		"everything":     {sessions.CutEverything, "", []string{"app", "open", "corp", "key", "api", "browser"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.addPerson("ada", "viewers")
			h.corp.knows("wim/"+password, identity.Identity{Subject: "w-1", Username: "wim", Groups: []string{corpViewers}})
			browser := h.signIn("ada")
			_, key := h.newKey(browser, "app")
			waiting := h.handOver(browser, "app")
			api := h.begin("ada", "app")
			all := map[string]credential{
				"browser": cookie(browser), "app": cookie(h.child(browser, "app")), "open": cookie(h.child(browser, "open")),
				"corp": cookie(h.child(h.signInAs(h.atBroker(), "corp", "wim"), "app")), "key": apiKey(key, "app"),
				"api": access(api),
			}
			there := h.beside()
			for _, shown := range all {
				h.opens(shown)
				there.opens(shown)
			}
			h.cutOff(c.kind, c.key)
			there.poll()
			check := func() {
				t.Helper()
				for _, on := range []*house{h, there, h.beside()} {
					for name, shown := range all {
						if slices.Contains(c.ends, name) {
							on.refuses(shown)
						} else {
							on.opens(shown)
						}
					}
				}
			}
			check()
			if _, err := h.tryRefresh("app", api.RefreshToken); err == nil {
				t.Error("and yet refreshed")
			}
			if _, err := h.Redeem(t.Context(), h.visit(), h.app("app"), waiting, verifier); (err != nil) != slices.Contains(c.ends, "browser") {
				t.Errorf("a code from before: %v", err)
			}
			h.clock.Advance(time.Millisecond)
			h.poll()
			h.opens(cookie(h.child(h.signIn("ada"), "app"))) // nobody is locked out
			end := h.run()
			wait(t, func() error { return h.done() })
			end()
			there.poll()
			check()
			h.opens(cookie(h.child(h.signIn("ada"), "app")))
			events := h.events(audit.CutOff)
			if len(events) != 1 || events[0].Detail["kind"] != string(c.kind) || events[0].Actor != "cli" ||
				events[0].Application+events[0].Provider != c.key {
				t.Fatalf("events are %+v", events)
			}
		})
	}
}

// done reports that each cut-off was written down on each session and key.
func (h *house) done() error {
	return h.store.View(h.t.Context(), func(tx broker.Tx) error {
		all, err := tx.Cutoffs(h.t.Context())
		for _, c := range all {
			left, err2 := tx.SessionsCutOff(h.t.Context(), c, 10)
			keys, err3 := tx.KeysCutOff(h.t.Context(), c, 10)
			err = errors.Join(err, err2, err3)
			if !c.Done || len(left)+len(keys) > 0 {
				err = errors.Join(err, fmt.Errorf("%s %q: done %t, left %v %v", c.Kind, c.Key, c.Done, left, keys))
			}
		}
		return err
	})
}

func TestSES05_ACutOffOfManyEndsInBatches(t *testing.T) {
	h := newHouse(t)
	ada := h.addPerson("ada", "viewers")
	now := h.clock.Now()
	for batch := range 5 {
		if err := h.store.Update(t.Context(), func(tx broker.Tx) error {
			var err error
			for i := range 101 {
				err = errors.Join(err, tx.CreateSession(t.Context(), sessions.Session{
					ID: fmt.Sprintf("s-%d-%d", batch, i), Kind: sessions.API, State: sessions.Active, AccountID: ada.ID, Provider: "local",
					Subject: "x", Application: "app", CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour),
				}, ""))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	h.cutOff(sessions.CutEverything, "")
	end := h.run()
	defer end()
	wait(t, h.done)
}

func TestACutOffThatIsAboutMoreThanItSaysIsRefused(t *testing.T) {
	h := newHouse(t)
	for _, c := range []sessions.Cutoff{{Kind: sessions.CutApplication}, {Kind: sessions.CutProvider}, {Kind: sessions.CutEverything, Key: "x"}, {Kind: "all"}} {
		if err := h.CutOff(t.Context(), h.visit(), "cli", c.Kind, c.Key); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if n := len(h.events(audit.CutOff)); n != 0 {
		t.Errorf("%d events", n)
	}
}

// TestACutOffIsNotOutrunByAFillOfACache has a session read before the cut-off, and kept after it.
func TestACutOffIsNotOutrunByAFillOfACache(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	once := false
	h.store.set(func(f *faults) {
		f.read = func(what string) {
			if what == "view" && !once {
				once = true
				h.cutWithin(in)
			}
		}
	})
	_, _ = h.show(cookie(in)) // the answer to a request that ran beside it may be either
	h.store.set(func(f *faults) { f.read = nil })
	h.refuses(cookie(in))
}

// cutWithin cuts everything off on another connection while a transaction of ours is open.
func (h *house) cutWithin(broker.Outcome) {
	if err := h.CutOff(context.WithoutCancel(h.t.Context()), h.visit(), "cli", sessions.CutEverything, ""); err != nil {
		h.t.Error(err)
	}
}

func TestAnAdministratorSeesAndEndsAnybodysSessions(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	ben := h.addPerson("ben", "viewers")
	a, b := h.signIn("ada"), h.signIn("ben")
	child := h.child(b, "app")
	list := func(f sessions.Filter) []string {
		t.Helper()
		f.Limit = 10
		all, err := h.LiveSessions(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, s := range all {
			ids = append(ids, s.ID)
		}
		return ids
	}
	if got := list(sessions.Filter{Application: "app"}); len(got) != 1 || got[0] != child.Session.ID {
		t.Fatalf("at the application: %v", got)
	}
	if got := list(sessions.Filter{}); len(got) != 3 || !slices.IsSorted(got) {
		t.Fatalf("all: %v", got)
	}
	if err := h.EndAnySession(t.Context(), h.visit(), "cli", b.Session.ID); err != nil {
		t.Fatal(err)
	}
	h.refuses(cookie(b))
	h.refuses(cookie(child))
	h.opens(cookie(a))
	for _, id := range []string{b.Session.ID, "never"} {
		if err := h.EndAnySession(t.Context(), h.visit(), "cli", id); !errors.Is(err, identity.ErrNotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
	again := h.signIn("ben")
	_, key := h.newKey(again, "app")
	code := h.handOver(again, "app")
	if err := h.EndEverythingOf(t.Context(), h.visit(), "cli", ben.ID); err != nil {
		t.Fatal(err)
	}
	h.refuses(cookie(again))
	h.refuses(apiKey(key, "app"))
	if _, err := h.Redeem(t.Context(), h.visit(), h.app("app"), code, verifier); err == nil {
		t.Error("the code still opens a session")
	}
	h.opens(cookie(h.signIn("ben")))
	h.opens(cookie(a))
	if err := h.EndEverythingOf(t.Context(), h.visit(), "cli", "nobody"); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
	if e := h.events(audit.CutOff); len(e) != 1 || e[0].AccountID != ben.ID || e[0].Detail["kind"] != "account" {
		t.Errorf("events are %+v", e)
	}
}

func TestRevocationsAreListedForWhoeverVerifiesOffline(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	begun := h.clock.Now()
	first, other, in := h.begin("ada", "app"), h.begin("ada", "open"), h.signIn("ada")
	key, _ := h.newKey(in, "app")
	h.clock.Advance(time.Second)
	h.revokeShown("app", first.Access.Token)
	h.clock.Advance(time.Second)
	h.revokeShown("open", other.RefreshToken)
	if err := h.RevokeKey(t.Context(), h.visit(), in.Principal, key.ID); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(time.Second)
	h.cutOff(sessions.CutProvider, "corp")
	h.cutOff(sessions.CutApplication, "reports")
	list := func(app string, since time.Time) []string {
		t.Helper()
		all, next, err := h.Revocations(t.Context(), h.Current(), app, since, 100)
		if err != nil || !next.Equal(h.clock.Now().Add(-30*time.Second)) {
			t.Fatalf("next is %s, %v", next, err)
		}
		var out []string
		for _, r := range all {
			out = append(out, r.Kind+" "+r.ID)
		}
		return out
	}
	token, sid := "token "+first.Access.ID, "session "+other.Principal.SessionID
	for name, c := range map[string]struct {
		app   string
		since time.Time
		want  []string
	}{
		"all":                    {"", begun, []string{token, "api_key " + key.ID, sid, "application reports", "provider corp"}},
		"from a time on":         {"", begun.Add(3 * time.Second), []string{"application reports", "provider corp"}},
		"of one application":     {"app", time.Time{}, []string{token, "api_key " + key.ID, "provider corp"}},
		"of another application": {"open", time.Time{}, []string{sid, "provider corp"}},
		"of one that was cut":    {"reports", time.Time{}, []string{"application reports", "provider corp"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := list(c.app, c.since); !slices.Equal(got, c.want) {
				t.Fatalf("got  %q\nwant %q", got, c.want)
			}
		})
	}
	t.Run("until nobody needs to know", func(t *testing.T) {
		h.clock.Advance(25 * time.Hour)
		if got := list("", begun); len(got) != 0 {
			t.Fatalf("got %q", got)
		}
	})
}

func TestRevocationsAreListedInPiecesWithoutLosingOne(t *testing.T) {
	for name, step := range map[string]time.Duration{"one by one": time.Second, "all at once": 0} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.addPerson("ada", "viewers")
			want := map[string]bool{}
			for range 7 {
				have := h.begin("ada", "app")
				h.revokeShown("app", have.RefreshToken)
				want[have.Principal.SessionID] = true
				h.clock.Advance(step)
			}
			h.clock.Advance(time.Minute)
			since := time.Time{}
			for range 7 {
				list, next, err := h.Revocations(t.Context(), h.Current(), "app", since, 2)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range list {
					delete(want, r.ID)
				}
				if !next.After(since) && len(want) > 0 {
					t.Fatal("it goes no further")
				}
				since = next
			}
			if len(want) != 0 || !since.Equal(h.clock.Now().Add(-30*time.Second)) {
				t.Fatalf("%d missing; at %s", len(want), since)
			}
		})
	}
}

func TestWhoWaitsHearsOfAChange(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	there := h.beside()
	in := h.begin("ada", "app")
	there.poll()
	here, elsewhere := h.Heard(), there.Heard()
	h.revokeShown("app", in.RefreshToken)
	select {
	case <-here:
	default:
		t.Error("not told of a change of its own")
	}
	there.poll()
	select {
	case <-elsewhere:
	default:
		t.Error("not told of another's change")
	}
	select {
	case <-there.Heard():
		t.Error("told of nothing")
	default:
	}
}

// ringing is a store that tells of changes.
type ringing struct {
	broker.Store
	bell chan struct{}
}

func (r *ringing) Notifications() <-chan struct{} { return r.bell }

func TestAStoreThatTellsOfChangesIsReadAtOnce(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	polls := make(chan struct{}, 100)
	h.store.set(func(f *faults) { f.changes = func() error { polls <- struct{}{}; return nil } })
	store := &ringing{Store: h.store, bell: make(chan struct{})}
	there := broker.New(broker.Options{Store: store, Log: h.log(), Now: h.clock.Now})
	if _, err := there.Load(t.Context(), h.Current()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); there.Run(ctx) }()
	begun := time.Now()
	<-polls // at the start
	for range 20 {
		store.bell <- struct{}{}
		<-polls
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("twenty polls took %s", took)
	}
	close(store.bell) // a store that was closed asks for nothing any more
	cancel()
	<-done
}
