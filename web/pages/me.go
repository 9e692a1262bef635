package pages

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/web/templates"
	"sallyport/web/wire"
)

// me shows somebody their own account.
func (p *Pages) me(w http.ResponseWriter, r *http.Request) error {
	who, err := p.visitor(r)
	if isOut(err) {
		return seeOther(w, r, templates.PathLogin)
	}
	if err != nil {
		return err
	}
	return p.renderMe(w, r, http.StatusOK, who, nil)
}

// renderMe fills the page; change, when given, adds what the request was about.
func (p *Pages) renderMe(w http.ResponseWriter, r *http.Request, status int, who identity.Principal, change func(*templates.Me)) error {
	account, err := p.house.Broker.Account(r.Context(), wire.Of(r).Snapshot, who)
	if err != nil {
		return err
	}
	open, err := p.house.Broker.Sessions(r.Context(), who)
	if err != nil {
		return err
	}
	keys, err := p.house.Broker.Keys(r.Context(), who)
	if err != nil {
		return err
	}
	view := templates.Me{
		Chrome: p.house.Chrome(r), CSRF: p.house.Guard.Token(held(r, "")), ID: who.Subject, Name: who.Name,
		Username: who.Username, Email: who.Email, Provider: providerTitle(r, who.Provider),
		Roles: roles(r, who, account), Permissions: who.Permissions, Sessions: sessionRows(r, who, open),
		Keys: keyRows(r, p.house.Now(), keys), Create: createForm(r, who),
		Notice: templates.Notice(r.URL.Query().Get("notice")),
	}
	view.SignedInAs = who.Username
	if change != nil {
		change(&view)
	}
	return p.house.Render(w, r, status, templates.PageMe, view)
}

func providerTitle(r *http.Request, id string) string {
	if p, err := wire.Of(r).Providers.Get(id); err == nil {
		return p.Info().Title
	}
	return id
}

func applicationTitle(r *http.Request, id string) string {
	if app, err := wire.Of(r).Application(id); err == nil {
		return app.Title
	}
	return id
}

// roles says of each role what gave it: the rules that name it, and the roles that include it.
func roles(r *http.Request, who identity.Principal, a broker.Account) []templates.Role {
	provider := providerTitle(r, who.Provider)
	var out []templates.Role
	for _, name := range who.Roles {
		role := templates.Role{Name: name}
		for _, v := range a.Grant.Verdicts {
			if v.Matched && !v.Deny && slices.Contains(v.Roles, name) {
				role.Sources = append(role.Sources, source(v.Condition, v.Value, provider))
			}
		}
		for _, direct := range a.Grant.Direct {
			if direct != name && slices.Contains(wire.Of(r).Mapper.Closure(direct), name) {
				role.Sources = append(role.Sources, templates.RoleSource{Kind: templates.SourceInherited, Role: direct})
			}
		}
		out = append(out, role)
	}
	if len(a.Grants) > 0 {
		out = append(out, templates.Role{
			Name: broker.Administer, Sources: []templates.RoleSource{{Kind: templates.SourceManual, By: a.Grants[0].GrantedBy}},
		})
	}
	return out
}

// source spells a verdict: its condition begins with the rule's key.
func source(condition, value, provider string) templates.RoleSource {
	key, _, _ := strings.Cut(condition, " ")
	switch {
	case strings.HasPrefix(key, "group"):
		return templates.RoleSource{Kind: templates.SourceGroup, Group: value, Provider: provider}
	case key == "claim":
		claim, _, _ := strings.Cut(strings.TrimPrefix(condition, "claim "), " ")
		return templates.RoleSource{Kind: templates.SourceClaim, Claim: claim, Value: value, Provider: provider}
	case key == "copy":
		return templates.RoleSource{Kind: templates.SourceCopied, Value: value, Provider: provider}
	default:
		return templates.RoleSource{Kind: templates.SourceDefault}
	}
}

