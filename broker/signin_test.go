package broker_test

import (
	"net/url"
	"strings"
	"testing"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// arrive brings somebody in through the partner.
func (h *house) arrive(id identity.Identity) (broker.Outcome, error) {
	h.t.Helper()
	h.partner.knows(id.Subject, id)
	return h.Return(h.t.Context(), h.visit(), h.atBroker(), broker.Departure{Provider: "partner", FlowID: broker.NewID()}, nil,
		url.Values{"code": {id.Subject}})
}

// contract brings somebody in through the contractors' directory, whose newcomers' names are qualified.
func (h *house) contract(id identity.Identity) (broker.Outcome, error) {
	h.t.Helper()
	h.contractors.knows("somebody/"+password, id)
	return h.SignInWithPassword(h.t.Context(), h.visit(), h.atBroker(), "contractors", "somebody", password)
}

func TestOID06_TheSameNameOrAddressFromAnotherProviderIsAnotherAccount(t *testing.T) {
	viewers := []string{"viewers"}
	for _, c := range []struct {
		name, username, email, becomes string
	}{
		{"the same name", "ada", "", "ada@contractors"},
		{"the same name in another case", "ADA", "", "ADA@contractors"},
		{"the same name in full-width letters", "ａｄａ", "", "ａｄａ@contractors"},
		{"the same name with spaces around", " ada ", "", "ada@contractors"},
		{"the same address, said to be verified", "ada2", "ada@example.test", "ada2"},
		{"the same address and no name", "", "ada@example.test", "ada@example.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			ada := h.add(broker.NewPerson{Username: "ada", Email: "ada@example.test", Password: password, Groups: viewers})
			id := identity.Identity{Subject: "s1", Username: c.username, Email: c.email, EmailVerified: true, Groups: viewers}
			out, err := h.contract(id)
			if err != nil {
				t.Fatal(err)
			}
			if out.Principal.Subject == ada.ID || out.Principal.Username != c.becomes {
				t.Fatalf("became %q, account %s", out.Principal.Username, out.Principal.Subject)
			}
			if p, err := h.PersonByID(t.Context(), ada.ID); err != nil || len(p.Identities) != 1 {
				t.Fatalf("ada has %d identities, %v", len(p.Identities), err)
			}
		})
	}
	t.Run("where names are not qualified, the newcomer is refused", func(t *testing.T) {
		h := newHouse(t)
		h.addPerson("ada", "viewers")
		_, err := h.arrive(identity.Identity{Subject: "s1", Username: "Ada", Groups: viewers})
		wantErr(t, err, identity.ErrDenied, "username_taken")
		if all, err := h.People(t.Context(), "", 10); err != nil || len(all) != 1 {
			t.Fatalf("%d people, %v", len(all), err)
		}
	})
	t.Run("a qualified name that is taken too is refused", func(t *testing.T) {
		h := newHouse(t)
		h.addPerson("ada", "viewers")
		h.addPerson("ada@contractors", "viewers")
		_, err := h.contract(identity.Identity{Subject: "s1", Username: "ada", Groups: viewers})
		wantErr(t, err, identity.ErrDenied, "username_taken")
	})
	t.Run("the same subject at two providers is two people", func(t *testing.T) {
		h := newHouse(t)
		one, err := h.arrive(identity.Identity{Subject: "s1", Username: "pia", Groups: viewers})
		if err != nil {
			t.Fatal(err)
		}
		two, err := h.contract(identity.Identity{Subject: "s1", Username: "pia", Groups: viewers})
		if err != nil || one.Principal.Subject == two.Principal.Subject {
			t.Fatalf("accounts %s and %s, %v", one.Principal.Subject, two.Principal.Subject, err)
		}
	})
	t.Run("somebody without a usable name gets one", func(t *testing.T) {
		h := newHouse(t)
		out, err := h.arrive(identity.Identity{Subject: "s1", Username: "a\x00b", Email: "no\nmail", Groups: viewers})
		if err != nil || !strings.HasPrefix(out.Principal.Username, "user-") {
			t.Fatalf("became %q, %v", out.Principal.Username, err)
		}
	})
}

