package idp

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"net/url"
	"slices"
)

//go:embed pages
var pageFiles embed.FS

// page is what the templates show.
type page struct {
	Title, Message, Username string
	Action                   string
	Hidden                   []hidden
}

type hidden struct{ Name, Value string }

func hiddenOf(values url.Values, names []string) []hidden {
	var out []hidden
	for _, name := range names {
		if values.Has(name) {
			out = append(out, hidden{name, values.Get(name)})
		}
	}
	return out
}

func (s *Server) render(w http.ResponseWriter, status int, name string, p page) {
	t, err := template.ParseFS(pageFiles, "pages/layout.html", "pages/"+name)
	if err != nil {
		http.Error(w, "no page", http.StatusInternalServerError)
		s.log.Error("demo identity provider: page", "err", err)
		return
	}
	var out bytes.Buffer
	if err := t.ExecuteTemplate(&out, "layout.html", p); err != nil {
		http.Error(w, "no page", http.StatusInternalServerError)
		s.log.Error("demo identity provider: page", "err", err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}

func (s *Server) home(w http.ResponseWriter, _ *http.Request) {
	s.render(w, http.StatusOK, "message.html", page{
		Title:   "Demo identity provider",
		Message: "This stands in for a company's own OpenID provider. Sign-in begins at the application.",
	})
}

func (s *Server) form(w http.ResponseWriter, status int, req request, username, message string) {
	s.render(w, status, "login.html", page{
		Title: "Sign in", Action: "/authorize", Message: message, Username: username,
		Hidden: hiddenOf(req.params, requestParams()),
	})
}

func (s *Server) problem(w http.ResponseWriter, message string) {
	s.render(w, http.StatusBadRequest, "message.html", page{Title: "This does not work", Message: message})
}

func (s *Server) style(w http.ResponseWriter, _ *http.Request) {
	css, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		http.Error(w, "no style", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(css)
}

func logoutParams() []string {
	return []string{"id_token_hint", "client_id", "post_logout_redirect_uri", "state"}
}

// askLogout ends the session at once for an application that shows one of our ID tokens and returns to a registered
// address; anybody else's link is first confirmed by the person (OpenID Connect RP-Initiated Logout 1.0 section 2).
func (s *Server) askLogout(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if s.signer.audienceOf(query.Get("id_token_hint")) != "" && s.returnFrom(query) != "" {
		s.endSession(w, r, query)
		return
	}
	s.render(w, http.StatusOK, "logout.html", page{
		Title: "Sign out", Action: "/logout", Message: "Do you want to sign out here?",
		Hidden: hiddenOf(query, logoutParams()),
	})
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.problem(w, "The form cannot be read.")
		return
	}
	s.endSession(w, r, r.PostForm)
}

func (s *Server) endSession(w http.ResponseWriter, r *http.Request, form url.Values) {
	if c, err := r.Cookie(cookieName); err == nil {
		s.state.endSession(c.Value)
	}
	http.SetCookie(w, s.cookie("", -1))
	if target := s.returnFrom(form); target != "" {
		http.Redirect(w, r, target, http.StatusSeeOther) //nolint:gosec // one of the registered addresses
		return
	}
	s.render(w, http.StatusOK, "message.html", page{Title: "Signed out", Message: "You are signed out here."})
}

// returnFrom returns where an application wants the person back, if that is registered for the application that the hint
// (or, without one, client_id) names.
func (s *Server) returnFrom(form url.Values) string {
	id := form.Get("client_id")
	if hint := form.Get("id_token_hint"); hint != "" {
		audience := s.signer.audienceOf(hint)
		if audience == "" || id != "" && id != audience {
			return ""
		}
		id = audience
	}
	target := form.Get("post_logout_redirect_uri")
	if !slices.Contains(s.clients[id].PostLogoutRedirectURIs, target) {
		return ""
	}
	u, err := url.Parse(target)
	if err != nil {
		return ""
	}
	if form.Has("state") {
		query := u.Query()
		query.Set("state", form.Get("state"))
		u.RawQuery = query.Encode()
	}
	return u.String()
}
