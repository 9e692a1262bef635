package web_test

import (
	"context"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// browser is a person's browser: cookies by host, Secure ones too on *.localhost, fetch metadata, redirects and
// refreshing pages followed to the end.
type browser struct {
	t    testing.TB
	h    *house
	jar  map[string]map[string]string
	wire *http.Client
	// asProgram leaves out what only browsers send.
	asProgram bool
	language  string
	// abroad are the cookies that travel with requests from other sites (SameSite=None), by host and name.
	abroad map[string]bool
	// from is another site whose page makes the requests.
	from string
}

func (h *house) browser() *browser {
	dial := &net.Dialer{}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dial.DialContext(ctx, "tcp", h.server.Listener.Addr().String())
	}}
	h.t.Cleanup(transport.CloseIdleConnections)
	return &browser{t: h.t, h: h, jar: map[string]map[string]string{}, abroad: map[string]bool{}, wire: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (h *house) program() *browser {
	b := h.browser()
	b.asProgram = true
	return b
}

// page is an answer.
type page struct {
	t      testing.TB
	url    *url.URL
	status int
	header http.Header
	body   string
}

// do sends one request and keeps the cookies of its answer.
func (b *browser) do(r *http.Request) *page {
	b.t.Helper()
	if !b.asProgram {
		set := func(name, value string) {
			if _, there := r.Header[http.CanonicalHeaderKey(name)]; !there {
				r.Header.Set(name, value)
			}
		}
		set("Accept", "text/html,application/xhtml+xml")
		set("Sec-Fetch-Mode", "navigate")
		switch {
		case b.from != "":
			set("Sec-Fetch-Site", "cross-site")
			set("Origin", b.from)
		case r.Method == http.MethodPost:
			set("Sec-Fetch-Site", "same-origin")
			set("Origin", "http://"+r.URL.Host)
		default:
			set("Sec-Fetch-Site", "none")
		}
		if b.language != "" {
			set("Accept-Language", b.language)
		}
	}
	for name, value := range b.jar[r.URL.Host] {
		if b.from == "" || b.abroad[r.URL.Host+" "+name] {
			r.Header.Add("Cookie", name+"="+value)
		}
	}
	answer, err := b.wire.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.keep(r.URL.Host, answer.Cookies())
	return &page{b.t, r.URL, answer.StatusCode, answer.Header, string(body)}
}

// keep holds the cookies to what the __Host- prefix asks of them, as browsers do.
func (b *browser) keep(host string, cookies []*http.Cookie) {
	b.t.Helper()
	if b.jar[host] == nil {
		b.jar[host] = map[string]string{}
	}
	for _, c := range cookies {
		abroad := c.SameSite == http.SameSiteNoneMode &&
			(strings.HasPrefix(c.Name, flowCookie) || c.Partitioned) // for SAML, see SML-06, and for frames
		b.abroad[host+" "+c.Name] = abroad
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || c.Domain != "" || c.Path != "/" || !c.HttpOnly ||
			c.SameSite != http.SameSiteLaxMode && !abroad {
			b.t.Errorf("cookie %s on %s is not as every cookie of ours: %s", c.Name, host, c.Raw)
		}
		if c.MaxAge < 0 {
			delete(b.jar[host], c.Name)
			continue
		}
		b.jar[host][c.Name] = c.Value
	}
}

// copy is the same browser in another's hands: a second tab, or the cookies as they were.
func (b *browser) copy() *browser {
	other := *b
	other.jar = map[string]map[string]string{}
	for host, cookies := range b.jar {
		other.jar[host] = map[string]string{}
		for name, value := range cookies {
			other.jar[host][name] = value
		}
	}
	return &other
}

func (b *browser) request(method, address string, body io.Reader) *http.Request {
	b.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = issuer + address
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, address, body)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// get fetches one address and follows nothing.
func (b *browser) get(address string) *page {
	b.t.Helper()
	return b.do(b.request(http.MethodGet, address, nil))
}

// post sends a form and follows nothing.
func (b *browser) post(address string, form url.Values) *page {
	b.t.Helper()
	r := b.request(http.MethodPost, address, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

// follow goes where the answer leads, as far as it leads by itself.
func (b *browser) follow(p *page) *page {
	b.t.Helper()
	for range 20 {
		to := p.leads()
		if to == "" {
			return p
		}
		p = b.get(to)
	}
	b.t.Fatalf("no end of redirects at %s", p.url)
	return nil
}

// visit is get and follow.
func (b *browser) visit(address string) *page {
	b.t.Helper()
	return b.follow(b.get(address))
}

// submit sends the page's form for an address with what was typed, and follows.
func (b *browser) submit(p *page, action string, typed url.Values) *page {
	b.t.Helper()
	return b.follow(b.post("http://"+p.url.Host+action, p.form(action, typed)))
}

// postFrom sends a form from a page of another site and follows.
func (b *browser) postFrom(site, address string, form url.Values) *page {
	b.t.Helper()
	other := *b
	other.from = site
	p := other.post(address, form)
	return b.follow(p)
}

// signIn signs in with a password from whatever page shows the first form.
func (b *browser) signIn(p *page, name string) *page {
	b.t.Helper()
	p = b.submit(p, "/login", url.Values{"username": {name}})
	if p.url.Path != "/login/password" {
		b.t.Fatalf("after the name: %d at %s", p.status, p.url)
	}
	return b.submit(p, "/login/password", url.Values{"password": {password(name)}})
}

// signedIn is a browser with somebody signed in at the broker.
func (h *house) signedIn(name string) *browser {
	h.t.Helper()
	b := h.browser()
	p := b.signIn(b.visit("/login"), name)
	if p.status != http.StatusOK || p.url.Path != "/me" {
		h.t.Fatalf("sign-in of %s ended with %d at %s: %s", name, p.status, p.url, p.header.Get("X-Error"))
	}
	return b
}

// cookie is the value of the broker's cookie.
func (b *browser) cookie() string { return b.jar[issuerHost]["__Host-sallyport"] }

var refresh = regexp.MustCompile(`<meta http-equiv="refresh" content="0;url=([^"]*)">`)

// leads is where the answer goes by itself.
func (p *page) leads() string {
	p.t.Helper()
	to := p.header.Get("Location")
	if to == "" {
		if m := refresh.FindStringSubmatch(p.body); m != nil {
			to = html.UnescapeString(m[1])
		}
	}
	if to == "" {
		return ""
	}
	u, err := p.url.Parse(to)
	if err != nil {
		p.t.Fatalf("leads to %q: %v", to, err)
	}
	return u.String()
}

var (
	formTag  = regexp.MustCompile(`(?s)<form[^>]* action="([^"]*)"[^>]*>(.*?)</form>`)
	inputTag = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// form is the page's first form for an address, its hidden fields and what was typed.
func (p *page) form(action string, typed url.Values) url.Values {
	p.t.Helper()
	for _, f := range formTag.FindAllStringSubmatch(p.body, -1) {
		if f[1] != action {
			continue
		}
		out := url.Values{}
		for _, in := range inputTag.FindAllStringSubmatch(f[2], -1) {
			out.Add(in[1], html.UnescapeString(in[2]))
		}
		for name, values := range typed {
			out[name] = values
		}
		return out
	}
	p.t.Fatalf("no form for %s on the page at %s (%d): %s", action, p.url, p.status, p.body)
	return nil
}

func (p *page) want(status int, code string) *page {
	p.t.Helper()
	if p.status != status || p.header.Get("X-Error") != code {
		p.t.Fatalf("answer at %s is %d %q, want %d %q: %s", p.url, p.status, p.header.Get("X-Error"), status, code, p.body)
	}
	return p
}

func (p *page) shows(texts ...string) *page {
	p.t.Helper()
	plain := html.UnescapeString(strings.NewReplacer("<bdi>", "", "</bdi>", "").Replace(p.body))
	for _, s := range texts {
		if !strings.Contains(plain, s) {
			p.t.Fatalf("page at %s (%d) does not show %q: %s", p.url, p.status, s, p.body)
		}
	}
	return p
}

// field is a form with one field.
func field(name, value string) url.Values { return url.Values{name: {value}} }
