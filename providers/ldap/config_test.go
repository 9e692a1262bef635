package ldap

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"sallyport/identity"
	"sallyport/internal/testenv"
	"sallyport/providers"
)

const example = `
urls: [ldaps://dc1.corp.example, ldap://dc2.corp.example:389]
tls: {ca_file: corp-ca.pem, start_tls: true, server_name: "", insecure_plain_text: false}
bind_dn: cn=svc,dc=example,dc=test
bind_password: env:LDAP_PW
users: {base: "ou=people,dc=example,dc=test", filter: "(&(objectClass=inetOrgPerson)(uid={username}))", scope: subtree}
attributes: {subject: entryUUID, username: uid, name: cn, email: mail, groups: memberOf, extra: [department]}
groups: {base: "ou=groups,dc=example,dc=test", filter: "(objectClass=groupOfNames)", member: member, name: dn, nested: true, max_depth: 10, max_groups: 2000}
email_verified: false
timeout: {dial: 3s, operation: 5s, login: 10s}
`

func decode(t *testing.T, text string) (*Config, error) {
	t.Helper()
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.KnownFields(true)
	c := new(Config)
	return c, decoder.Decode(c)
}

func TestTheWholeConfigurationIsAccepted(t *testing.T) {
	c, err := decode(t, example)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if w := c.Warnings(); len(w) != 0 {
		t.Errorf("warnings: %q", w)
	}
	if !c.TakesPassword() || c.Timeout.Operation != 5*time.Second || c.BindPassword.Reference() != "env:LDAP_PW" {
		t.Errorf("got %+v", c)
	}
	if _, err := decode(t, example+"\nunknown: 1\n"); err == nil {
		t.Error("an unknown key is accepted")
	}
}

func TestMistakesNameTheirKey(t *testing.T) {
	good := func() *Config {
		c := fakeConfig("ldaps://dc1.corp.example")
		c.TLS = TLS{}
		return c
	}
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		key    string
		change func(*Config)
	}{
		{"urls:", func(c *Config) { c.URLs = nil }},
		{"urls[1]:", func(c *Config) { c.URLs = append(c.URLs, "https://dc2.corp.example") }},
		{"urls[0]:", func(c *Config) { c.URLs[0] = "ldaps://" }},
		{"urls[0]:", func(c *Config) { c.URLs[0] = "ldaps://svc:pw@dc1.corp.example" }},
		{"urls[0]:", func(c *Config) { c.URLs[0] = "ldaps://dc1.corp.example/dc=x" }},
		{"urls[0]:", func(c *Config) { c.URLs[0] = "ldap://dc1.corp.example" }},
		{"urls[0]:", func(c *Config) { c.URLs[0] = "ldapi://%2Fsocket" }},
		{"tls.insecure_plain_text:", func(c *Config) { c.TLS = TLS{StartTLS: true, InsecurePlainText: true} }},
		{"tls.ca_file:", func(c *Config) { c.TLS.CAFile = "/nowhere/ca.pem" }},
		{"ca:", func(c *Config) { c.CAPEM = []byte("not PEM") }},
		{"bind_dn:", func(c *Config) { c.BindDN = "" }},
		{"bind_dn:", func(c *Config) { c.BindDN, c.BindPassword, c.Users = "", identity.Secret{}, Users{} }},
		{"bind_password:", func(c *Config) { c.BindPassword = identity.Secret{} }},
		{"user_dn:", func(c *Config) { c.UserDN = "uid={username},dc=x" }},
		{"user_dn:", func(c *Config) {
			c.BindDN, c.BindPassword, c.Users, c.UserDN = "", identity.Secret{}, Users{}, "uid=alice,dc=x"
		}},
		{"users.base:", func(c *Config) { c.Users.Base = "" }},
		{"users.base:", func(c *Config) { c.Users.Base = "people" }},
		{"users.filter:", func(c *Config) { c.Users.Filter = "(uid=alice)" }},
		{"users.scope:", func(c *Config) { c.Users.Scope = "base" }},
		{"attributes.username:", func(c *Config) { c.Attributes.Username = "uid)(cn" }},
		{"attributes.groups:", func(c *Config) { c.Attributes.Groups = "memberOf;range=0-*" }},
		{"attributes.extra[1]:", func(c *Config) { c.Attributes.Extra = []string{"department", "userPassword"} }},
		{"attributes.extra[0]:", func(c *Config) { c.Attributes.Extra = []string{"dn"} }},
		{"groups.base:", func(c *Config) { c.Groups.Base = "groups" }},
		{"groups.filter:", func(c *Config) { c.Groups.Filter = "(member={username})" }},
		{"groups.filter:", func(c *Config) { c.Groups.Filter = "(" }},
		{"groups.member:", func(c *Config) { c.Groups.Member = "owner" }},
		{"groups.name:", func(c *Config) { c.Groups.Name = "ou" }},
		{"groups.nested:", func(c *Config) { c.Groups = Groups{Base: "dc=x", Member: "memberUid", Nested: true} }},
		{"groups.max_depth:", func(c *Config) { c.Groups.MaxDepth = -1 }},
		{"groups.max_groups:", func(c *Config) { c.Groups.MaxGroups = 1_000_000 }},
		{"timeout.dial:", func(c *Config) { c.Timeout.Dial = 4 * time.Second }},
		{"timeout.operation:", func(c *Config) { c.Timeout.Operation = 6 * time.Second }},
		{"timeout.login:", func(c *Config) { c.Timeout.Login = 11 * time.Second }},
		{"timeout.login:", func(c *Config) { c.Timeout.Login = -1 }},
	}
	for _, tt := range tests {
		c := good()
		tt.change(c)
		err := c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), tt.key) {
			t.Errorf("%s got %v", tt.key, err)
		}
	}
}

