package jwt_test

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"sallyport/configs"
	"sallyport/identity"
	"sallyport/providers"
	"sallyport/providers/jwt"
)

func decode(t *testing.T, text string) (jwt.Config, error) {
	t.Helper()
	var c jwt.Config
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	return c, d.Decode(&c)
}

func TestConfigReadsEveryKeyStrictly(t *testing.T) {
	key := strings.ReplaceAll(publicPEM(t, ecdsaEmbedder(t).public), "\n", "\n      ")
	c, err := decode(t, `
issuer: https://portal.example
audience: https://login.example
keys:
  - {id: k1, hmac: "env:PORTAL_SECRET", algorithm: HS512}
  - algorithm: ES256
    pem: |
      `+key+`
  - {pem_file: portal.pem}
jwks_file: keys.json
jwks_url: https://portal.example/jwks
ca_file: ca.pem
subject_key: service:username
roles_key: service:roles
name_key: user.name
email_key: mail
username_key: login
max_ttl: 2m
skew: 0s
compat: {missing: [], max_ttl: 5m}
replay: strict
`)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if got := c.Warnings(); len(got) != 0 {
		t.Errorf("warnings %q for a configuration without weakness", got)
	}
	if len(c.Keys) != 3 || c.Keys[0].HMAC.Reference() != "env:PORTAL_SECRET" || c.Skew == nil || *c.Skew != 0 ||
		c.MaxTTL != 2*time.Minute || c.SubjectKey != "service:username" {
		t.Errorf("read %+v", c)
	}
	off, err := decode(t, "replay: off")
	if err != nil || off.Replay != "off" {
		t.Errorf("read %+v, %v", off, err)
	}
	for _, unknown := range []string{"secret: x", "keys: [{alg: HS256}]", "max_roles: [a]", "compat: {skip: [exp]}"} {
		if _, err := decode(t, unknown); err == nil {
			t.Errorf("%q was taken", unknown)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	long, negative := 3*time.Minute, -time.Second
	missing := func(names ...string) func(*jwt.Config) {
		return func(c *jwt.Config) { c.Compat.Missing = names }
	}
	for name, tt := range map[string]struct {
		change func(c *jwt.Config)
		key    string
	}{
		"no issuer":                    {func(c *jwt.Config) { c.Issuer = "" }, "issuer:"},
		"an issuer with a line end":    {func(c *jwt.Config) { c.Issuer = "a\nb" }, "issuer:"},
		"no audience":                  {func(c *jwt.Config) { c.Audience = "" }, "audience:"},
		"an audience that is no URL":   {func(c *jwt.Config) { c.Audience = "sallyport" }, "audience:"},
		"an audience over http":        {func(c *jwt.Config) { c.Audience = "http://login.example" }, "audience:"},
		"no keys":                      {func(c *jwt.Config) { c.Keys = nil }, "keys:"},
		"nine keys":                    {func(c *jwt.Config) { c.Keys = manyKeys(9) }, "keys:"},
		"a key set over http":          {func(c *jwt.Config) { c.JWKSURL = "http://portal.example/jwks" }, "jwks_url:"},
		"a key set by a like name":     {func(c *jwt.Config) { c.JWKSURL = "http://localhost.portal.example" }, "jwks_url:"},
		"a key set with a password":    {func(c *jwt.Config) { c.JWKSURL = "https://u:CANARY@portal.example" }, "jwks_url:"},
		"a key set in a file URL":      {func(c *jwt.Config) { c.JWKSURL = "file:///etc/jwks" }, "jwks_url:"},
		"authorities for nothing":      {func(c *jwt.Config) { c.CAFile = "ca.pem" }, "ca_file:"},
		"a subject that is the jti":    {func(c *jwt.Config) { c.SubjectKey = "jti" }, "subject_key:"},
		"a subject that is the issuer": {func(c *jwt.Config) { c.SubjectKey = "iss" }, "subject_key:"},
		"a claim with a line end":      {func(c *jwt.Config) { c.RolesKey = "a\n" }, "roles_key:"},
		"an endless claim":             {func(c *jwt.Config) { c.NameKey = strings.Repeat("a", 257) }, "name_key:"},
		"a lifetime over 15 minutes":   {func(c *jwt.Config) { c.MaxTTL = 15*time.Minute + 1 }, "max_ttl:"},
		"a negative lifetime":          {func(c *jwt.Config) { c.MaxTTL = -1 }, "max_ttl:"},
		"a skew over two minutes":      {func(c *jwt.Config) { c.Skew = &long }, "skew:"},
		"a negative skew":              {func(c *jwt.Config) { c.Skew = &negative }, "skew:"},
		"replay by another word":       {func(c *jwt.Config) { c.Replay = "no" }, "replay:"},
		"compat without exp":           {missing("exp"), "compat.missing[0]:"},
		"compat without sub":           {missing("iss", "sub"), "compat.missing[1]:"},
		"compat twice":                 {missing("iss", "iss"), "compat.missing[1]:"},
		"compat over 15 minutes":       {func(c *jwt.Config) { c.Compat.MaxTTL = time.Hour }, "compat.max_ttl:"},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(hmacKey("", "a"))
			tt.change(&c)
			err := c.Validate()
			if err == nil || !strings.HasPrefix(err.Error(), tt.key) || strings.Contains(err.Error(), "CANARY") {
				t.Errorf("got %v, want %s", err, tt.key)
			}
			if _, err := c.Open(t.Context(), "portal", "", providers.Env{Dir: t.TempDir()}); err == nil {
				t.Error("opened all the same")
			}
		})
	}
}

