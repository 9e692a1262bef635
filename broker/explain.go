package broker

import (
	"context"
	"fmt"
	"slices"

	"sallyport/broker/people"
	"sallyport/identity"
	"sallyport/mapping"
)

// Account is everything a signed-in person may see of themselves.
type Account struct {
	Person
	// Identity is the one this sign-in came with, Grant what the rules make of it now.
	Identity people.LinkedIdentity
	Grant    mapping.Grant
}

// Account explains a principal to itself: which rule gave which role, computed again from the identity's snapshot.
func (b *Broker) Account(ctx context.Context, snap *Snapshot, p identity.Principal) (Account, error) {
	person, err := b.PersonByID(ctx, p.Subject)
	if err != nil {
		return Account{}, err
	}
	subject := ""
	if err := b.store.View(ctx, func(tx Tx) error {
		s, err := tx.Session(ctx, p.SessionID)
		subject = s.Subject
		return err
	}); err != nil {
		return Account{}, err
	}
	i := slices.IndexFunc(person.Identities, func(l people.LinkedIdentity) bool {
		return l.Provider == p.Provider && l.Subject == subject
	})
	if i < 0 {
		return Account{}, fmt.Errorf("identity of session %s: %w", p.SessionID, identity.ErrNotFound)
	}
	l := person.Identities[i]
	return Account{Person: person, Identity: l, Grant: snap.Mapper.Map(l.Snapshot)}, nil
}
