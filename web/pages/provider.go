package pages

import (
	"cmp"
	"net/http"
	"net/url"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// toProvider begins a redirect: a flow of its own, so that going back and choosing another way stays possible.
func (p *Pages) toProvider(w http.ResponseWriter, r *http.Request) error {
	door, ok := wire.Of(r).DoorByID(r.PathValue("provider"))
	if !ok || !door.Redirects {
		return identity.WithCode("provider_unknown", identity.ErrNotFound)
	}
	from, err := p.house.Flows.Load(r, r.URL.Query().Get(templates.FieldFlow))
	if err != nil {
		return seeOther(w, r, templates.PathLogin)
	}
	flow := p.house.Flows.New(r)
	flow.Application, flow.Challenge, flow.State, flow.To = from.Application, from.Challenge, from.State, from.To
	flow.Username, flow.Provider, flow.Parent, flow.Remember = from.Username, door.ID, from.ID, from.Remember
	if flow.CrossSite = door.Posts; flow.CrossSite {
		flow.Replaces = p.attempt(r, "").Replaces
	}
	challenge, err := p.house.Broker.Leave(r.Context(), wire.Of(r).Visit, departure(flow))
	if err != nil {
		return p.refusedPerson(w, r, flow, err)
	}
	flow.Pending = challenge.Pending
	if err := p.house.Flows.Save(w, r, flow); err != nil {
		return err
	}
	view := templates.Continue{Chrome: p.house.Chrome(r), Provider: door.Title, URL: challenge.URL}
	view.Application, view.Languages = application(r, flow), nil
	return p.house.Render(w, r, http.StatusOK, templates.PageContinue, view)
}

func departure(flow wire.Flow) broker.Departure {
	return broker.Departure{Provider: flow.Provider, FlowID: flow.ID, LoginHint: flow.Username}
}

// callback takes a browser back from its provider. The flow cookie proves that it left from here (OID-01).
func (p *Pages) callback(w http.ResponseWriter, r *http.Request) error {
	if door, ok := wire.Of(r).DoorByID(r.PathValue("provider")); !ok || door.Posts { // replies of the others never stand in addresses
		return identity.WithCode("provider_unknown", identity.ErrNotFound)
	}
	states := r.URL.Query()["state"]
	if len(states) != 1 {
		return identity.WithCode("flow_unknown", identity.ErrExpired)
	}
	return p.takeBack(w, r, states[0], r.URL.Query())
}

// takeBack hands the reply of a flow to its provider, and signs the person in.
func (p *Pages) takeBack(w http.ResponseWriter, r *http.Request, state string, reply url.Values) error {
	flow, err := p.returned(r, state)
	if err != nil {
		return err
	}
	v, attempt := wire.Of(r).Visit, p.attempt(r, "")
	attempt.Replaces, attempt.Remember = cmp.Or(attempt.Replaces, flow.Replaces), flow.Remember
	out, err := p.house.Broker.Return(r.Context(), v, attempt, departure(flow), flow.Pending, reply)
	if err != nil {
		if _, signedIn := p.visitor(r); identity.CodeOf(err) == "flow_finished" && signedIn == nil {
			return seeOther(w, r, at(pathNext, flow.ID)) // the page was loaded again
		}
		return p.refusedPerson(w, r, flow, err)
	}
	http.SetCookie(w, &http.Cookie{
		Name: providerCookie, Value: flow.Provider, Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, MaxAge: 180 * 24 * 3600,
	})
	return p.signedIn(w, r, flow, out)
}

// returned finds the flow that a reply belongs to: known to this browser, of this provider (OID-03, SML-06).
func (p *Pages) returned(r *http.Request, state string) (wire.Flow, error) {
	flow, err := p.house.Flows.Load(r, state)
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
	if flow.Ended > 0 && flow.Application != broker.Self {
		return p.tellEnded(w, r, flow)
	}
	p.house.Flows.End(w, flow.ID)
	if flow.Parent != "" {
		p.house.Flows.End(w, flow.Parent)
	}
	if flow.Application == broker.Self {
		return seeOther(w, r, noticed(flow.To, templates.NoticeOlderEnded(flow.Ended)))
	}
	app, err := wire.Of(r).Application(flow.Application)
	if err != nil {
		return err
	}
	code, err := p.house.Broker.HandOver(r.Context(), wire.Of(r).Visit, who, app, flow.Challenge)
	if identity.CodeOf(err) == "no_role" {
		// An address of its own, so that loading it again shows it again.
		return seeOther(w, r, pathDenied+"?"+url.Values{"application": {app.ID}}.Encode())
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
