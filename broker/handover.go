package broker

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"sallyport/audit"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// handOverLife is how long a hand-over code waits for its application's host.
const handOverLife = 30 * time.Second

// HandOver gives a signed-in person's browser a one-use code for an application's own host. The code opens nothing
// without the verifier of the challenge, which is in the sealed flow cookie on that host: so nobody can plant their own
// sign-in in somebody else's browser. identity.ErrDenied coded no_role when the application does not admit them.
func (b *Broker) HandOver(ctx context.Context, v Visit, p identity.Principal, app *Application, challenge string) (string, error) {
	if err := mayHandOver(p, app); err != nil {
		e := v.event(audit.AccessRefused, b.now())
		e.Actor, e.AccountID, e.Username, e.Application, e.SessionID = p.Subject, p.Subject, p.Username, app.ID, p.SessionID
		b.refused(ctx, e, err)
		return "", err
	}
	code := NewSecret()
	err := b.store.Update(ctx, func(tx Tx) error {
		return tx.PutCode(ctx, code, sessions.Code{
			Purpose: sessions.HandOver, SessionID: p.SessionID, AccountID: p.Subject, Application: app.ID,
			Challenge: challenge, ExpiresAt: b.now().Add(handOverLife),
		})
	})
	return code, err
}

// mayHandOver: only the broker's own sign-in is handed over. An application's session or an API key would make itself
// the parent of a session at another application.
func mayHandOver(p identity.Principal, app *Application) error {
	if p.SessionID == "" || p.Application != Self {
		return denied("wrong_application", "hand-over to %s from %s", app.ID, p.Application)
	}
	if !app.Admits(p) {
		return denied("no_role", "account %s at %s", p.Subject, app.ID)
	}
	return nil
}

// Redeem turns a hand-over code into the application's own session. A code is spent by the attempt, right or wrong.
// identity.ErrDenied coded session_limit where its owner has as many there as they may have.
func (b *Broker) Redeem(ctx context.Context, v Visit, app *Application, code, verifier string) (Outcome, error) {
	taken, err := b.takeHandOver(ctx, app, code, verifier)
	var out Outcome
	if err == nil {
		err = b.store.Update(ctx, func(tx Tx) error {
			out, err = b.openChild(ctx, tx, v, app, taken)
			return err
		})
	}
	if err != nil {
		e := v.event(audit.SignInRefused, b.now())
		e.Application, e.AccountID, e.SessionID = app.ID, taken.AccountID, taken.SessionID
		b.refused(ctx, e, err)
		return Outcome{}, err
	}
	return out, nil
}

// takeHandOver spends the code for good before it looks at what it was for.
func (b *Broker) takeHandOver(ctx context.Context, app *Application, code, verifier string) (sessions.Code, error) {
	var taken sessions.Code
	err := b.store.Update(ctx, func(tx Tx) (err error) {
		taken, err = tx.TakeCode(ctx, sessions.HandOver, code, b.now())
		return err
	})
	if errors.Is(err, identity.ErrNotFound) {
		return taken, identity.WithCode("code_invalid", fmt.Errorf("hand-over code: %w", identity.ErrExpired))
	}
	if err != nil {
		return taken, err
	}
	right := subtle.ConstantTimeCompare([]byte(Challenge(verifier)), []byte(taken.Challenge)) == 1
	if !right || taken.Application != app.ID {
		return taken, identity.WithCode("code_invalid", fmt.Errorf("hand-over code of another flow: %w", identity.ErrBadCredentials))
	}
	return taken, nil
}

// Challenge of a verifier: base64url(SHA-256), as in RFC 7636 section 4.2.
func Challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// openChild makes an application session under the sign-in that the code hangs on. It never outlives its parent: it
// ends no later, and is idle no longer. With a longer idle time of its own it would bring a sign-in back to life that
// nobody had used in time, since a child's use is its parent's too.
func (b *Broker) openChild(ctx context.Context, tx Tx, v Visit, app *Application, c sessions.Code) (Outcome, error) {
	now := b.now()
	parent, err := tx.Session(ctx, c.SessionID)
	if err != nil {
		return Outcome{}, err
	}
	if !parent.Live(now) {
		return Outcome{}, fmt.Errorf("sign-in %s: %w", parent.ID, identity.ErrExpired)
	}
	if err := notCutOff(ctx, tx, parent); err != nil {
		return Outcome{}, err
	}
	s := parent
	s.ID, s.ParentID, s.Kind, s.Application = NewID(), parent.ID, sessions.App, app.ID
	s.CreatedAt, s.LastSeenAt, s.IdleTimeout = now, now, shorter(app.Session.Idle, parent.IdleTimeout)
	s.Address, s.UserAgent, s.Remembered = v.Address, cut(v.UserAgent, 512), false // the application's cookie is kept by nobody
	if s.ExpiresAt = now.Add(app.Session.Lifetime); s.ExpiresAt.After(parent.ExpiresAt) {
		s.ExpiresAt = parent.ExpiresAt
	}
	seen, err := sessionView(ctx, tx, v.Snapshot, s)
	if err != nil {
		return Outcome{}, err
	}
	if !app.Admits(seen.principal) {
		return Outcome{}, denied("no_role", "account %s at %s", s.AccountID, app.ID)
	}
	if err := b.replaceSiblings(ctx, tx, v, app, s); err != nil {
		return Outcome{}, err
	}
	ended, err := b.roomFor(ctx, tx, v, s)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Principal: seen.principal, Session: s, Token: NewSecret(), Ended: ended}
	if err := tx.CreateSession(ctx, s, out.Token); err != nil {
		return Outcome{}, err
	}
	e := v.event(audit.SessionCreated, now)
	e.Actor, e.AccountID, e.Username, e.Provider = s.AccountID, s.AccountID, seen.principal.Username, s.Provider
	e.Application, e.SessionID = app.ID, s.ID
	return out, tx.Append(ctx, e)
}

// shorter returns the shorter of two limits, where zero is none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}
