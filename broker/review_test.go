package broker_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
	"sallyport/mapping"
	"sallyport/providers"
)

func TestLOC05_APasswordReplacedWhileItIsCheckedSignsNobodyIn(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.local.between = func() {
		h.local.between = nil
		if err := h.SetPassword(t.Context(), h.visit(), "cli", "ada", "another password"); err != nil {
			t.Error(err)
		}
	}
	_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", password)
	wantErr(t, err, identity.ErrBadCredentials, "")
}

func TestAUD04_ANameThatNobodyHasIsNotKept(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	for typed, kept := range map[string]string{"my whole secret passphrase": "", "hunter2hunter2": "", "ADA": "ada"} {
		v := h.visit()
		_, err := h.SignInWithPassword(t.Context(), v, h.atBroker(), "", typed, "wrong")
		wantErr(t, err, identity.ErrBadCredentials, "")
		if e := h.eventOf(v, audit.SignInRefused, func(audit.Event) bool { return true }); e.Username != kept {
			t.Errorf("%q is kept as %q, want %q", typed, e.Username, kept)
		}
	}
}

func TestOID06_NobodyIsCalledWhatSomebodyElseWouldBeCalled(t *testing.T) {
	for name, c := range map[string]struct {
		id   identity.Identity
		want string // "" is a refusal
	}{
		"a name that ends in another provider's id": {
			identity.Identity{Provider: "contractors", Username: "ada@local"}, "ada@local@contractors",
		},
		"a name in a domain that another provider answers for": {
			identity.Identity{Provider: "contractors", Username: "ceo@corp.example"}, "ceo@corp.example@contractors",
		},
		"such a name where names are not qualified": {identity.Identity{Provider: "partner", Username: "ada@local"}, ""},
		"a name in its own domain": {
			identity.Identity{Provider: "partner", Username: "ines@partner.example"}, "ines@partner.example",
		},
		"a name in a domain of nobody": {
			identity.Identity{Provider: "contractors", Username: "max@mail.example"}, "max@mail.example",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			c.id.Subject, c.id.Groups = "s-1", []string{"viewers"}
			out, err := h.SignIn(t.Context(), h.visit(), h.atBroker(), identity.Assertion{Identity: c.id})
			if c.want == "" {
				wantErr(t, err, identity.ErrDenied, "username_taken")
				return
			}
			if err != nil || out.Principal.Username != c.want {
				t.Errorf("called %q, want %q (%v)", out.Principal.Username, c.want, err)
			}
		})
	}
}

func TestOID06_AnUnverifiedAddressIsNoName(t *testing.T) {
	h := newHouse(t)
	id := identity.Identity{Provider: "contractors", Subject: "s-1", Email: "ceo@mail.example", Groups: []string{"viewers"}}
	out, err := h.SignIn(t.Context(), h.visit(), h.atBroker(), identity.Assertion{Identity: id})
	if err != nil || out.Principal.Username == id.Email {
		t.Errorf("an address nobody verified became the name %q (%v)", out.Principal.Username, err)
	}
	id.Subject, id.EmailVerified = "s-2", true
	out, err = h.SignIn(t.Context(), h.visit(), h.atBroker(), identity.Assertion{Identity: id})
	if err != nil || out.Principal.Username != id.Email {
		t.Errorf("a verified address became %q (%v)", out.Principal.Username, err)
	}
}

