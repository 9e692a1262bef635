package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/identity"
)

// inCookie makes the application "app" one whose cookie holds its token.
func inCookie(below time.Duration) func(s *settings) {
	return func(s *settings) {
		s.apps[0].Profile.Cookie = broker.CookieSpelling{Token: true, RefreshBelow: below}
	}
}

// asks is a request for the application "app".
func (h *house) asks(c credential) broker.Access {
	h.t.Helper()
	a, err := h.Authorize(h.t.Context(), h.visit(), broker.Request{
		Application: h.app(c.app), Credential: broker.NewCredential(c.carrier, c.value), Method: "GET", Path: "/",
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func TestSES04_ACookieThatHoldsATokenIsRenewedBeforeItIsOver(t *testing.T) {
	h := newHouse(t, inCookie(5*time.Minute))
	h.addPerson("ada", "viewers")
	child := h.child(h.signIn("ada"), "app")
	held := credential{broker.TokenCookie, h.token(child, "app"), "app"}
	if a := h.asks(held); a.NewCookie != "" {
		t.Fatal("renewed at once")
	}
	h.pass(10 * time.Minute)
	if a := h.asks(held); a.NewCookie != "" {
		t.Fatal("renewed with five minutes left")
	}
	h.pass(time.Second)
	renewed := h.asks(held).NewCookie
	if renewed == "" || h.asks(held).NewCookie != renewed {
		t.Fatal("not renewed, or not once")
	}
	next := credential{broker.TokenCookie, renewed, "app"}
	if h.asks(next).NewCookie != "" {
		t.Fatal("renewed again")
	}
	if got := h.RenewedCookie(t.Context(), h.visit(), broker.NewCredential(broker.TokenCookie, held.value), h.app("app")); got != renewed {
		t.Fatal("elsewhere, another one")
	}
	if a := h.asks(credential{broker.Bearer, held.value, "app"}); a.NewCookie != "" {
		t.Fatal("a cookie for a program")
	}
	h.pass(5 * time.Minute)
	h.refuses(held)
	h.opens(next)
	t.Run("not after the session", func(t *testing.T) {
		if err := h.SignOut(t.Context(), h.visit(), child.Principal); err != nil {
			t.Fatal(err)
		}
		h.refuses(next)
		if h.RenewedCookie(t.Context(), h.visit(), broker.NewCredential(broker.TokenCookie, next.value), h.app("app")) != "" {
			t.Fatal("renewed")
		}
	})
	t.Run("not when the session ends with it", func(t *testing.T) {
		h.reload(func(s *settings) { s.apps[0].Session = broker.Limits{Idle: time.Hour, Lifetime: 20 * time.Minute} })
		child := h.child(h.signIn("ada"), "app")
		h.pass(10 * time.Minute)
		p := h.opens(cookieAsToken(h, child))
		last := credential{broker.TokenCookie, h.token(broker.Outcome{Principal: p}, "app"), "app"}
		h.pass(6 * time.Minute)
		if h.asks(last).NewCookie != "" {
			t.Fatal("renewed for nothing")
		}
	})
}

// cookieAsToken is the child's session as its application's cookie holds it.
func cookieAsToken(h *house, child broker.Outcome) credential {
	return credential{broker.TokenCookie, h.token(child, "app"), "app"}
}

func TestTenThousandGroupsSignInByEveryCarrierAndSoDoFiveHundredRoles(t *testing.T) {
	var groups, roles []string
	for i := range 10_000 {
		groups = append(groups, fmt.Sprintf("group-number-%d-with-a-long-name", i))
	}
	groups = append(groups, "viewers")
	h := newHouse(t)
	h.addPerson("ada", groups...)
	for name, shown := range h.carriedBy("ada") {
		p := h.opens(shown)
		if len(p.Roles) != 1 {
			t.Errorf("by %s roles are %v", name, p.Roles)
		}
		if len(shown.value) > 1024 {
			t.Errorf("by %s the credential has %d bytes", name, len(shown.value))
		}
	}
	first := h.begin("ada", "app")
	h.opens(access(h.refresh(first)))

	t.Run("and who has more roles than a token says is told so", func(t *testing.T) {
		for i := range 600 {
			roles = append(roles, fmt.Sprintf("role-%d-%s", i, strings.Repeat("x", 50)))
		}
		p := first.Principal
		p.Roles = roles
		_, err := h.IssueToken(t.Context(), p, h.app("app"))
		wantErr(t, err, identity.ErrDenied, "token_too_large")
		p.Roles = append(roles, roles...)
		_, err = h.IssueToken(t.Context(), p, h.app("app"))
		wantErr(t, err, identity.ErrDenied, "token_too_large")
		p.Roles = nil
		for i := range 500 {
			p.Roles = append(p.Roles, fmt.Sprintf("role-%d", i))
		}
		if _, err := h.IssueToken(t.Context(), p, h.app("app")); err != nil {
			t.Fatal(err)
		}
	})
}

// carriedBy is somebody's sign-in at the application "app" by every carrier.
func (h *house) carriedBy(name string) map[string]credential {
	h.t.Helper()
	in := h.signIn(name)
	_, key := h.newKey(in, "app")
	child := h.child(in, "app")
	return map[string]credential{
		"cookie": cookie(child), "bearer": h.bearer(child), "a cookie with a token": cookieAsToken(h, child), "key": apiKey(key, "app"),
	}
}
