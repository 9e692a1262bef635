package web_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"sallyport/providers"
)

// posting is a SAML provider: its answer is a form that its own page posts to us.
type posting struct{ upstream }

var _ providers.PostedProvider = (*posting)(nil)

func (p *posting) ServiceMetadata(entityID, acsURL string) ([]byte, error) {
	return []byte("<EntityDescriptor entityID=\"" + entityID + "\" acs=\"" + acsURL + "\"/>"), nil
}

const samlSite = "https://idp.contoso.example"

func samlHouse(t *testing.T) *house {
	return build(t, plan{proxies: loopback(), doors: func(h *house) []providers.Provider {
		return []providers.Provider{
			&keeper{h: h, id: "local"}, &upstream{h: h, id: "idp-a", kind: "oidc"},
			&posting{upstream{h: h, id: "saml-a", kind: "saml"}}, &posting{upstream{h: h, id: "saml-b", kind: "saml"}},
		}
	}})
}

// leaves goes to a SAML provider and returns what its page will post back.
func (b *browser) leaves(id, who string) (acs string, form url.Values) {
	b.t.Helper()
	p := b.visit("/login?choose=1")
	m := regexp.MustCompile(`/login/continue/` + id + `\?flow=([A-Za-z0-9_-]+)`).FindString(p.body)
	q := mustURL(b.t, b.get(m).leads()).Query()
	return q.Get("redirect_uri"), url.Values{"RelayState": {q.Get("state")}, "code": {who}, "iss": {id}, "SAMLResponse": {"message"}}
}

func TestSML06_AFormFromAnotherSiteSignsInTheBrowserThatLeft(t *testing.T) {
	h := samlHouse(t)
	b := h.browser()
	acs, form := b.leaves("saml-a", "alice")
	if acs != issuer+"/saml/saml-a/acs" {
		t.Fatalf("replies come to %s", acs)
	}
	b.postFrom(samlSite, acs, form).want(200, "").shows("Alice Ahlborn", "Partner saml-a")
	if flows := b.flows(issuerHost); len(flows) != 0 {
		t.Errorf("flows left: %v", flows)
	}
	b.postFrom(samlSite, acs, form).want(401, "flow_unknown")
}

func TestSML06_OtherBrowsersProvidersAndFlowsAreRefused(t *testing.T) {
	h := samlHouse(t)
	for _, c := range []struct {
		name, code string
		status     int
		post       func(b *browser, acs string, form url.Values) *page
	}{
		{"another browser", "flow_unknown", 401, func(_ *browser, acs string, form url.Values) *page {
			return h.browser().postFrom(samlSite, acs, form)
		}},
		{"another provider's address", "reply_invalid", 401, func(b *browser, _ string, form url.Values) *page {
			return b.postFrom(samlSite, issuer+"/saml/saml-b/acs", form)
		}},
		{"an address of no provider", "provider_unknown", 404, func(b *browser, _ string, form url.Values) *page {
			return b.postFrom(samlSite, issuer+"/saml/nobody/acs", form)
		}},
		{"the address of a provider that answers by redirect", "provider_unknown", 404, func(b *browser, _ string, form url.Values) *page {
			return b.postFrom(samlSite, issuer+"/saml/idp-a/acs", form)
		}},
		{"a flow that nobody began", "flow_unknown", 401, func(b *browser, acs string, form url.Values) *page {
			form.Set("RelayState", strings.Repeat("A", 22))
			return b.postFrom(samlSite, acs, form)
		}},
		{"RelayState twice", "bad_request", 400, func(b *browser, acs string, form url.Values) *page {
			form.Add("RelayState", form.Get("RelayState"))
			return b.postFrom(samlSite, acs, form)
		}},
		{"a message that does not verify", "reply_invalid", 401, func(b *browser, acs string, form url.Values) *page {
			form.Set("code", "nobody")
			return b.postFrom(samlSite, acs, form)
		}},
		{"the address that other providers redirect to", "provider_unknown", 404, func(b *browser, _ string, form url.Values) *page {
			return b.visit("/callback/saml-a?" + url.Values{"state": form["RelayState"], "code": {"alice"}, "iss": {"saml-a"}}.Encode())
		}},
		{"more than any message", "too_large", 413, func(b *browser, acs string, form url.Values) *page {
			form.Set("SAMLResponse", strings.Repeat("A", 5<<20))
			return b.postFrom(samlSite, acs, form)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := h.browser()
			acs, form := b.leaves("saml-a", "alice")
			c.post(b, acs, form).want(c.status, c.code)
			if b.cookie() != "" {
				t.Error("and yet it signs in")
			}
		})
	}
	t.Run("a message of 3 MiB is read", func(t *testing.T) {
		b := h.browser()
		acs, form := b.leaves("saml-a", "alice")
		form.Set("SAMLResponse", strings.Repeat("A", 3<<20))
		b.postFrom(samlSite, acs, form).want(200, "").shows("Alice Ahlborn")
	})
	t.Run("nothing but a form that is posted", func(t *testing.T) {
		b := h.browser()
		acs, form := b.leaves("saml-a", "alice")
		b.get(acs+"?"+form.Encode()).want(http.StatusMethodNotAllowed, "method_not_allowed")
		r := b.request(http.MethodPost, acs, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "text/plain")
		b.do(r).want(http.StatusUnsupportedMediaType, "media_type")
	})
}

