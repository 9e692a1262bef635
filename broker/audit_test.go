package broker_test

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/identity"
)

// refuseEvents makes events of the given types impossible to write.
func (h *house) refuseEvents(types ...audit.Type) {
	h.store.set(func(f *faults) {
		f.appending = func(e audit.Event) error {
			for _, t := range types {
				if e.Type == t && e.Outcome == audit.Success {
					return errors.New("the audit table is read-only")
				}
			}
			return nil
		}
	})
}

// eventOf wants exactly one event of a type with the visit's trace id, and checks it.
func (h *house) eventOf(v broker.Visit, t audit.Type, check func(e audit.Event) bool) audit.Event {
	h.t.Helper()
	var found []audit.Event
	for _, e := range h.events(t) {
		if e.TraceID == v.TraceID {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		h.t.Fatalf("%d events %s with trace id %s, want one", len(found), t, v.TraceID)
	}
	e := found[0]
	if e.Address != v.Address || !e.At.Equal(h.clock.Now()) || e.At.Location() != time.UTC || e.ID == 0 {
		h.t.Fatalf("event without where or when: %+v", e)
	}
	if !check(e) {
		h.t.Fatalf("event is %+v", e)
	}
	return e
}

func TestAUD01_EachOutcomeLeavesItsEvent(t *testing.T) {
	success := func(e audit.Event) bool { return e.Outcome == audit.Success && e.Code == "" }
	refusal := func(code string) func(e audit.Event) bool {
		return func(e audit.Event) bool { return e.Outcome == audit.Refusal && e.Code == code }
	}
	type scene struct {
		h   *house
		v   broker.Visit
		ada broker.Outcome
	}
	for _, c := range []struct {
		name  string
		do    func(s scene) error
		wants audit.Type
		check func(e audit.Event) bool
		who   func(s scene, e audit.Event) bool
	}{
		{
			"a sign-in",
			func(s scene) error {
				_, err := s.h.SignInWithPassword(t.Context(), s.v, s.h.atBroker(), "", "ada", password)
				return err
			},
			audit.SignInSucceeded, success,
			func(s scene, e audit.Event) bool {
				return e.AccountID == s.ada.Principal.Subject && e.Actor == e.AccountID && e.Username == "ada" &&
					e.Provider == "local" && e.SessionID != "" && e.Application == broker.Self && e.Detail["roles"] == "viewer"
			},
		},
		{
			"a wrong password",
			func(s scene) error {
				_, err := s.h.SignInWithPassword(t.Context(), s.v, s.h.atBroker(), "", "ada", "wrong")
				return err
			},
			audit.SignInRefused, refusal("bad_credentials"),
			func(_ scene, e audit.Event) bool { return e.Username == "ada" && e.Provider == "local" },
		},
		{
			"a door that does not exist",
			func(s scene) error {
				_, err := s.h.SignInWithPassword(t.Context(), s.v, s.h.atBroker(), "nowhere", "ada", password)
				return err
			},
			audit.SignInRefused, refusal("provider_unknown"), nil,
		},
		{
			"a door that takes no password",
			func(s scene) error {
				_, err := s.h.SignInWithPassword(t.Context(), s.v, s.h.atBroker(), "partner", "ada", password)
				return err
			},
			audit.SignInRefused, refusal("provider_needs_browser"),
			func(_ scene, e audit.Event) bool { return e.Provider == "partner" },
		},
		{
			"a directory that does not answer",
			func(s scene) error {
				s.h.corp.down = identity.WithCode("provider_unavailable", identity.ErrUnavailable)
				_, err := s.h.SignInWithPassword(t.Context(), s.v, s.h.atBroker(), "corp", "cora", password)
				return err
			},
			audit.SignInRefused, refusal("provider_unavailable"),
			func(_ scene, e audit.Event) bool { return e.Provider == "corp" && e.Username == "" },
		},
		{
			"somebody without a role",
			func(s scene) error {
				s.h.addPerson("nora")
				_, err := s.h.SignInWithPassword(t.Context(), s.v, s.h.atBroker(), "", "nora", password)
				return err
			},
			audit.SignInRefused, refusal("no_role"),
			func(_ scene, e audit.Event) bool { return e.Username == "nora" },
		},
		{
			"somebody whom a rule denies",
			func(s scene) error {
				s.h.addPerson("bart", "viewers", "barred")
				_, err := s.h.SignInWithPassword(t.Context(), s.v, s.h.atBroker(), "", "bart", password)
				return err
			},
			audit.SignInRefused, refusal("denied_by_rule"), nil,
		},
		{
			"an identity provider that cannot be left for",
			func(s scene) error {
				s.h.partner.down = identity.WithCode("provider_unavailable", identity.ErrUnavailable)
				_, err := s.h.Leave(t.Context(), s.v, broker.Departure{Provider: "partner", FlowID: "f"})
				return err
			},
			audit.SignInRefused, refusal("provider_unavailable"), nil,
		},
		{
			"an identity provider's refusal",
			func(s scene) error {
				s.h.partner.down = identity.ErrDenied
				_, err := s.h.Return(t.Context(), s.v, s.h.atBroker(), broker.Departure{Provider: "partner", FlowID: "f"}, nil, nil)
				return err
			},
			audit.SignInRefused, refusal("denied"),
			func(_ scene, e audit.Event) bool { return e.Provider == "partner" },
		},
		{
			"coming back to a door that is gone",
			func(s scene) error {
				_, err := s.h.Return(t.Context(), s.v, s.h.atBroker(), broker.Departure{Provider: "gone", FlowID: "f"}, nil, nil)
				return err
			},
			audit.SignInRefused, refusal("provider_unknown"), nil,
		},
		{
			"an application's session",
			func(s scene) error {
				_, err := s.h.Redeem(t.Context(), s.v, s.h.app("app"), s.h.handOver(s.ada, "app"), verifier)
				return err
			},
			audit.SessionCreated, success,
			func(s scene, e audit.Event) bool {
				return e.Application == "app" && e.AccountID == s.ada.Principal.Subject && e.SessionID != s.ada.Session.ID
			},
		},
		{
			"a hand-over to the wrong browser",
			func(s scene) error {
				_, err := s.h.Redeem(t.Context(), s.v, s.h.app("app"), s.h.handOver(s.ada, "app"), "wrong")
				return err
			},
			audit.SignInRefused, refusal("code_invalid"),
			func(s scene, e audit.Event) bool {
				return e.Application == "app" && e.AccountID == s.ada.Principal.Subject && e.SessionID == s.ada.Session.ID
			},
		},
		{
			"a sign-out", func(s scene) error { return s.h.SignOut(t.Context(), s.v, s.ada.Principal) },
			audit.SignedOut, success,
			func(s scene, e audit.Event) bool { return e.SessionID == s.ada.Session.ID && e.Username == "ada" },
		},
		{
			"the session that a sign-out ends", func(s scene) error { return s.h.SignOut(t.Context(), s.v, s.ada.Principal) },
			audit.SessionEnded, success,
			func(s scene, e audit.Event) bool {
				return e.SessionID == s.ada.Session.ID && e.Detail["reason"] == "signed_out"
			},
		},
		{
			"a key",
			func(s scene) error {
				_, _, err := s.h.CreateKey(t.Context(), s.v, s.ada.Principal, broker.NewKey{Name: "ci", Application: s.h.app("app")})
				return err
			},
			audit.KeyCreated, success,
			func(s scene, e audit.Event) bool {
				return e.KeyID != "" && e.Application == "app" && e.Actor == s.ada.Principal.Subject
			},
		},
		{
			"a key for a role one does not have",
			func(s scene) error {
				_, _, err := s.h.CreateKey(t.Context(), s.v, s.ada.Principal,
					broker.NewKey{Name: "ci", Application: s.h.app("app"), Roles: []string{"admin"}})
				return err
			},
			audit.AccessRefused, refusal("key_role_not_held"),
			func(s scene, e audit.Event) bool { return e.Actor == s.ada.Principal.Subject },
		},
		{
			"a revoked key",
			func(s scene) error {
				k, _ := s.h.newKey(s.ada, "app")
				return s.h.RevokeKey(t.Context(), s.v, s.ada.Principal, k.ID)
			},
			audit.KeyRevoked, success,
			func(_ scene, e audit.Event) bool { return e.KeyID != "" },
		},
		{
			"a disabled account", func(s scene) error { return s.h.SetDisabled(t.Context(), s.v, "cli", "ada", true) },
			audit.AccountDisabled, success,
			func(s scene, e audit.Event) bool {
				return e.Actor == "cli" && e.AccountID == s.ada.Principal.Subject && e.Detail["sessions"] == "1"
			},
		},
		{
			"the last administrator who cannot be disabled",
			func(s scene) error {
				s.h.addAdministrator("root", "admins")
				return s.h.SetDisabled(t.Context(), s.v, "cli", "root", true)
			},
			audit.AccountDisabled, refusal("last_administrator"),
			func(_ scene, e audit.Event) bool { return e.Username == "root" && e.Actor == "cli" },
		},
		{
			"an enabled account",
			func(s scene) error {
				if err := s.h.SetDisabled(t.Context(), s.h.visit(), "cli", "ada", true); err != nil {
					return err
				}
				return s.h.SetDisabled(t.Context(), s.v, "cli", "ada", false)
			},
			audit.AccountEnabled, success, nil,
		},
		{
			"a new password", func(s scene) error { return s.h.SetPassword(t.Context(), s.v, "cli", "ada", "a new password") },
			audit.PasswordSet, success, nil,
		},
		{
			"new groups", func(s scene) error { return s.h.SetGroups(t.Context(), s.v, "cli", "ada", []string{"a", "b"}) },
			audit.GroupsSet, success, func(_ scene, e audit.Event) bool { return e.Detail["groups"] == "a,b" },
		},
		{
			"a newcomer",
			func(s scene) error {
				_, err := s.h.AddPerson(t.Context(), s.v, "cli", broker.NewPerson{Username: "new", Password: password})
				return err
			},
			audit.AccountCreated, success, func(_ scene, e audit.Event) bool { return e.Username == "new" },
		},
		{
			"a newcomer's identity",
			func(s scene) error {
				_, err := s.h.AddPerson(t.Context(), s.v, "cli", broker.NewPerson{Username: "new", Password: password})
				return err
			},
			audit.IdentityLinked, success, func(_ scene, e audit.Event) bool { return e.Provider == "local" },
		},
		{
			"a grant",
			func(s scene) error {
				_, err := s.h.AddPerson(t.Context(), s.v, "cli", broker.NewPerson{Username: "new", Password: password, Administrator: true})
				return err
			},
			audit.GrantAdded, success,
			func(_ scene, e audit.Event) bool {
				return e.Actor == "cli" && e.Detail["permission"] == broker.Administer
			},
		},
		{
			"a set-up link", func(s scene) error { _, err := s.h.OpenSetup(t.Context(), s.v); return err },
			audit.SetupIssued, success, nil,
		},
		{
			"a set-up that fails",
			func(s scene) error {
				_, err := s.h.CompleteSetup(t.Context(), s.v, "wrong", broker.NewPerson{Username: "root", Password: password})
				return err
			},
			audit.SetupCompleted, refusal("setup_code_invalid"), nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.addPerson("ada", "viewers")
			s := scene{h: h, ada: h.signIn("ada"), v: h.visit()}
			err := c.do(s)
			e := h.eventOf(s.v, c.wants, c.check)
			if (err == nil) != (e.Outcome == audit.Success) {
				t.Fatalf("outcome is %s, error is %v", e.Outcome, err)
			}
			if c.who != nil && !c.who(s, e) {
				t.Fatalf("event does not say who, or on what: %+v", e)
			}
		})
	}
}

