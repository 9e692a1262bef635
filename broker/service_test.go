package broker_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// addService makes a service account with one key for "app".
func (h *house) addService(name string, roles ...string) (people.Account, sessions.Key, string) {
	h.t.Helper()
	a, err := h.CreateService(h.t.Context(), h.visit(), "cli", name, roles)
	if err != nil {
		h.t.Fatal(err)
	}
	k, whole, err := h.CreateServiceKey(h.t.Context(), h.visit(), "cli", name, broker.NewKey{Name: "ci", Application: h.app("app")})
	if err != nil {
		h.t.Fatal(err)
	}
	return a, k.Key, whole
}

func TestAServiceAccountActsByItsKeysAlone(t *testing.T) {
	h := newHouse(t)
	a, _, whole := h.addService("backup-robot", "operator")
	p := h.opens(apiKey(whole, "app"))
	if p.Subject != a.ID || p.Username != "backup-robot" || p.Provider != broker.Self || !broker.Allows(p, "hosts:write") {
		t.Fatalf("principal is %+v", p)
	}
	if diff := cmp.Diff([]string{"operator", "viewer"}, p.Roles); diff != "" {
		t.Fatal(diff)
	}
}

func TestAServiceAccountsKeysFollowItsRoles(t *testing.T) {
	h := newHouse(t)
	a, _, whole := h.addService("robot", "operator")
	there := h.beside()
	there.opens(apiKey(whole, "app"))
	roles := func(roles ...string) {
		t.Helper()
		if err := h.SetServiceRoles(t.Context(), h.visit(), "cli", "robot", roles); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(want ...string) {
		t.Helper()
		there.poll()
		for _, n := range []*house{h, there} {
			if diff := cmp.Diff(want, n.opens(apiKey(whole, "app")).Roles); diff != "" {
				t.Fatal(diff)
			}
		}
	}
	holds("operator", "viewer")
	h.clock.Advance(time.Second)
	roles("viewer")
	holds("viewer")
	h.clock.Advance(time.Second)
	roles("admin") // the key was given less
	holds("operator", "viewer")
	h.clock.Advance(time.Second)
	roles()
	there.poll()
	for _, n := range []*house{h, there} {
		_, err := n.show(apiKey(whole, "app"))
		wantErr(t, err, identity.ErrDenied, "no_role")
	}
	e := h.events(audit.ServiceRolesSet)
	if len(e) != 4 || e[1].AccountID != a.ID || e[1].Actor != "cli" || e[1].Detail["roles"] != "viewer" {
		t.Fatalf("events are %+v", e)
	}
	t.Run("a role that left the configuration is gone", func(t *testing.T) {
		err := h.store.Update(t.Context(), func(tx broker.Tx) error {
			return tx.SetAccountRoles(t.Context(), a.ID, []string{"gone", "viewer"})
		})
		if err != nil {
			t.Fatal(err)
		}
		h.reload()
		if diff := cmp.Diff([]string{"viewer"}, h.opens(apiKey(whole, "app")).Roles); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestADM03_NoRoleOfAServiceAdministersTheBroker(t *testing.T) {
	h := newHouse(t)
	_, _, whole := h.addService("robot", "keeper", "admin")
	k, own, err := h.CreateServiceKey(t.Context(), h.visit(), "cli", "robot", broker.NewKey{Name: "x", Application: h.app(broker.Self)})
	if err != nil {
		t.Fatal(err)
	}
	for app, whole := range map[string]string{"app": whole, broker.Self: own} {
		p := h.opens(apiKey(whole, app))
		if slices.ContainsFunc(p.Permissions, func(have string) bool { return strings.HasPrefix(have, "sallyport") }) ||
			broker.Allows(p, broker.Administer) || broker.Allows(p, broker.WriteKeys) {
			t.Errorf("key at %s has %v", app, p.Permissions)
		}
		if !broker.Allows(p, "hosts:write") {
			t.Errorf("key at %s lost what its role gives: %v", app, p.Permissions)
		}
		_, _, err := h.RotateKey(t.Context(), h.visit(), p, k.ID, 0)
		wantErr(t, err, identity.ErrDenied, "key_cannot")
	}
}

func TestNobodySignsInToAServiceAccount(t *testing.T) {
	h := newHouse(t)
	a, _, _ := h.addService("robot", "viewer")
	_, err := h.SignIn(t.Context(), h.visit(), h.atBroker(), identity.Assertion{Identity: identity.Identity{
		Provider: broker.Self, Subject: a.ID, Username: "robot", Groups: []string{"viewers"},
	}})
	wantErr(t, err, identity.ErrNotFound, "provider_unknown")
	for _, typed := range []string{"", password} {
		_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "robot", typed)
		if err == nil {
			t.Fatal("somebody signed in")
		}
	}
	_, err = h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), broker.Self, "robot", password)
	if err == nil {
		t.Fatal("somebody signed in at the broker itself")
	}
	wantErr(t, h.SetPassword(t.Context(), h.visit(), "cli", "robot", password), identity.ErrInvalid, "not_local")
	wantErr(t, h.SetGroups(t.Context(), h.visit(), "cli", "robot", []string{"viewers"}), identity.ErrInvalid, "not_local")
}

func TestPeopleAndServicesShareTheirNames(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.addService("robot", "viewer")
	for _, name := range []string{"ada", "ADA", "robot", "Robot"} {
		_, err := h.CreateService(t.Context(), h.visit(), "cli", name, nil)
		wantErr(t, err, identity.ErrConflict, "username_taken")
	}
	_, err := h.AddPerson(t.Context(), h.visit(), "cli", broker.NewPerson{Username: "robot", Password: password})
	wantErr(t, err, identity.ErrConflict, "username_taken")
	h.partner.knows("code", identity.Identity{Subject: "p-1", Username: "Robot", Groups: []string{"viewers"}})
	a, err := h.partner.open("code")
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.SignIn(t.Context(), h.visit(), h.atBroker(), a)
	wantErr(t, err, identity.ErrDenied, "username_taken")
	all, err := h.Services(t.Context())
	if err != nil || len(all) != 1 || all[0].Username != "robot" {
		t.Fatalf("services are %+v, %v", all, err)
	}
}

func TestWhatIsNotMadeForServices(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.addService("robot", "viewer")
	key := func(change func(n *broker.NewKey)) broker.NewKey {
		n := broker.NewKey{Name: "ci", Application: h.app("app")}
		change(&n)
		return n
	}
	service := func(name string, n broker.NewKey) error {
		_, _, err := h.CreateServiceKey(t.Context(), h.visit(), "cli", name, n)
		return err
	}
	person := func(name string, n broker.NewKey) error {
		_, _, err := h.CreatePersonKey(t.Context(), h.visit(), "cli", name, n)
		return err
	}
	none := func(*broker.NewKey) {}
	wantErr(t, service("ada", key(none)), identity.ErrNotFound, "")
	wantErr(t, person("robot", key(none)), identity.ErrNotFound, "")
	wantErr(t, service("nobody", key(none)), identity.ErrNotFound, "")
	wantErr(t, service("a b c", key(none)), identity.ErrInvalid, "username_invalid")
	more := key(func(n *broker.NewKey) { n.Roles = []string{"admin"} })
	wantErr(t, service("robot", more), identity.ErrDenied, "key_role_not_held")
	wantErr(t, person("ada", more), identity.ErrDenied, "key_role_not_held")
	wantErr(t, service("robot", key(func(n *broker.NewKey) { n.Never = true })), identity.ErrInvalid, "lifetime_invalid")
	_, err := h.CreateService(t.Context(), h.visit(), "cli", "other", []string{"viewer", "nothing"})
	wantErr(t, err, identity.ErrInvalid, "role_unknown")
	_, err = h.CreateService(t.Context(), h.visit(), "cli", " ", nil)
	wantErr(t, err, identity.ErrInvalid, "username_invalid")
	wantErr(t, h.SetServiceRoles(t.Context(), h.visit(), "cli", "robot", []string{"nothing"}), identity.ErrInvalid, "role_unknown")
	wantErr(t, h.SetServiceRoles(t.Context(), h.visit(), "cli", "ada", []string{"admin"}), identity.ErrNotFound, "")
	wantErr(t, h.SetServiceRoles(t.Context(), h.visit(), "cli", "", nil), identity.ErrInvalid, "username_invalid")
}

func TestSES05_AClosedServiceAccountHasNoKeys(t *testing.T) {
	h := newHouse(t)
	_, k, whole := h.addService("robot", "viewer")
	there := h.beside()
	there.opens(apiKey(whole, "app"))
	h.clock.Advance(time.Second)
	if err := h.SetDisabled(t.Context(), h.visit(), "cli", "robot", true); err != nil {
		t.Fatal(err)
	}
	there.poll()
	h.refuses(apiKey(whole, "app"))
	there.refuses(apiKey(whole, "app"))
	_, _, err := h.CreateServiceKey(t.Context(), h.visit(), "cli", "robot", broker.NewKey{Name: "ci", Application: h.app("app")})
	wantErr(t, err, identity.ErrDenied, "account_disabled")
	_, _, err = h.RotateAnyKey(t.Context(), h.visit(), "cli", k.ID, time.Hour)
	wantErr(t, err, identity.ErrNotFound, "")
	if err := h.SetDisabled(t.Context(), h.visit(), "cli", "robot", false); err != nil {
		t.Fatal(err)
	}
	h.refuses(apiKey(whole, "app")) // what was ended stays ended
}

func TestADM03_KeysOfServicesAreRotatedByWhoMayMakeThem(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.addAdministrator("root", "admins")
	_, k, _ := h.addService("robot", "viewer")
	mine, _ := h.newKey(h.signIn("ada"), "app")
	ada, root := h.signIn("ada").Principal, h.signIn("root").Principal
	rotate := func(p identity.Principal, id string) error {
		_, _, err := h.RotateKey(t.Context(), h.visit(), p, id, time.Hour)
		return err
	}
	wantErr(t, rotate(ada, k.ID), identity.ErrNotFound, "")
	ada.Permissions = append(ada.Permissions, broker.WriteKeys)
	if err := rotate(ada, k.ID); err != nil {
		t.Error(err)
	}
	if err := rotate(root, mine.ID); err != nil {
		t.Error(err)
	}
}

func TestAnAdministratorSeesAndEndsEverybodysKeys(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "operators")
	_, robots, robot := h.addService("robot", "viewer")
	in := h.signIn("ada")
	adas, ada := h.newKey(in, "app")
	h.newKey(in, "reports")
	waiting := adas
	waiting.ID, waiting.State = strings.Repeat("w", 25)+"a", sessions.Suspended
	suspended := h.keepKey(waiting)
	short, _ := h.limitedKey(in, func(n *broker.NewKey) { n.Lifetime = time.Hour })
	h.pass(2 * time.Hour)

	list := func(f sessions.Filter) []string {
		t.Helper()
		f.Limit = 2
		var found []string
		for {
			page, err := h.AllKeys(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range page {
				found = append(found, k.ID)
				if want := map[bool]string{true: "robot", false: "ada"}[k.ID == robots.ID]; k.Username != want {
					t.Errorf("key %s is %q's", k.ID, k.Username)
				}
				f.After = k.ID
			}
			if len(page) < f.Limit {
				return found
			}
		}
	}
	if all := list(sessions.Filter{}); len(all) != 4 || slices.Contains(all, short.ID) || !slices.IsSorted(all) {
		t.Errorf("living keys are %v", all)
	}
	if of := list(sessions.Filter{Application: "app", State: sessions.Active}); len(of) != 2 {
		t.Errorf("active keys of app are %v", of)
	}
	if of := list(sessions.Filter{State: sessions.Suspended}); len(of) != 1 || of[0] != waiting.ID {
		t.Errorf("suspended keys are %v", of)
	}

	t.Run("KEY-02 on every node", func(t *testing.T) {
		there := h.beside()
		there.opens(apiKey(ada, "app"))
		there.opens(apiKey(robot, "app"))
		there.refuses(apiKey(suspended, "app"))
		h.clock.Advance(time.Second)
		for _, id := range []string{adas.ID, robots.ID} {
			if err := h.RevokeAnyKey(t.Context(), h.visit(), "cli", id); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.ActivateKey(t.Context(), h.visit(), "cli", waiting.ID); err != nil {
			t.Fatal(err)
		}
		there.poll()
		for _, n := range []*house{h, there} {
			n.refuses(apiKey(ada, "app"))
			n.refuses(apiKey(robot, "app"))
			n.opens(apiKey(suspended, "app"))
		}
	})
	t.Run("and each leaves its event", func(t *testing.T) {
		for typ, id := range map[audit.Type]string{audit.KeyRevoked: robots.ID, audit.KeyActivated: waiting.ID} {
			if !slices.ContainsFunc(h.events(typ), func(e audit.Event) bool {
				return e.KeyID == id && e.Actor == "cli" && e.AccountID != "" && e.Application == "app"
			}) {
				t.Errorf("no event %s of %s", typ, id)
			}
		}
	})
	t.Run("what is over or is something else is refused", func(t *testing.T) {
		wantErr(t, h.RevokeAnyKey(t.Context(), h.visit(), "cli", adas.ID), identity.ErrNotFound, "")
		wantErr(t, h.RevokeAnyKey(t.Context(), h.visit(), "cli", "none"), identity.ErrNotFound, "")
		wantErr(t, h.ActivateKey(t.Context(), h.visit(), "cli", waiting.ID), identity.ErrConflict, "key_not_suspended")
		wantErr(t, h.ActivateKey(t.Context(), h.visit(), "cli", adas.ID), identity.ErrNotFound, "")
		wantErr(t, h.ActivateKey(t.Context(), h.visit(), "cli", short.ID), identity.ErrNotFound, "")
		pending := waiting
		pending.ID, pending.State = strings.Repeat("p", 26), sessions.Pending
		h.keepKey(pending)
		wantErr(t, h.ActivateKey(t.Context(), h.visit(), "cli", pending.ID), identity.ErrConflict, "key_not_suspended")
	})
}

func TestAPersonsKeyIsMadeForThemWithWhatTheyHave(t *testing.T) {
	h := newHouse(t)
	a := h.addPerson("ada", "operators")
	k, whole, err := h.CreatePersonKey(t.Context(), h.visit(), "cli", "ADA", broker.NewKey{Name: "ci", Application: h.app("app")})
	if err != nil || k.AccountID != a.ID || k.Provider != "local" {
		t.Fatalf("key is %+v, %v", k, err)
	}
	if diff := cmp.Diff([]string{"operator", "viewer"}, h.opens(apiKey(whole, "app")).Roles); diff != "" {
		t.Fatal(diff)
	}
	if e := h.events(audit.KeyCreated); len(e) != 1 || e[0].Actor != "cli" || e[0].AccountID != a.ID || e[0].Username != "ada" {
		t.Fatalf("events are %+v", e)
	}
	if err := h.SetDisabled(t.Context(), h.visit(), "cli", "ada", true); err != nil {
		t.Fatal(err)
	}
	h.refuses(apiKey(whole, "app"))
	_, _, err = h.CreatePersonKey(t.Context(), h.visit(), "cli", "ada", broker.NewKey{Name: "ci", Application: h.app("app")})
	wantErr(t, err, identity.ErrDenied, "account_disabled")
}
