package samlidp

import (
	"time"

	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
)

const (
	// assertionLife is how long an answer may be on its way.
	assertionLife = 2 * time.Minute
	// allowance is how far the service provider's clock may be behind.
	allowance   = time.Minute
	classPasswd = "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"
	formatBasic = "urn:oasis:names:tc:SAML:2.0:attrname-format:basic"
	stringType  = "xs:string"
)

// assertionFor says who somebody is, to this service provider, as the answer to this request, for the next minutes. The
// library's own maker would add the address of the browser.
func (s *Server) assertionFor(q *saml.IdpAuthnRequest, have session, now time.Time) *saml.Assertion {
	who := s.people[have.username]
	audience := q.ServiceProviderMetadata.EntityID
	over := have.authTime.Add(sessionLife).UTC()
	return &saml.Assertion{
		ID: "_" + newSecret(), Version: "2.0", IssueInstant: now,
		Issuer: saml.Issuer{Format: formatEntity, Value: s.EntityID()},
		Subject: &saml.Subject{
			NameID: &saml.NameID{
				Format: formatPersistent, NameQualifier: s.EntityID(), SPNameQualifier: audience, Value: who.nameID,
			},
			SubjectConfirmations: []saml.SubjectConfirmation{{
				Method: "urn:oasis:names:tc:SAML:2.0:cm:bearer",
				SubjectConfirmationData: &saml.SubjectConfirmationData{
					InResponseTo: q.Request.ID, NotOnOrAfter: now.Add(assertionLife), Recipient: q.ACSEndpoint.Location,
				},
			}},
		},
		Conditions: &saml.Conditions{
			NotBefore: now.Add(-allowance), NotOnOrAfter: now.Add(assertionLife),
			AudienceRestrictions: []saml.AudienceRestriction{{Audience: saml.Audience{Value: audience}}},
		},
		AuthnStatements: []saml.AuthnStatement{{
			AuthnInstant: have.authTime.UTC(), SessionIndex: have.index, SessionNotOnOrAfter: &over,
			AuthnContext: saml.AuthnContext{AuthnContextClassRef: &saml.AuthnContextClassRef{Value: classPasswd}},
		}},
		AttributeStatements: []saml.AttributeStatement{{Attributes: attributesOf(who.Person)}},
	}
}

func attributesOf(p Person) []saml.Attribute {
	var out []saml.Attribute
	for _, a := range []struct {
		name   string
		values []string
	}{{"uid", []string{p.Username}}, {"displayName", []string{p.Name}}, {"mail", []string{p.Email}}, {"groups", p.Groups}} {
		attribute := saml.Attribute{Name: a.name, NameFormat: formatBasic}
		for _, v := range a.values {
			if v != "" {
				attribute.Values = append(attribute.Values, saml.AttributeValue{Type: stringType, Value: v})
			}
		}
		if len(attribute.Values) > 0 {
			out = append(out, attribute)
		}
	}
	return out
}

// accept returns the form with a signed response that holds a signed assertion.
func (s *Server) accept(q *saml.IdpAuthnRequest, have session) (saml.IdpAuthnRequestForm, error) {
	// A copy: two answers to one request must not share what the library fills in.
	answer := *q
	answer.Now = s.now().UTC()
	answer.Assertion = s.assertionFor(q, have, answer.Now)
	answer.AssertionEl, answer.ResponseEl = nil, nil
	return answer.PostBinding()
}

// refuse returns the form with a signed response that says no (saml-core section 3.2.2.2).
func (s *Server) refuse(q *saml.IdpAuthnRequest, status, detail string) (saml.IdpAuthnRequestForm, error) {
	response := &saml.Response{
		ID: "_" + newSecret(), Version: "2.0", IssueInstant: s.now().UTC(),
		Destination: q.ACSEndpoint.Location, InResponseTo: q.Request.ID,
		Issuer: &saml.Issuer{Format: formatEntity, Value: s.EntityID()},
		Status: saml.Status{StatusCode: saml.StatusCode{
			Value: status, StatusCode: &saml.StatusCode{Value: detail},
		}},
	}
	signer, err := dsig.NewSigningContext(s.idp.Signer, [][]byte{s.idp.Certificate.Raw})
	if err != nil {
		return saml.IdpAuthnRequestForm{}, err
	}
	signer.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if err := signer.SetSignatureMethod(s.idp.SignatureMethod); err != nil {
		return saml.IdpAuthnRequestForm{}, err
	}
	if response.Signature, err = signer.ConstructSignature(response.Element(), true); err != nil {
		return saml.IdpAuthnRequestForm{}, err
	}
	answer := *q
	answer.ResponseEl = response.Element()
	return answer.PostBinding()
}
