package pages

import (
	"net/http"
	"net/url"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/providers"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// toProvider begins a redirect: a flow of its own, so that going back and choosing another way stays possible.
func (p *Pages) toProvider(w http.ResponseWriter, r *http.Request) error {
	provider, err := wire.Of(r).Providers.Redirect(r.PathValue("provider"))
	if err != nil {
		return err
	}
	from, err := p.house.Flows.Load(r, r.URL.Query().Get(templates.FieldFlow))
	if err != nil {
		return seeOther(w, r, templates.PathLogin)
	}
	flow := p.house.Flows.New(r)
	flow.Application, flow.Challenge, flow.State, flow.To = from.Application, from.Challenge, from.State, from.To
	flow.Username, flow.Provider, flow.Parent = from.Username, provider.Info().ID, from.ID
	challenge, err := provider.Begin(r.Context(), upstream(r, flow))
	if err != nil {
		p.house.Broker.RefuseSignIn(r.Context(), wire.Of(r).Visit, flow.Provider, wire.Of(r).SelfApplication, err)
		p.house.Log.WarnContext(r.Context(), "provider cannot begin", "provider", flow.Provider,
			"request_id", wire.Of(r).TraceID, "err", err)
		return p.refusedPerson(w, r, flow, err)
	}
	flow.Pending = challenge.Pending
	if err := p.house.Flows.Save(w, r, flow); err != nil {
		return err
	}
	view := templates.Continue{Chrome: p.house.Chrome(r), Provider: provider.Info().Title, URL: challenge.URL}
	view.Application, view.Languages = application(r, flow), nil
	return p.house.Render(w, r, http.StatusOK, templates.PageContinue, view)
}

// upstream is what a provider may know of a flow.
func upstream(r *http.Request, flow wire.Flow) providers.Flow {
	issuer := wire.Of(r).Issuer
	callback := url.URL{Scheme: issuer.Scheme, Host: issuer.Host, Path: "/callback/" + flow.Provider}
	return providers.Flow{ID: flow.ID, CallbackURL: callback.String(), LoginHint: flow.Username}
}

// callback takes a browser back from its provider. The flow cookie proves that it left from here (OID-01); it is taken
// before anything upstream is asked, so a replay asks nothing.
func (p *Pages) callback(w http.ResponseWriter, r *http.Request) error {
	flow, err := p.returned(r)
	if err != nil {
		return err
	}
	provider, err := wire.Of(r).Providers.Redirect(flow.Provider)
	if err != nil {
		return err
	}
	if err := p.house.Broker.TakeFlow(r.Context(), flow.ID); err != nil {
		if _, signedIn := p.visitor(r); identity.CodeOf(err) == "flow_finished" && signedIn == nil {
			return seeOther(w, r, at(pathNext, flow.ID)) // the page was loaded again
		}
		return err
	}
	v := wire.Of(r).Visit
	assertion, err := provider.Finish(r.Context(), upstream(r, flow), flow.Pending, r.URL.Query())
	if err != nil {
		p.house.Broker.RefuseSignIn(r.Context(), v, flow.Provider, v.SelfApplication, err)
		p.house.Log.InfoContext(r.Context(), "sign-in at provider failed", "provider", flow.Provider,
			"request_id", v.TraceID, "err", err)
		return p.refusedPerson(w, r, flow, err)
	}
	out, err := p.house.Broker.SignIn(r.Context(), v, p.attempt(r, ""), assertion)
	if err != nil {
		return p.refusedPerson(w, r, flow, err)
	}
	wire.SetCookie(w, v.SelfApplication, out.Token)
	http.SetCookie(w, &http.Cookie{
		Name: providerCookie, Value: flow.Provider, Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, MaxAge: 180 * 24 * 3600,
	})
	return seeOther(w, r, at(pathNext, flow.ID))
}

// returned finds the flow that a reply belongs to: state once, known to this browser, of this provider (OID-03).
func (p *Pages) returned(r *http.Request) (wire.Flow, error) {
	states := r.URL.Query()["state"]
	if len(states) != 1 {
		return wire.Flow{}, identity.WithCode("flow_unknown", identity.ErrExpired)
	}
	flow, err := p.house.Flows.Load(r, states[0])
	if err != nil {
		return flow, err
	}
	if flow.Provider != r.PathValue("provider") || len(flow.Pending) == 0 {
		return flow, identity.WithCode("reply_invalid", identity.ErrBadCredentials)
	}
	return flow, nil
}

// next ends a flow: the person is signed in and goes on to where they wanted. It answers 200 with a page that goes on
// by itself, because form-action would stop a redirect to another host after a post.
func (p *Pages) next(w http.ResponseWriter, r *http.Request) error {
	flow, err := p.house.Flows.Load(r, r.URL.Query().Get(templates.FieldFlow))
	if err != nil {
		return seeOther(w, r, pathSignedIn)
	}
	who, err := p.visitor(r)
	if err != nil {
		return seeOther(w, r, at(templates.PathLogin, flow.ID))
	}
	p.house.Flows.End(w, flow.ID)
	if flow.Parent != "" {
		p.house.Flows.End(w, flow.Parent)
	}
	if flow.Application == broker.Self {
		return seeOther(w, r, flow.To)
	}
	app, err := wire.Of(r).Application(flow.Application)
	if err != nil {
		return err
	}
	code, err := p.house.Broker.HandOver(r.Context(), wire.Of(r).Visit, who, app, flow.Challenge)
	if identity.CodeOf(err) == "no_role" {
		return p.renderDenied(w, r, who, app)
	}
	if err != nil {
		return err
	}
	to := url.URL{
		Scheme: app.URL.Scheme, Host: app.URL.Host, Path: "/.sallyport/callback",
		RawQuery: url.Values{"code": {code}, "state": {flow.State}}.Encode(),
	}
	view := templates.Next{Chrome: p.house.Chrome(r), URL: to.String(), SignedIn: true}
	view.Application, view.Languages = app.Title, nil
	return p.house.Render(w, r, http.StatusOK, templates.PageNext, view)
}

// deniedPage is where an application's host sends somebody whose roles do not admit them.
func (p *Pages) deniedPage(w http.ResponseWriter, r *http.Request) error {
	app, err := wire.Of(r).Application(r.URL.Query().Get("application"))
	if err != nil {
		return err
	}
	who, err := p.visitor(r)
	if err != nil {
		return seeOther(w, r, templates.PathLogin)
	}
	return p.renderDenied(w, r, who, app)
}

func (p *Pages) renderDenied(w http.ResponseWriter, r *http.Request, who identity.Principal, app *broker.Application) error {
	wire.SetErrorHeaders(w.Header(), http.StatusForbidden, "no_role", wire.Of(r).TraceID)
	view := templates.Denied{
		Chrome: p.house.Chrome(r), SwitchURL: templates.PathSignOut,
		Trace: templates.Trace{Code: "no_role", At: p.house.Now(), ID: wire.Of(r).TraceID},
	}
	view.Application, view.SignedInAs = app.Title, who.Username
	return p.house.Render(w, r, http.StatusForbidden, templates.PageDenied, view)
}
