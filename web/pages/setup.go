package pages

import (
	"errors"
	"net/http"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// firstGroup is the group the first administrator is put into, for mapping rules to find.
const firstGroup = "admin"

// setup shows the form that makes the first administrator. The code in the link is used up by the post only, so that a
// mail scanner or a preview that opens the link spoils nothing.
func (p *Pages) setup(w http.ResponseWriter, r *http.Request) error {
	return p.renderSetup(w, r, http.StatusOK, templates.Setup{Code: r.URL.Query().Get(templates.FieldCode)})
}

func (p *Pages) renderSetup(w http.ResponseWriter, r *http.Request, status int, view templates.Setup, problems ...templates.Problem) error {
	view.Chrome = p.house.Chrome(r)
	view.Problems, view.Languages = problems, nil
	view.CSRF = p.house.Guard.Token("setup:" + view.Code)
	view.MinLength = wire.Of(r).LeastPassword()
	return p.house.Render(w, r, status, templates.PageSetup, view)
}

// setupPost makes the first administrator. A mistake in a field keeps the code good.
func (p *Pages) setupPost(w http.ResponseWriter, r *http.Request) error {
	var in [6]string
	for i, name := range []string{
		templates.FieldCode, templates.FieldUsername, templates.FieldName, templates.FieldEmail,
		templates.FieldPassword, templates.FieldCSRF,
	} {
		v, err := wire.FormField(r, name)
		if err != nil {
			return err
		}
		in[i] = v
	}
	view := templates.Setup{Code: in[0], Username: in[1], Name: in[2], Email: in[3]}
	if err := p.house.Guard.Check(r, "setup:"+view.Code, in[5]); err != nil {
		return err
	}
	_, err := p.house.Broker.CompleteSetup(r.Context(), wire.Of(r).Visit, view.Code, broker.NewPerson{
		Username: view.Username, Name: view.Name, Email: view.Email, Password: in[4],
		Groups: []string{firstGroup}, // administration itself comes from the manual grant
	})
	if err == nil {
		return seeOther(w, r, templates.PathLogin+"?choose=1&local=1&notice="+string(templates.NoticeSetupDone))
	}
	field := setupField(identity.CodeOf(err))
	if field == "" && !errors.Is(err, identity.ErrExpired) {
		return err
	}
	status, code := wire.Status(err)
	if field != "" {
		status = http.StatusUnprocessableEntity
	}
	wire.SetErrorHeaders(w.Header(), status, code, wire.Of(r).TraceID)
	return p.renderSetup(w, r, status, view, templates.Problem{Code: code, Field: field, Count: wire.Of(r).LeastPassword()})
}

// setupField says which field a mistake belongs to.
func setupField(code string) string {
	switch code {
	case "username_invalid", "username_taken":
		return templates.FieldUsername
	case "name_invalid":
		return templates.FieldName
	case "password_too_short", "password_too_long", "password_common", "password_contains_name", "password_invalid",
		"password_too_simple":
		return templates.FieldPassword
	}
	return ""
}
