package wire

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sallyport/broker"
	"sallyport/identity"
)

// FuzzHeaderText holds that no text ends a header, and that every text can be read back.
func FuzzHeaderText(f *testing.F) {
	for _, s := range []string{"", "lena", "Zoë", "a\r\nX-Auth-Roles: admin", "100%", "%41", "\x00", "\xff", "a b", "~"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := headerText(s)
		for i := range len(out) {
			if out[i] < ' ' || out[i] > '~' {
				t.Fatalf("%q becomes %q", s, out)
			}
		}
		if back, err := url.PathUnescape(out); err != nil || back != s {
			t.Fatalf("%q becomes %q, which reads %q, %v", s, out, back, err)
		}
	})
}

// cookieHouse has an application whose cookie is ours by prefix, one that verifies its token itself in a cookie with a
// name of its own, one whose cookie has a name of its own and an opaque value, and one whose cookie has a name that PHP
// reads out of others too.
func cookieHouse() (snap *broker.Snapshot, plain, token, opaque, own *broker.Application) {
	made := func(id string, cookie broker.CookieSpelling) *broker.Application {
		return &broker.Application{ID: id, Profile: &broker.Profile{Cookie: cookie}}
	}
	plain, token = made("app", broker.CookieSpelling{}), made("own", broker.CookieSpelling{Name: "jwt", Token: true})
	opaque = made("old", broker.CookieSpelling{Name: "OldSession"})
	own = made("php", broker.CookieSpelling{Name: "my_session", Token: true})
	snap = &broker.Snapshot{}
	return snap.WithApplications([]*broker.Application{plain, token, opaque, own}), plain, token, opaque, own
}

// under gives a request the facts of a snapshot.
func under(r *http.Request, snap *broker.Snapshot) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), factsKey{}, &Facts{Visit: broker.Visit{Snapshot: snap}}))
}

func TestFWD04_OurCookiesAreFoundInEverySpelling(t *testing.T) {
	snap, plain, token, opaque, own := cookieHouse()
	for name, c := range map[string]struct {
		app        *broker.Application
		own        bool
		sent, want string
	}{
		"the broker's":                     {plain, true, "__Host-sallyport=x; a=1", "a=1"},
		"the application's":                {plain, true, "__Host-sallyport-app=x; a=1", "a=1"},
		"a domain's":                       {plain, true, "__Secure-sallyport-app=x; a=1", "a=1"},
		"an embedder's":                    {plain, true, "__Host-sp-intranet=x; a=1", "a=1"},
		"an embedder's on its own origin":  {plain, true, "__Secure-sp-intranet=x; a=1", "a=1"},
		"in capitals":                      {plain, true, "__HOST-SP-INTRANET=x; a=1", "a=1"},
		"after a comma":                    {plain, true, "b=2, __Secure-sp-x=y; a=1", "a=1"},
		"in quotes":                        {plain, true, `b="2 __Secure-sp-x=y"; a=1`, "a=1"},
		"another application's own name":   {plain, true, "jwt=x; OldSession=y; a=1", "a=1"},
		"the same, in another case":        {plain, true, "JWT=x; oldsession=y; a=1", "a=1"},
		"the same, with a space":           {plain, true, "jwt =x; a=1", "a=1"},
		"the same, after a comma":          {plain, true, "b=2,jwt=x; a=1", "a=1"},
		"the same, without a value":        {plain, true, "jwt; a=1", "a=1"},
		"a name that holds such a one":     {plain, true, "my_jwt=x; jwt_theme=dark; my-OldSession=z", "my_jwt=x; jwt_theme=dark; my-OldSession=z"},
		"a value that is such a one":       {plain, true, "kind=jwts", "kind=jwts"},
		"a token it verifies":              {token, true, "jwt=x; __Host-sallyport=y; a=1", "jwt=x; a=1"},
		"a token that did not open":        {token, false, "jwt=x; a=1", "a=1"},
		"a token in another spelling":      {token, true, "JWT=x; jwt =y; a=1", "a=1"},
		"a token with another's behind it": {token, true, "jwt=x, __Host-sallyport=y; a=1", "a=1"},
		"a name that PHP reads as such":    {plain, true, "my.session=x; my[session=x; my%5fsession=x; MY%2eSESSION=x; a=1", "a=1"},
		"the same, with a plus or a space": {plain, true, "my session=x; my+session=x; +my_session=x; %20my.session=x; a=1", "a=1"},
		"the same, with more that C drops": {plain, true, "my_session%00x=y; jwt%00=z; a=1", "a=1"},
		"ours as PHP reads it":             {plain, true, "..Host-sallyport=x; %5f.host-sallyport-app=x; .[secure-sp-x=y; a=1", "a=1"},
		"a name that PHP reads as its own": {own, true, "my.session=x; my_session=y; a=1", "my_session=y; a=1"},
		"a value with an encoded address":  {plain, true, "back=%2Flogin%3Fjwt%3Dx; a=100%", "back=%2Flogin%3Fjwt%3Dx; a=100%"},
		"an opaque value of its own name":  {opaque, true, "OldSession=x; jwt=y; a=1", "a=1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := under(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), snap)
			r.Header.Set("Cookie", c.sent)
			if got := new(OurCookies).Without(r, c.app, c.own); got != c.want {
				t.Errorf("%q passes on %q, want %q", c.sent, got, c.want)
			}
		})
	}
}

