package local

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/identity"
	"sallyport/providers"
)

const alicesPassword = "a longer gate than that"

func alice(t *testing.T) Person {
	return Person{
		Subject: "s-1", Username: "alice", Name: "Alice Example", Email: "alice@example.test", EmailVerified: true,
		Groups: []string{"eng", "staff"}, PasswordHash: hashOf(t, alicesPassword),
	}
}

func TestAuthenticate_RightPasswordAssertsThePerson(t *testing.T) {
	h := open(t, Config{}, alice(t))
	got, err := h.Authenticate(t.Context(), "alice", alicesPassword)
	if err != nil {
		t.Fatal(err)
	}
	want := identity.Assertion{Upstream: digestOf(h.dir.hashOf("alice")), Identity: identity.Identity{
		Provider: "staff", Subject: "s-1", Username: "alice", Name: "Alice Example", Email: "alice@example.test",
		EmailVerified: true, Groups: []string{"eng", "staff"}, AuthTime: signInTime, AMR: []string{"pwd"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if runs := h.hasher.Runs(); runs != 1 {
		t.Errorf("%d hashes, want 1", runs)
	}
	if diff := cmp.Diff(providers.Info{ID: "staff", Type: "local", Title: "Staff"}, h.Info()); diff != "" {
		t.Error(diff)
	}
}

func TestAuthenticate_AnotherSpellingOfTheSameText(t *testing.T) {
	person := alice(t)
	person.PasswordHash = hashOf(t, "caf\u00e9 caf\u00e9 caf\u00e9")
	h := open(t, Config{}, person)
	if _, err := h.Authenticate(t.Context(), "alice", "cafe\u0301 cafe\u0301 cafe\u0301"); err != nil {
		t.Errorf("the decomposed spelling was refused: %v", err)
	}
	_, err := h.Authenticate(t.Context(), "alice", "cafe cafe cafe")
	mustRefuse(t, err, identity.ErrBadCredentials)
}

func TestLOC01_StoredAsArgon2idWithAtLeastTheAdvisedCost(t *testing.T) {
	h := open(t, Config{})
	stored, err := h.HashPassword(t.Context(), alicesPassword)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stored, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("stored as %q", stored)
	}
	r, err := parsePHC(stored)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.salt) != 16 || len(r.key) != 32 || r.String() != stored {
		t.Errorf("salt of %d bytes, key of %d bytes, again %q", len(r.salt), len(r.key), r)
	}
	again, err := h.HashPassword(t.Context(), alicesPassword)
	if err != nil || again == stored {
		t.Errorf("two hashes of one password share their salt (%v)", err)
	}
}

func TestLOC01_HashedAnewWhenTheParametersRise(t *testing.T) {
	for name, raised := range map[string]Params{
		"more memory":     {MemoryKiB: 20000},
		"more iterations": {Iterations: 3},
		"more lanes":      {Parallelism: 2},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, Config{Argon2: raised}, alice(t))
			before := h.dir.hashOf("alice")
			_, err := h.Authenticate(t.Context(), "alice", "not the password")
			mustRefuse(t, err, identity.ErrBadCredentials)
			if h.dir.hashOf("alice") != before {
				t.Fatal("a wrong password changed the row")
			}
			if _, err := h.Authenticate(t.Context(), "alice", alicesPassword); err != nil {
				t.Fatal(err)
			}
			r, err := parsePHC(h.dir.hashOf("alice"))
			if err != nil {
				t.Fatal(err)
			}
			if r.params != raised.orDefaults() {
				t.Errorf("row has %+v, want %+v", r.params, raised.orDefaults())
			}
			runs := h.hasher.Runs()
			if _, err := h.Authenticate(t.Context(), "alice", alicesPassword); err != nil {
				t.Errorf("the new hash does not open: %v", err)
			}
			if more := h.hasher.Runs() - runs; more != 1 {
				t.Errorf("%d hashes for a row that is new already, want 1", more)
			}
		})
	}
}

func TestLOC01_LoweredParametersLeaveTheRowAlone(t *testing.T) {
	person := alice(t)
	h := open(t, Config{Argon2: Params{Iterations: 3}}, person)
	strong, err := h.HashPassword(t.Context(), alicesPassword)
	if err != nil {
		t.Fatal(err)
	}
	person.PasswordHash = strong
	h = open(t, Config{}, person)
	if _, err := h.Authenticate(t.Context(), "alice", alicesPassword); err != nil {
		t.Fatal(err)
	}
	if h.dir.hashOf("alice") != strong {
		t.Error("a stronger row was replaced by a weaker one")
	}
}

