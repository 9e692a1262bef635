package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
)

const window = 15 * time.Minute

// bounds are small enough to be reached, and all different.
func bounds() broker.ThrottleRules {
	return broker.ThrottleRules{Window: window, PerAccountAndSource: 3, PerAccount: 5, PerSource: 8}
}

// bound puts limits in force.
func (h *house) bound(r broker.ThrottleRules) *house {
	h.t.Helper()
	s := *h.Current()
	s.Throttle = r
	if _, err := h.Load(h.t.Context(), &s); err != nil {
		h.t.Fatal(err)
	}
	return h
}

// boundHouse has ada, dora and the limits of bounds.
func boundHouse(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.addPerson("dora", "viewers")
	return h.bound(bounds())
}

// from is a visit from an address.
func (h *house) from(address string) broker.Visit {
	v := h.visit()
	v.Address = address
	return v
}

// tried is one sign-in with a password typed.
type tried struct{ address, device, provider, username, password string }

func (h *house) try(c tried) error {
	h.t.Helper()
	at := h.atBroker()
	at.Device = c.device
	_, err := h.SignInWithPassword(h.t.Context(), h.from(c.address), at, c.provider, c.username, c.password)
	return err
}

// fails wants n tries looked at and refused.
func (h *house) fails(n int, c tried) {
	h.t.Helper()
	for range n {
		before := h.local.calls.Load()
		wantErr(h.t, h.try(c), identity.ErrBadCredentials, "")
		if h.local.calls.Load() == before {
			h.t.Fatal("the provider was not asked: the test shows nothing")
		}
	}
}

// shutOut wants a try refused unseen, for the rest of a window.
func (h *house) shutOut(c tried, rest time.Duration) {
	h.t.Helper()
	before := h.local.calls.Load()
	err := h.try(c)
	wantErr(h.t, err, identity.ErrThrottled, "too_many_attempts")
	if got := identity.RetryAfter(err); got != rest {
		h.t.Fatalf("come back after %v, want %v", got, rest)
	}
	if h.local.calls.Load() != before {
		h.t.Fatal("a password was looked at")
	}
}

// counts are what failed, as SCOPE/LABEL.
func (h *house) counts() map[string]int {
	h.t.Helper()
	list, err := h.Lockouts(h.t.Context(), h.Current(), "", 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	out := map[string]int{}
	for _, l := range list {
		if l.Count > 0 {
			out[l.Scope+"/"+l.Label] += l.Count
		}
	}
	return out
}

func (h *house) counted(want map[string]int) {
	h.t.Helper()
	if diff := cmp.Diff(want, h.counts()); diff != "" {
		h.t.Fatal(diff)
	}
}

func address(i int) string { return fmt.Sprintf("198.51.100.%d", i) }

func TestLOC04_TheTryPastALimitIsRefusedUnseenUntilTheWindowEnds(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit int
		of    func(i int) tried
	}{
		{"a name from one source", 3, func(int) tried { return tried{address(1), "", "", "ada", "wrong"} }},
		{"a name from everywhere", 5, func(i int) tried { return tried{address(i), "", "", "ada", "wrong"} }},
		{"a source, whatever the names", 8, func(i int) tried {
			return tried{address(1), "", "", fmt.Sprintf("person%d", i), "wrong"}
		}},
		{"a customer's IPv6 network", 3, func(i int) tried {
			return tried{fmt.Sprintf("2001:db8:1:2::%x", i), "", "", "ada", "wrong"}
		}},
		{"no address at all is one source", 3, func(int) tried { return tried{"", "", "", "ada", "wrong"} }},
		{"a known browser", 3, func(i int) tried { return tried{address(i), "browser", "", "ada", "wrong"} }},
		{"a name in other spellings", 3, func(i int) tried {
			spelled := []string{"ada", " ADA ", "ａｄａ", "a\u00adda", "ad\u200ba", "\u2066ada\u2069", "ada\x00", "ada\ufe0f"}[i%8]
			return tried{address(1), "", "", spelled, "wrong"}
		}},
		{"a name with other marks", 3, func(i int) tried {
			spelled := []string{"álice", "a\u0301lice", "alïce", "ALICE", "ali\u0338ce", "\u2018alice\u2019", "alice*", "al\u034fice", "a´lice"}[i%9]
			return tried{address(1), "", "", spelled, "wrong"}
		}},
		{"a name with letters that directories take for others", 3, func(i int) tried {
			return tried{address(1), "", "", []string{"groß", "GROSS", "grøss", "gro\u0338ss", "GRØẞ"}[i%5], "wrong"}
		}},
		{"all known browsers of a name together", 5, func(i int) tried {
			return tried{address(i), fmt.Sprintf("browser%d", i), "", "ada", "wrong"}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := boundHouse(t)
			for i := range c.limit {
				h.fails(1, c.of(i))
			}
			h.clock.Advance(5 * time.Minute)
			h.shutOut(c.of(c.limit), 10*time.Minute)
			right := c.of(c.limit)
			right.password = password
			h.shutOut(right, 10*time.Minute)
			h.clock.Advance(10*time.Minute - time.Millisecond)
			h.shutOut(right, time.Second)
			h.clock.Advance(time.Millisecond)
			h.fails(1, c.of(c.limit))
		})
	}
}

