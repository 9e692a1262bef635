package saml_test

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/internal/testenv"
	"sallyport/providers/saml"
)

// The algorithms that the responses of xmlsec1 are made with.
const (
	aes128GCM = "http://www.w3.org/2009/xmlenc11#aes128-gcm"
	aes256GCM = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
	aes256CBC = "http://www.w3.org/2001/04/xmlenc#aes256-cbc"
	tripleDES = "http://www.w3.org/2001/04/xmlenc#tripledes-cbc"
	rsaOAEP   = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"
	rsa15     = "http://www.w3.org/2001/04/xmlenc#rsa-1_5"
)

// sessionKeys are the keys that xmlsec1 makes for an algorithm.
func sessionKeys() map[string]string {
	return map[string]string{aes128GCM: "aes-128", aes256GCM: "aes-256", aes256CBC: "aes-256", tripleDES: "des-192"}
}

func TestSML08_ResponsesThatXMLSec1EncryptedAndSigned(t *testing.T) {
	testenv.Need(t, "xmlsec1", "xmlsec1") // one skip, not one a row
	idp, sp, dir := testenv.NewSAMLKey(t), testenv.NewSAMLKey(t), t.TempDir()
	_, certificate := idp.Files(t, dir, "idp")
	ours := pair(sp.Files(t, dir, "sp"))
	const issuer = "https://idp.example.com/metadata"
	for name, row := range map[string]struct {
		response, assertion, allowCBC bool // signed; allowed
		content, transport            string
		words                         string
	}{
		"GCM in a signed response":              {true, false, false, aes256GCM, rsaOAEP, ""},
		"GCM around a signed assertion":         {false, true, false, aes256GCM, rsaOAEP, ""},
		"GCM, both signed":                      {true, true, false, aes256GCM, rsaOAEP, ""},
		"GCM with 128 bits":                     {true, false, false, aes128GCM, rsaOAEP, ""},
		"GCM, nothing signed":                   {false, false, false, aes256GCM, rsaOAEP, "signed"},
		"CBC in a signed response":              {true, false, true, aes256CBC, rsaOAEP, ""},
		"CBC in a signed response, not allowed": {true, false, false, aes256CBC, rsaOAEP, "AES-CBC, which is not allowed"},
		"CBC around a signed assertion":         {false, true, true, aes256CBC, rsaOAEP, "in a Response that is not signed"},
		"a key by PKCS #1 v1.5":                 {true, true, true, aes256GCM, rsa15, "another algorithm than RSA-OAEP"},
		"triple DES":                            {true, true, true, tripleDES, rsaOAEP, "an algorithm that is not taken"},
	} {
		t.Run(name, func(t *testing.T) {
			d := openConfig(t, "corp", &saml.Config{
				EntityID: issuer, SSOURL: "https://idp.example.com/sso", Certificates: []string{certificate},
				Decryption: []saml.KeyPair{ours}, AllowCBC: row.allowCBC,
				Attributes: saml.Attributes{Username: "uid", Name: "displayName", Email: "mail", Groups: "groups"},
				Extra:      []string{"employeeNumber"},
			})
			challenge := d.begin(t)
			response := d.response(t, issuer, requestID(t, challenge.URL))
			if row.assertion {
				response = signed(t, idp, response, "Assertion")
			}
			response = encryptedTo(t, sp, response, row.content, row.transport)
			if row.response {
				response = signed(t, idp, response, "Response")
			}
			a, err := d.Finish(t.Context(), d.flow, challenge.Pending, url.Values{
				"SAMLResponse": {base64.StdEncoding.EncodeToString(response)}, "RelayState": {d.flow.ID},
			})
			if row.words == "" {
				wantAlice(t, a, err, "p-4711")
			} else {
				wantRefused(t, a, err, row.words)
			}
		})
	}
}

func requestID(t testing.TB, address string) string {
	t.Helper()
	m := regexp.MustCompile(` ID="([^"]+)"`).FindStringSubmatch(request(t, address))
	if m == nil {
		t.Fatalf("the request has no ID: %s", address)
	}
	return m[1]
}