func TestLDP03_TheSameSubjectIsTheSameAccountAfterARename(t *testing.T) {
	h := newHouse(t)
	first, err := h.arrive(identity.Identity{Subject: "s1", Username: "pia", Name: "Pia", Email: "pia@a.test", Groups: []string{"viewers"}})
	if err != nil {
		t.Fatal(err)
	}
	again, err := h.arrive(identity.Identity{Subject: "s1", Username: "pia.new", Name: "Pia New", Email: "pia@b.test", Groups: []string{"viewers"}})
	if err != nil {
		t.Fatal(err)
	}
	if again.Principal.Subject != first.Principal.Subject {
		t.Fatal("a rename made another account")
	}
	if again.Principal.Username != "pia" || again.Principal.Name != "Pia New" || again.Principal.Email != "pia@b.test" {
		t.Fatalf("principal is %+v", again.Principal)
	}
	if p := h.opens(cookie(first)); p.Name != "Pia New" {
		t.Fatalf("the earlier session still says %q", p.Name)
	}
	t.Run("and the name deleted and made again is another account", func(t *testing.T) {
		out, err := h.contract(identity.Identity{Subject: "new-entry", Username: "pia", Groups: []string{"viewers"}})
		if err != nil || out.Principal.Subject == first.Principal.Subject {
			t.Fatalf("account %s, %v", out.Principal.Subject, err)
		}
	})
}

func TestLDP05_LosingAGroupUpstreamReachesTheOtherSessionsAtTheNextSignIn(t *testing.T) {
	h := newHouse(t)
	first, err := h.arrive(identity.Identity{Subject: "s1", Username: "pia", Groups: []string{"viewers"}})
	if err != nil {
		t.Fatal(err)
	}
	h.opens(cookie(first))
	_, err = h.arrive(identity.Identity{Subject: "s1", Username: "pia", Groups: []string{"viewers", "barred"}})
	wantErr(t, err, identity.ErrDenied, "denied_by_rule")
	again, err := h.arrive(identity.Identity{Subject: "s1", Username: "pia", Groups: []string{"viewers", "more"}})
	if err != nil {
		t.Fatal(err)
	}
	h.opens(cookie(first))
	h.opens(cookie(again))
	p, err := h.PersonByID(t.Context(), first.Principal.Subject)
	if err != nil || len(p.Identities) != 1 || len(p.Identities[0].Snapshot.Groups) != 2 {
		t.Fatalf("person is %+v, %v", p, err)
	}
}

func TestLOC03_UnknownWrongEmptyAndDisabledAnswerAlikeAndAskOnce(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.addPerson("dora", "viewers")
	if err := h.SetDisabled(t.Context(), h.visit(), "cli", "dora", true); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, username, password string }{
		{"unknown", "nobody", password},
		{"wrong", "ada", "wrong password"},
		{"empty", "ada", ""},
		{"disabled with the right password", "dora", password},
		{"disabled with a wrong password", "dora", "wrong password"},
		{"a name that nobody could have", "a\x00b", password},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := h.local.calls.Load()
			out, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", c.username, c.password)
			wantErr(t, err, identity.ErrBadCredentials, "")
			if out.Token != "" || out.Session.ID != "" {
				t.Fatal("a refusal came with a session")
			}
			if n := h.local.calls.Load() - before; n != 1 {
				t.Fatalf("the provider was asked %d times", n)
			}
		})
	}
}

func TestATypedPasswordGoesToOneDoorOnly(t *testing.T) {
	for _, c := range []struct {
		name, provider, username string
		corp, local, contractors int64
	}{
		{"no domain: the default", "", "ada", 0, 1, 0},
		{"a domain with a rule", "", "ada@corp.example", 1, 0, 0},
		{"a domain with a rule in another case", "", "ada@CORP.Example ", 1, 0, 0},
		{"a domain without a rule: the default", "", "ada@elsewhere.example", 0, 1, 0},
		{"the explicit door beats the rule", "contractors", "ada@corp.example", 0, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), c.provider, c.username, "a typed password")
			wantErr(t, err, identity.ErrBadCredentials, "")
			got := [3]int64{h.corp.calls.Load(), h.local.calls.Load(), h.contractors.calls.Load()}
			if got != [3]int64{c.corp, c.local, c.contractors} {
				t.Fatalf("asked %v (corp, local, contractors)", got)
			}
		})
	}
	t.Run("a directory that is down is never answered by another door", func(t *testing.T) {
		h := newHouse(t)
		h.addPerson("ada@corp.example", "admins")
		h.corp.down = identity.WithCode("provider_unavailable", identity.ErrUnavailable)
		_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada@corp.example", password)
		wantErr(t, err, identity.ErrUnavailable, "provider_unavailable")
		if h.local.calls.Load() != 0 {
			t.Fatal("the password went on to another door")
		}
	})
	t.Run("a door that sends browsers away gets no password", func(t *testing.T) {
		h := newHouse(t)
		_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada@partner.example", password)
		wantErr(t, err, identity.ErrInvalid, "provider_needs_browser")
	})
}

