package broker_test

import (
	"testing"
	"unicode"

	"sallyport/broker"
	"sallyport/broker/people"
)

// FuzzLOC04CaseAndMarksMakeNoOtherName types a name as it is on record, as it is compared, and with marks that directories
// do not see.
func FuzzLOC04CaseAndMarksMakeNoOtherName(f *testing.F) {
	for _, name := range []string{"ada", "Ådåm", "GROẞ", "Ὀδυσσεύς", "İpek", "ﬁona", "CORP\\ada", "ada@corp.example", "אדה", "o'neill", "김"} {
		f.Add(name)
	}
	h := newHouse(f)
	h.bound(broker.ThrottleRules{Window: window, PerAccount: 1 << 30})
	f.Fuzz(func(t *testing.T, name string) {
		key, err := people.CanonicalName(name)
		if err != nil {
			return
		}
		if _, err := h.ClearLockouts(t.Context(), h.visit(), "test"); err != nil {
			t.Fatal(err)
		}
		marked := ""
		for _, c := range key {
			marked += string(c)
			if unicode.IsLetter(c) {
				marked += "\u0301\u034f\u200b"
			}
		}
		for _, typed := range []string{name, key, marked} {
			_, _ = h.SignInWithPassword(t.Context(), h.from(address(1)), h.atBroker(), "local", typed, "wrong")
		}
		list, err := h.Lockouts(t.Context(), h.Current(), "", 10)
		if err != nil || len(list) != 1 || list[0].Count != 3 {
			t.Fatalf("%q, %q and %q: %+v, %v", name, key, marked, list, err)
		}
	})
}
