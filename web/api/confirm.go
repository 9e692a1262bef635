package api

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/wire"
)

// awaiting answers a sign-in that waits for a code from an e-mail: what is to be confirmed, and what proves that whoever
// types the code is who signed in (LOC-07). That is no token of ours, because whoever verifies those by the JWK set alone
// would take it before the code was typed.
func (a *API) awaiting(w http.ResponseWriter, out broker.Outcome) error {
	return reply(w, http.StatusAccepted, spelled(a.profile.Reply, map[string]any{
		"verification_id": out.Verification,
		"access_token":    out.Token,
		"token_type":      "Bearer",
		"expires_in":      int(broker.CodeLife.Seconds()),
	}))
}

// confirm takes the code of an e-mail: {verification_id, code, application?}, from who was answered by the sign-in or, for a
// key, from its owner. The answer is a sign-in's, or names the key that is good now.
func (a *API) confirm(w http.ResponseWriter, r *http.Request) error {
	in, err := a.texts(r, "verification_id", "code", "application")
	if err != nil {
		return err
	}
	app, err := wire.Of(r).Application(cmp.Or(in["application"], broker.Self))
	if err != nil {
		return err
	}
	session, err := a.confirmer(r, app)
	if err != nil {
		return err
	}
	out, err := a.house.Broker.Confirm(r.Context(), wire.Of(r).Visit, broker.Confirmation{
		Verification: in["verification_id"], Code: in["code"], SessionID: session,
	})
	if err != nil {
		return err
	}
	if out.KeyID != "" {
		return reply(w, http.StatusOK, map[string]any{"id": out.KeyID, "state": "active"})
	}
	return a.welcome(w, r, app, out)
}

// confirmer says which session the caller holds: a living one at the broker, or one that waits.
func (a *API) confirmer(r *http.Request, app *broker.Application) (string, error) {
	c, err := wire.HeaderCredential(r, app)
	switch {
	case errors.Is(err, wire.ErrNoCredential):
	case err != nil:
		return "", err
	case c.Carrier != broker.Bearer:
		return "", identity.WithCode("key_cannot", fmt.Errorf("keys confirm nothing: %w", identity.ErrDenied))
	}
	p, refused := a.owner(r)
	if refused == nil || c.Carrier != broker.Bearer {
		return p.SessionID, refused
	}
	return a.house.Broker.PendingSession(r.Context(), c, app)
}