func TestLOC04_TwoNodesAndARestartBetweenTheTriesShareTheCount(t *testing.T) {
	h := boundHouse(t)
	wrong := tried{address(1), "", "", "ada", "wrong"}
	h.fails(1, wrong)
	t.Run("another node, which then stops", func(t *testing.T) {
		other := openHouse(t, h.path, h.key, h.clock).bound(bounds())
		other.fails(1, wrong)
	})
	t.Run("a new start", func(t *testing.T) {
		again := openHouse(t, h.path, h.key, h.clock).bound(bounds())
		again.fails(1, wrong)
		again.shutOut(wrong, window)
	})
	h.shutOut(wrong, window)
	h.shutOut(tried{address(1), "", "", "ada", password}, window)
	t.Run("another user's success changes nothing", func(t *testing.T) {
		if err := h.try(tried{address(1), "", "", "dora", password}); err != nil {
			t.Fatal(err)
		}
		h.shutOut(wrong, window)
		h.counted(map[string]int{"pair/ada": 3, "account/ada": 3, "source/" + address(1): 3})
	})
}

func TestLOC04_OnesOwnAccountDoesNotResetTheSource(t *testing.T) {
	h := boundHouse(t)
	for i := range 8 { // the way around: a success of one's own before each guess
		if err := h.try(tried{address(1), "", "", "dora", password}); err != nil {
			t.Fatal(err)
		}
		h.fails(1, tried{address(1), "", "", fmt.Sprintf("person%d", i), "wrong"})
	}
	h.shutOut(tried{address(1), "", "", "ada", "wrong"}, window)
	h.shutOut(tried{address(1), "", "", "dora", password}, window)
}

func TestLOC04_OfManyGuessesAtOnceOnlySoManyAreLookedAt(t *testing.T) {
	h := boundHouse(t)
	before := h.local.calls.Load()
	won, lost := parallel(40, func(int) error { return h.try(tried{address(1), "", "", "ada", "wrong"}) })
	if n := h.local.calls.Load() - before; n != 3 || won != 0 {
		t.Fatalf("%d were looked at, %d went in", n, won)
	}
	throttled := 0
	for _, err := range lost {
		if errors.Is(err, identity.ErrThrottled) {
			throttled++
		}
	}
	if throttled != 37 {
		t.Fatalf("%d of 40 were refused unseen", throttled)
	}
	if began := h.events(audit.LockoutBegan); len(began) != 1 {
		t.Fatalf("told %d times: %+v", len(began), began)
	}
}

