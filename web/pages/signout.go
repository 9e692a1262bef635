package pages

import (
	"errors"
	"net/http"

	"sallyport/identity"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// signOut asks before it ends anything: a GET changes nothing.
func (p *Pages) signOut(w http.ResponseWriter, r *http.Request) error {
	who, err := p.visitor(r)
	if isOut(err) {
		return p.renderSignedOut(w, r, r.URL.Query().Get("application"), false)
	}
	if err != nil {
		return err
	}
	view := templates.SignOut{
		Chrome: p.house.Chrome(r), CSRF: p.house.Guard.Token(held(r, "")), CancelURL: pathSignedIn,
		Return: r.URL.Query().Get("application"),
	}
	view.SignedInAs = who.Username
	return p.house.Render(w, r, http.StatusOK, templates.PageSignOut, view)
}

// isOut reports whether an error means that nobody is signed in, rather than that we do not know.
func isOut(err error) bool {
	return errors.Is(err, identity.ErrBadCredentials) || errors.Is(err, identity.ErrExpired) || errors.Is(err, identity.ErrDenied)
}

// signOutPost ends the sign-in and all that hangs on it.
func (p *Pages) signOutPost(w http.ResponseWriter, r *http.Request) error {
	if err := p.form(r, ""); err != nil {
		return err
	}
	application, err := wire.FormField(r, templates.FieldReturn)
	if err != nil {
		return err
	}
	who, err := p.visitor(r)
	if err != nil && !isOut(err) {
		return err
	}
	if err == nil {
		if err := p.house.Broker.SignOut(r.Context(), wire.Of(r).Visit, who); err != nil {
			return err
		}
	}
	wire.DropCookie(w, wire.Of(r).SelfApplication)
	return p.renderSignedOut(w, r, application, true)
}

// renderSignedOut never leads to a provider by itself, else signing out would look broken.
func (p *Pages) renderSignedOut(w http.ResponseWriter, r *http.Request, application string, ended bool) error {
	view := templates.SignedOut{Chrome: p.house.Chrome(r), SignInURL: templates.PathLogin + "?choose=1"}
	if ended {
		view.Ended = []templates.Ended{{Kind: templates.EndedBrowser}}
	}
	if app, err := wire.Of(r).Application(application); err == nil && app.URL != nil {
		view.SignInURL = app.URL.String()
		if ended {
			view.Ended = append(view.Ended, templates.Ended{Kind: templates.EndedApplication, Name: app.Title})
		}
	}
	return p.house.Render(w, r, http.StatusOK, templates.PageSignedOut, view)
}
