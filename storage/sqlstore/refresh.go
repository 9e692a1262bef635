package sqlstore

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlstore/internal/db"
)

func refreshPlace(h storage.Hashed) storage.Place {
	return storage.Place{
		Table: "refresh_tokens", Row: []string{base64.RawURLEncoding.EncodeToString(h.Bytes())}, Column: "answer",
	}
}

// PutRefresh refuses a token of a session that has ended, as PutCode does.
func (t *tx) PutRefresh(ctx context.Context, secret string, r sessions.Refresh) error {
	const op = "put refresh token"
	if secret == "" || r.SessionID == "" {
		return fmt.Errorf("%s: empty secret or session: %w", op, identity.ErrInvalid)
	}
	if err := exact(op, r.SessionID, r.TokenID); err != nil {
		return err
	}
	hash := storage.Hash(secret)
	// Its answer will be sealed under it: what could never be taken is never issued.
	if _, err := storage.SealUnder(secret, nil, refreshPlace(hash)); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := t.mustBeOpen(ctx, op, r.SessionID); err != nil {
		return err
	}
	n, err := t.q.PutRefresh(ctx, db.PutRefreshParams{
		Hash: hash.Bytes(), SessionID: r.SessionID, TokenID: r.TokenID,
		TokenExpiresAt: ms(r.TokenExpiresAt), IssuedAt: ms(r.IssuedAt), ExpiresAt: ms(r.ExpiresAt),
	})
	return t.insert(ctx, op, n, err)
}

func (t *tx) Refresh(ctx context.Context, secret string) (sessions.Refresh, error) {
	row, err := t.refresh(ctx, storage.Hash(secret).Bytes())
	if err != nil {
		return sessions.Refresh{}, err
	}
	return refreshToken(row), nil
}

func refreshToken(row db.RefreshToken) sessions.Refresh {
	return sessions.Refresh{
		SessionID: row.SessionID, TokenID: row.TokenID, TokenExpiresAt: at(row.TokenExpiresAt), IssuedAt: at(row.IssuedAt),
		ExpiresAt: at(row.ExpiresAt), UsedAt: at(row.UsedAt.Int64),
	}
}

func (t *tx) refresh(ctx context.Context, hash []byte) (db.RefreshToken, error) {
	row, err := t.q.Refresh(ctx, hash)
	return row, t.fail(ctx, "refresh token", err)
}

func (t *tx) RefreshAnswer(ctx context.Context, secret string) ([]byte, error) {
	const op = "refresh answer"
	hash := storage.Hash(secret)
	row, err := t.refresh(ctx, hash.Bytes())
	if err != nil {
		return nil, err
	}
	if len(row.AnswerSealed) == 0 {
		return nil, fmt.Errorf("%s: not kept: %w", op, identity.ErrNotFound)
	}
	next, err := t.refresh(ctx, row.SuccessorHash)
	if err != nil {
		return nil, err
	}
	if next.UsedAt.Valid {
		return nil, fmt.Errorf("%s: its successor was used: %w", op, identity.ErrNotFound)
	}
	answer, err := storage.OpenUnder(secret, row.AnswerSealed, refreshPlace(hash))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return answer, nil
}

func (t *tx) DropRefreshAnswers(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := t.q.DropRefreshAnswers(ctx, clamp(limit), when(before))
	return int(n), t.fail(ctx, "drop refresh answers", err)
}
