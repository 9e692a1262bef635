package broker_test

import (
	"errors"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// takes shows a ticket at an application, and what it opens.
func (h *house) takes(app, ticket string) (identity.Principal, error) {
	h.t.Helper()
	c, err := h.TakeTicket(h.t.Context(), h.app(app), ticket)
	if err != nil {
		return identity.Principal{}, err
	}
	return h.Authenticate(h.t.Context(), h.visit(), c, h.app(app))
}

// shown is the access token as a credential.
func shown(of broker.Refreshed) broker.Credential {
	return broker.NewCredential(broker.Bearer, of.Access.Token)
}

func (h *house) ticket(of broker.Refreshed) string {
	h.t.Helper()
	raw, err := h.IssueTicket(h.t.Context(), shown(of), of.Principal, h.app(of.Principal.Application))
	if err != nil || !broker.IsTicket(raw) {
		h.t.Fatalf("%d characters, %v", len(raw), err)
	}
	return raw
}

func TestKEY03_ATicketOpensItsApplicationOnceForHalfAMinute(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	have := h.begin("ada", "app")
	there := h.beside()
	ticket := h.ticket(have)
	if p, err := there.takes("app", ticket); err != nil || p.SessionID != have.Principal.SessionID {
		t.Fatalf("%+v, %v", p, err)
	}
	for name, show := range map[string]func() error{
		"used": func() error { _, err := h.takes("app", ticket); return err },
		"too old": func() error {
			old := h.ticket(have)
			h.pass(30 * time.Second)
			_, err := h.takes("app", old)
			return err
		},
		"elsewhere": func() error { _, err := h.takes("open", h.ticket(have)); return err },
		"unknown":   func() error { _, err := h.takes("app", "spwt_"+broker.NewSecret()); return err },
		"no ticket": func() error { _, err := h.takes("app", have.Access.Token); return err },
		"a refresh token": func() error {
			_, err := h.takes("app", have.RefreshToken)
			return err
		},
		"not taken": func() error {
			_, err := h.show(credential{broker.Ticket, h.ticket(have), "app"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { wantErr(t, show(), identity.ErrBadCredentials, "ticket_invalid") })
	}
	t.Run("a wrong application uses it up", func(t *testing.T) {
		raw := h.ticket(have)
		_, _ = h.takes("open", raw)
		_, err := h.takes("app", raw)
		wantErr(t, err, identity.ErrBadCredentials, "ticket_invalid")
	})
	t.Run("what it opened ends with the session, and so does one that waits", func(t *testing.T) {
		raw, waiting := h.ticket(have), h.ticket(have)
		c, err := h.TakeTicket(t.Context(), h.app("app"), raw)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // as the gateway looks at what is under way
			if _, err := h.Authenticate(t.Context(), h.visit(), c, h.app("app")); err != nil {
				t.Fatal(err)
			}
		}
		h.revokeShown("app", have.RefreshToken)
		_, err = h.Authenticate(t.Context(), h.visit(), c, h.app("app"))
		wantErr(t, err, identity.ErrExpired, "")
		_, err = h.takes("app", waiting)
		wantErr(t, err, identity.ErrBadCredentials, "ticket_invalid")
		_, err = h.IssueTicket(t.Context(), shown(have), have.Principal, h.app("app"))
		wantErr(t, err, identity.ErrExpired, "")
	})
}

func TestTicketsAreForSessionsOfTheApplication(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	have := h.begin("ada", "app")
	_, key := h.newKey(h.signIn("ada"), "app")
	_, err := h.IssueTicket(t.Context(), broker.NewCredential(broker.APIKey, key), h.opens(apiKey(key, "app")), h.app("app"))
	wantErr(t, err, identity.ErrInvalid, "no_session")
	_, err = h.IssueTicket(t.Context(), shown(have), have.Principal, h.app("open"))
	wantErr(t, err, identity.ErrDenied, "no_role")
	raw := h.ticket(have)
	h.down()
	if _, err := h.takes("app", raw); !errors.Is(err, identity.ErrUnavailable) {
		t.Fatalf("error is %v", err)
	}
	if _, err := h.IssueTicket(t.Context(), shown(have), have.Principal, h.app("app")); !errors.Is(err, identity.ErrUnavailable) {
		t.Fatalf("error is %v", err)
	}
}

func TestSES05_ATicketEndsWithTheTokenItWasGotWith(t *testing.T) {
	for name, revoke := range map[string]func(h *house, of broker.Refreshed) error{
		"by whoever holds it": func(h *house, of broker.Refreshed) error {
			return h.Revoke(t.Context(), h.visit(), h.app("app"), of.Access.Token)
		},
		"by its jti alone": func(h *house, of broker.Refreshed) error {
			return h.RevokeToken(t.Context(), h.visit(), "cli", sessions.RevokedToken{ID: of.Access.ID, ExpiresAt: of.Access.ExpiresAt})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.addPerson("ada", "viewers")
			have := h.begin("ada", "app")
			waiting, under := h.ticket(have), h.ticket(have)
			way, err := h.TakeTicket(t.Context(), h.app("app"), under)
			if err != nil {
				t.Fatal(err)
			}
			look := func() error {
				_, err := h.Authenticate(t.Context(), h.visit(), way, h.app("app"))
				return err
			}
			if err := look(); err != nil {
				t.Fatal(err)
			}
			if err := revoke(h, have); err != nil {
				t.Fatal(err)
			}
			wantErr(t, look(), identity.ErrExpired, "token_revoked")
			_, err = h.takes("app", waiting)
			wantErr(t, err, identity.ErrExpired, "token_revoked")
			_, err = h.IssueTicket(t.Context(), shown(have), have.Principal, h.app("app"))
			wantErr(t, err, identity.ErrExpired, "token_revoked")
		})
	}
}

func TestATicketCountsAsWhatItWasGotWith(t *testing.T) {
	h := ruledHouse(t,
		&broker.Rule{Path: "/cookie/", Carriers: []broker.Carrier{broker.Cookie}},
		&broker.Rule{Path: "/bearer/", Carriers: []broker.Carrier{broker.Bearer}},
	)
	h.addPerson("ada", "viewers")
	out, token := h.child(h.signIn("ada"), "app"), h.begin("ada", "app")
	for name, c := range map[string]struct {
		shown broker.Credential
		of    identity.Principal
		opens string
	}{
		"a cookie": {broker.NewCredential(broker.Cookie, out.Token), out.Principal, "/cookie/"},
		"a token":  {shown(token), token.Principal, "/bearer/"},
	} {
		for _, path := range []string{"/cookie/", "/bearer/"} {
			t.Run(name+" at "+path, func(t *testing.T) {
				raw, err := h.IssueTicket(t.Context(), c.shown, c.of, h.app("app"))
				if err != nil {
					t.Fatal(err)
				}
				ticket, err := h.TakeTicket(t.Context(), h.app("app"), raw)
				if err != nil {
					t.Fatal(err)
				}
				_, err = h.Authorize(t.Context(), h.visit(), broker.Request{
					Application: h.app("app"), Credential: ticket, Method: "GET", Path: path,
				})
				if path == c.opens && err != nil {
					t.Fatal(err)
				}
				if path != c.opens {
					wantErr(t, err, identity.ErrDenied, "carrier_denied")
				}
			})
		}
	}
	t.Run("and what is somebody else's gets none", func(t *testing.T) {
		_, err := h.IssueTicket(t.Context(), shown(token), out.Principal, h.app("app"))
		wantErr(t, err, identity.ErrBadCredentials, "credential_invalid")
	})
}