func TestADM07_OneGroupNameMeansDifferentThingsAtTwoProviders(t *testing.T) {
	h := newHouse(t)
	h.corp.knows("cora/"+password, identity.Identity{Subject: "1", Username: "cora", Groups: []string{"admins", "operators", corpViewers}})
	out, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "corp", "cora", password)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Principal.Roles) != 1 || out.Principal.Roles[0] != "viewer" {
		t.Fatalf("roles are %v", out.Principal.Roles)
	}
	t.Run("and only groups that the provider's own rules name let anybody in", func(t *testing.T) {
		h.corp.knows("carl/"+password, identity.Identity{Subject: "2", Username: "carl", Groups: []string{"admins", "viewers"}})
		_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "corp", "carl", password)
		wantErr(t, err, identity.ErrDenied, "no_role")
		_, err = h.PersonByName(t.Context(), "carl")
		wantErr(t, err, identity.ErrNotFound, "")
	})
}

func TestWhoMayNotEnterTheApplicationGetsNoTokenForIt(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ben", "viewers")
	v := h.visit()
	_, err := h.SignInWithPassword(t.Context(), v, h.atAPI("reports"), "", "ben", password)
	wantErr(t, err, identity.ErrDenied, "no_role")
	h.eventOf(v, audit.SignInRefused, func(e audit.Event) bool { return e.Application == "reports" && e.Username == "ben" })
}

func TestAnAPISessionHasNoCookie(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ben", "viewers")
	out := h.signInAs(h.atAPI("app"), "", "ben")
	if out.Token != "" || out.Session.Kind != sessions.API {
		t.Fatalf("outcome is %+v", out.Session)
	}
	h.refuses(credential{broker.Cookie, out.Session.ID, "app"})
}

func TestASignInThatBeganBeforeADemotionDoesNotUndoIt(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "admins", "viewers")
	h.local.between = func() {
		h.local.between = nil
		if err := h.SetGroups(t.Context(), h.visit(), "cli", "ada", []string{"viewers"}); err != nil {
			t.Error(err)
		}
	}
	out := h.signIn("ada")
	if len(out.Principal.Roles) != 1 {
		t.Fatalf("signed in as %v", out.Principal.Roles)
	}
	h.reload()
	if p := h.opens(cookie(out)); len(p.Roles) != 1 {
		t.Fatalf("holds %v", p.Roles)
	}
}

func TestASignInThatBeganBeforeTheAccountWasDisabledFails(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.local.between = func() {
		if err := h.SetDisabled(t.Context(), h.visit(), "cli", "ada", true); err != nil {
			t.Error(err)
		}
	}
	_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", password)
	wantErr(t, err, identity.ErrBadCredentials, "")
}

func TestTheAccountPageSaysWhichRuleGaveWhat(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	a, err := h.Account(t.Context(), h.Current(), in.Principal)
	if err != nil {
		t.Fatal(err)
	}
	if a.Username != "ada" || a.Identity.Subject != in.Session.Subject || len(a.Grant.Verdicts) != len(rules()) ||
		!a.Grant.Verdicts[0].Matched || a.Grant.Verdicts[0].Value != "viewers" {
		t.Fatalf("account is %+v", a)
	}
}

func TestNamesAreComparedInOneForm(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"as it is", "ada", "ada"},
		{"folded", "ADA", "ada"},
		{"trimmed", "  ada\t", "ada"},
		{"full width", "ａｄａ", "ada"},
		{"composed", "adé", "adé"},
		{"an address", "Ada@Corp.Example", "ada@corp.example"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := people.CanonicalName(c.in)
			if err != nil || got != c.want {
				t.Fatalf("got %q, %v", got, err)
			}
			if again, err := people.CanonicalName(got); err != nil || again != got {
				t.Fatalf("not idempotent: %q, %v", again, err)
			}
		})
	}
	for name, in := range map[string]string{
		"empty": "", "blank": "  ", "a space inside": "a b", "a NUL": "a\x00b", "a line end": "a\nb", "not UTF-8": "a\xff",
		"257 bytes": strings.Repeat("a", 257), "a bidi override": "a\u202eb",
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			_, err := people.CanonicalName(in)
			wantErr(t, err, identity.ErrInvalid, "username_invalid")
		})
	}
}
