package saml

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dsig "github.com/russellhaering/goxmldsig"

	"sallyport/identity"
	"sallyport/providers"
)

func TestARightResponseSaysWhoItIs(t *testing.T) {
	want := identity.Identity{
		Provider: "corp", Subject: "p-4711", Username: "ada", Name: "Ada Lovelace", Email: "ada@example.com",
		Groups: []string{"engineers", "cn=ops,dc=example"}, Attributes: map[string][]string{"employee": {"e-1"}},
		AuthTime: time.Date(2026, 5, 6, 11, 58, 0, 0, time.UTC), AMR: []string{"pwd"},
	}
	rsa, ec := ours(t), elliptical(t)
	for name, how := range map[string]signing{
		"the assertion is signed":               {by: rsa, assertion: true},
		"the response is signed":                {by: rsa, response: true},
		"both are signed":                       {by: rsa, assertion: true, response: true},
		"SHA-512":                               {by: rsa, assertion: true, method: dsig.RSASHA512SignatureMethod},
		"ECDSA":                                 {by: ec, assertion: true, method: dsig.ECDSASHA256SignatureMethod},
		"prefixes of the response are included": {by: rsa, assertion: true, response: true, prefixes: "xs"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := how.sign(t, swap(t, message(), ` ID="_response"`, ` xmlns:xs="urn:xs" ID="_response"`))
			a, err := finish(t, openProvider(t, nil, ec, rsa), raw)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, a.Identity); diff != "" {
				t.Error(diff)
			}
			if a.UpstreamSession != "s-1" {
				t.Errorf("session %q", a.UpstreamSession)
			}
		})
	}
}

