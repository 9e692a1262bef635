package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"sallyport/broker"
	"sallyport/web/wire"
)

func TestDOS03_AThousandFlowCookiesCostABoundedNumberOfLooks(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.jar[issuerHost] = map[string]string{}
	for i := range 400 {
		b.jar[issuerHost][fmt.Sprintf("%s%d", flowCookie, i)] = "x"
	}
	p := b.get("/login")
	p.want(http.StatusOK, "")
	if n := len(p.header.Values("Set-Cookie")); n > 25 {
		t.Errorf("400 flow cookies are answered with %d", n)
	}
}

func TestFlowCookiesLeaveRoomInTheLineThatProxiesTake(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	for i := range 8 {
		b.get(fmt.Sprintf("http://%s/.sallyport/login?to=/%d%s", appHost, i, strings.Repeat("x", 1400)))
	}
	size := 0
	for name, value := range b.jar[appHost] {
		size += len(name) + len(value) + 3
	}
	if size == 0 || size > 8<<10 {
		t.Errorf("the browser sends %d bytes of cookies", size)
	}
}

func TestKEY03_AKeyInThePathIsRefusedAndNotLogged(t *testing.T) {
	h := newHouse(t)
	b := h.signedIn("lena")
	made := b.post("/me/keys/create", b.get("/me").form("/me/keys/create", url.Values{"name": {"x"}, "days": {"3"}, "role": {"viewer"}}))
	key := regexp.MustCompile(`sp_[a-z2-7]{26}_[a-z2-7]{59}`).FindString(made.body)
	if key == "" {
		t.Fatalf("no key was made: %s", made.body)
	}
	r := b.request(http.MethodDelete, "/api/auth/api-keys/"+key, nil)
	r.Header.Set("Origin", issuer)
	b.do(r).want(http.StatusBadRequest, "credential_in_url")
	if strings.Contains(h.log.String(), key) {
		t.Error("the log holds the key")
	}
}

func TestAProxyThatIsNotListedLeadsToAnErrorAndNotInCircles(t *testing.T) {
	h := build(t, plan{})
	b := h.signedIn("lena")
	b.visit("http://" + appHost + "/.sallyport/login?to=/") // the browser has its application cookie
	r := b.request(http.MethodGet, "http://"+appHost+"/.sallyport/login", nil)
	r.Header.Set("X-Original-URL", "http://"+appHost+"/page")
	b.do(r).want(http.StatusForbidden, "proxy_not_trusted")
}

func TestTheDeniedPageCanBeLoadedAgain(t *testing.T) {
	h := newHouse(t)
	h.add("nora", "viewer")
	b := h.signedIn("nora")
	denied := b.visit("http://" + reportsHost + "/.sallyport/login?to=/")
	denied.want(http.StatusForbidden, "no_role")
	b.get(denied.url.String()).want(http.StatusForbidden, "no_role").shows("Reports")
}

func TestALinkDoesNotChooseWhoGetsThePasswordOfARuledDomain(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	page := b.get("/login?idp_hint=local")
	sent := b.post("/login", page.form("/login", field("username", "ines@partner.example")))
	if to := sent.header.Get("Location"); !strings.HasPrefix(to, "/login/continue/idp-a?") {
		t.Errorf("a name of a ruled domain goes to %q", to)
	}
}

func TestKEY03_AKeyCountsInTheHeadersOfTheProfileOnly(t *testing.T) {
	app := &broker.Application{ID: "x", Profile: &broker.Profile{KeyHeaders: []string{"X-House-Key"}}}
	for header, want := range map[string]error{"X-House-Key": nil, "X-Api-Key": wire.ErrNoCredential, "X-Other": wire.ErrNoCredential} {
		r := &http.Request{Header: http.Header{header: {"anything"}}}
		if _, err := wire.HeaderCredential(r, app); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", header, err, want)
		}
	}
}
