package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/identity"
	"sallyport/internal/testenv"
	"sallyport/providers"
)

const certifiedCallback = "http://127.0.0.1:9/callback/corp"

// openCertified opens a provider of ours for the running certified one.
func openCertified(t *testing.T, c *Config) door {
	t.Helper()
	d := door{clock: &clock{}, logs: &logs{}}
	p, err := c.Open(context.Background(), "corp", "", providers.Env{Now: d.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	d.Provider = p.(*Provider)
	return d
}

// browse goes through the provider's pages as a browser would, and returns the callback's parameters.
func browse(t *testing.T, start string, form url.Values) url.Values {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var reply url.Values
	client := &http.Client{Jar: jar, Timeout: 10 * time.Second, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), certifiedCallback) {
			reply = r.URL.Query()
			return http.ErrUseLastResponse
		}
		return nil
	}}
	page, err := client.Get(start)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, page.Body)
	_ = page.Body.Close()
	if reply != nil {
		return reply
	}
	done, err := client.PostForm(page.Request.URL.String(), form)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(done.Body)
	_ = done.Body.Close()
	if reply == nil {
		t.Fatalf("no callback: %s %s", done.Status, body)
	}
	return reply
}

func certifiedSignIn(t *testing.T, d door, form url.Values) (identity.Assertion, error) {
	t.Helper()
	fl := providers.Flow{ID: testState, CallbackURL: certifiedCallback}
	challenge, err := d.Begin(context.Background(), fl)
	if err != nil {
		t.Fatal(err)
	}
	return d.Finish(context.Background(), fl, challenge.Pending, browse(t, challenge.URL, form))
}

func TestCertifiedProvider(t *testing.T) {
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		for _, inIDToken := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s with claims in the id token %v", algorithm, inIDToken), func(t *testing.T) {
				op := testenv.OIDCProvider(t, testenv.OIDCOptions{
					Algorithm: algorithm, IDTokenClaims: inIDToken, RedirectURIs: []string{certifiedCallback},
				})
				clients := map[string]*Config{
					"basic":  {ClientID: op.ClientID, ClientSecret: identity.NewSecret(op.ClientSecret)},
					"post":   {ClientID: op.PostClientID, ClientSecret: identity.NewSecret(op.ClientSecret), ClientAuth: "post"},
					"public": {ClientID: op.PublicClientID},
				}
				for name, c := range clients {
					c.Issuer, c.Scopes = op.Issuer, []string{"openid", "profile", "email", "groups"}
					d := openCertified(t, c)
					if err := d.Check(context.Background()); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					for _, who := range testenv.OIDCPeople() {
						certifiedPerson(t, d, name, who)
					}
				}
			})
		}
	}
}

func certifiedPerson(t *testing.T, d door, client string, who testenv.OIDCPerson) {
	t.Helper()
	a, err := certifiedSignIn(t, d, url.Values{"login": {who.Username}, "password": {who.Password}})
	if err != nil {
		t.Errorf("%s, %s: %v", client, who.Username, err)
		return
	}
	got := a.Identity
	want := identity.Identity{
		Provider: "corp", Subject: who.Subject, Username: who.Username, Name: who.Name, Email: who.Email,
		EmailVerified: who.EmailVerified, Groups: who.Groups, Attributes: got.Attributes, AuthTime: got.AuthTime, AMR: got.AMR,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s, %s: %s", client, who.Username, diff)
	}
	if diff := cmp.Diff(who.Groups, got.Attributes["groups"]); diff != "" {
		t.Errorf("%s, %s: %s", client, who.Username, diff)
	}
}

func TestCertifiedProviderRefusesAndIsAway(t *testing.T) {
	op := testenv.OIDCProvider(t, testenv.OIDCOptions{Algorithm: "ES256", RedirectURIs: []string{certifiedCallback}})
	c := &Config{Issuer: op.Issuer, ClientID: op.ClientID, ClientSecret: identity.NewSecret(op.ClientSecret)}
	d := openCertified(t, c)
	_, err := certifiedSignIn(t, d, url.Values{"abort": {"1"}})
	refused(t, err, identity.ErrDenied, providers.CodeRefused)

	wrong := *c
	wrong.ClientSecret = identity.NewSecret("not the secret")
	_, err = certifiedSignIn(t, openCertified(t, &wrong), url.Values{"login": {"bob"}, "password": {"bob-oidc-pass"}})
	refused(t, err, identity.ErrUnavailable, providers.CodeMisconfigured)

	fl := providers.Flow{ID: testState, CallbackURL: certifiedCallback}
	challenge, err := d.Begin(context.Background(), fl)
	if err != nil {
		t.Fatal(err)
	}
	reply := browse(t, challenge.URL, url.Values{"login": {"alice"}, "password": {"alice-oidc-pass"}})
	if _, err := d.Finish(context.Background(), fl, challenge.Pending, reply); err != nil {
		t.Fatal(err)
	}
	_, err = d.Finish(context.Background(), fl, challenge.Pending, reply)
	refused(t, err, identity.ErrExpired, providers.CodeFlowExpired)

	op.Stop()
	refused(t, d.Check(context.Background()), identity.ErrUnavailable, providers.CodeUnavailable)
	op.Start(t)
	if err := d.Check(context.Background()); err != nil {
		t.Errorf("after it came back: %v", err)
	}
	if _, err := certifiedSignIn(t, d, url.Values{"login": {"alice"}, "password": {"alice-oidc-pass"}}); err != nil {
		t.Errorf("after it came back: %v", err)
	}
}

func TestCertifiedProviderRefresh(t *testing.T) {
	op := testenv.OIDCProvider(t, testenv.OIDCOptions{RedirectURIs: []string{certifiedCallback}})
	d := openCertified(t, &Config{
		Issuer: op.Issuer, ClientID: op.ClientID, ClientSecret: identity.NewSecret(op.ClientSecret),
		Scopes: []string{"openid", "profile", "email", "groups", "offline_access"}, Prompt: "consent",
	})
	last, err := certifiedSignIn(t, d, url.Values{"login": {"alice"}, "password": {"alice-oidc-pass"}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		fresh, err := d.Refresh(context.Background(), last)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(last.Identity, fresh.Identity); diff != "" {
			t.Error(diff)
		}
		last = fresh
	}
	op.Stop()
	if _, err := d.Refresh(context.Background(), last); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("with the provider down: %v", err)
	}
	op.Start(t) // it remembers nothing
	if _, err := d.Refresh(context.Background(), last); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("with the grant gone: %v", err)
	}
}
