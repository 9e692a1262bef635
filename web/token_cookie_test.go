package web_test

import (
	"strings"
	"testing"

	"sallyport/broker"
)

// told makes the application "app" one whose cookie holds its token, with one more claim of this length in it.
func told(length int) change {
	return func(_ *broker.Snapshot, of func(string) *broker.Application) {
		app := of("app")
		spelled := *app.Profile
		spelled.Cookie.Token = true
		app.Profile = &spelled
		app.Claims = append(app.Claims, broker.Claim{Name: "more", Value: strings.Repeat("x", length)})
	}
}

func TestATokenThatNoBrowserWouldKeepAsACookieIsRefusedInsteadOfGoingInCircles(t *testing.T) {
	h := newHouse(t)
	h.configure(told(2000))
	b := h.browser()
	b.signIn(b.visit("http://"+appHost+"/"), "lena").want(200, "").shows("welcome lena")
	if token := b.jar[appHost]["__Host-sallyport-app"]; strings.Count(token, ".") != 2 {
		t.Errorf("the cookie holds no token but %d bytes", len(token))
	}

	h.configure(told(4000))
	b = h.browser()
	b.signIn(b.visit("http://"+appHost+"/"), "lena").want(403, "cookie_too_large")
	if _, kept := b.jar[appHost]["__Host-sallyport-app"]; kept {
		t.Error("and yet a cookie was set")
	}
}
