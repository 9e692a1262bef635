package pages

import (
	"net/http"
	"net/url"
	"strings"

	"sallyport/identity"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// fieldNotice is the query parameter that carries a notice to the page that shows it.
const fieldNotice = "notice"

// noticed adds a notice to a path of ours.
func noticed(path string, n templates.Notice) string {
	if n == "" {
		return path
	}
	with := "?"
	if strings.Contains(path, "?") {
		with = "&"
	}
	return path + with + url.Values{fieldNotice: {string(n)}}.Encode()
}

// told reports whether an application's host sent somebody here with a reason why they are signed in there no more.
func told(notice string) bool {
	n := templates.Notice(notice)
	return n == templates.NoticeSessionLimit || n == templates.NoticeAddressChanged
}

// notice is what the sign-in page has to say: what the address brought along, or why this browser is signed in no more.
func (p *Pages) notice(r *http.Request) templates.Notice {
	n := r.URL.Query().Get(fieldNotice)
	if told(n) || n == string(templates.NoticeSetupDone) {
		return templates.Notice(n)
	}
	_, err := p.visitor(r)
	if err == nil {
		return ""
	}
	if code := identity.CodeOf(err); told(code) {
		return templates.Notice(code)
	}
	self := wire.Of(r).SelfApplication
	c, err := wire.CookieCredential(r, self)
	if err != nil {
		return ""
	}
	if why := p.house.Broker.WhyOut(r.Context(), c, self); told(why) {
		return templates.Notice(why)
	}
	return ""
}

// tellEnded shows, once, that older sign-ins ended for this one, before it goes on to the application.
func (p *Pages) tellEnded(w http.ResponseWriter, r *http.Request, flow wire.Flow) error {
	notice := templates.NoticeOlderEnded(flow.Ended)
	flow.Ended = 0
	if err := p.house.Flows.Save(w, r, flow); err != nil {
		return err
	}
	view := templates.Next{Chrome: p.house.Chrome(r), URL: at(pathNext, flow.ID), SignedIn: true, Notice: notice}
	view.Application, view.Languages = application(r, flow), nil
	return p.house.Render(w, r, http.StatusOK, templates.PageNext, view)
}
