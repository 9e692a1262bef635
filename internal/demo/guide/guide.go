// Package guide owns the demonstration's first page: what there is to try, with whom, and what to expect. It is made of
// data once and knows neither broker nor the demonstration's other servers. It shows passwords, and so is for people that
// were made for one run, behind a listener on loopback.
package guide

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

// StylePath is where the page's style sheet is, beside the page itself at "/".
const StylePath = "/demo/guide.css"

// Provider is a door.
type Provider struct {
	ID, Title string
	// Kind is the type in configuration: local, ldap, saml, oidc or jwt.
	Kind string
	// SignInURL begins a sign-in there; empty for a door that people do not choose.
	SignInURL string
}

// Person is somebody to try the demonstration with.
type Person struct {
	Username, Name string
	// Password is empty where nothing is typed.
	Password string
	// Provider is the id of their door.
	Provider string
	// Groups are what the provider says of them, Roles what the rules make of it.
	Groups, Roles []string
}

// The ways an application is protected.
const (
	ForwardAuth  = "forward-auth"
	OfflineToken = "offline token"
	Gateway      = "gateway"
	Embedded     = "embedded"
)

// Application is one of the demonstration's.
type Application struct {
	ID, Title, URL string
	// Protection is one of the constants of this package.
	Protection string
	// Roles are those it needs.
	Roles []string
}

// How says in a sentence how the application is protected.
func (a Application) How() string {
	switch a.Protection {
	case ForwardAuth:
		return "A reverse proxy asks Sallyport about every request; the application reads identity headers."
	case OfflineToken:
		return "The application verifies the token itself, by the published keys, and asks nobody."
	case Gateway:
		return "Sallyport's gateway stands before it and passes on what may pass, streams and WebSockets too."
	case Embedded:
		return "Another application shows it in a frame and says who is there."
	default:
		return a.Protection
	}
}

// Data is what the page tells.
type Data struct {
	// Issuer is the broker's address.
	Issuer       string
	Providers    []Provider
	People       []Person
	Applications []Application
	// EmbeddingPage is the address of the page with the frame; empty where there is none.
	EmbeddingPage string
	// AdminUser is the name of the person who may administer; empty where there is none.
	AdminUser string
}

//go:embed pages
var pageFiles embed.FS

// door is a provider with its people.
type door struct {
	Provider
	People []Person
}

type view struct {
	Data
	Doors          []door
	StylePath      string
	Token, Use     string
	CreateKey, Key string
}

type page struct{ body, style []byte }

// New renders the page. It serves "/" and StylePath. Data without issuer, or with a person at an unknown door, is a
// mistake.
func New(d Data) (http.Handler, error) {
	v, err := viewOf(d)
	if err != nil {
		return nil, fmt.Errorf("demo guide: %w", err)
	}
	t, err := template.ParseFS(pageFiles, "pages/guide.html")
	if err != nil {
		return nil, fmt.Errorf("demo guide: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, v); err != nil {
		return nil, fmt.Errorf("demo guide: %w", err)
	}
	style, err := pageFiles.ReadFile("pages/guide.css")
	if err != nil {
		return nil, fmt.Errorf("demo guide: %w", err)
	}
	p := page{body: out.Bytes(), style: style}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.send("text/html; charset=utf-8", p.body))
	mux.HandleFunc("GET "+StylePath, p.send("text/css; charset=utf-8", p.style))
	return mux, nil
}

func (page) send(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy",
			"default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Content-Type", contentType)
		h.Set("Referrer-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		_, _ = w.Write(body)
	}
}

func viewOf(d Data) (view, error) {
	issuer, err := url.Parse(d.Issuer)
	if err != nil || issuer.Host == "" {
		return view{}, errors.New("there is no issuer")
	}
	v := view{Data: d, StylePath: StylePath}
	at := map[string]int{}
	for i, p := range d.Providers {
		at[p.ID] = i
		v.Doors = append(v.Doors, door{Provider: p})
	}
	for _, p := range d.People {
		i, ok := at[p.Provider]
		if !ok {
			return view{}, fmt.Errorf("person %q is at no known door", p.Username)
		}
		v.Doors[i].People = append(v.Doors[i].People, p)
	}
	v.commands(issuer)
	return v, nil
}

// commands writes shell commands for somebody whose password is typed, at the application that verifies tokens itself.
func (v *view) commands(issuer *url.URL) {
	who, app := v.firstWithPassword(), v.firstOffline()
	if who == nil || app == nil {
		return
	}
	body, err := json.Marshal(map[string]string{
		"username": who.Username, "password": who.Password, "application": app.ID,
	})
	if err != nil {
		return // strings always marshal
	}
	curl := "curl -s " + resolve(issuer)
	v.Token = "TOKEN=$(" + curl + " " + quote(v.Issuer+"/api/auth/login") + " \\\n  -H 'Content-Type: application/json' \\\n  -d " +
		quote(string(body)) + " \\\n  | sed -n 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/p')"
	if target, err := url.Parse(app.URL); err == nil {
		hello := "curl -s " + resolve(target) + " " + quote(strings.TrimSuffix(app.URL, "/")+"/api/hello")
		v.Use = hello + " \\\n  -H \"Authorization: Bearer $TOKEN\""
		v.Key = hello + " \\\n  -H \"X-API-Key: $KEY\""
	}
	v.CreateKey = v.Issuer + "/me"
}

func (v *view) firstWithPassword() *Person {
	for _, d := range v.Doors {
		for _, p := range d.People {
			if d.Kind == "local" && p.Password != "" {
				return &p
			}
		}
	}
	return nil
}

func (v *view) firstOffline() *Application {
	for _, a := range v.Applications {
		if a.Protection == OfflineToken {
			return &a
		}
	}
	return nil
}

// resolve tells curl where a name below .localhost is, which not every resolver knows.
func resolve(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443"}[u.Scheme]
	}
	if port == "" {
		port = "80"
	}
	return "--resolve " + quote(u.Hostname()+":"+port+":127.0.0.1")
}

// quote makes one word for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
