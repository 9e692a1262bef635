package broker_test

import (
	"errors"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/tokens"
)

// forge signs a token as the application that knows the secret could.
func (h *house) forge(secret string, now func() time.Time, change func(s *tokens.Spec)) string {
	h.t.Helper()
	ring, err := tokens.NewKeyring(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	spec := tokens.Spec{Subject: "nobody", Audience: "https://hmac-a.example.test", ClientID: "hmac-a", SessionID: "none", Lifetime: time.Minute}
	change(&spec)
	made, err := tokens.NewIssuer(issuer, ring, now).IssueHMAC([]byte(secret), "hmac-a", spec)
	if err != nil {
		h.t.Fatal(err)
	}
	return made.Token
}

func TestATokenSaysWhatTheSessionIsWorth(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "operators")
	out := h.signInAs(h.atAPI("app"), "", "ada")
	made, err := h.IssueToken(t.Context(), out.Principal, h.app("app"))
	if err != nil {
		t.Fatal(err)
	}
	if !made.ExpiresAt.Equal(h.clock.Now().Add(15 * time.Minute)) {
		t.Fatalf("expires %s", made.ExpiresAt)
	}
	p := h.opens(credential{broker.Bearer, made.Token, "app"})
	if p.Subject != out.Principal.Subject || p.SessionID != out.Session.ID || p.Application != "app" || len(p.Roles) != 2 {
		t.Fatalf("principal is %+v", p)
	}
	t.Run("and ends when it says, also from the cache", func(t *testing.T) {
		h.pass(15*time.Minute - time.Second)
		h.opens(credential{broker.Bearer, made.Token, "app"})
		h.pass(time.Second)
		_, err := h.show(credential{broker.Bearer, made.Token, "app"})
		wantErr(t, err, identity.ErrExpired, "")
	})
}

func TestATokensLifeNeverExceedsTheSession(t *testing.T) {
	h := newHouse(t, func(s *settings) {
		s.apps[0].Session = broker.Limits{Idle: 10 * time.Minute, Lifetime: 10*time.Minute + 500*time.Millisecond}
	})
	h.addPerson("ada", "viewers")
	out := h.signInAs(h.atAPI("app"), "", "ada")
	for _, after := range []time.Duration{0, 4*time.Minute + 300*time.Millisecond, 5 * time.Minute} {
		h.clock.Advance(after)
		made, err := h.IssueToken(t.Context(), out.Principal, h.app("app"))
		if err != nil {
			t.Fatal(err)
		}
		if made.ExpiresAt.After(out.Session.ExpiresAt) || !made.ExpiresAt.After(h.clock.Now()) {
			t.Fatalf("token ends %s, session %s", made.ExpiresAt, out.Session.ExpiresAt)
		}
	}
	h.clock.Advance(time.Minute)
	_, err := h.IssueToken(t.Context(), out.Principal, h.app("app"))
	wantErr(t, err, identity.ErrExpired, "")
}

func TestATokenOpensItsOwnApplicationOnly(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "operators")
	out := h.signInAs(h.atAPI("app"), "", "ada")
	raw := h.token(out, "app")
	h.opens(credential{broker.Bearer, raw, "app"})
	for _, app := range []string{"open", "reports", "hmac-a", broker.Self} {
		h.refuses(credential{broker.Bearer, raw, app})
	}
	t.Run("also where two share an audience", func(t *testing.T) {
		h.reload(func(s *settings) {
			twin := application("twin", "https://twin.example.test/")
			twin.Audience = s.apps[0].Audience
			s.apps = append(s.apps, twin)
		})
		h.opens(credential{broker.Bearer, raw, "app"})
		h.refuses(credential{broker.Bearer, raw, "twin"})
	})
	t.Run("none is made for another application", func(t *testing.T) {
		_, err := h.IssueToken(t.Context(), out.Principal, h.app("open"))
		wantErr(t, err, identity.ErrDenied, "wrong_application")
		_, err = h.ForwardToken(t.Context(), h.Current(), h.child(h.signIn("ada"), "app").Principal, h.app("open"))
		wantErr(t, err, identity.ErrDenied, "wrong_application")
	})
}

func TestATokenOfAnotherIssuerIsRefused(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	out := h.signInAs(h.atAPI("app"), "", "ada")
	t.Run("whose keys are not ours", func(t *testing.T) {
		other := newHouse(t) // the same issuer name, other keys
		other.addPerson("ada", "viewers")
		spec := out.Principal
		made, err := other.IssueToken(t.Context(), spec, other.app("app"))
		if err != nil {
			t.Fatal(err)
		}
		h.refuses(credential{broker.Bearer, made.Token, "app"})
	})
	t.Run("whose keys are ours, by another name", func(t *testing.T) {
		raw := h.token(out, "app")
		h.opens(credential{broker.Bearer, raw, "app"})
		h.reload(func(s *settings) { s.issuer = "https://new.example.test" })
		h.refuses(credential{broker.Bearer, raw, "app"})
		h.opens(h.bearer(out))
		h.reload(func(s *settings) { s.issuer = issuer })
		h.opens(credential{broker.Bearer, raw, "app"})
	})
}

