package pages

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// providerCookie remembers which provider was used last, to put it first. It holds the id and nothing else.
const providerCookie = wire.BrokerCookie + "_provider"

// login asks who somebody is, or sends them on where that is known already.
func (p *Pages) login(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	flow, fresh, err := p.flowOf(r)
	if err != nil {
		return err
	}
	door, known := hintedDoor(r)
	switch {
	case q.Has("local") && known && door.Kept:
		flow.Provider = door.ID
	case known && door.Typed:
		flow.Hint = door.ID
	}
	// Who was signed out of an application for a reason hears of it; going straight on would only end somebody else's turn.
	flow.Choose = flow.Choose || q.Has("choose") || q.Has("local") || told(q.Get("notice"))
	if fresh || known {
		if err := p.house.Flows.Save(w, r, flow); err != nil {
			return err
		}
	}
	// Another tab may have signed in since this flow began: each tab goes on to its own destination.
	if _, err := p.visitor(r); err == nil && !flow.Choose {
		return seeOther(w, r, at(pathNext, flow.ID))
	}
	if known && door.Redirects {
		return seeOther(w, r, at(pathContinue+url.PathEscape(door.ID), flow.ID))
	}
	if only := onlyProvider(r); only != "" && !flow.Choose && fresh {
		return seeOther(w, r, at(pathContinue+url.PathEscape(only), flow.ID))
	}
	return p.renderLogin(w, r, http.StatusOK, flow, flow.Username)
}

// flowOf returns the flow named in the address, or starts one for the destination named there.
func (p *Pages) flowOf(r *http.Request) (flow wire.Flow, fresh bool, err error) {
	q := r.URL.Query()
	if id := q.Get(templates.FieldFlow); id != "" {
		if flow, err := p.house.Flows.Load(r, id); err == nil {
			return flow, false, nil
		}
	}
	flow = p.house.Flows.New(r)
	flow.To = pathSignedIn
	flow.Username = cut(q.Get("login_hint"))
	id := q.Get("application")
	if id == "" || id == broker.Self {
		return flow, true, nil
	}
	app, err := wire.Of(r).Application(id)
	if err != nil {
		return flow, true, err
	}
	challenge, state := q.Get("challenge"), q.Get("state")
	if app.URL == nil || len(challenge) != 43 || state == "" || len(state) > 64 {
		// Only the application's own host begins such a flow, because only there the other half of it is kept.
		return flow, true, identity.WithCode("bad_request", identity.ErrInvalid)
	}
	flow.Application, flow.Challenge, flow.State = app.ID, challenge, state
	return flow, true, nil
}

// cut leaves out a hint that could not be a name.
func cut(s string) string {
	if !nameLike(s) {
		return ""
	}
	return s
}

