package ldap

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// Validate finds every mistake that can be found without a server and returns them joined; each begins with its key.
func (c *Config) Validate() error {
	full := c.complete()
	var mistakes []error
	mistakes = append(mistakes, c.checkURLs()...)
	mistakes = append(mistakes, c.checkTLS()...)
	mistakes = append(mistakes, c.checkWay(&full)...)
	mistakes = append(mistakes, full.checkAttributes()...)
	mistakes = append(mistakes, full.checkGroups()...)
	mistakes = append(mistakes, full.checkTimeout()...)
	return errors.Join(mistakes...)
}

// Warnings names the settings that weaken this door.
func (c *Config) Warnings() []string {
	var w []string
	if c.TLS.InsecurePlainText && !c.TLS.StartTLS && slices.ContainsFunc(c.URLs, isPlain) {
		w = append(w, "tls.insecure_plain_text: passwords cross the network in the clear")
	}
	if c.BindPassword.Literal() {
		w = append(w, "bind_password: stands in the configuration itself; use env: or file:")
	}
	if c.Groups.Name == "cn" {
		w = append(w, "groups.name: cn cannot tell groups of the same name in different branches apart")
	}
	if c.UserDN != "" {
		w = append(w, "user_dn: nobody can be asked about again, so a disabled person is noticed at the next sign-in only")
	}
	if c.EmailVerified {
		w = append(w, "email_verified: every address in this directory is taken for verified")
	}
	return w
}

func isPlain(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Scheme == "ldap"
}

func (c *Config) checkURLs() (mistakes []error) {
	if len(c.URLs) == 0 {
		mistakes = append(mistakes, errors.New("urls: at least one server is needed"))
	}
	for i, raw := range c.URLs {
		if err := c.checkURL(raw); err != nil {
			mistakes = append(mistakes, fmt.Errorf("urls[%d]: %w", i, err))
		}
	}
	return mistakes
}

func (c *Config) checkURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("is not a URL") // the cause repeats the text, which may hold a password
	case u.Scheme != "ldap" && u.Scheme != "ldaps":
		return errors.New("must begin with ldaps:// or ldap://")
	case u.Hostname() == "":
		return errors.New("names no host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/"):
		return errors.New("may hold a host and a port only")
	case u.Scheme == "ldap" && !c.TLS.StartTLS && !c.TLS.InsecurePlainText:
		return errors.New("ldap:// needs tls.start_tls (or, in writing, tls.insecure_plain_text)")
	}
	return nil
}