// TestOneBrokenThing has a message, validly signed by the right key, with one thing wrong.
func TestOneBrokenThing(t *testing.T) {
	const (
		confirmation = `NotOnOrAfter="2026-05-06T12:05:00Z" Recipient="` + testACS + `" InResponseTo="` + testReq + `"/>`
		conditions   = `<saml:Conditions NotBefore="2026-05-06T11:59:00Z" NotOnOrAfter="2026-05-06T12:06:00Z">`
		restriction  = `<saml:AudienceRestriction><saml:Audience>` + testOwn + `</saml:Audience></saml:AudienceRestriction>`
		other        = `<saml:AudienceRestriction><saml:Audience>https://other</saml:Audience></saml:AudienceRestriction>`
		bearer       = `Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"`
		statement    = `<saml:AuthnStatement AuthnInstant="2026-05-06T11:58:00Z"`
		head         = `Destination="` + testACS + `" InResponseTo="` + testReq + `">`
		nameID       = `<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">p-4711</saml:NameID>`
	)
	cut := func(from, to string) func(testing.TB, string) string {
		return func(t testing.TB, s string) string {
			t.Helper()
			i := strings.Index(s, from)
			j := strings.Index(s, to)
			if i < 0 || j < i {
				t.Fatalf("%q … %q is not in the message", from, to)
			}
			return s[:i] + s[j+len(to):]
		}
	}
	to := func(old, with string) func(testing.TB, string) string {
		return func(t testing.TB, s string) string { t.Helper(); return swap(t, s, old, with) }
	}
	for name, row := range map[string]struct {
		edit  func(testing.TB, string) string
		words string
	}{
		"SML-03 no Conditions":                     {cut(`<saml:Conditions`, `</saml:Conditions>`), "0 Conditions"},
		"SML-03 no Subject":                        {cut(`<saml:Subject>`, `</saml:Subject>`), "0 Subject"},
		"SML-03 no NameID":                         {cut(`<saml:NameID`, `</saml:NameID>`), "no NameID"},
		"SML-03 two NameIDs":                       {to(nameID, nameID+nameID), "more than one NameID"},
		"SML-03 empty NameID":                      {to(`>p-4711<`, `><`), "NameID is empty"},
		"SML-03 transient NameID":                  {to(`nameid-format:persistent`, `nameid-format:transient`), "transient"},
		"SML-03 NameID without format":             {to(` Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"`, ``), "another format"},
		"SML-03 NameID of another service":         {to(`persistent">`, `persistent" SPNameQualifier="https://x">`), "another pair"},
		"SML-03 NameID of another provider":        {to(`persistent">`, `persistent" NameQualifier="https://x">`), "another pair"},
		"SML-03 no SubjectConfirmation":            {cut(`<saml:SubjectConfirmation `, `</saml:SubjectConfirmation>`), "no bearer"},
		"SML-03 not bearer":                        {to(bearer, `Method="urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"`), "no bearer"},
		"SML-03 no SubjectConfirmationData":        {to(`<saml:SubjectConfirmationData `+confirmation, ``), "0 SubjectConfirmationData"},
		"SML-03 confirmation without end":          {to(`NotOnOrAfter="2026-05-06T12:05:00Z" `, ``), "NotOnOrAfter is missing"},
		"SML-03 confirmation over":                 {to(`12:05:00Z`, `11:59:00Z`), "not valid any more"},
		"SML-03 confirmation with NotBefore":       {to(confirmation, `NotBefore="2026-05-06T11:00:00Z" `+confirmation), "must not have NotBefore"},
		"SML-03 conditions without begin":          {to(conditions, `<saml:Conditions NotOnOrAfter="2026-05-06T12:06:00Z">`), "NotBefore is missing"},
		"SML-03 conditions without end":            {to(conditions, `<saml:Conditions NotBefore="2026-05-06T11:59:00Z">`), "NotOnOrAfter is missing"},
		"SML-03 conditions not begun":              {to(`T11:59:00Z`, `T12:01:01Z`), "not valid yet"},
		"SML-03 conditions over":                   {to(`T12:06:00Z`, `T11:59:00Z`), "not valid any more"},
		"SML-03 a time without zone":               {to(`T12:06:00Z`, `T12:06:00`), "no time"},
		"SML-03 a time that is none":               {to(`T12:06:00Z`, `T99:06:00Z`), "no time"},
		"SML-03 two Conditions":                    {to(conditions, conditions+restriction+`</saml:Conditions>`+conditions), "2 Conditions"},
		"SML-03 an unknown condition":              {to(conditions, conditions+`<saml:Condition/>`), "not understood"},
		"SML-03 response from the future":          {to(`T11:59:58Z`, `T12:01:01Z`), "Response is from the future"},
		"SML-03 assertion from the future":         {to(`T11:59:59Z`, `T12:01:01Z`), "Assertion is from the future"},
		"SML-03 no IssueInstant":                   {to(` IssueInstant="2026-05-06T11:59:59Z"`, ``), "IssueInstant is missing"},
		"SML-03 no AuthnStatement":                 {cut(`<saml:AuthnStatement`, `</saml:AuthnStatement>`), "no AuthnStatement"},
		"SML-03 no AuthnInstant":                   {to(statement, `<saml:AuthnStatement`), "AuthnInstant is missing"},
		"SML-03 authentication in the future":      {to(`T11:58:00Z`, `T12:01:01Z`), "AuthnStatement is from the future"},
		"SML-03 session over":                      {to(`T20:00:00Z`, `T11:59:00Z`), "session at the provider is over"},
		"SML-03 another version":                   {to(`ID="_assertion" Version="2.0"`, `ID="_assertion" Version="1.1"`), "another version"},
		"SML-03 response of another version":       {to(`ID="_response" Version="2.0"`, `ID="_response" Version="1.1"`), "another version"},
		"SML-03 foreign Issuer of the response":    {to(`<saml:Issuer>`+testIssuer+`</saml:Issuer><samlp`, `<saml:Issuer>https://x</saml:Issuer><samlp`), "Issuer of the Response"},
		"SML-03 foreign Issuer of the assertion":   {to(`<saml:Issuer>`+testIssuer+`</saml:Issuer><saml:Subject`, `<saml:Issuer>https://x</saml:Issuer><saml:Subject`), "Issuer of the Assertion"},
		"SML-03 Issuer in another format":          {to(`<saml:Issuer>`+testIssuer+`</saml:Issuer><saml:Subject`, `<saml:Issuer Format="urn:x">`+testIssuer+`</saml:Issuer><saml:Subject`), "Issuer of the Assertion"},
		"SML-04 no audience":                       {to(restriction, ``), "no AudienceRestriction"},
		"SML-04 an empty restriction":              {to(restriction, `<saml:AudienceRestriction/>`), "another audience"},
		"SML-04 a foreign audience":                {to(restriction, other), "another audience"},
		"SML-04 ours and a foreign second":         {to(restriction, restriction+other), "another audience"},
		"SML-04 our id with something after":       {to(testOwn+`</saml:Audience>`, testOwn+`/</saml:Audience>`), "another audience"},
		"SML-05 Recipient of another host":         {to(`Recipient="https://sso.example.com`, `Recipient="https://sso.example.org`), "Recipient"},
		"SML-05 Recipient with another path":       {to(`Recipient="`+testACS, `Recipient="`+testACS+`/`), "Recipient"},
		"SML-05 Recipient with another scheme":     {to(`Recipient="https`, `Recipient="http`), "Recipient"},
		"SML-05 no Recipient":                      {to(`Recipient="`+testACS+`" `, ``), "Recipient"},
		"SML-05 a foreign Destination":             {to(`Destination="https`, `Destination="http`), "Destination"},
		"SML-05 a signed Response without it":      {to(`Destination="`+testACS+`" `, ``), "Destination"},
		"SML-06 unsolicited":                       {to(head, `Destination="`+testACS+`">`), "only sign-ins that begin here"},
		"SML-06 Response to another request":       {to(head, `Destination="`+testACS+`" InResponseTo="_x">`), "Response answers another request"},
		"SML-06 confirmation of another request":   {to(`InResponseTo="`+testReq+`"/>`, `InResponseTo="_x"/>`), "Confirmation answers another request"},
		"SML-06 confirmation of no request":        {to(` InResponseTo="`+testReq+`"/>`, `/>`), "Confirmation answers another request"},
		"SML-08 an encrypted assertion beside":     {to(`</samlp:Response>`, `<saml:EncryptedAssertion/></samlp:Response>`), "encrypted"},
		"SML-01 a structured group":                {to(`>engineers<`, `><x>engineers</x><`), "something else than text"},
		"SML-03 no Status":                         {cut(`<samlp:Status>`, `</samlp:Status>`), "0 Status"},
		"SML-09 a namespace for every taste":       {to(`>engineers<`, declarations(33)+`engineers</x><`), "namespaces are in scope"},
		"SML-09 an element too deep":               {to(`>engineers<`, `>`+strings.Repeat(`<x>`, 40)+strings.Repeat(`</x>`, 40)+`<`), "deeper than 32"},
		"SML-09 too many attributes":               {to(`>engineers<`, ` `+manyAttributes(33)+`>engineers<`), "more than 32 attributes"},
		"SML-09 too many attributes in all":        {to(`>engineers<`, `>`+strings.Repeat(`<x `+manyAttributes(32)+`/>`, 3200)+`<`), "more than 100000 attributes"},
		"SML-09 too many elements":                 {to(`>engineers<`, `>`+strings.Repeat(`<x/>`, 50_001)+`<`), "more than 50000 elements"},
		"SML-09 more than 2 MiB":                   {to(`>engineers<`, `>`+strings.Repeat(`x`, maxMessage)+`<`), "larger than 2097152"},
		"SML-09 a group that is too long":          {to(`>engineers<`, `>`+strings.Repeat(`x`, maxValue+1)+`<`), "longer than 4096"},
		"SML-09 a name that is too long":           {to(`>Ada Lovelace<`, `>`+strings.Repeat(`x`, maxText+1)+`<`), "too long"},
		"SML-07 an id too long to remember":        {to(`_assertion`, `_`+strings.Repeat(`x`, maxName)), "identifier"},
		"SML-07 no id to remember":                 {to(`ID="_assertion" `, ``), "no ID"},
		"SML-01 an empty id":                       {to(`ID="_assertion"`, `ID=""`), "identifier is empty"},
		"SML-01 the same id twice":                 {to(`ID="_assertion"`, `ID="_response"`), "appears twice"},
		"SML-01 the same id twice, other spelling": {to(`<saml:AttributeStatement>`, `<saml:AttributeStatement Id="_response">`), "appears twice"},
		"SML-01 the document is no Response": {func(_ testing.TB, s string) string {
			return strings.ReplaceAll(s, "samlp:Response", "samlp:ArtifactResponse")
		}, "not one Response"},
		"SML-01 a Response in another namespace": {to(`xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"`, `xmlns:samlp="urn:x"`), "not one Response"},
		"SML-01 an Assertion in another namespace": {func(_ testing.TB, s string) string {
			return strings.ReplaceAll(s, `xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"`, `xmlns:saml="urn:x"`)
		}, ""},
		"SML-03 a NameID with white space around it": {to(`>p-4711<`, `> p-4711<`), "white space"},
	} {
		t.Run(name, func(t *testing.T) {
			s := signing{by: ours(t), response: true}
			_, err := finish(t, openProvider(t, nil, s.by), s.sign(t, row.edit(t, message())))
			wantInvalid(t, err, row.words)
		})
	}
}