func TestTheHousesFileTakesSuchADoorWithItsSecretsAndMistakes(t *testing.T) {
	types := map[string]func() any{jwt.Kind: func() any { return &jwt.Config{} }}
	env := func(name string) (string, bool) {
		return base64.StdEncoding.EncodeToString(secretOf("a", 32)), name == "PORTAL_SECRET"
	}
	const text = `
server: {issuer: "https://login.example"}
providers:
  portal:
    type: jwt
    issuer: https://portal.example
    audience: https://login.example
    replay: off
    keys:
      - hmac: env:PORTAL_SECRET
`
	cfg, warnings, err := configs.Parse("test.yaml", []byte(text), t.TempDir(), types, env)
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for _, w := range warnings {
		said += w.String() + "\n"
	}
	if !strings.Contains(said, "providers.portal.replay") {
		t.Errorf("warnings %q do not speak of replay", said)
	}
	settings, ok := cfg.Providers["portal"].Settings.(*jwt.Config)
	if !ok {
		t.Fatalf("settings are a %T", cfg.Providers["portal"].Settings)
	}
	c := newClock()
	mustVerify(t, open(t, c, *settings), hmacEmbedder("a").sign(t, good(c)))

	broken := strings.Replace(text, "replay: off", "max_ttl: 1h", 1) + "        algorithm: RS256\n"
	_, _, err = configs.Parse("test.yaml", []byte(broken), t.TempDir(), types, env)
	for _, place := range []string{"providers.portal.max_ttl", "providers.portal.keys[0].algorithm"} {
		if err == nil || !strings.Contains(err.Error(), place) {
			t.Errorf("mistakes %v do not name %s", err, place)
		}
	}
}

func manyKeys(n int) []jwt.Key {
	keys := make([]jwt.Key, n)
	for i := range keys {
		keys[i] = hmacKey("", "a")
	}
	return keys
}

func TestEveryMistakeOfAKeyIsNamedWithItsPlace(t *testing.T) {
	c := config(hmacKey("", "a"), jwt.Key{
		ID: "a\nb", Algorithm: "RS256", HMAC: identity.NewSecret(base64.StdEncoding.EncodeToString(secretOf("a", 32))),
	})
	want := "keys[1].id: is too long, or has control characters\n" +
		"keys[1].algorithm: is none of HS256, HS384, HS512, which such a key is for"
	if diff := cmp.Diff(want, c.Validate().Error()); diff != "" {
		t.Error(diff)
	}
}

func TestEveryWeakSettingIsWarnedAbout(t *testing.T) {
	c := config(hmacKey("", "a"))
	if got := c.Warnings(); len(got) != 0 {
		t.Errorf("warnings %q without weakness", got)
	}
	c.MaxTTL, c.Replay, c.JWKSURL = 10*time.Minute, "off", "http://localhost:8080/jwks"
	c.Compat = jwt.Compat{Missing: []string{"iss", "aud", "jti", "iat"}, MaxTTL: 15 * time.Minute}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, w := range c.Warnings() {
		key, text, _ := strings.Cut(w, ": ")
		if text == "" {
			t.Errorf("warning %q says nothing", w)
		}
		keys = append(keys, key)
	}
	want := []string{
		"max_ttl", "compat.missing", "compat.missing", "compat.missing", "compat.missing", "compat.max_ttl", "replay",
		"jwks_url",
	}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Error(diff)
	}
}

func TestNobodyTypesAPasswordAtThisDoor(t *testing.T) {
	if _, ok := any(&jwt.Config{}).(interface{ TakesPassword() bool }); ok {
		t.Error("a configuration loader would take it for a door with a password field")
	}
	if _, ok := any(&jwt.Provider{}).(providers.PasswordProvider); ok {
		t.Error("it takes typed passwords")
	}
}

func TestASecretThatStandsInTheFileIsWarnedAbout(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString(secretOf("a", 32))
	c, err := decode(t, "keys: [{hmac: \"env:PORTAL\"}, {hmac: "+secret+"}]")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"keys[1].hmac: stands in the configuration itself; use env: or file:"}
	if diff := cmp.Diff(want, c.Warnings()); diff != "" {
		t.Error(diff)
	}
}

// What is wrong with a file is no mistake in the text: who changes the text is told so at once, while a file that is not
// there yet must not keep the rest of the configuration from being checked.
func TestAFileThatCannotBeReadIsFoundByOpenOnly(t *testing.T) {
	for key, cfg := range map[string]jwt.Config{
		"keys[0].pem_file: ": {Keys: []jwt.Key{{PEMFile: "none"}}},
		"jwks_file: ":        {JWKSFile: "none"},
		"ca_file: ":          {JWKSURL: "https://portal.example/jwks", CAFile: "none"},
	} {
		cfg.Issuer, cfg.Audience = portal, house
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s a mistake in the text: %v", key, err)
		}
		_, err := cfg.Open(t.Context(), "portal", "", providers.Env{Dir: t.TempDir()})
		if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s opened with %v", key, err)
		}
	}
}

func TestTheDoorIsCalledByItsTitle(t *testing.T) {
	cfg := config(hmacKey("", "a"))
	for title, want := range map[string]string{"": "portal", "Our portal": "Our portal"} {
		p, err := cfg.Open(t.Context(), "portal", title, providers.Env{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(providers.Info{ID: "portal", Type: jwt.Kind, Title: want}, p.Info()); diff != "" {
			t.Error(diff)
		}
	}
}
