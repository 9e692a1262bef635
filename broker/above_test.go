package broker_test

import (
	"fmt"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/mapping"
	"sallyport/providers"
)

// addBy makes a local person of another provider than the first.
func (h *house) addBy(provider, name string, administrator bool) {
	h.t.Helper()
	h.add(broker.NewPerson{Provider: provider, Username: name, Password: password, Administrator: administrator})
}

func TestADM04_AnAdministratorWhoCannotComeInDoesNotCount(t *testing.T) {
	h := newHouse(t)
	whole := h.config.providers
	h.reload(func(s *settings) {
		s.providers = append([]providers.Provider{&keeper{id: "second", store: h.local.store}}, s.providers...)
	})
	h.add(broker.NewPerson{Provider: "local", Username: "root", Password: password, Administrator: true})
	h.addBy("second", "other", true)
	h.reload(func(s *settings) { s.providers = whole })
	disable := func(name string) error { return h.SetDisabled(t.Context(), h.visit(), "cli", name, true) }
	t.Run("the one who can stays", func(t *testing.T) {
		wantErr(t, disable("root"), identity.ErrConflict, "last_administrator")
		h.signIn("root")
	})
	t.Run("the one who cannot may go", func(t *testing.T) {
		if err := disable("other"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("with another who can, anybody may go", func(t *testing.T) {
		h.addAdministrator("third")
		if err := disable("root"); err != nil {
			t.Fatal(err)
		}
		wantErr(t, disable("third"), identity.ErrConflict, "last_administrator")
	})
	t.Run("who never was one may always go", func(t *testing.T) {
		h.addPerson("ada", "viewers")
		if err := disable("ada"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestADM03_NobodyEndsWhatIsOfSomebodyAboveThem(t *testing.T) {
	h := newHouse(t)
	helpdesk := identity.Principal{Subject: "helpdesk", Permissions: []string{"sallyport:sessions.write", "sallyport:keys.write"}}
	chief := identity.Principal{Subject: "chief", Permissions: []string{broker.Administer}}
	root, rule, ada := h.addAdministrator("root", "admins"), h.addPerson("keeper", "keepers"), h.addPerson("ada", "admins")
	for _, c := range []struct {
		name, account, username string
		above                   bool
	}{
		{"by a manual grant", root.ID, "root", true},
		{"by a rule", rule.ID, "keeper", true},
		{"an administrator of applications only", ada.ID, "ada", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := h.signIn(c.username)
			key, _ := h.newKey(in, broker.Self)
			for what, may := range map[string]func(identity.Principal) error{
				"access":  func(p identity.Principal) error { return h.MayEndAccess(t.Context(), h.visit(), p, c.account) },
				"session": func(p identity.Principal) error { return h.MayEndSession(t.Context(), h.visit(), p, in.Session.ID) },
				"key":     func(p identity.Principal) error { return h.MayChangeKey(t.Context(), h.visit(), p, key.ID) },
			} {
				if err := may(chief); err != nil {
					t.Errorf("%s, who administers: %v", what, err)
				}
				if !c.above {
					if err := may(helpdesk); err != nil {
						t.Errorf("%s: %v", what, err)
					}
					continue
				}
				wantErr(t, may(helpdesk), identity.ErrDenied, "permission_missing")
			}
		})
	}
	t.Run("a service account is above nobody", func(t *testing.T) {
		if _, err := h.CreateService(t.Context(), h.visit(), "cli", "nightly", []string{"viewer"}); err != nil {
			t.Fatal(err)
		}
		key, _, err := h.CreateServiceKey(t.Context(), h.visit(), "cli", "nightly", broker.NewKey{Name: "k", Application: h.app("app")})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.MayChangeKey(t.Context(), h.visit(), helpdesk, key.ID); err != nil {
			t.Error(err)
		}
	})
	t.Run("a manual grant counts while its holder cannot come in", func(t *testing.T) {
		h.reload(func(s *settings) {
			s.providers = append(s.providers, &keeper{id: "second", store: h.local.store})
		})
		h.addBy("second", "away", true)
		out := h.signInAs(h.atBroker(), "second", "away")
		h.reload(func(s *settings) { s.providers = s.providers[:len(s.providers)-1] })
		wantErr(t, h.MayEndSession(t.Context(), h.visit(), helpdesk, out.Session.ID), identity.ErrDenied, "permission_missing")
	})
	t.Run("who is denied administers nothing by a rule", func(t *testing.T) {
		h.reload(func(s *settings) {
			s.rules = append(s.rules, mapping.Rule{Provider: "local", Group: "keepers", Deny: true})
		})
		if err := h.MayEndAccess(t.Context(), h.visit(), helpdesk, rule.ID); err != nil {
			t.Error(err)
		}
	})
	t.Run("what is not there is not found", func(t *testing.T) {
		wantErr(t, h.MayEndAccess(t.Context(), h.visit(), helpdesk, "nobody"), identity.ErrNotFound, "")
		wantErr(t, h.MayEndSession(t.Context(), h.visit(), helpdesk, "none"), identity.ErrNotFound, "")
		wantErr(t, h.MayChangeKey(t.Context(), h.visit(), helpdesk, "none"), identity.ErrNotFound, "")
	})
}

func TestKEY02_OnlyLivingKeysCountTowardsTheHundred(t *testing.T) {
	for _, state := range []sessions.State{sessions.Active, sessions.Pending, sessions.Suspended} {
		t.Run(string(state), func(t *testing.T) {
			h := newHouse(t)
			ada := h.addPerson("ada", "viewers")
			in := h.signIn("ada")
			now := h.clock.Now()
			if err := h.store.Update(t.Context(), func(tx broker.Tx) error {
				for i := range 100 {
					err := tx.CreateKey(t.Context(), sessions.Key{
						ID: fmt.Sprint("key", i), Prefix: "sp", Name: "short", State: state, AccountID: ada.ID, Application: "app",
						Roles: []string{"viewer"}, Provider: "local", Subject: in.Session.Subject, CreatedAt: now,
						ExpiresAt: now.Add(time.Minute),
					}, fmt.Sprint("secret", i))
					if err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			next := broker.NewKey{Name: "next", Application: h.app("app")}
			_, _, err := h.CreateKey(t.Context(), h.visit(), in.Principal, next)
			wantErr(t, err, identity.ErrConflict, "too_many_keys")
			h.pass(time.Minute)
			if _, _, err := h.CreateKey(t.Context(), h.visit(), in.Principal, next); err != nil {
				t.Errorf("none of the hundred lives: %v", err)
			}
		})
	}
}