func TestSML06_ASignInThatBeganAtTheProviderBeginsAgainHere(t *testing.T) {
	h := samlHouse(t)
	for name, state := range map[string]string{"no RelayState": "", "an address as RelayState": "https://evil.example/"} {
		t.Run(name, func(t *testing.T) {
			b := h.browser()
			b.from = samlSite
			form := url.Values{"SAMLResponse": {"message"}, "code": {"alice"}, "iss": {"saml-a"}}
			if state != "" {
				form.Set("RelayState", state)
			}
			p := b.post("/saml/saml-a/acs", form)
			if p.status != http.StatusSeeOther || p.header.Get("Location") != "/login?idp_hint=saml-a" || b.cookie() != "" {
				t.Errorf("%d to %q", p.status, p.header.Get("Location"))
			}
		})
	}
}

func TestSML11_AProviderThatLeftStopsSignInsUnderWay(t *testing.T) {
	h := samlHouse(t)
	b := h.browser()
	acs, form := b.leaves("saml-a", "alice")
	set, err := providers.NewSet(&keeper{h: h, id: "local"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.broker.Load(t.Context(), snapshot(t, issuer, set)); err != nil {
		t.Fatal(err)
	}
	b.postFrom(samlSite, acs, form).want(404, "provider_unknown")
	if b.cookie() != "" {
		t.Error("and yet it signs in")
	}
}

func TestSES02_TheSessionBeforeASAMLSignInEnds(t *testing.T) {
	h := samlHouse(t)
	b := h.signedIn("lena")
	before := b.copy()
	acs, form := b.leaves("saml-a", "alice")
	b.postFrom(samlSite, acs, form).want(200, "").shows("Alice Ahlborn")
	before.get("/me").want(http.StatusSeeOther, "")
	if to := before.get("/me").header.Get("Location"); to != "/login" {
		t.Errorf("the old cookie leads to %q", to)
	}
}

func TestSAMLMetadataIsPublic(t *testing.T) {
	h := samlHouse(t)
	p := h.program().get("/saml/saml-a/metadata").want(200, "")
	want := `<EntityDescriptor entityID="` + issuer + `/saml/saml-a/metadata" acs="` + issuer + `/saml/saml-a/acs"/>`
	if p.body != want || p.header.Get("Content-Type") != "application/samlmetadata+xml" {
		t.Errorf("%s: %s", p.header.Get("Content-Type"), p.body)
	}
	h.program().get("/saml/idp-a/metadata").want(404, "provider_unknown")
}