func TestLOC01_SigningInDoesNotDependOnStoringTheNewHash(t *testing.T) {
	for name, tc := range map[string]struct {
		store  error
		logged bool
	}{
		"store away":               {store: identity.ErrUnavailable, logged: true},
		"password changed in time": {store: identity.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, Config{Argon2: Params{Iterations: 3}}, alice(t))
			before := h.dir.hashOf("alice")
			h.dir.store = tc.store
			if _, err := h.Authenticate(t.Context(), "alice", alicesPassword); err != nil {
				t.Fatal(err)
			}
			if h.dir.hashOf("alice") != before {
				t.Error("the row changed all the same")
			}
			if got := strings.Contains(h.log.String(), "could not be stored"); got != tc.logged {
				t.Errorf("logged: %v, want %v: %s", got, tc.logged, h.log)
			}
			if strings.Contains(h.log.String(), "argon2id") {
				t.Error("the log holds a hash")
			}
		})
	}
}

func TestLOC03_EveryFailureIsOneHashAndOneError(t *testing.T) {
	passwordless := Person{Subject: "s-2", Username: "bob"}
	broken := Person{Subject: "s-3", Username: "carol", PasswordHash: "$argon2id$v=19$m=4294967295,t=1,p=1$AAAA$AAAA"}
	for name, tc := range map[string]struct{ username, password string }{
		"unknown person":                 {"mallory", alicesPassword},
		"unknown person, empty password": {"mallory", ""},
		"wrong password":                 {"alice", "a longer gate than this"},
		"empty password":                 {"alice", ""},
		"person without a password":      {"bob", alicesPassword},
		"the same with an empty one":     {"bob", ""},
		"stored hash cannot be read":     {"carol", alicesPassword},
		"password of 1,025 bytes":        {"alice", strings.Repeat("x", maxPasswordBytes+1)},
		"password of a megabyte":         {"alice", strings.Repeat("x", 1<<20)},
		"password that is no text":       {"alice", "\xff\xfe"},
		"empty name":                     {"", alicesPassword},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, Config{}, alice(t), passwordless, broken)
			cost := watchCost(h.hasher)
			got, err := h.Authenticate(t.Context(), tc.username, tc.password)
			if err != identity.ErrBadCredentials { //nolint:errorlint // the very value: a wrapped one could be told apart
				t.Errorf("error is %#v, want ErrBadCredentials itself", err)
			}
			if diff := cmp.Diff(identity.Assertion{}, got); diff != "" {
				t.Errorf("an assertion beside the refusal: %s", diff)
			}
			if runs := h.hasher.Runs(); runs != 1 {
				t.Errorf("%d hashes, want exactly 1", runs)
			}
			if want := (Params{}).orDefaults(); *cost != want {
				t.Errorf("the hash cost %+v, want %+v", *cost, want)
			}
		})
	}
}

func TestLOC03_ThePasswordOfNobodyOpensNothing(t *testing.T) {
	h := open(t, Config{}, Person{Subject: "s-2", Username: "bob"})
	h.nobody, _ = parsePHC(hashOf(t, alicesPassword)) // as if somebody had guessed the key that was drawn
	for _, name := range []string{"bob", "mallory"} {
		_, err := h.Authenticate(t.Context(), name, alicesPassword)
		mustRefuse(t, err, identity.ErrBadCredentials)
	}
	h.nobody, _ = parsePHC(hashOf(t, ""))
	for _, password := range []string{"", strings.Repeat("x", maxPasswordBytes+1)} {
		_, err := h.Authenticate(t.Context(), "mallory", password)
		mustRefuse(t, err, identity.ErrBadCredentials)
	}
}

func TestLOC03_AnEmptyPasswordNeverOpensEvenAHashOfOne(t *testing.T) {
	person := alice(t)
	person.PasswordHash = hashOf(t, "")
	h := open(t, Config{}, person)
	_, err := h.Authenticate(t.Context(), "alice", "")
	mustRefuse(t, err, identity.ErrBadCredentials)
}

