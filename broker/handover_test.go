package broker_test

import (
	"net/url"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/identity"
)

func TestEMB04_AHandOverCodeIsBoundAndBurnt(t *testing.T) {
	for _, c := range []struct {
		name          string
		app, verifier string
		after         time.Duration
		sentinel      error
	}{
		{"a wrong verifier burns it", "app", "another verifier", 0, identity.ErrBadCredentials},
		{"an empty verifier burns it", "app", "", 0, identity.ErrBadCredentials},
		{"the challenge itself is no verifier", "app", broker.Challenge(verifier), 0, identity.ErrBadCredentials},
		{"another application burns it", "open", verifier, 0, identity.ErrBadCredentials},
		{"after 30 seconds it is too late", "app", verifier, 30 * time.Second, identity.ErrExpired},
		{"after 31 seconds too", "app", verifier, 31 * time.Second, identity.ErrExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.addPerson("ada", "viewers")
			code := h.handOver(h.signIn("ada"), "app")
			h.clock.Advance(c.after)
			_, err := h.Redeem(t.Context(), h.visit(), h.app(c.app), code, c.verifier)
			wantErr(t, err, c.sentinel, "code_invalid")
			_, err = h.Redeem(t.Context(), h.visit(), h.app("app"), code, verifier)
			wantErr(t, err, identity.ErrExpired, "code_invalid")
		})
	}
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	t.Run("after 29 seconds it is good", func(t *testing.T) {
		code := h.handOver(in, "app")
		h.clock.Advance(29 * time.Second)
		if _, err := h.Redeem(t.Context(), h.visit(), h.app("app"), code, verifier); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("an unknown code", func(t *testing.T) {
		_, err := h.Redeem(t.Context(), h.visit(), h.app("app"), broker.NewSecret(), verifier)
		wantErr(t, err, identity.ErrExpired, "code_invalid")
	})
	t.Run("a code of another purpose", func(t *testing.T) {
		setup, err := h.OpenSetup(t.Context(), h.visit())
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.Redeem(t.Context(), h.visit(), h.app("app"), setup, verifier)
		wantErr(t, err, identity.ErrExpired, "code_invalid")
	})
}

func TestCON01_OfFiftyRedemptionsOfOneCodeOneWins(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	code := h.handOver(in, "app")
	won, lost := parallel(50, func(int) error {
		_, err := h.Redeem(t.Context(), h.visit(), h.app("app"), code, verifier)
		return err
	})
	if won != 1 {
		t.Fatalf("%d redemptions won", won)
	}
	for _, err := range lost {
		wantErr(t, err, identity.ErrExpired, "code_invalid")
	}
	if list, err := h.Sessions(t.Context(), in.Principal); err != nil || len(list) != 2 {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
}

func TestCON01_OfFiftyFinishesOfOneFlowOneWins(t *testing.T) {
	h := newHouse(t)
	h.partner.knows("code", identity.Identity{Subject: "1", Username: "pia", Groups: []string{"viewers"}})
	flow := broker.Departure{Provider: "partner", FlowID: broker.NewID()}
	won, lost := parallel(50, func(int) error {
		_, err := h.Return(t.Context(), h.visit(), h.atBroker(), flow, nil, url.Values{"code": {"code"}})
		return err
	})
	if won != 1 || h.partner.calls.Load() != 1 {
		t.Fatalf("%d finishes won, upstream was asked %d times", won, h.partner.calls.Load())
	}
	for _, err := range lost {
		wantErr(t, err, identity.ErrExpired, "flow_finished")
	}
}

func TestOID01_AFlowIsTakenOnceWhateverComesOfIt(t *testing.T) {
	h := newHouse(t)
	h.partner.knows("code", identity.Identity{Subject: "1", Username: "pia", Groups: []string{"viewers"}})
	flow := broker.Departure{Provider: "partner", FlowID: broker.NewID()}
	_, err := h.Return(t.Context(), h.visit(), h.atBroker(), flow, nil, url.Values{"code": {"wrong"}})
	wantErr(t, err, identity.ErrBadCredentials, "")
	v := h.visit()
	_, err = h.Return(t.Context(), v, h.atBroker(), flow, nil, url.Values{"code": {"code"}})
	wantErr(t, err, identity.ErrExpired, "flow_finished")
	if n := h.partner.calls.Load(); n != 1 {
		t.Fatalf("upstream was asked %d times", n)
	}
	h.eventOf(v, audit.SignInRefused, func(e audit.Event) bool { return e.Code == "flow_finished" && e.Provider == "partner" })
}

func TestCON01_AnAPIFlowIsTakenOnce(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	at := h.atBroker()
	at.FlowID = broker.NewID()
	won, lost := parallel(10, func(int) error {
		_, err := h.SignInWithPassword(t.Context(), h.visit(), at, "", "ada", password)
		return err
	})
	if won != 1 {
		t.Fatalf("%d sign-ins won", won)
	}
	for _, err := range lost {
		wantErr(t, err, identity.ErrExpired, "flow_finished")
	}
}

func TestOnlyTheBrokersOwnSignInIsHandedOver(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	_, whole := h.newKey(in, broker.Self)
	for name, p := range map[string]identity.Principal{
		"an application's session": h.child(in, "app").Principal,
		"an application's token":   h.signInAs(h.atAPI("app"), "", "ada").Principal,
		"an API key":               h.opens(apiKey(whole, broker.Self)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.HandOver(t.Context(), h.visit(), p, h.app("open"), broker.Challenge(verifier))
			wantErr(t, err, identity.ErrDenied, "wrong_application")
		})
	}
}

func TestWhoIsNotAdmittedIsNotHandedOver(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "operators")
	h.addPerson("ben", "viewers")
	t.Run("asking", func(t *testing.T) {
		v := h.visit()
		_, err := h.HandOver(t.Context(), v, h.signIn("ben").Principal, h.app("reports"), broker.Challenge(verifier))
		wantErr(t, err, identity.ErrDenied, "no_role")
		h.eventOf(v, audit.AccessRefused, func(e audit.Event) bool { return e.Code == "no_role" && e.Application == "reports" })
	})
	t.Run("demoted between asking and arriving", func(t *testing.T) {
		code := h.handOver(h.signIn("ada"), "reports")
		if err := h.SetGroups(t.Context(), h.visit(), "cli", "ada", []string{"viewers"}); err != nil {
			t.Fatal(err)
		}
		_, err := h.Redeem(t.Context(), h.visit(), h.app("reports"), code, verifier)
		wantErr(t, err, identity.ErrDenied, "no_role")
	})
}