func declarations(n int) string {
	var b strings.Builder
	b.WriteString(`><x`)
	for i := range n / 2 {
		fmt.Fprintf(&b, ` xmlns:n%d="urn:%d"`, i, i)
	}
	b.WriteString(`><y`)
	for i := n / 2; i < n; i++ {
		fmt.Fprintf(&b, ` xmlns:n%d="urn:%d"`, i, i)
	}
	return b.String() + `/>`
}

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `a%d="" `, i)
	}
	return b.String()
}

func TestSML03_ClocksMayDifferByTheSkewAndNoMore(t *testing.T) {
	s := signing{by: ours(t), assertion: true}
	for name, row := range map[string]struct {
		instant string
		ok      bool
	}{
		"just inside":  {"2026-05-06T12:01:00Z", true},
		"just outside": {"2026-05-06T12:01:00.001Z", false},
	} {
		t.Run(name, func(t *testing.T) {
			raw := s.sign(t, swap(t, message(), `2026-05-06T11:59:00Z`, row.instant))
			if _, err := finish(t, openProvider(t, nil, s.by), raw); (err == nil) != row.ok {
				t.Errorf("err %v, want ok %t", err, row.ok)
			}
		})
	}
}

func TestARefusalUpstreamIsARefusal(t *testing.T) {
	const status = "urn:oasis:names:tc:SAML:2.0:status:"
	for name, row := range map[string]struct{ code, words string }{
		"the class alone":        {`Responder"/>`, "another status than success: Responder"},
		"a reason":               {`Responder"><samlp:StatusCode Value="` + status + `AuthnFailed"/></samlp:StatusCode>`, "success: AuthnFailed"},
		"a reason nobody knows":  {`Requester"><samlp:StatusCode Value="urn:x:no"/></samlp:StatusCode>`, "success: Requester"},
		"words that are foreign": {`x&#10;y"/>`, "another status than success"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := swap(t, message(), `Success"/>`, row.code)
			from, to := strings.Index(raw, `<saml:Assertion`), strings.Index(raw, `</samlp:Response>`)
			_, err := finish(t, openProvider(t, nil, ours(t)), []byte(raw[:from]+raw[to:]))
			wantRefused(t, err, identity.ErrDenied, providers.CodeRefused, row.words)
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("foreign text in %q", err)
			}
		})
	}
}

