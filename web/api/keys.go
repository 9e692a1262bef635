package api

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"net/netip"
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
	networks := make([]string, 0, len(k.Networks))
	for _, n := range k.Networks {
		networks = append(networks, n.String())
	}
	never := k.ExpiresAt.Equal(sessions.Never())
	out := map[string]any{
		"id": k.ID, "name": k.Name, "prefix": k.Prefix, "application": k.Application, "state": k.State, "roles": list(k.Roles),
		"networks": networks, "read_only": k.ReadOnly, "rate": nil, "successor": nil,
		"created_at": stamp(k.CreatedAt), "expires_at": stamp(k.ExpiresAt), "never_expires": never,
		"last_used_at": stamp(k.LastUsedAt),
	}
	if never {
		out["expires_at"] = nil
	}
	if k.Requests > 0 {
		out["rate"] = map[string]any{"requests": k.Requests, "per": int64(k.Per / time.Second)}
	}
	if k.Successor != "" {
		out["successor"] = k.Successor
	}
	return out
}

// createKey makes a key: {name, roles?, application?, expires_in? in seconds | never_expires?, networks?, read_only?,
// rate? {requests, per in seconds}}. The answer is the only one that shows it.
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
	return a.showKey(w, k, whole)
}

// showKey answers with a new key, this once. One that opens nothing yet comes with what confirms it.
func (a *API) showKey(w http.ResponseWriter, k broker.IssuedKey, whole string) error {
	answer := spelledKey(k.Key)
	answer["key"] = whole
	if k.Verification == "" {
		return reply(w, http.StatusCreated, answer)
	}
	maps.Copy(answer, spelled(a.profile.Reply, map[string]any{"verification_id": k.Verification}))
	return reply(w, http.StatusAccepted, answer)
}

// rotateKey replaces a key by a new one: {overlap? in seconds}, or no body at all.
func (a *API) rotateKey(w http.ResponseWriter, r *http.Request) error {
	p, err := a.owner(r)
	if err != nil {
		return err
	}
	f := map[string]any{}
	if r.ContentLength != 0 {
		if err := fields(r, map[string]string{"overlap": "overlap"}, f); err != nil {
			return err
		}
	}
	overlap := broker.DefaultOverlap
	if f["overlap"] != nil {
		n, err := whole(f["overlap"], "overlap_invalid")
		if err != nil {
			return err
		}
		overlap = time.Duration(n) * time.Second
	}
	k, text, err := a.house.Broker.RotateKey(r.Context(), wire.Of(r).Visit, p, r.PathValue("id"), overlap)
	if err != nil {
		return err
	}
	return a.showKey(w, k, text)
}

func wantedKey(r *http.Request) (broker.NewKey, error) {
	f, known := map[string]any{}, map[string]string{}
	for _, name := range []string{
		"name", "roles", "application", "expires_in", "never_expires", "networks", "read_only", "rate",
	} {
		known[name] = name
	}
	if err := fields(r, known, f); err != nil {
		return broker.NewKey{}, err
	}
	n, err := limitedKey(f)
	if err != nil {
		return n, err
	}
	if n.Name, err = text(f, "name"); err != nil {
		return n, err
	}
	application, err := text(f, "application")
	if err != nil {
		return n, err
	}
	if n.Application, err = wire.Of(r).Application(cmp.Or(application, broker.Self)); err != nil {
		return n, err
	}
	n.Roles, err = texts(f["roles"])
	return n, err
}

// limitedKey reads how long, from where and how often a key may be used.
func limitedKey(f map[string]any) (n broker.NewKey, err error) {
	if n.Lifetime, err = seconds(f["expires_in"]); err != nil {
		return n, err
	}
	if n.Never, err = truth(f["never_expires"]); err != nil {
		return n, err
	}
	if n.ReadOnly, err = truth(f["read_only"]); err != nil {
		return n, err
	}
	if n.Networks, err = networks(f["networks"]); err != nil {
		return n, err
	}
	n.Requests, n.Per, err = rate(f["rate"])
	return n, err
}

func networks(v any) ([]netip.Prefix, error) {
	named, err := texts(v)
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, name := range named {
		p, err := broker.ParseNetwork(name)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// rate reads {requests, per}; absent means none.
func rate(v any) (requests int, per time.Duration, err error) {
	if v == nil {
		return 0, 0, nil
	}
	f, ok := v.(map[string]any)
	if !ok {
		return 0, 0, invalid("field_invalid", "rate is no object")
	}
	if len(f) != 2 || f["requests"] == nil || f["per"] == nil {
		return 0, 0, invalid("rate_invalid", "rate is not requests and per")
	}
	n, err := whole(f["requests"], "rate_invalid")
	if err != nil {
		return 0, 0, err
	}
	s, err := whole(f["per"], "rate_invalid")
	if err != nil {
		return 0, 0, err
	}
	if n == 0 { // to the broker, no rate at all
		return 0, 0, invalid("rate_invalid", "no requests")
	}
	return int(n), time.Duration(s) * time.Second, nil
}

// truth reads an optional boolean.
func truth(v any) (bool, error) {
	if v == nil {
		return false, nil
	}
	b, ok := v.(bool)
	if !ok {
		return false, invalid("field_invalid", "field is no boolean")
	}
	return b, nil
}

// whole reads a whole number, at most what seconds could count in a hundred years; code is for one that is none.
func whole(v any, code string) (int64, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, invalid("field_invalid", "field is no number")
	}
	i, err := n.Int64()
	if err != nil || i < 0 || i > int64(100*365*24*time.Hour/time.Second) {
		return 0, invalid(code, "number out of range")
	}
	return i, nil
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

// seconds reads a lifetime; absent means the default.
func seconds(v any) (time.Duration, error) {
	if v == nil {
		return 0, nil
	}
	n, err := whole(v, "lifetime_invalid")
	if err == nil && n == 0 {
		err = invalid("lifetime_invalid", "a life of no time")
	}
	return time.Duration(n) * time.Second, err
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
