package e2e

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dialects are two applications behind the gateway that each speak another dialect: wiki keeps its token in a cookie of
// the parent domain, notes has claims, a cookie, keys and a shared secret of its own.
func dialects(w *world) (applications, sections string) {
	return fmt.Sprintf(`  wiki: {title: Wiki, url: %q, require: [viewer], profile: family, upstream: {url: %[3]q}}
  notes:
    title: Notes
    url: %[2]q
    require: [viewer]
    profile: legacy
    algorithm: HS256
    secret: env:NOTES_SECRET
    upstream: {url: %[3]q}
    claims: {locale: {value: en}}
`, w.below("wiki")+"/", w.below("notes")+"/", w.echo.server.URL), `profiles:
  family:
    cookie: {name: family, value: token, domain: corp.localhost}
  legacy:
    claims:
      name: ""
      login: username
      user_id: id
      door: provider
      tenant: {value: acme}
      role: {from: roles, shape: string, prefer: [operator, viewer]}
      groups: {from: roles, shape: comma, rename: {viewer: readers}}
      rights: {from: permissions, shape: space, template: "{action}:{resource}"}
    cookie: {name: legacy_session, same_site: strict}
    api_key: {prefix: leg, headers: [X-Legacy-Key]}
`
}

// below is the address of a host below corp.localhost that the broker itself answers for.
func (w *world) below(name string) string {
	return strings.Replace(w.issuer, "sso.localhost", name+".corp.localhost", 1)
}

// cookieLine is the one Set-Cookie of an answer that gives this cookie.
func cookieLine(t *testing.T, a answer, name string) (line, value string) {
	t.Helper()
	for _, l := range a.header.Values("Set-Cookie") {
		if strings.HasPrefix(l, name+"=") && !strings.Contains(l, "Max-Age=0") {
			if line != "" {
				t.Errorf("%s is set twice", name)
			}
			line = l
		}
	}
	value, _, _ = strings.Cut(strings.TrimPrefix(line, name+"="), ";")
	if value == "" {
		t.Fatalf("no %s in %d cookies", name, len(a.header.Values("Set-Cookie")))
	}
	return line, value
}

// parts are a token's signed text, signature and claims.
func parts(t *testing.T, token string) (signed string, signature []byte, claims map[string]any) {
	t.Helper()
	cut := strings.LastIndex(token, ".")
	first := strings.Index(token, ".")
	if first < 0 || first == cut {
		t.Fatalf("not a token: %d bytes", len(token))
	}
	payload, err := base64.RawURLEncoding.DecodeString(token[first+1 : cut])
	if err != nil {
		t.Fatal(err)
	}
	if signature, err = base64.RawURLEncoding.DecodeString(token[cut+1:]); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return token[:cut], signature, claims
}

// verifiedBy checks an ES256 signature with a public key as PEM, as somebody does who has only that.
func verifiedBy(t *testing.T, key, token string) map[string]any {
	t.Helper()
	block, rest := pem.Decode([]byte(key))
	if block == nil || len(rest) > 0 {
		t.Fatalf("not one PEM block: %q", key)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		t.Fatalf("the key is a %T", parsed)
	}
	signed, signature, claims := parts(t, token)
	sum := sha256.Sum256([]byte(signed))
	half := len(signature) / 2
	r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
	if !ecdsa.Verify(public, sum[:], r, s) {
		t.Error("the signature does not verify")
	}
	return claims
}

