package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/audit"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// setupLife is how long the printed set-up link works.
const setupLife = time.Hour

// OpenSetup returns a fresh set-up code while nobody can administer the broker, and "" otherwise. Earlier codes are
// spent: only the link printed last works (LOC-09).
func (b *Broker) OpenSetup(ctx context.Context, v Visit) (string, error) {
	code := NewSecret()
	err := b.store.Update(ctx, func(tx Tx) error {
		holders, err := tx.GrantHolders(ctx, Administer)
		if err != nil {
			return err
		}
		if len(holders) > 0 {
			code = ""
			return nil
		}
		now := b.now()
		if err := tx.SpendCodes(ctx, sessions.Setup, now); err != nil {
			return err
		}
		if err := tx.PutCode(ctx, code, sessions.Code{Purpose: sessions.Setup, ExpiresAt: now.Add(setupLife)}); err != nil {
			return err
		}
		e := v.event(audit.SetupIssued, now)
		e.Actor = "system"
		return tx.Append(ctx, e)
	})
	return code, err
}

// setupOpen refuses before a password is hashed once somebody can administer: then no code is good any more.
func (b *Broker) setupOpen(ctx context.Context) error {
	return b.store.View(ctx, func(tx Tx) error {
		holders, err := tx.GrantHolders(ctx, Administer)
		if err == nil && len(holders) > 0 {
			err = identity.WithCode("setup_code_invalid", fmt.Errorf("set-up is over: %w", identity.ErrExpired))
		}
		return err
	})
}

// CompleteSetup makes the first administrator with the code of the printed link: identity.ErrExpired coded
// setup_code_invalid when the code is not (or no longer) good; other mistakes leave it as it was.
func (b *Broker) CompleteSetup(ctx context.Context, v Visit, code string, n NewPerson) (people.Account, error) {
	n.Administrator = true
	if err := b.setupOpen(ctx); err != nil {
		return people.Account{}, err
	}
	add, err := b.prepare(ctx, v, "setup", n)
	if err != nil {
		return people.Account{}, err
	}
	var account people.Account
	err = b.store.Update(ctx, func(tx Tx) error {
		_, err := tx.TakeCode(ctx, sessions.Setup, code, b.now())
		if errors.Is(err, identity.ErrNotFound) {
			return identity.WithCode("setup_code_invalid", fmt.Errorf("set-up code: %w", identity.ErrExpired))
		}
		if err != nil {
			return err
		}
		if account, err = add(tx); err != nil {
			return err
		}
		e := v.event(audit.SetupCompleted, b.now())
		e.Actor, e.AccountID, e.Username = account.ID, account.ID, account.Username
		return tx.Append(ctx, e)
	})
	if err != nil {
		e := v.event(audit.SetupCompleted, b.now())
		e.Username = cut(n.Username, 256)
		b.refused(ctx, e, err)
	}
	return account, err
}
