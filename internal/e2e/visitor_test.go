package e2e

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// visitor is a browser of a few lines: it keeps cookies by host, Secure or not, and stops at every redirect, so that a
// test can look at each step or take one away.
type visitor struct {
	t   testing.TB
	jar map[string]map[string]string
	// via is another process of the same house, host:port, that gets what is for the issuer.
	via *second
}

func newVisitor(t testing.TB) *visitor { return &visitor{t: t, jar: map[string]map[string]string{}} }

// get and post are navigations.
func (v *visitor) get(address string) answer {
	v.t.Helper()
	return v.send(http.MethodGet, address, "")
}

func (v *visitor) post(address string, fields url.Values) answer {
	v.t.Helper()
	return v.send(http.MethodPost, address, fields.Encode())
}

func (v *visitor) send(method, address, body string) answer {
	v.t.Helper()
	to, err := url.Parse(address)
	if err != nil {
		v.t.Fatal(err)
	}
	headers := []string{"Accept", "text/html"}
	var pairs []string
	for name, value := range v.jar[to.Host] {
		pairs = append(pairs, name+"="+value)
	}
	if len(pairs) > 0 {
		headers = append(headers, "Cookie", strings.Join(pairs, "; "))
	}
	if method == http.MethodPost {
		headers = append(headers, "Content-Type", "application/x-www-form-urlencoded")
	}
	if v.via != nil {
		address = v.via.at(address)
		headers = append(headers, "Host", to.Host)
	}
	a := call(v.t, method, address, body, headers...)
	if v.jar[to.Host] == nil {
		v.jar[to.Host] = map[string]string{}
	}
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.MaxAge < 0 {
			delete(v.jar[to.Host], c.Name)
			continue
		}
		v.jar[to.Host][c.Name] = c.Value
	}
	return a
}

// follow goes on through redirects until one leads to an address that begins with stop, or there is a page.
func (v *visitor) follow(address, stop string) (string, answer) {
	v.t.Helper()
	for range 20 {
		if stop != "" && strings.HasPrefix(address, stop) {
			return address, answer{}
		}
		a := v.get(address)
		if a.header.Get("Location") == "" {
			return address, a
		}
		address = v.resolve(address, a)
	}
	v.t.Fatalf("redirects without an end, last to %s", address)
	return "", answer{}
}

// resolve is where an answer redirects to.
func (v *visitor) resolve(address string, a answer) string {
	v.t.Helper()
	base, err := url.Parse(address)
	if err != nil {
		v.t.Fatal(err)
	}
	to, err := base.Parse(a.header.Get("Location"))
	if err != nil || a.header.Get("Location") == "" {
		v.t.Fatalf("%s leads nowhere: %d %v", address, a.status, err)
	}
	return to.String()
}

// hidden is the value of a hidden field of a page.
func (v *visitor) hidden(page answer, name string) string {
	v.t.Helper()
	return v.find(page, `name="`+name+`" value="([^"]*)"`)
}

// onward is where a page goes on by itself.
func (v *visitor) onward(page answer) string {
	v.t.Helper()
	return v.find(page, `http-equiv="refresh" content="0;url=([^"]*)"`)
}

func (v *visitor) find(page answer, pattern string) string {
	v.t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(page.body)
	if m == nil {
		v.t.Fatalf("the page (%d) has no %s:\n%s", page.status, pattern, page.body)
	}
	return html.UnescapeString(m[1])
}

// atPartner signs in at the OpenID provider on the way to an address, as far as the callback it leads back to, which is
// returned and not opened.
func (v *visitor) atPartner(w *world, address string, who person) string {
	v.t.Helper()
	form, _ := v.follow(v.leave(w, address, "partner"), "")
	a := v.post(form, url.Values{"login": {who.username}, "password": {who.password}})
	callback, _ := v.follow(v.resolve(form, a), w.issuer+"/callback/")
	return callback
}

// leave goes from an address, and the page to sign in that it leads to, to where a provider is asked; that is returned and
// not opened.
func (v *visitor) leave(w *world, address, provider string) string {
	v.t.Helper()
	_, login := v.follow(address, "")
	_, leaving := v.follow(w.issuer+"/login/continue/"+provider+"?flow="+v.hidden(login, "flow"), "")
	return v.onward(leaving)
}

// byPassword signs in with a password on the way to an address, as far as the hand-over address on the application's host,
// which is returned and not opened.
func (v *visitor) byPassword(w *world, address string, who person) string {
	v.t.Helper()
	_, login := v.follow(address, "")
	form := url.Values{"flow": {v.hidden(login, "flow")}, "csrf": {v.hidden(login, "csrf")}, "username": {who.username}}
	password, page := v.follow(v.resolve(w.issuer+"/login", v.post(w.issuer+"/login", form)), "")
	form = url.Values{"flow": {v.hidden(page, "flow")}, "csrf": {v.hidden(page, "csrf")}, "password": {who.password}}
	return v.finish(w, v.resolve(password, v.post(w.issuer+"/login/password", form)))
}

// finish opens a callback and goes on to the hand-over address on the application's host, which is returned and not
// opened.
func (v *visitor) finish(w *world, callback string) string {
	v.t.Helper()
	at, page := v.follow(callback, "")
	return v.handover(w, at, page)
}

// handover is where the page that ends a sign-in goes on to: on the application's host.
func (v *visitor) handover(w *world, at string, page answer) string {
	v.t.Helper()
	if !strings.HasPrefix(at, w.issuer+"/login/next") || page.status != http.StatusOK {
		v.t.Fatalf("the sign-in led to %s: %d\n%s", at, page.status, page.body)
	}
	return v.onward(page)
}

// login is where an application sends a browser that it does not know, but the broker does.
func (v *visitor) login(w *world, address string) string {
	v.t.Helper()
	at, _ := v.follow(address, w.issuer+"/login")
	return at
}
