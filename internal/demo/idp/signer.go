package idp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"

	"sallyport/tokens/jws"
)

// signer signs ID tokens with ES256 (RFC 7518 section 3.4) under a key that lives as long as the process.
type signer struct {
	key *ecdsa.PrivateKey
	jwk map[string]string
	own jws.Set
}

func newSigner() (*signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	point, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return nil, err
	}
	x, y := encode(point[1:33]), encode(point[33:])
	// The kid is the thumbprint of RFC 7638: the required members in this order, nothing else.
	thumb := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`))
	s := &signer{key: key, jwk: map[string]string{
		"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig", "alg": "ES256", "kid": encode(thumb[:]),
	}}
	document, err := s.document()
	if err != nil {
		return nil, err
	}
	s.own, err = jws.ParseSet(document)
	return s, err
}

func (s *signer) document() ([]byte, error) {
	return json.Marshal(map[string]any{"keys": []any{s.jwk}})
}

// sign returns a compact JWS.
func (s *signer) sign(claims map[string]any) (string, error) {
	head, err := json.Marshal(map[string]string{"alg": "ES256", "typ": "JWT", "kid": s.jwk["kid"]})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := encode(head) + "." + encode(body)
	sum := sha256.Sum256([]byte(signed))
	r, v, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	v.FillBytes(signature[32:])
	return signed + "." + encode(signature), nil
}

// audienceOf returns whom one of our own ID tokens was made for; "" when it is none. Its age does not matter: it is a
// hint about who wants to sign out (OpenID Connect RP-Initiated Logout 1.0 section 2).
func (s *signer) audienceOf(raw string) string {
	m, err := jws.Parse(raw)
	if err != nil {
		return ""
	}
	payload, err := s.own.Verify(m, "ES256")
	if err != nil {
		return ""
	}
	claims, err := jws.ParseClaims(payload)
	if err != nil {
		return ""
	}
	audience, err := claims.String("aud")
	if err != nil {
		return ""
	}
	return audience
}

// halfHash is at_hash (OpenID Connect Core section 3.1.3.6).
func halfHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return encode(sum[:16])
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (s *Server) jwks(w http.ResponseWriter, _ *http.Request) {
	document, err := s.signer.document()
	if err != nil {
		http.Error(w, "no keys", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(document)
}

func (s *Server) discovery(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                         s.issuer,
		"authorization_endpoint":                         s.issuer + "/authorize",
		"token_endpoint":                                 s.issuer + "/token",
		"userinfo_endpoint":                              s.issuer + "/userinfo",
		"jwks_uri":                                       s.issuer + "/jwks",
		"end_session_endpoint":                           s.issuer + "/logout",
		"scopes_supported":                               []string{"openid", "profile", "email", "groups", "offline_access"},
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token"},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          []string{"ES256"},
		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "client_secret_post", "none"},
		"code_challenge_methods_supported":               []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
		"request_parameter_supported":                    false,
		"request_uri_parameter_supported":                false,
		"claims_supported": []string{
			"sub", "name", "preferred_username", "email", "email_verified", "groups", "auth_time", "amr", "sid",
		},
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "cannot answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
