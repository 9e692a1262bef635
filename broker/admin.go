package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sallyport/audit"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// Administer is the permission of the broker's own administration. Only manual grants and explicit rules give it.
const Administer = "sallyport:*"

// NewPerson is a local person to be.
type NewPerson struct {
	// Provider is a local provider's id; empty: the first one.
	Provider              string
	Username, Name, Email string
	Password              string
	Groups                []string
	// Administrator gives the manual grant Administer.
	Administrator bool
}

// AddPerson makes a local person with an account. Errors: identity.ErrInvalid (coded by field) and
// identity.ErrConflict coded username_taken.
func (b *Broker) AddPerson(ctx context.Context, v Visit, actor string, n NewPerson) (people.Account, error) {
	add, err := b.prepare(ctx, v, actor, n)
	if err != nil {
		return people.Account{}, err
	}
	var account people.Account
	err = b.store.Update(ctx, func(tx Tx) error {
		account, err = add(tx)
		return err
	})
	return account, err
}

// prepare checks a person to be, hashes the password outside any transaction, and returns what writes them down.
func (b *Broker) prepare(ctx context.Context, v Visit, actor string, n NewPerson) (func(tx Tx) (people.Account, error), error) {
	keeper, err := v.Providers.Keeper(n.Provider)
	if err != nil {
		return nil, err
	}
	key, err := people.CanonicalName(n.Username)
	if err != nil {
		return nil, err
	}
	if len(n.Name) > 256 || len(n.Email) > 256 {
		return nil, identity.WithCode("name_invalid", fmt.Errorf("name or address too long: %w", identity.ErrInvalid))
	}
	hash, err := keeper.HashPassword(ctx, n.Password, n.Username, n.Name, n.Email)
	if err != nil {
		return nil, err
	}
	n.Provider, n.Username = keeper.Info().ID, strings.TrimSpace(n.Username)
	return func(tx Tx) (people.Account, error) { return b.addPerson(ctx, tx, v, actor, n, key, hash) }, nil
}

func (b *Broker) addPerson(
	ctx context.Context, tx Tx, v Visit, actor string, n NewPerson, key, hash string,
) (people.Account, error) {
	now := b.now()
	local := people.LocalPerson{
		Provider: n.Provider, Subject: NewID(), Username: n.Username, UsernameKey: key, Name: n.Name, Email: n.Email,
		Groups: n.Groups, PasswordHash: hash, PasswordSetAt: now,
	}
	account := people.Account{
		ID: NewID(), Username: n.Username, UsernameKey: key, Name: n.Name, Email: n.Email, CreatedAt: now,
	}
	linked := people.LinkedIdentity{
		Provider: n.Provider, Subject: local.Subject, AccountID: account.ID, FetchedAt: now, CreatedAt: now,
		Generation: v.Generation, Snapshot: localSnapshot(local),
	}
	free, err := nameFree(ctx, tx, key)
	if err != nil {
		return account, err
	}
	if !free {
		return account, identity.WithCode("username_taken", fmt.Errorf("user name %q: %w", n.Username, identity.ErrConflict))
	}
	if err := tx.CreateLocalPerson(ctx, local); err != nil {
		return account, err
	}
	if err := b.createAccount(ctx, tx, v, account, linked); err != nil {
		return account, err
	}
	if !n.Administrator {
		return account, nil
	}
	return account, b.grant(ctx, tx, v, actor, account)
}

// localSnapshot is what a local provider asserts of a person, before they sign in for the first time.
func localSnapshot(p people.LocalPerson) identity.Identity {
	return identity.Identity{
		Provider: p.Provider, Subject: p.Subject, Username: p.Username, Name: p.Name, Email: p.Email,
		EmailVerified: p.EmailVerified, Groups: p.Groups,
	}
}

func (b *Broker) grant(ctx context.Context, tx Tx, v Visit, actor string, account people.Account) error {
	now := b.now()
	// Whoever can administer makes the next one; a link printed earlier must not (LOC-09).
	if err := tx.SpendCodes(ctx, sessions.Setup, now); err != nil {
		return err
	}
	err := tx.CreateGrant(ctx, people.ManualGrant{AccountID: account.ID, Permission: Administer, GrantedBy: actor, GrantedAt: now})
	if err != nil {
		return err
	}
	e := v.event(audit.GrantAdded, now)
	e.Actor, e.AccountID, e.Username, e.Detail = actor, account.ID, account.Username, map[string]string{"permission": Administer}
	return tx.Append(ctx, e)
}

