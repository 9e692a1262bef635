package main

import (
	"context"
	"fmt"
	"time"

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
	"sallyport/providers/jwt"
	"sallyport/providers/ldap"
	"sallyport/providers/local"
	"sallyport/providers/oidc"
	"sallyport/providers/saml"
)

// providerTypes is the one table of the kinds of doors: type in the configuration → the struct its block is decoded
// into. Who adds a kind adds a line here.
func providerTypes() map[string]func() any {
	return map[string]func() any{
		"local":   func() any { return &local.Config{} },
		"ldap":    func() any { return &ldap.Config{} },
		"oidc":    func() any { return &oidc.Config{} },
		saml.Kind: func() any { return &saml.Config{} },
		jwt.Kind:  func() any { return &jwt.Config{} },
	}
}

// localPeople lets the local provider look into the store: who has this name here, and what is the hash.
type localPeople struct {
	store broker.Store
	now   func() time.Time
}

// LocalPerson see local.People.
func (l localPeople) LocalPerson(ctx context.Context, provider, username string) (local.Person, error) {
	key, err := people.CanonicalName(username)
	if err != nil { // nobody can have such a name; that is answered, and costs, as an unknown one does (LOC-03)
		return local.Person{}, fmt.Errorf("%w: %w", identity.ErrNotFound, err)
	}
	var found people.LocalPerson
	err = l.store.View(ctx, func(tx broker.Tx) (err error) {
		found, err = tx.LocalPerson(ctx, provider, key)
		return err
	})
	return local.Person{
		Subject: found.Subject, Username: found.Username, Name: found.Name, Email: found.Email,
		EmailVerified: found.EmailVerified, Groups: found.Groups, PasswordHash: found.PasswordHash,
	}, err
}

// SetPasswordHash see local.People.
func (l localPeople) SetPasswordHash(ctx context.Context, provider, subject, hash, ifHash string) error {
	return l.store.Update(ctx, func(tx broker.Tx) error {
		return tx.SetLocalPassword(ctx, provider, subject, hash, ifHash, l.now())
	})
}