func TestSML05_TheFormIsUnderstoodInOneWayOnly(t *testing.T) {
	s := signing{by: ours(t), assertion: true}
	p, good := openProvider(t, nil, s.by), replyWith(s.sign(t, message()))
	for name, row := range map[string]struct {
		change func(url.Values)
		words  string
	}{
		"two responses":              {func(v url.Values) { v.Add("SAMLResponse", v.Get("SAMLResponse")) }, "appears 2 times"},
		"no response":                {func(v url.Values) { v.Del("SAMLResponse") }, "no SAMLResponse"},
		"an artifact":                {func(v url.Values) { v.Set("SAMLart", "AAQAAA") }, "artifacts"},
		"a field of another message": {func(v url.Values) { v.Set("SAMLRequest", "x") }, "a field that does not belong there"},
		"a signature of the binding we do not take": {func(v url.Values) { v.Set("Signature", "x"); v.Set("SigAlg", "x") }, "a field that does not belong there"},
		"a field of another protocol":               {func(v url.Values) { v.Set("state", testFlow) }, "a field that does not belong there"},
		"a field without value":                     {func(v url.Values) { v.Set("submit", "") }, "a field that does not belong there"},
		"a name in other letters":                   {func(v url.Values) { v.Set("samlresponse", "x") }, "a field that does not belong there"},
		"no RelayState":                             {func(v url.Values) { v.Del("RelayState") }, "RelayState"},
		"another RelayState":                        {func(v url.Values) { v.Set("RelayState", testFlow+"x") }, "RelayState"},
		"not base64":                                {func(v url.Values) { v.Set("SAMLResponse", "*") }, "not base64"},
		"an empty response":                         {func(v url.Values) { v.Set("SAMLResponse", "") }, "not one whole element"},
		"more than the maximum":                     {func(v url.Values) { v.Set("SAMLResponse", strings.Repeat("A", 3<<20)) }, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			reply := url.Values{"SAMLResponse": {good.Get("SAMLResponse")}, "RelayState": {good.Get("RelayState")}}
			row.change(reply)
			_, err := p.Finish(context.Background(), theFlow(), testPending(), reply)
			wantInvalid(t, err, row.words)
		})
	}
}

