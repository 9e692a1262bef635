package web_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/providers"
)

// vouching is a jwt provider whose tokens are who they are about.
type vouching struct{}

var _ providers.TokenProvider = vouching{}

func (vouching) Info() providers.Info { return providers.Info{ID: "portal-jwt", Type: "jwt"} }

func (vouching) VerifyToken(_ context.Context, raw string) (identity.Assertion, error) {
	return identity.Assertion{Identity: identity.Identity{
		Provider: "portal-jwt", Subject: raw, Username: raw, Name: "Framed " + raw, Groups: []string{"admin"},
	}}, nil
}

func (vouching) Once(a identity.Assertion) (string, time.Time, bool, error) {
	return "test:" + a.Identity.Subject, time.Time{}, false, nil
}

func (vouching) Binding(identity.Assertion) (nonce, application string) { return "", "" }

const portalOrigin = "http://portal.localhost"

// embedding is a house whose application "app" may be framed by a portal.
func embedding(t *testing.T) *house {
	t.Helper()
	doors := func(h *house) []providers.Provider {
		return []providers.Provider{&keeper{h: h, id: "local"}, vouching{}}
	}
	h := build(t, plan{proxies: loopback(), doors: doors})
	now := *h.broker.Current()
	now.Generation, now.Hash = now.Generation+1, "embedding"
	now.QualifyNames = map[string]bool{"portal-jwt": true}
	now.Embedders = []*broker.Embedder{{
		ID: "portal", Relation: broker.CrossSite, Origins: []string{portalOrigin}, Applications: []string{"app"}, Provider: "portal-jwt",
		Session: broker.Limits{Idle: 10 * time.Minute, Lifetime: time.Hour},
	}}
	if _, err := h.broker.Load(t.Context(), &now); err != nil {
		t.Fatal(err)
	}
	return h
}

// framed signs somebody in through the portal.
func (h *house) framed(who string) broker.Outcome {
	h.t.Helper()
	v := h.visit()
	e, err := v.Embedder("portal")
	if err != nil {
		h.t.Fatal(err)
	}
	app, err := v.Application("app")
	if err != nil {
		h.t.Fatal(err)
	}
	out, err := h.broker.SignInEmbedded(h.t.Context(), v, broker.EmbedAttempt{Embedder: e, Application: app, Origin: portalOrigin}, who)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

const embedCookie = "__Host-sp-portal"

func TestEMB03_ATokenThatNamesAnAdministratorSignsInSomebodyElse(t *testing.T) {
	h := embedding(t)
	out := h.framed("root")
	if out.Principal.Username != "root@portal-jwt" {
		t.Errorf("became %s", out.Principal.Username)
	}
	if slices.ContainsFunc(out.Principal.Permissions, func(p string) bool { return strings.HasPrefix(p, broker.Self+":") }) {
		t.Errorf("administers the broker: %v", out.Principal.Permissions)
	}
	b := h.browser()
	b.jar[appHost] = map[string]string{embedCookie: out.Token}
	if p := b.get("http://" + appHost + "/"); p.body != "welcome root@portal-jwt to app.localhost" {
		t.Errorf("application sees %d %s", p.status, p.body)
	}
}

func TestEMB07_AnEmbeddedSessionReachesNothingOfTheBrokersOwn(t *testing.T) {
	h := embedding(t)
	out := h.framed("ada")
	var tried int
	for _, route := range h.handler.Routes() {
		where, pattern, _ := strings.Cut(route, " ")
		method, path, ok := strings.Cut(pattern, " ")
		if !ok {
			method, path = http.MethodGet, pattern
		}
		path = strings.NewReplacer("{id}", "x", "{provider}", "local").Replace(path)
		page := path == "/me" || strings.HasPrefix(path, "/me/")
		protected := page || strings.HasPrefix(path, "/api/auth/")
		if where != "issuer" || !protected || slices.Contains([]string{
			"/api/auth/login", "/api/auth/refresh", "/api/auth/revoke", // what is shown stands in their body
			"/api/auth/csrf", "/api/auth/sso/login",
		}, path) {
			continue
		}
		tried++
		for how, show := range map[string]func(r *http.Request){
			"in its own cookie":   func(r *http.Request) { r.Header.Set("Cookie", embedCookie+"="+out.Token) },
			"in the broker's":     func(r *http.Request) { r.Header.Set("Cookie", "__Host-sallyport="+out.Token) },
			"in an application's": func(r *http.Request) { r.Header.Set("Cookie", "__Host-sallyport-app="+out.Token) },
			"as a bearer":         func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+out.Token) },
			"in both, as at login": func(r *http.Request) {
				r.Header.Set("Cookie", embedCookie+"="+out.Token+"; __Host-sallyport="+out.Token)
			},
		} {
			t.Run(method+" "+path+" "+how, func(t *testing.T) {
				b := h.program()
				r := b.request(method, path, strings.NewReader("{}"))
				r.Header.Set("Content-Type", "application/json")
				if page {
					r = b.request(method, path, strings.NewReader("id=x&name=x"))
					r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				}
				r.Header.Set("Origin", issuer)
				show(r)
				p := b.do(r)
				if page && p.status == http.StatusSeeOther && p.header.Get("Location") == "/login" {
					return // pages ask people to sign in
				}
				if p.status != http.StatusUnauthorized && p.status != http.StatusForbidden {
					t.Errorf("answer is %d: %s", p.status, p.body)
				}
			})
		}
	}
	if tried < 10 {
		t.Errorf("only %d routes were tried", tried)
	}
}

func TestEMB07_AnEmbeddedSessionNeverBecomesOneOfTheBrokers(t *testing.T) {
	h := embedding(t)
	out := h.framed("ada")
	b := h.browser()
	b.jar[issuerHost] = map[string]string{"__Host-sallyport": out.Token, embedCookie: out.Token}
	for _, address := range []string{"/me", "/login?application=app&challenge=" + strings.Repeat("c", 43) + "&state=s", "/login"} {
		p := b.follow(b.get(address))
		if p.url.Path != "/login" || strings.Contains(p.body, "Framed") {
			t.Errorf("%s leads to %s: %s", address, p.url, p.body)
		}
	}
	if got := b.jar[appHost]["__Host-sallyport-app"]; got != "" {
		t.Error("it became a session of one's own at the application")
	}
}

func TestEMB06_WhatIsNotForFramesIsNotFramed(t *testing.T) {
	h := embedding(t)
	for _, address := range []string{
		"/login", "/me", "/denied", "/logout", "/nowhere", "/api/auth/me", "http://" + appHost + "/.sallyport/login",
		"http://" + appHost + "/.sallyport/nowhere", "http://" + reportsHost + "/.sallyport/embed/v1/frame",
	} {
		p := h.browser().get(address)
		if !strings.Contains(p.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") || p.header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s may be framed: %d %v", address, p.status, p.header)
		}
	}
}
