package api

import (
	"encoding/json"
	"net/http"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/web/wire"
)

// keys lists the caller's living keys, without their secrets.
func (a *API) keys(w http.ResponseWriter, r *http.Request) error {
	p, err := a.owner(r)
	if err != nil {
		return err
	}
	all, err := a.house.Broker.Keys(r.Context(), p)
	if err != nil {
		return err
	}
	out := make([]map[string]any, 0, len(all))
	for _, k := range all {
		out = append(out, spelledKey(k))
	}
	return reply(w, http.StatusOK, map[string]any{"api_keys": out})
}

func spelledKey(k sessions.Key) map[string]any {
	return map[string]any{
		"id": k.ID, "name": k.Name, "prefix": k.Prefix, "application": k.Application, "roles": list(k.Roles),
		"created_at": stamp(k.CreatedAt), "expires_at": stamp(k.ExpiresAt), "last_used_at": stamp(k.LastUsedAt),
	}
}

// createKey makes a key: {name, roles?, application?, expires_in? in seconds}. The answer is the only one that shows it.
func (a *API) createKey(w http.ResponseWriter, r *http.Request) error {
	p, err := a.owner(r)
	if err != nil {
		return err
	}
	wanted, err := wantedKey(r)
	if err != nil {
		return err
	}
	k, whole, err := a.house.Broker.CreateKey(r.Context(), wire.Of(r).Visit, p, wanted)
	if err != nil {
		return err
	}
	answer := spelledKey(k)
	answer["key"] = whole
	return reply(w, http.StatusCreated, answer)
}

func wantedKey(r *http.Request) (broker.NewKey, error) {
	f := map[string]any{}
	known := map[string]string{"name": "name", "roles": "roles", "application": "application", "expires_in": "expires_in"}
	if err := fields(r, known, f); err != nil {
		return broker.NewKey{}, err
	}
	var n broker.NewKey
	var err error
	if n.Name, err = text(f, "name"); err != nil {
		return n, err
	}
	application, err := text(f, "application")
	if err != nil {
		return n, err
	}
	if application == "" {
		application = broker.Self
	}
	if n.Application, err = wire.Of(r).Application(application); err != nil {
		return n, err
	}
	if n.Roles, err = texts(f["roles"]); err != nil {
		return n, err
	}
	n.Lifetime, err = seconds(f["expires_in"])
	return n, err
}

func texts(v any) ([]string, error) {
	if v == nil {
		return nil, nil
	}
	items, ok := v.([]any)
	if !ok {
		return nil, invalid("field_invalid", "field is no list")
	}
	out := []string{} // an empty list is not the same as none
	for _, i := range items {
		s, ok := i.(string)
		if !ok {
			return nil, invalid("field_invalid", "list holds more than strings")
		}
		out = append(out, s)
	}
	return out, nil
}

// seconds reads a whole number of seconds; absent means the default.
func seconds(v any) (time.Duration, error) {
	if v == nil {
		return 0, nil
	}
	n, ok := v.(json.Number)
	if !ok {
		return 0, invalid("field_invalid", "field is no number")
	}
	i, err := n.Int64()
	if err != nil || i < 1 || i > int64(100*365*24*time.Hour/time.Second) {
		return 0, invalid("lifetime_invalid", "lifetime out of range")
	}
	return time.Duration(i) * time.Second, nil
}

// revokeKey ends one of the caller's own keys.
func (a *API) revokeKey(w http.ResponseWriter, r *http.Request) error {
	p, err := a.owner(r)
	if err != nil {
		return err
	}
	if err := a.house.Broker.RevokeKey(r.Context(), wire.Of(r).Visit, p, r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
