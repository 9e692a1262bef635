package api

import (
	"net/http"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/wire"
)

// who authenticates for the questions about oneself.
func (a *API) who(r *http.Request) (identity.Principal, error) {
	app, err := a.application(r)
	if err != nil {
		return identity.Principal{}, err
	}
	return a.caller(r, app)
}

// csrf gives the token that goes with the browser's cookie.
func (a *API) csrf(w http.ResponseWriter, r *http.Request) error {
	return reply(w, http.StatusOK, map[string]any{"csrf_token": a.house.Guard.Token(wire.Held(r))})
}

// me says who is calling.
func (a *API) me(w http.ResponseWriter, r *http.Request) error {
	p, err := a.who(r)
	if err != nil {
		return err
	}
	user := a.user(p)
	user["session"] = credentialOf(p)
	return reply(w, http.StatusOK, user)
}

// credentialOf tells about the session or key behind the call.
func credentialOf(p identity.Principal) map[string]any {
	s := map[string]any{
		"application": p.Application, "provider": p.Provider, "auth_time": stamp(p.AuthTime), "amr": list(p.AMR),
		"expires_at": stamp(p.ExpiresAt),
	}
	if p.KeyID != "" {
		s["key_id"] = p.KeyID
	} else {
		s["id"] = p.SessionID
	}
	return s
}

// validate answers 200 for a credential that opens the application now, and 401 or 403 otherwise.
func (a *API) validate(w http.ResponseWriter, r *http.Request) error {
	app, err := a.application(r)
	if err != nil {
		return err
	}
	p, err := a.caller(r, app)
	if err != nil {
		return err
	}
	if !app.Admits(p) {
		return identity.WithCode("no_role", identity.ErrDenied)
	}
	return reply(w, http.StatusOK, map[string]any{"valid": true, "user": a.user(p), "session": credentialOf(p)})
}

// permissions lists them, or with ?permission= says whether one is held.
func (a *API) permissions(w http.ResponseWriter, r *http.Request) error {
	p, err := a.who(r)
	if err != nil {
		return err
	}
	answer := map[string]any{"roles": list(p.Roles), "permissions": list(p.Permissions)}
	if wanted := r.URL.Query().Get("permission"); wanted != "" {
		answer["permission"], answer["allowed"] = wanted, broker.Allows(p, wanted)
	}
	return reply(w, http.StatusOK, answer)
}

// sessions lists the caller's living sessions.
func (a *API) sessions(w http.ResponseWriter, r *http.Request) error {
	p, err := a.owner(r)
	if err != nil {
		return err
	}
	open, err := a.house.Broker.Sessions(r.Context(), p)
	if err != nil {
		return err
	}
	out := make([]map[string]any, 0, len(open))
	for _, s := range open {
		out = append(out, map[string]any{
			"id": s.ID, "kind": s.Kind, "application": s.Application, "provider": s.Provider, "parent_id": s.ParentID,
			"created_at": stamp(s.CreatedAt), "last_seen_at": stamp(s.LastSeenAt), "expires_at": stamp(s.ExpiresAt),
			"address": s.Address, "user_agent": s.UserAgent, "current": s.ID == p.SessionID,
		})
	}
	return reply(w, http.StatusOK, map[string]any{"sessions": out})
}

// endSession ends one of the caller's own sessions.
func (a *API) endSession(w http.ResponseWriter, r *http.Request) error {
	p, err := a.owner(r)
	if err != nil {
		return err
	}
	if err := a.house.Broker.EndSession(r.Context(), wire.Of(r).Visit, p, r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
