package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"sallyport/identity"
)

// Guard is the one guard against forged requests, wherever a cookie is accepted for, or set by, an unsafe method
// (SES-06): same-origin fetch metadata or Origin; a request with neither needs a token.
type Guard struct {
	key    []byte
	origin *http.CrossOriginProtection
}

// NewGuard returns a guard with the house's key.
func NewGuard(key []byte) *Guard {
	return &Guard{key: key, origin: http.NewCrossOriginProtection()}
}

// Token returns the token for what the browser holds already: a session cookie's value, or a flow's id.
func (g *Guard) Token(held string) string {
	mac := hmac.New(sha256.New, g.key)
	mac.Write([]byte("csrf\x00" + held))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// ownOrigin is the issuer's: forms and cookies of ours live there only.
func ownOrigin(r *http.Request) string { return Of(r).Issuer.Scheme + "://" + Of(r).Issuer.Host }

// Check passes safe methods and same-origin requests; the rest needs the token for what the browser holds.
// identity.ErrDenied coded csrf otherwise.
func (g *Guard) Check(r *http.Request, held, token string) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions {
		return nil
	}
	if err := g.origin.Check(r); err != nil {
		return identity.WithCode("csrf", fmt.Errorf("cross-origin request: %w", identity.ErrDenied))
	}
	origins := r.Header.Values("Origin")
	if len(origins) > 0 && (len(origins) > 1 || !strings.EqualFold(origins[0], ownOrigin(r))) {
		// The standard library compares hosts; a page of ours that somebody served over plain http has another scheme.
		return identity.WithCode("csrf", fmt.Errorf("origin is not ours: %w", identity.ErrDenied))
	}
	if r.Header.Get("Sec-Fetch-Site") != "" || len(origins) > 0 {
		return nil
	}
	if held != "" && hmac.Equal([]byte(token), []byte(g.Token(held))) {
		return nil
	}
	return identity.WithCode("csrf", fmt.Errorf("no origin and no token: %w", identity.ErrDenied))
}