func TestSES01_AnApplicationsCookieIsItsProfilesAndOpensItAlone(t *testing.T) {
	w := newWorld(t, options{more: dialects})
	wiki, notes := w.below("wiki"), w.below("notes")
	v := newVisitor(t)

	t.Run("a token in a cookie of the parent domain", func(t *testing.T) {
		line, token := cookieLine(t, v.get(v.byPassword(w, wiki+"/page?x=1", local("lena"))), "family")
		want := "family=" + token + "; Path=/; Domain=corp.localhost; HttpOnly; Secure; SameSite=Lax"
		if line != want {
			t.Errorf("Set-Cookie is %q", strings.Replace(line, token, "TOKEN", 1))
		}
		claims := verifiedBy(t, w.command("", "signing-key", "export", "--application", "wiki"), token)
		claimsCheck(t, claims, w.issuer, "wiki")

		family := cookieOf("family", token)
		h := get(t, wiki+"/page?x=1", family.header, family.value, "Accept", "text/html").heard(t)
		if h.URL != "/page?x=1" || h.Header.Get("X-Auth-User") != "lena" || h.Header.Get("Cookie") != "family="+token {
			t.Errorf("the application got %s of %q, Cookie of %d bytes", h.URL, h.Header.Get("X-Auth-User"), len(h.Header.Get("Cookie")))
		}
		for name, o := range map[string]opened{
			"a sibling below the domain":         {"", notes + "/", family},
			"the sibling by its own name":        {"", notes + "/", cookieOf("legacy_session", token)},
			"another application":                {"", w.app + "/", cookieOf(appCookie, token)},
			"the broker by the cookie's name":    {"", w.issuer + "/api/auth/me", family},
			"the broker by its own":              {"", w.issuer + "/api/auth/me", cookieOf(brokerCookie, token)},
			"the broker's API as a bearer":       {"", w.issuer + "/api/auth/sessions", bearer(token)},
			"the application by the usual name":  {"", wiki + "/", cookieOf("__Secure-sallyport-wiki", token)},
			"the application with one character": {"", wiki + "/", cookieOf("family", token[:len(token)-6]+"AAAAAA")},
		} {
			if status := w.status(o.address, o.c); status != http.StatusUnauthorized {
				t.Errorf("%s: status %d, want 401", name, status)
			}
		}
		if a := get(t, w.issuer+"/me", family.header, family.value, "Accept", "text/html"); a.status == http.StatusOK {
			t.Error("it opens the broker's own pages")
		}
	})

	t.Run("a cookie of another name that stays behind on links", func(t *testing.T) {
		line, value := cookieLine(t, v.get(v.finish(w, v.login(w, notes+"/"))), "legacy_session")
		if want := "legacy_session=" + value + "; Path=/; HttpOnly; Secure; SameSite=Strict"; line != want || strings.Contains(value, ".") {
			t.Errorf("Set-Cookie is %q", strings.Replace(line, value, "VALUE", 1))
		}
		c := cookieOf("legacy_session", value)
		if h := get(t, notes+"/", c.header, c.value).heard(t); h.Header.Get("Cookie") != "" {
			t.Error("the application gets the cookie that only we can read")
		}
		if status := w.status(wiki+"/", cookieOf("family", value)); status != http.StatusUnauthorized {
			t.Errorf("a sibling: %d", status)
		}
	})

	t.Run("signing out drops it by its own name and domain", func(t *testing.T) {
		family := cookieOf("family", v.jar[host(wiki)]["family"])
		a := v.get(wiki + "/.sallyport/logout")
		_, page := v.follow(v.resolve(wiki+"/.sallyport/logout", a), "")
		v.post(w.issuer+"/logout", map[string][]string{"csrf": {v.hidden(page, "csrf")}})
		if status := w.status(wiki+"/", family); status != http.StatusUnauthorized {
			t.Errorf("the token in the cookie opens the application afterwards: %d", status)
		}
	})
}

func TestClaimsAndKeysAreWrittenAsTheApplicationWantsThem(t *testing.T) {
	w := newWorld(t, options{more: dialects})
	token := w.token(local("lena"), "notes")
	signed, signature, claims := parts(t, token)
	mac := hmac.New(sha256.New, []byte(notesSecret))
	mac.Write([]byte(signed))
	if !hmac.Equal(signature, mac.Sum(nil)) {
		t.Error("the shared secret does not verify the token")
	}
	me := w.me(bearer(w.token(local("lena"), "")))
	want := map[string]any{
		"aud": "notes", "client_id": "notes", "iss": w.issuer, "idp": "local", "email": "lena@house.example", "name": nil,
		"preferred_username": "lena", "login": "lena", "user_id": me["id"], "door": "local", "tenant": "acme", "locale": "en",
		"role": "operator", "groups": "operator,readers", "rights": "read:* *:hosts",
		"roles": []any{"operator", "viewer"}, "permissions": []any{"*:read", "hosts:*"},
	}
	got := map[string]any{}
	for name := range want {
		got[name] = claims[name]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if claims["user_id"] != claims["sub"] {
		t.Errorf("user_id is %v, sub %v", claims["user_id"], claims["sub"])
	}
	if _, _, other := parts(t, w.token(local("lena"), "app")); other["login"] != nil || other["roles"] == nil {
		t.Error("another application's tokens speak this dialect too")
	}
	if r := run(t, w.dir, "", w.secrets(), "--config", w.file, "signing-key", "export", "--application", "notes"); r.code == 0 ||
		strings.Contains(r.stdout, "KEY") {
		t.Errorf("a public key of a shared secret: exit code %d", r.code)
	}

	notes, key := w.below("notes"), w.key(local("lena"), "notes")
	if !strings.HasPrefix(key, "leg_") {
		t.Errorf("the key begins with %q", key[:4])
	}
	for name, want := range map[string]int{"X-Legacy-Key": http.StatusOK, "X-API-Key": http.StatusUnauthorized} {
		if status := w.status(notes+"/", credential{name, key}); status != want {
			t.Errorf("the key in %s: %d, want %d", name, status, want)
		}
	}
	if status := w.status(notes+"/", bearer(key)); status != http.StatusUnauthorized {
		t.Errorf("the key as a bearer: %d", status)
	}
	if status := w.status(notes+"/", bearer(token)); status != http.StatusOK {
		t.Errorf("the token as a bearer: %d", status)
	}
	for _, h := range w.echo.all() {
		if h.Header.Get("X-Legacy-Key") != "" {
			t.Error("the key reached the application")
		}
	}
}
