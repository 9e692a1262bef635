package broker_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/identity"
)

// ruledHouse has the application "app" with rules.
func ruledHouse(t testing.TB, rules ...*broker.Rule) *house {
	t.Helper()
	return newHouse(t, withRules(rules...))
}

func withRules(rules ...*broker.Rule) func(s *settings) {
	return func(s *settings) {
		app := *s.apps[0]
		app.Rules = rules
		s.apps = slices.Clone(s.apps)
		s.apps[0] = &app
	}
}

// wants asks for a path of the application "app".
func (h *house) wants(method, path string, c *credential) (broker.Access, error) {
	h.t.Helper()
	q := broker.Request{Application: h.app("app"), Method: method, Path: path}
	if c != nil {
		q.Credential = broker.NewCredential(c.carrier, c.value)
	}
	return h.Authorize(h.t.Context(), h.visit(), q)
}

// told wants an answer: "" is yes.
func (h *house) told(method, path string, c *credential, code string) broker.Access {
	h.t.Helper()
	a, err := h.wants(method, path, c)
	if identity.CodeOf(err) != code || (err == nil) != (code == "") {
		h.t.Errorf("%s %s: %v, want %q", method, path, err, code)
	}
	if err != nil && (a.Principal.Subject != "" || a.Token != "") {
		h.t.Errorf("%s %s: a refusal came with %+v", method, path, a)
	}
	return a
}

// at is a signed-in person's cookie at the application "app".
func (h *house) at(name string, groups ...string) *credential {
	h.t.Helper()
	h.addPerson(name, groups...)
	c := cookie(h.child(h.signIn(name), "app"))
	return &c
}

func TestTheRuleWithTheLongestPathCounts(t *testing.T) {
	h := ruledHouse(
		t,
		&broker.Rule{Path: "/", Methods: []string{"GET"}},
		&broker.Rule{Path: "/a/", Methods: []string{"POST"}},
		&broker.Rule{Path: "/a/b", Methods: []string{"PUT"}},
		&broker.Rule{Path: "/a/b/", Methods: []string{"DELETE"}},
		&broker.Rule{Path: "/a/b/", Methods: []string{"PATCH"}, Require: []string{"admin"}},
		&broker.Rule{Path: "/ä b/", Methods: []string{"PUT"}},
	)
	lena := h.at("lena", "operators")
	for _, c := range []struct{ method, path, code string }{
		{"GET", "/", ""},
		{"GET", "/x", ""},
		{"GET", "/a", "method_denied"}, // to many servers the same as "/a/"
		{"POST", "/a", ""},
		{"POST", "/a/bc/", ""},
		{"GET", "/ab/", ""},
		{"POST", "/x", "method_denied"},
		{"POST", "/a/", ""},
		{"POST", "/a/x", ""},
		{"POST", "/a/bc", ""}, // a path without a slash at its end is that one only
		{"GET", "/a/x", "method_denied"},
		{"PUT", "/a/b", ""},
		{"POST", "/a/b", "method_denied"},
		{"DELETE", "/a/b", "method_denied"},
		{"DELETE", "/a/b/", ""},
		{"DELETE", "/a/b/c/d", ""},
		{"PUT", "/a/b/", "method_denied"},
		{"PATCH", "/a/b/c", "no_role"}, // of two rules, the refusal that came closest
		{"PUT", "/ä b/x", ""},
		{"GET", "/A/x", "path_not_canonical"}, // to some servers the same as "/a/x"
		{"GET", "/a/B", "path_not_canonical"},
		{"GET", "/X", ""},
		{"", "/x", "method_denied"},
		{"get", "/x", "method_denied"},
	} {
		h.told(c.method, c.path, lena, c.code)
	}
	h.told("GET", "/x", nil, "unauthenticated")
	if _, err := h.wants("GET", "/x", nil); !errors.Is(err, broker.ErrNoCredential) {
		t.Errorf("nothing shown: %v", err)
	}
}

