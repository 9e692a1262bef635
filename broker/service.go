package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sallyport/audit"
	"sallyport/broker/people"
	"sallyport/identity"
	"sallyport/mapping"
)

// WriteKeys is the permission to make service accounts and their keys. Administer includes it.
const WriteKeys = "sallyport:keys.write"

// CreateService makes an account that nobody signs in to, for programs that act for no person; only its API keys open
// anything. The actor is an account that holds WriteKeys, or the command line. The broker's own permissions do not come
// with any role a service has. Errors: identity.ErrInvalid coded username_invalid or role_unknown, identity.ErrConflict
// coded username_taken, by people too.
func (b *Broker) CreateService(ctx context.Context, v Visit, actor, name string, roles []string) (people.Account, error) {
	key, err := people.CanonicalName(name)
	if err != nil {
		return people.Account{}, err
	}
	if roles, err = declaredRoles(v.Mapper, roles); err != nil {
		return people.Account{}, err
	}
	now := b.now()
	account := people.Account{
		ID: NewID(), Username: strings.TrimSpace(name), UsernameKey: key, CreatedAt: now,
		Kind: people.ServiceAccount, Roles: roles,
	}
	itself := people.LinkedIdentity{ // no door has this id, so none leads here
		Provider: Self, Subject: account.ID, AccountID: account.ID, FetchedAt: now, CreatedAt: now, Generation: v.Generation,
		Snapshot: identity.Identity{Provider: Self, Subject: account.ID, Username: account.Username},
	}
	err = b.store.Update(ctx, func(tx Tx) error {
		free, err := nameFree(ctx, tx, key)
		if err != nil {
			return err
		}
		if !free {
			return identity.WithCode("username_taken", fmt.Errorf("name of a service account: %w", identity.ErrConflict))
		}
		if err := b.createAccount(ctx, tx, v, account, itself); err != nil {
			return err
		}
		return tx.Append(ctx, b.serviceEvent(v, actor, account))
	})
	return account, err
}

// SetServiceRoles replaces a service account's roles; its keys are worth the new ones at once. Errors are
// identity.ErrNotFound where no service account has the name, and identity.ErrInvalid coded role_unknown.
func (b *Broker) SetServiceRoles(ctx context.Context, v Visit, actor, name string, roles []string) error {
	roles, err := declaredRoles(v.Mapper, roles)
	if err != nil {
		return err
	}
	key, err := people.CanonicalName(name)
	if err != nil {
		return err
	}
	return b.store.Update(ctx, func(tx Tx) error {
		account, err := accountOfKind(ctx, tx, key, people.ServiceAccount)
		if err != nil {
			return err
		}
		account.Roles = roles
		if err := tx.SetAccountRoles(ctx, account.ID, roles); err != nil {
			return err
		}
		if err := touchEverything(ctx, tx, account.ID, b.now()); err != nil {
			return err
		}
		return tx.Append(ctx, b.serviceEvent(v, actor, account))
	})
}

// Services lists service accounts by name.
func (b *Broker) Services(ctx context.Context) ([]people.Account, error) {
	const page = 1000
	var list []people.Account
	for after := ""; ; {
		all, err := b.People(ctx, after, page)
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			if a.Kind == people.ServiceAccount {
				list = append(list, a)
			}
			after = a.UsernameKey
		}
		if len(all) < page {
			return list, nil
		}
	}
}

// CreateServiceKey makes an API key of a service account, with roles that the account has. The actor is an account that
// holds WriteKeys, or the command line. Errors are identity.ErrNotFound where no service account has the name, and those
// of CreateKey.
func (b *Broker) CreateServiceKey(
	ctx context.Context, v Visit, actor, name string, n NewKey,
) (IssuedKey, string, error) {
	return b.createKeyFor(ctx, v, actor, name, people.ServiceAccount, n)
}

// serviceHolder is a service account as its keys bring it in: with the roles it was given, as far as the configuration in
// force declares them, and never with a grant.
func serviceHolder(snap *Snapshot, account people.Account, provider string) (holder, error) {
	if provider != Self {
		return holder{}, denied("identity_moved", "service account %s through provider %s", account.ID, provider)
	}
	h := holder{account: account, linked: people.LinkedIdentity{Provider: Self, Subject: account.ID, AccountID: account.ID}}
	for _, role := range account.Roles {
		h.roles = append(h.roles, snap.Mapper.Closure(role)...)
	}
	slices.Sort(h.roles)
	if h.roles = slices.Compact(h.roles); len(h.roles) == 0 {
		return holder{}, denied("no_role", "service account %s", account.ID)
	}
	return h, nil
}

// accountOfKind looks an account up by its canonical name: identity.ErrNotFound for one of another kind too.
func accountOfKind(ctx context.Context, tx Tx, key string, kind people.AccountKind) (people.Account, error) {
	account, err := tx.AccountByName(ctx, key)
	if err == nil && account.Kind != kind {
		err = fmt.Errorf("account %s is a %s: %w", account.ID, account.Kind, identity.ErrNotFound)
	}
	return account, err
}

// declaredRoles returns the roles sorted, each once.
func declaredRoles(m *mapping.Mapper, roles []string) ([]string, error) {
	roles = slices.Clone(roles)
	slices.Sort(roles)
	roles = slices.Compact(roles)
	for _, r := range roles {
		if !m.Declared(r) {
			return nil, identity.WithCode("role_unknown", fmt.Errorf("role %q: %w", r, identity.ErrInvalid))
		}
	}
	return roles, nil
}

func (b *Broker) serviceEvent(v Visit, actor string, account people.Account) audit.Event {
	e := v.event(audit.ServiceRolesSet, b.now())
	e.Actor, e.AccountID, e.Username, e.Provider = actor, account.ID, account.Username, Self
	e.Detail = map[string]string{"roles": cut(strings.Join(account.Roles, ","), 1024)}
	return e
}
