// Package apps owns the demonstration's applications: small ones, each on a host of its own. Before two of them stands
// what a reverse proxy would do in a few lines: one asks Sallyport about every request (forward-auth) and trusts the
// identity headers of the answer; the other verifies the token itself, offline, by the published keys. A third listens on
// a socket of its own and is reached through Sallyport's gateway only. They are what an application looks like once its
// login code is deleted.
package apps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
)

// Application is one of the demonstration's.
type Application struct {
	// ID is its audience as well.
	ID, Title string
	// Host with port, as browsers name it.
	Host string
	// Offline makes it verify tokens itself instead of trusting identity headers.
	Offline bool
}

// Front stands before the applications and the broker on one listener, as a reverse proxy would.
type Front struct {
	// Issuer is the broker's address, for instance http://sso.localhost:8080.
	Issuer string
	// Dial is host:port of the listener: *.localhost names need not resolve for programs.
	Dial string
	// Broker answers everything that is not an application's.
	Broker http.Handler

	apps     map[string]Application
	others   *http.ServeMux
	client   *http.Client
	verifier map[string]*goidc.IDTokenVerifier
}

// NewFront returns a front for the applications.
func NewFront(issuer, dial string, broker http.Handler, all ...Application) *Front {
	f := &Front{Issuer: issuer, Dial: dial, Broker: broker, apps: map[string]Application{}, others: http.NewServeMux()}
	f.client = &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, dial)
			},
			MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	keys := goidc.NewRemoteKeySet(goidc.ClientContext(context.Background(), f.client), issuer+"/.well-known/jwks.json")
	f.verifier = map[string]*goidc.IDTokenVerifier{}
	for _, a := range all {
		f.apps[a.Host] = a
		f.verifier[a.Host] = goidc.NewVerifier(issuer, keys, &goidc.Config{ClientID: a.ID, SupportedSigningAlgs: []string{"ES256"}})
	}
	return f
}

// Handle gives a host, or one of its paths, to somebody else than broker and applications. The pattern is one of
// http.ServeMux with a host, which has no port: "portal.localhost/" or "GET sso.localhost/{$}". Call it before serving.
func (f *Front) Handle(pattern string, h http.Handler) { f.others.Handle(pattern, h) }

// Close releases idle connections.
func (f *Front) Close() { f.client.CloseIdleConnections() }

// ServeHTTP picks by host: what Handle was given, an application behind its guard, or the broker.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, pattern := f.others.Handler(r); pattern != "" {
		f.others.ServeHTTP(w, r)
		return
	}
	app, ok := f.apps[strings.ToLower(r.Host)]
	if !ok || strings.HasPrefix(r.URL.Path, "/.sallyport/") {
		f.Broker.ServeHTTP(w, r)
		return
	}
	who, err := f.who(r, app)
	var no *refusal
	switch {
	case errors.As(err, &no):
		no.answer(w, r)
	case err != nil:
		http.Error(w, "the broker does not answer", http.StatusServiceUnavailable)
	default:
		serve(w, r, app, who)
	}
}

// visitor is what an application knows of a person.
type visitor struct {
	Username string         `json:"username"`
	Name     string         `json:"name,omitempty"`
	Email    string         `json:"email,omitempty"`
	Roles    []string       `json:"roles"`
	Claims   map[string]any `json:"claims,omitempty"`
}

// who authenticates a request: a bearer token by its signature alone where the application can, everything else by
// asking the broker.
func (f *Front) who(r *http.Request, app Application) (visitor, error) {
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && app.Offline && strings.Count(bearer, ".") == 2 {
		return f.verified(r.Context(), app, bearer)
	}
	headers, err := f.ask(r)
	if err != nil {
		return visitor{}, err
	}
	if app.Offline {
		return f.verified(r.Context(), app, headers.Get("X-Auth-Token"))
	}
	return visitor{
		Username: headers.Get("X-Auth-User"), Name: unescape(headers.Get("X-Auth-Name")), Email: headers.Get("X-Auth-Email"),
		Roles: strings.Split(headers.Get("X-Auth-Roles"), ","),
	}, nil
}