func TestWhatNoRuleSpeaksOfNeedsWhatTheApplicationRequires(t *testing.T) {
	h := ruledHouse(t, &broker.Rule{Path: "/a/", Methods: []string{"GET"}})
	lena := h.at("lena", "operators")
	h.told("DELETE", "/b", lena, "")
	h.told("DELETE", "/b", nil, "unauthenticated")
	h.told("DELETE", "/a/x", lena, "method_denied")
}

func TestHEADIsAllowedWhereGETIs(t *testing.T) {
	h := ruledHouse(
		t, &broker.Rule{Path: "/", Methods: []string{"GET"}}, &broker.Rule{Path: "/post/", Methods: []string{"POST"}},
		&broker.Rule{Path: "/head/", Methods: []string{"HEAD"}},
	)
	lena := h.at("lena", "operators")
	h.told("HEAD", "/x", lena, "")
	h.told("HEAD", "/post/x", lena, "method_denied")
	h.told("GET", "/head/x", lena, "method_denied")
	h.told("HEAD", "/head/x", lena, "")
}

func TestAPublicPathIsForEverybody(t *testing.T) {
	h := ruledHouse(
		t, &broker.Rule{Path: "/", Require: []string{"operator"}}, &broker.Rule{Path: "/open/", Methods: []string{"GET"}, Public: true},
	)
	lena, vera := h.at("lena", "operators"), h.at("vera", "viewers")
	if a := h.told("GET", "/open/x", nil, ""); a.Principal.Subject != "" || a.Token != "" {
		t.Errorf("nobody is %+v", a)
	}
	if a := h.told("GET", "/open/x", lena, ""); a.Principal.Username != "lena" {
		t.Errorf("lena is %+v", a)
	}
	if a := h.told("GET", "/open/x", vera, ""); a.Principal.Username != "vera" {
		t.Errorf("vera is %+v", a)
	}
	if a := h.told("GET", "/open/x", &credential{broker.Cookie, "nonsense", "app"}, ""); a.Principal.Subject != "" {
		t.Errorf("a credential that opens nothing is %+v", a)
	}
	h.told("POST", "/open/x", nil, "unauthenticated")
	h.told("POST", "/open/x", lena, "method_denied")
	h.told("GET", "/x", nil, "unauthenticated")
	h.told("GET", "/x", vera, "no_role")

	// Who has no role that admits to the application is nobody in particular where everybody is welcome.
	if err := h.SetGroups(t.Context(), h.visit(), "test", "vera", []string{"keepers"}); err != nil {
		t.Fatal(err)
	}
	if a := h.told("GET", "/open/x", vera, ""); a.Principal.Subject != "" {
		t.Errorf("without a role vera is %+v", a)
	}
}

func TestFWD03_APublicPathIsNoReasonToGuess(t *testing.T) {
	h := ruledHouse(t, &broker.Rule{Path: "/", Public: true})
	lena := h.at("lena", "operators")
	h.told("GET", "/x", lena, "")
	h.clock.Advance(time.Minute)
	h.store.set(func(f *faults) { f.any = func() error { return identity.ErrUnavailable } })
	if _, err := h.wants("GET", "/x", lena); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("a store that does not answer: %v", err)
	}
	h.told("GET", "/x", nil, "") // nothing has to be known of who shows nothing
}

