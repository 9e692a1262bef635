package ldap

import (
	"time"

	"sallyport/identity"
	"sallyport/providers"
)

// Config is the configuration of one directory. There are two ways in, and exactly one must be chosen: a service account
// (bind_dn, bind_password, users) that finds the entry first, or a DN template (user_dn) that says outright which entry
// a name means. Only the first can ask about a person again later (providers.Refresher).
type Config struct {
	// URLs are the servers, ldaps://host[:port] or ldap://host[:port], replicas of one another, tried in this order.
	URLs []string `yaml:"urls"`
	// TLS says how the servers prove who they are.
	TLS TLS `yaml:"tls"`
	// BindDN is the service account: a DN, or for Active Directory also name@domain.
	BindDN string `yaml:"bind_dn"`
	// BindPassword is the service account's password; never empty.
	BindPassword identity.Secret `yaml:"bind_password"`
	// UserDN is the DN of a person's entry with {username} as (part of) one value, such as
	// "uid={username},ou=people,dc=example,dc=test".
	UserDN string `yaml:"user_dn"`
	// Users says where the service account looks for people.
	Users Users `yaml:"users"`
	// Attributes names what is read from a person's entry.
	Attributes Attributes `yaml:"attributes"`
	// Groups says how groups are found; the zero value finds none beyond Attributes.Groups.
	Groups Groups `yaml:"groups"`
	// EmailVerified is the operator's word that addresses in this directory belong to the people they stand at. Without
	// it no address from here is ever taken for verified.
	EmailVerified bool `yaml:"email_verified"`
	// Timeout bounds the waiting.
	Timeout Timeout `yaml:"timeout"`
	// CAPEM is a CA in memory, used together with TLS.CAFile where both are set.
	CAPEM []byte `yaml:"-"`
}

// TLS says how servers prove who they are. The zero value verifies against the system's CAs, and refuses ldap:// URLs.
type TLS struct {
	// CAFile holds PEM certificates that replace the system's CAs; relative names start at the configuration's folder.
	CAFile string `yaml:"ca_file"`
	// StartTLS upgrades ldap:// connections before anything else is said. A server that refuses is not used.
	StartTLS bool `yaml:"start_tls"`
	// ServerName replaces the URL's host when certificates are verified.
	ServerName string `yaml:"server_name"`
	// InsecurePlainText lets passwords cross the network in the clear on ldap:// URLs.
	InsecurePlainText bool `yaml:"insecure_plain_text"`
}

// Users says where people are found.
type Users struct {
	// Base is the DN of the branch.
	Base string `yaml:"base"`
	// Filter is an RFC 4515 filter with {username} in place of a value. Empty means
	// (&(objectClass=person)(USERNAME={username})), where USERNAME is Attributes.Username.
	Filter string `yaml:"filter"`
	// Scope is subtree (the default) or one.
	Scope string `yaml:"scope"`
}

// Attributes names what is read from a person's entry.
type Attributes struct {
	// Subject is the attribute that never changes and is never given to somebody else. Empty takes entryUUID, or
	// objectGUID where there is none. Names and addresses are refused: they are handed on from person to person.
	Subject string `yaml:"subject"`
	// Username is the name people are known by; empty means uid.
	Username string `yaml:"username"`
	// Name is the display name; empty means cn.
	Name string `yaml:"name"`
	// Email is the address; empty means mail.
	Email string `yaml:"email"`
	// Groups is an attribute of the entry that holds group DNs, usually memberOf; empty means none is read.
	Groups string `yaml:"groups"`
	// Extra are further attributes for mapping rules; values that are not UTF-8 arrive in base64.
	Extra []string `yaml:"extra"`
}

// Groups says how groups are found by search. What it finds is united with what Attributes.Groups names.
type Groups struct {
	// Base is the DN of the branch that holds groups; empty means that groups are not searched for.
	Base string `yaml:"base"`
	// Filter says which entries are groups; empty means objectClass groupOfNames, groupOfUniqueNames, posixGroup or
	// group.
	Filter string `yaml:"filter"`
	// Member is the groups' attribute that names members: member (the default) or uniqueMember, which hold DNs, or
	// memberUid, which holds user names.
	Member string `yaml:"member"`
	// Name says how a group is called in an identity: dn (the default), cn, or both.
	Name string `yaml:"name"`
	// Nested also counts the groups that a person's groups are members of.
	Nested bool `yaml:"nested"`
	// MaxDepth is how deep groups may be nested, direct groups being 1; zero means 10. Deeper is refused, not cut off.
	MaxDepth int `yaml:"max_depth"`
	// MaxGroups is how many groups one person may have; zero means 2000. More is refused, not cut off.
	MaxGroups int `yaml:"max_groups"`
}

// Timeout bounds the waiting. Zero values mean the largest value allowed, which is the default.
type Timeout struct {
	// Dial covers connecting and TLS, for one server; at most 3 s.
	Dial time.Duration `yaml:"dial"`
	// Operation covers one request and its answer; at most 5 s.
	Operation time.Duration `yaml:"operation"`
	// Login covers everything from the name to the groups; at most 10 s.
	Login time.Duration `yaml:"login"`
}

// The largest time limits, and the defaults.
const (
	maxDial      = 3 * time.Second
	maxOperation = 5 * time.Second
	maxLogin     = 10 * time.Second
	maxDepth     = 10
	maxGroups    = 2000
)

var (
	_ providers.Config = (*Config)(nil)
	_ providers.Warner = (*Config)(nil)
)

// TakesPassword says that people type their password on our page.
func (*Config) TakesPassword() bool { return true }

// searches reports whether a service account looks people up.
func (c *Config) searches() bool { return c.UserDN == "" }

// complete returns a copy with every default written out.
func (c *Config) complete() Config {
	full := *c
	full.Attributes.Username = or(c.Attributes.Username, "uid")
	full.Attributes.Name = or(c.Attributes.Name, "cn")
	full.Attributes.Email = or(c.Attributes.Email, "mail")
	full.Users.Filter = or(c.Users.Filter, "(&(objectClass=person)("+full.Attributes.Username+"="+placeholder+"))")
	full.Users.Scope = or(c.Users.Scope, "subtree")
	full.Groups.Filter = or(c.Groups.Filter,
		"(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup)(objectClass=group))")
	full.Groups.Member = or(c.Groups.Member, "member")
	full.Groups.Name = or(c.Groups.Name, "dn")
	full.Groups.MaxDepth = or(c.Groups.MaxDepth, maxDepth)
	full.Groups.MaxGroups = or(c.Groups.MaxGroups, maxGroups)
	full.Timeout.Dial = or(c.Timeout.Dial, maxDial)
	full.Timeout.Operation = or(c.Timeout.Operation, maxOperation)
	full.Timeout.Login = or(c.Timeout.Login, maxLogin)
	return full
}

// or returns the value, or the default where the value is zero.
func or[T comparable](value, byDefault T) T {
	var zero T
	if value == zero {
		return byDefault
	}
	return value
}