// People lists accounts by name, starting after a user name.
func (b *Broker) People(ctx context.Context, after string, limit int) ([]people.Account, error) {
	var list []people.Account
	err := b.store.View(ctx, func(tx Tx) (err error) {
		list, err = tx.Accounts(ctx, after, limit)
		return err
	})
	return list, err
}

// Person is an account with all that is known of it.
type Person struct {
	people.Account
	Identities []people.LinkedIdentity
	Grants     []people.ManualGrant
}

// PersonByID and PersonByName look somebody up: identity.ErrNotFound.
func (b *Broker) PersonByID(ctx context.Context, id string) (Person, error) {
	return b.person(ctx, func(tx Tx) (people.Account, error) { return tx.Account(ctx, id) })
}

// PersonByName see PersonByID.
func (b *Broker) PersonByName(ctx context.Context, name string) (Person, error) {
	key, err := people.CanonicalName(name)
	if err != nil {
		return Person{}, err
	}
	return b.person(ctx, func(tx Tx) (people.Account, error) { return tx.AccountByName(ctx, key) })
}

func (b *Broker) person(ctx context.Context, find func(tx Tx) (people.Account, error)) (Person, error) {
	var p Person
	err := b.store.View(ctx, func(tx Tx) (err error) {
		if p.Account, err = find(tx); err != nil {
			return err
		}
		if p.Identities, err = tx.Identities(ctx, p.ID); err != nil {
			return err
		}
		p.Grants, err = tx.Grants(ctx, p.ID)
		return err
	})
	return p, err
}

// SetDisabled closes or opens an account. Closing ends its sessions, codes and keys in the same transaction (SES-05);
// opening brings none of them back. The last account that can administer the broker cannot be closed:
// identity.ErrConflict coded last_administrator (ADM-04).
func (b *Broker) SetDisabled(ctx context.Context, v Visit, actor, username string, disabled bool) error {
	p, err := b.PersonByName(ctx, username)
	if err != nil {
		return err
	}
	err = b.store.Update(ctx, func(tx Tx) error {
		account, err := tx.Account(ctx, p.ID)
		if err != nil || account.Disabled == disabled {
			return err
		}
		if err := b.lastAdministrator(ctx, tx, v.Snapshot, account.ID, disabled); err != nil {
			return err
		}
		account.Disabled = disabled
		if err := tx.UpdateAccount(ctx, account); err != nil {
			return err
		}
		e := v.event(audit.AccountEnabled, b.now())
		if disabled {
			e.Type = audit.AccountDisabled
			if e.Detail, err = b.endEverything(ctx, tx, account.ID, "account_disabled"); err != nil {
				return err
			}
		}
		e.Actor, e.AccountID, e.Username = actor, account.ID, account.Username
		return tx.Append(ctx, e)
	})
	if errors.Is(err, identity.ErrConflict) {
		e := v.event(audit.AccountDisabled, b.now())
		e.Actor, e.AccountID, e.Username = actor, p.ID, p.Username
		b.refused(ctx, e, err)
	}
	return err
}

// lastAdministrator refuses to close the account of an administrator without whom nobody could administer the broker.
func (b *Broker) lastAdministrator(ctx context.Context, tx Tx, s *Snapshot, accountID string, disabled bool) error {
	if !disabled {
		return nil
	}
	holders, err := tx.GrantHolders(ctx, Administer)
	if err != nil || !slices.Contains(holders, accountID) {
		return err
	}
	others := slices.DeleteFunc(holders, func(id string) bool { return id == accountID })
	if comes, err := b.oneComesIn(ctx, tx, s, others); err != nil || comes {
		return err
	}
	return identity.WithCode("last_administrator", fmt.Errorf("nobody else could administer: %w", identity.ErrConflict))
}

