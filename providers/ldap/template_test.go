package ldap

import (
	"strings"
	"testing"
	"unicode/utf8"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"
)

func TestFilterTemplates(t *testing.T) {
	for template, anybody := range map[string]string{
		"(uid={username})": "(objectClass=*)",
		"(&(objectClass=person)(|(uid={username})(mail={username}@x)))": "(&(objectClass=person)(|(objectClass=*)(objectClass=*)))",
		"(&(!(left=yes))(cn:caseExactMatch:={username}))":               "(&(!(left=yes))(objectClass=*))",
		"(&(mail={username}@*)(department=it))":                         "(&(objectClass=*)(department=it))",
	} {
		got, err := parseFilterTemplate(template)
		if err != nil || got.anybody != anybody {
			t.Errorf("%s: %q, %v", template, got.anybody, err)
		}
	}
	for name, template := range map[string]string{
		"no placeholder":                    "(uid=alice)",
		"another placeholder":               "(&(uid={username})(cn={name}))",
		"an unbalanced filter":              "(uid={username}",
		"a negation of the name":            "(!(uid={username}))",
		"the name as the attribute":         "({username}=alice)",
		"the name as a present attribute":   "({username}=*)",
		"the name as the matching rule":     "(cn:{username}:=alice)",
		"a comparison by order of the name": "(uid>={username})",
		"nothing at all":                    "",
		"a placeholder outside of a filter": "{username}",
	} {
		if _, err := parseFilterTemplate(template); err == nil {
			t.Errorf("%s is accepted: %s", name, template)
		}
	}
}

func TestDNTemplates(t *testing.T) {
	for _, template := range []string{"uid={username},ou=people,dc=x", "cn={username}+ou=it,dc=x", "uid=x-{username},dc=x"} {
		if _, err := parseDNTemplate(template); err != nil {
			t.Errorf("%s: %v", template, err)
		}
	}
	for _, template := range []string{
		"uid=alice,dc=x", "{username}", "{username}@corp.example", "{username}=x,dc=x", "uid={username},cn={username},dc=x",
		"uid={username},cn={name},dc=x", "",
	} {
		if _, err := parseDNTemplate(template); err == nil {
			t.Errorf("%q is accepted", template)
		}
	}
}

// FuzzFilterSubstitution: whatever is typed, the filter parses, has exactly the template's structure, and compares with
// exactly what was typed.
func FuzzFilterSubstitution(f *testing.F) {
	for _, seed := range []string{"alice", "*)(uid=*", `\2a`, "o*b(x)", "a\x00b", "é", "(", ")", "*", "&", "{username}", "a=b", "\xff"} {
		f.Add(seed)
	}
	template, err := parseFilterTemplate("(&(objectClass=person)(!(employeeType=left))(|(uid={username})(mail={username}@example.test)))")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if strings.Contains(name, placeholder) {
			return
		}
		got, err := goldap.CompileFilter(template.fill(name))
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		want, err := goldap.CompileFilter(template.text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(shape(want, name), shape(got, placeholder)); diff != "" {
			t.Errorf("%q: %s", name, diff)
		}
	})
}

// shape lists a filter's elements, with the placeholder filled in.
func shape(p *ber.Packet, name string) []string {
	lines := []string{string(rune('0'+p.Tag)) + " " + strings.ReplaceAll(p.Data.String(), placeholder, name)}
	if len(p.Children) > 0 {
		lines = lines[:0]
		lines = append(lines, string(rune('0'+p.Tag)))
	}
	for _, child := range p.Children {
		lines = append(lines, shape(child, name)...)
	}
	return append(lines, "end")
}

// FuzzDNSubstitution: whatever is typed, the DN parses, has exactly the template's structure, and its one value is
// exactly what was typed.
func FuzzDNSubstitution(f *testing.F) {
	for _, seed := range []string{"alice", "alice,ou=people", "a+b=c", `a\`, `"a"`, "#a", " a ", "a;b", "<a>", "=", "é", "a,", `a\,b`} {
		f.Add(seed)
	}
	template, err := parseDNTemplate("uid={username}+c=de,ou=people,dc=example,dc=test")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if refuseTyped(name, "x") != "" || !utf8.ValidString(name) {
			return // never gets that far
		}
		dn, err := goldap.ParseDN(template.fill(name))
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if len(dn.RDNs) != 4 || len(dn.RDNs[0].Attributes) != 2 || dn.RDNs[0].Attributes[0].Type != "uid" {
			t.Fatalf("%q makes %v", name, dn)
		}
		if got := dn.RDNs[0].Attributes[0].Value; got != name {
			t.Errorf("%q became %q", name, got)
		}
		if rest := dn.RDNs[1].String() + "," + dn.RDNs[2].String() + "," + dn.RDNs[3].String(); rest != "ou=people,dc=example,dc=test" {
			t.Errorf("%q makes %s", name, rest)
		}
	})
}
