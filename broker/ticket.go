package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
// c is what the principal p showed: the ticket counts as that, and ends with it where it is a token that is revoked, and
// with the session. identity.ErrInvalid coded no_session for an API key, identity.ErrDenied coded no_role for whom the
// application does not admit; other errors are those of Authenticate.
func (b *Broker) IssueTicket(ctx context.Context, c Credential, p identity.Principal, app *Application) (string, error) {
	switch {
	case p.SessionID == "":
		return "", identity.WithCode("no_session", fmt.Errorf("an API key has no session: %w", identity.ErrInvalid))
	case p.Application != app.ID || !app.Admits(p):
		return "", denied("no_role", "account %s at %s", p.Subject, app.ID)
	}
	bound, err := b.bind(ctx, c, app)
	if err == nil && bound.id != p.SessionID {
		err = fmt.Errorf("credential of session %s for %s: %w", bound.id, p.SessionID, identity.ErrBadCredentials)
	}
	if err != nil {
		return "", publicRefusal(err)
	}
	ticket := ticketPrefix + NewSecret()
	err = b.store.Update(ctx, func(tx Tx) error {
		if err := b.tokenLives(ctx, tx, p.SessionID, bound.tokenID); err != nil {
			return err
		}
		err := tx.PutCode(ctx, ticket, sessions.Code{
			Purpose: sessions.Ticket, SessionID: p.SessionID, AccountID: p.Subject, Application: app.ID,
			Challenge: gotWith(c, bound), ExpiresAt: b.now().Add(TicketLife),
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

// tokenLives refuses a token that was revoked, as the transaction sees it: identity.ErrExpired coded token_revoked.
func (b *Broker) tokenLives(ctx context.Context, tx Tx, sessionID, tokenID string) error {
	if tokenID == "" {
		return nil
	}
	for _, of := range []string{sessionID, ""} {
		dead, err := tx.RevokedTokens(ctx, of, b.now())
		if err != nil {
			return err
		}
		if slices.Contains(dead, tokenID) {
			return revoked(tokenID)
		}
	}
	return nil
}

// What a ticket was got with is kept as "carrier:jti", the jti being empty without a token.
const (
	gotWithCookie = "cookie"
	gotWithToken  = "bearer"
)

func gotWith(c Credential, bound binding) string {
	if c.stands().IsCookie() {
		return gotWithCookie + ":" + bound.tokenID
	}
	return gotWithToken + ":" + bound.tokenID
}

// taken reads what a ticket was got with.
func taken(raw string, c sessions.Code) (Credential, error) {
	carrier, tokenID, _ := strings.Cut(c.Challenge, ":")
	t := Credential{Carrier: Ticket, value: raw, session: c.SessionID, tokenID: tokenID}
	switch carrier {
	case gotWithCookie:
		t.asked = Cookie
	case gotWithToken:
		t.asked = Bearer
	default:
		return Credential{}, ticketInvalid("got with nothing")
	}
	return t, nil
}

// TakeTicket spends a ticket, in a transaction of its own: shown is used up, right or wrong. The credential it returns
// stands for the session and can be looked at as often as its connection is. identity.ErrBadCredentials coded
// ticket_invalid for one that is unknown, used, too old or another application's.
func (b *Broker) TakeTicket(ctx context.Context, app *Application, raw string) (Credential, error) {
	if !IsTicket(raw) {
		return Credential{}, ticketInvalid("shape")
	}
	var code sessions.Code
	err := b.store.Update(ctx, func(tx Tx) (err error) {
		code, err = tx.TakeCode(ctx, sessions.Ticket, raw, b.now())
		return err
	})
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return Credential{}, ticketInvalid("unknown or used")
	case err != nil:
		return Credential{}, publicRefusal(err)
	case code.Application != app.ID:
		return Credential{}, ticketInvalid("of " + code.Application + " at " + app.ID)
	}
	return taken(raw, code)
}

// codeTicket is the code of all that was no ticket: whoever shows one knows that.
const codeTicket = "ticket_invalid"

func ticketInvalid(why string) error {
	return identity.WithCode(codeTicket, fmt.Errorf("ticket: %s: %w", why, identity.ErrBadCredentials))
}

// bindTicket wants one that was taken: a value alone, as everybody can make it, opens nothing. A ticket that was got with a
// token is over with that.
func (b *Broker) bindTicket(ctx context.Context, c Credential) (binding, error) {
	if c.session == "" {
		return binding{}, ticketInvalid("not taken")
	}
	over, err := b.endings(ctx)
	if err != nil {
		return binding{}, err
	}
	if over.tokens[c.tokenID] {
		return binding{}, revoked(c.tokenID)
	}
	return binding{id: c.session, tokenID: c.tokenID}, nil
}
