package broker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"sallyport/audit"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// RevokeToken lets one access token die before its time, while its session goes on. ID and ExpiresAt are needed; without
// a SessionID every proof of a token is held against it, and all nodes empty their caches once. With one the application is
// the session's: identity.ErrNotFound where there is no such session. A token that is revoked already stays so, and that is
// no error.
func (b *Broker) RevokeToken(ctx context.Context, v Visit, actor string, t sessions.RevokedToken) error {
	return b.store.Update(ctx, func(tx Tx) error {
		if t.SessionID == "" {
			return b.revokeToken(ctx, tx, v, actor, "", t)
		}
		s, err := tx.Session(ctx, t.SessionID)
		if err != nil {
			return err
		}
		of := t
		of.Application = s.Application
		return b.revokeToken(ctx, tx, v, actor, s.AccountID, of)
	})
}

// revokeToken revokes the token of an account, of none that is known for "".
func (b *Broker) revokeToken(ctx context.Context, tx Tx, v Visit, actor, accountID string, t sessions.RevokedToken) error {
	now := b.now()
	t.RevokedAt = now
	done, err := revokeIn(ctx, tx, t)
	if err != nil || !done {
		return err
	}
	e := v.event(audit.TokenRevoked, now)
	e.Actor, e.AccountID, e.Application, e.SessionID = actor, accountID, t.Application, t.SessionID
	e.Detail = map[string]string{"token_id": t.ID}
	return tx.Append(ctx, e)
}

// revokeIn remembers a revoked token and tells the caches; false: it was revoked or expired already.
func revokeIn(ctx context.Context, tx Tx, t sessions.RevokedToken) (bool, error) {
	if !t.ExpiresAt.After(t.RevokedAt) {
		return false, nil
	}
	err := tx.RevokeToken(ctx, t)
	switch {
	case errors.Is(err, identity.ErrConflict):
		return false, nil
	case err != nil:
		return false, err
	case t.SessionID == "":
		return true, tx.Changed(ctx, ChangeSigningKeys, t.RevokedAt, "")
	}
	return true, tx.Changed(ctx, ChangeSession, t.RevokedAt, t.SessionID)
}

// Revoke ends what a token of the application's is good for, at the wish of whoever holds it (RFC 7009): an access token
// by itself, a refresh token with its session. What is no such token, or not any more, is no error and changes nothing, so
// that the answer tells nothing. An error means that it may still be good: identity.ErrUnavailable.
func (b *Broker) Revoke(ctx context.Context, v Visit, app *Application, raw string) error {
	err := b.revoke(ctx, v, app, raw)
	switch {
	case errors.Is(err, identity.ErrBadCredentials), errors.Is(err, identity.ErrExpired), errors.Is(err, identity.ErrNotFound):
		return nil
	case err != nil:
		return publicRefusal(err)
	}
	return nil
}

