// Package pages owns what people do on the broker's own host: signing in and out, the first set-up, and looking at their
// own account. Words and looks are web/templates'; decisions are the broker's.
package pages

import (
	"net/http"
	"net/url"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// Pages answers on the issuer's host.
type Pages struct{ house *wire.House }

// New returns the pages of a house.
func New(h *wire.House) *Pages { return &Pages{h} }

// Routes lists "METHOD path" → handler.
func (p *Pages) Routes() map[string]wire.Handler {
	return map[string]wire.Handler{
		"GET /{$}":                           p.front,
		"GET " + templates.PathLogin:         p.login,
		"POST " + templates.PathLogin:        p.loginPost,
		"GET " + templates.PathPassword:      p.password,
		"POST " + templates.PathPassword:     p.passwordPost,
		"GET " + templates.PathConfirm:       p.confirm,
		"POST " + templates.PathConfirm:      p.confirmPost,
		"POST " + templates.PathSendAgain:    p.sendAgain,
		"GET " + pathContinue + "{provider}": p.toProvider,
		"GET " + pathNext:                    wire.OnlyGet(p.next),
		"GET /callback/{provider}":           wire.OnlyGet(p.callback),
		"GET " + pathDenied:                  p.deniedPage,
		"GET " + templates.PathSignOut:       p.signOut,
		"POST " + templates.PathSignOut:      p.signOutPost,
		"GET " + templates.PathSetup:         p.setup,
		"POST " + templates.PathSetup:        p.setupPost,
		"GET " + templates.PathMe:            p.me,
		"POST " + templates.PathEndSession:   p.endSession,
		"POST " + templates.PathEndSessions:  p.endSessions,
		"POST " + templates.PathCreateKey:    p.createKey,
		"POST " + templates.PathRevokeKey:    p.revokeKey,
		"POST " + templates.PathConfirmKey:   p.confirmKey,
	}
}

const (
	pathContinue = "/login/continue/"
	pathNext     = "/login/next"
	pathDenied   = "/denied"
	pathSignedIn = templates.PathMe
)

// front leads to one's own page.
func (p *Pages) front(w http.ResponseWriter, r *http.Request) error {
	return seeOther(w, r, pathSignedIn)
}

// visitor is the person whose browser cookie came along: only the broker's own cookie counts on these pages.
func (p *Pages) visitor(r *http.Request) (identity.Principal, error) {
	self, err := wire.Of(r).Application(broker.Self)
	if err != nil {
		return identity.Principal{}, err
	}
	c, err := wire.CookieCredential(r, self)
	if err != nil {
		return identity.Principal{}, err
	}
	return p.house.Broker.Authenticate(r.Context(), wire.Of(r).Visit, c, self)
}

// held is what this browser holds that forms are bound to: the broker's cookie, else the flow.
func held(r *http.Request, flow string) string {
	if c := r.CookiesNamed(wire.BrokerCookie); len(c) == 1 && flow == "" {
		return c[0].Value
	}
	return flow
}

// form reads a posted form and passes it through the guard, bound to the flow or, where flow is "", to the cookie.
func (p *Pages) form(r *http.Request, flow string) error {
	token, err := wire.FormField(r, templates.FieldCSRF)
	if err != nil {
		return err
	}
	return p.house.Guard.Check(r, held(r, flow), token)
}

func seeOther(w http.ResponseWriter, r *http.Request, to string) error {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// at returns a path of ours with the flow in it.
func at(path, flow string) string {
	return path + "?" + url.Values{templates.FieldFlow: {flow}}.Encode()
}

// application returns the title of where a flow leads, or "".
func application(r *http.Request, flow wire.Flow) string {
	app, err := wire.Of(r).Application(flow.Application)
	if err != nil || app.ID == broker.Self {
		return ""
	}
	return app.Title
}