func TestSML06_AFlowOfAnotherDoorIsOver(t *testing.T) {
	s := signing{by: ours(t), assertion: true}
	p, reply := openProvider(t, nil, s.by), replyWith(s.sign(t, message()))
	for name, pending := range map[string]string{
		"no memory":        ``,
		"unknown members":  `{"provider":"corp","request":"` + testReq + `","acs":"` + testACS + `","x":1}`,
		"another provider": `{"provider":"else","request":"` + testReq + `","acs":"` + testACS + `"}`,
		"another endpoint": `{"provider":"corp","request":"` + testReq + `","acs":"https://sso.example.org/saml/corp/acs"}`,
		"no request":       `{"provider":"corp","request":"","acs":"` + testACS + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.Finish(context.Background(), theFlow(), []byte(pending), reply)
			wantRefused(t, err, identity.ErrExpired, providers.CodeFlowExpired, "")
		})
	}
}

func TestSML07_OneAssertionHasOneKeyUntilItIsOver(t *testing.T) {
	s := signing{by: ours(t), assertion: true}
	p := openProvider(t, nil, s.by)
	one, err := finish(t, p, s.sign(t, message()))
	if err != nil {
		t.Fatal(err)
	}
	again, err := finish(t, p, s.sign(t, message()))
	if err != nil {
		t.Fatal(err)
	}
	other, err := finish(t, p, s.sign(t, swap(t, message(), "_assertion", "_another")))
	if err != nil {
		t.Fatal(err)
	}
	key, until, must, err := p.Once(one)
	if want := time.Date(2026, 5, 6, 12, 7, 0, 0, time.UTC); err != nil || !must || !until.Equal(want) {
		t.Errorf("until %v must %t err %v, want %v", until, must, err, want)
	}
	if same, _, _, _ := p.Once(again); same != key {
		t.Error("the same assertion has two keys")
	}
	if differs, _, _, _ := p.Once(other); differs == key {
		t.Error("two assertions have one key")
	}
	for _, foreign := range []string{``, `{}`, `{"refresh_token":"x"}`} {
		_, _, _, err := p.Once(identity.Assertion{Upstream: []byte(foreign)})
		wantInvalid(t, err, "memory cannot be read")
	}
}

func TestTheSubjectMayBeAnAttribute(t *testing.T) {
	s := signing{by: ours(t), assertion: true}
	p := openProvider(t, func(c *Config) { c.Subject = "attribute employee" }, s.by)
	transient := swap(t, message(), `nameid-format:persistent`, `nameid-format:transient`)
	a, err := finish(t, p, s.sign(t, transient))
	if err != nil || a.Identity.Subject != "e-1" {
		t.Errorf("subject %q, err %v", a.Identity.Subject, err)
	}
	for name, row := range map[string]struct{ with, words string }{
		"none":                             {"", "exactly one value"},
		"two values":                       {attribute("employee", "", "e-1", "e-2"), "exactly one value"},
		"a value and an empty one":         {attribute("employee", "", "e-1", ""), "exactly one value"},
		"two attributes":                   {attribute("employee", "", "e-1") + attribute("employee", "", "e-2"), "exactly one value"},
		"another attribute of that name":   {attribute("urn:self:asserted", "employee", "e-2"), "exactly one value"},
		"another one beside an empty one":  {attribute("employee", "") + attribute("urn:self:asserted", "employee", "e-2"), "exactly one value"},
		"an empty one":                     {attribute("employee", "", ""), "is empty"},
		"white space only":                 {attribute("employee", "", " \n "), "white space"},
		"white space before":               {attribute("employee", "", " e-1"), "white space"},
		"a line end after":                 {attribute("employee", "", "e-1&#10;"), "white space"},
		"white space that nobody sees":     {attribute("employee", "", "e-1\u00a0"), "white space"},
		"a control character in it":        {attribute("employee", "", "e&#9;1"), "control characters"},
		"a control character beyond ASCII": {attribute("employee", "", "e\u00851"), "control characters"},
		"more than a subject may be long":  {attribute("employee", "", strings.Repeat("e", maxText+1)), "too long"},
		"a structured value":               {attribute("employee", "", "<x>e-1</x>"), "something else than text"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := finish(t, p, s.sign(t, swap(t, transient, attribute("employee", "", "e-1"), row.with)))
			wantInvalid(t, err, row.words)
		})
	}
	t.Run("another attribute that calls itself so does not matter", func(t *testing.T) {
		a, err := finish(t, p, s.sign(t, swap(t, transient, attribute("employee", "", "e-1"),
			attribute("urn:self:asserted", "employee", "e-2")+attribute("employee", "", "e-1"))))
		if err != nil || a.Identity.Subject != "e-1" {
			t.Errorf("subject %q, err %v", a.Identity.Subject, err)
		}
	})
}