// sessionRows shows each sign-in as one row, with the applications that hang on it.
func sessionRows(r *http.Request, who identity.Principal, open []sessions.Session) []templates.Session {
	rows := map[string]*templates.Session{}
	var order []string
	for _, s := range open {
		if s.ParentID != "" {
			continue
		}
		rows[s.ID] = &templates.Session{
			ID: s.ID, Kind: string(s.Kind), UserAgent: s.UserAgent, Provider: providerTitle(r, s.Provider), Address: s.Address,
			FirstSeen: s.CreatedAt, LastSeen: s.LastSeenAt, Current: s.ID == who.SessionID,
		}
		if s.Application != broker.Self {
			rows[s.ID].Applications = []string{applicationTitle(r, s.Application)}
		}
		order = append(order, s.ID)
	}
	for _, s := range open {
		if row := rows[s.ParentID]; row != nil {
			if title := applicationTitle(r, s.Application); !slices.Contains(row.Applications, title) {
				row.Applications = append(row.Applications, title)
			}
			if s.LastSeenAt.After(row.LastSeen) {
				row.LastSeen = s.LastSeenAt
			}
		}
	}
	out := make([]templates.Session, 0, len(order))
	for _, id := range order {
		out = append(out, *rows[id])
	}
	return out
}

func keyRows(r *http.Request, now time.Time, keys []sessions.Key) []templates.Key {
	out := make([]templates.Key, 0, len(keys))
	for _, k := range keys {
		row := templates.Key{
			ID: k.ID, Name: k.Name, Shown: k.Prefix + "_" + k.ID[:6] + "…", Roles: k.Roles, ExpiresAt: k.ExpiresAt,
			Expired: !now.Before(k.ExpiresAt), LastUsedAt: k.LastUsedAt, Endless: k.ExpiresAt.Equal(sessions.Never()),
			Pending: k.State == sessions.Pending, Suspended: k.State == sessions.Suspended,
		}
		if k.Application != broker.Self {
			row.Application = applicationTitle(r, k.Application)
		}
		out = append(out, row)
	}
	return out
}

func createForm(r *http.Request, who identity.Principal) *templates.CreateKey {
	f := wire.Of(r)
	form := &templates.CreateKey{
		Days: int(f.Keys.DefaultLifetime / (24 * time.Hour)), MaxDays: int(f.Keys.MaxLifetime / (24 * time.Hour)),
		Applications: []templates.Choice{{Value: broker.Self, Title: f.Brand, Chosen: true}},
	}
	for _, app := range f.Applications() {
		if app.Admits(who) {
			form.Applications = append(form.Applications, templates.Choice{Value: app.ID, Title: app.Title})
		}
	}
	for _, role := range who.Roles {
		// Where there is one only, there is no choice to make.
		form.Roles = append(form.Roles, templates.Choice{Value: role, Chosen: len(who.Roles) == 1})
	}
	return form
}

// owner guards a post of the page and says whose it is.
func (p *Pages) owner(r *http.Request) (identity.Principal, error) {
	if err := p.form(r, ""); err != nil {
		return identity.Principal{}, err
	}
	return p.visitor(r)
}

func (p *Pages) endSession(w http.ResponseWriter, r *http.Request) error {
	who, err := p.owner(r)
	if err != nil {
		return err
	}
	id, err := wire.FormField(r, templates.FieldSession)
	if err != nil {
		return err
	}
	if err := p.house.Broker.EndSession(r.Context(), wire.Of(r).Visit, who, id); err != nil {
		return err
	}
	return seeOther(w, r, templates.PathMe+"?notice="+string(templates.NoticeSessionEnded))
}

func (p *Pages) endSessions(w http.ResponseWriter, r *http.Request) error {
	who, err := p.owner(r)
	if err != nil {
		return err
	}
	if _, err := p.house.Broker.EndOtherSessions(r.Context(), wire.Of(r).Visit, who); err != nil {
		return err
	}
	return seeOther(w, r, templates.PathMe+"?notice="+string(templates.NoticeSessionsEnded))
}

