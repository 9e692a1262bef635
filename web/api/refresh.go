package api

import (
	"cmp"
	"fmt"
	"net/http"

	"sallyport/broker"
	"sallyport/web/wire"
)

// welcome answers a sign-in with the tokens of its session, and says how many older ones ended because of it. A profile
// that has no word for refresh tokens gets none.
func (a *API) welcome(w http.ResponseWriter, r *http.Request, app *broker.Application, in broker.Outcome) error {
	if _, named := a.profile.Reply["refresh_token"]; !named {
		issued, err := a.house.Broker.IssueToken(r.Context(), in.Principal, app)
		if err != nil {
			return err
		}
		return a.hand(w, broker.Refreshed{Principal: in.Principal, Access: issued}, in.Ended)
	}
	made, err := a.house.Broker.IssueTokens(r.Context(), in.Principal, app)
	if err != nil {
		return err
	}
	return a.hand(w, made, in.Ended)
}

// hand writes tokens in the shape that sign-in and refresh share.
func (a *API) hand(w http.ResponseWriter, t broker.Refreshed, ended int) error {
	ours := map[string]any{
		"access_token": t.Access.Token,
		"token_type":   "Bearer",
		"expires_in":   int(t.Access.ExpiresAt.Sub(a.house.Now()).Seconds()),
		"user":         a.user(t.Principal),
	}
	if t.RefreshToken != "" {
		ours["refresh_token"] = t.RefreshToken
	}
	if ended > 0 {
		ours["ended_sessions"] = ended
	}
	return reply(w, http.StatusOK, spelled(a.profile.Reply, ours))
}

// refresh takes a refresh token from the body, never from a cookie, so that a forged request gains nothing, and answers as
// sign-in does.
func (a *API) refresh(w http.ResponseWriter, r *http.Request) error {
	in, err := a.texts(r, "refresh_token", "application")
	if err != nil {
		return err
	}
	if in["refresh_token"] == "" {
		return invalid("field_invalid", "no refresh token")
	}
	app, err := wire.Of(r).Application(cmp.Or(in["application"], broker.Self))
	if err != nil {
		return err
	}
	out, err := a.house.Broker.Refresh(r.Context(), wire.Of(r).Visit, app, in["refresh_token"])
	if err != nil {
		return err
	}
	return a.hand(w, out, 0)
}

// revoke ends what a token in the body is good for (RFC 7009). Whoever holds it may, and learns nothing: the answer is the
// same for what was no token.
func (a *API) revoke(w http.ResponseWriter, r *http.Request) error {
	f := map[string]any{}
	if err := fields(r, map[string]string{"token": "token", "application": "application"}, f); err != nil {
		return err
	}
	token, err := text(f, "token")
	if err != nil {
		return err
	}
	application, err := text(f, "application")
	if err != nil {
		return err
	}
	if token == "" {
		return invalid("field_invalid", "no token")
	}
	app, err := wire.Of(r).Application(cmp.Or(application, broker.Self))
	if err != nil {
		return err
	}
	if err := a.house.Broker.Revoke(r.Context(), wire.Of(r).Visit, app, token); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// texts reads the named text fields of a request, as the profile calls them; no others may stand there.
func (a *API) texts(r *http.Request, names ...string) (map[string]string, error) {
	known := make(map[string]string, len(names))
	for _, ours := range names {
		if called := a.profile.Request[ours]; called != "" {
			known[called] = ours
		}
	}
	f := map[string]any{}
	if err := fields(r, known, f); err != nil {
		return nil, err
	}
	out := make(map[string]string, len(names))
	for _, ours := range names {
		v, err := text(f, ours)
		if err != nil {
			return nil, err
		}
		out[ours] = v
	}
	return out, nil
}
