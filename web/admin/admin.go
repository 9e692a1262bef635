// Package admin owns the API of those who administer the broker. Each route declares the permission that it needs; the
// broker's own credentials open it, and never an application's, a frame's or an API key's.
package admin

import (
	"encoding/json"
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

// route is what answers, and the permissions that whoever asks must hold, all of them.
type route struct {
	pattern     string
	permissions []string
	do          func(w http.ResponseWriter, r *http.Request, who identity.Principal) error
}

func (a *Admin) routes() []route {
	return []route{
		{"GET /api/admin/sessions", []string{ReadSessions}, a.sessions},
		{"DELETE /api/admin/sessions/{id}", []string{EndSessions}, a.endSession},
		{"DELETE /api/admin/people/{username}/access", []string{EndSessions, WriteKeys}, a.endPerson},
		// What ends administrators' sessions among others' is for administrators.
		{"DELETE /api/admin/applications/{id}/access", []string{broker.Administer}, a.cutOff(sessions.CutApplication)},
		{"DELETE /api/admin/providers/{id}/access", []string{broker.Administer}, a.cutOff(sessions.CutProvider)},
		{"DELETE /api/admin/access", []string{broker.Administer}, a.cutOff(sessions.CutEverything)},
		{"DELETE /api/admin/tokens/{id}", []string{EndSessions}, a.revokeToken},
		{"GET /api/admin/api-keys", []string{ReadKeys}, a.keys},
		{"DELETE /api/admin/api-keys/{id}", []string{WriteKeys}, a.revokeKey},
		{"POST /api/admin/api-keys/{id}/activate", []string{WriteKeys}, a.activateKey},
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

// guarded lets in who holds all of the route's permissions.
func (a *Admin) guarded(to route) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := wire.RefuseInURL(r); err != nil {
			return err
		}
		who, err := a.house.Owner(r, a.profile.CSRFHeader)
		if err != nil {
			return err
		}
		for _, p := range to.permissions {
			if err := needs(who, p); err != nil {
				return err
			}
		}
		return to.do(w, r, who)
	}
}

func needs(who identity.Principal, permission string) error {
	if broker.Allows(who, permission) {
		return nil
	}
	return identity.WithCode("permission_missing", fmt.Errorf("%s of account %s: %w", permission, who.Subject, identity.ErrDenied))
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
