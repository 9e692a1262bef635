package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sallyport/audit"
	"sallyport/broker/people"
	"sallyport/identity"
	"sallyport/providers"
)

// SignInWithPassword takes a typed name and password to exactly one door (the explicit provider, else the rule for the
// name's domain, else the default) and never on to another. Unknown, wrong, empty and disabled are one answer. Past a
// limit of Snapshot.Throttle nothing is looked at: identity.ErrThrottled coded too_many_attempts, for every name alike.
func (b *Broker) SignInWithPassword(ctx context.Context, v Visit, at Attempt, provider, username, password string) (Outcome, error) {
	who := b.onRecord(ctx, username)
	e := v.event(audit.SignInRefused, b.now())
	e.Application, e.Username = at.Application.ID, who.Username
	var door providers.PasswordProvider
	var err error
	if e.Provider, door, err = v.passwordDoor(provider, username); err == nil {
		at.counted, err = b.count(ctx, v, at, e.Provider, username, who)
	}
	if errors.Is(err, identity.ErrThrottled) {
		return Outcome{}, err // no event: anybody could fill the audit log with them
	}
	if err != nil {
		b.refused(ctx, e, err)
		return Outcome{}, err
	}
	a, err := door.Authenticate(ctx, strings.TrimSpace(username), password)
	if err != nil {
		b.settle(ctx, v, at.counted, who, false, err, e)
		return Outcome{}, err
	}
	out, err := b.SignIn(ctx, v, at, a)
	if err != nil {
		b.settle(ctx, v, at.counted, who, true, err)
	}
	if identity.CodeOf(err) == "account_disabled" {
		return Outcome{}, fmt.Errorf("%w: %w", identity.ErrBadCredentials, errors.New("the account is disabled"))
	}
	return out, err
}

// passwordDoor is the one door of a typed name, with its id, which is known of one that takes no password too.
func (s *Snapshot) passwordDoor(provider, username string) (string, providers.PasswordProvider, error) {
	door, err := s.door(provider, username)
	if err != nil {
		return "", nil, err
	}
	id := door.Info().ID
	typed, ok := door.(providers.PasswordProvider)
	if !ok {
		// The page sends such names to their provider's own page; only API clients come here.
		return id, nil, identity.WithCode("provider_needs_browser",
			fmt.Errorf("provider %s takes no password: %w", id, identity.ErrInvalid))
	}
	return id, typed, nil
}

// onRecord returns the account that has a typed name, and the zero value otherwise: what people type in the wrong field is
// often their password, and the audit log must never hold that (AUD-04). It is one look-up whether or not there is anybody.
func (b *Broker) onRecord(ctx context.Context, typed string) people.Account {
	key, err := people.CanonicalName(typed)
	if err != nil {
		return people.Account{}
	}
	var known people.Account
	if err := b.store.View(ctx, func(tx Tx) (err error) {
		known, err = tx.AccountByName(ctx, key)
		return err
	}); err != nil {
		return people.Account{}
	}
	return known
}