func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

// ask is what nginx does with auth_request.
func (f *Front) ask(r *http.Request) (http.Header, error) {
	question, err := http.NewRequestWithContext(r.Context(), http.MethodGet, f.Issuer+"/authz/nginx", nil)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"Cookie", "Authorization", "X-Api-Key"} {
		question.Header[name] = r.Header[name]
	}
	question.Header.Set("X-Original-URL", "http://"+r.Host+r.URL.RequestURI())
	question.Header.Set("X-Original-Method", r.Method)
	answer, err := f.client.Do(question)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	switch {
	case answer.StatusCode/100 == 2:
		return answer.Header, nil
	case answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden:
		return nil, &refusal{answer.StatusCode}
	default:
		return nil, fmt.Errorf("forward-auth answered %d", answer.StatusCode)
	}
}

// verified trusts nothing but the signature: issuer, audience and times are the library's to check.
func (f *Front) verified(ctx context.Context, app Application, raw string) (visitor, error) {
	token, err := f.verifier[app.Host].Verify(ctx, raw)
	if err != nil {
		return visitor{}, &refusal{http.StatusUnauthorized}
	}
	var v struct {
		Username string   `json:"preferred_username"`
		Name     string   `json:"name"`
		Email    string   `json:"email"`
		Roles    []string `json:"roles"`
	}
	claims := map[string]any{}
	if err := errors.Join(token.Claims(&v), token.Claims(&claims)); err != nil {
		return visitor{}, &refusal{http.StatusUnauthorized}
	}
	return visitor{v.Username, v.Name, v.Email, v.Roles, claims}, nil
}

// refusal is a no: people are sent to sign in, programs get the status.
type refusal struct{ status int }

// Error see error.
func (r *refusal) Error() string { return http.StatusText(r.status) }

func (r *refusal) answer(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if q.Method == http.MethodGet && strings.Contains(q.Header.Get("Accept"), "text/html") {
		to := "/.sallyport/login?" + url.Values{"to": {q.URL.RequestURI()}}.Encode()
		http.Redirect(w, q, to, http.StatusFound)
		return
	}
	http.Error(w, http.StatusText(r.status), r.status)
}

func serve(w http.ResponseWriter, r *http.Request, app Application, who visitor) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if strings.HasPrefix(r.URL.Path, "/api/") {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(who)
		return
	}
	claims := ""
	if who.Claims != nil {
		pretty, _ := json.MarshalIndent(who.Claims, "", "  ") // came from JSON
		claims = string(pretty)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page().Execute(w, map[string]any{"App": app, "Who": who, "Claims": claims, "Path": r.URL.Path})
}

func page() *template.Template {
	return template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{{.App.Title}}</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}
pre{overflow:auto;border:1px solid;padding:.75rem}dt{font-weight:600}dd{margin:0 0 .5rem}</style></head>
<body><h1>{{.App.Title}}</h1>
<p>This demo application has no login code of its own. You are at <code>{{.Path}}</code>.</p>
<dl><dt>User name</dt><dd id="username">{{.Who.Username}}</dd><dt>Name</dt><dd>{{.Who.Name}}</dd>
<dt>E-mail</dt><dd>{{.Who.Email}}</dd><dt>Roles</dt><dd id="roles">{{range $i, $r := .Who.Roles}}{{if $i}}, {{end}}{{$r}}{{end}}</dd></dl>
{{if .Claims}}<h2>Token, verified here by its signature</h2><pre>{{.Claims}}</pre>{{else}}
<p>It learnt this from the identity headers of the forward-auth answer.</p>{{end}}
<p><a href="/.sallyport/logout">Sign out</a></p></body></html>
`))
}