func TestLOC03_NamesThatNobodyHasAreThrottledLikeOthers(t *testing.T) {
	h := boundHouse(t)
	if err := h.SetDisabled(t.Context(), h.visit(), "cli", "dora", true); err != nil {
		t.Fatal(err)
	}
	for i, c := range []tried{
		{"", "", "", "ada", "wrong"},
		{"", "", "", "nobody", "wrong"},
		{"", "", "", "dora", password},
		{"", "", "", "some body", "wrong"},
		{"", "", "", "", "wrong"},
		{"", "", "", "ada", ""},
	} {
		t.Run(fmt.Sprintf("%q with %q", c.username, c.password), func(t *testing.T) {
			c.address = address(100 + i)
			if c.username == "ada" && c.password == "" {
				c.username = "ADA " // the account itself has failed three times by now, and five are allowed
				h.fails(2, c)
				h.shutOut(c, window)
				return
			}
			h.fails(3, c)
			h.shutOut(c, window)
		})
	}
}

func TestDOS05_AFloodFromOneSourceClosesNoAccountForOthers(t *testing.T) {
	h := boundHouse(t)
	wrong := tried{address(1), "", "", "ada", "wrong"}
	h.fails(3, wrong)
	for range 200 {
		h.shutOut(wrong, window)
	}
	h.counted(map[string]int{"pair/ada": 3, "account/ada": 3, "source/" + address(1): 3})
	if err := h.try(tried{address(2), "", "", "ada", password}); err != nil {
		t.Fatal(err)
	}
	t.Run("and a source at its limit counts against no account", func(t *testing.T) {
		for i := range 5 {
			h.fails(1, tried{address(1), "", "", fmt.Sprintf("person%d", i), "wrong"})
		}
		h.shutOut(tried{address(1), "", "", "dora", "wrong"}, window)
		if n := h.counts()["account/dora"]; n != 0 {
			t.Fatalf("%d count against dora", n)
		}
	})
}

func TestDOS05_ABrowserThatWasThereBeforeIsCountedByItself(t *testing.T) {
	h := boundHouse(t)
	for i := range 5 {
		h.fails(1, tried{address(i), "", "", "ada", "wrong"}) // from everywhere at once
	}
	h.shutOut(tried{address(9), "", "", "ada", password}, window)
	h.fails(1, tried{address(9), "hers", "", "ada", "wrong"})
	if err := h.try(tried{address(9), "hers", "", "ada", password}); err != nil {
		t.Fatalf("her own browser is shut out: %v", err)
	}
	h.shutOut(tried{address(9), "", "", "ada", password}, window)
	h.fails(3, tried{address(9), "stolen", "", "ada", "wrong"})
	h.shutOut(tried{address(9), "stolen", "", "ada", password}, window)
	if err := h.try(tried{address(9), "hers", "", "ada", password}); err != nil {
		t.Fatalf("another's copy shuts hers out: %v", err)
	}
	want := map[string]int{"account/ada": 5, "pair/ada": 5, "device/ada": 3, "devices/ada": 4, "source/" + address(9): 4}
	for i := range 5 {
		want["source/"+address(i)] = 1
	}
	h.counted(want)
}