func TestDOS02_ALongPasswordIsNeverHashedAsItIs(t *testing.T) {
	long := strings.Repeat("x", maxPasswordBytes+1)
	person := alice(t)
	person.PasswordHash = hashOf(t, long) // even if a row like this came from elsewhere
	h := open(t, Config{}, person)
	hashed := -1
	derive := h.hasher.derive
	h.hasher.derive = func(password, salt []byte, p Params, keyLen uint32) []byte {
		hashed = len(password)
		return derive(password, salt, p, keyLen)
	}
	_, err := h.Authenticate(t.Context(), "alice", long)
	mustRefuse(t, err, identity.ErrBadCredentials)
	if hashed != 0 {
		t.Errorf("%d bytes were hashed, want none of the password", hashed)
	}
}

func TestHashPassword_WhatIsSetInOneSpellingOpensInAnother(t *testing.T) {
	h := open(t, Config{}, Person{Subject: "s-1", Username: "alice"})
	stored, err := h.HashPassword(t.Context(), "cafe\u0301 at the gate of ours")
	if err != nil {
		t.Fatal(err)
	}
	h.dir.setHash("alice", stored)
	if _, err := h.Authenticate(t.Context(), "alice", "caf\u00e9 at the gate of ours"); err != nil {
		t.Error(err)
	}
}

func TestAuthenticate_TheAssertionSharesNothingWithTheDirectory(t *testing.T) {
	h := open(t, Config{}, alice(t))
	for range 2 {
		got, err := h.Authenticate(t.Context(), "alice", alicesPassword)
		if err != nil || got.Identity.Groups[0] != "eng" {
			t.Fatalf("%v, %v", got, err)
		}
		got.Identity.Groups[0] = "admins"
	}
}

func TestAuthenticate_NoAnswerIsNotAWrongPassword(t *testing.T) {
	h := open(t, Config{}, alice(t))
	h.dir.lookUp = identity.ErrUnavailable
	_, err := h.Authenticate(t.Context(), "alice", alicesPassword)
	mustRefuse(t, err, identity.ErrUnavailable)
	if errors.Is(err, identity.ErrBadCredentials) {
		t.Error("it is both")
	}
}

func TestAuthenticate_ABrokenRowIsToldToTheOperatorOnly(t *testing.T) {
	h := open(t, Config{}, Person{Subject: "s-3", Username: "carol", PasswordHash: "$argon2id$canary"})
	_, err := h.Authenticate(t.Context(), "carol", alicesPassword)
	mustRefuse(t, err, identity.ErrBadCredentials)
	if log := h.log.String(); !strings.Contains(log, "subject=s-3") || !strings.Contains(log, "level=ERROR") {
		t.Errorf("nothing for the operator: %q", log)
	}
	if strings.Contains(h.log.String(), "canary") {
		t.Error("the log holds part of the row")
	}
}

// watchCost remembers the parameters of the last run.
func watchCost(h *Hasher) *Params {
	var last Params
	derive := h.derive
	h.derive = func(password, salt []byte, p Params, keyLen uint32) []byte {
		last = p
		return derive(password, salt, p, keyLen)
	}
	return &last
}

func TestLOC05_AnAssertionKnowsThePasswordItWasMadeWith(t *testing.T) {
	h := open(t, Config{}, alice(t))
	a, err := h.Authenticate(t.Context(), "alice", alicesPassword)
	if err != nil {
		t.Fatal(err)
	}
	if !h.MadeWith(a, h.dir.hashOf("alice")) {
		t.Error("the stored hash is not the one the assertion was made with")
	}
	if h.MadeWith(a, hashOf(t, alicesPassword)) || h.MadeWith(a, "") || h.MadeWith(identity.Assertion{}, "") {
		t.Error("another hash passes for the one the assertion was made with")
	}
}

func TestLOC01_AnAssertionSurvivesTheRehashOfItsOwnSignIn(t *testing.T) {
	h := open(t, Config{Argon2: Params{Iterations: 3}}, alice(t))
	a, err := h.Authenticate(t.Context(), "alice", alicesPassword)
	if err != nil {
		t.Fatal(err)
	}
	if h.dir.hashOf("alice") == alice(t).PasswordHash || !h.MadeWith(a, h.dir.hashOf("alice")) {
		t.Error("after a re-hash the assertion does not fit the stored hash")
	}
}
