package api

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/web/wire"
)

// login takes a name and a password to one door and answers with a token for the application named. It sets no cookie,
// so a forged request gains nothing.
func (a *API) login(w http.ResponseWriter, r *http.Request) error {
	in, err := a.texts(r, "username", "password", "provider", "application")
	if err != nil {
		return err
	}
	return a.signIn(w, r, cmp.Or(in["application"], broker.Self), in["provider"], in["username"], in["password"])
}

func (a *API) signIn(w http.ResponseWriter, r *http.Request, application, provider, username, password string) error {
	v := wire.Of(r).Visit
	app, err := v.Application(application)
	if err != nil {
		return err
	}
	at := broker.Attempt{Application: app, Kind: sessions.API}
	out, err := a.house.Broker.SignInWithPassword(r.Context(), v, at, provider, username, password)
	if errors.Is(err, identity.ErrBadCredentials) {
		return identity.WithCode("bad_credentials", err) // whatever a door calls it: one code for all of them (LOC-03)
	}
	if err != nil {
		return err
	}
	if out.Verification != "" { // there is a session, and nothing opens it before the code
		return a.awaiting(w, out)
	}
	return a.welcome(w, r, app, out)
}

// ssoLogin sends a browser to sign in, by the provider's id or, where only one provider is of it, its type; at the
// application's own host where it has one, so that its cookie is set there.
func (a *API) ssoLogin(w http.ResponseWriter, r *http.Request) error {
	v := wire.Of(r).Visit
	app, err := a.application(r)
	if err != nil {
		return err
	}
	hint := url.Values{}
	if wanted := r.URL.Query().Get("provider"); wanted != "" {
		id, err := providerNamed(v, wanted)
		if err != nil {
			return err
		}
		hint.Set("idp_hint", id)
	}
	to := url.URL{Scheme: v.Issuer.Scheme, Host: v.Issuer.Host, Path: "/login"}
	if app.URL != nil {
		hint.Set("to", app.ReturnURL(r.URL.Query().Get("to")).String())
		to = url.URL{Scheme: app.URL.Scheme, Host: app.URL.Host, Path: "/.sallyport/login"}
	}
	to.RawQuery = hint.Encode()
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
	return nil
}

// providerNamed finds a provider by id, else by type where only one is of it.
func providerNamed(v broker.Visit, name string) (string, error) {
	if _, err := v.Providers.Get(name); err == nil {
		return name, nil
	}
	found := ""
	for _, p := range v.Providers.All() {
		if p.Info().Type == name {
			if found != "" {
				return "", invalid("provider_ambiguous", "several providers of this type")
			}
			found = p.Info().ID
		}
	}
	if found == "" {
		return "", identity.WithCode("provider_unknown", identity.ErrNotFound)
	}
	return found, nil
}

// logout ends the sign-in of the credential shown.
func (a *API) logout(w http.ResponseWriter, r *http.Request) error {
	app, err := a.application(r)
	if err != nil {
		return err
	}
	p, err := a.caller(r, app)
	if err != nil {
		return err
	}
	if err := a.house.Broker.SignOut(r.Context(), wire.Of(r).Visit, p); err != nil {
		return err
	}
	if len(r.CookiesNamed(wire.CookieName(app))) > 0 {
		wire.DropCookie(w, app)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
