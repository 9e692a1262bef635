package local

import (
	"strings"
	"testing"

	"sallyport/identity"
)

func TestLOC02_Policy(t *testing.T) {
	insisting := Policy{CharacterClasses: 3}
	for name, tc := range map[string]struct {
		policy   Policy
		password string
		about    []string
		want     string
	}{
		"14 characters are too few":              {password: "gate of fourtn", want: "password_too_short"},
		"15 characters are enough":               {password: "gate of fifteen"},
		"characters are counted, not bytes":      {password: "äöü gate äöü gg", want: ""},
		"14 characters of two bytes are too few": {password: "äöüßéàèñçøåæœŧ", want: "password_too_short"},
		"accents are counted in one spelling":    {password: "e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301 gate", want: "password_too_short"},
		"7 where 8 are asked for":                {policy: Policy{MinLength: 8}, password: "gate 7c", want: "password_too_short"},
		"8 where 8 are asked for":                {policy: Policy{MinLength: 8}, password: "gate 8ch"},
		"empty":                                  {password: "", want: "password_too_short"},
		"64 characters":                          {password: strings.Repeat("gate of 16 chars", 3) + "and a little end"},
		"1,024 bytes":                            {password: filler(1024)},
		"1,025 bytes":                            {password: filler(1025), want: "password_too_long"},
		"a common one":                           {password: "password", want: "password_common"},
		"a common one in capitals":               {password: "CorrectHorseBatteryStaple", want: "password_common"},
		"a common one with spaces":               {password: "correct horse battery staple", want: "password_common"},
		"a common one inside a longer one":       {password: "my password is a gate"},
		"a common one twice":                     {password: "passwordpassword", want: "password_common"},
		"one character again and again":          {password: strings.Repeat("x", 20), want: "password_common"},
		"four characters again and again":        {password: strings.Repeat("g4t-", 5), want: "password_common"},
		"a row of the keyboard":                  {password: "qwertyuiopasdfghjkl", want: "password_common"},
		"counting":                               {password: "123456789012345", want: "password_common"},
		"the user name": {
			password: "Maximilian.Mustermann", about: []string{"maximilian.mustermann"}, want: "password_contains_name",
		},
		"the user name twice": {
			password: "mustermannmustermann", about: []string{"mustermann"}, want: "password_contains_name",
		},
		"the name without its space": {
			password: "maximilianmustermann", about: []string{"", "Maximilian Mustermann"}, want: "password_contains_name",
		},
		"the product's name":              {password: "SallyportSallyport", want: "password_contains_name"},
		"the provider's title":            {password: "Staff staff STAFF", want: "password_contains_name"},
		"a name inside a longer one":      {password: "maximilian and a gate", about: []string{"maximilian"}},
		"an empty word about the person":  {password: "gate of fifteen", about: []string{"", " "}},
		"bytes that are no text":          {password: "gate of fifteen\xff", want: "password_invalid"},
		"what a decoder left behind":      {password: "gate of fifteen\ufffd", want: "password_invalid"},
		"a line end":                      {password: "gate of\nfifteen", want: "password_invalid"},
		"emoji made of several":           {password: "👩‍👩‍👧 at the gate of ours"},
		"two classes where three":         {policy: insisting, password: "gate of lowercase", want: "password_too_simple"},
		"three classes where three":       {policy: insisting, password: "gate of Uppercase"},
		"digits are a class":              {policy: insisting, password: "gateof2lowercase", want: "password_too_simple"},
		"digits and capitals are classes": {policy: insisting, password: "gateof2Lowercase"},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, Config{Password: tc.policy})
			stub(h.hasher)
			stored, err := h.HashPassword(t.Context(), tc.password, tc.about...)
			if got := identity.CodeOf(err); got != tc.want {
				t.Fatalf("code %q (%v), want %q", got, err, tc.want)
			}
			if tc.want == "" {
				if err != nil || stored == "" {
					t.Fatalf("stored %q, error %v", stored, err)
				}
				return
			}
			mustRefuse(t, err, identity.ErrInvalid)
			if stored != "" || h.hasher.Runs() != 0 {
				t.Errorf("a refused password was hashed: %q", stored)
			}
			if tc.password != "" && strings.Contains(err.Error(), tc.password) && tc.password != "password" {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
}

func TestLOC02_EveryCommonPasswordIsRefusedAsCommon(t *testing.T) {
	n := 0
	for line := range strings.Lines(common) {
		word := strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(word, "#") {
			continue
		}
		n++
		for _, policy := range []Policy{Policy{}.orDefaults(), {MinLength: 8}} {
			if got := identity.CodeOf(policy.check(strings.ToUpper(word), nil)); got != "password_common" {
				t.Errorf("line %d of the list: code %q with a minimum of %d", n, got, policy.MinLength)
			}
		}
	}
	if n < 3000 {
		t.Errorf("only %d passwords in the list", n)
	}
}

func TestLOC02_TheListIsInTheFormItIsComparedIn(t *testing.T) {
	seen := map[string]bool{}
	for line := range strings.Lines(common) {
		word := strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(word, "#") {
			continue
		}
		if word == "" || bareForm(word) != word {
			t.Errorf("%q can never match", word)
		}
		if seen[word] {
			t.Errorf("%q stands twice", word)
		}
		seen[word] = true
	}
}

func TestLOC02_NothingIsCutOff(t *testing.T) {
	for _, length := range []int{200, 1024} {
		password := filler(length)
		person := Person{Subject: "s-1", Username: "alice"}
		h := open(t, Config{}, person)
		stored, err := h.HashPassword(t.Context(), password)
		if err != nil {
			t.Fatal(err)
		}
		h.dir.setHash("alice", stored)
		_, err = h.Authenticate(t.Context(), "alice", password[:length-1]+"?")
		mustRefuse(t, err, identity.ErrBadCredentials)
		_, err = h.Authenticate(t.Context(), "alice", password[:length-1])
		mustRefuse(t, err, identity.ErrBadCredentials)
		if _, err := h.Authenticate(t.Context(), "alice", password); err != nil {
			t.Errorf("%d characters: %v", length, err)
		}
	}
}

func TestLOC02_AStricterPolicyLocksNobodyOut(t *testing.T) {
	h := open(t, Config{}, Person{Subject: "s-1", Username: "alice", PasswordHash: hashOf(t, "short")})
	if _, err := h.Authenticate(t.Context(), "alice", "short"); err != nil {
		t.Error(err)
	}
}

// filler is text of n bytes that repeats nothing for long enough.
func filler(n int) string {
	const text = "The gate has two doors; nobody passes the second before the first has closed. "
	return strings.Repeat(text, n/len(text)+1)[:n-1] + "#"
}

// stub makes hashes free where a test only looks at the policy.
func stub(h *Hasher) {
	h.derive = func(_, _ []byte, _ Params, keyLen uint32) []byte { return make([]byte, keyLen) }
}
