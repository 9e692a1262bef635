package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sallyport/audit"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/tokens"
)

// refreshPrefix tells refresh tokens from everything else, for us and for scanners of leaked secrets.
const refreshPrefix = "sprt_"

// isRefreshToken reports whether a value has the shape of a refresh token; it proves nothing.
func isRefreshToken(raw string) bool { return shaped(raw, refreshPrefix) }

const (
	// refreshGrace is how long whoever shows a used refresh token gets the answer of who showed it first: requests of one
	// application that ran side by side, or an answer that was lost on its way. Afterwards somebody has a copy. It passes
	// by the store's clock: by two nodes' own, requests of the same moment could look like a theft.
	refreshGrace = 10 * time.Second
	// refreshesPerMinute bounds what one session can make us write: each token it used stays known until it ends.
	refreshesPerMinute = 60
	// refreshBatch bounds the answers that one transaction forgets.
	refreshBatch = 200
)

// Refreshed are the tokens of a session: an access token, and the refresh token to get the next ones with.
type Refreshed struct {
	Principal identity.Principal
	// Access is the access token.
	Access tokens.Issued
	// RefreshToken is good once; a secret.
	RefreshToken string
}

// refreshAnswer is what the taker of a refresh token gets, and for a short time whoever else shows the same one.
type refreshAnswer struct {
	Access       tokens.Issued `json:"access"`
	RefreshToken string        `json:"refresh_token"`
}

// IssueTokens makes the first tokens of a sign-in at the API. Errors are those of IssueToken; identity.ErrExpired where
// the session has ended.
func (b *Broker) IssueTokens(ctx context.Context, p identity.Principal, app *Application) (Refreshed, error) {
	out, err := b.nextTokens(ctx, p, app)
	if err != nil {
		return Refreshed{}, err
	}
	err = b.store.Update(ctx, func(tx Tx) error { return b.putRefresh(ctx, tx, out) })
	if err != nil {
		return Refreshed{}, err
	}
	return out, nil
}

// nextTokens makes an access token and a refresh token that nobody knows yet.
func (b *Broker) nextTokens(ctx context.Context, p identity.Principal, app *Application) (Refreshed, error) {
	access, err := b.IssueToken(ctx, p, app)
	if err != nil {
		return Refreshed{}, err
	}
	return Refreshed{Principal: p, Access: access, RefreshToken: refreshPrefix + NewSecret()}, nil
}

// putRefresh remembers a refresh token. It ends with its session, and is none for one that was cut off meanwhile: whoever
// verifies offline would take the tokens for issued afterwards.
func (b *Broker) putRefresh(ctx context.Context, tx Tx, r Refreshed) error {
	s, err := tx.Session(ctx, r.Principal.SessionID)
	if err != nil {
		return err
	}
	if err := notCutOff(ctx, tx, s); err != nil {
		return err
	}
	err = tx.PutRefresh(ctx, r.RefreshToken, sessions.Refresh{
		SessionID: r.Principal.SessionID, TokenID: r.Access.ID, TokenExpiresAt: r.Access.ExpiresAt,
		IssuedAt: b.now(), ExpiresAt: r.Principal.ExpiresAt,
	})
	if errors.Is(err, identity.ErrNotFound) {
		return fmt.Errorf("session %s: %w", r.Principal.SessionID, identity.ErrExpired)
	}
	return err
}

// Refresh takes a refresh token and returns the next tokens of its session, for what the person is now: whoever may not
// sign in any more gets none (OPT-05). Everybody who shows the same one within ten seconds gets the same answer (CON-02).
// Later, or once the successor was used too, somebody has a copy: the session ends, identity.ErrExpired coded
// refresh_reused. A token that is unknown, expired or another application's is identity.ErrBadCredentials coded
// refresh_invalid, and nothing is spent; too many of one session are identity.ErrThrottled. Other errors are those of Authenticate and IssueToken.
func (b *Broker) Refresh(ctx context.Context, v Visit, app *Application, secret string) (Refreshed, error) {
	out, err := b.refresh(ctx, v, app, secret)
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, identity.ErrNotFound):
		err = refreshInvalid("its session is gone")
	case !errors.Is(err, identity.ErrBadCredentials) && !errors.Is(err, identity.ErrThrottled):
		err = publicRefusal(err)
	}
	return Refreshed{}, err
}

func (b *Broker) refresh(ctx context.Context, v Visit, app *Application, secret string) (Refreshed, error) {
	have, err := b.lookUpRefresh(ctx, app, secret)
	if err != nil {
		return Refreshed{}, err
	}
	p, err := b.refreshes(ctx, v, app, have.SessionID)
	if err != nil {
		return Refreshed{}, err
	}
	if !have.UsedAt.IsZero() {
		return b.refreshedBefore(ctx, v, p, secret)
	}
	key := throttleKey{path: "refresh", who: p.SessionID, requests: refreshesPerMinute, per: time.Minute}
	if !b.throttle.bucket(key).AllowN(b.throttle.now(), 1) {
		return Refreshed{}, key.exceeded()
	}
	out, err := b.nextTokens(ctx, p, app)
	if err != nil {
		return Refreshed{}, err
	}
	err = b.rotate(ctx, app, secret, out)
	if errors.Is(err, identity.ErrConflict) { // somebody was quicker
		return b.refreshedBefore(ctx, v, p, secret)
	}
	return out, err
}

