package saml

import (
	"fmt"
	"strings"
	"testing"
)

// manyGroups is an attribute of group DNs, 1.3 MB of them at 8,000.
func manyGroups(n int) string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf("cn=group-%04d,ou=%s,dc=example,dc=com", i, strings.Repeat("unit", 26))
	}
	return attribute("groups", "", values...)
}

// BenchmarkSML09 prints what large messages cost: one that signs in, and one that nobody signed.
func BenchmarkSML09(b *testing.B) {
	by := ours(b)
	p := openProvider(b, nil, by)
	groups := attribute("groups", "", "engineers", "cn=ops,dc=example")
	large := signing{by: by, assertion: true}.sign(b, swap(b, message(), groups, manyGroups(8000)))
	small := string(signing{by: by, assertion: true}.sign(b, message()))
	// Elements in nests of small namespaces, as many as there may be, where only the digest finds out.
	nest := `<x xmlns:p="urn:p" xmlns:q="urn:q"><p:y q:z=""/></x>`
	hostile := swap(b, small, `>engineers<`, `>`+strings.Repeat(nest, 24_000)+`<`)
	b.Run("8,000 groups sign in", func(b *testing.B) {
		for b.Loop() {
			if _, err := finish(b, p, large); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("hostile XML is refused", func(b *testing.B) {
		for b.Loop() {
			if _, err := finish(b, p, []byte(hostile)); err == nil {
				b.Fatal("it signs in")
			}
		}
	})
}
