package mapping

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"
)

func TestADM07_WildcardsNeverCoverTheBrokerItself(t *testing.T) {
	for _, c := range []struct {
		have, want string
		allowed    bool
	}{
		{"*:*", "hosts:read", true},
		{"*:*", "sallyport:accounts", false},
		{"*:accounts", "sallyport:accounts", false},
		{"sallyport:*", "sallyport:accounts", true},
		{"sallyport:accounts", "sallyport:accounts", true},
		{"sallyport:accounts", "sallyport:keys", false},
		{"sallyport:*", "hosts:read", false},
		{"sallyport:*", "sallyport:*", true},
		{"*:*", "sallyport:*", false},
		{"hosts:*", "hosts:read", true},
		{"hosts:read", "hosts:*", false},
		{"*:read", "hosts:read", true},
		{"*:read", "hosts:write", false},
		{"hosts:read", "hosts2:read", false},
		{"*:*", "Sallyport:accounts", false},
		{"*:*", "SALLYPORT:accounts", false},
		{"*:*", "", false},
		{"*:*", "hosts", false},
		{"*:*", "hosts:", false},
		{"*:*", "hosts:read:all", false},
		{"*", "hosts:read", false},
		{"", "", false},
	} {
		if got := Allows([]string{c.have}, c.want); got != c.allowed {
			t.Errorf("Allows(%q, %q) = %v", c.have, c.want, got)
		}
	}
	if Allows(nil, "hosts:read") || !Allows([]string{"a:b", "hosts:read"}, "hosts:read") {
		t.Error("a list is not looked through")
	}
}

func TestEqualDistinguishedNamesShareOneSpelling(t *testing.T) {
	for want, spellings := range map[string][]string{
		"cn=soc admins,ou=groups,dc=corp": {
			"CN=SOC Admins,OU=Groups,DC=corp", "cn=soc  admins , ou = GROUPS ,dc=corp", `CN=SOC\20Admins,OU=Groups,DC=corp`,
			`cn=\53OC Admins,ou=groups;dc=corp`, "cn=#0c0a534f432041646d696e73,ou=groups,dc=corp",
			`CN=\ SOC Admins\ ,OU=Groups,DC=corp`,
		},
		`cn=a\,b,dc=x`:    {`CN=A\,B,DC=x`, `cn=a\2cb,dc=x`, `cn=a\2CB, dc=X`},
		"cn=a+sn=b,dc=x":  {"cn=a+sn=b,dc=x", "SN=B + CN=A,dc=x"},
		"cn=mÜller,dc=x":  {"CN=MÜLLER,dc=x", "CN=Müller,dc=x", `cn=m\c3\bcller,dc=x`},
		"cn=a=b,dc=x":     {"cn=a=b,dc=x", `cn=a\=b,dc=x`},
		`cn=a\\b,dc=x`:    {`cn=a\\b,dc=x`, `cn=A\5cB,dc=x`},
		"2.5.4.3=a,dc=x":  {"2.5.4.3=A,DC=X"},
		"cn=skill,dc=x":   {"cn=SKILL,dc=x", "cn=\u017f\u212aill,dc=x"},
		`cn=a\+sn=b,dc=x`: {`cn=a\+sn=b,dc=x`},
	} {
		for _, s := range spellings {
			if got, err := normalDN(s); err != nil || got != want {
				t.Errorf("normalDN(%q) = %q, %v; want %q", s, got, err, want)
			}
		}
	}
}

func TestWhatIsNoDistinguishedNameIsRefused(t *testing.T) {
	for _, s := range []string{
		"", " ", "admins", "cn", "=a", "cn=", "cn= ,dc=x", "cn=a,", ",cn=a", "cn=a,,dc=x", "c n=a", "cn=a\x00b", "cn=\xff",
		`cn=a\`, `cn=a\zz`, "cn=#zz", "cn=#0201", "cn=#020141,dc=x", "cn=#3003020141", `cn=\ff`, `cn=\00`, "cn=a<b", `cn="a"`,
		"cn=#0484ffffffff41", "-cn=a", "2x=a", strings.Repeat("cn=a,", 1000) + "dc=x",
	} {
		if got, err := normalDN(s); err == nil {
			t.Errorf("normalDN(%q) = %q", s, got)
		}
	}
}

func TestGlobsMatchWholeNames(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true},
		{"*", "anything", true},
		{"?", "", false},
		{"?", "ä", true},
		{"??", "ä", false},
		{"a*c", "abbbc", true},
		{"a*c", "abbbcd", false},
		{"*a*b", "xaxbxb", true},
		{"a**b", "ab", true},
		{"soc-?-*", "soc-1-", true},
		{"[ab]", "a", false},
		{"[ab]", "[ab]", true},
		{"ä*", "äb", true},
		{"*ö", "äö", true},
		{"a", "A", false},
		{"a*", "", false},
	} {
		if got := matchGlob(c.pattern, c.s); got != c.want {
			t.Errorf("matchGlob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

func FuzzGlobAgreesWithRegexp(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("*?*", "ä")
	f.Add("**a", "")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 64 || len(s) > 256 || !utf8.ValidString(pattern) || !utf8.ValidString(s) {
			return
		}
		expression := strings.NewReplacer(`\*`, "(?s:.*)", `\?`, "(?s:.)").Replace(regexp.QuoteMeta(pattern))
		want := regexp.MustCompile(`\A` + expression + `\z`).MatchString(s)
		if got := matchGlob(pattern, s); got != want {
			t.Errorf("matchGlob(%q, %q) = %v, the expression says %v", pattern, s, got, want)
		}
	})
}

func FuzzNormalDN(f *testing.F) {
	for _, s := range []string{
		"CN=SOC Admins,OU=Groups,DC=corp", `cn=a\,b+sn=\20x,dc=x`, "cn=#0c0161", "cn=a;dc=b", "cn= a  b ,dc=ſ", `cn=\`, "a=b=c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		normal, err := normalDN(s)
		if err != nil {
			return
		}
		again, err := normalDN(normal)
		if err != nil || again != normal {
			t.Errorf("%q normalises to %q, which normalises to %q, %v", s, normal, again, err)
		}
		slow, ok := appendParsedDN(nil, s)
		if !ok || string(slow) != normal {
			t.Errorf("%q: the quick way says %q, go-ldap's %q", s, normal, slow)
		}
		a, err := goldap.ParseDN(s)
		if err != nil {
			t.Fatalf("%q was accepted, but not by go-ldap: %v", s, err)
		}
		b, err := goldap.ParseDN(strings.ToUpper(normal))
		if err != nil || len(a.RDNs) != len(b.RDNs) {
			t.Errorf("%q and %q have different lengths: %v", s, normal, err)
		}
	})
}
