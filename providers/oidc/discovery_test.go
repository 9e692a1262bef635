package oidc

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/identity"
	"sallyport/providers"
)

func TestDiscoveryRefusesADocumentWith(t *testing.T) {
	member := func(name string, value any) func(map[string]any) {
		return func(doc map[string]any) { doc[name] = value }
	}
	tests := map[string]func(doc map[string]any){
		"another issuer":                           member("issuer", "https://b.example.test"),
		"an issuer with a slash more":              func(doc map[string]any) { doc["issuer"] = doc["issuer"].(string) + "/" },
		"no issuer":                                member("issuer", nil),
		"an issuer that is a list":                 member("issuer", []string{"x"}),
		"no token endpoint":                        func(doc map[string]any) { delete(doc, "token_endpoint") },
		"no keys":                                  func(doc map[string]any) { delete(doc, "jwks_uri") },
		"a token endpoint in the clear":            member("token_endpoint", "http://login.contoso.com/token"),
		"an authorization endpoint that is script": member("authorization_endpoint", "javascript:alert(1)"),
		"keys in a file":                           member("jwks_uri", "file:///etc/passwd"),
		"an endpoint with a user":                  member("token_endpoint", "https://u:p@login.contoso.com/token"),
		"an endpoint with a fragment":              member("token_endpoint", "https://login.contoso.com/token#x"),
		"a relative endpoint":                      member("token_endpoint", "/token"),
		"an odd flag":                              member("authorization_response_iss_parameter_supported", "true"),
		"only symmetric algorithms":                member("id_token_signing_alg_values_supported", []string{"HS256", "none"}),
		"PKCE without S256":                        member("code_challenge_methods_supported", []string{"plain"}),
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.discovery = change
			d := f.open(nil)
			_, err := d.Begin(context.Background(), flow())
			refused(t, err, identity.ErrUnavailable, providers.CodeMisconfigured)
			if !strings.Contains(d.logs.String(), "level=ERROR") {
				t.Error("the operator is not told")
			}
		})
	}
}

func TestDiscoveryRefusesAnAnswerThatIs(t *testing.T) {
	foreign := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a redirect to another host was followed")
	}))
	t.Cleanup(foreign.Close)
	body := func(kind, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write([]byte(text))
		}
	}
	tests := map[string]struct {
		handler http.HandlerFunc
		code    string
	}{
		"not found":      {http.NotFound, providers.CodeUnavailable},
		"a page":         {body("text/html", "<p>hello</p>"), providers.CodeMisconfigured},
		"not JSON":       {body("application/json", "hello"), providers.CodeMisconfigured},
		"a member twice": {body("application/json", `{"issuer":"a","issuer":"b"}`), providers.CodeMisconfigured},
		"too large":      {body("application/json", `{"x":"`+strings.Repeat("x", maxDiscovery)+`"}`), providers.CodeMisconfigured},
		"a foreign redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, foreign.URL, http.StatusFound)
		}, providers.CodeUnavailable},
		"a redirect in a circle": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, wellKnown, http.StatusFound)
		}, providers.CodeUnavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.override[wellKnown] = test.handler
			d := f.open(nil)
			err := d.Check(context.Background())
			refused(t, err, identity.ErrUnavailable, test.code)
			if got := f.count(wellKnown); got > 3+1 {
				t.Errorf("%d requests", got)
			}
		})
	}
}

func TestADeadProviderIsARedLightAndComesBack(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	f := newFake(t)
	f.issuer = "http://" + address
	d := f.open(nil) // opens although nobody is there
	_, err = d.Begin(context.Background(), flow())
	refused(t, err, identity.ErrUnavailable, providers.CodeUnavailable)
	refused(t, d.Check(context.Background()), identity.ErrUnavailable, providers.CodeUnavailable)

	if l, err = net.Listen("tcp", address); err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	srv := &http.Server{Handler: f, ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	if _, err := d.Begin(context.Background(), flow()); err == nil {
		t.Error("asked again before the pause was over")
	}
	d.clock.advance(lastRetry)
	if _, err := f.signIn(d, nil); err != nil {
		t.Errorf("after it came back: %v", err)
	}
	if err := d.Check(context.Background()); err != nil {
		t.Errorf("Check: %v", err)
	}
}

func TestDiscoveryKeepsTheLastGoodCopyAndPausesBetweenFailures(t *testing.T) {
	f := newFake(t)
	d := f.open(nil)
	if _, err := d.Begin(context.Background(), flow()); err != nil {
		t.Fatal(err)
	}
	f.set(func() { f.override[wellKnown] = http.NotFound })
	d.clock.advance(discoveryLife)
	if err := d.Check(context.Background()); err == nil {
		t.Error("Check does not see that the document is gone")
	}
	before := f.count(wellKnown)
	for range 20 {
		if _, err := d.Begin(context.Background(), flow()); err != nil {
			t.Fatalf("with a good copy: %v", err)
		}
	}
	if got := f.count(wellKnown); got != before {
		t.Errorf("%d requests within the pause", got-before)
	}
}

func TestDiscoveryIsFetchedOnceForManyAtTheSameTime(t *testing.T) {
	f := newFake(t)
	arrived, release := make(chan struct{}, 64), make(chan struct{})
	f.override[wellKnown] = func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		f.mu.Lock()
		defer f.mu.Unlock()
		f.answer(w, f.document())
	}
	d := f.open(nil)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			if _, err := d.Begin(context.Background(), flow()); err != nil {
				t.Error(err)
			}
		})
	}
	<-arrived
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := d.Begin(gone, flow()); err == nil {
		t.Error("a caller that left was served")
	}
	close(release)
	all.Wait()
	if got := f.count(wellKnown); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}

func TestTheClientTrustsOnlyItsCAFile(t *testing.T) {
	f := newFake(t)
	srv := httptest.NewTLSServer(f)
	t.Cleanup(srv.Close)
	srv.Config.ErrorLog = nil
	f.issuer = srv.URL
	d := f.open(nil)
	err := d.Check(context.Background())
	refused(t, err, identity.ErrUnavailable, providers.CodeUnavailable)
	if !strings.Contains(err.Error(), "certificate") {
		t.Errorf("the error does not say why: %v", err)
	}
	trusted := f.open(func(c *Config) { c.CAFile = writeCertificate(t, srv.Certificate().Raw) })
	if err := trusted.Check(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestLocalhostNamesAreDialledOnLoopback(t *testing.T) {
	f := newFake(t)
	f.issuer = strings.Replace(f.srv.URL, "127.0.0.1", "idp.localhost", 1)
	if _, err := f.signIn(f.open(nil), nil); err != nil {
		t.Error(err)
	}
}

func TestCheckSaysThatThereAreNoKeys(t *testing.T) {
	f := newFake(t)
	f.override["/jwks"] = http.NotFound
	err := f.open(nil).Check(context.Background())
	refused(t, err, identity.ErrUnavailable, providers.CodeUnavailable)
	if !strings.Contains(err.Error(), "key set") {
		t.Errorf("the error does not speak of the keys: %v", err)
	}
}
