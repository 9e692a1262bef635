// Package host owns what we answer on applications' own hosts, below /.sallyport/: beginning a sign-in there, taking it
// over from the broker's host, and leaving. The flow cookie it sets on the application's host is what ties a hand-over
// code to the browser that began; without it anybody could plant their own sign-in in somebody else's browser.
package host

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// Host answers below /.sallyport/ on applications' hosts.
type Host struct{ house *wire.House }

// New returns the surface of a house.
func New(h *wire.House) *Host { return &Host{h} }

// Routes lists "METHOD path" → handler. A path without a method takes all.
func (s *Host) Routes() map[string]wire.Handler {
	return map[string]wire.Handler{
		"/.sallyport/login":        s.login,
		"GET /.sallyport/callback": wire.OnlyGet(s.callback),
		"GET /.sallyport/logout":   s.logout,
	}
}

// login begins a sign-in for an address of the application: ?to=, or what a trusted proxy says the request was for.
// Programs get 401, because a page is of no use to them.
func (s *Host) login(w http.ResponseWriter, r *http.Request) error {
	f := wire.Of(r)
	raw := r.URL.Query().Get("to")
	if !f.FromProxy && r.Header.Get("X-Original-Url") != "" {
		// The proxy sends us somebody whom we refused to speak about: going back would only lead here again.
		return identity.WithCode("proxy_not_trusted", fmt.Errorf("peer is not in server.trusted_proxies: %w", identity.ErrDenied))
	}
	if f.FromProxy && raw == "" {
		raw = r.Header.Get("X-Original-Url")
	}
	app := applicationFor(f, raw)
	if app == nil {
		return identity.WithCode("application_unknown", identity.ErrNotFound)
	}
	to, why := app.ReturnURL(raw), ""
	if c, err := wire.Credential(r, app); err == nil {
		p, err := s.house.Broker.Authenticate(r.Context(), f.Visit, c, app)
		switch {
		case errors.Is(err, identity.ErrUnavailable):
			return err
		case err != nil:
			why = s.whyOut(r, app, c, err)
			if status, _ := wire.Status(err); status == http.StatusUnauthorized || status == http.StatusForbidden {
				wire.DropDeadEmbedCookies(w, r, app) // a fault of ours says nothing about it
			}
		case !app.Admits(p):
			return s.denied(w, r, app)
		default:
			if no := s.refused(r, app, c); no != nil {
				return no
			}
			if wire.IsNavigation(r) {
				renewed := s.house.Broker.RenewedCookie(r.Context(), f.Visit, c, app)
				wire.RenewCookie(w.Header(), app, broker.Access{NewCookie: renewed})
				return redirect(w, r, to.String())
			}
		}
	}
	if !wire.IsNavigation(r) {
		return wire.ErrNoCredential
	}
	if frame := wire.FrameFor(r, app, to.String()); frame != "" {
		return redirect(w, r, frame)
	}
	return s.begin(w, r, app, to, why)
}

// whyOut says why a browser that was signed in here is so no more, where there is a reason to tell: going straight on
// would hide from somebody that they were signed in elsewhere, and end that in turn.
func (s *Host) whyOut(r *http.Request, app *broker.Application, c broker.Credential, err error) string {
	why := identity.CodeOf(err)
	if why != string(templates.NoticeAddressChanged) {
		why = s.house.Broker.WhyOut(r.Context(), c, app)
	}
	switch templates.Notice(why) {
	case templates.NoticeSessionLimit, templates.NoticeAddressChanged:
		return why
	default:
		return ""
	}
}

// refused puts the question again that a proxy leads here with: a rule may say no to somebody whom the application admits,
// and going back would only lead here again. Only what signing in again would not cure counts.
func (s *Host) refused(r *http.Request, app *broker.Application, c broker.Credential) error {
	original := r.Header.Get("X-Original-Url")
	f := wire.Of(r)
	if !f.FromProxy || original == "" {
		return nil
	}
	u, err := url.Parse(original)
	method, ruled := r.Header.Get("X-Original-Method"), len(app.Rules) > 0 || len(f.EmbeddersOf(app)) > 0
	switch {
	case err != nil, ruled && method == "", wire.LeadsAside(f, app, u):
		return identity.WithCode("original_url_invalid", identity.ErrDenied)
	case !ruled:
		return nil
	}
	_, err = s.house.Broker.Authorize(r.Context(), f.Visit, broker.Request{
		Application: app, Credential: c, Method: method, Path: u.Path,
	})
	if errors.Is(err, identity.ErrDenied) || errors.Is(err, identity.ErrThrottled) {
		return err
	}
	return nil
}

