package directory

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"
)

// The tree's fixed parts.
const (
	base    = "dc=demo,dc=test"
	people  = "ou=people," + base
	groups  = "ou=groups," + base
	system  = "ou=system," + base
	service = "cn=sallyport," + system
)

// entry is one entry. Attribute names are spelled as in the schemas; operational ones are among them.
type entry struct {
	dn, key    string
	attributes map[string][]string
	// secret is the password's hash; nil lets nobody in.
	secret []byte
}

// values returns an attribute's values; names know no case.
func (e *entry) values(name string) []string {
	for known, values := range e.attributes {
		if strings.EqualFold(known, name) {
			return values
		}
	}
	return nil
}

// accepts reports whether the password is right.
func (e *entry) accepts(password string) bool {
	return e.secret != nil && equalHashes(e.secret, hash(password))
}

// tree is the whole directory; it never changes.
type tree struct {
	entries []*entry
	byKey   map[string]*entry
}

// plant grows the tree: the branches, the service account, people, and the groups that people name.
func plant(persons []Person, servicePassword string) (*tree, error) {
	t := &tree{byKey: map[string]*entry{}}
	branches := map[string][]string{
		base:   {"objectClass", "domain", "dc", "demo"},
		people: {"objectClass", "organizationalUnit", "ou", "people"},
		groups: {"objectClass", "organizationalUnit", "ou", "groups"},
		system: {"objectClass", "organizationalUnit", "ou", "system"},
	}
	for _, dn := range []string{base, people, groups, system} {
		a := branches[dn]
		if err := t.add(dn, "", map[string][]string{a[0]: {a[1]}, a[2]: {a[3]}}); err != nil {
			return nil, err
		}
	}
	err := t.add(service, servicePassword, map[string][]string{"objectClass": {"applicationProcess"}, "cn": {"sallyport"}})
	if err != nil {
		return nil, err
	}
	return t, errors.Join(t.addPeople(persons), t.addGroups(persons))
}

func (t *tree) addPeople(persons []Person) error {
	for _, p := range persons {
		attributes := map[string][]string{
			"objectClass": {"top", "person", "organizationalPerson", "inetOrgPerson"},
			"uid":         {p.Username}, "cn": {p.Name}, "sn": {lastWord(p.Name)},
		}
		if p.Email != "" {
			attributes["mail"] = []string{p.Email}
		}
		for _, group := range p.Groups {
			attributes["memberOf"] = append(attributes["memberOf"], groupDN(group))
		}
		if err := t.add(personDN(p.Username), p.Password, attributes); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) addGroups(persons []Person) error {
	members := map[string][]string{}
	var names []string
	for _, p := range persons {
		for _, group := range p.Groups {
			if members[group] == nil {
				names = append(names, group)
			}
			members[group] = append(members[group], personDN(p.Username))
		}
	}
	slices.Sort(names)
	for _, name := range names {
		err := t.add(groupDN(name), "", map[string][]string{
			"objectClass": {"groupOfNames"}, "cn": {name}, "member": members[name],
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func personDN(username string) string { return "uid=" + goldap.EscapeDN(username) + "," + people }

func groupDN(name string) string { return "cn=" + goldap.EscapeDN(name) + "," + groups }

func lastWord(text string) string {
	words := strings.Fields(text)
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}

func (t *tree) add(dn, password string, attributes map[string][]string) error {
	key, err := normal(dn)
	if err != nil || t.byKey[key] != nil {
		return fmt.Errorf("demo directory: %q is there twice, or is no DN", dn)
	}
	attributes["entryUUID"] = []string{uuidOf(key)}
	e := &entry{dn: dn, key: key, attributes: attributes}
	if password != "" {
		e.secret = hash(password)
	}
	t.entries, t.byKey[key] = append(t.entries, e), e
	return nil
}

// uuidOf is the same at every start, so that accounts made in one demonstration are found again in the next. Its form is
// that of a version 8 UUID (RFC 9562 section 5.8).
func uuidOf(key string) string {
	b := sha256.Sum256([]byte(key))
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// normal spells equal DNs equally.
func normal(text string) (string, error) {
	dn, err := goldap.ParseDN(text)
	if err != nil {
		return "", err
	}
	for _, rdn := range dn.RDNs {
		for _, pair := range rdn.Attributes {
			pair.Value = strings.ToLower(pair.Value)
		}
	}
	return dn.String(), nil
}

// within reports whether the entry is in the scope of a search from the entry top.
func (e *entry) within(top *entry, scope int) bool {
	if scope == goldap.ScopeBaseObject || e == top {
		return e == top && scope != goldap.ScopeSingleLevel
	}
	above, below := strings.CutSuffix(e.key, ","+top.key)
	if !below {
		return false
	}
	rest, err := goldap.ParseDN(above)
	return err == nil && (scope == goldap.ScopeWholeSubtree || len(rest.RDNs) == 1)
}