// oneComesIn reports whether one of the accounts has an identity of a provider through which people can come in under a
// configuration (ADM-04): a grant of somebody who cannot is of no help.
func (b *Broker) oneComesIn(ctx context.Context, tx Tx, s *Snapshot, accounts []string) (bool, error) {
	for _, id := range accounts {
		linked, err := tx.Identities(ctx, id)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(linked, func(l people.LinkedIdentity) bool { return b.opens(s, l.Provider) }) {
			return true, nil
		}
	}
	return false, nil
}

// endEverything ends an account's sessions, what hangs on them, and its keys.
func (b *Broker) endEverything(ctx context.Context, tx Tx, accountID, reason string) (map[string]string, error) {
	now := b.now()
	ended, err := tx.EndSessions(ctx, accountID, reason, now)
	if err != nil {
		return nil, err
	}
	keys, err := tx.EndKeys(ctx, accountID, reason, now)
	if err != nil {
		return nil, err
	}
	if err := tx.Changed(ctx, ChangeSession, now, ended...); err != nil {
		return nil, err
	}
	return map[string]string{"sessions": strconv.Itoa(len(ended)), "keys": strconv.Itoa(len(keys))},
		tx.Changed(ctx, ChangeKey, now, keys...)
}

// localPerson finds a person by name together with their local identity: identity.ErrInvalid coded not_local where
// somebody else keeps password and groups.
func (b *Broker) localPerson(ctx context.Context, v Visit, username string) (Person, people.LinkedIdentity, error) {
	p, err := b.PersonByName(ctx, username)
	if err != nil {
		return p, people.LinkedIdentity{}, err
	}
	i := slices.IndexFunc(p.Identities, func(l people.LinkedIdentity) bool {
		_, err := v.Providers.Keeper(l.Provider)
		return err == nil
	})
	if i < 0 {
		return p, people.LinkedIdentity{}, identity.WithCode("not_local",
			fmt.Errorf("%q is no local person: %w", p.Username, identity.ErrInvalid))
	}
	return p, p.Identities[i], nil
}

// SetPassword replaces a local person's password and ends all their sessions: who had the old one is out (LOC-06).
func (b *Broker) SetPassword(ctx context.Context, v Visit, actor, username, password string) error {
	p, local, err := b.localPerson(ctx, v, username)
	if err != nil {
		return err
	}
	keeper, err := v.Providers.Keeper(local.Provider)
	if err != nil {
		return err
	}
	hash, err := keeper.HashPassword(ctx, password, p.Username, p.Name, p.Email)
	if err != nil {
		return err
	}
	return b.store.Update(ctx, func(tx Tx) error {
		now := b.now()
		if err := tx.SetLocalPassword(ctx, local.Provider, local.Subject, hash, "", now); err != nil {
			return err
		}
		ended, err := tx.EndSessions(ctx, p.ID, "password_set", now)
		if err != nil {
			return err
		}
		if err := tx.Changed(ctx, ChangeSession, now, ended...); err != nil {
			return err
		}
		e := v.event(audit.PasswordSet, now)
		e.Actor, e.AccountID, e.Username, e.Provider = actor, p.ID, p.Username, local.Provider
		return tx.Append(ctx, e)
	})
}

// SetGroups replaces a local person's groups; sessions and keys are worth the new roles at once.
func (b *Broker) SetGroups(ctx context.Context, v Visit, actor, username string, groups []string) error {
	p, local, err := b.localPerson(ctx, v, username)
	if err != nil {
		return err
	}
	return b.store.Update(ctx, func(tx Tx) error {
		now := b.now()
		if err := tx.SetLocalGroups(ctx, local.Provider, local.Subject, groups); err != nil {
			return err
		}
		linked, err := tx.Identity(ctx, local.Provider, local.Subject) // as it is now: they may have signed in meanwhile
		if err != nil {
			return err
		}
		linked.Snapshot.Groups, linked.FetchedAt, linked.Generation = groups, now, v.Generation
		if err := tx.UpdateIdentity(ctx, linked); err != nil {
			return err
		}
		if err := touchEverything(ctx, tx, p.ID, now); err != nil {
			return err
		}
		e := v.event(audit.GroupsSet, now)
		e.Actor, e.AccountID, e.Username, e.Provider = actor, p.ID, p.Username, local.Provider
		e.Detail = map[string]string{"groups": cut(strings.Join(groups, ","), 1024)}
		return tx.Append(ctx, e)
	})
}