func TestADM04_AConfigurationWithoutTheLastAdministratorsProviderIsRefused(t *testing.T) {
	h := newHouse(t)
	h.addAdministrator("root", "admins")
	before := h.Current()
	set, err := providers.NewSet(h.corp)
	if err != nil {
		t.Fatal(err)
	}
	mapper, err := mapping.Compile(roles(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	snap := *before
	snap.Providers, snap.Mapper = set, mapper
	_, err = h.Load(t.Context(), &snap)
	wantErr(t, err, identity.ErrConflict, "last_administrator")
	if h.Current() != before {
		t.Error("the refused configuration is in force")
	}
}

func TestADM04_AProviderThatCannotBeOpenedAnyMoreIsNoWayIn(t *testing.T) {
	h := newHouse(t)
	out, err := h.arrive(identity.Identity{Subject: "s1", Username: "sam", Groups: []string{"viewers"}})
	if err != nil {
		t.Fatal(err)
	}
	err = h.store.Update(t.Context(), func(tx broker.Tx) error { // the only administrator comes in through the partner
		return tx.CreateGrant(t.Context(), people.ManualGrant{
			AccountID: out.Principal.Subject, Permission: broker.Administer, GrantedBy: "cli", GrantedAt: h.clock.Now(),
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	never := func(context.Context) (providers.Provider, error) { return nil, identity.ErrNotFound }
	broken := providers.Broken(h.partner.Info(), providers.AsRedirect, identity.ErrNotFound, never)
	set, err := providers.NewSet(h.local, broken)
	if err != nil {
		t.Fatal(err)
	}
	snap := *h.Current()
	snap.Providers = set
	_, err = h.Load(t.Context(), &snap)
	wantErr(t, err, identity.ErrConflict, "last_administrator")
}

func TestAUD02_AConfigurationWhoseEventCannotBeWrittenDoesNotTakeForce(t *testing.T) {
	h := newHouse(t)
	before := h.Current()
	h.refuseEvents(audit.ConfigLoaded)
	snap := *before
	_, err := h.Load(t.Context(), &snap, audit.Event{Type: audit.ConfigLoaded, Outcome: audit.Success, Actor: "system"})
	if err == nil || h.Current() != before {
		t.Errorf("in force without its event (%v)", err)
	}
}

func TestLOC09_NoPasswordIsHashedOnceSetupIsOver(t *testing.T) {
	h := newHouse(t)
	h.addAdministrator("root", "admins")
	_, err := h.CompleteSetup(t.Context(), h.visit(), "any code", broker.NewPerson{Username: "eve", Password: "short"})
	wantErr(t, err, identity.ErrExpired, "setup_code_invalid") // and not what the policy thinks of the password
}

func TestKEY01_AnAccountHasABoundedNumberOfKeys(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	ada := h.signIn("ada")
	for i := range 101 {
		_, _, err := h.CreateKey(t.Context(), h.visit(), ada.Principal,
			broker.NewKey{Name: fmt.Sprint("key ", i), Application: h.app("app")})
		if i < 100 && err != nil {
			t.Fatal(err)
		}
		if i == 100 && (!errors.Is(err, identity.ErrConflict) || identity.CodeOf(err) != "too_many_keys") {
			t.Errorf("the 101st key: %v", err)
		}
	}
}

func TestDoorFor_ALinkDoesNotChooseWhoGetsThePasswordOfARuledDomain(t *testing.T) {
	h := newHouse(t)
	for name, c := range map[string]struct{ explicit, hint, typed, want string }{
		"nothing but a name":             {"", "", "ada", "local"},
		"a hint for a name of no domain": {"", "contractors", "ada", "contractors"},
		"a hint against a domain's rule": {"", "contractors", "ada@corp.example", "corp"},
		"a rule in another spelling":     {"", "contractors", "ada@CORP.example ", "corp"},
		"the explicit one beats both":    {"local", "contractors", "ada@corp.example", "local"},
	} {
		d, err := h.Current().DoorFor(c.explicit, c.hint, c.typed)
		if err != nil || d.ID != c.want {
			t.Errorf("%s: %s, want %s (%v)", name, d.ID, c.want, err)
		}
	}
}

func TestKEY02_AListWithoutRolesIsNoWishForAll(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "operators")
	ada := h.signIn("ada")
	_, _, err := h.CreateKey(t.Context(), h.visit(), ada.Principal,
		broker.NewKey{Name: "none", Application: h.app("app"), Roles: []string{}})
	wantErr(t, err, identity.ErrInvalid, "roles_missing")
	all, _, err := h.CreateKey(t.Context(), h.visit(), ada.Principal, broker.NewKey{Name: "all", Application: h.app("app")})
	if err != nil || len(all.Roles) != len(ada.Principal.Roles) {
		t.Errorf("no list is %q (%v)", all.Roles, err)
	}
}

func TestATokenWithoutRolesSaysSoWithAnEmptyList(t *testing.T) {
	h := newHouse(t)
	h.addAdministrator("root") // administers by hand, holds no role
	api := h.signInAs(h.atAPI(broker.Self), "", "root")
	raw := h.token(api, broker.Self)
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil || !strings.Contains(string(payload), `"roles":[]`) {
		t.Errorf("claims are %s (%v)", payload, err)
	}
}