func (p *Pages) revokeKey(w http.ResponseWriter, r *http.Request) error {
	who, err := p.owner(r)
	if err != nil {
		return err
	}
	id, err := wire.FormField(r, templates.FieldKey)
	if err != nil {
		return err
	}
	if err := p.house.Broker.RevokeKey(r.Context(), wire.Of(r).Visit, who, id); err != nil {
		return err
	}
	return seeOther(w, r, templates.PathMe+"?notice="+string(templates.NoticeKeyRevoked))
}

// createKey makes a key and shows it on the answer to this very post, the only time it can be seen.
func (p *Pages) createKey(w http.ResponseWriter, r *http.Request) error {
	who, err := p.owner(r)
	if err != nil {
		return err
	}
	var in [3]string
	for i, name := range []string{templates.FieldName, templates.FieldApplication, templates.FieldDays} {
		if in[i], err = wire.FormField(r, name); err != nil {
			return err
		}
	}
	if in[1] == "" {
		in[1] = broker.Self
	}
	app, err := wire.Of(r).Application(in[1])
	if err != nil {
		return err
	}
	days, err := strconv.Atoi(in[2])
	if err != nil || days < 1 || days > 36500 {
		days = -1 // refused below with the field's own sentence
	}
	key, whole, err := p.house.Broker.CreateKey(r.Context(), wire.Of(r).Visit, who, broker.NewKey{
		Name: in[0], Application: app, Roles: append([]string{}, r.PostForm[templates.FieldRole]...),
		Lifetime: time.Duration(days) * 24 * time.Hour,
	})
	if err != nil {
		return p.keyRefused(w, r, who, in[0], err)
	}
	return p.renderMe(w, r, http.StatusCreated, who, func(view *templates.Me) {
		view.NewKey, view.Verification = &templates.NewKey{Name: key.Name, Key: whole, ExpiresAt: key.ExpiresAt}, key.Verification
	})
}

// confirmKey takes the code that makes a new key good. A key that nobody confirms in time is made anew.
func (p *Pages) confirmKey(w http.ResponseWriter, r *http.Request) error {
	who, err := p.owner(r)
	if err != nil {
		return err
	}
	var in [2]string
	for i, name := range []string{templates.FieldVerification, templates.FieldCode} {
		if in[i], err = wire.FormField(r, name); err != nil {
			return err
		}
	}
	_, err = p.house.Broker.Confirm(r.Context(), wire.Of(r).Visit, broker.Confirmation{
		Verification: in[0], Code: in[1], SessionID: who.SessionID,
	})
	if err == nil {
		return seeOther(w, r, noticed(templates.PathMe, templates.NoticeKeyConfirmed))
	}
	if !aboutCode(err) {
		return err
	}
	status, code := wire.Status(err)
	wire.SetErrorHeaders(w.Header(), status, code, wire.Of(r).TraceID)
	return p.renderMe(w, r, status, who, func(view *templates.Me) {
		view.Verification = in[0]
		view.Problems = []templates.Problem{{Code: code, Field: templates.FieldCode}}
	})
}

func (p *Pages) keyRefused(w http.ResponseWriter, r *http.Request, who identity.Principal, name string, err error) error {
	field := map[string]string{
		"name_invalid": templates.FieldName, "too_many_keys": templates.FieldName,
		"lifetime_invalid": templates.FieldDays, "key_role_not_held": templates.FieldRole,
		"roles_missing": templates.FieldRole,
	}[identity.CodeOf(err)]
	if field == "" {
		return err
	}
	status, code := wire.Status(err)
	wire.SetErrorHeaders(w.Header(), status, code, wire.Of(r).TraceID)
	return p.renderMe(w, r, status, who, func(view *templates.Me) {
		view.Create.Name = name
		view.Problems = []templates.Problem{{Code: code, Field: field}}
	})
}
