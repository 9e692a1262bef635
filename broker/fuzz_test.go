package broker_test

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"sallyport/broker"
)

func FuzzParseKey(f *testing.F) {
	id, secret := strings.Repeat("a", 26), strings.Repeat("b", 51)+"a"
	whole := "sp_" + id + "_" + secret
	f.Add(whole + checksum(whole))
	f.Add("a_b_" + id + "_" + secret + checksum("a_b_"+id+"_"+secret))
	for _, prefix := range []string{"aurora_key", "chad_ak", "_", "a_" + id, id} {
		body := prefix + "_" + id + "_" + secret
		f.Add(body + checksum(body))
	}
	f.Add("sp__")
	f.Add("")
	f.Add("sp_" + id + "\n_" + secret)
	f.Fuzz(func(t *testing.T, raw string) {
		id, secret, err := broker.ParseKey(raw)
		if (err == nil) != broker.IsKey(raw) {
			t.Fatal("IsKey and ParseKey disagree")
		}
		if err != nil {
			if id != "" || secret != "" {
				t.Fatal("a refusal came with parts")
			}
			return
		}
		end := "_" + id + "_" + secret
		prefix, ok := strings.CutSuffix(raw[:len(raw)-7], end)
		if !ok || prefix == "" || len(id) != 26 || len(secret) != 52 || checksum(prefix+end) != raw[len(raw)-7:] {
			t.Fatalf("%q was read as %q and %q", raw, id, secret)
		}
		if strings.Trim(id+secret, "abcdefghijklmnopqrstuvwxyz234567") != "" {
			t.Fatalf("%q and %q are spelled in other letters", id, secret)
		}
	})
}

// asBrowser is what a browser makes of an address before it goes there (WHATWG URL): tabs and line ends are dropped
// wherever they stand, a backslash is a slash, and dot segments are resolved, percent-encoded ones too.
func asBrowser(raw string) string {
	raw = strings.Trim(raw, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f ")
	raw = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(raw)
	before, query, found := strings.Cut(raw, "?")
	before = strings.ReplaceAll(before, `\`, "/")
	if !found {
		return before
	}
	return before + "?" + query
}

func FuzzReturnURL(f *testing.F) {
	for _, seed := range []string{
		"/", "/reports/", "/reports/x?y=z#f", "/reports", "/reportsx/", "//evil.test/", `/\evil.test/`, `\\evil.test`, "/\t/evil.test",
		"/\n/evil.test", "https://reports.example.test/reports/x", "https://reports.example.test@evil.test/reports/",
		"https://evil.test/reports/", "https:evil.test", "https:/evil.test", "HTTPS://REPORTS.EXAMPLE.TEST/reports/a",
		"javascript:alert(1)", "/reports/../x", "/reports/%2e%2e/x", "/reports/..%2fx", "/reports/%2E./x", "/reports/.%2e/",
		"https://reports.example.test//evil.test/", "https://reports.example.test/reports/..;/x", "/reports/%5cevil.test",
		"/reports/%00", "http://reports.example.test/reports/", "https://reports.example.test:443/reports/", "/reports/\u202e",
		" /reports/", "/reports//evil.test", "///evil.test", "/reports/%2f..%2f..", "?x", "#", "",
	} {
		f.Add(seed)
	}
	home := application("reports", "https://reports.example.test/reports/")
	f.Fuzz(func(t *testing.T, raw string) {
		got := home.ReturnURL(raw).String()
		for i := range len(got) {
			if got[i] <= ' ' || got[i] >= 0x7f || got[i] == '\\' {
				t.Fatalf("%q became %q, which two readers may understand differently", raw, got)
			}
		}
		for reader, address := range map[string]string{"url.Parse": got, "a browser": asBrowser(got)} {
			u, err := url.Parse(address)
			if err != nil || u.Scheme != "https" || u.Host != "reports.example.test" || u.User != nil || u.Opaque != "" {
				t.Fatalf("%q became %q, which %s reads as %+v, %v", raw, got, reader, u, err)
			}
			if clean := path.Clean(u.Path) + "/"; !strings.HasPrefix(clean, "/reports/") {
				t.Fatalf("%q became %q, which leaves the prefix as %q", raw, got, clean)
			}
		}
		if again := home.ReturnURL(got).String(); again != got {
			t.Fatalf("%q became %q, then %q", raw, got, again)
		}
	})
}

func TestSES08_AReturnAddressIsTheApplicationsOwn(t *testing.T) {
	const front = "https://reports.example.test/reports/"
	home := application("reports", front)
	for _, c := range []struct{ name, raw, want string }{
		{"a path of its own", "/reports/x?y=z", front + "x?y=z"},
		{"an absolute address of its own", front + "x?y=z", front + "x?y=z"},
		{"its host in capitals", "https://REPORTS.example.test/reports/x", front + "x"},
		{"an encoded slash stays encoded", "/reports/a%2fb", front + "a%2fb"},
		{"nothing", "", front},
		{"outside its prefix", "/other/", front},
		{"a name that begins like its prefix", "/reportsx/", front},
		{"another host", "https://evil.test/reports/", front},
		{"another host behind a user name", "https://reports.example.test@evil.test/reports/", front},
		{"no scheme", "//evil.test/reports/", front},
		{"a backslash", `/\evil.test/`, front},
		{"a tab", "/\t/evil.test/", front},
		{"another scheme", "http://reports.example.test/reports/", front},
		{"a script", "javascript:alert(1)//reports/", front},
		{"another port", "https://reports.example.test:8443/reports/", front},
		{"dot segments", "/reports/../x", front},
		{"encoded dot segments", "/reports/%2e%2e/x", front},
		{"dot segments behind an encoded slash", "/reports/..%2f..%2fx", front},
		{"two slashes in an absolute address", "https://reports.example.test//evil.test/", front},
		{"longer than any", "/reports/" + strings.Repeat("a", 2048), front},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := home.ReturnURL(c.raw).String(); got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
		})
	}
	t.Run("an application without pages has none", func(t *testing.T) {
		if got := application("api", "").ReturnURL("/x").String(); got != "" {
			t.Fatalf("got %q", got)
		}
	})
}
