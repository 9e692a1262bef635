package broker_test

import (
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/identity"
)

// shownFrom shows a credential from an address.
func (h *house) shownFrom(address string, c credential) error {
	h.t.Helper()
	v := h.visit()
	v.Address = address
	_, err := h.Authenticate(h.t.Context(), v, broker.NewCredential(c.carrier, c.value), h.app(c.app))
	return err
}

// moving is a house with a policy, and Ada signed in from 192.0.2.7, at the broker or at an application.
func moving(t *testing.T, policy broker.AddressPolicy, app string) (*house, broker.Outcome) {
	t.Helper()
	h := newHouse(t)
	h.app(app).AddressChange = policy
	h.addPerson("ada", "viewers")
	out := h.signIn("ada")
	if app != broker.Self {
		out = h.child(out, app)
	}
	return h, out
}

const elsewhere = "203.0.113.9"

func TestAddress_WhatHappensElsewhereIsThePolicys(t *testing.T) {
	for _, app := range []string{broker.Self, "app"} {
		for policy, want := range map[broker.AddressPolicy]struct {
			refused, ended bool
			events         int
		}{
			"":                           {},
			broker.AddressIgnore:         {},
			broker.AddressAudit:          {events: 1},
			broker.AddressReauthenticate: {refused: true, events: 1},
			broker.AddressEnd:            {refused: true, ended: true, events: 1},
		} {
			t.Run(string(policy)+" at "+app, func(t *testing.T) {
				h, out := moving(t, policy, app)
				for range 3 { // and once is told
					err := h.shownFrom(elsewhere, cookie(out))
					if !want.refused && err != nil {
						t.Fatal(err)
					}
					if want.refused && err == nil {
						t.Fatal("opens elsewhere")
					}
				}
				events := h.events(audit.SessionMoved)
				if len(events) != want.events {
					t.Fatalf("%d events, want %d", len(events), want.events)
				}
				if want.events > 0 {
					e := events[0]
					if e.Address != elsewhere || e.Detail["from"] != "192.0.2.7" || e.SessionID != out.Session.ID || e.Application != app ||
						(e.Outcome == audit.Refusal) != want.refused {
						t.Errorf("on record: %+v", e)
					}
				}
				home := h.shownFrom("192.0.2.7", cookie(out))
				if want.ended == (home == nil) {
					t.Errorf("where it began: %v", home)
				}
			})
		}
	}
}

func TestAddress_ARefusalSaysWhy(t *testing.T) {
	h, out := moving(t, broker.AddressReauthenticate, broker.Self)
	wantErr(t, h.shownFrom(elsewhere, cookie(out)), identity.ErrExpired, "address_changed")
	h, out = moving(t, broker.AddressEnd, broker.Self)
	wantErr(t, h.shownFrom(elsewhere, cookie(out)), identity.ErrExpired, "address_changed")
	if why := h.WhyOut(t.Context(), broker.NewCredential(broker.Cookie, out.Token), h.app(broker.Self)); why != "address_changed" {
		t.Errorf("afterwards it is told %q", why)
	}
}

