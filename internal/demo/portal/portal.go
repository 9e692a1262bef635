// Package portal owns the demonstration's embedding application: a page on a host of its own that knows its people
// itself and shows another application in a frame, in which they are signed in as well. Its own sign-in is a stand-in, a
// list to choose from; what it shows is the other half, the one an embedding application has to write: a backend that
// signs a token about the person at hand, and a few lines of script that hand it to the frame.
package portal

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Person is somebody the portal knows.
type Person struct {
	// Username says who it is for ever: the claim sub.
	Username string
	Name     string
	Email    string
	// Roles at the portal. For the broker they are groups and grant nothing by their names.
	Roles []string
}

// Application is what the frame shows.
type Application struct {
	// ID is its name at the broker.
	ID, Title string
	// Origin is where it is, for instance http://app.localhost:8080.
	Origin string
}

// Options say who embeds what.
type Options struct {
	// Issuer is the broker's, exactly as it calls itself; it is where the script for the parent's side comes from, and
	// who the tokens are for.
	Issuer string
	// Origin is the portal's own, for instance http://portal.localhost:8080, and the issuer of its tokens.
	Origin      string
	Application Application
	// Embedder is the portal's name in the broker's configuration.
	Embedder string
	// Key signs the tokens: base64 of at least 32 bytes. Empty makes a new one.
	Key    string
	People []Person
	// Log may be nil.
	Log *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Portal is the application; it serves everything on its host.
type Portal struct {
	options Options
	key     []byte
	// seal keeps the portal's own cookie from being made up.
	seal   [32]byte
	people map[string]Person
	sdk    string
	frame  string
	policy string
	page   *template.Template
	log    *slog.Logger
	now    func() time.Time
	mux    *http.ServeMux
}

//go:embed pages
var pageFiles embed.FS

// minKey is what HMAC with SHA-256 needs (RFC 7518 section 3.2).
const minKey = 32

// New makes the portal, with a new key where none is given.
func New(o Options) (*Portal, error) {
	p := &Portal{options: o, people: map[string]Person{}, log: o.Log, now: o.Now}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.now == nil {
		p.now = time.Now
	}
	_, _ = rand.Read(p.seal[:]) // never fails (crypto/rand)
	page, err := template.ParseFS(pageFiles, "pages/portal.html")
	p.page = page
	if err := errors.Join(err, p.takeKey(), p.takePeople(), p.takeAddresses()); err != nil {
		return nil, fmt.Errorf("demo portal: %w", err)
	}
	p.mux = p.routes()
	return p, nil
}

func (p *Portal) takeKey() (err error) {
	if p.options.Key == "" {
		p.key = make([]byte, minKey)
		_, _ = rand.Read(p.key) // never fails (crypto/rand)
		return nil
	}
	if p.key, err = base64.StdEncoding.DecodeString(p.options.Key); err != nil || len(p.key) < minKey {
		return fmt.Errorf("the key is not base64 of at least %d bytes", minKey)
	}
	return nil
}

func (p *Portal) takePeople() error {
	if len(p.options.People) == 0 {
		return errors.New("the portal knows nobody")
	}
	for _, person := range p.options.People {
		if person.Username == "" {
			return errors.New("somebody has no user name")
		}
		p.people[person.Username] = person
	}
	return nil
}

func (p *Portal) takeAddresses() error {
	o := p.options
	if o.Application.ID == "" || o.Embedder == "" {
		return errors.New("application and embedder need their names")
	}
	for name, value := range map[string]string{"origin": o.Origin, "application's origin": o.Application.Origin} {
		if got, err := originOf(value); err != nil || got != value {
			return fmt.Errorf("the %s %q is not http(s)://host[:port]", name, value)
		}
	}
	broker, err := originOf(o.Issuer)
	if err != nil {
		return fmt.Errorf("issuer %q: %w", o.Issuer, err)
	}
	p.sdk = strings.TrimSuffix(o.Issuer, "/") + "/embed/v1/parent.js"
	p.frame = o.Application.Origin + "/.sallyport/embed/v1/frame?" +
		url.Values{"application": {o.Application.ID}, "to": {"/"}}.Encode()
	p.policy = "default-src 'none'; script-src 'self' " + broker + "; style-src 'self'; connect-src 'self'; frame-src " +
		o.Application.Origin + "; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	return nil
}

// originOf returns scheme, host and port of a URL.
func originOf(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil ||
		strings.ContainsAny(u.Host, " ;,'") {
		return "", errors.New("not an http(s) URL with a host")
	}
	return u.Scheme + "://" + u.Host, nil
}

// Key is what the broker verifies the portal's tokens with: base64, as its configuration wants it. It is a secret.
func (p *Portal) Key() string { return base64.StdEncoding.EncodeToString(p.key) }

func (p *Portal) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.home)
	mux.HandleFunc("GET /portal.css", asset("text/css; charset=utf-8", "portal.css"))
	mux.HandleFunc("GET /portal.js", asset("text/javascript; charset=utf-8", "portal.js"))
	mux.HandleFunc("POST /person", p.own(p.choose))
	mux.HandleFunc("POST /token", p.own(p.token))
	return mux
}