// lookUpRefresh finds a refresh token of the application's that has not expired.
func (b *Broker) lookUpRefresh(ctx context.Context, app *Application, secret string) (sessions.Refresh, error) {
	if !isRefreshToken(secret) {
		return sessions.Refresh{}, refreshInvalid("shape")
	}
	var r sessions.Refresh
	err := b.store.View(ctx, func(tx Tx) (err error) {
		if r, err = tx.Refresh(ctx, secret); err != nil {
			return err
		}
		s, err := tx.Session(ctx, r.SessionID)
		if err == nil && s.Application != app.ID {
			err = refreshInvalid("of " + s.Application + " at " + app.ID)
		}
		return err
	})
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return sessions.Refresh{}, refreshInvalid("unknown")
	case err != nil:
		return sessions.Refresh{}, err
	case !b.now().Before(r.ExpiresAt):
		b.seen.isOver(r.SessionID, true)
		return sessions.Refresh{}, refreshInvalid("expired")
	}
	return r, nil
}

// refreshInvalid is one answer for all that never was a refresh token here.
func refreshInvalid(why string) error {
	return identity.WithCode("refresh_invalid", fmt.Errorf("refresh token: %s: %w", why, identity.ErrBadCredentials))
}

// refreshes decides anew, past every cache, who the session is and whether the application lets them in.
func (b *Broker) refreshes(ctx context.Context, v Visit, app *Application, sessionID string) (identity.Principal, error) {
	seen, err := loadSession(ctx, b, v.Snapshot, sessionID)
	if err != nil {
		return identity.Principal{}, err
	}
	b.seen.lift(sessionID, seen)
	switch {
	case !seen.live(b.now()):
		return identity.Principal{}, fmt.Errorf("session %s: %w", sessionID, identity.ErrExpired)
	case !app.Admits(seen.principal):
		return identity.Principal{}, denied("no_role", "account %s at %s", seen.principal.Subject, app.ID)
	}
	return seen.principal, nil
}

// rotate spends a refresh token for its successor, in one transaction that one of several callers wins: identity.ErrConflict
// for the others. The refresh is a use of the session: who only refreshes is not idle.
func (b *Broker) rotate(ctx context.Context, app *Application, secret string, next Refreshed) error {
	answer, err := json.Marshal(refreshAnswer{next.Access, next.RefreshToken})
	if err != nil {
		return err
	}
	return b.store.Update(ctx, func(tx Tx) error {
		// When it was used is the store's time, which all nodes agree on: another may have to tell how long ago that was.
		used, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		now, id := b.now(), next.Principal.SessionID
		was, err := tx.TakeRefresh(ctx, secret, next.RefreshToken, answer, used)
		if err != nil {
			return err
		}
		if err := b.putRefresh(ctx, tx, next); err != nil {
			return err
		}
		if app.Profile.EndsToken {
			if _, err := revokeIn(ctx, tx, sessions.RevokedToken{
				ID: was.TokenID, SessionID: id, Application: app.ID, RevokedAt: now, ExpiresAt: was.TokenExpiresAt,
			}); err != nil {
				return err
			}
		}
		return tx.TouchSessions(ctx, map[string]time.Time{id: now})
	})
}

// refreshedBefore answers whoever shows a refresh token that was used: with what its taker got, or by ending the session.
func (b *Broker) refreshedBefore(ctx context.Context, v Visit, p identity.Principal, secret string) (Refreshed, error) {
	var kept refreshAnswer
	err := b.store.View(ctx, func(tx Tx) error {
		used, err := tx.Refresh(ctx, secret)
		if err != nil {
			return err
		}
		if used.UsedAt.IsZero() { // it could not be taken because it is over
			return refreshInvalid("expired")
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		if now.Sub(used.UsedAt) > refreshGrace {
			return fmt.Errorf("used %s ago: %w", now.Sub(used.UsedAt), identity.ErrNotFound)
		}
		raw, err := tx.RefreshAnswer(ctx, secret)
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, &kept)
	})
	if errors.Is(err, identity.ErrNotFound) {
		return Refreshed{}, b.endReused(ctx, v, p)
	}
	if err != nil {
		return Refreshed{}, err
	}
	return Refreshed{Principal: p, Access: kept.Access, RefreshToken: kept.RefreshToken}, nil
}

// endReused ends a session whose refresh token two hold: nobody can tell the thief from the owner, who signs in again
// (RFC 9700 section 4.14.2). It returns the refusal.
func (b *Broker) endReused(ctx context.Context, v Visit, p identity.Principal) error {
	reused := identity.WithCode("refresh_reused",
		fmt.Errorf("refresh token of session %s was used before: %w", p.SessionID, identity.ErrExpired))
	err := b.store.Update(ctx, func(tx Tx) error {
		s, err := tx.Session(ctx, p.SessionID)
		if err != nil || !s.EndedAt.IsZero() { // told already
			return err
		}
		if err := b.end(ctx, tx, v, s.ID, "refresh_reused", "system"); err != nil {
			return err
		}
		e := v.event(audit.TokenReused, b.now())
		e.Outcome, e.Code, e.AccountID, e.Username = audit.Refusal, "refresh_reused", p.Subject, p.Username
		e.Provider, e.Application, e.SessionID = p.Provider, p.Application, s.ID
		return tx.Append(ctx, e)
	})
	if err != nil {
		return err
	}
	return reused
}

// dropRefreshAnswers forgets answers that nobody gets any more.
func (b *Broker) dropRefreshAnswers(ctx context.Context) error {
	if mine, err := b.acquire(ctx, "refresh_answers", refreshGrace); err != nil || !mine {
		return err
	}
	for {
		gone := 0
		if err := b.store.Update(ctx, func(tx Tx) (err error) {
			now, err := tx.Now(ctx) // the one that they were used by
			if err != nil {
				return err
			}
			gone, err = tx.DropRefreshAnswers(ctx, now.Add(-refreshGrace), refreshBatch)
			return err
		}); err != nil || gone < refreshBatch {
			return err
		}
	}
}
