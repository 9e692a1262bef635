// Package api owns the application API: sign-in, who am I, sessions and keys for programs. What its fields, paths and
// headers are called is the application's profile; what happens is the broker's decision.
package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"
	"unicode/utf8"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/wire"
)

// API answers for the profile it was made with.
type API struct {
	house   *wire.House
	profile *broker.Profile
	streams streams
}

// New returns the API in the spelling of a profile.
func New(h *wire.House, p *broker.Profile) *API { return &API{house: h, profile: p} }

// Routes lists "METHOD path" → handler, by the profile's paths.
func (a *API) Routes() map[string]wire.Handler {
	routes := map[string]wire.Handler{}
	for _, r := range []struct {
		method, name, suffix string
		handler              wire.Handler
	}{
		{http.MethodPost, "login", "", a.login},
		{http.MethodPost, "logout", "", a.logout},
		{http.MethodPost, "confirm", "", a.confirm},
		{http.MethodPost, "refresh", "", a.refresh},
		{http.MethodPost, "revoke", "", a.revoke},
		{http.MethodGet, "revocations", "", a.revocations},
		{http.MethodPost, "ticket", "", a.ticket},
		{http.MethodGet, "csrf", "", a.csrf},
		{http.MethodGet, "me", "", a.me},
		{http.MethodGet, "validate", "", a.validate},
		{http.MethodGet, "permissions", "", a.permissions},
		{http.MethodGet, "sso_login", "", a.ssoLogin},
		{http.MethodGet, "sessions", "", a.sessions},
		{http.MethodDelete, "sessions", "/{id}", a.endSession},
		{http.MethodGet, "api_keys", "", a.keys},
		{http.MethodPost, "api_keys", "", a.createKey},
		{http.MethodDelete, "api_keys", "/{id}", a.revokeKey},
		{http.MethodPost, "api_keys", "/{id}/rotate", a.rotateKey},
	} {
		if path, ok := a.profile.Routes[r.name]; ok {
			routes[r.method+" "+a.profile.BasePath+path+r.suffix] = keptOutOfURL(r.handler)
		}
	}
	return routes
}

// keptOutOfURL refuses credentials in the query at every route (KEY-03).
func keptOutOfURL(next wire.Handler) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := wire.RefuseInURL(r); err != nil {
			return err
		}
		return next(w, r)
	}
}

// application returns the one the request acts for: the parameter "application", by default the broker itself.
func (a *API) application(r *http.Request) (*broker.Application, error) {
	id := r.URL.Query().Get("application")
	if id == "" {
		id = broker.Self
	}
	return wire.Of(r).Application(id)
}

// caller authenticates the request to the application it acts for.
func (a *API) caller(r *http.Request, app *broker.Application) (identity.Principal, error) {
	return a.house.Caller(r, app, a.profile.CSRFHeader)
}

// owner authenticates for what belongs to the person as a whole (sessions, keys).
func (a *API) owner(r *http.Request) (identity.Principal, error) {
	return a.house.Owner(r, a.profile.CSRFHeader)
}

// fields reads a JSON object strictly: unknown names, doubled names, wrong types and trailing bytes are refused
// (ADM-05). known maps the wire's names to ours.
func fields(r *http.Request, known map[string]string, into map[string]any) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return wire.MediaType()
	}
	raw, err := io.ReadAll(r.Body)
	if wire.TooLarge(err) {
		return err
	}
	if err != nil || !utf8.Valid(raw) { // broken off, or bytes that the decoder would quietly replace
		return invalid("body_invalid", "body cannot be read")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return invalid("body_invalid", "body is no JSON object")
	}
	for d.More() {
		t, err := d.Token()
		name, isName := t.(string)
		if err != nil || !isName {
			return invalid("body_invalid", "body is no JSON object")
		}
		ours, ok := known[name]
		if !ok {
			return invalid("field_unknown", "unknown field")
		}
		if _, doubled := into[ours]; doubled {
			return invalid("field_doubled", "field stands twice")
		}
		var v any
		if err := d.Decode(&v); err != nil {
			return invalid("body_invalid", "field value cannot be read")
		}
		into[ours] = v
	}
	if _, err := d.Token(); err != nil {
		return invalid("body_invalid", "object does not end")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return invalid("body_invalid", "bytes after the object")
	}
	return nil
}

// text takes an optional string field.
func text(f map[string]any, name string) (string, error) {
	switch v := f[name].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	default:
		return "", invalid("field_invalid", "field is no string")
	}
}

func invalid(code, why string) error {
	return identity.WithCode(code, fmt.Errorf("%s: %w", why, identity.ErrInvalid))
}

// reply writes a JSON success that nobody caches.
func reply(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.WriteHeader(status)
	_, err = w.Write(body)
	return err
}

// user spells a principal as the profile calls its fields.
func (a *API) user(p identity.Principal) map[string]any {
	return spelled(a.profile.User, map[string]any{
		"id": p.Subject, "username": p.Username, "name": p.Name, "email": p.Email,
		"roles": list(p.Roles), "permissions": list(p.Permissions),
	})
}

// spelled renames ours → the profile's; what the profile does not name is left out.
func spelled(names map[string]string, ours map[string]any) map[string]any {
	out := make(map[string]any, len(names))
	for name, called := range names {
		if v, ok := ours[name]; ok {
			out[called] = v
		}
	}
	return out
}

// list is never null on the wire.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}
