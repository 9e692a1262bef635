package saml

import (
	"errors"
	"time"

	"github.com/beevik/etree"
)

// checkAssertion looks at everything saml-profiles section 4.1.4.3 asks for.
func (e expectation) checkAssertion(a *etree.Element) (verified, error) {
	if err := e.checkHead(a, "Assertion", true); err != nil {
		return verified{}, err
	}
	v := verified{id: attr(a, "ID"), statements: children(a, nsAssertion, "AttributeStatement")}
	if len(v.id) > maxName {
		return verified{}, errors.New("the ID of the Assertion is too long")
	}
	var err error
	if v.until, err = e.checkConditions(a); err != nil {
		return verified{}, err
	}
	if err := e.checkSubject(a, &v); err != nil {
		return verified{}, err
	}
	return v, e.checkAuthn(a, &v)
}

// checkConditions returns when the assertion ends, skew included.
func (e expectation) checkConditions(a *etree.Element) (time.Time, error) {
	conditions, err := only(a, nsAssertion, "Conditions")
	if err != nil {
		return time.Time{}, err
	}
	notBefore, err := instant(conditions, "NotBefore")
	if err != nil {
		return time.Time{}, err
	}
	end, err := instant(conditions, "NotOnOrAfter")
	if err != nil {
		return time.Time{}, err
	}
	switch {
	case e.now.Add(e.skew).Before(notBefore):
		return time.Time{}, errors.New("the Assertion is not valid yet")
	case e.over(end):
		return time.Time{}, errors.New("the Assertion is not valid any more")
	}
	restrictions := children(conditions, nsAssertion, "AudienceRestriction")
	if len(restrictions) == 0 {
		return time.Time{}, errors.New("the Assertion has no AudienceRestriction")
	}
	for _, c := range conditions.ChildElements() {
		if c.NamespaceURI() != nsAssertion ||
			c.Tag != "AudienceRestriction" && c.Tag != "OneTimeUse" && c.Tag != "ProxyRestriction" {
			return time.Time{}, errors.New("the Assertion has a condition that is not understood")
		}
	}
	for _, r := range restrictions {
		if err := e.checkAudience(r); err != nil {
			return time.Time{}, err
		}
	}
	return end.Add(e.skew), nil
}

// checkAudience: restrictions are joined by and, audiences in one of them by or (saml-core section 2.5.1.4).
func (e expectation) checkAudience(restriction *etree.Element) error {
	for _, audience := range children(restriction, nsAssertion, "Audience") {
		name, err := text(audience)
		if err != nil {
			return err
		}
		if name == e.audience {
			return nil
		}
	}
	return errors.New("the Assertion is for another audience")
}

func (e expectation) checkSubject(a *etree.Element, v *verified) error {
	subject, err := only(a, nsAssertion, "Subject")
	if err != nil {
		return err
	}
	if len(children(subject, nsAssertion, "BaseID")) != 0 {
		return errors.New("the Subject has a BaseID, which is not understood")
	}
	switch names := children(subject, nsAssertion, "NameID"); len(names) {
	case 0:
	case 1:
		if err := e.readNameID(names[0], v); err != nil {
			return err
		}
	default:
		return errors.New("the Subject has more than one NameID")
	}
	err = errors.New("the Subject has no bearer confirmation")
	for _, c := range children(subject, nsAssertion, "SubjectConfirmation") {
		if attr(c, "Method") != methodBearer {
			continue
		}
		if err = e.checkConfirmation(c); err == nil {
			return nil
		}
	}
	return err
}

// readNameID takes the name with its format. A persistent one is unique between the provider and us only: one that says
// it is somebody else's could be the same as another person's.
func (e expectation) readNameID(el *etree.Element, v *verified) error {
	name, err := text(el)
	if err != nil {
		return err
	}
	if err := checkSubject("the NameID", name); err != nil {
		return err
	}
	v.hasNameID, v.nameID, v.nameFormat = true, name, formatUnspecified
	if hasAttr(el, "Format") {
		v.nameFormat = attr(el, "Format")
	}
	if v.nameFormat == formatPersistent &&
		(hasAttr(el, "NameQualifier") && attr(el, "NameQualifier") != e.issuer ||
			hasAttr(el, "SPNameQualifier") && attr(el, "SPNameQualifier") != e.audience) {
		return errors.New("the NameID belongs to another pair of provider and service")
	}
	return nil
}

// checkConfirmation: delivered here, in time, as the answer to the request of this flow (saml-profiles 4.1.4.2).
func (e expectation) checkConfirmation(c *etree.Element) error {
	data, err := only(c, nsAssertion, "SubjectConfirmationData")
	if err != nil {
		return err
	}
	end, err := instant(data, "NotOnOrAfter")
	switch {
	case err != nil:
		return err
	case e.over(end):
		return errors.New("the SubjectConfirmation is not valid any more")
	case hasAttr(data, "NotBefore"):
		return errors.New("a bearer SubjectConfirmation must not have NotBefore")
	case attr(data, "Recipient") != e.acs:
		return errors.New("the Recipient is not this endpoint")
	case attr(data, "InResponseTo") != e.request:
		return errors.New("the SubjectConfirmation answers another request")
	default:
		return nil
	}
}

func (e expectation) checkAuthn(a *etree.Element, v *verified) error {
	statements := children(a, nsAssertion, "AuthnStatement")
	if len(statements) == 0 {
		return errors.New("the Assertion has no AuthnStatement")
	}
	for i, s := range statements {
		at, err := instant(s, "AuthnInstant")
		if err != nil {
			return err
		}
		if at.After(e.now.Add(e.skew)) {
			return errors.New("the AuthnStatement is from the future")
		}
		if hasAttr(s, "SessionNotOnOrAfter") {
			end, err := instant(s, "SessionNotOnOrAfter")
			if err != nil {
				return err
			}
			if e.over(end) {
				return errors.New("the session at the provider is over")
			}
		}
		if i > 0 {
			continue
		}
		v.authnInstant, v.sessionIndex = at, attr(s, "SessionIndex")
		if len(v.sessionIndex) > maxText {
			return errors.New("the SessionIndex is too long")
		}
		if v.contextClass, err = contextClass(s); err != nil {
			return err
		}
	}
	return nil
}

func contextClass(statement *etree.Element) (string, error) {
	for _, c := range children(statement, nsAssertion, "AuthnContext") {
		for _, class := range children(c, nsAssertion, "AuthnContextClassRef") {
			return text(class)
		}
	}
	return "", nil
}

// over: NotOnOrAfter has passed, with the skew in its favour.
func (e expectation) over(end time.Time) bool { return !e.now.Add(-e.skew).Before(end) }

// instant reads a time in UTC (saml-core section 1.3.3); one without zone is an error, not a guess.
func instant(el *etree.Element, name string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, attr(el, name))
	if err != nil || at.Year() < 2000 || at.Year() > 9000 {
		return time.Time{}, errors.New(name + " is missing or no time")
	}
	return at.UTC(), nil
}
