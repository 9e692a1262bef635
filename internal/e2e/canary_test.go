package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/testenv"
)

// canaries are the secrets of a run by what they are.
type canaries map[string][]byte

// add registers a secret. Short ones would be found by chance.
func (c canaries) add(t *testing.T, what, secret string) {
	t.Helper()
	if len(secret) < 12 {
		t.Fatalf("%s is too short to be looked for: %d bytes", what, len(secret))
	}
	c[what] = []byte(secret)
}

// spellings are the ways in which a secret might have been written down: as it is, hex, base64 of both alphabets
// wherever in a longer text it stood, and percent-encoded.
func spellings(secret []byte) map[string][]byte {
	out := map[string][]byte{
		"raw": secret, "hex": []byte(hex.EncodeToString(secret)), "HEX": []byte(strings.ToUpper(hex.EncodeToString(secret))),
		"in a URL": []byte(url.QueryEscape(string(secret))),
	}
	for shift := range 3 {
		// The characters at both ends depend on what stood beside it and are left out.
		padded := append(make([]byte, shift), secret...)
		from, to := (shift*8+5)/6, len(padded)*8/6
		out[fmt.Sprintf("base64 at %d", shift)] = []byte(base64.RawStdEncoding.EncodeToString(padded)[from:to])
		out[fmt.Sprintf("base64url at %d", shift)] = []byte(base64.RawURLEncoding.EncodeToString(padded)[from:to])
	}
	return out
}

