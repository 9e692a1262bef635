package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/broker/people"
	"sallyport/identity"
	"sallyport/storage/sqlstore/internal/db"
)

func (t *tx) CreateLocalPerson(ctx context.Context, p people.LocalPerson) error {
	const op = "create local person"
	if err := exact(op, p.Provider, p.Subject, p.Username, p.UsernameKey, p.PasswordHash); err != nil {
		return err
	}
	groups, err := list(p.Groups)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	n, err := t.q.CreateLocalPerson(ctx, db.CreateLocalPersonParams{
		Provider: p.Provider, Subject: p.Subject, Username: p.Username, UsernameKey: p.UsernameKey,
		Name: shown(p.Name), Email: shown(p.Email), EmailVerified: p.EmailVerified, Groups: groups,
		PasswordHash: p.PasswordHash, PasswordSetAt: ms(p.PasswordSetAt),
	})
	return t.insert(ctx, op, n, err)
}

func (t *tx) LocalPerson(ctx context.Context, provider, usernameKey string) (people.LocalPerson, error) {
	const op = "local person"
	if err := findable(op, provider, usernameKey); err != nil {
		return people.LocalPerson{}, err
	}
	row, err := t.q.LocalPerson(ctx, provider, usernameKey)
	if err != nil {
		return people.LocalPerson{}, t.fail(ctx, op, err)
	}
	return localPerson(row)
}

func (t *tx) LocalPersonBySubject(ctx context.Context, provider, subject string) (people.LocalPerson, error) {
	const op = "local person by subject"
	if err := findable(op, provider, subject); err != nil {
		return people.LocalPerson{}, err
	}
	row, err := t.q.LocalPersonBySubject(ctx, provider, subject)
	if err != nil {
		return people.LocalPerson{}, t.fail(ctx, op, err)
	}
	return localPerson(row)
}

func localPerson(row db.LocalPerson) (people.LocalPerson, error) {
	groups, err := unlist(row.Groups)
	return people.LocalPerson{
		Provider: row.Provider, Subject: row.Subject, Username: row.Username, UsernameKey: row.UsernameKey,
		Name: row.Name, Email: row.Email, EmailVerified: row.EmailVerified, Groups: groups,
		PasswordHash: row.PasswordHash, PasswordSetAt: at(row.PasswordSetAt),
	}, err
}

func (t *tx) SetLocalPassword(ctx context.Context, provider, subject, hash, ifHash string, setAt time.Time) error {
	const op = "set local password"
	if err := findable(op, provider, subject); err != nil {
		return err
	}
	if err := exact(op, hash); err != nil {
		return err
	}
	if ifHash != "" {
		return t.swapLocalPassword(ctx, provider, subject, hash, ifHash, setAt)
	}
	n, err := t.q.SetLocalPassword(ctx, db.SetLocalPasswordParams{
		Provider: provider, Subject: subject, PasswordHash: hash, PasswordSetAt: ms(setAt),
	})
	return t.update(ctx, op, n, err)
}

// swapLocalPassword lets the statement decide; only its refusal is looked into, to tell a stranger from a late writer.
func (t *tx) swapLocalPassword(ctx context.Context, provider, subject, hash, ifHash string, setAt time.Time) error {
	const op = "swap local password"
	if !storable(ifHash) {
		return fmt.Errorf("%s: %w", op, identity.ErrConflict)
	}
	n, err := t.q.SwapLocalPassword(ctx, db.SwapLocalPasswordParams{
		Provider: provider, Subject: subject, Hash: hash, IfHash: ifHash, At: ms(setAt),
	})
	err = t.won(ctx, op, n, err)
	if !errors.Is(err, identity.ErrConflict) {
		return err
	}
	if _, missing := t.LocalPersonBySubject(ctx, provider, subject); missing != nil {
		return missing
	}
	return err
}

func (t *tx) SetLocalGroups(ctx context.Context, provider, subject string, groups []string) error {
	const op = "set local groups"
	if err := findable(op, provider, subject); err != nil {
		return err
	}
	stored, err := list(groups)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	n, err := t.q.SetLocalGroups(ctx, db.SetLocalGroupsParams{Provider: provider, Subject: subject, Groups: stored})
	return t.update(ctx, op, n, err)
}
