package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// answer is what a program got.
type answer struct {
	status int
	header http.Header
	body   string
}

// json decodes the body.
func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("answer %d is no JSON object: %v\n%s", a.status, err, a.body)
	}
	return m
}

// heard decodes what the application behind nginx echoed.
func (a answer) heard(t testing.TB) heard {
	t.Helper()
	var h heard
	if err := json.Unmarshal([]byte(a.body), &h); err != nil || a.status != http.StatusOK {
		t.Fatalf("answer %d is not the application's: %v\n%s", a.status, err, a.body)
	}
	return h
}

// client reaches *.localhost and *.test names, which not every resolver knows, at this machine, whatever certificate it
// shows, and follows no redirect.
func client() *http.Client {
	return &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // see above
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				name, port, err := net.SplitHostPort(address)
				if err == nil && (strings.HasSuffix(name, ".localhost") || strings.HasSuffix(name, ".test")) {
					address = net.JoinHostPort("127.0.0.1", port)
				}
				return (&net.Dialer{}).DialContext(ctx, network, address)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// call sends a request as programs do; headers are pairs.
func call(t testing.TB, method, address, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	if named := r.Header.Get("Host"); named != "" {
		r.Host = named
		r.Header.Del("Host")
	}
	resp, err := client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, resp.Body); err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, b.String()}
}

func get(t testing.TB, address string, headers ...string) answer {
	t.Helper()
	return call(t, http.MethodGet, address, "", headers...)
}

// logIn asks for a token by API.
func (w *world) logIn(who person, application string) answer {
	w.t.Helper()
	body, err := json.Marshal(map[string]string{
		"username": who.username, "password": who.password, "provider": who.door, "application": application,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return call(w.t, http.MethodPost, w.issuer+"/api/auth/login", string(body), "Content-Type", "application/json")
}

// token signs in by API; an empty application is the broker itself.
func (w *world) token(who person, application string) string {
	w.t.Helper()
	a := w.logIn(who, application)
	token, _ := a.json(w.t)["access_token"].(string)
	if a.status != http.StatusOK || token == "" {
		w.t.Fatalf("sign-in of %s by API: %d %s", who.username, a.status, a.body)
	}
	return token
}

// key makes an API key for an application and returns it whole.
func (w *world) key(owner person, application string) string {
	w.t.Helper()
	body := `{"name":"for a test","application":"` + application + `"}`
	a := call(w.t, http.MethodPost, w.issuer+"/api/auth/api-keys", body,
		"Content-Type", "application/json", "Authorization", "Bearer "+w.token(owner, ""))
	key, _ := a.json(w.t)["key"].(string)
	if a.status != http.StatusCreated || key == "" {
		w.t.Fatalf("key of %s: %d %s", owner.username, a.status, a.body)
	}
	return key
}

// credential is something a program shows, as a header.
type credential struct{ header, value string }

func bearer(token string) credential { return credential{"Authorization", "Bearer " + token} }

func apiKey(key string) credential { return credential{"X-API-Key", key} }

func cookieOf(name, value string) credential { return credential{"Cookie", name + "=" + value} }

// status is how an address answers to a credential.
func (w *world) status(address string, c credential) int {
	w.t.Helper()
	return get(w.t, address, c.header, c.value).status
}

// me is what the API says about a credential, without the credential's own session.
func (w *world) me(c credential) map[string]any {
	w.t.Helper()
	a := get(w.t, w.issuer+"/api/auth/me", c.header, c.value)
	if a.status != http.StatusOK {
		w.t.Fatalf("/api/auth/me: %d %s", a.status, a.body)
	}
	m := a.json(w.t)
	delete(m, "session")
	return m
}
