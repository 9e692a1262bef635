package sqlstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlstore/internal/db"
)

// CreateSession refuses a child whose parent is unknown or has ended with identity.ErrNotFound: it would outlive the
// sign-out that it should have ended with.
func (t *tx) CreateSession(ctx context.Context, s sessions.Session, token string) error {
	const op = "create session"
	if err := exact(op, s.ID, s.ParentID, string(s.Kind), string(s.State), s.AccountID, s.Provider, s.Subject,
		s.Application, s.EndReason, s.Embedder, s.Origin); err != nil {
		return err
	}
	if err := t.mustBeOpen(ctx, op, s.ParentID); err != nil {
		return err
	}
	amr, err := list(s.AMR)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	n, err := t.q.CreateSession(ctx, db.CreateSessionParams{
		ID: s.ID, TokenHash: tokenHash(token), ParentID: s.ParentID, Kind: string(s.Kind), State: string(s.State),
		AccountID: s.AccountID, Provider: s.Provider, Subject: s.Subject, Application: s.Application, Amr: amr,
		AuthTime: ms(s.AuthTime), CreatedAt: ms(s.CreatedAt), LastSeenAt: ms(s.LastSeenAt),
		IdleMs: s.IdleTimeout.Milliseconds(), ExpiresAt: ms(s.ExpiresAt), EndedAt: when(s.EndedAt),
		EndReason: s.EndReason, Address: shown(s.Address), UserAgent: shown(s.UserAgent),
		Embedder: s.Embedder, Origin: s.Origin, Remembered: s.Remembered,
	})
	return t.insert(ctx, op, n, err)
}

// mustBeOpen answers identity.ErrNotFound for a session that has ended or never was; the empty id stands for none.
func (t *tx) mustBeOpen(ctx context.Context, op, id string) error {
	if id == "" {
		return nil
	}
	open, err := t.q.SessionOpen(ctx, id)
	if err != nil {
		return t.fail(ctx, op, err)
	}
	if !open {
		return fmt.Errorf("%s: the session it hangs on has ended: %w", op, identity.ErrNotFound)
	}
	return nil
}

// tokenHash is NULL for sessions without a cookie, so that no token finds them.
func tokenHash(token string) []byte {
	if token == "" {
		return nil
	}
	return storage.Hash(token).Bytes()
}

func (t *tx) Session(ctx context.Context, id string) (sessions.Session, error) {
	const op = "session"
	if err := findable(op, id); err != nil {
		return sessions.Session{}, err
	}
	row, err := t.q.Session(ctx, id)
	if err != nil {
		return sessions.Session{}, t.fail(ctx, op, err)
	}
	return session(row)
}

func (t *tx) SessionByToken(ctx context.Context, token string) (sessions.Session, error) {
	row, err := t.q.SessionByToken(ctx, storage.Hash(token).Bytes())
	if err != nil {
		return sessions.Session{}, t.fail(ctx, "session by token", err)
	}
	return session(row)
}

func (t *tx) Sessions(ctx context.Context, accountID string, now time.Time) ([]sessions.Session, error) {
	if !storable(accountID) {
		return nil, nil
	}
	rows, err := t.q.Sessions(ctx, accountID, ms(now))
	if err != nil {
		return nil, t.fail(ctx, "sessions", err)
	}
	return each(rows, session)
}

func session(row db.Session) (sessions.Session, error) {
	amr, err := unlist(row.Amr)
	return sessions.Session{
		ID: row.ID, ParentID: row.ParentID, Kind: sessions.Kind(row.Kind), State: sessions.State(row.State),
		AccountID: row.AccountID, Provider: row.Provider, Subject: row.Subject, Application: row.Application, AMR: amr,
		AuthTime: at(row.AuthTime), CreatedAt: at(row.CreatedAt), LastSeenAt: at(row.LastSeenAt),
		IdleTimeout: time.Duration(row.IdleMs) * time.Millisecond, ExpiresAt: at(row.ExpiresAt),
		EndedAt: at(row.EndedAt.Int64), EndReason: row.EndReason, Address: row.Address, UserAgent: row.UserAgent,
		Embedder: row.Embedder, Origin: row.Origin, Remembered: row.Remembered,
	}, err
}

func (t *tx) EndSession(ctx context.Context, id, reason string, endedAt time.Time) ([]string, error) {
	const op = "end session"
	if err := exact(op, reason); err != nil {
		return nil, err
	}
	if id == "" || !storable(id) {
		return nil, nil
	}
	// Codes first: the tree is walked by parent_id, which ending does not change, so the order is free.
	if err := t.q.SpendCodesOfTree(ctx, when(endedAt), id); err != nil {
		return nil, t.fail(ctx, op, err)
	}
	ended, err := t.q.EndSession(ctx, db.EndSessionParams{ID: id, Reason: reason, At: when(endedAt)})
	return ended, t.fail(ctx, op, err)
}

func (t *tx) EndSessions(ctx context.Context, accountID, reason string, endedAt time.Time) ([]string, error) {
	const op = "end sessions"
	if err := exact(op, reason); err != nil {
		return nil, err
	}
	if accountID == "" || !storable(accountID) {
		return nil, nil
	}
	if err := t.q.SpendCodesOfAccountTrees(ctx, when(endedAt), accountID); err != nil {
		return nil, t.fail(ctx, op, err)
	}
	if err := t.q.SpendCodesOfAccount(ctx, when(endedAt), accountID); err != nil {
		return nil, t.fail(ctx, op, err)
	}
	ended, err := t.q.EndSessions(ctx, db.EndSessionsParams{AccountID: accountID, Reason: reason, At: when(endedAt)})
	return ended, t.fail(ctx, op, err)
}

func (t *tx) LiveSessions(ctx context.Context, f sessions.Filter, now time.Time) ([]sessions.Session, error) {
	if !storable(f.Application, f.Provider, f.After) {
		return nil, nil
	}
	rows, err := t.q.LiveSessions(ctx, db.LiveSessionsParams{
		Now: ms(now), After: f.After, Application: some(f.Application), Provider: some(f.Provider), Limit: clamp(f.Limit),
	})
	if err != nil {
		return nil, t.fail(ctx, "live sessions", err)
	}
	return each(rows, session)
}

func (t *tx) TouchSessions(ctx context.Context, seen map[string]time.Time) error {
	// In order, so that two batches lock rows in the same order.
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		if !storable(id) {
			continue
		}
		if err := t.q.TouchSession(ctx, ms(seen[id]), id); err != nil {
			return t.fail(ctx, "touch session", err)
		}
	}
	return nil
}