func TestFWD04_NobodyElseSetsACookieOfOurs(t *testing.T) {
	snap, _, _, _, _ := cookieHouse()
	answer := http.Header{"Set-Cookie": {
		"__Host-sallyport-app=planted; Path=/", "theme=dark; Path=/; HttpOnly", "=__Host-sallyport=planted", "jwt=planted",
		"__host-SP-x=planted", "note=1; comment=jwt=x", " OldSession = planted",
	}}
	new(OurCookies).Drop(answer, snap)
	want := []string{"theme=dark; Path=/; HttpOnly", "note=1; comment=jwt=x"}
	if got := answer["Set-Cookie"]; !slices.Equal(got, want) {
		t.Errorf("passes on %q, want %q", got, want)
	}
	only := http.Header{"Set-Cookie": {"jwt=planted"}}
	if new(OurCookies).Drop(only, snap); len(only) != 0 {
		t.Errorf("an empty field is left: %v", only)
	}
}

// FuzzFWD04_CookieStripping holds that nothing that our own reader, or one that ignores case, takes for a cookie of ours
// is passed on, and that nothing is added.
func FuzzFWD04_CookieStripping(f *testing.F) {
	for _, s := range []string{
		"__Host-sallyport=x", "a=1; __Host-sallyport-app=x; b=2", "a=1;__Host-sallyport_flow_x=y", `a="; __Host-sallyport=x"`,
		"__Host-sallyport =x", "\t__Host-sallyport=x", ";;;", "=", "a=1, __host-sallyport=x", "jwt=1", "a=1,jwt=1", `"jwt=2"`, "my.session=x",
		"jwt\t\r\t=",
	} {
		f.Add(s, s)
	}
	snap, plain, _, _, _ := cookieHouse()
	f.Fuzz(func(t *testing.T, one, two string) {
		r := under(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), snap)
		r.Header["Cookie"] = []string{one, two}
		kept := new(OurCookies).Without(r, plain, true)
		low := strings.ToLower(kept)
		if strings.Contains(low, strings.ToLower(BrokerCookie)) || strings.Contains(low, embedLower) {
			t.Fatalf("kept %q", kept)
		}
		passed := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		passed.Header["Cookie"] = []string{kept}
		for _, c := range passed.Cookies() {
			if !strings.Contains(one, c.Name) && !strings.Contains(two, c.Name) {
				t.Fatalf("made up a cookie %q", c.Name)
			}
			php := strings.NewReplacer(".", "_", "[", "_", "+", "_").Replace(c.Name)
			if strings.EqualFold(c.Name, "jwt") || strings.EqualFold(c.Name, "OldSession") || strings.EqualFold(php, "my_session") {
				t.Fatalf("kept %q", c.Name)
			}
		}
	})
}

func TestFWD02_IdentityHeadersOfNobodyAreEmpty(t *testing.T) {
	h := http.Header{"X-Auth-User": {"root"}, "X-Auth-Roles": {"admin", "root"}}
	IdentityHeaders(h, identity.Principal{}, "")
	if len(h) != 6 {
		t.Errorf("%d headers", len(h))
	}
	for name, values := range h {
		if !slices.Equal(values, []string{""}) {
			t.Errorf("%s is %q", name, values)
		}
	}
}