func TestLDP03_WhatIsHandedOnIsNoSubject(t *testing.T) {
	for _, name := range []string{"uid", "mail", "dn", "sAMAccountName", "userPrincipalName", "CN"} {
		c := fakeConfig("ldap://127.0.0.1")
		c.Attributes.Subject = name
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "attributes.subject:") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		key    string
		change func(*Config)
	}{
		{"tls.insecure_plain_text", func(c *Config) { c.URLs, c.TLS.InsecurePlainText = []string{"ldap://x"}, true }},
		{"groups.name", func(c *Config) { c.Groups.Name = "cn" }},
		{"email_verified", func(c *Config) { c.EmailVerified = true }},
		{"user_dn", func(c *Config) { c.UserDN = "uid={username},dc=x" }},
		{"bind_password", func(c *Config) { _ = c.BindPassword.UnmarshalText([]byte("in the file")) }},
	}
	for _, tt := range tests {
		c := new(Config)
		tt.change(c)
		if w := c.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], tt.key+":") {
			t.Errorf("%s: %q", tt.key, w)
		}
	}
}

func TestOpenNeedsNoServerButItsFilesAndSecrets(t *testing.T) {
	dir := t.TempDir()
	c := fakeConfig("ldaps://127.0.0.1:1")
	c.TLS = TLS{CAFile: "ca.pem"}
	if _, err := c.Open(t.Context(), "corp", "", providers.Env{Dir: dir}); err == nil {
		t.Error("a missing CA file is accepted")
	}
	writeFile(t, filepath.Join(dir, "ca.pem"), testenv.NewCA(t).PEM)
	p, err := c.Open(t.Context(), "corp", "", providers.Env{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if info := p.Info(); info != (providers.Info{ID: "corp", Type: "ldap", Title: "corp"}) {
		t.Errorf("got %+v", info)
	}
	if _, ok := p.(providers.Refresher); !ok {
		t.Error("a directory with a service account can be asked again")
	}
	_ = c.BindPassword.UnmarshalText([]byte("env:UNRESOLVED"))
	if _, err := c.Open(t.Context(), "corp", "", providers.Env{Dir: dir}); err == nil {
		t.Error("an unresolved bind password is accepted")
	}
	byDN := &Config{URLs: []string{"ldaps://127.0.0.1:1"}, UserDN: "uid={username},dc=x"}
	p, err = byDN.Open(t.Context(), "corp", "", providers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := p.(providers.Refresher); ok {
		t.Error("without a service account nobody can be asked about again")
	}
}
