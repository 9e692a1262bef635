package wire

import (
	"errors"
	"fmt"
	"net/http"

	"sallyport/broker"
	"sallyport/identity"
)

// Caller authenticates a program's request to an application: by a header's credential, else by the cookie, with which an
// unsafe method passes the guard. csrf is the header that carries the token for that.
func (h *House) Caller(r *http.Request, app *broker.Application, csrf string) (identity.Principal, error) {
	c, err := HeaderCredential(r, app)
	if errors.Is(err, ErrNoCredential) {
		c, err = CookieCredential(r, app)
		if err == nil {
			err = h.Guard.Check(r, Held(r), r.Header.Get(csrf))
		}
	}
	if err != nil {
		return identity.Principal{}, err
	}
	return h.Broker.Act(r.Context(), Of(r).Visit, c, app, r.Method)
}

// Owner is Caller for what belongs to a person as a whole, or to the house: the broker's own credentials only, and no API
// key (identity.ErrDenied coded key_cannot, KEY-03).
func (h *House) Owner(r *http.Request, csrf string) (identity.Principal, error) {
	p, err := h.Caller(r, Of(r).SelfApplication, csrf)
	if err == nil && p.KeyID != "" {
		err = identity.WithCode("key_cannot", fmt.Errorf("keys manage nothing: %w", identity.ErrDenied))
	}
	return p, err
}

// Held is what the browser holds that a CSRF token is bound to.
func Held(r *http.Request) string {
	if c := r.CookiesNamed(BrokerCookie); len(c) == 1 {
		return c[0].Value
	}
	return ""
}
