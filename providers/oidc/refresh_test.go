package oidc

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/identity"
	"sallyport/providers"
)

// signedIn returns a door and the assertion of a sign-in that gave a refresh token.
func signedIn(t *testing.T, change func(c *Config)) (*fake, door, identity.Assertion) {
	t.Helper()
	f := newFake(t)
	f.info = map[string]any{"sub": "u-alice"}
	f.tokens = func(a map[string]any) { a["refresh_token"] = testRefresh }
	d := f.open(change)
	last, err := f.signIn(d, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f, d, last
}

func TestRefreshSeesWhatChangedAndKeepsTheSignIn(t *testing.T) {
	f, d, last := signedIn(t, nil)
	f.claims = func(c map[string]any) {
		c["groups"] = []string{"visitors"}
		delete(c, "nonce")
		delete(c, "sid")
		c["amr"] = []string{"otp"}
	}
	f.tokens = func(a map[string]any) { a["refresh_token"] = testRefresh + "-2" }
	fresh, err := d.Refresh(context.Background(), last)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"visitors"}, fresh.Identity.Groups); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(last.Identity.AMR, fresh.Identity.AMR); diff != "" || !fresh.Identity.AuthTime.Equal(last.Identity.AuthTime) {
		t.Error("being asked again became a new proof")
	}
	if fresh.UpstreamSession != last.UpstreamSession {
		t.Errorf("upstream session %q", fresh.UpstreamSession)
	}
	if got := string(fresh.Upstream); got != `{"refresh_token":"`+testRefresh+`-2"}` {
		t.Errorf("kept %s", got)
	}
	if f.lastForm.Get("grant_type") != "refresh_token" || f.count("/token") != 2 {
		t.Error("no refresh was made")
	}
}

func TestRefreshWithUserInfoAloneKeepsTheContextClassOfTheSignIn(t *testing.T) {
	f, d, last := signedIn(t, nil)
	last.Identity.Attributes["acr"] = []string{"phishing-resistant"}
	f.tokens = func(a map[string]any) { delete(a, "id_token") }
	f.info = map[string]any{"sub": "u-alice", "acr": "forged"}
	fresh, err := d.Refresh(context.Background(), last)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"phishing-resistant"}, fresh.Identity.Attributes["acr"]); diff != "" {
		t.Error(diff)
	}
}

func TestRefreshWithoutRotationKeepsTheToken(t *testing.T) {
	f, d, last := signedIn(t, nil)
	f.tokens = nil
	fresh, err := d.Refresh(context.Background(), last)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(last.Upstream), string(fresh.Upstream)); diff != "" {
		t.Error(diff)
	}
}

func TestRefreshWithUserInfoAlone(t *testing.T) {
	f, d, last := signedIn(t, nil)
	f.tokens = func(a map[string]any) { delete(a, "id_token") }
	f.info = map[string]any{"sub": "u-alice", "groups": []string{"visitors"}, "preferred_username": "alice"}
	fresh, err := d.Refresh(context.Background(), last)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"visitors"}, fresh.Identity.Groups); diff != "" || fresh.Identity.Subject != "u-alice" {
		t.Error(diff)
	}
	f.info = map[string]any{"sub": "u-bob"}
	_, err = d.Refresh(context.Background(), last)
	refused(t, err, identity.ErrBadCredentials, providers.CodeReplyInvalid)
}

func TestRefreshWithNothingThatSaysWhatHoldsNow(t *testing.T) {
	off := false
	f, d, last := signedIn(t, func(c *Config) { c.UserInfo = &off })
	f.tokens = func(a map[string]any) { delete(a, "id_token") }
	_, err := d.Refresh(context.Background(), last)
	refused(t, err, identity.ErrExpired, codeNoRefresh)
}

func TestRefreshTellsGoneFromNoAnswer(t *testing.T) {
	tests := map[string]struct {
		handler  http.HandlerFunc
		sentinel error
	}{
		"gone":           {oauthAnswer(400, "invalid_grant"), identity.ErrNotFound},
		"a fault":        {oauthAnswer(503, "invalid_grant"), identity.ErrUnavailable},
		"a wrong secret": {oauthAnswer(401, "invalid_client"), identity.ErrUnavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f, d, last := signedIn(t, nil)
			f.set(func() { f.override["/token"] = test.handler })
			got, err := d.Refresh(context.Background(), last)
			if !errors.Is(err, test.sentinel) {
				t.Errorf("error %v, want %v", err, test.sentinel)
			}
			if diff := cmp.Diff(last, got); diff != "" {
				t.Error(diff)
			}
			f.keepsSecrets(d, err)
		})
	}
	f, d, last := signedIn(t, nil)
	f.srv.Close()
	if _, err := d.Refresh(context.Background(), last); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("with the provider down: %v", err)
	}
}

func TestRefreshOfSomebodyElseIsRefused(t *testing.T) {
	for name, change := range map[string]func(c map[string]any){
		"another sub":    func(c map[string]any) { c["sub"] = "u-bob" },
		"another issuer": func(c map[string]any) { c["iss"] = "https://b.example.test" },
		"another client": func(c map[string]any) { c["aud"] = "other" },
	} {
		t.Run(name, func(t *testing.T) {
			f, d, last := signedIn(t, nil)
			f.claims = change
			_, err := d.Refresh(context.Background(), last)
			refused(t, err, identity.ErrBadCredentials, providers.CodeReplyInvalid)
		})
	}
}

func TestRefreshHandsBackTheRotatedTokenBesideALaterError(t *testing.T) {
	f, d, last := signedIn(t, nil)
	f.tokens = func(a map[string]any) { a["refresh_token"] = testRefresh + "-2" }
	f.override["/userinfo"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	got, err := d.Refresh(context.Background(), last)
	refused(t, err, identity.ErrUnavailable, providers.CodeUnavailable)
	if string(got.Upstream) != `{"refresh_token":"`+testRefresh+`-2"}` {
		t.Errorf("the rotated token is lost: %s", got.Upstream)
	}
	if diff := cmp.Diff(last.Identity, got.Identity); diff != "" {
		t.Error(diff)
	}
}

func TestRefreshWithoutARefreshTokenMeansSignInAgain(t *testing.T) {
	f := newFake(t)
	d := f.open(nil)
	last, err := f.signIn(d, nil)
	if err != nil {
		t.Fatal(err)
	}
	if last.Upstream != nil {
		t.Errorf("kept %s", last.Upstream)
	}
	_, err = d.Refresh(context.Background(), last)
	refused(t, err, identity.ErrExpired, codeNoRefresh)
}
