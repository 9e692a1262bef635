package providers

import (
	"net/url"
	"strings"
	"testing"
)

func TestCheckURL(t *testing.T) {
	for text, want := range map[string]struct{ address, bare string }{ // "" is taken
		"https://login.example":                 {"", ""},
		"https://login.example:8443/a/b":        {"", ""},
		"https://login.example/?p=policy":       {"", "no query"},
		"https://login.example/?":               {"", "no query"},
		"http://localhost:8080":                 {"", ""},
		"http://op.LOCALHOST./x":                {"", ""},
		"http://127.0.0.2":                      {"", ""},
		"http://[::1]:80":                       {"", ""},
		"http://[::ffff:127.0.0.1]":             {"", ""},
		"":                                      {"absolute", "absolute"},
		"login.example":                         {"absolute", "absolute"},
		"//login.example":                       {"must be https", "must be https"},
		"https:login.example":                   {"absolute", "absolute"},
		"https://:443":                          {"absolute", "absolute"},
		"https:///path":                         {"absolute", "absolute"},
		"https://u:CANARY@login.example":        {"no user", "no user"},
		"https://login.example/#":               {"no user or fragment", "fragment"},
		"https://login.example:port/CANARY":     {"must be a URL", "must be a URL"},
		"http://login.example":                  {"must be https", "must be https"},
		"http://localhost.login.example":        {"must be https", "must be https"},
		"http://notlocalhost":                   {"must be https", "must be https"},
		"http://10.0.0.1":                       {"must be https", "must be https"},
		"http://0.0.0.0":                        {"must be https", "must be https"},
		"http://2130706433":                     {"must be https", "must be https"},
		"ftp://localhost":                       {"must be https", "must be https"},
		"file:///etc/passwd":                    {"absolute", "absolute"},
		"javascript:alert(1)//localhost/CANARY": {"absolute", "absolute"},
	} {
		for _, check := range []struct {
			name string
			err  error
			want string
		}{{"CheckURL", CheckURL(text), want.address}, {"CheckBareURL", CheckBareURL(text), want.bare}} {
			switch {
			case check.err == nil && check.want == "":
			case check.err == nil, check.want == "", !strings.Contains(check.err.Error(), check.want):
				t.Errorf("%s of %q: %v, want %q", check.name, text, check.err, check.want)
			case strings.Contains(check.err.Error(), "CANARY"):
				t.Errorf("%s of %q repeats it: %v", check.name, text, check.err)
			}
		}
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "a.b.localhost": true, "LOCALHOST.": true, "127.1.2.3": true, "[::1]": true,
		"localhost.example": false, "127.0.0.1.example": false, "[::]": false, "192.168.0.1": false,
	} {
		if got := IsLoopback(&url.URL{Scheme: "http", Host: host}); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}
