package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/audit"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// sameNetwork applies the application's policy to a browser's session that is used from another network than it began in:
// identity.ErrExpired coded address_changed where that means signing in again. An address that is not known, ours or
// theirs, says nothing.
func (b *Broker) sameNetwork(ctx context.Context, at Visit, v *view, app *Application) error {
	policy := app.AddressChange
	if policy == "" || policy == AddressIgnore || at.Address == v.address || at.Address == "" || v.address == "" ||
		network(at.Address) == network(v.address) {
		return nil
	}
	changed := identity.WithCode("address_changed",
		fmt.Errorf("session %s from another network: %w", v.principal.SessionID, identity.ErrExpired))
	e := at.event(audit.SessionMoved, b.now())
	e.Actor, e.AccountID, e.Username, e.Provider = v.principal.Subject, v.principal.Subject, v.principal.Username, v.principal.Provider
	e.Application, e.SessionID = app.ID, v.principal.SessionID
	e.Detail = map[string]string{"from": v.address}
	switch policy {
	case AddressAudit:
		if !b.tellMove(v, time.Minute) { // addresses that take turns are not a transaction for each request
			return nil
		}
		return b.noteMove(ctx, v, e)
	case AddressEnd:
		if err := b.endMoved(ctx, at, v, e); err != nil {
			return err
		}
	default:
		if v.told.CompareAndSwap(false, true) && b.tellMove(v, time.Hour) {
			b.refused(ctx, e, changed)
		}
	}
	return changed
}

// travels reports whether a credential may be used from anywhere: what no browser sends by itself.
func (v *view) travels(c Credential, _ *Application) bool { return !c.stands().IsCookie() }

// travelsAtClients is travels where the client itself shows the credential. Where the application's cookie is a token, that
// of a browser's session may not come in a header from elsewhere either: whoever took the cookie would get past the policy.
// The application's own server has the same token in its hands and asks us about it from its address; that is not here.
func (v *view) travelsAtClients(c Credential, app *Application) bool {
	return v.travels(c, app) && (v.kind != sessions.App || !app.Profile.Cookie.Token)
}

// tellMove allows one event of a session in so much time, or whoever has a copy of the cookie could fill the audit log. A view
// alone cannot tell: many at once may load one each.
func (b *Broker) tellMove(v *view, every time.Duration) bool {
	key := throttleKey{path: "session moved", who: v.principal.SessionID, requests: 1, per: every}
	return b.throttle.bucket(key).AllowN(b.throttle.now(), 1)
}

// noteMove remembers the new address, so that a move is told once: by whoever sees it first.
func (b *Broker) noteMove(ctx context.Context, v *view, e audit.Event) error {
	id := v.principal.SessionID
	err := b.store.Update(ctx, func(tx Tx) error {
		if err := tx.MoveSession(ctx, id, v.address, e.Address); err != nil {
			return err
		}
		if err := tx.Changed(ctx, ChangeSession, e.At, id); err != nil {
			return err
		}
		return tx.Append(ctx, e)
	})
	if errors.Is(err, identity.ErrConflict) {
		return nil
	}
	return err
}

// endMoved ends the session, and what hangs on it, for good. Who does so first tells of it.
func (b *Broker) endMoved(ctx context.Context, at Visit, v *view, e audit.Event) error {
	e.Outcome, e.Code = audit.Refusal, "address_changed"
	return b.store.Update(ctx, func(tx Tx) error {
		s, err := tx.Session(ctx, v.principal.SessionID)
		if err != nil || !s.EndedAt.IsZero() {
			return err
		}
		if err := b.end(ctx, tx, at, v.principal.SessionID, "address_changed", "system"); err != nil {
			return err
		}
		return tx.Append(ctx, e)
	})
}
