package sqlstore

import (
	"cmp"
	"context"
	"fmt"

	"sallyport/broker/people"
	"sallyport/storage/sqlstore/internal/db"
)

func (t *tx) CreateAccount(ctx context.Context, a people.Account) error {
	const op = "create account"
	if err := exact(op, a.ID, a.Username, a.UsernameKey, string(a.Kind)); err != nil {
		return err
	}
	roles, err := list(a.Roles)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	n, err := t.q.CreateAccount(ctx, db.CreateAccountParams{
		ID: a.ID, Username: a.Username, UsernameKey: a.UsernameKey, Name: shown(a.Name), Email: shown(a.Email),
		EmailVerified: a.EmailVerified, Disabled: a.Disabled, CreatedAt: ms(a.CreatedAt), SignedInAt: ms(a.SignedInAt),
		Kind: cmp.Or(string(a.Kind), string(people.PersonAccount)), Roles: roles,
	})
	return t.insert(ctx, op, n, err)
}

func (t *tx) Account(ctx context.Context, id string) (people.Account, error) {
	const op = "account"
	if err := findable(op, id); err != nil {
		return people.Account{}, err
	}
	row, err := t.q.Account(ctx, id)
	if err != nil {
		return people.Account{}, t.fail(ctx, op, err)
	}
	return account(row)
}

func (t *tx) AccountByName(ctx context.Context, usernameKey string) (people.Account, error) {
	const op = "account by name"
	if err := findable(op, usernameKey); err != nil {
		return people.Account{}, err
	}
	row, err := t.q.AccountByName(ctx, usernameKey)
	if err != nil {
		return people.Account{}, t.fail(ctx, op, err)
	}
	return account(row)
}

func (t *tx) Accounts(ctx context.Context, after string, limit int) ([]people.Account, error) {
	const op = "accounts"
	if err := exact(op, after); err != nil {
		return nil, err
	}
	rows, err := t.q.Accounts(ctx, after, clamp(limit))
	if err != nil {
		return nil, t.fail(ctx, op, err)
	}
	return each(rows, account)
}

func (t *tx) SetAccountRoles(ctx context.Context, id string, roles []string) error {
	const op = "set account roles"
	if err := findable(op, id); err != nil {
		return err
	}
	texts, err := list(roles)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	n, err := t.q.SetAccountRoles(ctx, id, texts)
	return t.update(ctx, op, n, err)
}

func (t *tx) UpdateAccount(ctx context.Context, a people.Account) error {
	const op = "update account"
	if err := findable(op, a.ID); err != nil {
		return err
	}
	n, err := t.q.UpdateAccount(ctx, db.UpdateAccountParams{
		ID: a.ID, Name: shown(a.Name), Email: shown(a.Email), EmailVerified: a.EmailVerified, Disabled: a.Disabled,
		SignedInAt: ms(a.SignedInAt),
	})
	return t.update(ctx, op, n, err)
}

func account(row db.Account) (people.Account, error) {
	roles, err := unlist(row.Roles)
	return people.Account{
		ID: row.ID, Username: row.Username, UsernameKey: row.UsernameKey, Name: row.Name, Email: row.Email,
		EmailVerified: row.EmailVerified, Disabled: row.Disabled, CreatedAt: at(row.CreatedAt),
		SignedInAt: at(row.SignedInAt), Kind: people.AccountKind(row.Kind), Roles: roles,
	}, err
}

func (t *tx) CreateGrant(ctx context.Context, g people.ManualGrant) error {
	const op = "create grant"
	if err := exact(op, g.AccountID, g.Permission, g.GrantedBy); err != nil {
		return err
	}
	n, err := t.q.CreateGrant(ctx, db.CreateGrantParams{
		AccountID: g.AccountID, Permission: g.Permission, GrantedBy: g.GrantedBy, GrantedAt: ms(g.GrantedAt),
	})
	return t.insert(ctx, op, n, err)
}

func (t *tx) Grants(ctx context.Context, accountID string) ([]people.ManualGrant, error) {
	if !storable(accountID) {
		return nil, nil
	}
	rows, err := t.q.Grants(ctx, accountID)
	if err != nil {
		return nil, t.fail(ctx, "grants", err)
	}
	return each(rows, func(r db.ManualGrant) (people.ManualGrant, error) {
		return people.ManualGrant{
			AccountID: r.AccountID, Permission: r.Permission, GrantedBy: r.GrantedBy, GrantedAt: at(r.GrantedAt),
		}, nil
	})
}

func (t *tx) GrantHolders(ctx context.Context, permission string) ([]string, error) {
	if !storable(permission) {
		return nil, nil
	}
	ids, err := t.q.GrantHolders(ctx, permission)
	return ids, t.fail(ctx, "grant holders", err)
}
