package sqlstore

import (
	"context"
	"time"
)

// changesKept is how long before the given time changes stay: every process has long read them by then.
const changesKept = time.Hour

// CleanUp also keeps an ended session while it has children in the table, however dead: they go first, and the parent
// at a later call.
func (t *tx) CleanUp(ctx context.Context, now, before time.Time, limit int) (int, error) {
	n := clamp(limit)
	total := 0
	for _, clean := range []func() (int64, error){
		func() (int64, error) { return t.q.CleanCodes(ctx, ms(now), n) },
		func() (int64, error) { return t.q.CleanConsumed(ctx, ms(now), n) },
		func() (int64, error) { return t.q.CleanSessions(ctx, n, when(before)) },
		func() (int64, error) { return t.q.CleanKeys(ctx, n, when(before)) },
		func() (int64, error) { return t.q.CleanRefresh(ctx, ms(now), n) },
		func() (int64, error) { return t.q.CleanRevokedTokens(ctx, ms(now), n) },
		func() (int64, error) { return t.q.CleanFailures(ctx, ms(now), n) },
		func() (int64, error) { return t.q.CleanVerifications(ctx, ms(now), n) },
		func() (int64, error) { return t.q.CleanCutoffs(ctx, ms(before)) },
		func() (int64, error) { return t.q.CleanChanges(ctx, firstAt(before.Add(-changesKept)), n) },
	} {
		gone, err := clean()
		if err != nil {
			return 0, t.fail(ctx, "clean up", err)
		}
		total += int(gone)
	}
	return total, nil
}
