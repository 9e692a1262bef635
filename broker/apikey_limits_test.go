package broker_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// limitedKey is an API key of the outcome's person at "app", changed as the test wants it.
func (h *house) limitedKey(out broker.Outcome, change func(n *broker.NewKey)) (sessions.Key, string) {
	h.t.Helper()
	n := broker.NewKey{Name: "ci", Application: h.app("app")}
	change(&n)
	k, whole, err := h.CreateKey(h.t.Context(), h.visit(), out.Principal, n)
	if err != nil {
		h.t.Fatal(err)
	}
	return k.Key, whole
}

// under is a visit under other rules for keys.
func (h *house) under(rules broker.KeyRules) broker.Visit {
	v := h.visit()
	snap := *v.Snapshot
	snap.Keys = rules
	v.Snapshot = &snap
	return v
}

func networksOf(t testing.TB, texts ...string) []netip.Prefix {
	t.Helper()
	var out []netip.Prefix
	for _, text := range texts {
		p, err := broker.ParseNetwork(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestKEY02_AKeyOpensFromItsNetworksOnly(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	_, whole := h.limitedKey(in, func(n *broker.NewKey) {
		n.Networks = networksOf(t, "192.0.2.0/24", "198.51.100.7", "2001:db8:1::/48", "::ffff:203.0.113.0/124")
	})
	_, anywhere := h.newKey(in, "app")
	for _, c := range []struct {
		name, address string
		in            bool
	}{
		{"an address of a network", "192.0.2.255", true},
		{"the first address of a network", "192.0.2.0", true},
		{"the same address as IPv6 spells it", "::ffff:192.0.2.9", true},
		{"the address beside the network", "192.0.3.0", false},
		{"one address", "198.51.100.7", true},
		{"its neighbour", "198.51.100.8", false},
		{"IPv6", "2001:db8:1:ffff::1", true},
		{"IPv6 with a zone", "2001:db8:1::1%eth0", true},
		{"another IPv6 network", "2001:db8:2::1", false},
		{"a network that was given as IPv4 within IPv6", "203.0.113.15", true},
		{"past that network", "203.0.113.16", false},
		{"nobody told where from", "", false},
		{"no address", "localhost", false},
		{"an address with a port", "192.0.2.1:80", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := h.visit()
			v.Address = c.address
			_, err := h.Authenticate(t.Context(), v, broker.NewCredential(broker.APIKey, whole), h.app("app"))
			_, acts := h.Act(t.Context(), v, broker.NewCredential(broker.APIKey, whole), h.app("app"), "GET")
			_, open := h.Authorize(t.Context(), v, broker.Request{
				Application: h.app("app"), Credential: broker.NewCredential(broker.APIKey, whole), Method: "GET", Path: "/",
			})
			for _, err := range []error{err, acts, open} {
				if c.in && err != nil {
					t.Fatal(err)
				}
				if !c.in {
					wantErr(t, err, identity.ErrDenied, "key_network")
				}
			}
			if _, err := h.Authenticate(t.Context(), v, broker.NewCredential(broker.APIKey, anywhere), h.app("app")); err != nil {
				t.Fatalf("a key without networks: %v", err)
			}
		})
	}
}

func TestNetworksHaveOneSpelling(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1":              "192.0.2.1/32",
		"192.0.2.77/24":          "192.0.2.0/24",
		"0.0.0.0/0":              "0.0.0.0/0",
		"2001:DB8::1":            "2001:db8::1/128",
		"2001:db8::ffff/32":      "2001:db8::/32",
		"::ffff:192.0.2.1":       "192.0.2.1/32",
		"::ffff:192.0.2.9/120":   "192.0.2.0/24",
		"::ffff:0.0.0.0/96":      "0.0.0.0/0",
		"::/0":                   "::/0",
		"::ffff:192.0.2.1/95":    "",
		"192.0.2.0/33":           "",
		"192.0.2.0/-1":           "",
		"192.0.2.0/024":          "",
		"192.0.2.0/":             "",
		"192.0.2.0/255.0.0.0":    "",
		"192.0.2":                "",
		"192.000.002.001":        "",
		"fe80::1%eth0":           "",
		"fe80::%eth0/64":         "",
		"":                       "",
		" 192.0.2.1":             "",
		"example.org":            "",
		"192.0.2.1, 192.0.2.2":   "",
		"192.0.2.0/24/24":        "",
		"::ffff:192.0.2.1%0/128": "",
	} {
		t.Run(text, func(t *testing.T) {
			got, err := broker.ParseNetwork(text)
			if want == "" {
				wantErr(t, err, identity.ErrInvalid, "network_invalid")
				return
			}
			if err != nil || got.String() != want {
				t.Fatalf("read as %s, %v", got, err)
			}
			if again, err := broker.ParseNetwork(got.String()); err != nil || again != got {
				t.Fatalf("%s is read as %s, %v", got, again, err)
			}
		})
	}
}

func FuzzParseNetwork(f *testing.F) {
	for _, seed := range []string{"192.0.2.0/24", "2001:db8::/32", "::ffff:1.2.3.4/100", "fe80::1%a", "1.2.3.4", "::/0", "/", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := broker.ParseNetwork(text)
		if err != nil {
			if identity.CodeOf(err) != "network_invalid" || p.IsValid() {
				t.Fatalf("%q: %v with %v", text, err, p)
			}
			return
		}
		if !p.IsValid() || p.Masked() != p || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			t.Fatalf("%q is read as %v", text, p)
		}
		if again, err := broker.ParseNetwork(p.String()); err != nil || again != p {
			t.Fatalf("%q is read as %v, which is read as %v, %v", text, p, again, err)
		}
	})
}