func (b *Broker) revoke(ctx context.Context, v Visit, app *Application, raw string) error {
	if isRefreshToken(raw) {
		r, err := b.lookUpRefresh(ctx, app, raw)
		if err != nil {
			return err
		}
		return b.store.Update(ctx, func(tx Tx) error {
			s, err := tx.Session(ctx, r.SessionID)
			if err != nil {
				return err
			}
			return b.end(ctx, tx, v, s.ID, "revoked", s.AccountID)
		})
	}
	if raw == "" || len(raw) > maxCredential {
		return identity.ErrBadCredentials
	}
	claims, err := b.verify(ctx, raw, app)
	if err != nil {
		return err
	}
	return b.store.Update(ctx, func(tx Tx) error {
		s, err := tx.Session(ctx, claims.SessionID)
		if err != nil {
			return err
		}
		if s.Application != app.ID { // an application with a secret can write into its tokens what it likes
			return identity.ErrNotFound
		}
		return b.revokeToken(ctx, tx, v, s.AccountID, s.AccountID, sessions.RevokedToken{
			ID: claims.ID, SessionID: s.ID, Application: app.ID, ExpiresAt: earlier(claims.ExpiresAt, s.ExpiresAt),
		})
	})
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

const (
	// cutOffEvery is how often somebody looks whether a cut-off is still to be written down on each session and key.
	cutOffEvery = 5 * time.Second
	// cutOffBatch bounds the sessions or keys that one transaction ends.
	cutOffBatch = 200
	// reasonCutOff is why they ended.
	reasonCutOff = "cut_off"
)

// CutOff ends all sessions and keys of an application, of a provider or of the house that began until now, on all nodes,
// as soon as they hear of it, however many there are. A job then ends each by itself. Who signs in afterwards is in. key
// is an id, empty for sessions.CutEverything; identity.ErrInvalid for a kind and key that do not go together. After any
// other error some may be left, and it should be done again.
//
// An application's sessions are those at it; cutting off Self ends sign-ins, and what hangs on them when the job comes by.
func (b *Broker) CutOff(ctx context.Context, v Visit, actor string, kind sessions.CutoffKind, key string) error {
	cut := sessions.Cutoff{Kind: kind, Key: key}
	err := b.store.Update(ctx, func(tx Tx) error {
		now := b.now()
		cut.At = now
		if err := tx.PutCutoff(ctx, cut); err != nil {
			return err
		}
		if err := tx.Changed(ctx, ChangeSigningKeys, now, ""); err != nil { // empties all caches
			return err
		}
		e := v.event(audit.CutOff, now)
		e.Actor, e.Detail = actor, map[string]string{"kind": string(kind)}
		switch kind {
		case sessions.CutApplication:
			e.Application = key
		case sessions.CutProvider:
			e.Provider = key
		}
		return tx.Append(ctx, e)
	})
	if err != nil {
		return err
	}
	return b.endAhead(ctx, cut)
}

// endAhead ends one by one what is there and began after a cut-off that was just made: on nodes whose clocks are ahead, or
// before ours was put back. A later cut-off would take those with it who sign in meanwhile, by however much a clock had
// been wrong.
func (b *Broker) endAhead(ctx context.Context, c sessions.Cutoff) error {
	var open []string
	var keys []sessions.Key
	if err := b.store.View(ctx, func(tx Tx) (err error) {
		if open, err = tx.SessionsAhead(ctx, c); err != nil {
			return err
		}
		keys, err = tx.KeysAhead(ctx, c)
		return err
	}); err != nil {
		return err
	}
	for len(open)+len(keys) > 0 {
		some, few := open[:min(len(open), cutOffBatch)], keys[:min(len(keys), cutOffBatch)]
		if err := b.store.Update(ctx, func(tx Tx) error { return b.endListed(ctx, tx, some, few) }); err != nil {
			return err
		}
		open, keys = open[len(some):], keys[len(few):]
	}
	return nil
}

// keyNotCutOff holds a key that another one is about to take the place of against the cut-offs as the transaction sees
// them: the new one begins after any of them, and would be a way past.
func keyNotCutOff(ctx context.Context, tx Tx, k sessions.Key) error {
	cutoffs, err := tx.Cutoffs(ctx)
	if err != nil {
		return err
	}
	return (&endings{cutoffs: cutoffs}).covers(k.Application, k.Provider, k.CreatedAt)
}

// endCutOff ends one by one what cut-offs ended at once: so that lists, limits and the feed know, and so that the next
// look at each needs no cut-off.
func (b *Broker) endCutOff(ctx context.Context) error {
	var open []sessions.Cutoff
	err := b.store.View(ctx, func(tx Tx) (err error) {
		open, err = tx.Cutoffs(ctx)
		return err
	})
	open = slices.DeleteFunc(open, func(c sessions.Cutoff) bool { return c.Done })
	if err != nil || len(open) == 0 {
		return err
	}
	if mine, err := b.acquire(ctx, "cut_offs", time.Minute); err != nil || !mine {
		return err
	}
	for _, c := range open {
		for more := true; more; {
			if err := b.store.Update(ctx, func(tx Tx) (err error) {
				more, err = b.endSomeCutOff(ctx, tx, c)
				return err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// endSomeCutOff ends the next few, and says whether there may be more. The event of the cut-off tells of all of them.
func (b *Broker) endSomeCutOff(ctx context.Context, tx Tx, c sessions.Cutoff) (more bool, err error) {
	open, err := tx.SessionsCutOff(ctx, c, cutOffBatch)
	if err != nil {
		return false, err
	}
	keys, err := tx.KeysCutOff(ctx, c, cutOffBatch)
	if err != nil {
		return false, err
	}
	if err := b.endListed(ctx, tx, open, keys); err != nil {
		return false, err
	}
	if len(open) == cutOffBatch || len(keys) == cutOffBatch {
		return true, nil
	}
	return false, tx.FinishCutoff(ctx, c)
}

// endListed ends sessions and keys that were cut off, but for those that ended meanwhile.
func (b *Broker) endListed(ctx context.Context, tx Tx, open []string, keys []sessions.Key) error {
	now := b.now()
	var ended, gone []string
	for _, id := range open {
		ids, err := tx.EndSession(ctx, id, reasonCutOff, now)
		if err != nil {
			return err
		}
		ended = append(ended, ids...)
	}
	for _, k := range keys {
		err := tx.EndKey(ctx, k.AccountID, k.ID, reasonCutOff, now)
		if errors.Is(err, identity.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		gone = append(gone, k.ID)
	}
	if err := tx.Changed(ctx, ChangeSession, now, ended...); err != nil {
		return err
	}
	return tx.Changed(ctx, ChangeKey, now, gone...)
}

// EndEverythingOf ends all sessions, codes and keys of somebody who may sign in again: identity.ErrNotFound for an account
// that is not there.
func (b *Broker) EndEverythingOf(ctx context.Context, v Visit, actor, accountID string) error {
	return b.store.Update(ctx, func(tx Tx) error {
		account, err := tx.Account(ctx, accountID)
		if err != nil {
			return err
		}
		detail, err := b.endEverything(ctx, tx, account.ID, "ended_by_administrator")
		if err != nil {
			return err
		}
		e := v.event(audit.CutOff, b.now())
		e.Actor, e.AccountID, e.Username = actor, account.ID, account.Username
		e.Detail = detail
		e.Detail["kind"] = "account"
		return tx.Append(ctx, e)
	})
}

// EndAnySession ends anybody's session and what hangs on it, for an administrator: identity.ErrNotFound where there is no
// living one.
func (b *Broker) EndAnySession(ctx context.Context, v Visit, actor, id string) error {
	return b.store.Update(ctx, func(tx Tx) error {
		s, err := tx.Session(ctx, id)
		if err != nil {
			return err
		}
		if !s.EndedAt.IsZero() {
			return identity.ErrNotFound
		}
		return b.end(ctx, tx, v, id, "ended_by_administrator", actor)
	})
}

// LiveSessions lists everybody's living sessions by id, for an administrator, narrowed by the filter.
func (b *Broker) LiveSessions(ctx context.Context, f sessions.Filter) ([]sessions.Session, error) {
	var list []sessions.Session
	err := b.store.View(ctx, func(tx Tx) (err error) {
		list, err = tx.LiveSessions(ctx, f, b.now())
		return err
	})
	return list, err
}

// The kinds of entry that Revocations has beside the stores': see sessions.Revocation.Kind.
const (
	revokedApplication = string(sessions.CutApplication)
	revokedProvider    = string(sessions.CutProvider)
	revokedEverything  = string(sessions.CutEverything)
)

// IsCutoff reports whether an entry of Revocations is about everything that was issued until its time, rather than about
// one token, session or key.
func IsCutoff(r sessions.Revocation) bool {
	return r.Kind == revokedApplication || r.Kind == revokedProvider || r.Kind == revokedEverything
}

// Revocations lists what ended before its time at or after since, oldest first, and what nobody lets in offline may be let
// in for any more: those of one application, or all for "". Cut-offs are entries of their own. next is where the next call
// begins: a little before the state that was read, so that a transaction that was committed late, or on a node whose clock
// is behind, is not missed. Every entry comes at least once. limit bounds the entries of each kind; where more follow,
// next is as far as the list is complete.
func (b *Broker) Revocations(
	ctx context.Context, snap *Snapshot, application string, since time.Time, limit int,
) (list []sessions.Revocation, next time.Time, err error) {
	now := b.now()
	for limit = max(limit, 1); ; limit *= 2 {
		var read revocations
		err = b.store.View(ctx, func(tx Tx) (err error) {
			read, err = readRevocations(ctx, tx, application, since, now, limit)
			return err
		})
		if err != nil {
			return nil, time.Time{}, err
		}
		list = append(read.entries, cutOffsAmong(snap, read.cutoffs, application, since, now)...)
		next = now.Add(-pollOverlap)
		if !read.whole {
			// More at one moment than we took, or more than that within the overlap: nobody would get past it.
			if !read.until.After(since) || read.until.After(next) {
				continue
			}
			next = read.until
			list = slices.DeleteFunc(list, func(r sessions.Revocation) bool { return r.At.After(read.until) })
		}
		slices.SortStableFunc(list, func(x, y sessions.Revocation) int {
			return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.ID, y.ID))
		})
		return list, next, nil
	}
}

// revocations are entries as they were read at once. Where they are not whole, they are up to a time.
type revocations struct {
	entries []sessions.Revocation
	cutoffs []sessions.Cutoff
	whole   bool
	until   time.Time
}

func readRevocations(ctx context.Context, tx Tx, application string, since, now time.Time, limit int) (revocations, error) {
	r := revocations{whole: true}
	var err error
	if r.entries, err = tx.Revocations(ctx, application, since, now, limit); err != nil {
		return r, err
	}
	count, last := map[string]int{}, map[string]time.Time{}
	for _, e := range r.entries { // oldest first
		count[e.Kind]++
		last[e.Kind] = e.At
	}
	for kind, n := range count {
		if n >= limit && (r.whole || last[kind].Before(r.until)) {
			r.whole, r.until = false, last[kind]
		}
	}
	r.cutoffs, err = tx.Cutoffs(ctx)
	return r, err
}

// cutOffsAmong spells cut-offs as entries, until nothing can live any more that they ended.
func cutOffsAmong(snap *Snapshot, all []sessions.Cutoff, application string, since, now time.Time) []sessions.Revocation {
	var list []sessions.Revocation
	for _, c := range all {
		until := c.At.Add(longest(snap))
		if c.At.Before(since) || !until.After(now) ||
			application != "" && c.Kind == sessions.CutApplication && c.Key != application {
			continue
		}
		r := sessions.Revocation{Kind: string(c.Kind), ID: c.Key, At: c.At, ExpiresAt: until, Reason: reasonCutOff}
		if c.Kind == sessions.CutApplication {
			r.Application = c.Key
		}
		list = append(list, r)
	}
	return list
}

// longest is how long anything that is issued may live without being renewed at us.
func longest(snap *Snapshot) time.Duration {
	most := max(snap.Session.Lifetime, snap.Remember.Lifetime)
	for _, app := range snap.Applications() {
		most = max(most, app.Session.Lifetime)
	}
	return most
}