// response is a response about alice as it is before it is signed and encrypted.
func (d door) response(t testing.TB, issuer, request string) []byte {
	t.Helper()
	now := time.Now().UTC()
	attribute := func(name string, values ...string) string {
		return `<saml:Attribute Name="` + name + `"><saml:AttributeValue>` +
			strings.Join(values, `</saml:AttributeValue><saml:AttributeValue>`) + `</saml:AttributeValue></saml:Attribute>`
	}
	return []byte(strings.NewReplacer(
		"ISSUER", issuer, "ACS", d.flow.CallbackURL, "AUDIENCE", d.entityID(t), "REQUEST", request,
		"NOW", now.Format(time.RFC3339), "LATER", now.Add(5*time.Minute).Format(time.RFC3339),
	).Replace(`<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ` +
		`xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_response" Version="2.0" IssueInstant="NOW" ` +
		`Destination="ACS" InResponseTo="REQUEST"><saml:Issuer>ISSUER</saml:Issuer>` +
		`<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>` +
		// What is encrypted must be able to stand alone, so it says once more what its prefix is.
		`<saml:EncryptedAssertion><saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ` +
		`ID="_assertion" Version="2.0" IssueInstant="NOW"><saml:Issuer>ISSUER</saml:Issuer><saml:Subject>` +
		`<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">p-4711</saml:NameID>` +
		`<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData ` +
		`NotOnOrAfter="LATER" Recipient="ACS" InResponseTo="REQUEST"/></saml:SubjectConfirmation></saml:Subject>` +
		`<saml:Conditions NotBefore="NOW" NotOnOrAfter="LATER"><saml:AudienceRestriction>` +
		`<saml:Audience>AUDIENCE</saml:Audience></saml:AudienceRestriction></saml:Conditions>` +
		`<saml:AuthnStatement AuthnInstant="NOW" SessionIndex="s-1"><saml:AuthnContext><saml:AuthnContextClassRef>` +
		`urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext>` +
		`</saml:AuthnStatement><saml:AttributeStatement>` + attribute("uid", "alice") +
		attribute("displayName", "Alice Example") + attribute("mail", "alice@example.test") +
		attribute("employeeNumber", "e-1001") + attribute("groups", "engineering", "everyone") +
		`</saml:AttributeStatement></saml:Assertion></saml:EncryptedAssertion></samlp:Response>`))
}

// signed has xmlsec1 sign the element with this local name and ID "_" + name, after its Issuer.
func signed(t testing.TB, by testenv.SAMLKey, document []byte, name string) []byte {
	t.Helper()
	start, rest, ok := bytes.Cut(document, []byte(":"+name+" "))
	issuer, rest, closed := bytes.Cut(rest, []byte("</saml:Issuer>"))
	if !ok || !closed {
		t.Fatalf("there is no %s with an Issuer", name)
	}
	template := `</saml:Issuer><ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>` +
		`<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>` +
		`<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/>` +
		`<ds:Reference URI="#_` + strings.ToLower(name) + `"><ds:Transforms>` +
		`<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>` +
		`<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></ds:Transforms>` +
		`<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue/></ds:Reference>` +
		`</ds:SignedInfo><ds:SignatureValue/></ds:Signature>`
	document = bytes.Join([][]byte{start, []byte(":" + name + " "), issuer, []byte(template), rest}, nil)
	return testenv.XMLSec1(t, map[string][]byte{"in.xml": document, "key.pem": by.PrivatePEM},
		"--sign", "--privkey-pem", "key.pem", "--id-attr:ID", name,
		"--node-xpath", "//*[local-name()='"+name+"']/*[local-name()='Signature']", "in.xml")
}

// encryptedTo has xmlsec1 put EncryptedData in the place of the Assertion.
func encryptedTo(t testing.TB, to testenv.SAMLKey, document []byte, content, transport string) []byte {
	t.Helper()
	template := `<xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" ` +
		`Type="http://www.w3.org/2001/04/xmlenc#Element"><xenc:EncryptionMethod Algorithm="` + content + `"/>` +
		`<ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><xenc:EncryptedKey>` +
		`<xenc:EncryptionMethod Algorithm="` + transport + `"/>` +
		`<xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo>` +
		`<xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedData>`
	return testenv.XMLSec1(t,
		map[string][]byte{"in.xml": document, "template.xml": []byte(template), "to.pem": to.CertificatePEM},
		"--encrypt", "--pubkey-cert-pem", "to.pem", "--session-key", sessionKeys()[content],
		"--xml-data", "in.xml", "--node-xpath", "//*[local-name()='Assertion']", "template.xml")
}
