package broker

import (
	"context"
	"fmt"
	"strconv"

	"sallyport/audit"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// SignOut ends the session that the principal's credential belongs to, and with it every application cookie, token and
// code that hangs on it: the whole sign-in for the broker's own cookie, itself alone for an application, whose word must
// not end what other applications hold. An API key cannot sign out (identity.ErrInvalid).
func (b *Broker) SignOut(ctx context.Context, v Visit, p identity.Principal) error {
	if p.SessionID == "" {
		return identity.WithCode("no_session", fmt.Errorf("an API key has no session: %w", identity.ErrInvalid))
	}
	return b.store.Update(ctx, func(tx Tx) error {
		s, err := tx.Session(ctx, p.SessionID)
		if err != nil {
			return err
		}
		if err := b.end(ctx, tx, v, s.ID, "signed_out", p.Subject); err != nil {
			return err
		}
		e := v.event(audit.SignedOut, b.now())
		e.Actor, e.AccountID, e.Username, e.Provider = p.Subject, p.Subject, p.Username, p.Provider
		e.Application, e.SessionID = p.Application, s.ID
		return tx.Append(ctx, e)
	})
}

// EndSession ends one session of the principal's own, and what hangs on it: identity.ErrNotFound for anybody else's.
func (b *Broker) EndSession(ctx context.Context, v Visit, p identity.Principal, id string) error {
	return b.store.Update(ctx, func(tx Tx) error {
		s, err := tx.Session(ctx, id)
		if err != nil {
			return err
		}
		if s.AccountID != p.Subject || !s.Live(b.now()) {
			return fmt.Errorf("session %s of another or ended: %w", id, identity.ErrNotFound)
		}
		return b.end(ctx, tx, v, id, "ended_by_owner", p.Subject)
	})
}

// EndOtherSessions ends all of the principal's sessions but the tree it is in itself, and says how many sign-ins ended.
func (b *Broker) EndOtherSessions(ctx context.Context, v Visit, p identity.Principal) (int, error) {
	ended := 0
	err := b.store.Update(ctx, func(tx Tx) error {
		ended = 0
		open, err := tx.Sessions(ctx, p.Subject, b.now().Add(-seenSlack))
		if err != nil {
			return err
		}
		own := ownRoot(open, p.SessionID)
		for _, s := range open {
			if s.ParentID != "" || s.ID == own {
				continue
			}
			if err := b.end(ctx, tx, v, s.ID, "ended_by_owner", p.Subject); err != nil {
				return err
			}
			ended++
		}
		return nil
	})
	return ended, err
}

func ownRoot(open []sessions.Session, id string) string {
	for _, s := range open {
		if s.ID == id && s.ParentID != "" {
			return s.ParentID
		}
	}
	return id
}

// Sessions lists the principal's living sessions, newest first.
func (b *Broker) Sessions(ctx context.Context, p identity.Principal) ([]sessions.Session, error) {
	var list []sessions.Session
	err := b.store.View(ctx, func(tx Tx) error {
		all, err := tx.Sessions(ctx, p.Subject, b.now())
		list = list[:0]
		for _, s := range all {
			if s.Live(b.now()) {
				list = append(list, s)
			}
		}
		return err
	})
	return list, err
}

// end ends a session's tree inside a transaction and tells caches and audit.
func (b *Broker) end(ctx context.Context, tx Tx, v Visit, id, reason, actor string) error {
	now := b.now()
	ids, err := tx.EndSession(ctx, id, reason, now)
	if err != nil || len(ids) == 0 {
		return err
	}
	if err := tx.Changed(ctx, ChangeSession, now, ids...); err != nil {
		return err
	}
	s, err := tx.Session(ctx, id)
	if err != nil {
		return err
	}
	e := v.event(audit.SessionEnded, now)
	e.Actor, e.AccountID, e.SessionID, e.Application, e.Provider = actor, s.AccountID, id, s.Application, s.Provider
	e.Detail = map[string]string{"reason": reason, "sessions": strconv.Itoa(len(ids))}
	return tx.Append(ctx, e)
}
