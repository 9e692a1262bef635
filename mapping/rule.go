// Package mapping owns the way from groups and attributes to roles. It is pure: no I/O, no clock, no state that
// changes. Rules form a set, not a program: what matches is united, deny wins, order means nothing.
//
// Compile finds every mistake at start-up; Map explains itself with one Verdict for each rule; Roles gives the same
// answer without the explanation. Accounts, sessions and manual grants belong to broker; which providers exist is
// checked by configs.
package mapping

// Role is a role of ours as configuration declares it. A role that nobody declared is never granted.
type Role struct {
	// Name matches [A-Za-z0-9][A-Za-z0-9._:-]{0,63}.
	Name string
	// Inherits names roles whose permissions, and which themselves, come along.
	Inherits []string
	// Permissions are resource:action; "*" stands for any resource or any action. The resource "sallyport" is
	// reserved: no wildcard resource includes it, see Allows.
	Permissions []string
	// Where is "file:line" of the declaration, for messages; empty: "roles.NAME".
	Where string
}

// Rule says which identities get which roles. Exactly one condition (Group, GroupDN, GroupGlob, GroupRegex, Claim, or
// Copy, which is condition and effect in one) and exactly one effect (Roles, Copy, Deny).
type Rule struct {
	// Provider is the id of the provider it speaks of, or "*".
	Provider string `yaml:"provider"`

	// Group is compared byte for byte.
	Group string `yaml:"group,omitempty"`
	// GroupDN is compared as a distinguished name (RFC 4514): case, spaces and escapes aside.
	GroupDN string `yaml:"group_dn,omitempty"`
	// GroupGlob knows * and ? only, over the whole name; ? is one character.
	GroupGlob string `yaml:"group_glob,omitempty"`
	// GroupRegex is RE2, anchored at both ends.
	GroupRegex string `yaml:"group_regex,omitempty"`
	// Claim is a dotted path into the attributes ("groups" is the groups); Equals lists the values that match, byte
	// for byte.
	Claim  string   `yaml:"claim,omitempty"`
	Equals []string `yaml:"equals,omitempty"`

	// Roles are granted when the condition holds.
	Roles []string `yaml:"roles,omitempty"`
	// Copy is a claim path ("groups" for the groups) whose values are role names after StripPrefix; values without
	// the prefix are not looked at. Only, when set, lists the roles that may come this way. A role that carries a
	// permission on "sallyport" never does.
	Copy        string   `yaml:"copy,omitempty"`
	StripPrefix string   `yaml:"strip_prefix,omitempty"`
	Only        []string `yaml:"only,omitempty"`
	// Deny takes every role away when the condition holds, whatever other rules say.
	Deny bool `yaml:"deny,omitempty"`

	// Where is "file:line" of the rule, for messages; empty: "mapping.rules[i]".
	Where string `yaml:"-"`
}

// AnyProvider is the Rule.Provider that speaks of all of them.
const AnyProvider = "*"

// GroupsClaim is the claim path that means Identity.Groups.
const GroupsClaim = "groups"