// nameLike bounds what a flow remembers of a name: text of one line. What a name is, is its door's matter.
func nameLike(s string) bool {
	return len(s) <= 256 && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// hintedDoor is the door asked for in the address: by id, or the local one whatever the rules for names say
// (break-glass, so that a broken provider cannot lock everybody out).
func hintedDoor(r *http.Request) (broker.Door, bool) {
	q := r.URL.Query()
	if q.Has("local") {
		for _, d := range wire.Of(r).Doors() {
			if d.Kept {
				return d, true
			}
		}
	}
	return wire.Of(r).DoorByID(q.Get("idp_hint"))
}

// onlyProvider returns the one redirect provider where nobody could type a name here.
func onlyProvider(r *http.Request) string {
	doors := wire.Of(r).Doors()
	if len(doors) == 1 && doors[0].Redirects {
		return doors[0].ID
	}
	return ""
}

func (p *Pages) renderLogin(
	w http.ResponseWriter, r *http.Request, status int, flow wire.Flow, username string, problems ...templates.Problem,
) error {
	view := templates.Login{
		Chrome: p.house.Chrome(r), Flow: flow.ID, CSRF: p.house.Guard.Token(flow.ID), Username: username,
		Providers: buttons(r, flow.ID), NoUsername: !takesNames(r),
	}
	view.Application, view.Problems = application(r, flow), problems
	view.Remember, view.Notice = remember(r, flow), p.notice(r)
	return p.house.Render(w, r, status, templates.PageLogin, view)
}

// takesNames reports whether any provider takes a password typed here.
func takesNames(r *http.Request) bool {
	return slices.ContainsFunc(wire.Of(r).Doors(), func(d broker.Door) bool { return d.Typed })
}

// severalTyped reports whether there is more than one door that a password typed here could go to.
func severalTyped(r *http.Request) bool {
	typed := 0
	for _, d := range wire.Of(r).Doors() {
		if d.Typed {
			typed++
		}
	}
	return typed > 1
}

// buttons lists the providers that browsers are sent to, the one used last first.
func buttons(r *http.Request, flow string) []templates.ProviderLink {
	last := ""
	if c, err := r.Cookie(providerCookie); err == nil {
		last = c.Value
	}
	var links []templates.ProviderLink
	for _, d := range wire.Of(r).Doors() {
		if d.Redirects {
			links = append(links, templates.ProviderLink{
				ID: d.ID, Title: d.Title, URL: at(pathContinue+url.PathEscape(d.ID), flow), LastUsed: d.ID == last,
			})
		}
	}
	slices.SortStableFunc(links, func(a, b templates.ProviderLink) int {
		switch {
		case a.LastUsed == b.LastUsed:
			return 0
		case a.LastUsed:
			return -1
		default:
			return 1
		}
	})
	return links
}

// loginPost takes the name: its spelling alone says which door it belongs to, never whether anybody has it.
func (p *Pages) loginPost(w http.ResponseWriter, r *http.Request) error {
	flow, err := p.postedFlow(r)
	if err != nil {
		return p.lost(w, r, err)
	}
	if r.PostForm.Has(templates.FieldProvider) {
		return p.chosen(w, r, flow)
	}
	username, err := wire.FormField(r, templates.FieldUsername)
	if err != nil {
		return err
	}
	username = strings.TrimSpace(username)
	if username == "" || !nameLike(username) {
		wire.SetErrorHeaders(w.Header(), http.StatusUnprocessableEntity, "username_invalid", wire.Of(r).TraceID)
		return p.renderLogin(w, r, http.StatusUnprocessableEntity, flow, "",
			templates.Problem{Code: "username_invalid", Field: templates.FieldUsername})
	}
	flow.Username = username
	if err := p.house.Flows.Save(w, r, flow); err != nil {
		return err
	}
	door, err := doorFor(r, flow)
	if err != nil {
		return err
	}
	if door.Redirects {
		return seeOther(w, r, at(pathContinue+url.PathEscape(door.ID), flow.ID))
	}
	return seeOther(w, r, at(templates.PathPassword, flow.ID))
}

// chosen takes the button of a provider that was pressed where somebody could ask to be remembered.
func (p *Pages) chosen(w http.ResponseWriter, r *http.Request, flow wire.Flow) error {
	id, err := wire.FormField(r, templates.FieldProvider)
	if err != nil {
		return err
	}
	if flow.Remember, err = ticked(r); err != nil {
		return err
	}
	if err := p.house.Flows.Save(w, r, flow); err != nil {
		return err
	}
	return seeOther(w, r, at(pathContinue+url.PathEscape(id), flow.ID))
}

// ticked reads the box of who wants to be remembered.
func ticked(r *http.Request) (bool, error) {
	v, err := wire.FormField(r, templates.FieldRemember)
	return v != "" && remember(r, wire.Flow{}).Offered, err
}

// remember is the offer to stay signed in, as the flow has it.
func remember(r *http.Request, flow wire.Flow) templates.Remember {
	return templates.Remember{Offered: wire.Of(r).Remember.Lifetime > 0, Ticked: flow.Remember}
}

// doorFor is the one door of a flow's name.
func doorFor(r *http.Request, flow wire.Flow) (broker.Door, error) {
	return wire.Of(r).DoorFor(flow.Provider, flow.Hint, flow.Username)
}

// postedFlow reads the flow a form belongs to and guards the post.
func (p *Pages) postedFlow(r *http.Request) (wire.Flow, error) {
	id, err := wire.FormField(r, templates.FieldFlow)
	if err != nil {
		return wire.Flow{}, err
	}
	if err := p.form(r, id); err != nil {
		return wire.Flow{}, err
	}
	return p.house.Flows.Load(r, id)
}

// lost answers a form whose flow is over: who is signed in by now (Back, then the button again) has arrived.
func (p *Pages) lost(w http.ResponseWriter, r *http.Request, err error) error {
	if identity.CodeOf(err) != "flow_unknown" {
		return err
	}
	if _, out := p.visitor(r); out != nil {
		return err
	}
	return seeOther(w, r, pathSignedIn)
}

// password asks for the password of the name typed before. It shows for every name alike.
func (p *Pages) password(w http.ResponseWriter, r *http.Request) error {
	flow, err := p.house.Flows.Load(r, r.URL.Query().Get(templates.FieldFlow))
	if err != nil || flow.Username == "" {
		return seeOther(w, r, templates.PathLogin)
	}
	return p.renderPassword(w, r, http.StatusOK, flow)
}

func (p *Pages) renderPassword(
	w http.ResponseWriter, r *http.Request, status int, flow wire.Flow, problems ...templates.Problem,
) error {
	view := templates.Password{
		Chrome: p.house.Chrome(r), Flow: flow.ID, CSRF: p.house.Guard.Token(flow.ID), Username: flow.Username,
		ChangeURL: at(templates.PathLogin, flow.ID),
	}
	if len(buttons(r, flow.ID)) > 0 {
		view.OtherURL = at(templates.PathLogin, flow.ID)
	}
	if door, err := doorFor(r, flow); err == nil && severalTyped(r) {
		view.Provider = door.Title
	}
	view.Application, view.Problems, view.Remember = application(r, flow), problems, remember(r, flow)
	return p.house.Render(w, r, status, templates.PagePassword, view)
}

// passwordPost checks the password at the name's one door.
func (p *Pages) passwordPost(w http.ResponseWriter, r *http.Request) error {
	flow, err := p.postedFlow(r)
	if err != nil {
		return p.lost(w, r, err)
	}
	password, err := wire.FormField(r, templates.FieldPassword)
	if err != nil {
		return err
	}
	if flow.Remember, err = ticked(r); err != nil {
		return err
	}
	v := wire.Of(r).Visit
	door, err := doorFor(r, flow)
	if err != nil {
		return err
	}
	attempt := p.attempt(r, flow.ID)
	attempt.Remember = flow.Remember
	attempt.Device = p.house.KnownDevice(r, door.ID, flow.Username)
	out, err := p.house.Broker.SignInWithPassword(r.Context(), v, attempt, door.ID, flow.Username, password)
	if err != nil {
		return p.passwordRefused(w, r, flow, err)
	}
	if out.Verification == "" {
		p.house.KeepDevice(w, r, door.ID, flow.Username)
	}
	return p.signedIn(w, r, flow, out)
}

// attempt is a sign-in at our own pages; the session this browser had ends with it.
func (p *Pages) attempt(r *http.Request, flow string) broker.Attempt {
	self := wire.Of(r).SelfApplication
	a := broker.Attempt{FlowID: flow, Application: self, Kind: sessions.Browser}
	if before, err := p.visitor(r); err == nil {
		a.Replaces = before.SessionID
	}
	return a
}

// passwordRefused shows the form again where trying again is of use: one sentence for every credential failure.
func (p *Pages) passwordRefused(w http.ResponseWriter, r *http.Request, flow wire.Flow, err error) error {
	if identity.CodeOf(err) == "flow_finished" {
		// The button was pressed twice, or the first answer never arrived. The flow is used up, its destination is not:
		// the browser goes on if it is signed in by then, and may try again if it is not.
		again, err := p.house.Flows.Again(w, r, flow)
		if err != nil {
			return err
		}
		return seeOther(w, r, at(pathNext, again.ID))
	}
	if errors.Is(err, identity.ErrDenied) {
		return p.refusedPerson(w, r, flow, err)
	}
	if !errors.Is(err, identity.ErrBadCredentials) && !errors.Is(err, identity.ErrUnavailable) {
		return err
	}
	status, code := wire.Status(err)
	problem := templates.Problem{Code: code}
	if errors.Is(err, identity.ErrBadCredentials) {
		code = "bad_credentials" // whatever the door calls it (LOC-03)
		problem.Code, problem.Field = code, templates.FieldPassword
	}
	if door, err := doorFor(r, flow); err == nil {
		problem.Provider = door.Title
	}
	wire.SetErrorHeaders(w.Header(), status, code, wire.Of(r).TraceID)
	return p.renderPassword(w, r, status, flow, problem)
}

// refusedPerson tells somebody who proved who they are that they may not come in.
func (p *Pages) refusedPerson(w http.ResponseWriter, r *http.Request, flow wire.Flow, err error) error {
	back := at(templates.PathLogin, flow.ID)
	if flow.Parent != "" {
		back = at(templates.PathLogin, flow.Parent)
	}
	p.house.WriteErrorPage(w, r, err, back)
	return nil
}
