package broker

import (
	"context"
	"errors"
	"time"

	"sallyport/broker/people"
	"sallyport/identity"
)

// What is counted within codeWindow. Whoever has nothing but somebody's password makes us send e-mails and types codes in
// vain; a share for each source, and one for each browser that they signed in with before, keeps them from closing the
// account for its owner (DOS-05). The account's own share bounds what reaches one mailbox, and how often is guessed.
const (
	codeWindow = 15 * time.Minute
	// codeTries is how many codes may be tried in vain, of one e-mail, and of one account or browser.
	codeTries = 3
	// mailsPerSource is how many e-mails one source, or one known browser, may ask for; mailsPerAccount all sources together.
	mailsPerSource, mailsPerAccount = 5, 20
)

// The scopes of codes.
const (
	scopeMail       = "confirm_mail"
	scopeMailPair   = "confirm_mail_pair"
	scopeMailDevice = "confirm_mail_device"
	scopeTry        = "confirm"
	scopeTryDevice  = "confirm_device"
)

// codeCounter counts something about codes.
type codeCounter struct {
	people.Failure
	most int
}

// ofCodes keys a counter by the account's name, so that clearing a lockout finds it.
func (k counterKeys) ofCodes(a people.Account, most int, scope string, parts ...string) codeCounter {
	return codeCounter{
		people.Failure{Key: k.named(countedName(a.Username), scope, parts...), Scope: scope, Label: a.Username}, most,
	}
}

// mails lists what an e-mail to the account counts into.
func (k counterKeys) mails(v Visit, a people.Account, device string) []codeCounter {
	if device != "" {
		return []codeCounter{k.ofCodes(a, mailsPerSource, scopeMailDevice, device)}
	}
	return []codeCounter{
		k.ofCodes(a, mailsPerSource, scopeMailPair, v.Network()),
		k.ofCodes(a, mailsPerAccount, scopeMail),
	}
}

// codeTries is what a typed code counts into.
func (k counterKeys) codeTries(a people.Account, device string) codeCounter {
	if device != "" {
		return k.ofCodes(a, codeTries, scopeTryDevice, device)
	}
	return k.ofCodes(a, codeTries, scopeTry)
}

// confirmed takes back what the right code was counted as, and forgets the e-mails that were asked for from there. Of the
// account's it is this one alone: others may have asked for the rest.
func (k counterKeys) confirmed(ctx context.Context, tx Tx, v Visit, a people.Account, device string) error {
	if err := tx.ForgiveFailure(ctx, k.codeTries(a, device).Key); err != nil {
		return err
	}
	for _, f := range k.mails(v, a, device) {
		forget := tx.ForgiveFailure
		if f.Scope != scopeMail {
			forget = tx.ClearFailure
		}
		if err := forget(ctx, f.Key); err != nil && !errors.Is(err, identity.ErrNotFound) {
			return err
		}
	}
	return nil
}

// strike counts within codeWindow: identity.ErrThrottled coded too_many_codes past most of any, and then nothing is counted.
func (b *Broker) strike(ctx context.Context, tx Tx, counters ...codeCounter) error {
	now := b.now()
	for _, c := range counters {
		c.Since, c.Until = now, now.Add(codeWindow)
		_, err := tx.Strike(ctx, c.Failure, c.most)
		if errors.Is(err, identity.ErrThrottled) {
			return identity.WithCode("too_many_codes", err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