func TestLOC04_WhoOnceKnewThePasswordHasAsManyGuessesAsEverybodyHoweverManyBrowsersKnowThem(t *testing.T) {
	h := boundHouse(t).bound(broker.ThrottleRules{Window: window, PerAccountAndSource: 10, PerAccount: 50, PerSource: 100})
	before := h.local.calls.Load()
	for d := range 60 {
		for range 10 {
			_ = h.try(tried{address(d / 10), fmt.Sprintf("browser%d", d), "", "ada", "guess"})
		}
	}
	if n := h.local.calls.Load() - before; n != 50 {
		t.Fatalf("%d guesses were looked at, 50 are allowed", n)
	}
	began := h.events(audit.LockoutBegan)
	scopes := map[string]int{}
	for _, e := range began {
		scopes[e.Detail["scope"]]++
	}
	if !cmp.Equal(scopes, map[string]int{"device": 5, "devices": 1}) {
		t.Errorf("told %v", scopes)
	}
	t.Run("and a success in one of them clears no other", func(t *testing.T) {
		h := boundHouse(t)
		h.fails(2, tried{address(1), "one", "", "ada", "wrong"})
		h.fails(2, tried{address(1), "two", "", "ada", "wrong"})
		if err := h.try(tried{address(1), "two", "", "ada", password}); err != nil {
			t.Fatal(err)
		}
		h.counted(map[string]int{"device/ada": 2, "devices/ada": 4, "source/" + address(1): 4})
	})
	t.Run("and a limit of them shuts out no browser that nobody knows", func(t *testing.T) {
		h := boundHouse(t)
		for d := range 5 {
			h.fails(1, tried{address(1), fmt.Sprintf("browser%d", d), "", "ada", "wrong"})
		}
		h.shutOut(tried{address(2), "another", "", "ada", password}, window)
		if err := h.try(tried{address(2), "", "", "ada", password}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLOC04_NamesThatDifferToADirectoryAreCountedApart(t *testing.T) {
	h := boundHouse(t).bound(broker.ThrottleRules{Window: window, PerAccountAndSource: 3, PerAccount: 5})
	for i, name := range []string{"alice", "CORP\\alice", "alice@one.example", "alice.", "al-ice", "al_ice", "\u0430lice", "אלי", "alice1"} {
		h.fails(3, tried{address(10 + i), "", "", name, "wrong"})
		h.fails(2, tried{address(100 + i), "", "", name, "wrong"})
		h.shutOut(tried{address(100 + i), "", "", name, "wrong"}, window)
	}
}

func TestLOC03_WhatCountsTogetherDoesNotTellWhoIsOnRecord(t *testing.T) {
	for _, name := range []string{"ada", "nobody"} {
		t.Run(name, func(t *testing.T) {
			h := boundHouse(t)
			for i := range 5 {
				h.fails(1, tried{address(i), "", "", name + "@one.example", "wrong"})
			}
			h.shutOut(tried{address(9), "", "", name + "@one.example", "wrong"}, window)
			wantErr(t, h.try(tried{address(9), "", "", name, "wrong"}), identity.ErrBadCredentials, "")
		})
	}
}

func TestLOC04_WhatIsNoGuessIsTakenBack(t *testing.T) {
	nobodyCounts := map[string]int{}
	oneCounts := map[string]int{"pair/ada": 1, "account/ada": 1, "source/" + address(1): 1}
	for _, c := range []struct {
		name string
		try  func(t *testing.T, h *house) error
		want map[string]int
	}{
		{"the right password", func(_ *testing.T, h *house) error {
			return h.try(tried{address(1), "", "", "ada", password})
		}, nobodyCounts},
		{"the right password after two wrong ones", func(_ *testing.T, h *house) error {
			h.fails(2, tried{address(1), "", "", "ada", "wrong"})
			return h.try(tried{address(1), "", "", "ada", password})
		}, map[string]int{"account/ada": 2, "source/" + address(1): 2}},
		{"a directory that does not answer", func(t *testing.T, h *house) error {
			h.corp.down = identity.WithCode("provider_unavailable", identity.ErrUnavailable)
			err := h.try(tried{address(1), "", "corp", "ada", "wrong"})
			wantErr(t, err, identity.ErrUnavailable, "provider_unavailable")
			return nil
		}, nobodyCounts},
		{"the right password of somebody without a role", func(t *testing.T, h *house) error {
			if err := h.SetGroups(t.Context(), h.visit(), "cli", "ada", nil); err != nil {
				return err
			}
			wantErr(t, h.try(tried{address(1), "", "", "ada", password}), identity.ErrDenied, "no_role")
			return nil
		}, nobodyCounts},
		{"the right password of a closed account is one", func(t *testing.T, h *house) error {
			if err := h.SetDisabled(t.Context(), h.visit(), "cli", "ada", true); err != nil {
				return err
			}
			wantErr(t, h.try(tried{address(1), "", "", "ada", password}), identity.ErrBadCredentials, "")
			return nil
		}, oneCounts},
		{"a password that was replaced meanwhile is one", func(t *testing.T, h *house) error {
			h.local.between = func() {
				if err := h.SetPassword(t.Context(), h.visit(), "cli", "ada", "another password"); err != nil {
					t.Error(err)
				}
			}
			wantErr(t, h.try(tried{address(1), "", "", "ada", password}), identity.ErrBadCredentials, "")
			return nil
		}, oneCounts},
		{"a client that left is one", func(t *testing.T, h *house) error {
			ctx, leave := context.WithCancel(t.Context())
			h.local.between = leave
			_, err := h.SignInWithPassword(ctx, h.from(address(1)), h.atBroker(), "", "ada", password)
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("error is %v", err)
			}
			return nil
		}, oneCounts},
		{"a door's own fault is one", func(t *testing.T, h *house) error {
			h.corp.down = errors.New("a bug")
			if err := h.try(tried{address(1), "", "corp", "ada", "wrong"}); err == nil {
				t.Fatal("went in")
			}
			return nil
		}, oneCounts},
		{"no door, no try", func(t *testing.T, h *house) error {
			wantErr(t, h.try(tried{address(1), "", "", "ada@partner.example", "wrong"}), identity.ErrInvalid, "provider_needs_browser")
			return nil
		}, nobodyCounts},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := boundHouse(t)
			if err := c.try(t, h); err != nil {
				t.Fatal(err)
			}
			h.counted(c.want)
		})
	}
}

func TestLOC04_WhereNothingCanBeCountedNoPasswordIsLookedAt(t *testing.T) {
	h := boundHouse(t)
	h.fails(1, tried{address(1), "", "", "ada", "wrong"})
	before := h.local.calls.Load()
	h.down()
	wantErr(t, h.try(tried{address(1), "", "", "ada", password}), identity.ErrUnavailable, "")
	other := h.beside().bound(bounds()) // has not read the counters' secret yet
	other.down()
	wantErr(t, other.try(tried{address(1), "", "", "ada", password}), identity.ErrUnavailable, "")
	if h.local.calls.Load() != before || other.local.calls.Load() != 0 {
		t.Fatal("a password was looked at")
	}
	h.isBack()
	if err := h.try(tried{address(1), "", "", "ada", password}); err != nil {
		t.Fatal(err)
	}
}

func TestLOC04_WhatTheStoreCannotTakeBackCountsOn(t *testing.T) {
	h := boundHouse(t)
	h.corp.known["ada/gone"] = identity.Identity{}
	h.local.between = h.down
	wantErr(t, h.try(tried{address(1), "", "", "ada", password}), identity.ErrUnavailable, "")
	h.local.between = nil
	h.isBack()
	h.counted(map[string]int{"pair/ada": 1, "account/ada": 1, "source/" + address(1): 1})
}

func TestAUD04_ALimitThatIsReachedIsToldOnceAndWhatComesAfterWritesNothing(t *testing.T) {
	h := boundHouse(t)
	ada, err := h.PersonByName(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	wrong := tried{address(1), "", "", "ada", "wrong"}
	h.fails(3, wrong)
	began := h.events(audit.LockoutBegan)
	if len(began) != 1 {
		t.Fatalf("told %d times", len(began))
	}
	e := began[0]
	want := map[string]string{"scope": "pair", "until": h.clock.Now().Add(window).Format(time.RFC3339)}
	if e.AccountID != ada.ID || e.Username != "ada" || e.Address != address(1) || e.Code != "too_many_attempts" ||
		e.Outcome != audit.Refusal || !cmp.Equal(e.Detail, want) {
		t.Errorf("event is %+v", e)
	}
	before := len(h.events())
	for range 20 {
		h.shutOut(wrong, window)
	}
	if n := len(h.events()) - before; n != 0 {
		t.Errorf("%d events of what was not looked at", n)
	}
	t.Run("a limit that a right password was the last try of is none", func(t *testing.T) {
		h := boundHouse(t)
		h.fails(2, wrong)
		if err := h.try(tried{address(1), "", "", "ada", password}); err != nil {
			t.Fatal(err)
		}
		if began := h.events(audit.LockoutBegan); len(began) != 0 {
			t.Errorf("%+v", began)
		}
	})
	t.Run("a source's limit names no account", func(t *testing.T) {
		h := boundHouse(t)
		for i := range 8 {
			h.fails(1, tried{address(1), "", "", []string{"ada", "dora", "x", "y"}[i%4], "wrong"})
		}
		began := h.events(audit.LockoutBegan)
		if len(began) != 1 || began[0].Detail["scope"] != "source" || began[0].Username != "" || began[0].AccountID != "" {
			t.Errorf("%+v", began)
		}
	})
}

func TestAUD04_WhatSomebodyTypedAsTheirNameStandsNowhere(t *testing.T) {
	h := boundHouse(t)
	const typed = "hunter2-typed-in-the-wrong-field"
	h.fails(3, tried{address(1), "", "", typed, "wrong"})
	h.shutOut(tried{address(1), "", "", typed, "wrong"}, window)
	h.counted(map[string]int{"pair/": 3, "account/": 3, "source/" + address(1): 3})
	files, err := filepath.Glob(h.path + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("hunter2")) {
			t.Errorf("%s has it", filepath.Base(f))
		}
	}
}

func TestLockoutsAreClearedByNameByAddressAndAltogether(t *testing.T) {
	for _, c := range []struct {
		name, what string
		cleared    int
		want       map[string]int
		event      audit.Event
	}{
		{
			"a name, from everywhere", " ADA", 5,
			map[string]int{"pair/": 3, "account/": 3, "source/" + address(1): 6, "source/2001:db8::/64": 1},
			audit.Event{Username: "ada", Detail: map[string]string{"scope": "account"}},
		},
		{
			"a name that nobody has", "nobody", 2,
			map[string]int{"pair/ada": 4, "account/ada": 4, "device/ada": 1, "devices/ada": 1, "source/" + address(1): 6, "source/2001:db8::/64": 1},
			audit.Event{Detail: map[string]string{"scope": "account"}},
		},
		{
			"an address", address(1), 1,
			map[string]int{"pair/ada": 4, "account/ada": 4, "device/ada": 1, "devices/ada": 1, "pair/": 3, "account/": 3, "source/2001:db8::/64": 1},
			audit.Event{Detail: map[string]string{"scope": "source", "network": address(1)}},
		},
		{
			"an address of a network", "2001:db8::7", 1,
			map[string]int{"pair/ada": 4, "account/ada": 4, "device/ada": 1, "devices/ada": 1, "pair/": 3, "account/": 3, "source/" + address(1): 6},
			audit.Event{Detail: map[string]string{"scope": "source", "network": "2001:db8::/64"}},
		},
		{
			"a network as it is listed", "2001:db8::/64", 1,
			map[string]int{"pair/ada": 4, "account/ada": 4, "device/ada": 1, "devices/ada": 1, "pair/": 3, "account/": 3, "source/" + address(1): 6},
			audit.Event{Detail: map[string]string{"scope": "source", "network": "2001:db8::/64"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := boundHouse(t)
			h.fails(3, tried{address(1), "", "", "ada", "wrong"})
			h.fails(1, tried{"2001:db8::1", "", "", "ada", "wrong"})
			h.fails(3, tried{address(1), "", "", "nobody", "wrong"})
			if h.counts()["source/"+address(1)] != 6 {
				t.Fatal("the test shows nothing")
			}
			v := h.visit()
			v.Address = "2001:db8:1::1"
			at := h.atBroker()
			at.Device = "hers"
			_, err := h.SignInWithPassword(t.Context(), v, at, "", "ada", "wrong")
			wantErr(t, err, identity.ErrBadCredentials, "")
			c.want["source/2001:db8:1::/64"] = 1
			n, err := h.beside().ClearLockout(t.Context(), h.visit(), "cli", c.what)
			if err != nil || n != c.cleared {
				t.Fatalf("cleared %d, %v", n, err)
			}
			h.counted(c.want)
			e := h.events(audit.LockoutCleared)
			if len(e) != 1 || e[0].Actor != "cli" || e[0].Username != c.event.Username || !cmp.Equal(e[0].Detail, c.event.Detail) {
				t.Fatalf("events are %+v", e)
			}
			_, err = h.ClearLockout(t.Context(), h.visit(), "cli", c.what)
			wantErr(t, err, identity.ErrNotFound, "")
		})
	}
	t.Run("all", func(t *testing.T) {
		h := boundHouse(t)
		h.fails(3, tried{address(1), "", "", "ada", "wrong"})
		h.shutOut(tried{address(1), "", "", "ada", password}, window)
		if n, err := h.beside().ClearLockouts(t.Context(), h.visit(), "cli"); n != 3 || err != nil {
			t.Fatalf("cleared %d, %v", n, err)
		}
		if err := h.try(tried{address(1), "", "", "ada", password}); err != nil {
			t.Fatal(err)
		}
		e := h.events(audit.LockoutCleared)
		if len(e) != 1 || !cmp.Equal(e[0].Detail, map[string]string{"scope": "all"}) {
			t.Fatalf("events are %+v", e)
		}
	})
}

func TestManyCountersOfANameAreClearedTogether(t *testing.T) {
	h := boundHouse(t).bound(broker.ThrottleRules{Window: window, PerAccountAndSource: 1})
	for i := range 250 {
		h.fails(1, tried{fmt.Sprintf("10.0.%d.%d", i/200, i%200), "", "", "ada", "wrong"})
	}
	h.fails(1, tried{address(1), "", "", "dora", "wrong"})
	h.counted(map[string]int{"pair/ada": 250, "pair/dora": 1})
	if n, err := h.ClearLockout(t.Context(), h.visit(), "cli", "ada"); n != 250 || err != nil {
		t.Fatalf("cleared %d, %v", n, err)
	}
	h.counted(map[string]int{"pair/dora": 1})
}

func TestLockoutsKnowWhetherTheyShutOut(t *testing.T) {
	for _, c := range []struct {
		l    broker.Lockout
		want bool
	}{
		{broker.Lockout{Failure: people.Failure{Count: 2}, Most: 3}, false},
		{broker.Lockout{Failure: people.Failure{Count: 3}, Most: 3}, true},
		{broker.Lockout{Failure: people.Failure{Count: 4}, Most: 3}, true},
		{broker.Lockout{Failure: people.Failure{Count: 4}}, false},
	} {
		if got := c.l.Locked(); got != c.want {
			t.Errorf("%d of %d: %v", c.l.Count, c.l.Most, got)
		}
	}
}

func TestWithoutLimitsNothingIsCounted(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.fails(30, tried{address(1), "", "", "ada", "wrong"})
	h.counted(map[string]int{})
	h.bound(broker.ThrottleRules{Window: window, PerSource: 100})
	h.fails(30, tried{address(1), "", "", "ada", "wrong"})
	h.counted(map[string]int{"source/" + address(1): 30})
}

func TestTheSameNameAtAnotherDoorIsAnotherPairAndTheSameAccount(t *testing.T) {
	h := boundHouse(t)
	h.fails(3, tried{address(1), "", "", "ada", "wrong"})
	h.corp.knows("ada/"+password, identity.Identity{Subject: "1", Username: "ada", Groups: []string{corpViewers}})
	wantErr(t, h.try(tried{address(1), "", "corp", "ada", "wrong"}), identity.ErrBadCredentials, "")
	h.counted(map[string]int{"pair/ada": 4, "account/ada": 4, "source/" + address(1): 4})
}

// BenchmarkWrongPassword is what counting costs beside the event of the refusal, in a store on a disk.
func BenchmarkWrongPassword(b *testing.B) {
	for name, rules := range map[string]broker.ThrottleRules{
		"uncounted": {}, "counted": {Window: window, PerAccountAndSource: 1 << 30, PerAccount: 1 << 30, PerSource: 1 << 30},
		"refused unseen": {Window: window, PerAccountAndSource: 1},
	} {
		b.Run(name, func(b *testing.B) {
			h := newHouse(b)
			h.addPerson("ada", "viewers")
			h.bound(rules)
			_ = h.try(tried{address(1), "", "", "ada", "wrong"})
			for b.Loop() {
				if h.try(tried{address(1), "", "", "ada", strings.Repeat("x", 9)}) == nil {
					b.Fatal("went in")
				}
			}
		})
	}
}