func TestANewKeyKeepsItsLimitsInOneSpelling(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	k, _ := h.limitedKey(in, func(n *broker.NewKey) {
		n.Networks = []netip.Prefix{ // as a caller may make them by hand
			netip.MustParsePrefix("2001:db8::1/32"), netip.MustParsePrefix("192.0.2.9/24"), netip.MustParsePrefix("192.0.2.0/24"),
			netip.MustParsePrefix("::ffff:10.1.2.3/104"),
		}
		n.ReadOnly, n.Requests, n.Per = true, 100, time.Minute
	})
	want := networksOf(t, "10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32")
	list, err := h.Keys(t.Context(), in.Principal)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d keys, %v", len(list), err)
	}
	equal := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	for what, diff := range map[string]string{
		"made": cmp.Diff(want, k.Networks, equal), "kept": cmp.Diff(k, list[0], equal),
	} {
		if diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	if !k.ReadOnly || k.Requests != 100 || k.Per != time.Minute {
		t.Errorf("key is %+v", k)
	}
}

func TestLimitsThatMakeNoSenseAreRefused(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	for _, c := range []struct {
		name, code string
		change     func(n *broker.NewKey)
	}{
		{"more than 50 networks", "network_invalid", func(n *broker.NewKey) { n.Networks = make([]netip.Prefix, 51) }},
		{"no network among networks", "network_invalid", func(n *broker.NewKey) { n.Networks = make([]netip.Prefix, 1) }},
		{"IPv4 within IPv6 and more", "network_invalid", func(n *broker.NewKey) {
			n.Networks = []netip.Prefix{netip.MustParsePrefix("::ffff:0.0.0.0/90")}
		}},
		{"a rate without a time", "rate_invalid", func(n *broker.NewKey) { n.Requests = 1 }},
		{"a rate without requests", "rate_invalid", func(n *broker.NewKey) { n.Per = time.Second }},
		{"a negative rate", "rate_invalid", func(n *broker.NewKey) { n.Requests, n.Per = -1, time.Second }},
		{"a time below a second", "rate_invalid", func(n *broker.NewKey) { n.Requests, n.Per = 1, time.Millisecond }},
		{"a time above a day", "rate_invalid", func(n *broker.NewKey) { n.Requests, n.Per = 1, 25*time.Hour }},
		{"more than a million requests", "rate_invalid", func(n *broker.NewKey) { n.Requests, n.Per = 1_000_001, time.Hour }},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := broker.NewKey{Name: "ci", Application: h.app("app")}
			c.change(&n)
			_, whole, err := h.CreateKey(t.Context(), h.visit(), in.Principal, n)
			wantErr(t, err, identity.ErrInvalid, c.code)
			if whole != "" {
				t.Fatal("a refusal came with a key")
			}
		})
	}
}

