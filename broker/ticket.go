package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/broker/sessions"
	"sallyport/identity"
)

const (
	// ticketPrefix tells our tickets from whatever else an application calls so in its addresses.
	ticketPrefix = "spwt_"
	// TicketLife is how long a ticket waits to be used.
	TicketLife = 30 * time.Second
)

// IsTicket reports whether a value has the shape of a ticket; it proves nothing.
func IsTicket(raw string) bool { return shaped(raw, ticketPrefix) }

// IssueTicket gives a session a ticket for one WebSocket of its application, where a browser's script can send no header.
// It hangs on the session and ends with it. identity.ErrInvalid coded no_session for an API key, identity.ErrDenied coded
// no_role for whom the application does not admit.
func (b *Broker) IssueTicket(ctx context.Context, p identity.Principal, app *Application) (string, error) {
	switch {
	case p.SessionID == "":
		return "", identity.WithCode("no_session", fmt.Errorf("an API key has no session: %w", identity.ErrInvalid))
	case p.Application != app.ID || !app.Admits(p):
		return "", denied("no_role", "account %s at %s", p.Subject, app.ID)
	}
	ticket := ticketPrefix + NewSecret()
	err := b.store.Update(ctx, func(tx Tx) error {
		err := tx.PutCode(ctx, ticket, sessions.Code{
			Purpose: sessions.Ticket, SessionID: p.SessionID, AccountID: p.Subject, Application: app.ID,
			ExpiresAt: b.now().Add(TicketLife),
		})
		if errors.Is(err, identity.ErrNotFound) { // it ended a moment ago
			return fmt.Errorf("session %s: %w", p.SessionID, identity.ErrExpired)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return ticket, nil
}

// TakeTicket spends a ticket, in a transaction of its own: shown is used up, right or wrong. The credential it returns
// stands for the session and can be looked at as often as its connection is. identity.ErrBadCredentials coded
// ticket_invalid for one that is unknown, used, too old or another application's.
func (b *Broker) TakeTicket(ctx context.Context, app *Application, raw string) (Credential, error) {
	if !IsTicket(raw) {
		return Credential{}, ticketInvalid("shape")
	}
	var taken sessions.Code
	err := b.store.Update(ctx, func(tx Tx) (err error) {
		taken, err = tx.TakeCode(ctx, sessions.Ticket, raw, b.now())
		return err
	})
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return Credential{}, ticketInvalid("unknown or used")
	case err != nil:
		return Credential{}, publicRefusal(err)
	case taken.Application != app.ID:
		return Credential{}, ticketInvalid("of " + taken.Application + " at " + app.ID)
	}
	return Credential{Carrier: Ticket, value: raw, session: taken.SessionID}, nil
}

// codeTicket is the code of all that was no ticket: whoever shows one knows that.
const codeTicket = "ticket_invalid"

func ticketInvalid(why string) error {
	return identity.WithCode(codeTicket, fmt.Errorf("ticket: %s: %w", why, identity.ErrBadCredentials))
}

// bindTicket wants one that was taken: a value alone, as everybody can make it, opens nothing.
func (c Credential) bindTicket() (binding, error) {
	if c.session == "" {
		return binding{}, ticketInvalid("not taken")
	}
	return binding{id: c.session}, nil
}
