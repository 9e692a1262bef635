package oidc

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"sallyport/identity"
	"sallyport/providers"
)

func TestConfigReadsEveryKeyStrictly(t *testing.T) {
	const text = `
issuer: https://login.contoso.com/tenant
client_id: sallyport
client_secret: env:CONTOSO_SECRET
client_auth: post
scopes: [openid, groups]
groups_claim: realm_access.roles
username_claim: upn
userinfo: false
algorithms: [RS256]
prompt: login consent
max_age: 8h
extra_parameters: {domain_hint: contoso.com}
ca_file: contoso.pem
`
	var c Config
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.MaxAge == nil || *c.MaxAge != 8*time.Hour || c.UserInfo == nil || *c.UserInfo || c.GroupsClaim != "realm_access.roles" {
		t.Errorf("read %+v", c)
	}
	if got := c.Warnings(); len(got) != 0 {
		t.Errorf("warnings %q for a configuration without weakness", got)
	}
}

func TestConfigRefuses(t *testing.T) {
	second, negative := 1500*time.Millisecond, -time.Second
	tests := map[string]struct {
		change func(c *Config)
		key    string
	}{
		"no issuer":                {func(c *Config) { c.Issuer = "" }, "issuer:"},
		"http to a host elsewhere": {func(c *Config) { c.Issuer = "http://login.contoso.com" }, "issuer:"},
		"http to a name that begins as localhost": {
			func(c *Config) { c.Issuer = "http://localhost.contoso.com" }, "issuer:",
		},
		"another scheme": {func(c *Config) { c.Issuer = "ftp://localhost" }, "issuer:"},
		"no host":        {func(c *Config) { c.Issuer = "https:///x" }, "issuer:"},
		"a query":        {func(c *Config) { c.Issuer = "https://a.test/?x=1" }, "issuer:"},
		"a user":         {func(c *Config) { c.Issuer = "https://u@a.test" }, "issuer:"},
		"the discovery document itself": {
			func(c *Config) { c.Issuer = "https://a.test" + wellKnown }, "issuer:",
		},
		"no client id":                     {func(c *Config) { c.ClientID = "" }, "client_id:"},
		"an unknown client authentication": {func(c *Config) { c.ClientAuth = "jwt" }, "client_auth:"},
		"scopes without openid":            {func(c *Config) { c.Scopes = []string{"profile"} }, "scopes:"},
		"a scope with a space":             {func(c *Config) { c.Scopes = []string{"openid", "a b"} }, "scopes:"},
		"a claim path with an empty step":  {func(c *Config) { c.GroupsClaim = "a..b" }, "groups_claim:"},
		"a claim path that is too deep": {
			func(c *Config) { c.UsernameClaim = strings.Repeat("a.", 20) + "a" }, "username_claim:",
		},
		"a symmetric algorithm":       {func(c *Config) { c.Algorithms = []string{"HS256"} }, "algorithms:"},
		"no algorithm":                {func(c *Config) { c.Algorithms = []string{} }, "algorithms:"},
		"alg none":                    {func(c *Config) { c.Algorithms = []string{"none"} }, "algorithms:"},
		"prompt none":                 {func(c *Config) { c.Prompt = "none" }, "prompt:"},
		"a max_age of broken seconds": {func(c *Config) { c.MaxAge = &second }, "max_age:"},
		"a negative max_age":          {func(c *Config) { c.MaxAge = &negative }, "max_age:"},
		"an extra state": {
			func(c *Config) { c.ExtraParameters = map[string]string{"State": "x"} }, "extra_parameters:",
		},
		"an extra code challenge method": {
			func(c *Config) { c.ExtraParameters = map[string]string{"code_challenge_method": "plain"} },
			"extra_parameters:",
		},
		"an extra parameter with a line end": {
			func(c *Config) { c.ExtraParameters = map[string]string{"hd": "a\nb"} }, "extra_parameters:",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := &Config{Issuer: "https://login.contoso.com", ClientID: "sallyport"}
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			test.change(c)
			if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), test.key) {
				t.Errorf("Validate says %v, want an error about %s", err, test.key)
			}
			if _, err := c.Open(context.Background(), "corp", "", providers.Env{}); err == nil {
				t.Error("Open takes what Validate refuses")
			}
		})
	}
}

func TestConfigAllowsHTTPOnLoopbackOnlyAndWarns(t *testing.T) {
	for _, issuer := range []string{"http://localhost:8444", "http://idp.localhost", "http://127.0.0.9:1", "http://[::1]:2"} {
		c := &Config{Issuer: issuer, ClientID: "sallyport", ClientSecret: secretRef(t, "literal")}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
		if got := strings.Join(c.Warnings(), "\n"); !strings.Contains(got, "issuer:") || !strings.Contains(got, "client_secret:") {
			t.Errorf("%s: warnings %q", issuer, got)
		}
	}
}

func secretRef(t *testing.T, ref string) identity.Secret {
	t.Helper()
	var s identity.Secret
	if err := s.UnmarshalText([]byte(ref)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOpenRefusesWhatItCannotRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "empty.pem"), []byte("nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*Config{
		"a missing ca_file":              {CAFile: "absent.pem"},
		"a ca_file without certificates": {CAFile: "empty.pem"},
		"a secret that nobody resolved":  {ClientSecret: secretRef(t, "env:NAME")},
	} {
		c.Issuer, c.ClientID = "https://login.contoso.com", "sallyport"
		if err := c.Validate(); err != nil {
			t.Errorf("%s: a mistake in the text: %v", name, err)
		}
		if _, err := c.Open(context.Background(), "corp", "", providers.Env{Dir: dir}); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestOID01_TheRequestHasStateNonceAndPKCE(t *testing.T) {
	f := newFake(t)
	age := time.Hour
	d := f.open(func(c *Config) {
		c.Scopes, c.Prompt, c.MaxAge = []string{"openid", "groups"}, "login", &age
		c.ExtraParameters = map[string]string{"domain_hint": "contoso.com"}
	})
	seen := map[string]bool{}
	for range 3 {
		fl := flow()
		fl.LoginHint = "alice"
		challenge, err := d.Begin(context.Background(), fl)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(challenge.URL)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		for name, want := range map[string]string{
			"response_type": "code", "client_id": "sallyport", "redirect_uri": callbackURL, "state": testState,
			"code_challenge_method": "S256", "scope": "openid groups", "prompt": "login", "max_age": "3600",
			"domain_hint": "contoso.com", "login_hint": "alice",
		} {
			if got := q[name]; len(got) != 1 || got[0] != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		for _, name := range []string{"nonce", "code_challenge"} {
			if v := q.Get(name); len(v) != 43 || seen[v] {
				t.Errorf("%s %q is short or was seen before", name, v)
			} else {
				seen[v] = true
			}
		}
		if strings.Contains(challenge.URL, testSecret) || challenge.Form != nil {
			t.Error("the challenge is not a plain redirect")
		}
	}
}

func TestOID01_ShortFlowIDsAreRefused(t *testing.T) {
	d := newFake(t).open(nil)
	if _, err := d.Begin(context.Background(), providers.Flow{ID: "short", CallbackURL: callbackURL}); err == nil {
		t.Error("a guessable state was taken")
	}
}
