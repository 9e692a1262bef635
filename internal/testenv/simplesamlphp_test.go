package testenv_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"sallyport/internal/testenv"
)

func TestSimpleSAMLphpSignsPeopleInAndRemembersThem(t *testing.T) {
	idp := testenv.SimpleSAMLphp(t)
	const sp, acs = "https://sp.example.test/metadata", "https://sp.example.test/acs"
	idp.Register(t, testenv.SAMLServiceProvider{Metadata: []byte(
		`<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="` + sp + `">` +
			`<SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">` +
			`<AssertionConsumerService index="0" Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="` + acs +
			`"/></SPSSODescriptor></EntityDescriptor>`)})
	start := idp.SSOURL + "?spentityid=" + url.QueryEscape(sp) + "&RelayState=" + url.QueryEscape(`a "b" & c`)
	browser := testenv.NewBrowserClient(t)
	for _, password := range []string{testenv.SAMLPeople()[0].Password, "is not asked for again"} {
		to, form := idp.SignIn(t, browser, start, "alice", password)
		response, err := base64.StdEncoding.DecodeString(form.Get("SAMLResponse"))
		if to != acs || form.Get("RelayState") != `a "b" & c` || err != nil {
			t.Errorf("the form goes to %s with RelayState %q, err %v", to, form.Get("RelayState"), err)
		}
		for _, word := range []string{sp, idp.Key.Base64(), "engineering"} {
			if !strings.Contains(string(response), word) {
				t.Errorf("the response lacks %q", word)
			}
		}
	}
}
