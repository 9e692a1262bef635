package samlidp

import (
	"encoding/xml"
	"errors"
	"net/http"
	"time"

	"github.com/crewjam/saml"
)

// maxState is what RelayState may have (saml-bindings section 3.4.3 says 80; real service providers send more).
const maxState = 2048

// maxFuture is how far the service provider's clock may be ahead.
const maxFuture = 2 * time.Minute

// readRequest reads and checks an authentication request over HTTP-Redirect (saml-bindings section 3.4, saml-core section
// 3.4.1). Whatever the library does with hostile bytes, the caller gets a refusal.
func (s *Server) readRequest(r *http.Request) (q *saml.IdpAuthnRequest, err error) {
	defer func() {
		if recover() != nil {
			q, err = nil, errors.New("the request could not be read")
		}
	}()
	query := r.URL.Query()
	if len(query["SAMLRequest"]) != 1 || len(query["RelayState"]) > 1 || len(query.Get("RelayState")) > maxState {
		return nil, errors.New("not one SAMLRequest and at most one RelayState")
	}
	q, err = saml.NewIdpAuthnRequest(s.idp, r)
	if err != nil {
		return nil, err
	}
	q.Now = s.now().UTC()
	if err := checkShape(q.RequestBuffer, q.Now); err != nil {
		return nil, err
	}
	return q, q.Validate()
}

// checkShape looks at what the library takes for granted or passes over.
func checkShape(raw []byte, now time.Time) error {
	var request saml.AuthnRequest
	if err := xml.Unmarshal(raw, &request); err != nil {
		return err
	}
	switch {
	case request.ID == "" || request.Issuer == nil || request.Issuer.Value == "":
		return errors.New("the request has no ID or no Issuer")
	case request.IssueInstant.After(now.Add(maxFuture)):
		return errors.New("the request is from the future")
	case request.ProtocolBinding != "" && request.ProtocolBinding != saml.HTTPPostBinding:
		return errors.New("answers travel over HTTP-POST only")
	case request.Subject != nil || request.Conditions != nil || request.RequestedAuthnContext != nil:
		return errors.New("the request asks for more than is done here")
	default:
		return nil
	}
}

// wantsPersistent reports whether the name that the service provider asks for is one we have.
func wantsPersistent(q *saml.IdpAuthnRequest) bool {
	policy := q.Request.NameIDPolicy
	if policy == nil || policy.Format == nil {
		return true
	}
	switch *policy.Format {
	case "", formatPersistent, string(saml.UnspecifiedNameIDFormat):
		return true
	default:
		return false
	}
}

func isTrue(b *bool) bool { return b != nil && *b }
