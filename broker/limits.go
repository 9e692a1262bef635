package broker

import (
	"context"
	"time"

	"sallyport/broker/sessions"
)

// Why a session ended: it made room for a newer one, see Limits.EndOldest, or a newer one took its place.
const (
	reasonLimit    = "session_limit"
	reasonReplaced = "replaced"
)

// roomFor holds a session that is about to begin against how many its owner may have: sign-ins against the house's limit,
// the sessions at an application against the application's. It makes room where the configuration says so, and says how
// many sign-ins ended; otherwise identity.ErrDenied coded session_limit. It must be called after what the new session
// replaces has ended, in the transaction that makes it, which is what many at once cannot get past.
func (b *Broker) roomFor(ctx context.Context, tx Tx, v Visit, s sessions.Session) (int, error) {
	ended := 0
	if s.ParentID == "" && s.Kind != sessions.Embed { // nobody signed in at the house for a frame
		n, err := b.makeRoom(ctx, tx, v, v.SelfApplication.Session, s.AccountID, isSignIn)
		if err != nil {
			return 0, err
		}
		ended += n
	}
	if s.Application == Self {
		return ended, nil
	}
	app, err := v.Application(s.Application)
	if err != nil {
		return 0, err
	}
	n, err := b.makeRoom(ctx, tx, v, app.Session, s.AccountID, func(have sessions.Session) bool {
		return have.Application == app.ID
	})
	return ended + n, err
}

// isSignIn reports whether a session is somebody's sign-in at the house, rather than what hangs on one.
func isSignIn(s sessions.Session) bool {
	return s.ParentID == "" && (s.Kind == sessions.Browser || s.Kind == sessions.API)
}

// makeRoom ends the oldest of the account's living sessions that count until there is room for one more.
func (b *Broker) makeRoom(
	ctx context.Context, tx Tx, v Visit, limits Limits, account string, counts func(sessions.Session) bool,
) (int, error) {
	if limits.Concurrent == 0 {
		return 0, nil
	}
	open, err := b.openSessions(ctx, tx, account, counts)
	if err != nil {
		return 0, err
	}
	tooMany := len(open) - (limits.Concurrent - 1)
	if tooMany <= 0 {
		return 0, nil
	}
	if !limits.EndOldest {
		return 0, denied(reasonLimit, "account %s has %d of %d sessions", account, len(open), limits.Concurrent)
	}
	for _, s := range open[len(open)-tooMany:] {
		if err := b.end(ctx, tx, v, s.ID, reasonLimit, "system"); err != nil {
			return 0, err
		}
	}
	return tooMany, nil
}

// openSessions lists the account's living sessions that count, newest first. One counts a little longer than it is idle,
// since its last use may not be written down yet.
func (b *Broker) openSessions(
	ctx context.Context, tx Tx, account string, counts func(sessions.Session) bool,
) ([]sessions.Session, error) {
	now := b.now()
	all, err := tx.Sessions(ctx, account, now.Add(-seenSlack))
	if err != nil {
		return nil, err
	}
	var open []sessions.Session
	for _, s := range all {
		if s.State == sessions.Active && now.Before(s.ExpiresAt) && counts(s) {
			open = append(open, s)
		}
	}
	return open, nil
}

// replaceSiblings ends what the same sign-in holds at an application that limits sessions: a browser keeps one cookie of
// an application, so that the earlier one opens nothing any more, and must not count.
func (b *Broker) replaceSiblings(ctx context.Context, tx Tx, v Visit, app *Application, s sessions.Session) error {
	if app.Session.Concurrent == 0 {
		return nil
	}
	same, err := b.openSessions(ctx, tx, s.AccountID, func(have sessions.Session) bool {
		return have.ParentID == s.ParentID && have.Application == app.ID
	})
	if err != nil {
		return err
	}
	for _, have := range same {
		if err := b.end(ctx, tx, v, have.ID, reasonReplaced, s.AccountID); err != nil {
			return err
		}
	}
	return nil
}

// lasts says how long a session goes on without use, and when it ends in any case.
func lasts(v Visit, app *Application, remembered bool, now time.Time) (idle time.Duration, until time.Time) {
	limits := app.Session
	if remembered {
		limits = v.Remember
	}
	return limits.Idle, now.Add(limits.Lifetime)
}

// WhyOut says what ended the session that a cookie of the application opened, as a snake_case word; "" where it has not
// ended, or where nobody knows. Whoever holds the cookie may know.
func (b *Broker) WhyOut(ctx context.Context, c Credential, app *Application) string {
	if !c.Carrier.IsCookie() || c.value == "" || len(c.value) > maxCredential {
		return ""
	}
	bound, err := b.bind(ctx, c, app)
	if err != nil {
		return ""
	}
	why := ""
	err = b.store.View(ctx, func(tx Tx) error {
		s, err := tx.Session(ctx, bound.id)
		why = s.EndReason
		return err
	})
	if err != nil {
		return ""
	}
	return why
}