// maxBody bounds every body.
const maxBody = 4 << 10

// ServeHTTP answers for the portal's host.
func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// The frame learns from it, where the browser tells it no other way, in whose page it is.
	h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	p.mux.ServeHTTP(w, r)
}

// own refuses whatever was not sent by a page of the portal. A request that does not say where it comes from is refused
// too: only browsers have business here.
func (p *Portal) own(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		site := r.Header.Get("Sec-Fetch-Site")
		if site != "same-origin" && (site != "" || r.Header.Get("Origin") != p.options.Origin) {
			http.Error(w, "only a page of the portal may ask", http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

// view is what the page shows.
type view struct {
	Who                  *Person
	People               []Person
	Application          Application
	Embedder, SDK, Frame string
}

func (p *Portal) home(w http.ResponseWriter, r *http.Request) {
	v := view{
		People: p.options.People, Application: p.options.Application, Embedder: p.options.Embedder,
		SDK: p.sdk, Frame: p.frame,
	}
	who, ok := p.current(r)
	if _, err := r.Cookie(cookieName); err != nil { // a first visit: the first person has just signed in here
		who, ok = p.options.People[0], true
		http.SetCookie(w, cookie(p.sealed(who.Username)))
	}
	if ok {
		v.Who = &who
	}
	var out bytes.Buffer
	if err := p.page.Execute(&out, v); err != nil {
		p.log.Error("demo portal: page", "err", err)
		http.Error(w, "no page", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(out.Bytes())
}

// choose is the portal's sign-in: whoever is chosen is believed. Choosing nobody signs out.
func (p *Portal) choose(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return
	}
	username := r.PostForm.Get("person")
	_, known := p.people[username]
	switch {
	case username == "", known:
		http.SetCookie(w, cookie(p.sealed(username)))
	default:
		http.Error(w, "nobody of that name is known here", http.StatusBadRequest)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

const cookieName = "__Host-portal"

// cookie makes the portal's own. Browsers take Secure on names below .localhost without https. It is Lax, so that a link
// to the portal finds it.
func cookie(value string) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

func (p *Portal) sealed(username string) string {
	return encode([]byte(username)) + "." + encode(p.mac(username))
}

func (p *Portal) mac(username string) []byte {
	m := hmac.New(sha256.New, p.seal[:])
	m.Write([]byte(username))
	return m.Sum(nil)
}

// current returns who is signed in at the portal.
func (p *Portal) current(r *http.Request) (Person, bool) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return Person{}, false
	}
	name, mac, _ := strings.Cut(c.Value, ".")
	username, err1 := base64.RawURLEncoding.DecodeString(name)
	given, err2 := base64.RawURLEncoding.DecodeString(mac)
	if err1 != nil || err2 != nil || !hmac.Equal(given, p.mac(string(username))) {
		return Person{}, false
	}
	person, ok := p.people[string(username)]
	return person, ok
}

// asset serves one of the files that the page loads.
func asset(contentType, name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		body, err := pageFiles.ReadFile("pages/" + name)
		if err != nil {
			http.Error(w, "no file", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body)
	}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
