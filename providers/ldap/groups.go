package ldap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"

	"sallyport/identity"
)

// errUnbounded: the person has more groups, or more deeply nested ones, than the configuration allows. The groups are
// not cut off, for a rule may refuse people who are in a group; the sign-in fails until the operator has looked.
var errUnbounded = errors.New("groups exceed groups.max_depth or groups.max_groups")

func unbounded(what string, limit int) error {
	return identity.WithCode("groups_unbounded",
		fmt.Errorf("%w: %w: %s is %d", identity.ErrUnavailable, errUnbounded, what, limit))
}

// group is one group met on the way up.
type group struct {
	dn, cn string
	// parents are the DNs that the group's own entry says it belongs to.
	parents []string
	// read: the entry itself was seen.
	read bool
}

// walk climbs from a person to all their groups, level by level.
type walk struct {
	conn   *conn
	groups Groups
	// belongs is the attribute that says where an entry belongs (memberOf), or empty.
	belongs string
	log     *slog.Logger
	// seen is what ends cycles: a group is climbed from once. Keyed by normalized DN.
	seen map[string]*group
}

// groupsOf returns the names of all groups of a person, sorted.
func (p *Provider) groupsOf(ctx context.Context, c *conn, person *goldap.Entry) ([]string, error) {
	w := &walk{
		conn: c, groups: p.config.Groups, belongs: p.config.Attributes.Groups, log: p.log, seen: map[string]*group{},
	}
	level, err := w.direct(ctx, person, first(person, p.config.Attributes.Username))
	if err != nil {
		return nil, err
	}
	for depth := 1; p.config.Groups.Nested && len(level) > 0; depth++ {
		if level, err = w.up(ctx, level); err != nil {
			return nil, err
		}
		if len(level) > 0 && depth >= w.groups.MaxDepth {
			return nil, unbounded("groups.max_depth", w.groups.MaxDepth)
		}
	}
	return w.names(), nil
}

// direct finds the groups that the person stands in: those that list them, and those that their own entry lists.
func (w *walk) direct(ctx context.Context, person *goldap.Entry, username string) ([]*group, error) {
	var found []*group
	if w.groups.Base != "" {
		member := person.DN
		if w.groups.byName() {
			member = username
		}
		if member == "" {
			return nil, errors.New("the entry has no user name to look for in memberUid")
		}
		listing, err := w.listing(ctx, []string{member})
		if err != nil {
			return nil, err
		}
		found = append(found, listing...)
	}
	if w.belongs != "" {
		for _, dn := range rawValues(person, w.belongs) {
			found = append(found, &group{dn: string(dn)})
		}
	}
	return w.add(found)
}

// up finds the groups that the groups of one level stand in.
func (w *walk) up(ctx context.Context, level []*group) ([]*group, error) {
	var found []*group
	if w.groups.Base != "" {
		const together = 50 // DNs in one filter
		for part := range slices.Chunk(level, together) {
			listing, err := w.listing(ctx, dns(part))
			if err != nil {
				return nil, err
			}
			found = append(found, listing...)
		}
	}
	if w.belongs != "" {
		for _, g := range level {
			if err := w.look(ctx, g); err != nil {
				return nil, err
			}
			for _, dn := range g.parents {
				found = append(found, &group{dn: dn})
			}
		}
	}
	return w.add(found)
}

func dns(groups []*group) []string {
	all := make([]string, 0, len(groups))
	for _, g := range groups {
		all = append(all, g.dn)
	}
	return all
}

// add notes groups not met before and returns them.
func (w *walk) add(found []*group) ([]*group, error) {
	var fresh []*group
	for _, g := range found {
		key := normalDN(g.dn)
		if w.seen[key] != nil {
			continue
		}
		if len(w.seen) >= w.groups.MaxGroups {
			return nil, unbounded("groups.max_groups", w.groups.MaxGroups)
		}
		w.seen[key] = g
		fresh = append(fresh, g)
	}
	return fresh, nil
}

// listing finds the groups that list any of the members.
func (w *walk) listing(ctx context.Context, members []string) ([]*group, error) {
	var listed strings.Builder
	for _, member := range members {
		listed.WriteString(equals(w.groups.Member, member))
	}
	entries, err := w.conn.searchAll(ctx, query{
		base: w.groups.Base, scope: goldap.ScopeWholeSubtree, attributes: w.attributes(),
		filter: "(&" + w.groups.Filter + "(|" + listed.String() + "))",
	}, w.groups.MaxGroups)
	if errors.Is(err, errTooMany) {
		return nil, unbounded("groups.max_groups", w.groups.MaxGroups)
	}
	if err != nil {
		return nil, err
	}
	found := make([]*group, 0, len(entries))
	for _, entry := range entries {
		g := &group{dn: entry.DN}
		if err := w.fill(ctx, g, entry); err != nil {
			return nil, err
		}
		found = append(found, g)
	}
	return found, nil
}

func (w *walk) attributes() []string {
	if w.belongs == "" {
		return []string{"cn"}
	}
	return []string{"cn", w.belongs}
}

// look reads the entry of a group that is known by name only.
func (w *walk) look(ctx context.Context, g *group) error {
	if g.read {
		return nil
	}
	entries, err := w.conn.search(ctx, query{
		base: g.dn, scope: goldap.ScopeBaseObject, filter: "(objectClass=*)", limit: 1, attributes: w.attributes(),
	})
	// A group may stand in a part of the tree that this server does not hold or does not show. The person is in it all
	// the same; there is nothing above it for us.
	if isAnswer(err, goldap.LDAPResultNoSuchObject, goldap.LDAPResultInsufficientAccessRights,
		goldap.LDAPResultReferral, goldap.LDAPResultInvalidDNSyntax) || (err == nil && len(entries) == 0) {
		w.log.InfoContext(ctx, "ldap group cannot be read; groups above it are not known", "group", g.dn)
		return nil
	}
	if err != nil {
		return err
	}
	return w.fill(ctx, g, entries[0])
}

// fill notes what a group's own entry says.
func (w *walk) fill(ctx context.Context, g *group, entry *goldap.Entry) error {
	if err := w.conn.complete(ctx, entry, w.groups.MaxGroups); err != nil {
		if errors.Is(err, errTooMany) {
			return unbounded("groups.max_groups", w.groups.MaxGroups)
		}
		return err
	}
	g.read, g.cn = true, first(entry, "cn")
	if w.belongs != "" {
		for _, dn := range rawValues(entry, w.belongs) {
			g.parents = append(g.parents, string(dn))
		}
	}
	return nil
}

// names spells the groups as configured, sorted and without repetitions.
func (w *walk) names() []string {
	var names []string
	for _, g := range w.seen {
		if w.groups.Name != "cn" {
			names = append(names, g.dn)
		}
		if w.groups.Name != "dn" {
			names = append(names, or(g.cn, or(firstValue(g.dn), g.dn)))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// firstValue is the value at the front of a DN: the cn of "cn=staff,ou=groups,…".
func firstValue(text string) string {
	dn, err := goldap.ParseDN(text)
	if err != nil || len(dn.RDNs) == 0 || len(dn.RDNs[0].Attributes) == 0 {
		return ""
	}
	return dn.RDNs[0].Attributes[0].Value
}

// normalDN spells equal DNs equally, as far as that can be done without the schema: case and escapes.
func normalDN(text string) string {
	dn, err := goldap.ParseDN(text)
	if err != nil {
		return strings.ToLower(text)
	}
	for _, rdn := range dn.RDNs {
		for _, pair := range rdn.Attributes {
			pair.Value = strings.ToLower(pair.Value)
		}
	}
	return dn.String()
}