func TestAnHMACApplicationsOwnTokensOpenNothingButItself(t *testing.T) {
	h := newHouse(t)
	ada, ben := h.addPerson("ada", "viewers"), h.addPerson("ben", "viewers")
	at := func(app, name string) broker.Outcome { return h.signInAs(h.atAPI(app), "", name) }
	adaA, adaB, adaApp, browser := at("hmac-a", "ada"), at("hmac-b", "ada"), at("app", "ada"), h.signIn("ada")
	genuine := h.token(adaA, "hmac-a")
	h.opens(credential{broker.Bearer, genuine, "hmac-a"})
	h.refuses(credential{broker.Bearer, genuine, "hmac-b"})
	for _, c := range []struct {
		name   string
		app    string
		secret string
		change func(s *tokens.Spec)
	}{
		{"with another application's session", "hmac-a", secretA, func(s *tokens.Spec) { s.Subject, s.SessionID = ada.ID, adaB.Session.ID }},
		{"with a session whose tokens we sign", "hmac-a", secretA, func(s *tokens.Spec) { s.Subject, s.SessionID = ada.ID, adaApp.Session.ID }},
		{"with the broker's session", "hmac-a", secretA, func(s *tokens.Spec) { s.Subject, s.SessionID = ada.ID, browser.Session.ID }},
		{"with somebody else's name on a session of its own", "hmac-a", secretA, func(s *tokens.Spec) { s.Subject, s.SessionID = ben.ID, adaA.Session.ID }},
		{"with a session that never was", "hmac-a", secretA, func(s *tokens.Spec) { s.Subject, s.SessionID = ada.ID, "none" }},
		{"for another HMAC application", "hmac-b", secretA, func(s *tokens.Spec) {
			s.Subject, s.SessionID, s.Audience, s.ClientID = ada.ID, adaB.Session.ID, "https://hmac-b.example.test", "hmac-b"
		}},
		{"for an application whose tokens we sign", "app", secretA, func(s *tokens.Spec) {
			s.Subject, s.SessionID, s.Audience, s.ClientID = ada.ID, adaApp.Session.ID, "https://app.example.test", "app"
		}},
		{"for the broker", broker.Self, secretA, func(s *tokens.Spec) {
			s.Subject, s.SessionID, s.Audience, s.ClientID = ada.ID, browser.Session.ID, issuer, broker.Self
		}},
		{"with another secret", "hmac-a", secretB, func(s *tokens.Spec) { s.Subject, s.SessionID = ada.ID, adaA.Session.ID }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.refuses(credential{broker.Bearer, h.forge(c.secret, h.clock.Now, c.change), c.app})
		})
	}
	t.Run("roles in it are not read", func(t *testing.T) {
		raw := h.forge(secretA, h.clock.Now, func(s *tokens.Spec) {
			s.Subject, s.SessionID, s.Claims = ada.ID, adaA.Session.ID, map[string]any{"roles": []string{"admin"}}
		})
		if p := h.opens(credential{broker.Bearer, raw, "hmac-a"}); len(p.Roles) != 1 {
			t.Fatalf("roles are %v", p.Roles)
		}
	})
	t.Run("a changed secret ends its tokens", func(t *testing.T) {
		h.reload(func(s *settings) { s.apps[3] = hmacApplication("hmac-a", secretB+"-new") })
		h.refuses(credential{broker.Bearer, genuine, "hmac-a"})
		h.opens(h.bearer(adaA))
	})
}

func TestForwardTokensAreUsedAgainAndRenewedAtHalfTheirLife(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	child := h.child(h.signIn("ada"), "app")
	p := h.opens(cookie(child))
	forward := func() string {
		t.Helper()
		raw, err := h.ForwardToken(t.Context(), h.Current(), p, h.app("app"))
		if err != nil {
			t.Fatal(err)
		}
		h.opens(credential{broker.Bearer, raw, "app"})
		return raw
	}
	first := forward()
	h.pass(7 * time.Minute)
	if forward() != first {
		t.Fatal("made again although more than half of its life is left")
	}
	h.pass(30 * time.Second)
	second := forward()
	if second == first {
		t.Fatal("half of its life was over, and it was not renewed")
	}
	t.Run("after the roles changed it is another", func(t *testing.T) {
		if err := h.SetGroups(t.Context(), h.visit(), "cli", "ada", []string{"operators"}); err != nil {
			t.Fatal(err)
		}
		if forward() == second {
			t.Fatal("the application still gets the token with the roles of before")
		}
	})
	t.Run("it ends with the session", func(t *testing.T) {
		raw := forward()
		if err := h.SignOut(t.Context(), h.visit(), p); err != nil {
			t.Fatal(err)
		}
		h.refuses(credential{broker.Bearer, raw, "app"})
		if _, err := h.ForwardToken(t.Context(), h.Current(), p, h.app("app")); !errors.Is(err, identity.ErrExpired) {
			t.Fatalf("error is %v", err)
		}
	})
	t.Run("keys have none", func(t *testing.T) {
		_, whole := h.newKey(h.signIn("ada"), "app")
		raw, err := h.ForwardToken(t.Context(), h.Current(), h.opens(apiKey(whole, "app")), h.app("app"))
		if raw != "" || err != nil {
			t.Fatalf("token %q, %v", raw, err)
		}
	})
}

func TestABrowserSessionHasNoTokens(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.refuses(credential{broker.Bearer, h.token(h.signIn("ada"), broker.Self), broker.Self})
}

func TestWebKeysAreMadeOnceForAllProcesses(t *testing.T) {
	h := newHouse(t)
	there := h.beside()
	first, err := h.WebKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := there.WebKeys(t.Context())
	if err != nil || string(first.FlowBlock) != string(second.FlowBlock) || len(first.CSRF) != 32 {
		t.Fatalf("different keys, %v", err)
	}
	if string(first.FlowHash) == string(first.FlowBlock) || string(first.CSRF) == string(first.FlowHash) {
		t.Fatal("one key for two purposes")
	}
}

// forged is a token that an application with a secret makes for a session that is not its own.
func (h *house) forged(of broker.Refreshed, secret string) string {
	h.t.Helper()
	return h.forge(secret, h.clock.Now, func(s *tokens.Spec) {
		s.Subject, s.SessionID = of.Principal.Subject, of.Principal.SessionID
	})
}
