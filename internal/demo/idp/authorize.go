package idp

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const cookieName = "demo_idp_session"

// request is an authorization request (OpenID Connect Core section 3.1.2.1) whose client and redirect URI are known.
type request struct {
	client      Client
	redirectURI string
	params      url.Values
}

// requestParams are those of a request that the sign-in form carries on.
func requestParams() []string {
	return []string{
		"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge",
		"code_challenge_method", "prompt", "max_age", "login_hint", "request", "request_uri",
	}
}

// parseRequest finds client and redirect URI. Without both there is nowhere to send an error, so the answer is a page.
func (s *Server) parseRequest(form url.Values) (request, string) {
	for name, values := range form {
		if len(values) != 1 {
			return request{}, "A parameter appears twice: " + name
		}
	}
	client, ok := s.clients[form.Get("client_id")]
	if !ok {
		return request{}, "This application is not known here."
	}
	redirectURI := form.Get("redirect_uri")
	if !slices.Contains(client.RedirectURIs, redirectURI) {
		return request{}, "The application asks to return to an address that is not registered."
	}
	params := url.Values{}
	for _, name := range requestParams() {
		if form.Has(name) {
			params.Set(name, form.Get(name))
		}
	}
	return request{client: client, redirectURI: redirectURI, params: params}, ""
}

// mistake returns the error code for what is wrong with the request, "" when nothing is.
func (r request) mistake() (code, description string) {
	scopes := strings.Fields(r.params.Get("scope"))
	switch {
	case r.params.Has("request"):
		return "request_not_supported", "request objects are not supported"
	case r.params.Has("request_uri"):
		return "request_uri_not_supported", "request objects are not supported"
	case r.params.Get("response_type") != "code":
		return "unsupported_response_type", "only the code flow is supported"
	case r.params.Has("response_mode") && r.params.Get("response_mode") != "query":
		return "invalid_request", "only response_mode query is supported"
	case !slices.Contains(scopes, "openid"):
		return "invalid_scope", "scope openid is missing"
	case r.params.Get("code_challenge_method") != "S256" || len(r.params.Get("code_challenge")) != 43:
		return "invalid_request", "PKCE with S256 is required"
	case len(r.params.Get("nonce")) > 512 || len(r.params.Get("state")) > 2048:
		return "invalid_request", "state or nonce is too long"
	}
	if age := r.params.Get("max_age"); age != "" {
		if n, err := strconv.Atoi(age); err != nil || n < 0 {
			return "invalid_request", "max_age is not a number of seconds"
		}
	}
	return "", ""
}

// satisfiedBy reports whether an earlier sign-in is enough.
func (r request) satisfiedBy(have session, now time.Time) bool {
	if slices.ContainsFunc(strings.Fields(r.params.Get("prompt")), func(p string) bool {
		return p == "login" || p == "select_account"
	}) {
		return false
	}
	age := r.params.Get("max_age")
	if age == "" {
		return true
	}
	seconds, err := strconv.Atoi(age)
	return err == nil && now.Sub(have.authTime) < time.Duration(seconds)*time.Second
}

// authorize answers with a code where the person is signed in, else with the form.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	req, wrong := s.parseRequest(r.URL.Query())
	if wrong != "" {
		s.problem(w, wrong)
		return
	}
	if code, description := req.mistake(); code != "" {
		s.answer(w, r, req, url.Values{"error": {code}, "error_description": {description}})
		return
	}
	if have, ok := s.currentSession(r); ok && req.satisfiedBy(have, s.now()) {
		s.giveCode(w, r, req, have)
		return
	}
	if req.params.Get("prompt") == "none" {
		s.answer(w, r, req, url.Values{"error": {"login_required"}})
		return
	}
	s.form(w, http.StatusOK, req, req.params.Get("login_hint"), "")
}

// signIn takes the form. The request travels in it and is checked again.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.problem(w, "The form cannot be read.")
		return
	}
	req, wrong := s.parseRequest(r.PostForm)
	if wrong != "" {
		s.problem(w, wrong)
		return
	}
	if code, description := req.mistake(); code != "" {
		s.answer(w, r, req, url.Values{"error": {code}, "error_description": {description}})
		return
	}
	if r.PostForm.Has("cancel") {
		s.answer(w, r, req, url.Values{"error": {"access_denied"}, "error_description": {"the person cancelled"}})
		return
	}
	username := r.PostForm.Get("username")
	if !s.knows(username, r.PostForm.Get("password")) {
		s.log.Info("demo identity provider: wrong name or password")
		s.form(w, http.StatusUnauthorized, req, username, "That name and password do not go together.")
		return
	}
	s.begin(w, r, req, username)
}

// begin opens a session under a new id and answers the request.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, req request, username string) {
	if old, err := r.Cookie(cookieName); err == nil {
		s.state.endSession(old.Value)
	}
	have := session{id: newSecret(), username: username, authTime: s.now()}
	secret, err := s.state.openSession(have)
	if err != nil {
		s.answer(w, r, req, url.Values{"error": {"temporarily_unavailable"}})
		return
	}
	http.SetCookie(w, s.cookie(secret, int(sessionLife.Seconds())))
	s.giveCode(w, r, req, have)
}

func (s *Server) giveCode(w http.ResponseWriter, r *http.Request, req request, have session) {
	code, err := s.state.openCode(&grant{
		client: req.client.ID, username: have.username, scope: req.params.Get("scope"), redirectURI: req.redirectURI,
		challenge: req.params.Get("code_challenge"), nonce: req.params.Get("nonce"), session: have,
	})
	if err != nil {
		s.answer(w, r, req, url.Values{"error": {"temporarily_unavailable"}})
		return
	}
	s.answer(w, r, req, url.Values{"code": {code}})
}

// answer sends the browser back, with state and iss (RFC 9207).
func (s *Server) answer(w http.ResponseWriter, r *http.Request, req request, with url.Values) {
	target, err := url.Parse(req.redirectURI)
	if err != nil {
		s.problem(w, "The registered address is not a URL.")
		return
	}
	query := target.Query()
	for name, values := range with {
		query[name] = values
	}
	if req.params.Has("state") {
		query.Set("state", req.params.Get("state"))
	}
	query.Set("iss", s.issuer)
	target.RawQuery = query.Encode()
	http.Redirect(w, r, target.String(), http.StatusSeeOther)
}

func (s *Server) currentSession(r *http.Request) (session, bool) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return session{}, false
	}
	return s.state.session(c.Value)
}

func (s *Server) cookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure wherever the issuer is https; the demo's is http on loopback
		Name: cookieName, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(s.issuer, "https:"),
	}
}

// knows compares hashes, so that neither length nor content shows in the time taken; an unknown name costs the same.
func (s *Server) knows(username, password string) bool {
	person, known := s.people[username]
	want, got := sha256.Sum256([]byte(person.Password)), sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && known
}
