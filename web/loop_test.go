package web_test

import (
	"testing"

	"sallyport/broker"
)

func TestWhomARuleRefusesIsNotSentInCircles(t *testing.T) {
	h := newHouse(t)
	cookie := h.opened("lena", "http://app.localhost/", "app")
	h.configure(ruled(&broker.Rule{Path: "/"}, &broker.Rule{Path: "/admin/", Require: []string{"admin"}}))
	for path, code := range map[string]string{"/admin/x": "no_role", "/x/../admin/": "original_url_invalid"} {
		c := h.browser()
		r := c.request("GET", "http://app.localhost/.sallyport/login", nil)
		r.Header.Set("Cookie", cookie)
		r.Header.Set("X-Original-Url", "http://app.localhost"+path)
		r.Header.Set("X-Original-Method", "GET")
		c.do(r).want(403, code)
		r.Header.Set("Sec-Fetch-Mode", "cors") // a program's answer is the same
		c.asProgram = true
		c.do(r).want(403, code)
	}
}

func TestNobodyIsSentInCirclesForAPathThatMayLeadToAnotherApplication(t *testing.T) {
	h := newHouse(t)
	cookie := h.opened("lena", "http://"+sharedHost+"/one/", "one")
	for _, path := range []string{"/one/../two/", "/one//x", "/one/%2e%2e/two/"} {
		c := h.browser()
		r := c.request("GET", "http://"+sharedHost+"/.sallyport/login", nil)
		r.Header.Set("Cookie", cookie)
		r.Header.Set("X-Original-Url", "http://"+sharedHost+path)
		r.Header.Set("X-Original-Method", "GET")
		c.do(r).want(403, "original_url_invalid")
	}
}
