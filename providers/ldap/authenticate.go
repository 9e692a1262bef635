package ldap

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	goldap "github.com/go-ldap/ldap/v3"

	"sallyport/identity"
)

// Authenticate proves a password by binding as the person's entry. Every refusal is the same
// identity.ErrBadCredentials; the log has the reason. No answer is identity.ErrUnavailable, coded provider_unavailable,
// or groups_unbounded where the person has more groups than the configuration allows.
func (p *Provider) Authenticate(ctx context.Context, username, password string) (identity.Assertion, error) {
	if reason := refuseTyped(username, password); reason != "" {
		p.log.InfoContext(ctx, "ldap sign-in refused", "reason", reason)
		return identity.Assertion{}, identity.ErrBadCredentials
	}
	ctx, cancel := context.WithTimeout(ctx, p.config.Timeout.Login)
	defer cancel()
	enter := p.bySearch
	if p.service == nil {
		enter = p.byTemplate
	}
	who, err := enter(ctx, username, password)
	if err != nil {
		return identity.Assertion{}, p.refused(ctx, username, err)
	}
	who.AuthTime, who.AMR = p.now(), []string{"pwd"}
	return identity.Assertion{Identity: who}, nil
}

// refused makes all refusals alike, and all other failures unavailable.
func (p *Provider) refused(ctx context.Context, username string, err error) error {
	var r *refusal
	if !errors.As(err, &r) {
		return unavailable(err)
	}
	p.log.InfoContext(ctx, "ldap sign-in refused", "username", username, "reason", r.reason)
	return identity.ErrBadCredentials
}

// bySearch finds the entry as the service account, binds as it on a connection of its own, and finds its groups as the
// service account.
func (p *Provider) bySearch(ctx context.Context, username, password string) (identity.Identity, error) {
	entry, err := p.find(ctx, p.people.fill(username), p.config.Users.Base)
	var r *refusal
	switch {
	case errors.As(err, &r):
		return identity.Identity{}, p.bindNobody(ctx, r)
	case err != nil:
		return identity.Identity{}, err
	}
	if err := p.prove(ctx, entry.DN, password); err != nil {
		return identity.Identity{}, err
	}
	var who identity.Identity
	err = p.service.do(ctx, func(c *conn) (err error) {
		who, err = p.describe(ctx, c, entry, username)
		return err
	})
	return who, err
}

// byTemplate binds as the DN that the name makes, and reads the entry and its groups as the person.
func (p *Provider) byTemplate(ctx context.Context, username, password string) (identity.Identity, error) {
	dn := p.template.fill(username)
	var who identity.Identity
	err := p.dialer.each(ctx, func(c *conn) error {
		defer c.close()
		if err := c.bind(ctx, dn, password); err != nil {
			return err
		}
		entries, err := c.search(ctx, query{
			base: dn, scope: goldap.ScopeBaseObject, filter: "(objectClass=*)", limit: 1, attributes: p.personAttributes(),
		})
		if err != nil {
			return err
		}
		if len(entries) != 1 {
			return fmt.Errorf("%q cannot be read by the person themselves", dn)
		}
		who, err = p.describe(ctx, c, entries[0], username)
		return err
	})
	return who, err
}

// find returns the one entry that the filter means. None and several are refusals.
func (p *Provider) find(ctx context.Context, filter, base string) (entry *goldap.Entry, err error) {
	scope, _ := scopes(p.config.Users.Scope)
	err = p.service.do(ctx, func(c *conn) error {
		entries, err := c.search(ctx, query{
			// Two are enough to know that it is not one.
			base: base, scope: scope, filter: filter, limit: 2, attributes: p.personAttributes(),
		})
		switch {
		case errors.Is(err, errTooMany) || len(entries) > 1:
			p.log.WarnContext(ctx, "ldap filter matches several entries; nobody is let in", "base", base)
			return &refusal{reason: "several entries match"}
		case err != nil:
			return err
		case len(entries) == 0:
			return &refusal{reason: "no entry matches"}
		}
		entry = entries[0]
		return nil
	})
	return entry, err
}

// prove binds as the person, on a new connection: a connection that was once somebody else's is never used again.
func (p *Provider) prove(ctx context.Context, dn, password string) error {
	return p.dialer.each(ctx, func(c *conn) error {
		defer c.close()
		return c.bind(ctx, dn, password)
	})
}

// bindNobody costs what a wrong password costs: a connection and a bind. Otherwise the time of the answer would tell
// which names exist. The DN cannot exist, and the typed password is not sent along: often enough it belongs elsewhere.
func (p *Provider) bindNobody(ctx context.Context, because *refusal) error {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	nobody := hex.EncodeToString(random[:])
	err := p.prove(ctx, "cn="+nobody+","+p.config.Users.Base, nobody)
	var r *refusal
	if err != nil && !errors.As(err, &r) {
		return err
	}
	return because
}

// describe completes an entry and turns it, with its groups, into an identity.
func (p *Provider) describe(ctx context.Context, c *conn, entry *goldap.Entry, username string) (
	identity.Identity, error,
) {
	if reason := switchedOff(entry, p.now()); reason != "" {
		return identity.Identity{}, &refusal{reason: reason}
	}
	if err := c.complete(ctx, entry, p.config.Groups.MaxGroups); err != nil {
		if errors.Is(err, errTooMany) {
			return identity.Identity{}, unbounded("groups.max_groups", p.config.Groups.MaxGroups)
		}
		return identity.Identity{}, err
	}
	groups, err := p.groupsOf(ctx, c, entry)
	if err != nil {
		return identity.Identity{}, err
	}
	return p.identityOf(entry, username, groups)
}