func (c *Config) checkTLS() (mistakes []error) {
	if c.TLS.StartTLS && c.TLS.InsecurePlainText {
		mistakes = append(mistakes, errors.New("tls.insecure_plain_text: contradicts tls.start_tls"))
	}
	// A relative name can only be read by Open, which knows the configuration's folder.
	if filepath.IsAbs(c.TLS.CAFile) || len(c.CAPEM) > 0 {
		if _, err := c.roots(""); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	return mistakes
}

// checkWay sees to it that exactly one of the two ways in is there, and whole.
func (c *Config) checkWay(full *Config) (mistakes []error) {
	bySearch := c.BindDN != "" || c.BindPassword.Reference() != "" || c.Users != Users{}
	switch {
	case c.UserDN != "" && bySearch:
		return []error{errors.New("user_dn: excludes bind_dn, bind_password and users")}
	case c.UserDN != "":
		if _, err := parseDNTemplate(c.UserDN); err != nil {
			return []error{fmt.Errorf("user_dn: %w", err)}
		}
		return nil
	case !bySearch:
		return []error{errors.New("bind_dn: needed with users, unless user_dn is given")}
	}
	return full.checkUsers()
}

func (c *Config) checkUsers() (mistakes []error) {
	if c.BindDN == "" {
		mistakes = append(mistakes, errors.New("bind_dn: needed to look people up"))
	}
	if c.BindPassword.Reference() == "" {
		mistakes = append(mistakes, errors.New("bind_password: needed with bind_dn"))
	}
	if err := checkDN(c.Users.Base); err != nil {
		mistakes = append(mistakes, fmt.Errorf("users.base: %w", err))
	}
	if _, err := parseFilterTemplate(c.Users.Filter); err != nil {
		mistakes = append(mistakes, fmt.Errorf("users.filter: %w", err))
	}
	if _, ok := scopes(c.Users.Scope); !ok {
		mistakes = append(mistakes, errors.New("users.scope: must be subtree or one"))
	}
	return mistakes
}

// scopes turns the configured word into RFC 4511's number.
func scopes(word string) (int, bool) {
	switch word {
	case "subtree":
		return goldap.ScopeWholeSubtree, true
	case "one":
		return goldap.ScopeSingleLevel, true
	}
	return 0, false
}

func (c *Config) checkAttributes() (mistakes []error) {
	a := c.Attributes
	named := map[string]string{"username": a.Username, "name": a.Name, "email": a.Email}
	if a.Subject != "" {
		named["subject"] = a.Subject
	}
	if a.Groups != "" {
		named["groups"] = a.Groups
	}
	for _, key := range []string{"subject", "username", "name", "email", "groups"} {
		if name, ok := named[key]; ok && !isAttribute(name) {
			mistakes = append(mistakes, fmt.Errorf("attributes.%s: %q is not an attribute's name", key, name))
		}
	}
	if handedOn(a.Subject) {
		mistakes = append(mistakes, fmt.Errorf("attributes.subject: %s is handed on from person to person", a.Subject))
	}
	for i, name := range a.Extra {
		if !isAttribute(name) || isSecret(name) || strings.EqualFold(name, "dn") {
			mistakes = append(mistakes, fmt.Errorf("attributes.extra[%d]: %q cannot be read", i, name))
		}
	}
	return mistakes
}

// handedOn names the attributes that are given to the next person when the first leaves, or that change with a
// marriage. Keyed by them, an account would be inherited.
func handedOn(name string) bool {
	return slices.Contains([]string{
		"dn", "distinguishedname", "entrydn", "uid", "userid", "cn", "commonname", "name", "displayname", "sn", "mail",
		"rfc822mailbox", "proxyaddresses", "samaccountname", "userprincipalname", "krbprincipalname", "uidnumber",
	}, strings.ToLower(name))
}

// isSecret names attributes that hold passwords or their hashes, which must not travel in an identity.
func isSecret(name string) bool {
	return slices.Contains([]string{
		"userpassword", "unicodepwd", "dbcspwd", "ntpwdhistory", "lmpwdhistory", "supplementalcredentials",
		"sambantpassword", "sambalmpassword", "krbprincipalkey", "pwdhistory", "ms-mcs-admpwd", "mslaps-password",
		"authpassword", "ipanthash",
	}, strings.ToLower(name))
}

// isAttribute accepts a short name or an OID (RFC 4512 section 1.4), without options.
func isAttribute(name string) bool {
	for _, r := range name {
		letter := (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9')
		if !letter && r != '-' && r != '.' {
			return false
		}
	}
	return name != "" && len(name) <= 128
}

func (c *Config) checkGroups() (mistakes []error) {
	g := c.Groups
	if g.Base != "" {
		if err := checkDN(g.Base); err != nil {
			mistakes = append(mistakes, fmt.Errorf("groups.base: %w", err))
		}
	}
	if _, err := goldap.CompileFilter(g.Filter); err != nil || strings.Contains(g.Filter, "{") {
		mistakes = append(mistakes, errors.New("groups.filter: is not a filter (RFC 4515); it takes no placeholders"))
	}
	if !slices.Contains([]string{"member", "uniquemember", "memberuid"}, strings.ToLower(g.Member)) {
		mistakes = append(mistakes, errors.New("groups.member: must be member, uniqueMember or memberUid"))
	}
	if g.byName() && g.Nested && g.Base != "" {
		mistakes = append(mistakes, errors.New("groups.nested: memberUid names people only, never groups"))
	}
	if !slices.Contains([]string{"dn", "cn", "both"}, g.Name) {
		mistakes = append(mistakes, errors.New("groups.name: must be dn, cn or both"))
	}
	if g.MaxDepth < 1 || g.MaxDepth > 100 {
		mistakes = append(mistakes, errors.New("groups.max_depth: must be between 1 and 100"))
	}
	if g.MaxGroups < 1 || g.MaxGroups > 20_000 {
		mistakes = append(mistakes, errors.New("groups.max_groups: must be between 1 and 20000"))
	}
	return mistakes
}

// byName reports whether groups list user names and not DNs.
func (g *Groups) byName() bool { return strings.EqualFold(g.Member, "memberUid") }

func (c *Config) checkTimeout() (mistakes []error) {
	for _, limit := range []struct {
		key           string
		value, atMost time.Duration
	}{
		{"dial", c.Timeout.Dial, maxDial},
		{"operation", c.Timeout.Operation, maxOperation},
		{"login", c.Timeout.Login, maxLogin},
	} {
		if limit.value < 10*time.Millisecond || limit.value > limit.atMost {
			mistakes = append(mistakes, fmt.Errorf("timeout.%s: must be between 10ms and %s", limit.key, limit.atMost))
		}
	}
	return mistakes
}

func checkDN(text string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("a DN is needed")
	}
	if _, err := goldap.ParseDN(text); err != nil {
		return fmt.Errorf("is not a DN: %w", err)
	}
	return nil
}

// readCA reads the CA file; a relative name starts at dir.
func (c *Config) readCA(dir string) ([]byte, error) {
	path := c.TLS.CAFile
	if path == "" {
		return nil, nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	pem, err := os.ReadFile(path) //nolint:gosec // the operator's own configuration names it
	if err != nil {
		return nil, fmt.Errorf("tls.ca_file: %w", err)
	}
	return pem, nil
}