func TestAddress_WhatIsTheSameNetwork(t *testing.T) {
	for name, c := range map[string]struct {
		began, now string
		same       bool
	}{
		"the same":                   {"192.0.2.7", "192.0.2.7", true},
		"another of four":            {"192.0.2.7", "192.0.2.8", false},
		"the same /64":               {"2001:db8:1:2:3::4", "2001:db8:1:2:ffff::1", true},
		"another /64":                {"2001:db8:1:2::4", "2001:db8:1:3::4", false},
		"from four to six":           {"192.0.2.7", "2001:db8:1:2::4", false},
		"none known now":             {"192.0.2.7", "", true},
		"none known then":            {"", "192.0.2.7", true},
		"none that can be read":      {"192.0.2.7", "unix socket", false},
		"the same that nobody reads": {"unix socket", "unix socket", true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.app(broker.Self).AddressChange = broker.AddressReauthenticate
			h.addPerson("ada", "viewers")
			v := h.visit()
			v.Address = c.began
			out, err := h.SignInWithPassword(t.Context(), v, h.atBroker(), "", "ada", password)
			if err != nil {
				t.Fatal(err)
			}
			if err := h.shownFrom(c.now, cookie(out)); (err == nil) != c.same {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAddress_TokensAndKeysMayTravel(t *testing.T) {
	h, out := moving(t, broker.AddressEnd, broker.Self)
	if err := h.shownFrom(elsewhere, h.bearer(h.signInAs(h.atAPI(broker.Self), "", "ada"))); err != nil {
		t.Errorf("a token: %v", err)
	}
	_, whole := h.newKey(out, broker.Self)
	if err := h.shownFrom(elsewhere, apiKey(whole, broker.Self)); err != nil {
		t.Errorf("a key: %v", err)
	}
}

func TestAddress_AMoveThatIsAuditedIsTheNewHome(t *testing.T) {
	h, out := moving(t, broker.AddressAudit, broker.Self)
	for _, step := range []struct {
		address string
		events  int
	}{{elsewhere, 1}, {elsewhere, 1}, {"192.0.2.7", 2}, {"192.0.2.7", 2}, {elsewhere, 3}} {
		h.pass(time.Minute)
		if err := h.shownFrom(step.address, cookie(out)); err != nil {
			t.Fatal(err)
		}
		if n := len(h.events(audit.SessionMoved)); n != step.events {
			t.Fatalf("%d events after %s, want %d", n, step.address, step.events)
		}
	}
}

func TestAddress_FiftyAtOnceAreOneMove(t *testing.T) {
	for _, policy := range []broker.AddressPolicy{broker.AddressAudit, broker.AddressReauthenticate, broker.AddressEnd} {
		t.Run(string(policy), func(t *testing.T) {
			h, out := moving(t, policy, broker.Self)
			parallel(50, func(int) error { return h.shownFrom(elsewhere, cookie(out)) })
			if n := len(h.events(audit.SessionMoved)); n != 1 {
				t.Errorf("%d events", n)
			}
		})
	}
}

func TestAddress_AnEndIsOneOnEveryNodeAndForTheWholeTree(t *testing.T) {
	h, out := moving(t, broker.AddressEnd, broker.Self)
	child := h.child(out, "app")
	other := h.beside()
	other.Current().SelfApplication.AddressChange = broker.AddressEnd
	for _, c := range []credential{cookie(out), cookie(child)} {
		other.opens(c)
	}
	if err := h.shownFrom(elsewhere, cookie(out)); err == nil {
		t.Fatal("opens elsewhere")
	}
	h.refuses(cookie(child))
	other.poll()
	other.refuses(cookie(out))
	other.refuses(cookie(child))
}

func TestAddress_AnApplicationsEndLeavesTheSignIn(t *testing.T) {
	h := newHouse(t)
	h.app("app").AddressChange = broker.AddressEnd
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	child := h.child(in, "app")
	if err := h.shownFrom(elsewhere, cookie(child)); err == nil {
		t.Fatal("opens elsewhere")
	}
	h.refuses(cookie(child))
	h.opens(cookie(in))
}

func TestAddress_NoAnswerIsNoYes(t *testing.T) {
	h, out := moving(t, broker.AddressEnd, broker.Self)
	h.opens(cookie(out))
	h.down()
	if err := h.shownFrom(elsewhere, cookie(out)); err == nil {
		t.Error("opens elsewhere while nobody can end it")
	}
	h.isBack()
}

func TestDOS01_AddressesThatTakeTurnsAreOneEventAMinute(t *testing.T) {
	h, out := moving(t, broker.AddressAudit, broker.Self)
	for range 2 {
		before := len(h.events(audit.SessionMoved))
		for i := range 40 {
			if err := h.shownFrom([]string{elsewhere, "198.51.100.1"}[i%2], cookie(out)); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(h.events(audit.SessionMoved)) - before; n != 1 {
			t.Fatalf("%d events in a minute", n)
		}
		h.pass(time.Minute)
	}
}

// asksFrom asks for a page of the application "app" from an address, as a gateway does for a client.
func (h *house) asksFrom(address string, c broker.Credential) error {
	h.t.Helper()
	v := h.visit()
	v.Address = address
	_, err := h.Authorize(h.t.Context(), v, broker.Request{Application: h.app("app"), Credential: c, Method: "GET", Path: "/"})
	return err
}

func TestAddress_ATokenFromACookieMayNotTravelInAHeaderEither(t *testing.T) {
	tokenCookies := func(t *testing.T, policy broker.AddressPolicy) (*house, broker.Credential) {
		t.Helper()
		h, out := moving(t, policy, "app")
		h.app("app").Profile.Cookie.Token = true
		return h, broker.NewCredential(broker.Bearer, h.token(out, "app"))
	}
	t.Run("where it has to begin again", func(t *testing.T) {
		h, c := tokenCookies(t, broker.AddressReauthenticate)
		wantErr(t, h.asksFrom(elsewhere, c), identity.ErrExpired, "address_changed")
		if err := h.asksFrom("192.0.2.7", c); err != nil {
			t.Error(err)
		}
	})
	t.Run("where that is the end", func(t *testing.T) {
		h, c := tokenCookies(t, broker.AddressEnd)
		wantErr(t, h.asksFrom(elsewhere, c), identity.ErrExpired, "address_changed")
		if err := h.asksFrom("192.0.2.7", c); err == nil {
			t.Error("opens where it began")
		}
	})
	t.Run("nor for a ticket", func(t *testing.T) {
		h, c := tokenCookies(t, broker.AddressReauthenticate)
		p, err := h.Authenticate(t.Context(), h.visit(), c, h.app("app"))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := h.IssueTicket(t.Context(), c, p, h.app("app"))
		if err != nil {
			t.Fatal(err)
		}
		ticket, err := h.TakeTicket(t.Context(), h.app("app"), raw)
		if err != nil {
			t.Fatal(err)
		}
		wantErr(t, h.asksFrom(elsewhere, ticket), identity.ErrExpired, "address_changed")
		if err := h.asksFrom("192.0.2.7", ticket); err != nil {
			t.Error(err)
		}
	})
	t.Run("but the application asks about it from its own address", func(t *testing.T) {
		h, c := tokenCookies(t, broker.AddressEnd)
		for range 2 {
			if _, err := h.Act(t.Context(), broker.Visit{Snapshot: h.Current(), Address: elsewhere}, c, h.app("app"), "GET"); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("and where the cookie is no token, tokens travel", func(t *testing.T) {
		h, out := moving(t, broker.AddressEnd, "app")
		if err := h.asksFrom(elsewhere, broker.NewCredential(broker.Bearer, h.token(out, "app"))); err != nil {
			t.Error(err)
		}
	})
	t.Run("and so do those of a sign-in at the API", func(t *testing.T) {
		h, _ := tokenCookies(t, broker.AddressEnd)
		if err := h.asksFrom(elsewhere, broker.NewCredential(broker.Bearer, h.begin("ada", "app").Access.Token)); err != nil {
			t.Error(err)
		}
	})
}