func TestFWD02_EverySpellingOfAnIdentityHeaderIsRemoved(t *testing.T) {
	h := http.Header{}
	for _, name := range []string{
		"X-Auth-User", "x-auth-roles", "X_Auth_User", "x_auth_user", "X-Auth.User", "X-AUTH_USER", "X~Auth~User", "X-Auth", "X-Auth-Request-User",
		"Remote-User", "REMOTE_USER", "X-Remote-User", "X-Remote-Group", "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups",
		"X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token", "X_Forwarded_For", "X-Forwarded-Proto", "X-WebAuth-User",
		"X-Webauth.User", "X-Original-Url", "X-Original-Uri", "X-Rewrite-Url", "Forwarded", "X-Real-Ip", "X_Real_IP", "Proxy",
		"X-Client-Ip", "X-Sallyport-User", "X-User", "X.User", "X-Ssl-Client-S-Dn", "X_SSL_Client_Verify", "X-Ms-Client-Principal",
		"X-MS-CLIENT-PRINCIPAL-NAME", "X-Goog-Authenticated-User-Email", "Cf-Connecting-Ip", "CF_Connecting_IP", "Wl-Proxy-Client-Ip",
	} {
		h[name] = []string{"forged"}
	}
	for _, name := range []string{"Accept", "X-Requested-With", "Authorization", "Proximity", "X-Author", "Cookie", "X-User-Agent"} {
		h[name] = []string{"kept"}
	}
	StripIdentity(h)
	delete(h, "X-Author") // taken with X-Auth…, on the safe side
	if len(h) != 6 {
		t.Errorf("left: %v", h)
	}
}

func TestCanonicalTargetsHaveOneReading(t *testing.T) {
	for target, want := range map[string]bool{
		"/": true, "/a/b.html": true, "/a?b=//../%2f;": true, "/wiki/Foo_(bar)": true, "/wiki/Foo_%28bar%29": true, "/a%20b": true,
		"/%C3%A9": true, "/%c3%a9": true, "/a+b": true, "/a:b@c,d=e&f": true, "/100%25": true, "/50%25%20off": true, "/100%25ugly": true,
		"/a/..b": true, "/.well-known/x": true, "/%23": true, "/a.b/c.html": true, "/%20a": true, "/a%20b/": true,
		"/...": false, "/a.": false, "/admin./x": false, "/admin%20/x": false, "/admin%20": false, "/admin.%20/": false,
		"/%2561dmin": false, "/%2541": false, "/a%2520b": false, "/%25c3%25a9": false, "/%25%2541": false, "/%25u0061dmin": false,
		"/%25U0061dmin": false, "/a%25u002": true, "/a%25u002fb": false,
		"": false, "*": false, "a/b": false, "http://app.localhost/": false, "//a": false, "/a//b": false, "/a/./b": false,
		"/a/../b": false, "/..": false, "/.": false, "/a/.": false, "/a%2fb": false, "/a%2Fb": false, "/a%5cb": false, "/a%5Cb": false,
		`/a\b`: false, "/%2e%2e/a": false, "/%2E": false, "/a;b": false, "/a%3bb": false, "/a%00b": false, "/a%0d%0ab": false,
		"/a%7fb": false, "/%ff": false, "/é": false, "/%61dmin": false, "/a%7eb": false, "/%252e%252e/a": false, "/a%252fb": false,
		"/a%25252fb": false, "/a%255cb": false, "/a%253bb": false, "/a#b": false, "/a|b": false, "/a%2500": false, "/a%25": true,
	} {
		t.Run(target, func(t *testing.T) {
			u, err := url.ParseRequestURI(target)
			if err != nil {
				if want {
					t.Fatal(err)
				}
				return
			}
			if got := Canonical(u, target); got != want {
				t.Errorf("canonical: %v", got)
			}
		})
	}
}

// FuzzFWD03_CanonicalTarget holds that a target that passes is its own path: cleaning, decoding twice and comparing
// bytes change nothing that divides it.
func FuzzFWD03_CanonicalTarget(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/a%2fb", "/%61", "/a?b", "/%252e%252e/", "//a", "/a;b", "/%C3%A9", "/a(b)", `/a\b`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !Canonical(u, target) {
			return
		}
		raw, _, _ := strings.Cut(target, "?")
		segments := strings.Count(raw, "/")
		for range 3 {
			if strings.Count(raw, "/") != segments || strings.ContainsAny(raw, "\\;\x00\r\n") || strings.Contains(raw, "//") ||
				strings.Contains(raw+"/", "/../") || strings.Contains(raw+"/", "/./") || raw[0] != '/' {
				t.Fatalf("%q becomes %q", target, raw)
			}
			if next, err := url.PathUnescape(raw); err == nil {
				raw = next
			}
		}
		if raw, err := url.PathUnescape(u.Path); err == nil && raw != u.Path {
			t.Fatalf("%q is %q, and %q when decoded again", target, u.Path, raw)
		}
		if u.RequestURI() != target && u.RequestURI() != strings.TrimSuffix(target, "?") {
			t.Fatalf("%q goes out as %q", target, u.RequestURI())
		}
	})
}