// applicationFor finds the application an address on this host belongs to; the host's front page otherwise.
func applicationFor(f *wire.Facts, raw string) *broker.Application {
	if u, err := url.Parse(raw); err == nil {
		if app := f.ApplicationAt(f.Host, u.Path); app != nil {
			return app
		}
	}
	return f.ApplicationAt(f.Host, "/")
}

// longestReturn is how long a destination may be to fit into a flow's cookie, sealed and encoded as it is.
const longestReturn = 1536

// begin keeps verifier and destination in a sealed cookie on this host and goes to the broker's.
func (s *Host) begin(w http.ResponseWriter, r *http.Request, app *broker.Application, to broker.ReturnURL, why string) error {
	flow := s.house.Flows.New(r)
	flow.Application, flow.To, flow.Verifier = app.ID, to.String(), broker.NewSecret()
	if len(flow.To) > longestReturn {
		flow.To = app.URL.String() // a cookie holds 4 KiB: better the front page than no sign-in at all
	}
	if err := s.house.Flows.Save(w, r, flow); err != nil {
		return err
	}
	q := url.Values{"application": {app.ID}, "challenge": {broker.Challenge(flow.Verifier)}, "state": {flow.ID}}
	if hint := r.URL.Query().Get("idp_hint"); hint != "" {
		q.Set("idp_hint", hint)
	}
	if why != "" {
		q.Set("notice", why)
	}
	return redirect(w, r, s.issuer(r, "/login", q))
}

// callback takes the sign-in over: code and state once, the flow cookie of this host, then a cookie of its own.
func (s *Host) callback(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if len(q["code"]) != 1 || len(q["state"]) != 1 {
		return identity.WithCode("bad_request", identity.ErrInvalid)
	}
	flow, err := s.house.Flows.Load(r, q.Get("state"))
	if err != nil {
		return err
	}
	app, err := wire.Of(r).Application(flow.Application)
	if err != nil {
		return err
	}
	out, err := s.house.Broker.Redeem(r.Context(), wire.Of(r).Visit, app, q.Get("code"), flow.Verifier)
	if err != nil {
		return err
	}
	value, err := s.cookieValue(r, app, out)
	if err != nil {
		return err
	}
	s.house.Flows.End(w, flow.ID)
	wire.SetCookie(w, app, value)
	to := app.ReturnURL(flow.To).String()
	if !app.Profile.Cookie.Strict && out.Ended == 0 {
		return redirect(w, r, to)
	}
	// A redirect would still be a part of the navigation that began at the broker's site, and a SameSite=Strict cookie
	// does not travel with that; a page of this host begins a new one.
	view := templates.Next{
		Chrome: s.house.Chrome(r), URL: to, SignedIn: true, Notice: templates.NoticeOlderEnded(out.Ended),
	}
	view.Application, view.Languages = app.Title, nil
	return s.house.Render(w, r, http.StatusOK, templates.PageNext, view)
}

// cookieValue is the session's opaque secret or, where the application verifies it there, the application's token. One
// that browsers would quietly drop is refused: the way back would only lead here again.
func (s *Host) cookieValue(r *http.Request, app *broker.Application, out broker.Outcome) (string, error) {
	if !app.Profile.Cookie.Token {
		return out.Token, nil
	}
	made, err := s.house.Broker.IssueToken(r.Context(), out.Principal, app)
	if err != nil {
		return "", err
	}
	if !wire.FitsCookie(made.Token) {
		return "", identity.WithCode("cookie_too_large",
			fmt.Errorf("token of %d bytes for a cookie of %s: %w", len(made.Token), app.ID, identity.ErrDenied))
	}
	return made.Token, nil
}

// logout leads to the broker's page, which asks and then ends the sign-in everywhere; what this host's cookie opened is
// over with it.
func (s *Host) logout(w http.ResponseWriter, r *http.Request) error {
	q := url.Values{}
	if app := applicationFor(wire.Of(r), r.URL.Query().Get("to")); app != nil {
		q.Set("application", app.ID)
	}
	return redirect(w, r, s.issuer(r, "/logout", q))
}

// denied tells people on the broker's page, programs at once.
func (s *Host) denied(w http.ResponseWriter, r *http.Request, app *broker.Application) error {
	if !wire.IsNavigation(r) {
		return identity.WithCode("no_role", identity.ErrDenied)
	}
	return redirect(w, r, s.issuer(r, "/denied", url.Values{"application": {app.ID}}))
}

func (s *Host) issuer(r *http.Request, path string, q url.Values) string {
	issuer := wire.Of(r).Issuer
	return (&url.URL{Scheme: issuer.Scheme, Host: issuer.Host, Path: path, RawQuery: q.Encode()}).String()
}

func redirect(w http.ResponseWriter, r *http.Request, to string) error {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to, http.StatusSeeOther) //nolint:gosec // a ReturnURL, or the issuer: both from configuration
	return nil
}
