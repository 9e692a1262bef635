package broker_test

import (
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/providers"
)

func (h *house) setupCode() string {
	h.t.Helper()
	code, err := h.OpenSetup(h.t.Context(), h.visit())
	if err != nil {
		h.t.Fatal(err)
	}
	return code
}

func (h *house) complete(code, name string) error {
	_, err := h.CompleteSetup(h.t.Context(), h.visit(), code, broker.NewPerson{Username: name, Password: password})
	return err
}

func TestLOC09_TheSetUpLink(t *testing.T) {
	t.Run("nobody is there before it", func(t *testing.T) {
		h := newHouse(t)
		if all, err := h.People(t.Context(), "", 10); err != nil || len(all) != 0 {
			t.Fatalf("%d people on an empty store, %v", len(all), err)
		}
	})
	t.Run("started twice, only the last works", func(t *testing.T) {
		h := newHouse(t)
		first, second := h.setupCode(), h.setupCode()
		if first == second {
			t.Fatal("the same code twice")
		}
		wantErr(t, h.complete(first, "root"), identity.ErrExpired, "setup_code_invalid")
		if err := h.complete(second, "root"); err != nil {
			t.Fatal(err)
		}
		if out := h.signIn("root"); !broker.Allows(out.Principal, broker.Administer) {
			t.Fatal("the first administrator cannot administer")
		}
		t.Run("and only once", func(t *testing.T) {
			wantErr(t, h.complete(second, "again"), identity.ErrExpired, "setup_code_invalid")
		})
		t.Run("then none is given", func(t *testing.T) {
			if code := h.setupCode(); code != "" {
				t.Fatal("a code although there is an administrator")
			}
		})
	})
	t.Run("of fifty at once one wins", func(t *testing.T) {
		h := newHouse(t)
		code := h.setupCode()
		won, lost := parallel(50, func(i int) error { return h.complete(code, "root"+string(rune('a'+i%26))+string(rune('a'+i/26))) })
		if won != 1 {
			t.Fatalf("%d won", won)
		}
		for _, err := range lost {
			wantErr(t, err, identity.ErrExpired, "setup_code_invalid")
		}
	})
	t.Run("it expires", func(t *testing.T) {
		h := newHouse(t)
		code := h.setupCode()
		h.clock.Advance(time.Hour)
		wantErr(t, h.complete(code, "root"), identity.ErrExpired, "setup_code_invalid")
	})
	t.Run("another mistake leaves it good", func(t *testing.T) {
		h := newHouse(t)
		code := h.setupCode()
		_, err := h.CompleteSetup(t.Context(), h.visit(), code, broker.NewPerson{Username: "root", Password: "short"})
		wantErr(t, err, identity.ErrInvalid, "password_too_short")
		h.addPerson("taken", "viewers")
		wantErr(t, h.complete(code, "taken"), identity.ErrConflict, "username_taken")
		if err := h.complete(code, "root"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("it is dead once somebody was made administrator another way", func(t *testing.T) {
		h := newHouse(t)
		code := h.setupCode()
		h.addAdministrator("root")
		wantErr(t, h.complete(code, "second"), identity.ErrExpired, "setup_code_invalid")
	})
	t.Run("a hand-over code is none", func(t *testing.T) {
		h := newHouse(t)
		h.addPerson("ada", "viewers")
		wantErr(t, h.complete(h.handOver(h.signIn("ada"), "app"), "root"), identity.ErrExpired, "setup_code_invalid")
	})
	t.Run("an empty one is none", func(t *testing.T) {
		h := newHouse(t)
		h.setupCode()
		wantErr(t, h.complete("", "root"), identity.ErrExpired, "setup_code_invalid")
	})
}

func TestADM04_TheLastAdministratorCannotBeDisabled(t *testing.T) {
	h := newHouse(t)
	h.addAdministrator("root")
	h.addPerson("ada", "admins", "keepers")
	in := h.signIn("root")
	wantErr(t, h.SetDisabled(t.Context(), h.visit(), "cli", "root", true), identity.ErrConflict, "last_administrator")
	h.opens(cookie(in))
	t.Run("but one of two can, and then the other not", func(t *testing.T) {
		h.addAdministrator("second")
		if err := h.SetDisabled(t.Context(), h.visit(), "cli", "root", true); err != nil {
			t.Fatal(err)
		}
		h.refuses(cookie(in))
		wantErr(t, h.SetDisabled(t.Context(), h.visit(), "cli", "second", true), identity.ErrConflict, "last_administrator")
	})
	t.Run("nor both at the same moment", func(t *testing.T) {
		if err := h.SetDisabled(t.Context(), h.visit(), "cli", "root", false); err != nil {
			t.Fatal(err)
		}
		won, lost := parallel(2, func(i int) error {
			return h.SetDisabled(t.Context(), h.visit(), "cli", []string{"root", "second"}[i], true)
		})
		if won != 1 {
			t.Fatalf("%d were disabled", won)
		}
		wantErr(t, lost[0], identity.ErrConflict, "last_administrator")
	})
}

func TestADM04_ADenyRuleDoesNotLockAManualGrantHolderOut(t *testing.T) {
	for _, c := range []struct {
		name   string
		groups []string
	}{
		{"denied by a rule", []string{"admins", "barred"}},
		{"no rule matches", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.addAdministrator("root", c.groups...)
			in := h.signIn("root")
			p := h.opens(cookie(in))
			if len(p.Roles) != 0 || !broker.Allows(p, broker.Administer) || broker.Allows(p, "hosts:read") {
				t.Fatalf("principal is %+v", p)
			}
			for _, app := range []string{"app", "open"} {
				if h.app(app).Admits(p) {
					t.Fatalf("%s admits somebody without a role", app)
				}
				_, err := h.HandOver(t.Context(), h.visit(), p, h.app(app), broker.Challenge(verifier))
				wantErr(t, err, identity.ErrDenied, "no_role")
			}
			if !h.app(broker.Self).Admits(p) {
				t.Fatal("the broker does not admit its administrator")
			}
		})
	}
	t.Run("a reload that denies him keeps him in", func(t *testing.T) {
		h := newHouse(t)
		h.addAdministrator("root", "admins")
		in := cookie(h.signIn("root"))
		h.reload(func(s *settings) { s.rules = append(s.rules, denyAdmins()) })
		if p := h.opens(in); len(p.Roles) != 0 || !broker.Allows(p, broker.Administer) {
			t.Fatalf("principal is %+v", p)
		}
	})
}

func TestPeopleAreAddedOnceUnderOneName(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	for _, c := range []struct {
		name     string
		person   broker.NewPerson
		sentinel error
		code     string
	}{
		{"a taken name in another case", broker.NewPerson{Username: "ADA", Password: password}, identity.ErrConflict, "username_taken"},
		{"a name that is none", broker.NewPerson{Username: "a b", Password: password}, identity.ErrInvalid, "username_invalid"},
		{"a password that the provider refuses", broker.NewPerson{Username: "ben", Password: "short"}, identity.ErrInvalid, "password_too_short"},
		{"a provider that keeps no passwords", broker.NewPerson{Username: "ben", Password: password, Provider: "corp"}, identity.ErrNotFound, "provider_unknown"},
		{"a display name without end", broker.NewPerson{Username: "ben", Password: password, Name: string(make([]byte, 257))}, identity.ErrInvalid, "name_invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := h.AddPerson(t.Context(), h.visit(), "cli", c.person)
			wantErr(t, err, c.sentinel, c.code)
		})
	}
	if all, err := h.People(t.Context(), "", 10); err != nil || len(all) != 1 {
		t.Fatalf("%d people, %v", len(all), err)
	}
}

func TestOnlyLocalPeopleHaveGroupsAndPasswordsHere(t *testing.T) {
	h := newHouse(t)
	if _, err := h.arrive(identity.Identity{Subject: "1", Username: "pia", Groups: []string{"viewers"}}); err != nil {
		t.Fatal(err)
	}
	wantErr(t, h.SetGroups(t.Context(), h.visit(), "cli", "pia", []string{"admins"}), identity.ErrInvalid, "not_local")
	wantErr(t, h.SetPassword(t.Context(), h.visit(), "cli", "pia", password), identity.ErrInvalid, "not_local")
	wantErr(t, h.SetGroups(t.Context(), h.visit(), "cli", "nobody", nil), identity.ErrNotFound, "")
	wantErr(t, h.SetDisabled(t.Context(), h.visit(), "cli", "nobody", true), identity.ErrNotFound, "")
}

func TestSML11_ARemovedProviderClosesItsSessionsAndKeys(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	local := cookie(h.signIn("ada"))
	out, err := h.arrive(identity.Identity{Subject: "1", Username: "pia", Groups: []string{"viewers"}})
	if err != nil {
		t.Fatal(err)
	}
	_, whole := h.newKey(out, "app")
	all := []credential{cookie(out), cookie(h.child(out, "app")), apiKey(whole, "app")}
	for _, c := range all {
		h.opens(c)
	}
	code := h.handOver(out, "app")
	h.reload(func(s *settings) { s.providers = []providers.Provider{h.local} })
	for _, c := range all {
		_, err := h.show(c)
		wantErr(t, err, identity.ErrDenied, "provider_removed")
	}
	_, err = h.Redeem(t.Context(), h.visit(), h.app("app"), code, verifier)
	wantErr(t, err, identity.ErrDenied, "provider_removed")
	_, err = h.Return(t.Context(), h.visit(), h.atBroker(), broker.Departure{Provider: "partner", FlowID: "f"}, nil, nil)
	wantErr(t, err, identity.ErrNotFound, "provider_unknown")
	h.opens(local)
}
