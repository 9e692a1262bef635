// Package admin owns the API of those who administer the broker. Each route declares the permission that it needs; the
// broker's own credentials open it, and never an application's, a frame's or an API key's.
package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/web/wire"
)

// The permissions of this surface; broker.Administer includes them all.
const (
	ReadSessions = "sallyport:sessions.read"
	EndSessions  = "sallyport:sessions.write"
	ReadKeys     = "sallyport:keys.read"
	WriteKeys    = broker.WriteKeys
)

// Admin answers below /api/admin/.
type Admin struct {
	house   *wire.House
	profile *broker.Profile
}

// New returns the surface of a house; profile names the header of the CSRF token.
func New(h *wire.House, p *broker.Profile) *Admin { return &Admin{h, p} }

// route is what answers, and what whoever asks must hold.
type route struct {
	pattern, permission string
	do                  func(w http.ResponseWriter, r *http.Request, who identity.Principal) error
}

func (a *Admin) routes() []route {
	return []route{
		{"GET /api/admin/sessions", ReadSessions, a.sessions},
		{"DELETE /api/admin/sessions/{id}", EndSessions, a.endSession},
		{"DELETE /api/admin/people/{username}/access", EndSessions, a.endPerson},
		{"DELETE /api/admin/applications/{id}/access", EndSessions, a.cutOff(sessions.CutApplication)},
		{"DELETE /api/admin/providers/{id}/access", EndSessions, a.cutOff(sessions.CutProvider)},
		{"DELETE /api/admin/access", EndSessions, a.cutOff(sessions.CutEverything)},
		{"DELETE /api/admin/tokens/{id}", EndSessions, a.revokeToken},
		{"GET /api/admin/api-keys", ReadKeys, a.keys},
		{"DELETE /api/admin/api-keys/{id}", WriteKeys, a.revokeKey},
		{"POST /api/admin/api-keys/{id}/activate", WriteKeys, a.activateKey},
	}
}

// Routes lists "METHOD path" → handler.
func (a *Admin) Routes() map[string]wire.Handler {
	out := map[string]wire.Handler{}
	for _, r := range a.routes() {
		out[r.pattern] = a.guarded(r)
	}
	return out
}

// guarded lets in who holds the route's permission.
func (a *Admin) guarded(to route) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := wire.RefuseInURL(r); err != nil {
			return err
		}
		who, err := a.caller(r)
		if err != nil {
			return err
		}
		if !broker.Allows(who, to.permission) {
			return identity.WithCode("permission_missing", fmt.Errorf("%s of account %s: %w", to.permission, who.Subject, identity.ErrDenied))
		}
		return to.do(w, r, who)
	}
}

// caller authenticates to the broker itself. A cookie passes the guard; an API key administers nothing.
func (a *Admin) caller(r *http.Request) (identity.Principal, error) {
	f := wire.Of(r)
	c, err := wire.HeaderCredential(r, f.SelfApplication)
	if errors.Is(err, wire.ErrNoCredential) {
		c, err = wire.CookieCredential(r, f.SelfApplication)
		if err == nil {
			err = a.house.Guard.Check(r, held(r), r.Header.Get(a.profile.CSRFHeader))
		}
	}
	if err != nil {
		return identity.Principal{}, err
	}
	who, err := a.house.Broker.Act(r.Context(), f.Visit, c, f.SelfApplication, r.Method)
	if err == nil && who.KeyID != "" {
		err = identity.WithCode("key_cannot", fmt.Errorf("keys manage nothing: %w", identity.ErrDenied))
	}
	return who, err
}

// held is what the browser holds that a CSRF token is bound to.
func held(r *http.Request) string {
	if c := r.CookiesNamed(wire.BrokerCookie); len(c) == 1 {
		return c[0].Value
	}
	return ""
}

// page is how many entries a list has at most.
const page = 200

// filter reads what a list is narrowed by: application, provider, state, after and limit.
func filter(r *http.Request) (sessions.Filter, error) {
	q := r.URL.Query()
	f := sessions.Filter{
		Application: q.Get("application"), Provider: q.Get("provider"), State: sessions.State(q.Get("state")),
		After: q.Get("after"), Limit: page,
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > page {
			return f, identity.WithCode("field_invalid", fmt.Errorf("limit: %w", identity.ErrInvalid))
		}
		f.Limit = n
	}
	return f, nil
}

// reply writes a JSON success that nobody caches.
func reply(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(body)
	return err
}

// done answers a change that worked.
func done(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}
