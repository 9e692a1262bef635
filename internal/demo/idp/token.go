package idp

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// token is the token endpoint (RFC 6749 section 3.2).
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		oauthError(w, http.StatusBadRequest, "invalid_request")
		return
	}
	for _, values := range r.PostForm {
		if len(values) != 1 {
			oauthError(w, http.StatusBadRequest, "invalid_request")
			return
		}
	}
	client, refusal := s.authenticate(r)
	if refusal != "" {
		if refusal == "invalid_client" {
			w.Header().Set("WWW-Authenticate", `Basic realm="token"`)
			oauthError(w, http.StatusUnauthorized, refusal)
			return
		}
		oauthError(w, http.StatusBadRequest, refusal)
		return
	}
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		s.redeem(w, client, r.PostForm)
	case "refresh_token":
		s.renew(w, client, r.PostForm)
	default:
		oauthError(w, http.StatusBadRequest, "unsupported_grant_type")
	}
}

// authenticate takes exactly one method (RFC 6749 section 2.3). refusal is the error code, "" when there is none.
func (s *Server) authenticate(r *http.Request) (client Client, refusal string) {
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, password, basic := r.BasicAuth(); basic {
		if r.PostForm.Has("client_secret") {
			return Client{}, "invalid_request"
		}
		basicID, err1 := url.QueryUnescape(user)
		basicSecret, err2 := url.QueryUnescape(password)
		if err1 != nil || err2 != nil || id != "" && id != basicID {
			return Client{}, "invalid_request"
		}
		id, secret = basicID, basicSecret
	}
	client, known := s.clients[id]
	want, got := sha256.Sum256([]byte(client.Secret)), sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 || !known {
		return Client{}, "invalid_client"
	}
	return client, ""
}

// redeem spends a code. It is spent before anything else is looked at.
func (s *Server) redeem(w http.ResponseWriter, client Client, form url.Values) {
	g, ok := s.state.takeCode(form.Get("code"))
	if !ok || g.client != client.ID || g.redirectURI != form.Get("redirect_uri") ||
		!provesChallenge(form.Get("code_verifier"), g.challenge) {
		oauthError(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	s.giveTokens(w, g, g.nonce)
}

// renew rotates a refresh token.
func (s *Server) renew(w http.ResponseWriter, client Client, form url.Values) {
	g, ok := s.state.takeRefresh(form.Get("refresh_token"))
	if !ok || g.client != client.ID {
		oauthError(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	s.giveTokens(w, g, "")
}

// provesChallenge is RFC 7636 section 4.6 for S256.
func provesChallenge(verifier, challenge string) bool {
	sum := sha256.Sum256([]byte(verifier))
	return len(verifier) >= 43 && len(verifier) <= 128 &&
		subtle.ConstantTimeCompare([]byte(encode(sum[:])), []byte(challenge)) == 1
}

func (s *Server) giveTokens(w http.ResponseWriter, g *grant, nonce string) {
	access, refresh, err := s.state.openTokens(g, hasScope(g, "offline_access"))
	if err != nil {
		oauthError(w, http.StatusServiceUnavailable, "temporarily_unavailable")
		return
	}
	now := s.now()
	claims := s.claims(g)
	claims["iss"], claims["aud"] = s.issuer, g.client
	claims["iat"], claims["exp"] = now.Unix(), now.Add(5*time.Minute).Unix()
	claims["auth_time"], claims["amr"], claims["sid"] = g.session.authTime.Unix(), []string{"pwd"}, g.session.id
	claims["at_hash"] = halfHash(access)
	if nonce != "" {
		claims["nonce"] = nonce
	}
	idToken, err := s.signer.sign(claims)
	if err != nil {
		oauthError(w, http.StatusInternalServerError, "server_error")
		return
	}
	answer := map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": int(accessLife.Seconds()),
		"id_token": idToken, "scope": g.scope,
	}
	if refresh != "" {
		answer["refresh_token"] = refresh
	}
	writeJSON(w, http.StatusOK, answer)
}

// userInfo is OpenID Connect Core section 5.3. The token travels in the header only.
func (s *Server) userInfo(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	g, ok := s.state.byAccess(token)
	if !strings.EqualFold(scheme, "Bearer") || !ok {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		oauthError(w, http.StatusUnauthorized, "invalid_token")
		return
	}
	writeJSON(w, http.StatusOK, s.claims(g))
}

// claims are what the granted scopes tell about the person.
func (s *Server) claims(g *grant) map[string]any {
	person := s.people[g.username]
	claims := map[string]any{"sub": subjectOf(g.username)}
	if hasScope(g, "profile") {
		claims["name"], claims["preferred_username"] = person.Name, person.Username
	}
	if hasScope(g, "email") && person.Email != "" {
		claims["email"], claims["email_verified"] = person.Email, true
	}
	if hasScope(g, "groups") {
		claims["groups"] = append([]string{}, person.Groups...)
	}
	return claims
}

// subjectOf is stable over restarts and says nothing: whoever keyed accounts by user name would notice.
func subjectOf(username string) string {
	sum := sha256.Sum256([]byte("sallyport demo subject\x00" + username))
	return encode(sum[:16])
}

func hasScope(g *grant, scope string) bool { return slices.Contains(strings.Fields(g.scope), scope) }

// oauthError is RFC 6749 section 5.2.
func oauthError(w http.ResponseWriter, status int, code string) {
	writeJSON(w, status, map[string]string{"error": code})
}