func TestAnAttributeIsFoundByNameAndElseByFriendlyName(t *testing.T) {
	s := signing{by: ours(t), assertion: true}
	p := openProvider(t, nil, s.by)
	mail, groups := attribute("mail", "", "ada@example.com"), attribute("groups", "", "engineers", "cn=ops,dc=example")
	for name, row := range map[string]struct {
		old, with string
		email     string
		groups    []string
	}{
		"a FriendlyName does not pass for a Name, before it": {mail, attribute("urn:x", "mail", "eve@example.com") + mail, "ada@example.com", []string{"engineers", "cn=ops,dc=example"}},
		"nor after it":                        {mail, mail + attribute("urn:x", "mail", "eve@example.com"), "ada@example.com", []string{"engineers", "cn=ops,dc=example"}},
		"nor for a Name without a value":      {mail, attribute("mail", "", "") + attribute("urn:x", "mail", "eve@example.com"), "", []string{"engineers", "cn=ops,dc=example"}},
		"nor for groups":                      {groups, attribute("urn:x", "groups", "admins") + groups, "ada@example.com", []string{"engineers", "cn=ops,dc=example"}},
		"a FriendlyName alone counts":         {mail, attribute("urn:x", "mail", " ada@example.org\n"), "ada@example.org", []string{"engineers", "cn=ops,dc=example"}},
		"one that is not there has no value":  {mail, "", "", []string{"engineers", "cn=ops,dc=example"}},
		"the first value of several is taken": {mail, attribute("mail", "", "", "ada@example.com", "lovelace@example.com"), "ada@example.com", []string{"engineers", "cn=ops,dc=example"}},
		"groups may come in several":          {groups, attribute("groups", "", "engineers") + attribute("groups", "", " ops ", ""), "ada@example.com", []string{"engineers", "ops"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := finish(t, p, s.sign(t, swap(t, message(), row.old, row.with)))
			if err != nil {
				t.Fatal(err)
			}
			if a.Identity.Email != row.email {
				t.Errorf("email %q, want %q", a.Identity.Email, row.email)
			}
			if diff := cmp.Diff(row.groups, a.Identity.Groups); diff != "" {
				t.Error(diff)
			}
		})
	}
	for name, with := range map[string]string{
		"two by Name":              mail + attribute("mail", "", "eve@example.com"),
		"two by Name, one empty":   mail + attribute("mail", "", ""),
		"two by FriendlyName only": attribute("urn:x", "mail", "ada@example.com") + attribute("urn:y", "mail", "eve@example.com"),
	} {
		t.Run(name+" are refused where one value is meant", func(t *testing.T) {
			_, err := finish(t, p, s.sign(t, swap(t, message(), mail, with)))
			wantInvalid(t, err, "stands there twice")
		})
	}
}

func TestEmailIsVerifiedByTheOperatorsWordOnly(t *testing.T) {
	s := signing{by: ours(t), assertion: true}
	for _, word := range []bool{false, true} {
		a, err := finish(t, openProvider(t, func(c *Config) { c.EmailVerified = word }, s.by), s.sign(t, message()))
		if err != nil || a.Identity.EmailVerified != word {
			t.Errorf("verified %t with word %t, err %v", a.Identity.EmailVerified, word, err)
		}
	}
}

func TestSML09_ThousandsOfGroupsSignIn(t *testing.T) {
	const groups = 8000
	by, to := ours(t), mine(t)
	inner, outer := signing{by: by, assertion: true}, signing{by: by, response: true}
	large := swap(t, message(), attribute("groups", "", "engineers", "cn=ops,dc=example"), manyGroups(groups))
	for name, raw := range map[string][]byte{
		"signed twice": outer.sign(t, string(inner.sign(t, large))),
		"encrypted":    outer.sign(t, string(sealing{to: to}.seal(t, inner.sign(t, large)))),
	} {
		t.Run(name, func(t *testing.T) {
			if len(raw) < 1_300_000 {
				t.Fatalf("the message has %d bytes, want 1.3 MB", len(raw))
			}
			a, err := finish(t, openProvider(t, decrypting(t, to), foreign(t), by), raw)
			if err != nil || len(a.Identity.Groups) != groups {
				t.Fatalf("%d groups, err %v", len(a.Identity.Groups), err)
			}
		})
	}
}
