package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/storage/sqlstore/internal/db"
)

func (t *tx) RevokeToken(ctx context.Context, r sessions.RevokedToken) error {
	const op = "revoke token"
	if r.ID == "" {
		return fmt.Errorf("%s: empty id: %w", op, identity.ErrInvalid)
	}
	if err := exact(op, r.ID, r.SessionID, r.Application); err != nil {
		return err
	}
	n, err := t.q.RevokeToken(ctx, db.RevokeTokenParams{
		ID: r.ID, SessionID: r.SessionID, Application: r.Application, RevokedAt: ms(r.RevokedAt), ExpiresAt: ms(r.ExpiresAt),
	})
	return t.insert(ctx, op, n, err)
}

func (t *tx) RevokedTokens(ctx context.Context, sessionID string, now time.Time) ([]string, error) {
	if !storable(sessionID) {
		return nil, nil
	}
	ids, err := t.q.RevokedTokens(ctx, sessionID, ms(now))
	return ids, t.fail(ctx, "revoked tokens", err)
}

func (t *tx) Revocations(
	ctx context.Context, application string, since, now time.Time, limit int,
) ([]sessions.Revocation, error) {
	const op = "revocations"
	if !storable(application) {
		return nil, nil
	}
	one, n := some(application), clamp(limit)
	from := sql.NullInt64{Int64: ms(since), Valid: true} // the zero time is the beginning, not NULL, which nothing follows
	tokens, err := t.q.RevokedTokensSince(ctx, db.RevokedTokensSinceParams{
		Since: ms(since), Now: ms(now), Application: one, Limit: n,
	})
	if err != nil {
		return nil, t.fail(ctx, op, err)
	}
	ended, err := t.q.SessionsEndedSince(ctx, db.SessionsEndedSinceParams{
		Since: from, Now: ms(now), Application: one, Limit: n,
	})
	if err != nil {
		return nil, t.fail(ctx, op, err)
	}
	keys, err := t.q.KeysEndedSince(ctx, db.KeysEndedSinceParams{
		Since: from, Now: ms(now), Application: one, Limit: n,
	})
	if err != nil {
		return nil, t.fail(ctx, op, err)
	}
	var all []sessions.Revocation
	for _, r := range tokens {
		all = append(all, sessions.Revocation{
			Kind: "token", ID: r.ID, Application: r.Application, At: at(r.RevokedAt), ExpiresAt: at(r.ExpiresAt),
			Reason: "revoked",
		})
	}
	for _, r := range ended {
		all = append(all, sessions.Revocation{
			Kind: "session", ID: r.ID, AccountID: r.AccountID, Application: r.Application, At: at(r.EndedAt.Int64),
			ExpiresAt: at(r.ExpiresAt), Reason: r.EndReason,
		})
	}
	for _, r := range keys {
		all = append(all, sessions.Revocation{
			Kind: "api_key", ID: r.ID, AccountID: r.AccountID, Application: r.Application, At: at(r.EndedAt.Int64),
			ExpiresAt: at(r.ExpiresAt), Reason: r.EndReason,
		})
	}
	slices.SortStableFunc(all, func(a, b sessions.Revocation) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

func (t *tx) PutCutoff(ctx context.Context, c sessions.Cutoff) error {
	const op = "put cut-off"
	if err := whole(op, c); err != nil {
		return err
	}
	return t.fail(ctx, op, t.q.PutCutoff(ctx, db.PutCutoffParams{Kind: string(c.Kind), Key: c.Key, At: ms(c.At)}))
}

func (t *tx) Cutoffs(ctx context.Context) ([]sessions.Cutoff, error) {
	rows, err := t.q.Cutoffs(ctx)
	if err != nil {
		return nil, t.fail(ctx, "cut-offs", err)
	}
	return each(rows, func(r db.Cutoff) (sessions.Cutoff, error) {
		return sessions.Cutoff{Kind: sessions.CutoffKind(r.Kind), Key: r.Key, At: at(r.At), Done: r.Done}, nil
	})
}

// FinishCutoff does nothing for one that was moved meanwhile.
func (t *tx) FinishCutoff(ctx context.Context, c sessions.Cutoff) error {
	const op = "finish cut-off"
	if err := exact(op, string(c.Kind), c.Key); err != nil {
		return err
	}
	_, err := t.q.FinishCutoff(ctx, db.FinishCutoffParams{Kind: string(c.Kind), Key: c.Key, At: ms(c.At)})
	return t.fail(ctx, op, err)
}

func (t *tx) SessionsCutOff(ctx context.Context, c sessions.Cutoff, limit int) (ids []string, err error) {
	const op = "sessions cut off"
	if err := whole(op, c); err != nil {
		return nil, err
	}
	switch c.Kind {
	case sessions.CutApplication:
		ids, err = t.q.SessionsCutOffApplication(ctx, db.SessionsCutOffApplicationParams{
			Application: c.Key, At: ms(c.At), Limit: clamp(limit),
		})
	case sessions.CutProvider:
		ids, err = t.q.SessionsCutOffProvider(ctx, db.SessionsCutOffProviderParams{
			Provider: c.Key, At: ms(c.At), Limit: clamp(limit),
		})
	default:
		ids, err = t.q.SessionsCutOff(ctx, clamp(limit), ms(c.At))
	}
	return ids, t.fail(ctx, op, err)
}

func (t *tx) KeysCutOff(ctx context.Context, c sessions.Cutoff, limit int) ([]sessions.Key, error) {
	const op = "keys cut off"
	if err := whole(op, c); err != nil {
		return nil, err
	}
	switch c.Kind {
	case sessions.CutApplication:
		rows, err := t.q.KeysCutOffApplication(ctx, db.KeysCutOffApplicationParams{
			Application: c.Key, At: ms(c.At), Limit: clamp(limit),
		})
		return owned(rows, t.fail(ctx, op, err))
	case sessions.CutProvider:
		rows, err := t.q.KeysCutOffProvider(ctx, db.KeysCutOffProviderParams{
			Provider: c.Key, At: ms(c.At), Limit: clamp(limit),
		})
		return owned(rows, t.fail(ctx, op, err))
	default:
		rows, err := t.q.KeysCutOff(ctx, clamp(limit), ms(c.At))
		return owned(rows, t.fail(ctx, op, err))
	}
}

func (t *tx) SessionsAhead(ctx context.Context, c sessions.Cutoff) ([]string, error) {
	const op = "sessions ahead of a cut-off"
	if err := whole(op, c); err != nil {
		return nil, err
	}
	application, provider := about(c)
	ids, err := t.q.SessionsAhead(ctx, db.SessionsAheadParams{At: ms(c.At), Application: application, Provider: provider})
	return ids, t.fail(ctx, op, err)
}

func (t *tx) KeysAhead(ctx context.Context, c sessions.Cutoff) ([]sessions.Key, error) {
	const op = "keys ahead of a cut-off"
	if err := whole(op, c); err != nil {
		return nil, err
	}
	application, provider := about(c)
	rows, err := t.q.KeysAhead(ctx, db.KeysAheadParams{At: ms(c.At), Application: application, Provider: provider})
	return owned(rows, t.fail(ctx, op, err))
}

// about says whose rows a cut-off takes: an application's, a provider's, or all.
func about(c sessions.Cutoff) (application, provider sql.NullString) {
	switch c.Kind {
	case sessions.CutApplication:
		return some(c.Key), sql.NullString{}
	case sessions.CutProvider:
		return sql.NullString{}, some(c.Key)
	default:
		return sql.NullString{}, sql.NullString{}
	}
}

// owned reads rows of keys' ids and owners, whichever query they come from.
func owned[R interface {
	~struct{ ID, AccountID string }
}](rows []R, err error) ([]sessions.Key, error) {
	if err != nil {
		return nil, err
	}
	return each(rows, func(r R) (sessions.Key, error) {
		k := struct{ ID, AccountID string }(r)
		return sessions.Key{ID: k.ID, AccountID: k.AccountID}, nil
	})
}

// whole refuses a cut-off that would be about more than it says.
func whole(op string, c sessions.Cutoff) error {
	switch {
	case (c.Kind == sessions.CutApplication || c.Kind == sessions.CutProvider) && c.Key != "",
		c.Kind == sessions.CutEverything && c.Key == "":
		return exact(op, c.Key)
	}
	return fmt.Errorf("%s: kind %q: %w", op, c.Kind, identity.ErrInvalid)
}
