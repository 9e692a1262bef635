package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"sallyport/audit"
	"sallyport/identity"
	"sallyport/storage/sqlstore/internal/db"
)

// Append gives the event its ID, whatever stood there. An event without type, outcome or time is a fault of ours and
// breaks the transaction, like one that the engine does not take.
func (t *tx) Append(ctx context.Context, e audit.Event) error {
	const op = "append audit event"
	if e.At.IsZero() || e.Type == "" || e.Outcome == "" {
		return t.fail(ctx, op, fmt.Errorf("type, outcome and time are needed: %w", identity.ErrInvalid))
	}
	detail := "{}"
	if len(e.Detail) > 0 {
		b, err := json.Marshal(e.Detail)
		if err != nil {
			return t.fail(ctx, op, err)
		}
		detail = string(b)
	}
	err := numbered(e.At, func(id int64) (int64, error) {
		return t.q.AppendEvent(ctx, eventRow(id, e, detail))
	})
	return t.fail(ctx, op, err)
}

// eventRow takes every text as it can be kept: a strange user name must not keep its refusal out of the record.
func eventRow(id int64, e audit.Event, detail string) db.AppendEventParams {
	return db.AppendEventParams{
		ID: id, Type: shown(string(e.Type)), At: ms(e.At), Outcome: shown(string(e.Outcome)), Code: shown(e.Code),
		Actor: shown(e.Actor), AccountID: shown(e.AccountID), Username: shown(e.Username), Provider: shown(e.Provider),
		Application: shown(e.Application), SessionID: shown(e.SessionID), KeyID: shown(e.KeyID),
		Address: shown(e.Address), TraceID: shown(e.TraceID), Detail: detail,
	}
}

func (t *tx) Events(ctx context.Context, before int64, limit int) ([]audit.Event, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	rows, err := t.q.Events(ctx, before, clamp(limit))
	if err != nil {
		return nil, t.fail(ctx, "audit events", err)
	}
	return each(rows, event)
}

func event(row db.AuditEvent) (audit.Event, error) {
	var detail map[string]string
	if row.Detail != "{}" {
		if err := json.Unmarshal([]byte(row.Detail), &detail); err != nil {
			return audit.Event{}, fmt.Errorf("stored audit event %d: %w", row.ID, err)
		}
	}
	return audit.Event{
		ID: row.ID, Type: audit.Type(row.Type), At: at(row.At), Outcome: audit.Outcome(row.Outcome), Code: row.Code,
		Actor: row.Actor, AccountID: row.AccountID, Username: row.Username, Provider: row.Provider,
		Application: row.Application, SessionID: row.SessionID, KeyID: row.KeyID, Address: row.Address,
		TraceID: row.TraceID, Detail: detail,
	}, nil
}

func (t *tx) Now(ctx context.Context) (time.Time, error) {
	now, err := t.store.dialect.Now(ctx)
	if err != nil {
		return time.Time{}, t.fail(ctx, "now", err)
	}
	return now.UTC(), nil
}
