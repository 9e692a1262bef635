package pages

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// signedIn gives the browser what it gained and sends it on: to where it wanted, or first to the code from an e-mail.
func (p *Pages) signedIn(w http.ResponseWriter, r *http.Request, flow wire.Flow, out broker.Outcome) error {
	if out.Verification != "" {
		return p.askForCode(w, r, flow, out)
	}
	self := wire.Of(r).SelfApplication
	if out.Session.Remembered {
		wire.SetRememberedCookie(w, self, out.Token, out.Session.ExpiresAt.Sub(p.house.Now()))
	} else {
		wire.SetCookie(w, self, out.Token)
	}
	if flow.Ended = out.Ended; flow.Ended > 0 {
		if err := p.house.Flows.Save(w, r, flow); err != nil {
			return err
		}
	}
	return seeOther(w, r, at(pathNext, flow.ID))
}

// askForCode keeps in a flow of its own what waits for a code: the one of the sign-in is used up, and its time with it.
// Nothing but this browser's cookie can confirm the sign-in (LOC-07).
func (p *Pages) askForCode(w http.ResponseWriter, r *http.Request, flow wire.Flow, out broker.Outcome) error {
	waiting := p.house.Flows.New(r)
	waiting.Application, waiting.Challenge, waiting.State, waiting.To = flow.Application, flow.Challenge, flow.State, flow.To
	waiting.Username, waiting.Provider = flow.Username, flow.Provider
	waiting.Replaces = cmp.Or(p.attempt(r, "").Replaces, flow.Replaces)
	waiting.Verification, waiting.Session, waiting.SentTo = out.Verification, out.Session.ID, shaded(out.SentTo)
	p.house.Flows.End(w, flow.ID)
	if flow.Parent != "" {
		p.house.Flows.End(w, flow.Parent)
	}
	if err := p.house.Flows.Save(w, r, waiting); err != nil {
		return err
	}
	return seeOther(w, r, at(templates.PathConfirm, waiting.ID))
}

// shaded shows enough of an address for its owner to know it by.
func shaded(address string) string {
	name, domain, ok := strings.Cut(address, "@")
	if !ok {
		return "***"
	}
	_, size := utf8.DecodeRuneInString(name)
	return name[:size] + "***@" + domain
}

// waiting is the flow of a browser that waits for a code; nil where there is none.
func (p *Pages) waiting(flow wire.Flow, err error) *wire.Flow {
	if err != nil || flow.Verification == "" {
		return nil
	}
	return &flow
}

// confirm asks for the code.
func (p *Pages) confirm(w http.ResponseWriter, r *http.Request) error {
	flow := p.waiting(p.house.Flows.Load(r, r.URL.Query().Get(templates.FieldFlow)))
	if flow == nil {
		return seeOther(w, r, templates.PathLogin)
	}
	return p.renderConfirm(w, r, http.StatusOK, *flow)
}

func (p *Pages) renderConfirm(
	w http.ResponseWriter, r *http.Request, status int, flow wire.Flow, problems ...templates.Problem,
) error {
	view := templates.Confirm{
		Chrome: p.house.Chrome(r), Flow: flow.ID, CSRF: p.house.Guard.Token(flow.ID), To: flow.SentTo,
		RestartURL: templates.PathLogin,
	}
	if r.URL.Query().Get("notice") == string(templates.NoticeCodeSent) {
		view.Notice = templates.NoticeCodeSent
	}
	view.Application, view.Problems = application(r, flow), problems
	return p.house.Render(w, r, status, templates.PageConfirm, view)
}

// confirmPost takes the code. The session that begins is another one, with another cookie (SES-02).
func (p *Pages) confirmPost(w http.ResponseWriter, r *http.Request) error {
	posted, err := p.postedFlow(r)
	flow := p.waiting(posted, err)
	if flow == nil {
		return p.lost(w, r, missing(err))
	}
	code, err := wire.FormField(r, templates.FieldCode)
	if err != nil {
		return err
	}
	confirmation := broker.Confirmation{
		Verification: flow.Verification, Code: code, SessionID: flow.Session,
		Replaces: cmp.Or(p.attempt(r, "").Replaces, flow.Replaces),
	}
	door, err := doorFor(r, *flow)
	typed := err == nil && door.Typed && flow.Username != ""
	if typed {
		confirmation.Device = p.house.KnownDevice(r, door.ID, flow.Username)
	}
	out, err := p.house.Broker.Confirm(r.Context(), wire.Of(r).Visit, confirmation)
	if err != nil {
		return p.codeRefused(w, r, *flow, err)
	}
	if typed {
		p.house.KeepDevice(w, r, door.ID, flow.Username)
	}
	flow.Verification = ""
	return p.signedIn(w, r, *flow, out)
}

// missing is the error of a flow that is over, or of one that waits for no code.
func missing(err error) error {
	if err == nil {
		err = identity.WithCode("flow_unknown", identity.ErrExpired)
	}
	return err
}

// codeRefused shows the form again where a code is the matter.
func (p *Pages) codeRefused(w http.ResponseWriter, r *http.Request, flow wire.Flow, err error) error {
	if who, out := p.visitor(r); out == nil && who.SessionID != flow.Replaces && identity.CodeOf(err) == "code_expired" {
		return seeOther(w, r, at(pathNext, flow.ID)) // the button was pressed twice
	}
	if errors.Is(err, identity.ErrDenied) {
		return p.refusedPerson(w, r, flow, err)
	}
	if !aboutCode(err) && !errors.Is(err, identity.ErrUnavailable) {
		return err
	}
	status, code := wire.Status(err)
	problem := templates.Problem{Code: code}
	if aboutCode(err) {
		problem.Field = templates.FieldCode
	}
	wire.SetErrorHeaders(w.Header(), status, code, wire.Of(r).TraceID)
	if after := identity.RetryAfter(err); after > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	}
	return p.renderConfirm(w, r, status, flow, problem)
}

// aboutCode reports whether a refusal is about the code that was typed, rather than about who typed it.
func aboutCode(err error) bool {
	switch identity.CodeOf(err) {
	case "code_wrong", "code_expired", "too_many_codes":
		return true
	default:
		return false
	}
}

// sendAgain sends another code; the one before counts no more.
func (p *Pages) sendAgain(w http.ResponseWriter, r *http.Request) error {
	posted, err := p.postedFlow(r)
	flow := p.waiting(posted, err)
	if flow == nil {
		return p.lost(w, r, missing(err))
	}
	id, err := p.house.Broker.SendAgain(r.Context(), wire.Of(r).Visit, flow.Session, flow.Verification)
	if err != nil {
		return p.codeRefused(w, r, *flow, err)
	}
	flow.Verification = id
	if err := p.house.Flows.Save(w, r, *flow); err != nil {
		return err
	}
	return seeOther(w, r, noticed(at(templates.PathConfirm, flow.ID), templates.NoticeCodeSent))
}
