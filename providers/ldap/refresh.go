package ldap

import (
	"context"
	"errors"
	"fmt"

	"sallyport/identity"
)

// Refresh asks about a person again, by their subject, so that a new name or a move in the tree changes nothing. It
// returns identity.ErrNotFound when there is no such entry any more, when users.filter no longer admits it, or when it
// is switched off; identity.ErrUnavailable when there was no answer. How and when the person proved who they are stays
// as it was.
func (d *Directory) Refresh(ctx context.Context, last identity.Assertion) (identity.Assertion, error) {
	filter, err := d.subject.filter(last.Identity.Subject)
	if err != nil {
		// Not a subject of this directory, as configured now.
		return identity.Assertion{}, fmt.Errorf("subject: %w: %w", identity.ErrNotFound, err)
	}
	ctx, cancel := context.WithTimeout(ctx, d.config.Timeout.Login)
	defer cancel()
	who, err := d.again(ctx, "(&"+d.people.anybody+filter+")", last.Identity.Username)
	if err != nil {
		return identity.Assertion{}, d.gone(err)
	}
	who.AuthTime, who.AMR = last.Identity.AuthTime, last.Identity.AMR
	last.Identity = who
	return last, nil
}

func (d *Directory) again(ctx context.Context, filter, username string) (identity.Identity, error) {
	entry, err := d.find(ctx, filter, d.config.Users.Base)
	if err != nil {
		return identity.Identity{}, err
	}
	var who identity.Identity
	err = d.service.do(ctx, func(c *conn) (err error) {
		who, err = d.describe(ctx, c, entry, username)
		return err
	})
	return who, err
}

// gone turns a refusal into identity.ErrNotFound, and every other failure into identity.ErrUnavailable.
func (d *Directory) gone(err error) error {
	var r *refusal
	if errors.As(err, &r) {
		return fmt.Errorf("%w: %s", identity.ErrNotFound, r.reason)
	}
	return unavailable(err)
}
