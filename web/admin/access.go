package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/web/wire"
)

// sessions lists everybody's living sessions by id; next is where the following page begins.
func (a *Admin) sessions(w http.ResponseWriter, r *http.Request, _ identity.Principal) error {
	f, err := filter(r)
	if err != nil {
		return err
	}
	list, err := a.house.Broker.LiveSessions(r.Context(), f)
	if err != nil {
		return err
	}
	out := make([]map[string]any, 0, len(list))
	next := ""
	for _, s := range list {
		next = s.ID
		out = append(out, map[string]any{
			"id": s.ID, "parent_id": s.ParentID, "kind": s.Kind, "account_id": s.AccountID, "provider": s.Provider,
			"application": s.Application, "created_at": stamp(s.CreatedAt), "last_seen_at": stamp(s.LastSeenAt),
			"expires_at": stamp(s.ExpiresAt), "address": s.Address, "user_agent": s.UserAgent,
		})
	}
	return reply(w, listed("sessions", out, len(list) == f.Limit, next))
}

// listed is a page of a list; next is there only where more may follow.
func listed(name string, entries []map[string]any, more bool, next string) map[string]any {
	out := map[string]any{name: entries}
	if more {
		out["next"] = next
	}
	return out
}

func stamp(t time.Time) any {
	if t.IsZero() || t.Equal(sessions.Never()) {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

func (a *Admin) endSession(w http.ResponseWriter, r *http.Request, who identity.Principal) error {
	v, id := wire.Of(r).Visit, r.PathValue("id")
	if err := a.house.Broker.MayEndSession(r.Context(), v, who, id); err != nil {
		return err
	}
	return done(w, a.house.Broker.EndAnySession(r.Context(), v, who.Subject, id))
}

// endPerson ends everything of somebody, who may sign in again.
func (a *Admin) endPerson(w http.ResponseWriter, r *http.Request, who identity.Principal) error {
	v := wire.Of(r).Visit
	p, err := a.house.Broker.PersonByName(r.Context(), r.PathValue("username"))
	if err != nil {
		return err
	}
	if err := a.house.Broker.MayEndAccess(r.Context(), v, who, p.ID); err != nil {
		return err
	}
	return done(w, a.house.Broker.EndEverythingOf(r.Context(), v, who.Subject, p.ID))
}

// cutOff ends everything of an application, of a provider, or of the house. An id that the configuration does not have is a
// mistake: nothing would end, and the administrator would believe that it did.
func (a *Admin) cutOff(kind sessions.CutoffKind) func(http.ResponseWriter, *http.Request, identity.Principal) error {
	return func(w http.ResponseWriter, r *http.Request, who identity.Principal) error {
		v, id := wire.Of(r).Visit, r.PathValue("id")
		var err error
		switch kind {
		case sessions.CutApplication:
			_, err = v.Application(id)
		case sessions.CutProvider:
			_, err = v.Providers.Get(id)
		}
		if err != nil {
			return err
		}
		return done(w, a.house.Broker.CutOff(r.Context(), v, who.Subject, kind, id))
	}
}

// longestToken is how long an access token of any application lives at most.
const longestToken = 24 * time.Hour

// revokeToken ends one access token by its jti; ?session= is the sid beside it, which spares all nodes emptying their
// caches, and ?application= whose it is.
func (a *Admin) revokeToken(w http.ResponseWriter, r *http.Request, who identity.Principal) error {
	id := r.PathValue("id")
	if len(id) > 64 {
		return identity.WithCode("field_invalid", fmt.Errorf("jti of %d bytes: %w", len(id), identity.ErrInvalid))
	}
	q := r.URL.Query()
	if err := a.mayRevoke(r, who, q.Get("session")); err != nil {
		return err
	}
	return done(w, a.house.Broker.RevokeToken(r.Context(), wire.Of(r).Visit, who.Subject, sessions.RevokedToken{
		ID: id, SessionID: q.Get("session"), Application: q.Get("application"), ExpiresAt: a.house.Now().Add(longestToken),
	}))
}

// mayRevoke holds a token against the account of its session. One whose session is not told may be anybody's.
func (a *Admin) mayRevoke(r *http.Request, who identity.Principal, session string) error {
	if session == "" {
		return needs(who, broker.Administer)
	}
	return a.house.Broker.MayEndSession(r.Context(), wire.Of(r).Visit, who, session)
}

// keys lists everybody's living API keys by id, those that wait or are suspended too.
func (a *Admin) keys(w http.ResponseWriter, r *http.Request, _ identity.Principal) error {
	f, err := filter(r)
	if err != nil {
		return err
	}
	list, err := a.house.Broker.AllKeys(r.Context(), f)
	if err != nil {
		return err
	}
	out := make([]map[string]any, 0, len(list))
	next := ""
	for _, k := range list {
		next = k.ID
		out = append(out, spelledKey(k))
	}
	return reply(w, listed("api_keys", out, len(list) == f.Limit, next))
}

func spelledKey(k broker.OwnedKey) map[string]any {
	networks := make([]string, 0, len(k.Networks))
	for _, n := range k.Networks {
		networks = append(networks, n.String())
	}
	out := map[string]any{
		"id": k.ID, "prefix": k.Prefix, "name": k.Name, "state": k.State, "account_id": k.AccountID, "username": k.Username,
		"application": k.Application, "roles": append([]string{}, k.Roles...), "networks": networks, "read_only": k.ReadOnly,
		"created_at": stamp(k.CreatedAt), "expires_at": stamp(k.ExpiresAt), "last_used_at": stamp(k.LastUsedAt),
		"never_expires": k.ExpiresAt.Equal(sessions.Never()), "rate": nil, "successor": nil,
	}
	if k.Requests > 0 {
		out["rate"] = map[string]any{"requests": k.Requests, "per": int64(k.Per / time.Second)}
	}
	if k.Successor != "" {
		out["successor"] = k.Successor
	}
	return out
}

func (a *Admin) revokeKey(w http.ResponseWriter, r *http.Request, who identity.Principal) error {
	return a.changeKey(w, r, who, a.house.Broker.RevokeAnyKey)
}

func (a *Admin) activateKey(w http.ResponseWriter, r *http.Request, who identity.Principal) error {
	return a.changeKey(w, r, who, a.house.Broker.ActivateKey)
}

// changeKey does something to a key that is not of somebody above who asks.
func (a *Admin) changeKey(
	w http.ResponseWriter, r *http.Request, who identity.Principal,
	change func(ctx context.Context, v broker.Visit, actor, id string) error,
) error {
	v, id := wire.Of(r).Visit, r.PathValue("id")
	if err := a.house.Broker.MayChangeKey(r.Context(), v, who, id); err != nil {
		return err
	}
	return done(w, change(r.Context(), v, who.Subject, id))
}
