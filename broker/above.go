package broker

import (
	"context"
	"slices"

	"sallyport/broker/people"
	"sallyport/identity"
	"sallyport/mapping"
)

// MayEndAccess refuses a principal who does not hold Administer where the account does: whoever helps people must not be
// able to throw out those who administer (ADM-03). Which permission the principal needs beside that is for the surface to
// say. Errors are identity.ErrDenied coded permission_missing, and identity.ErrNotFound where there is no such account.
func (b *Broker) MayEndAccess(ctx context.Context, v Visit, p identity.Principal, accountID string) error {
	return b.notAbove(ctx, v, p, func(Tx) (string, error) { return accountID, nil })
}

// MayEndSession is MayEndAccess for the account of a session.
func (b *Broker) MayEndSession(ctx context.Context, v Visit, p identity.Principal, id string) error {
	return b.notAbove(ctx, v, p, func(tx Tx) (string, error) {
		s, err := tx.Session(ctx, id)
		return s.AccountID, err
	})
}

// MayChangeKey is MayEndAccess for the account of an API key.
func (b *Broker) MayChangeKey(ctx context.Context, v Visit, p identity.Principal, id string) error {
	return b.notAbove(ctx, v, p, func(tx Tx) (string, error) {
		k, err := tx.Key(ctx, id)
		return k.AccountID, err
	})
}

func (b *Broker) notAbove(
	ctx context.Context, v Visit, p identity.Principal, owner func(tx Tx) (accountID string, err error),
) error {
	if Allows(p, Administer) {
		return nil
	}
	return b.store.View(ctx, func(tx Tx) error {
		id, err := owner(tx)
		if err != nil {
			return err
		}
		above, err := administers(ctx, tx, v.Snapshot, id)
		if err == nil && above {
			err = denied("permission_missing", "account %s is above account %s", id, p.Subject)
		}
		return err
	})
}

// administers reports whether an account holds Administer: by a manual grant, also while its holder cannot come in, or by
// the rules for any of its identities.
func administers(ctx context.Context, tx Tx, s *Snapshot, accountID string) (bool, error) {
	if _, err := tx.Account(ctx, accountID); err != nil {
		return false, err
	}
	grants, err := tx.Grants(ctx, accountID)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(grants, func(g people.ManualGrant) bool {
		return mapping.Allows([]string{g.Permission}, Administer)
	}) {
		return true, nil
	}
	linked, err := tx.Identities(ctx, accountID)
	if err != nil {
		return false, err
	}
	for _, l := range linked {
		roles, denied := s.Mapper.Roles(l.Snapshot)
		if !denied && mapping.Allows(s.Mapper.Permissions(roles), Administer) {
			return true, nil
		}
	}
	return false, nil
}
