// Package ldap is the door for directories: OpenLDAP, Active Directory and whatever else speaks LDAP version 3 (RFC 4511).
// A person types a name and a password on our page; the provider finds the one entry that the name means, binds as that
// entry to prove the password, and turns the entry and its groups into an identity.
//
// The package owns: how servers are reached (TLS, time limits, the next server when one does not answer), how a name is
// put into a filter or a DN, what a bind result means, and how nested groups are walked to their end. It leaves to
// others: lockout and throttling, which door a name goes to, what a group is worth, and when to ask again.
//
// It never follows referrals, never sends a password before TLS stands (unless the operator wrote otherwise), and never
// takes an empty password to a server, where it would succeed as an anonymous bind (RFC 4513 section 5.1.2).
package ldap
