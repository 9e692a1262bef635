package broker_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/mapping"
	"sallyport/providers"
)

// embedderDoor takes tokens: each is known by its text, and may be used once.
type embedderDoor struct {
	*door
	nonce, application string
	until              time.Time
	again              bool   // a token opens more than once
	hold               func() // is called first
}

func (d *embedderDoor) VerifyToken(_ context.Context, raw string) (identity.Assertion, error) {
	if d.hold != nil {
		d.hold()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	id, ok := d.known[strings.TrimSuffix(raw, " again")]
	if !ok {
		return identity.Assertion{}, identity.WithCode("jwt_signature", identity.ErrBadCredentials)
	}
	id.Provider = d.id
	return identity.Assertion{Identity: id, Upstream: []byte(raw)}, nil
}

func (d *embedderDoor) Once(a identity.Assertion) (string, time.Time, bool, error) {
	if len(a.Upstream) == 0 {
		return "", time.Time{}, false, identity.ErrBadCredentials
	}
	return "jwt:" + string(a.Upstream), d.until, !d.again, nil
}

func (d *embedderDoor) Binding(identity.Assertion) (nonce, application string) {
	return d.nonce, d.application
}

var _ providers.OnceProvider = (*embedderDoor)(nil)

const portalOrigin = "https://portal.example.test"

// embedding is a house with an embedder whose door knows Olga, an operator over there, and Ada.
func embedding(t *testing.T, change ...func(s *settings)) (*house, *embedderDoor) {
	t.Helper()
	d := &embedderDoor{door: newDoor("portal-jwt")}
	h := newHouse(t, append([]func(*settings){func(s *settings) {
		s.providers = append(s.providers, d)
		s.rules = append(s.rules,
			mapping.Rule{Provider: "portal-jwt", Group: "ops", Roles: []string{"operator"}},
			mapping.Rule{Provider: "portal-jwt", Group: "boss", Roles: []string{"admin", "keeper"}})
		s.qualify["portal-jwt"] = true
		s.embedders = []*broker.Embedder{{
			ID: "portal", Title: "Portal", Relation: broker.CrossSite, Origins: []string{portalOrigin}, Applications: []string{"app"},
			Provider: "portal-jwt", Session: broker.Limits{Idle: 10 * time.Minute, Lifetime: time.Hour},
		}}
	}}, change...)...)
	d.until = h.clock.Now().Add(5 * time.Minute)
	d.knows("olga", identity.Identity{Subject: "o1", Username: "olga", Groups: []string{"ops"}})
	d.knows("ada", identity.Identity{Subject: "a1", Username: "ada", Email: "ada@example.test", Groups: []string{"boss"}})
	return h, d
}

func (h *house) embed(token string, change ...func(at *broker.EmbedAttempt)) (broker.Outcome, error) {
	h.t.Helper()
	e, err := h.Current().Embedder("portal")
	if err != nil {
		h.t.Fatal(err)
	}
	at := broker.EmbedAttempt{Embedder: e, Application: h.app("app"), Origin: portalOrigin}
	for _, c := range change {
		c(&at)
	}
	return h.SignInEmbedded(h.t.Context(), h.visit(), at, token)
}

// framed is who the frame's cookie belongs to at an application.
func (h *house) framed(out broker.Outcome, app *broker.Application) (identity.Principal, error) {
	h.t.Helper()
	return h.Authenticate(h.t.Context(), h.visit(), broker.NewCredential(broker.EmbedCookie, out.Token), app)
}

func TestEMB03_WhoComesThroughAnEmbedderIsSomebodyElseAndCapped(t *testing.T) {
	h, _ := embedding(t)
	admin := h.addAdministrator("ada", "admins")
	out, err := h.embed("ada")
	if err != nil {
		t.Fatal(err)
	}
	p := out.Principal
	if p.Subject == admin.ID || p.Username != "ada@portal-jwt" {
		t.Errorf("became %s, %q", p.Subject, p.Username)
	}
	if slices.ContainsFunc(p.Permissions, func(s string) bool { return strings.HasPrefix(s, "sallyport:") }) {
		t.Errorf("administers the broker: %v", p.Permissions)
	}
	if p.Embedder != "portal" || p.Origin != portalOrigin || !slices.Equal(p.AMR, []string{"ext"}) || out.Session.Kind != sessions.Embed {
		t.Errorf("is %+v in a session of kind %s", p, out.Session.Kind)
	}
	h.reload(func(s *settings) { s.embedders[0].MaxRoles = []string{"viewer"} })
	if p, err = h.framed(out, h.app("app")); err != nil || !slices.Equal(p.Roles, []string{"viewer"}) {
		t.Errorf("after the cap: %v, %v", p.Roles, err)
	}
	h.reload(func(s *settings) { s.embedders[0].MaxRoles = []string{} })
	if _, err = h.framed(out, h.app("app")); identity.CodeOf(err) != "no_role" {
		t.Errorf("with a cap that leaves nothing: %v", err)
	}
}

func TestEMB03_AGrantMadeByHandDoesNotComeThroughAnEmbedder(t *testing.T) {
	h, _ := embedding(t)
	out, err := h.embed("olga")
	if err != nil {
		t.Fatal(err)
	}
	err = h.store.Update(t.Context(), func(tx broker.Tx) error {
		return tx.CreateGrant(t.Context(), people.ManualGrant{
			AccountID: out.Principal.Subject, Permission: broker.Administer, GrantedBy: "cli", GrantedAt: h.clock.Now(),
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	h.reload()
	p, err := h.framed(out, h.app("app"))
	if err != nil || slices.Contains(p.Permissions, broker.Administer) {
		t.Errorf("permissions %v, %v", p.Permissions, err)
	}
}

func TestEMB07_AnEmbeddedSessionOpensItsApplicationAndNothingElse(t *testing.T) {
	h, _ := embedding(t)
	out, err := h.embed("olga")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := h.framed(out, h.app("app")); err != nil || p.Application != "app" {
		t.Fatalf("at its application: %+v, %v", p, err)
	}
	if _, err := h.Authenticate(t.Context(), h.visit(), broker.NewCredential(broker.Cookie, out.Token), h.app("app")); !errors.Is(err, identity.ErrBadCredentials) {
		t.Errorf("under the name of the application's own cookie: %v", err)
	}
	for _, app := range []*broker.Application{h.app("open"), h.Current().SelfApplication} {
		if _, err := h.framed(out, app); !errors.Is(err, identity.ErrBadCredentials) {
			t.Errorf("at %s: %v", app.ID, err)
		}
	}
	if _, _, err := h.CreateKey(t.Context(), h.visit(), out.Principal, broker.NewKey{Name: "k", Application: h.app("app")}); !errors.Is(err, identity.ErrDenied) {
		t.Errorf("makes a key: %v", err)
	}
	if _, err := h.HandOver(t.Context(), h.visit(), out.Principal, h.app("open"), strings.Repeat("x", 43)); !errors.Is(err, identity.ErrDenied) {
		t.Errorf("is handed over: %v", err)
	}
	if got := out.Session.ExpiresAt.Sub(h.clock.Now()); got != time.Hour {
		t.Errorf("lives %s", got)
	}
	h.pass(11 * time.Minute)
	if _, err := h.framed(out, h.app("app")); !errors.Is(err, identity.ErrExpired) {
		t.Errorf("after its idle time: %v", err)
	}
}

func TestEMB02_ATokenOpensTheDoorOnceOnAllNodes(t *testing.T) {
	h, d := embedding(t)
	other := h.beside()
	other.reload(func(s *settings) {
		s.providers, s.embedders, s.rules, s.qualify = h.config.providers, h.config.embedders, h.config.rules, h.config.qualify
	})
	if _, err := h.embed("olga"); err != nil {
		t.Fatal(err)
	}
	for where, node := range map[string]*house{"this node": h, "the other node": other} {
		if _, err := node.embed("olga"); identity.CodeOf(err) != "jwt_replayed" || !errors.Is(err, identity.ErrExpired) {
			t.Errorf("again on %s: %v", where, err)
		}
	}
	if _, err := h.embed("olga again"); err != nil {
		t.Errorf("a token of its own: %v", err)
	}
	d.again = true
	if _, err := h.embed("olga again"); err != nil {
		t.Errorf("where the provider lets tokens be used again: %v", err)
	}
}

func TestSML07_AnAssertionThatComesBackByRedirectIsTakenOnceToo(t *testing.T) {
	h := newHouse(t)
	p := &onceRedirect{redirectDoor: redirectDoor{newDoor("partner")}, until: h.clock.Now().Add(time.Minute)}
	h.partner = p.redirectDoor
	h.reload(func(s *settings) { s.providers = []providers.Provider{h.local, p} })
	id := identity.Identity{Subject: "s1", Username: "sam", Groups: []string{"viewers"}}
	if _, err := h.arrive(id); err != nil {
		t.Fatal(err)
	}
	if _, err := h.arrive(id); identity.CodeOf(err) != "assertion_replayed" {
		t.Errorf("the same assertion in another flow: %v", err)
	}
	p.broken = identity.ErrBadCredentials
	if _, err := h.arrive(id); !errors.Is(err, identity.ErrBadCredentials) {
		t.Errorf("an assertion that cannot be remembered: %v", err)
	}
}

type onceRedirect struct {
	redirectDoor
	until  time.Time
	broken error
}

func (o *onceRedirect) Once(a identity.Assertion) (string, time.Time, bool, error) {
	return "test:" + a.Identity.Subject, o.until, true, o.broken
}

func TestEMB03_RefusalsOfAnEmbedder(t *testing.T) {
	for _, c := range []struct {
		name, token, code string
		change            func(at *broker.EmbedAttempt)
	}{
		{"a page that is not on its list", "olga", "origin_not_allowed", func(at *broker.EmbedAttempt) { at.Origin = "https://portal.example.test:8443" }},
		{"a page with a slash", "olga", "origin_not_allowed", func(at *broker.EmbedAttempt) { at.Origin += "/" }},
		{"no page", "olga", "origin_not_allowed", func(at *broker.EmbedAttempt) { at.Origin = "" }},
		{"an application that is not on its list", "olga", "application_not_allowed", nil},
		{"a token that does not verify", "nobody", "jwt_signature", func(*broker.EmbedAttempt) {}},
		{"a nonce and no verifier", "olga", "jwt_claim", func(*broker.EmbedAttempt) {}},
		{"a nonce of another verifier", "olga", "jwt_claim", func(at *broker.EmbedAttempt) { at.Verifier = "another" }},
		{"a nonce shown again as the verifier", "olga", "jwt_claim", func(at *broker.EmbedAttempt) { at.Verifier = broker.Challenge("verifier") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, d := embedding(t)
			d.nonce = broker.Challenge("verifier")
			change := c.change
			if change == nil {
				change = func(at *broker.EmbedAttempt) { at.Application = h.app("open") }
			}
			if _, err := h.embed(c.token, change); identity.CodeOf(err) != c.code {
				t.Errorf("answered %v", err)
			}
			events := h.events(audit.SignInRefused)
			if last := events[len(events)-1]; last.Code != c.code || last.Detail["embedder"] != "portal" || last.Outcome != "refusal" {
				t.Errorf("event %+v", last)
			}
		})
	}
	t.Run("a nonce of the frame's verifier", func(t *testing.T) {
		h, d := embedding(t)
		d.nonce = broker.Challenge("verifier")
		if _, err := h.embed("olga", func(at *broker.EmbedAttempt) { at.Verifier = "verifier" }); err != nil {
			t.Error(err)
		}
	})
	t.Run("a nonce that is the challenge of no verifier", func(t *testing.T) {
		h, d := embedding(t)
		d.nonce = broker.Challenge("")
		if _, err := h.embed("olga"); identity.CodeOf(err) != "jwt_claim" {
			t.Errorf("answered %v", err)
		}
	})
}

func TestEMB04_ATokenMadeForOneApplicationOpensNoOther(t *testing.T) {
	h, d := embedding(t, func(s *settings) { s.embedders[0].Applications = []string{"app", "open"} })
	for made, want := range map[string]string{"app": "", "open": "jwt_claim", "APP": "jwt_claim", "app ": "jwt_claim", "": ""} {
		d.application, d.again = made, true
		if _, err := h.embed("olga"); identity.CodeOf(err) != want {
			t.Errorf("made for %q: %v", made, err)
		}
	}
}

func TestDOS03_RefusalsOfANetworkAreCountedBeforeItsTokensAreLookedAt(t *testing.T) {
	h, d := embedding(t)
	d.again = true
	from := func(address, token string) error {
		v := h.visit()
		v.Address = address
		e, _ := v.Embedder("portal")
		_, err := h.SignInEmbedded(t.Context(), v, broker.EmbedAttempt{Embedder: e, Application: h.app("app"), Origin: portalOrigin}, token)
		return err
	}
	for range 100 { // an office behind one address
		if err := from("192.0.2.1", "olga"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 30 {
		if err := from("192.0.2.1", "rubbish"); identity.CodeOf(err) != "jwt_signature" {
			t.Fatalf("refusal %d: %v", i, err)
		}
	}
	before := len(h.events(audit.SignInRefused))
	for _, token := range []string{"rubbish", "olga"} {
		err := from("192.0.2.1", token)
		wantErr(t, err, identity.ErrThrottled, "rate_limited")
		if identity.RetryAfter(err) != 2*time.Second {
			t.Errorf("to come back after %s", identity.RetryAfter(err))
		}
	}
	if written := len(h.events(audit.SignInRefused)) - before; written != 0 {
		t.Errorf("%d events of attempts that were not looked at", written)
	}
	if err := from("192.0.2.2", "olga"); err != nil {
		t.Errorf("another address: %v", err)
	}
	for i := range 30 {
		_ = from("2001:db8:1:2::"+strconv.Itoa(i), "rubbish")
	}
	wantErr(t, from("2001:db8:1:2:ffff::1", "olga"), identity.ErrThrottled, "rate_limited")
	if err := from("2001:db8:1:3::1", "olga"); err != nil {
		t.Errorf("another network: %v", err)
	}
	h.pass(2 * time.Second)
	if err := from("192.0.2.1", "olga"); err != nil {
		t.Errorf("a while later: %v", err)
	}
	h.reload(func(s *settings) { s.rules = s.rules[:len(s.rules)-2] })
	h.pass(time.Minute)
	for range 30 { // who is known and may not is refused as well
		_ = from("192.0.2.3", "olga")
	}
	wantErr(t, from("192.0.2.3", "olga"), identity.ErrThrottled, "rate_limited")
}

func TestDOS03_RefusalsAtOnceWriteNoMoreThanRefusalsInARow(t *testing.T) {
	h, d := embedding(t)
	arrived, open := make(chan struct{}, 100), make(chan struct{})
	d.hold = func() { arrived <- struct{}{}; <-open }
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() { _, _ = h.embed("rubbish") })
	}
	for range 100 {
		<-arrived
	}
	close(open)
	all.Wait()
	if n := len(h.events(audit.SignInRefused)); n != 30 {
		t.Errorf("%d events", n)
	}
}

func TestEMB03_AnEmbedderThatLeavesTakesItsSessionsAlong(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *settings)
		code   string
	}{
		"it left the configuration":     {func(s *settings) { s.embedders = nil }, "embedder_removed"},
		"the page is not its any more":  {func(s *settings) { s.embedders[0].Origins = []string{"https://other.example.test"} }, "origin_not_allowed"},
		"it may frame something else":   {func(s *settings) { s.embedders[0].Applications = []string{"open"} }, "application_not_allowed"},
		"its door is another":           {func(s *settings) { s.embedders[0].Provider = "partner" }, "application_not_allowed"},
		"its door left":                 {func(s *settings) { s.providers = s.providers[:len(s.providers)-1] }, "provider_removed"},
		"its people have no role there": {func(s *settings) { s.rules = s.rules[:len(s.rules)-2] }, "no_role"},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := embedding(t)
			out, err := h.embed("olga")
			if err != nil {
				t.Fatal(err)
			}
			h.reload(c.change)
			if _, err := h.framed(out, h.app("app")); identity.CodeOf(err) != c.code {
				t.Errorf("answered %v", err)
			}
		})
	}
}

func TestATokenOfAnEmbeddedSessionSaysWhoVouched(t *testing.T) {
	h, _ := embedding(t)
	out, err := h.embed("olga")
	if err != nil {
		t.Fatal(err)
	}
	claims := claimsOf(t, h.token(out, "app"))
	emb, _ := claims["emb"].(map[string]any)
	if claims["azp"] != "portal" || emb["origin"] != portalOrigin {
		t.Errorf("claims %v", claims)
	}
}

func TestANewEmbeddedSessionReplacesTheFramesFormerOne(t *testing.T) {
	h, _ := embedding(t)
	first, err := h.embed("olga")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.embed("ada", func(at *broker.EmbedAttempt) { at.Replaces = first.Session.ID }); err != nil {
		t.Fatal(err)
	}
	if _, err := h.framed(first, h.app("app")); err == nil {
		t.Error("the former session is alive")
	}
}

func TestSML05_PostedRepliesComeToAnAddressOfTheirOwn(t *testing.T) {
	h := newHouse(t)
	posted := &postedDoor{redirectDoor{newDoor("saml-a")}}
	h.reload(func(s *settings) { s.providers = append(s.providers, posted) })
	document, err := h.ServiceMetadata(h.visit(), "saml-a")
	want := issuer + "/saml/saml-a/metadata at " + issuer + "/saml/saml-a/acs"
	if err != nil || string(document) != want {
		t.Errorf("%q, %v", document, err)
	}
	if _, err := h.ServiceMetadata(h.visit(), "partner"); identity.CodeOf(err) != "provider_unknown" {
		t.Errorf("of a provider without any: %v", err)
	}
	for _, d := range h.Current().Doors() {
		if d.Posts != (d.ID == "saml-a") {
			t.Errorf("door %s posts: %v", d.ID, d.Posts)
		}
	}
}

type postedDoor struct{ redirectDoor }

func (postedDoor) ServiceMetadata(entityID, acsURL string) ([]byte, error) {
	return []byte(entityID + " at " + acsURL), nil
}

func TestEMB03_RolesThatAdministerTheBrokerDoNotComeThroughAnEmbedder(t *testing.T) {
	h, _ := embedding(t)
	out, err := h.embed("ada") // a rule gives admin and keeper; keeper's permissions are the broker's own
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(out.Principal.Roles, "keeper") || !slices.Contains(out.Principal.Roles, "admin") {
		t.Errorf("roles %v", out.Principal.Roles)
	}
}

func TestEMB03_NobodyTakesANameThroughAnEmbedder(t *testing.T) {
	h, _ := embedding(t, func(s *settings) { s.qualify = map[string]bool{} })
	out, err := h.embed("olga")
	if err != nil || out.Principal.Username != "olga@portal-jwt" {
		t.Fatalf("became %q, %v", out.Principal.Username, err)
	}
	if olga := h.addPerson("olga", "viewers"); olga.Username != "olga" {
		t.Errorf("the real one is %q", olga.Username)
	}
}

func TestEMB02_ATokenThatWasRefusedIsUsedUpToo(t *testing.T) {
	h, _ := embedding(t)
	rules := h.config.rules
	h.reload(func(s *settings) { s.rules = s.rules[:len(s.rules)-2] })
	if _, err := h.embed("olga"); identity.CodeOf(err) != "no_role" {
		t.Fatalf("without a rule: %v", err)
	}
	h.reload(func(s *settings) { s.rules = rules })
	if _, err := h.embed("olga"); identity.CodeOf(err) != "jwt_replayed" {
		t.Errorf("again: %v", err)
	}
}

func TestEMB02_WhatWasUsedStaysKnownPastItsEnd(t *testing.T) {
	h, _ := embedding(t)
	if _, err := h.embed("olga"); err != nil {
		t.Fatal(err)
	}
	consume := func(until time.Time) error {
		return h.store.Update(t.Context(), func(tx broker.Tx) error { return tx.Consume(t.Context(), "long over", until) })
	}
	if err := consume(h.clock.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(5*time.Minute + 40*time.Second) // another node's clock may be a minute behind
	end := h.run()
	wait(t, func() error { return consume(h.clock.Now()) }) // once that is forgotten, all is that may be
	end()
	if _, err := h.embed("olga"); identity.CodeOf(err) != "jwt_replayed" {
		t.Errorf("after the clean-up: %v", err)
	}
}