func TestAUD01_SigningKeysLeaveEvents(t *testing.T) {
	h := newHouse(t)
	for _, e := range h.events(audit.SigningKeyCreated) {
		if e.Actor != "system" || e.Detail["kid"] == "" || e.Detail["algorithm"] != "ES256" {
			t.Fatalf("event is %+v", e)
		}
	}
	if n := len(h.events(audit.SigningKeyCreated)); n != 2 {
		t.Fatalf("%d events, want one for the current and one for the next key", n)
	}
}

func TestAUD02_AnEventThatCannotBeWrittenUndoesTheChange(t *testing.T) {
	type scene struct {
		h   *house
		ada signedIn
	}
	for _, c := range []struct {
		name   string
		event  audit.Type
		do     func(s scene) error
		undone func(t *testing.T, s scene)
	}{
		{
			"a sign-in leaves no session", audit.SignInSucceeded,
			func(s scene) error {
				_, err := s.h.SignInWithPassword(t.Context(), s.h.visit(), s.h.atBroker(), "", "ada", password)
				return err
			},
			func(t *testing.T, s scene) {
				if list, err := s.h.Sessions(t.Context(), s.ada.browser.Principal); err != nil || len(list) != 3 {
					t.Fatalf("%d sessions, %v", len(list), err)
				}
			},
		},
		{
			"a newcomer leaves no account", audit.IdentityLinked,
			func(s scene) error {
				s.h.partner.knows("code", identity.Identity{Subject: "1", Username: "pia", Groups: []string{"viewers"}})
				_, err := s.h.Return(t.Context(), s.h.visit(), s.h.atBroker(),
					broker.Departure{Provider: "partner", FlowID: "f"}, nil, url.Values{"code": {"code"}})
				return err
			},
			func(t *testing.T, s scene) {
				_, err := s.h.PersonByName(t.Context(), "pia")
				wantErr(t, err, identity.ErrNotFound, "")
			},
		},
		{
			"a sign-out ends nothing", audit.SignedOut,
			func(s scene) error { return s.h.SignOut(t.Context(), s.h.visit(), s.ada.browser.Principal) },
			func(_ *testing.T, s scene) {
				for _, c := range s.ada.all {
					s.h.opens(c)
				}
			},
		},
		{
			"a key is not made", audit.KeyCreated,
			func(s scene) error {
				_, _, err := s.h.CreateKey(t.Context(), s.h.visit(), s.ada.browser.Principal,
					broker.NewKey{Name: "ci", Application: s.h.app("app")})
				return err
			},
			func(t *testing.T, s scene) {
				if list, err := s.h.Keys(t.Context(), s.ada.browser.Principal); err != nil || len(list) != 1 {
					t.Fatalf("%d keys, %v", len(list), err)
				}
			},
		},
		{
			"groups stay", audit.GroupsSet,
			func(s scene) error { return s.h.SetGroups(t.Context(), s.h.visit(), "cli", "ada", []string{"admins"}) },
			func(t *testing.T, s scene) {
				s.h.reload()
				if p := s.h.opens(s.ada.all[0]); len(p.Roles) != 1 {
					t.Fatalf("roles are %v", p.Roles)
				}
			},
		},
		{
			"a set-up code stays good", audit.SetupCompleted,
			func(s scene) error {
				code, err := s.h.OpenSetup(t.Context(), s.h.visit())
				if err != nil {
					t.Fatal(err)
				}
				_, err = s.h.CompleteSetup(t.Context(), s.h.visit(), code, broker.NewPerson{Username: "root", Password: password})
				return err
			},
			func(t *testing.T, s scene) {
				_, err := s.h.PersonByName(t.Context(), "root")
				wantErr(t, err, identity.ErrNotFound, "")
				if code, err := s.h.OpenSetup(t.Context(), s.h.visit()); err != nil || code == "" {
					t.Fatalf("code %q, %v", code, err)
				}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.addPerson("ada", "viewers")
			s := scene{h, h.everything("ada")}
			h.refuseEvents(c.event)
			if err := c.do(s); err == nil {
				t.Fatal("it happened without its event")
			}
			c.undone(t, s)
		})
	}
}

func TestAUD02_ARefusalStandsWhereItsEventCannotBeWritten(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.store.set(func(f *faults) { f.appending = func(audit.Event) error { return errors.New("read-only") } })
	_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", "wrong")
	wantErr(t, err, identity.ErrBadCredentials, "")
}

func TestEventsAreCountedOnlyWhenTheyWereCommitted(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	var seen []audit.Type
	b := broker.New(broker.Options{
		Store: h.store, Log: h.log(), Now: h.clock.Now, OnEvent: func(e audit.Event) { seen = append(seen, e.Type) },
	})
	if _, err := b.Load(t.Context(), h.Current()); err != nil {
		t.Fatal(err)
	}
	h.refuseEvents(audit.SignInSucceeded)
	if _, err := b.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", password); err == nil {
		t.Fatal("signed in without an event")
	}
	if len(seen) != 1 || seen[0] != audit.SignInRefused {
		t.Fatalf("saw %v", seen)
	}
	if err := b.Record(t.Context(), audit.Event{Type: audit.ConfigLoaded, Outcome: audit.Success, Actor: "system"}); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || seen[1] != audit.ConfigLoaded {
		t.Fatalf("saw %v", seen)
	}
}
