package sqlstore

import (
	"context"
	"time"

	"sallyport/broker/people"
	"sallyport/storage/sqlstore/internal/db"
)

func failure(r db.Failure) people.Failure {
	return people.Failure{
		Key: r.Key, Scope: r.Scope, Label: r.Label, Count: int(r.Count), Since: at(r.Since), Until: at(r.Until),
	}
}

func (t *tx) ForgiveFailure(ctx context.Context, key string) error {
	if !storable(key) {
		return nil
	}
	return t.fail(ctx, "forgive failure", t.q.ForgiveFailure(ctx, key))
}

func (t *tx) ClearFailure(ctx context.Context, key string) error {
	const op = "clear failure"
	if err := findable(op, key); err != nil {
		return err
	}
	n, err := t.q.ClearFailure(ctx, key)
	return t.update(ctx, op, n, err)
}

func (t *tx) ClearFailures(ctx context.Context) (int, error) {
	n, err := t.q.ClearFailures(ctx)
	return int(n), t.fail(ctx, "clear failures", err)
}

func (t *tx) Failures(ctx context.Context, now time.Time, after string, limit int) ([]people.Failure, error) {
	if !storable(after) {
		return nil, nil
	}
	rows, err := t.q.Failures(ctx, db.FailuresParams{Now: ms(now), After: after, Limit: clamp(limit)})
	if err != nil {
		return nil, t.fail(ctx, "failures", err)
	}
	return each(rows, func(r db.Failure) (people.Failure, error) { return failure(r), nil })
}
