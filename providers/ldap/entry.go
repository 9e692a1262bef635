package ldap

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"

	"sallyport/identity"
)

// personAttributes is everything that is asked about a person's entry.
func (p *Provider) personAttributes() []string {
	a := p.config.Attributes
	names := append(p.subject.names(), a.Username, a.Name, a.Email)
	if a.Groups != "" {
		names = append(names, a.Groups)
	}
	names = append(names, a.Extra...)
	names = append(names, stateAttributes()...)
	seen := map[string]bool{}
	return slices.DeleteFunc(names, func(name string) bool {
		key := strings.ToLower(name)
		known := seen[key]
		seen[key] = true
		return known
	})
}

// identityOf turns an entry into what this provider asserts. username is what is known otherwise.
func (p *Provider) identityOf(entry *goldap.Entry, username string, groups []string) (identity.Identity, error) {
	subject, err := p.subject.of(entry)
	if err != nil {
		return identity.Identity{}, err
	}
	a := p.config.Attributes
	email := first(entry, a.Email)
	return identity.Identity{
		Provider:      p.info.ID,
		Subject:       subject,
		Username:      or(first(entry, a.Username), username),
		Name:          first(entry, a.Name),
		Email:         email,
		EmailVerified: p.config.EmailVerified && email != "",
		Groups:        groups,
		Attributes:    p.extraOf(entry),
	}, nil
}

// extraOf returns the attributes for mapping rules: the configured ones as they are spelled in the configuration, and
// the DN.
func (p *Provider) extraOf(entry *goldap.Entry) map[string][]string {
	extra := map[string][]string{"dn": {entry.DN}}
	for _, name := range p.config.Attributes.Extra {
		for _, raw := range rawValues(entry, name) {
			extra[name] = append(extra[name], printable(raw))
		}
	}
	return extra
}

// printable spells bytes that are not text in base64, as LDIF does (RFC 2849).
func printable(raw []byte) string {
	if utf8.Valid(raw) {
		return string(raw)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// rawValues returns an attribute's values. Attribute names know no case (RFC 4512 section 2.5).
func rawValues(entry *goldap.Entry, name string) [][]byte {
	var values [][]byte
	for _, attribute := range entry.Attributes {
		if strings.EqualFold(attribute.Name, name) {
			values = append(values, attribute.ByteValues...)
		}
	}
	return values
}

// first returns an attribute's first value as text, or "".
func first(entry *goldap.Entry, name string) string {
	for _, raw := range rawValues(entry, name) {
		if utf8.Valid(raw) {
			return string(raw)
		}
	}
	return ""
}

// stateAttributes tell that an account is switched off, in the directories that say so in the entry.
func stateAttributes() []string {
	return []string{"userAccountControl", "accountExpires", "nsAccountLock", "loginDisabled", "pwdAccountLockedTime"}
}

// switchedOff returns why the entry may not sign in, or "". Directories also say so at a bind; a refresh has only this.
// A lock that ends by itself is none of these: it comes from somebody's wrong guesses, and must not end the sessions of
// the person they guessed at.
func switchedOff(entry *goldap.Entry, now time.Time) string {
	const accountDisable = 0x2 // [MS-ADTS] section 2.2.16
	flags, err := strconv.ParseInt(first(entry, "userAccountControl"), 10, 64)
	switch {
	case err == nil && flags&accountDisable != 0:
		return "account disabled"
	case expired(first(entry, "accountExpires"), now):
		return "account expired"
	case strings.EqualFold(first(entry, "nsAccountLock"), "true"):
		return "account disabled"
	case strings.EqualFold(first(entry, "loginDisabled"), "true"):
		return "account disabled"
	case first(entry, "pwdAccountLockedTime") == "000001010000Z":
		return "account locked by an administrator"
	}
	return ""
}

// expired reads accountExpires: 100 ns intervals since 1601, where 0 and the largest number mean never.
func expired(text string, now time.Time) bool {
	const from1601 = 11_644_473_600 // seconds between 1601 and 1970
	ticks, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ticks <= 0 || ticks == 1<<63-1 {
		return false
	}
	return !now.Before(time.Unix(ticks/10_000_000-from1601, 0))
}