// search looks for every secret in every place and says what it found where, without saying the secret again.
func (c canaries) search(places map[string][]byte) []string {
	var found []string
	for _, what := range slices.Sorted(maps.Keys(c)) {
		for how, text := range spellings(c[what]) {
			for where, content := range places {
				if bytes.Contains(content, text) {
					found = append(found, fmt.Sprintf("%s (%s) stands in %s", what, how, where))
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

func TestAUD04_TheCanaryTestFindsASecretHoweverItIsWritten(t *testing.T) {
	const secret = "correct horse battery staple/+?"
	c := canaries{}
	c.add(t, "secret", secret)
	for name, text := range map[string]string{
		"raw":                    "password=" + secret + ";",
		"hex":                    hex.EncodeToString([]byte(secret)),
		"capital hex":            fmt.Sprintf("%X", secret),
		"base64":                 base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64url":              base64.RawURLEncoding.EncodeToString([]byte(secret)),
		"base64 of a header":     base64.StdEncoding.EncodeToString([]byte("alice:" + secret)),
		"base64 of one more":     base64.StdEncoding.EncodeToString([]byte("bobby:x" + secret + "tail")),
		"base64url of two more":  base64.URLEncoding.EncodeToString([]byte("carol:xy" + secret + "tail!")),
		"a query":                "?" + url.Values{"q": {secret}}.Encode(),
		"in the middle of bytes": "\x00\x01" + secret + "\xff",
	} {
		if len(c.search(map[string][]byte{"log": []byte(text)})) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
	if found := c.search(map[string][]byte{"log": []byte("correct horse battery stable/+?")}); len(found) > 0 {
		t.Errorf("found what is not there: %q", found)
	}
}

// takeCookies registers the cookies of ours that somebody has. Those that remember a choice are short and no secrets.
func (c canaries) takeCookies(t *testing.T, whose string, jar map[string]string) {
	t.Helper()
	for name, value := range jar {
		if strings.HasPrefix(name, brokerCookie) && len(value) >= 32 {
			c.add(t, whose+" cookie "+name, value)
		}
	}
}

// browserJar is a browser's cookies by name.
func browserJar(b *testenv.Browser) map[string]string {
	jar := map[string]string{}
	for _, cookie := range b.Cookies() {
		jar[cookie.Name] = cookie.Value
	}
	return jar
}

// query is a value in an address.
func query(t *testing.T, address, name string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get(name)
}

// oidcByHand goes through the OpenID provider step by step and registers what passes by.
func (c canaries) oidcByHand(t *testing.T, w *world) {
	t.Helper()
	v := newVisitor(t)
	callback := v.atPartner(w, w.reports+"/?from=partner", partner("alice"))
	c.add(t, "the provider's code", query(t, callback, "code"))
	c.takeCookies(t, "before the callback:", v.jar[host(w.issuer)])
	c.takeCookies(t, "before the hand-over:", v.jar[host(w.reports)])
	handover := v.finish(w, callback)
	c.add(t, "a hand-over code, redeemed", query(t, handover, "code"))
	c.takeCookies(t, "after the callback:", v.jar[host(w.issuer)])
	if a := v.get(handover); a.status != http.StatusSeeOther {
		t.Fatalf("hand-over: %d", a.status)
	}
	c.takeCookies(t, "after the hand-over:", v.jar[host(w.reports)])
	if a := v.get(callback); a.status == http.StatusOK {
		t.Errorf("the callback works twice: %d", a.status)
	}
}

// samlByHand goes through the SAML provider step by step and registers what passes by. It returns the RelayState, which
// the store keeps once it is spent.
func (c canaries) samlByHand(t *testing.T, w *world) (state string) {
	t.Helper()
	v := newVisitor(t)
	acs, form := v.atCampus(w, w.reports+"/", campus("alice"))
	spoilt := form.Get("SAMLResponse")[:2000]
	c.add(t, "a part of a response", spoilt)
	form.Set("SAMLResponse", spoilt)
	v.refused(w, acs, form, "provider_reply_invalid")
	acs, form = v.atCampus(w, w.reports+"/?from=campus", campus("alice"))
	c.add(t, "the provider's response", form.Get("SAMLResponse"))
	document, err := base64.StdEncoding.DecodeString(form.Get("SAMLResponse"))
	if err != nil {
		t.Fatal(err)
	}
	c.add(t, "the provider's response, decoded", string(document))
	kept := maps.Clone(v.jar[host(w.issuer)])
	c.takeCookies(t, "before the response:", kept)
	handover := v.arrive(w, acs, form)
	c.add(t, "a hand-over code, redeemed (SAML)", query(t, handover, "code"))
	c.takeCookies(t, "after the response:", v.jar[host(w.issuer)])
	if a := v.get(handover); a.status != http.StatusSeeOther {
		t.Fatalf("hand-over: %d", a.status)
	}
	v.again(kept, w).refused(w, acs, form, "flow_finished")
	newVisitor(t).refused(w, acs, form, "flow_unknown")
	for _, name := range []string{"signing", "decryption"} {
		text, err := os.ReadFile(filepath.Join(w.dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		c.add(t, "the "+name+" key", string(block.Bytes))
		c.add(t, "a line of the "+name+" key", strings.Split(string(text), "\n")[5])
	}
	return form.Get("RelayState")
}

// inCookies lets somebody in whose token is in a cookie, and registers it.
func (c canaries) inCookies(t *testing.T, w *world) {
	t.Helper()
	v := newVisitor(t)
	wiki := w.below("wiki")
	_, token := cookieLine(t, v.get(v.byPassword(w, wiki+"/", local("lena"))), "family")
	c.add(t, "the token in a cookie", token)
	signature := token[strings.LastIndex(token, ".")+1:]
	c.add(t, "its signature", signature)
	get(t, wiki+"/", "Cookie", "family="+token)
	get(t, w.below("notes")+"/", "Cookie", "family="+token+"; legacy_session="+token)
	get(t, wiki+"/", "Cookie", "family="+strings.Replace(token, ".", ".e30", 1)) // damaged: must not be logged either
	c.add(t, "a key in a header of its own", w.key(local("lena"), "notes"))
	c.add(t, "the shared secret of notes", notesSecret)
	c.add(t, "a token of notes", w.token(local("lena"), "notes"))
}

// byProgram lets programs sign in well and badly, and registers what they send and get.
func (c canaries) byProgram(t *testing.T, w *world) {
	t.Helper()
	for what, who := range map[string]person{"local": local("lena"), "directory": w.corp("bob")} {
		c.add(t, what+" password", who.password)
		c.add(t, what+" token", w.token(who, ""))
		c.add(t, what+" application token", w.token(who, "app"))
		key := w.key(who, "app")
		c.add(t, what+" key", key)
		c.add(t, what+" key's secret", key[strings.LastIndex(key, "_")+1:])
		get(t, w.app+"/", "X-API-Key", key)
		get(t, w.app+"/", "X-API-Key", key[:len(key)-4]+"aaaa") // damaged: must not be logged either
		get(t, w.issuer+"/api/auth/me?api_key="+key)            // in the address, where it is refused
		wrong := person{who.door, who.username, "mistyped-" + who.password}
		if a := w.logIn(wrong, ""); a.status != http.StatusUnauthorized {
			t.Errorf("wrong password: %d", a.status)
		}
	}
	c.add(t, "a token of the vault", w.token(local("lena"), "vault"))
	forged := w.token(local("lena"), "app")
	forged = forged[:strings.LastIndex(forged, ".")+1] + strings.Repeat("A", 86)
	c.add(t, "a token with a wrong signature", forged)
	get(t, w.app+"/", "Authorization", "Bearer "+forged)
	get(t, w.issuer+"/api/auth/me", "Authorization", "Bearer "+forged)
	// In bodies nobody can read: what is wrong with them must be said without quoting them.
	c.add(t, "a password in a broken body", "secret-in-a-broken-body")
	call(t, http.MethodPost, w.issuer+"/api/auth/login", `{"username":"lena","password":"secret-in-a-broken-body"`,
		"Content-Type", "application/json")
	call(t, http.MethodPost, w.issuer+"/api/auth/login", `{"username":"lena","secret-in-a-broken-body":1}`,
		"Content-Type", "application/json")
}

// byBrowser lets a person sign in through the directory, make a key and sign out.
func (c canaries) byBrowser(t *testing.T, w *world, b *testenv.Browser) {
	t.Helper()
	alice := w.corp("alice")
	c.add(t, "password typed in the browser", alice.password)
	b.Open(w.app + "/")
	b.WaitURL(w.issuer + "/login")
	c.takeCookies(t, "while signing in:", browserJar(b))
	w.proveAt(b, alice)
	b.WaitURL(w.app)
	b.Open(w.reports + "/")
	b.WaitURL(w.reports)
	c.add(t, "forwarded token", w.shown(b).Header.Get("X-Auth-Token"))
	c.takeCookies(t, "signed in:", browserJar(b))
	b.Open(w.issuer + "/me")
	b.Fill("Name", "by hand")
	b.Click(`[name="role"][value="viewer"]`)
	b.Click("Create key")
	b.WaitText("It is shown only this once.")
	key, _ := b.Eval(`document.querySelector(".secret code").innerText`).(string)
	c.add(t, "key from the page", key)
	if value, _ := b.Eval(`document.querySelector("[name=csrf]").value`).(string); value != "" {
		c.add(t, "form token", value)
	}
	b.Open(w.issuer + "/logout")
	b.Click("Sign out")
	b.WaitText("You are signed out")
}

// byCommand registers what the command line and the configuration were given.
func (c canaries) byCommand(t *testing.T, w *world) {
	t.Helper()
	c.add(t, "new password", "another-quiet-harbour-0815")
	w.command("another-quiet-harbour-0815\n", "user", "set-password", "omar")
	c.add(t, "password of somebody new", passwordOf("nora"))
	w.command(passwordOf("nora")+"\n", "user", "add", "nora", "--group", "viewer")
	w.command("", "user", "disable", "nora")
	c.add(t, "the directory's bind password", w.directory.BindPassword)
	c.add(t, "the provider's client secret", w.oidc.ClientSecret)
	c.add(t, "the vault's shared secret", vaultSecret)
	text, err := os.ReadFile(filepath.Join(w.dir, "data", "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	c.add(t, "master key, as written", strings.TrimSpace(string(text)))
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if raw, err := decode(strings.TrimSpace(string(text))); err == nil {
			c.add(t, "master key", string(raw))
		}
	}
	for _, args := range [][]string{
		{"config", "print"}, {"user", "list", "--json"}, {"provider", "list"}, {"explain", "--user", "lena"},
	} {
		found := c.search(map[string][]byte{strings.Join(args, " "): []byte(w.command("", args...))})
		if len(found) > 0 {
			t.Errorf("printed: %s", strings.Join(found, "\n"))
		}
	}
}

// places are where nothing of it may stand: everything the broker wrote, and what it says to operators.
func (w *world) places(t *testing.T, metrics bool) map[string][]byte {
	t.Helper()
	places := map[string][]byte{
		"standard error": []byte(w.server.stderr.String()), "standard output": []byte(w.server.stdout.String()),
	}
	if metrics {
		places["metrics"] = []byte(get(t, w.operations+"/metrics").body)
	}
	err := filepath.WalkDir(filepath.Join(w.dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "master.key" {
			return err
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // -wal and -shm come and go
		}
		places[d.Name()] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return places
}

func TestAUD04_NoSecretIsEverWrittenDown(t *testing.T) {
	w := newWorld(t, options{directory: true, oidc: true, saml: true, sealed: true, level: "debug", more: dialects})
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	c := canaries{}
	code := regexp.MustCompile(`/setup\?code=(\S+)`).FindStringSubmatch(w.server.stderr.String())
	if code == nil {
		t.Fatal("no set-up link")
	}
	setup := code[1]
	c.byProgram(t, w)
	c.oidcByHand(t, w)
	state := c.samlByHand(t, w)
	c.inCookies(t, w)
	c.byBrowser(t, w, b)
	c.byCommand(t, w)

	if len(c) < 50 {
		t.Fatalf("only %d secrets were collected", len(c))
	}
	for _, name := range []string{"sallyport.db", "sallyport.db-wal", "standard error", "metrics"} {
		if len(w.places(t, true)[name]) == 0 {
			t.Errorf("%s is empty: nothing would be found there", name)
		}
	}
	w.auditIsReadable(t)
	if found := c.search(w.places(t, true)); len(found) > 0 {
		t.Errorf("while running:\n%s", strings.Join(found, "\n"))
	}
	// The terminal is told the set-up code, once; nobody else is.
	told := bytes.Count([]byte(w.server.stderr.String()), []byte(setup))
	if told != 1 {
		t.Errorf("the set-up code stands %d times on standard error", told)
	}
	places := w.places(t, true)
	delete(places, "standard error")
	if found := (canaries{"set-up code": []byte(setup)}).search(places); len(found) > 0 {
		t.Error(found)
	}
	w.onlySpentCodesInAddresses(t, c)
	said := w.places(t, true)
	maps.DeleteFunc(said, func(name string, _ []byte) bool { return strings.HasPrefix(name, "sallyport.db") })
	if found := (canaries{"the state of a sign-in": []byte(state)}).search(said); len(found) > 0 {
		t.Error(found)
	}

	if exit := w.stopServer(); exit != 0 {
		t.Errorf("exit code %d", exit)
	}
	if found := c.search(w.places(t, false)); len(found) > 0 {
		t.Errorf("after the end:\n%s", strings.Join(found, "\n"))
	}

	// It bites: the same search in the same places, with each secret written into each.
	for name, content := range w.places(t, false) {
		for what, secret := range c {
			planted := slices.Concat(content, []byte("\n"), secret)
			if found := (canaries{what: secret}).search(map[string][]byte{name: planted}); len(found) == 0 {
				t.Errorf("planted %s was not found in %s", what, name)
			}
		}
	}
}

// auditIsReadable fails the test when the events of this run cannot be seen in the places: then nothing else could be.
func (w *world) auditIsReadable(t *testing.T) {
	t.Helper()
	all := slices.Concat(slices.Collect(maps.Values(w.places(t, false)))...)
	for _, event := range []string{
		"sign_in.refused", "sign_in.succeeded", "api_key.created", "sign_out", "account.disabled",
	} {
		if !bytes.Contains(all, []byte(event)) {
			t.Errorf("the event %s is nowhere to be seen", event)
		}
	}
}

func TestSTO04_WhatOpensDoorsIsInTheStoreAsHashesOnly(t *testing.T) {
	w := newWorld(t, options{})
	c := canaries{}
	v := newVisitor(t)
	waiting := v.byPassword(w, w.app+"/", local("lena"))
	c.add(t, "a code that waits", query(t, waiting, "code"))
	second := v.finish(w, v.login(w, w.reports+"/"))
	c.add(t, "a code that was taken", query(t, second, "code"))
	if a := v.get(second); a.status != http.StatusSeeOther {
		t.Fatalf("hand-over: %d", a.status)
	}
	c.takeCookies(t, "broker's host:", v.jar[host(w.issuer)])
	c.takeCookies(t, "application's host:", v.jar[host(w.reports)])
	c.add(t, "an API key", w.key(local("lena"), ""))
	c.add(t, "a token", w.token(local("lena"), ""))
	c.add(t, "the password", passwordOf("lena"))
	if len(c) < 7 {
		t.Fatalf("only %d secrets were collected", len(c))
	}
	for _, when := range []string{"while running", "after the end"} {
		places := w.places(t, false)
		delete(places, "standard error") // the other test's
		if found := c.search(places); len(found) > 0 {
			t.Errorf("%s:\n%s", when, strings.Join(found, "\n"))
		}
		if len((canaries{"known": []byte("lena@house.example")}).search(places)) == 0 {
			t.Errorf("%s: what is stored in clear is not found either", when)
		}
		if when == "while running" {
			w.stopServer()
		}
	}
}

// onlySpentCodesInAddresses looks at what a proxy's log and browsers' histories hold: of all secrets only hand-over
// codes, and these open nothing any more.
func (w *world) onlySpentCodesInAddresses(t *testing.T, c canaries) {
	t.Helper()
	log, err := os.ReadFile(w.nginx.AccessLog)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range c.search(map[string][]byte{"nginx's log": log}) {
		if !strings.HasPrefix(line, "a hand-over code, redeemed (") {
			t.Error(line)
		}
	}
	callbacks := regexp.MustCompile(`"GET (/\.sallyport/callback\?\S+)`).FindAllStringSubmatch(string(log), -1)
	if len(callbacks) < 3 {
		t.Fatalf("%d hand-overs in nginx's log", len(callbacks))
	}
	for _, m := range callbacks {
		for _, site := range []string{w.app, w.reports} {
			a := get(t, site+m[1], "Accept", "text/html")
			if a.status < 400 || len((&http.Response{Header: a.header}).Cookies()) > 0 {
				t.Errorf("a logged address still does something: %d", a.status)
			}
		}
	}
	for i, m := range callbacks {
		code := canaries{fmt.Sprintf("hand-over code %d", i): []byte(query(t, m[1], "code"))}
		if found := code.search(w.places(t, true)); len(found) > 0 {
			t.Error(found)
		}
	}
}
