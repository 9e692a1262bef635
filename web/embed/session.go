package embed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/tokens/jws"
	"sallyport/web/wire"
)

// answer is what the frame learns of its session. Times are in seconds from now: the clocks of browsers are wrong.
type answer struct {
	// ExpiresIn is when it ends unless it is used, RefreshIn when a page does well to look after it, AbsoluteIn when it
	// ends in any case.
	ExpiresIn  int64  `json:"expires_in"`
	RefreshIn  int64  `json:"refresh_in"`
	AbsoluteIn int64  `json:"absolute_in"`
	User       person `json:"user"`
}

// person is who is signed in. Roles is never null.
type person struct {
	Subject string   `json:"sub"`
	Name    string   `json:"name"`
	Roles   []string `json:"roles"`
}

// session tells the frame whose session its cookie opens. It is how a page finds out that the browser kept no cookie.
func (e *Embed) session(w http.ResponseWriter, r *http.Request) error {
	app, err := application(r)
	if err != nil {
		return err
	}
	h, err := e.holds(r, app)
	if err != nil {
		return err
	}
	return e.reply(w, h)
}

// open takes the embedding application's token for somebody and gives the browser a cookie for this application alone.
func (e *Embed) open(w http.ResponseWriter, r *http.Request) error {
	app, err := application(r)
	if err != nil {
		return err
	}
	if err := sameOrigin(r, app); err != nil {
		return err
	}
	in, err := read(w, r)
	if err != nil {
		return err
	}
	by, err := embedderOf(wire.Of(r), app, in.origin, in.embedder)
	if err != nil {
		return err
	}
	at := broker.EmbedAttempt{Embedder: by, Application: app, Origin: in.origin, Verifier: in.verifier}
	before, err := e.holds(r, app)
	switch {
	case errors.Is(err, identity.ErrUnavailable):
		return err
	case err == nil && before.embedder.ID == by.ID:
		at.Replaces = before.principal.SessionID
	}
	out, err := e.house.Broker.SignInEmbedded(r.Context(), wire.Of(r).Visit, at, in.jwt)
	if err != nil {
		explain(w, by, err)
		return err
	}
	wire.SetEmbedCookie(w, r, app, by, out.Token)
	return e.reply(w, held{by, out.Principal})
}

// headerDebug carries why a token was refused to the console of the page's developer.
const headerDebug = "X-Error-Debug"

// explain tells the developer of a page that an administrator trusts with it more than a code. The doors' errors name
// claims and keys of the configuration and hold nothing of a token; faults of ours are nobody's business.
func explain(w http.ResponseWriter, by *broker.Embedder, err error) {
	if status, _ := wire.Status(err); by.Debug && status < http.StatusInternalServerError {
		w.Header().Set(headerDebug, url.PathEscape(err.Error()))
	}
}

// end ends the session of this application's frame, and nothing wider: the embedding application and everything opened
// directly go on. Clear-Site-Data would take cookies of pages outside the frame along.
func (e *Embed) end(w http.ResponseWriter, r *http.Request) error {
	app, err := application(r)
	if err != nil {
		return err
	}
	if err := sameOrigin(r, app); err != nil {
		return err
	}
	if r.ContentLength != 0 {
		return wire.MediaType() // there is nothing to say
	}
	h, err := e.holds(r, app)
	if err == nil {
		err = e.house.Broker.SignOut(r.Context(), wire.Of(r).Visit, h.principal)
	}
	if err != nil && !errors.Is(err, identity.ErrBadCredentials) && !errors.Is(err, identity.ErrNotFound) {
		return err
	}
	for _, by := range wire.Of(r).EmbeddersOf(app) {
		if _, err := wire.EmbedCredential(r, by); !errors.Is(err, wire.ErrNoCredential) {
			wire.DropEmbedCookie(w, by)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (e *Embed) reply(w http.ResponseWriter, h held) error {
	left := h.principal.ExpiresAt.Sub(e.house.Now())
	until := min(h.embedder.Session.Idle, left)
	name := h.principal.Name
	if name == "" {
		name = h.principal.Username
	}
	body, err := json.Marshal(answer{
		ExpiresIn: seconds(until), RefreshIn: seconds(until / 2), AbsoluteIn: seconds(left),
		User: person{Subject: h.principal.Subject, Name: name, Roles: append([]string{}, h.principal.Roles...)},
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write(body)
	return err
}

func seconds(d time.Duration) int64 { return int64(max(d, 0) / time.Second) }

// handoff is what a frame posts. Token and verifier are secrets.
type handoff struct{ jwt, verifier, origin, embedder string }

// read reads the one body of this surface strictly: unknown and doubled names, other types and bytes after the object
// are refused. A token in the address is not looked at: addresses end up in logs (EMB-08).
func read(w http.ResponseWriter, r *http.Request) (handoff, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return handoff{}, wire.MediaType()
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if wire.TooLarge(err) {
		return handoff{}, err
	}
	if err != nil {
		return handoff{}, invalid("body_invalid", "body broke off")
	}
	members, err := jws.ParseClaims(raw) // the strict reader of tokens is one of any JSON object
	if err != nil {
		return handoff{}, invalid("body_invalid", "body is no JSON object of one reading")
	}
	var in handoff
	fields := map[string]*string{
		"jwt": &in.jwt, "verifier": &in.verifier, "origin": &in.origin, "embedder": &in.embedder,
	}
	for name := range members {
		into, known := fields[name]
		if !known {
			return handoff{}, invalid("field_unknown", "unknown field")
		}
		if *into, err = members.String(name); err != nil || *into == "" {
			return handoff{}, invalid("field_invalid", "field is no text")
		}
	}
	if in.jwt == "" || in.origin == "" {
		return handoff{}, invalid("field_invalid", "jwt and origin are needed")
	}
	return in, nil
}

func invalid(code, why string) error {
	return identity.WithCode(code, fmt.Errorf("%s: %w", why, identity.ErrInvalid))
}
