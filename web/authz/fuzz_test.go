package authz

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzFWD03_OriginalURL holds that an address that passes is scheme, host and path for every reader.
func FuzzFWD03_OriginalURL(f *testing.F) {
	for _, s := range []string{
		"http://app.example/x", "https://a@b/", "http://a#b/", "http://a?b/", `http://a\b/`, "http:a/b", "//a/b", "http://[::1]:8080/x",
		"http://a/%2e%2e/b", "http://a//b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.Parse(raw)
		if err != nil || !wholeAddress(u, raw) {
			return
		}
		_, rest, _ := strings.Cut(raw, "://")
		host, _, _ := strings.Cut(rest, "/")
		if host != u.Host || strings.ContainsAny(host, `#?@\ `) {
			t.Fatalf("%q has the host %q for us", raw, u.Host)
		}
	})
}

// FuzzFWD03_OriginalURLInParts holds that no part can stand in for another: what is read has the host and the path that
// the proxy gave.
func FuzzFWD03_OriginalURLInParts(f *testing.F) {
	for _, s := range [][3]string{
		{"http", "app.example", "/x?y"},
		{"http://a/?", "b", "/"},
		{"http://a", "b", "/"},
		{"http", "a/", "/b"},
		{"http", "a", ".b/"},
		{"https", "a", "@b/"},
		{"http", "a#", "/"},
		{"http", "[::1]:80", "//x"},
		{"http", "a", "/x#/../y"},
		{"HTTP", "a", "/"},
		{"", "", ""},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, scheme, host, path string) {
		u, ok := whole([]string{scheme, host, path})
		if !ok {
			return
		}
		if (scheme != "http" && scheme != "https") || u.Host != host || host == "" || path[:1] != "/" {
			t.Fatalf("%q %q %q is read as %s at %s", scheme, host, path, u, u.Host)
		}
		if rest, _, _ := strings.Cut(path, "#"); !strings.HasPrefix(rest, "/") || u.User != nil ||
			u.Path == "" || strings.Contains(u.Path, "?") != strings.Contains(strings.ToLower(pathOf(rest)), "%3f") {
			t.Fatalf("%q %q %q has the path %q", scheme, host, path, u.Path)
		}
	})
}

// pathOf is what stands before the query.
func pathOf(s string) string {
	path, _, _ := strings.Cut(s, "?")
	return path
}
