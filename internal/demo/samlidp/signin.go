package samlidp

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/crewjam/saml"
)

// cookieName is unlike those of the demonstration's other servers: cookies do not tell ports of one host apart.
const cookieName = "demo_saml_session"

// sso answers a request where the person is signed in, else with the form.
func (s *Server) sso(w http.ResponseWriter, r *http.Request) {
	q, err := s.readRequest(r)
	if err != nil {
		s.log.Info("demo saml identity provider: request refused", "err", err)
		s.problem(w, "The request of the application cannot be taken. Start again there.")
		return
	}
	if !wantsPersistent(q) {
		s.no(w, q, saml.StatusRequester, saml.StatusInvalidNameIDPolicy)
		return
	}
	if have, ok := s.current(r); ok && !isTrue(q.Request.ForceAuthn) {
		s.yes(w, q, have)
		return
	}
	if isTrue(q.Request.IsPassive) {
		s.no(w, q, saml.StatusResponder, saml.StatusNoPassive)
		return
	}
	handle, err := s.state.ask(q)
	if err != nil {
		s.problem(w, "Too much is open here. Wait a little and start again at the application.")
		return
	}
	s.form(w, http.StatusOK, handle, "", "")
}

// signIn takes the form. The handle stands for the request, which is answered once.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.problem(w, "The form cannot be read.")
		return
	}
	handle := r.PostForm.Get("request")
	if !s.state.asked(handle) {
		s.problem(w, "This sign-in took too long or is over. Start again at the application.")
		return
	}
	username := r.PostForm.Get("username")
	if !r.PostForm.Has("cancel") && !s.knows(username, r.PostForm.Get("password")) {
		s.log.Info("demo saml identity provider: wrong name or password")
		s.form(w, http.StatusUnauthorized, handle, username, "That name and password do not go together.")
		return
	}
	q, ok := s.state.takeQuestion(handle)
	switch {
	case !ok:
		s.problem(w, "This sign-in is over. Start again at the application.")
	case r.PostForm.Has("cancel"):
		s.no(w, q, saml.StatusResponder, saml.StatusAuthnFailed)
	default:
		s.begin(w, r, q, username)
	}
}

// begin opens a session under a new id and answers the request.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, q *saml.IdpAuthnRequest, username string) {
	s.end(r)
	have := session{index: "_" + newSecret(), username: username, authTime: s.now()}
	secret, err := s.state.openSession(have)
	if err != nil {
		s.problem(w, "Too many people are signed in here. Wait a little and start again at the application.")
		return
	}
	http.SetCookie(w, s.cookie(secret, int(sessionLife.Seconds())))
	s.yes(w, q, have)
}

func (s *Server) yes(w http.ResponseWriter, q *saml.IdpAuthnRequest, have session) {
	form, err := s.accept(q, have)
	s.send(w, form, err)
}

func (s *Server) no(w http.ResponseWriter, q *saml.IdpAuthnRequest, status, detail string) {
	form, err := s.refuse(q, status, detail)
	s.send(w, form, err)
}

// signOut ends the session here and nowhere else.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	s.end(r)
	http.SetCookie(w, s.cookie("", -1))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Server) end(r *http.Request) {
	if c, err := r.Cookie(cookieName); err == nil {
		s.state.endSession(c.Value)
	}
}

func (s *Server) current(r *http.Request) (session, bool) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return session{}, false
	}
	return s.state.session(c.Value)
}

func (s *Server) cookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure wherever the provider is https; the demo's is http on loopback
		Name: cookieName, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(s.url, "https:"),
	}
}

// knows compares hashes, so that neither length nor content shows in the time taken; an unknown name costs the same.
func (s *Server) knows(username, password string) bool {
	person, known := s.people[username]
	want, got := sha256.Sum256([]byte(person.Password)), sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && known
}
