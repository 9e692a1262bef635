package saml

import (
	"fmt"
	"slices"
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

// BenchmarkSML09 prints what large messages cost: those that sign in, those where only the digest finds out that nobody
// signed them, and those by a foreign key, in the shapes that keep parsers and canonicalizers busy. Every message is as
// large as it may be.
func BenchmarkSML09(b *testing.B) {
	by, to := ours(b), mine(b)
	p := openProvider(b, decrypting(b, to), by)
	inner, outer := signing{by: by, assertion: true}, signing{by: by, response: true}
	groups := attribute("groups", "", "engineers", "cn=ops,dc=example")
	large := swap(b, message(), groups, manyGroups(8000))
	sealed := sealing{to: to}.seal(b, inner.sign(b, large))
	for _, row := range []struct {
		name string
		raw  []byte
	}{
		{"8,000 groups sign in", inner.sign(b, large)},
		{"8,000 groups sign in, signed twice", outer.sign(b, string(inner.sign(b, large)))},
		{"8,000 groups sign in, encrypted", sealed},
		{"8,000 groups sign in, encrypted and signed twice", outer.sign(b, string(sealed))},
	} {
		b.Run(row.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := finish(b, p, row.raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	// As many certificates as there may be, the right one last.
	p = openProvider(b, decrypting(b, to), append(slices.Repeat([]signer{foreign(b)}, maxCertificates-1), by)...)
	small := string(outer.sign(b, string(inner.sign(b, message()))))
	nobody := signing{by: newSigner(b, rsaKeys()[3]), response: true}
	unknown := string(nobody.sign(b, string(inner.sign(b, message()))))
	cipherText := string(outer.sign(b, string(sealing{to: to}.seal(b, inner.sign(b, message())))))
	for _, row := range []struct{ name, raw string }{
		{"nests of small namespaces", filled(b, small, `<x xmlns:p="urn:p" xmlns:q="urn:q"><p:y q:z=""/></x>`, 2)},
		{"deep nests of elements", filled(b, small, strings.Repeat(`<x>`, 27)+strings.Repeat(`</x>`, 27), 27)},
		{"deep nests that declare", filled(b, small, deepNamespaces(25), 25)},
		{"deep nests that declare, by a key nobody knows", filled(b, unknown, deepNamespaces(25), 25)},
		{"many elements, by a key nobody knows", filled(b, unknown, `<x/>`, 1)},
		{"many namespaces at once", filled(b, small, `<x`+manyNamespaces(15)+`/>`, 16)},
		{"many attributes", filled(b, small, `<x `+manyAttributes(32)+`/>`, 17)},
		{"many attributes of namespaces", filled(b, small, `<x xmlns:p="urn:p" `+strings.ReplaceAll(manyAttributes(31), "a", "p:a")+`/>`, 17)},
		{"many elements", filled(b, small, `<x/>`, 1)},
		{"one text", filled(b, small, `x`, 0)},
		{"one text of entities", filled(b, small, `&amp;`, 0)},
		{"white space", filled(b, small, "\n", 0)},
		{"one base64 to decrypt", strings.Replace(cipherText, `<xenc:CipherValue>`, `<xenc:CipherValue>`+
			strings.Repeat("A", (maxMessage-len(cipherText))/4*4), 1)},
	} {
		b.Run("hostile: "+row.name, func(b *testing.B) {
			if len(row.raw) > maxMessage {
				b.Fatalf("%d bytes are refused at once", len(row.raw))
			}
			if _, _, err := parse([]byte(row.raw)); err != nil {
				b.Fatal("the scanner refuses it already:", err)
			}
			for b.Loop() {
				if _, err := finish(b, p, []byte(row.raw)); err == nil {
					b.Fatal("it signs in")
				}
			}
		})
	}
}

// filled puts as many of these into a signed message as there may be.
func filled(t testing.TB, message, unit string, elements int) string {
	t.Helper()
	n := (maxMessage - len(message)) / len(unit)
	if elements > 0 {
		n = min(n, (maxElements-200)/elements)
	}
	return swap(t, message, `>engineers<`, `>`+strings.Repeat(unit, n)+`<`)
}

// deepNamespaces is a nest in which every element declares one more.
func deepNamespaces(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `<n%d:x xmlns:n%d="urn:%d">`, i, i, i)
	}
	for i := n - 1; i >= 0; i-- {
		fmt.Fprintf(&b, `</n%d:x>`, i)
	}
	return b.String()
}

func manyNamespaces(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ` xmlns:n%d="urn:%d" n%d:a=""`, i, i, i)
	}
	return b.String()
}