func TestARuleNamesTheCarriersItTakes(t *testing.T) {
	h := ruledHouse(
		t,
		&broker.Rule{Path: "/cookie/", Carriers: []broker.Carrier{broker.Cookie}},
		&broker.Rule{Path: "/bearer/", Carriers: []broker.Carrier{broker.Bearer}},
		&broker.Rule{Path: "/key/", Carriers: []broker.Carrier{broker.APIKey}},
		&broker.Rule{Path: "/programs/", Carriers: []broker.Carrier{broker.APIKey, broker.Bearer}},
		&broker.Rule{Path: "/split/", Carriers: []broker.Carrier{broker.Cookie}, Methods: []string{"GET"}},
		&broker.Rule{Path: "/split/", Carriers: []broker.Carrier{broker.APIKey}, Require: []string{"operator"}},
	)
	h.addPerson("lena", "operators")
	out := h.signIn("lena")
	child := h.child(out, "app")
	_, whole := h.newKey(out, "app")
	shown := map[string]credential{
		"cookie": cookie(child), "bearer": h.bearer(child), "key": apiKey(whole, "app"),
		"token cookie": {broker.TokenCookie, h.token(child, "app"), "app"},
	}
	for path, welcome := range map[string][]string{
		"/cookie/": {"cookie", "token cookie"}, "/bearer/": {"bearer"}, "/key/": {"key"}, "/programs/": {"bearer", "key"},
		"/split/": {"key"}, "/else": {"cookie", "token cookie", "bearer", "key"},
	} {
		for name, c := range shown {
			code := "carrier_denied"
			if slices.Contains(welcome, name) {
				code = ""
			}
			if _, err := h.wants("POST", path, &c); identity.CodeOf(err) != code {
				t.Errorf("%s with a %s: %v, want %q", path, name, err, code)
			}
		}
	}
}

func TestALimitCountsEachPersonKeyAndAddressForItself(t *testing.T) {
	h := ruledHouse(
		t, &broker.Rule{Path: "/", Requests: 3, Per: time.Minute}, &broker.Rule{Path: "/open", Public: true, Requests: 2, Per: time.Minute},
	)
	h.addPerson("lena", "operators")
	out := h.signIn("lena")
	lena, again := cookie(h.child(out, "app")), cookie(h.child(h.signIn("lena"), "app"))
	defer func() { h.told("GET", "/", &again, "rate_limited") }() // another session does not begin another count
	_, whole := h.newKey(out, "app")
	key, vera := apiKey(whole, "app"), *h.at("vera", "viewers")
	for name, c := range map[string]*credential{"a session": &lena, "a key": &key, "somebody else": &vera} {
		for range 3 {
			h.told("GET", "/"+name, c, "") // other paths of the rule count too
		}
		_, err := h.wants("GET", "/", c)
		wantErr(t, err, identity.ErrThrottled, "rate_limited")
		if after := identity.RetryAfter(err); after != 20*time.Second {
			t.Errorf("%s may come back in %s", name, after)
		}
	}
	h.pass(20 * time.Second)
	h.told("GET", "/", &lena, "")
	h.told("GET", "/", &lena, "rate_limited")
	h.pass(10 * time.Minute)
	for range 3 {
		h.told("GET", "/", &lena, "") // never more than the limit at once
	}
	h.told("GET", "/", &lena, "rate_limited")

	from := func(address string) error {
		v := h.visit()
		v.Address = address
		_, err := h.Authorize(t.Context(), v, broker.Request{Application: h.app("app"), Method: "GET", Path: "/open"})
		return err
	}
	for _, address := range []string{"192.0.2.1", "192.0.2.2", "2001:db8::1"} {
		if err := errors.Join(from(address), from(address)); err != nil {
			t.Fatal(err)
		}
		wantErr(t, from(address), identity.ErrThrottled, "rate_limited")
	}
	h.told("GET", "/open", &vera, "") // known: counted as a session, not as an address
	h.told("GET", "/open", &vera, "")
	h.told("GET", "/open", &vera, "rate_limited")
}

func TestWhoIsRefusedDoesNotUseUpALimit(t *testing.T) {
	h := ruledHouse(t, &broker.Rule{Path: "/", Methods: []string{"GET"}, Requests: 1, Per: time.Minute})
	lena := h.at("lena", "operators")
	for range 3 {
		h.told("POST", "/", lena, "method_denied")
	}
	h.told("GET", "/", lena, "")
	h.told("GET", "/", lena, "rate_limited")
}