func TestAKeyWithoutAnEndNeedsThePolicy(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	create := func(never bool, life time.Duration, rules broker.KeyRules) (broker.IssuedKey, string, error) {
		return h.CreateKey(t.Context(), h.under(rules), in.Principal,
			broker.NewKey{Name: "ci", Application: h.app("app"), Never: never, Lifetime: life})
	}
	rules := h.Current().Keys
	_, _, err := create(true, 0, rules)
	wantErr(t, err, identity.ErrInvalid, "lifetime_invalid")
	rules.NeverExpire = true
	_, _, err = create(true, time.Hour, rules) // it is one or the other
	wantErr(t, err, identity.ErrInvalid, "lifetime_invalid")
	k, whole, err := create(true, 0, rules)
	if err != nil || !k.ExpiresAt.Equal(sessions.Never()) {
		t.Fatalf("key is %+v, %v", k, err)
	}
	other, _, err := create(false, 0, rules) // where nothing is said, it ends all the same
	if err != nil || !other.ExpiresAt.Equal(h.clock.Now().Add(rules.DefaultLifetime)) {
		t.Fatalf("key is %+v, %v", other, err)
	}
	h.pass(20 * 365 * 24 * time.Hour)
	h.opens(apiKey(whole, "app"))
}

func TestAKeysOwnRateCountsRequestsAndNoLooks(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	_, whole := h.limitedKey(in, func(n *broker.NewKey) { n.Requests, n.Per = 3, time.Minute })
	_, other := h.limitedKey(in, func(n *broker.NewKey) { n.Requests, n.Per = 3, time.Minute })
	shown := apiKey(whole, "app")
	act := func(whole string) error {
		_, err := h.Act(t.Context(), h.visit(), broker.NewCredential(broker.APIKey, whole), h.app("app"), "GET")
		return err
	}
	for range 20 {
		h.opens(shown)
	}
	h.told("GET", "/", &shown, "")
	for range 2 {
		if err := act(whole); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, act(whole), identity.ErrThrottled, "rate_limited") // both ways count together
	h.told("GET", "/", &shown, "rate_limited")
	h.opens(shown)
	if err := act(other); err != nil {
		t.Fatalf("another key of the same person: %v", err)
	}
	h.clock.Advance(20 * time.Second)
	if err := act(whole); err != nil {
		t.Fatalf("after a third of the time: %v", err)
	}
	wantErr(t, act(whole), identity.ErrThrottled, "rate_limited")
}

func TestAReadOnlyKeyChangesNothing(t *testing.T) {
	h := newHouse(t, withRules(&broker.Rule{Path: "/open/", Public: true}))
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	_, whole := h.limitedKey(in, func(n *broker.NewKey) { n.ReadOnly = true })
	_, writes := h.newKey(in, "app")
	for method, code := range map[string]string{
		"GET": "", "HEAD": "", "OPTIONS": "",
		"POST": "key_read_only", "PUT": "key_read_only", "PATCH": "key_read_only", "DELETE": "key_read_only",
		"CONNECT": "key_read_only", "TRACE": "key_read_only", "PROPFIND": "key_read_only", "get": "key_read_only",
		"": "key_read_only", // a proxy that does not tell
	} {
		t.Run("method "+method, func(t *testing.T) {
			for value, code := range map[string]string{whole: code, writes: ""} {
				c := apiKey(value, "app")
				h.told(method, "/", &c, code)
				h.told(method, "/open/", &c, code)
				_, err := h.Act(t.Context(), h.visit(), broker.NewCredential(broker.APIKey, value), h.app("app"), method)
				if identity.CodeOf(err) != code || (err == nil) != (code == "") {
					t.Errorf("%v, want %q", err, code)
				}
			}
		})
	}
	if p := h.opens(apiKey(whole, "app")); !p.ReadOnly {
		t.Error("the principal does not say so")
	}
}

func TestLastUseIsRecordedOnceAMinuteAndOutlivesTheProcess(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	_, whole := h.newKey(in, "app")
	used := func(h *house) time.Time {
		t.Helper()
		if err := h.FlushSeen(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := h.Keys(t.Context(), in.Principal)
		if err != nil || len(list) != 1 {
			t.Fatalf("%d keys, %v", len(list), err)
		}
		return list[0].LastUsedAt
	}
	if at := used(h); !at.IsZero() {
		t.Fatalf("never used, last use is %s", at)
	}
	first := h.clock.Now()
	h.opens(apiKey(whole, "app"))
	h.pass(30 * time.Second)
	h.opens(apiKey(whole, "app"))
	if at := used(h); !at.Equal(first) {
		t.Fatalf("last use is %s, want %s", at, first)
	}
	h.pass(31 * time.Second)
	again := h.clock.Now()
	h.opens(apiKey(whole, "app"))
	if at := used(h); !at.Equal(again) {
		t.Fatalf("last use is %s, want %s", at, again)
	}
	if at := used(h.beside()); !at.Equal(again) { // a process that was started after
		t.Fatalf("last use is %s, want %s", at, again)
	}
}
