package broker

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/big"
	"net/mail"
	"strings"
	"time"

	"sallyport/audit"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/providers"
)

const (
	// CodeLife is how long a code from an e-mail is good (LOC-07), and what waits for it.
	CodeLife = 10 * time.Minute
	// mailTime is how long sending may take.
	mailTime = 10 * time.Second
	// pendingPrefix marks what proves who may confirm an API's sign-in.
	pendingPrefix = "sppc_"
	// codeSpace is how many codes there are.
	codeSpace, codeDigits = 100_000_000, 8
)

// CodeMail is a code on its way to somebody.
type CodeMail struct {
	// To is the address, Name what the person is called; empty: nobody knows.
	To, Name string
	// Code is eight digits. It is a secret.
	Code string
	// Language tag of the request, to write in.
	Language string
	// Application is the title of what the sign-in, or the key, is to open.
	Application string
	// Key says that the code is for an API key rather than for a sign-in.
	Key bool
	// Address is where the request came from; empty: nobody knows.
	Address string
	// Minutes is how long the code is good.
	Minutes int
}

// Mailer sends codes. It must be safe for concurrent use.
type Mailer interface {
	SendCode(ctx context.Context, m CodeMail) error
}

// sendable is an e-mail that goes out once its verification is committed.
type sendable struct {
	// verification is what the code in it confirms; its ID is public.
	verification sessions.Verification
	mail         CodeMail
	application  string
}

// waiting is what a code is to open: a session or a key, never both.
type waiting struct {
	sessionID, keyID, application string
	// provider and subject are of the identity that it hangs on.
	provider, subject string
	// device see Attempt.Device.
	device string
}

func waitingSession(s sessions.Session, device string) waiting {
	return waiting{
		sessionID: s.ID, application: s.Application, provider: s.Provider, subject: s.Subject, device: device,
	}
}

func waitingKey(k sessions.Key) waiting {
	return waiting{keyID: k.ID, application: k.Application, provider: k.Provider, subject: k.Subject}
}

// putVerification makes a code for what waits, which is the account's; sendVerification then sends it. identity.ErrDenied
// coded email_missing when there is no address to trust, identity.ErrThrottled coded too_many_codes when too many went out,
// identity.ErrUnavailable coded mail_unavailable when nobody could send it.
func (b *Broker) putVerification(
	ctx context.Context, tx Tx, v Visit, account people.Account, w waiting,
) (sendable, error) {
	if b.mailer == nil {
		return sendable{}, mailUnavailable(errors.New("no mail server is configured"))
	}
	to, err := addressOf(ctx, tx, v, account, w)
	if err != nil {
		return sendable{}, err
	}
	app, err := v.Application(w.application)
	if err != nil {
		return sendable{}, err
	}
	keys, err := b.counterKeys(ctx)
	if err != nil {
		return sendable{}, uncounted(err)
	}
	if err := b.strike(ctx, tx, keys.mails(v, account, w.device)...); err != nil {
		return sendable{}, err
	}
	s := sendable{
		verification: sessions.Verification{
			ID: NewID(), Code: newCode(), AccountID: account.ID, SessionID: w.sessionID, KeyID: w.keyID,
			ExpiresAt: b.now().Add(CodeLife),
		},
		application: app.ID,
	}
	s.mail = CodeMail{
		To: to, Name: account.Name, Code: s.verification.Code, Language: v.Language, Application: app.Title,
		Key: w.keyID != "", Address: v.Address, Minutes: int(CodeLife / time.Minute),
	}
	if err := tx.PutVerification(ctx, s.verification); err != nil {
		return sendable{}, err
	}
	e := v.event(audit.ConfirmationSent, b.now())
	e.Actor, e.AccountID, e.Username, e.Application = account.ID, account.ID, account.Username, app.ID
	e.SessionID, e.KeyID = w.sessionID, w.keyID
	return s, tx.Append(ctx, e)
}

// addressOf is where a code goes: an address that was verified, or the one that we keep of a person of ours. Any other is
// a claim of the very sign-in that is to be confirmed, and whoever could make it would be sent the code.
func addressOf(ctx context.Context, tx Tx, v Visit, account people.Account, w waiting) (string, error) {
	address := ""
	door, _ := v.Providers.Get(w.provider)
	if _, ours := door.(providers.PasswordKeeper); ours {
		kept, err := tx.LocalPersonBySubject(ctx, w.provider, w.subject)
		if err != nil && !errors.Is(err, identity.ErrNotFound) {
			return "", err
		}
		address = kept.Email
	} else if account.EmailVerified {
		address = account.Email
	}
	if to, err := mail.ParseAddress(address); err != nil || to.Address != address {
		return "", denied("email_missing", "account %s has no address that a code can go to", account.ID)
	}
	return address, nil
}

// newCode returns eight random digits.
func newCode() string {
	n, _ := rand.Int(rand.Reader, big.NewInt(codeSpace)) // never fails since Go 1.24: the process ends instead
	return fmt.Sprintf("%0*d", codeDigits, n)
}

// sendVerification sends what putVerification made, after its transaction and outside of any. Where that fails, what
// waits for the code ends: identity.ErrUnavailable coded mail_unavailable.
func (b *Broker) sendVerification(ctx context.Context, v Visit, s sendable) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mailTime) // the code is good whether or not somebody waits
	defer cancel()
	cause := b.mailer.SendCode(ctx, s.mail)
	if cause == nil {
		return nil
	}
	cause = mailUnavailable(cause)
	b.log.WarnContext(ctx, "mail not sent", "request_id", v.TraceID, "err", cause)
	e := v.event(audit.NotConfirmed, b.now())
	e.AccountID, e.Application = s.verification.AccountID, s.application
	e.SessionID, e.KeyID = s.verification.SessionID, s.verification.KeyID
	b.refused(ctx, e, cause)
	return errors.Join(cause, b.giveUp(context.WithoutCancel(ctx), v, s.verification))
}

func mailUnavailable(cause error) error {
	return identity.WithCode("mail_unavailable", fmt.Errorf("%w: %w", identity.ErrUnavailable, cause))
}

// giveUp ends what waits for a code that nobody will get.
func (b *Broker) giveUp(ctx context.Context, v Visit, waiting sessions.Verification) error {
	const reason = "mail_unavailable"
	return b.store.Update(ctx, func(tx Tx) error {
		if waiting.KeyID == "" {
			return b.end(ctx, tx, v, waiting.SessionID, reason, "system")
		}
		now := b.now()
		if err := tx.EndKey(ctx, waiting.AccountID, waiting.KeyID, reason, now); err != nil {
			return err
		}
		return tx.Changed(ctx, ChangeKey, now, waiting.KeyID)
	})
}

// openPending makes a session that opens nothing until the code that goes out was typed in. Nothing ends for it yet, and
// it counts as none: whoever got hold of a password alone must not be able to end anything with it.
func (b *Broker) openPending(
	ctx context.Context, tx Tx, v Visit, account people.Account, s sessions.Session, p identity.Principal, device string,
) (Outcome, sendable, error) {
	s.State = sessions.Pending
	out := Outcome{Principal: p}
	if s.Kind == sessions.Browser { // another one takes its place (SES-02), with its own time
		s.ExpiresAt = s.CreatedAt.Add(CodeLife)
	} else { // no token of ours: whoever verifies those without asking us would take it
		out.Token = pendingPrefix + NewSecret()
	}
	if err := tx.CreateSession(ctx, s, out.Token); err != nil {
		return Outcome{}, sendable{}, err
	}
	send, err := b.putVerification(ctx, tx, v, account, waitingSession(s, device))
	out.Session, out.Verification, out.SentTo = s, send.verification.ID, send.mail.To
	return out, send, err
}

// Confirmation is a code that somebody typed in.
type Confirmation struct {
	// Verification is its public id, Code what was typed; blanks and hyphens in it do not count.
	Verification, Code string
	// SessionID is of the session that the caller has proven to hold: the one that waits or, for a key, a living sign-in
	// of the key's owner. A code is good only for who asked for it (LOC-07).
	SessionID string
	// Replaces is the session that this browser had; it ends when the confirmed one begins (SES-02).
	Replaces string
	// Device see Attempt.Device.
	Device string
}

// Confirm takes the code of an e-mail. A browser's session begins anew, under another id; an API's becomes good as it is;
// a key becomes active (Outcome.KeyID). Refusals: identity.ErrBadCredentials coded code_wrong, identity.ErrExpired coded
// code_expired for what is used, too old or somebody else's, identity.ErrThrottled coded too_many_codes before anything is
// looked at, and those of SignIn, since somebody may have lost their roles meanwhile.
func (b *Broker) Confirm(ctx context.Context, v Visit, c Confirmation) (Outcome, error) {
	var out Outcome
	var refusal error
	e := v.event(audit.NotConfirmed, b.now())
	keys, err := b.counterKeys(ctx)
	if err != nil {
		return Outcome{}, uncounted(err)
	}
	err = b.store.Update(ctx, func(tx Tx) (err error) {
		out, refusal = Outcome{}, nil
		held, account, err := holderOfCode(ctx, tx, c.SessionID)
		if err != nil {
			return err
		}
		e.AccountID, e.Username, e.Application, e.SessionID = account.ID, account.Username, held.Application, held.ID
		var tried sessions.Verification
		if tried, refusal, err = b.tryCode(ctx, tx, keys, held, account, c); err != nil || refusal != nil {
			return err // a wrong code is kept count of, so this is no error here
		}
		if err := keys.confirmed(ctx, tx, v, account, c.Device); err != nil {
			return err
		}
		if e.KeyID = tried.KeyID; e.KeyID != "" {
			out, err = b.confirmKey(ctx, tx, v, account, tried)
		} else {
			out, err = b.confirmSession(ctx, tx, v, held, c.Replaces)
		}
		return err
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		b.refused(ctx, e, err)
		return Outcome{}, err
	}
	return out, nil
}

// holderOfCode reads the session that whoever types a code holds, which no cut-off ended since it began.
func holderOfCode(ctx context.Context, tx Tx, id string) (sessions.Session, people.Account, error) {
	held, err := tx.Session(ctx, id)
	if errors.Is(err, identity.ErrNotFound) {
		return held, people.Account{}, codeOver("no such session")
	}
	if err != nil {
		return held, people.Account{}, err
	}
	if err := notCutOff(ctx, tx, held); err != nil {
		return held, people.Account{}, err
	}
	account, err := tx.Account(ctx, held.AccountID)
	return held, account, err
}

func codeOver(why string) error {
	return identity.WithCode("code_expired", fmt.Errorf("code from an e-mail: %s: %w", why, identity.ErrExpired))
}

// tryCode counts a try before it looks (LOC-07), and compares in constant time. A refusal is told apart from an error,
// because the count must be kept.
func (b *Broker) tryCode(
	ctx context.Context, tx Tx, keys counterKeys, held sessions.Session, account people.Account, c Confirmation,
) (tried sessions.Verification, refusal, err error) {
	if err := b.strike(ctx, tx, keys.codeTries(account, c.Device)); err != nil {
		return tried, nil, err
	}
	now := b.now()
	tried, err = tx.TryVerification(ctx, c.Verification, now, codeTries)
	if errors.Is(err, identity.ErrNotFound) {
		return tried, codeOver("unknown, used, too old or tried too often"), nil
	}
	if err != nil {
		return tried, nil, err
	}
	if !mayConfirm(held, tried, now) {
		return tried, codeOver("asked for elsewhere"), nil
	}
	if subtle.ConstantTimeCompare([]byte(typedCode(c.Code)), []byte(tried.Code)) != 1 {
		return tried, identity.WithCode("code_wrong", fmt.Errorf("code from an e-mail: %w", identity.ErrBadCredentials)), nil
	}
	return tried, nil, tx.UseVerification(ctx, tried.ID, now)
}

// mayConfirm reports whether a code was asked for by whoever holds the session: for itself, or for a key of theirs.
func mayConfirm(held sessions.Session, asked sessions.Verification, now time.Time) bool {
	if asked.KeyID != "" {
		return held.Live(now) && held.Application == Self && held.AccountID == asked.AccountID
	}
	return held.ID == asked.SessionID && held.State == sessions.Pending && now.Before(held.ExpiresAt)
}

// typedCode leaves out what people write between digits.
func typedCode(typed string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -\t\u00a0\u2013", r) {
			return -1
		}
		return r
	}, cut(typed, 64))
}

func (b *Broker) confirmKey(
	ctx context.Context, tx Tx, v Visit, account people.Account, tried sessions.Verification,
) (Outcome, error) {
	now := b.now()
	if err := tx.ActivateKey(ctx, tried.KeyID, sessions.Pending); err != nil {
		return Outcome{}, err
	}
	if err := tx.Changed(ctx, ChangeKey, now, tried.KeyID); err != nil {
		return Outcome{}, err
	}
	if err := b.succeedAtLast(ctx, tx, v, account, tried.KeyID); err != nil {
		return Outcome{}, err
	}
	e := v.event(audit.Confirmed, now)
	e.Actor, e.AccountID, e.Username, e.KeyID = account.ID, account.ID, account.Username, tried.KeyID
	return Outcome{KeyID: tried.KeyID}, tx.Append(ctx, e)
}

// confirmSession opens what waited, after looking once more whether its owner may come in.
func (b *Broker) confirmSession(ctx context.Context, tx Tx, v Visit, waited sessions.Session, replaces string) (Outcome, error) {
	app, err := v.Application(waited.Application)
	if err != nil {
		return Outcome{}, err
	}
	h, err := holderOf(ctx, tx, v.Snapshot, waited.AccountID, waited.Provider, waited.Subject)
	if err != nil {
		return Outcome{}, err
	}
	s := waited
	s.State, s.LastSeenAt = sessions.Active, b.now()
	if s.Kind == sessions.Browser {
		s.ID, s.CreatedAt = NewID(), s.LastSeenAt
		s.IdleTimeout, s.ExpiresAt = lasts(v, app, s.Remembered, s.CreatedAt)
		s.Address, s.UserAgent = v.Address, cut(v.UserAgent, 512)
	}
	p, err := h.principalOf(v.Snapshot, s)
	if err != nil {
		return Outcome{}, err
	}
	if !app.Admits(p) {
		return Outcome{}, denied("no_role", "account %s at %s", s.AccountID, s.Application)
	}
	e := v.event(audit.Confirmed, s.LastSeenAt)
	e.Actor, e.AccountID, e.Username, e.Provider = p.Subject, p.Subject, p.Username, p.Provider
	e.Application, e.SessionID = s.Application, s.ID
	if err := tx.Append(ctx, e); err != nil {
		return Outcome{}, err
	}
	if s.ID != waited.ID { // it never opened anything, so that nobody needs to hear of its end
		if _, err := tx.EndSession(ctx, waited.ID, "confirmed", s.CreatedAt); err != nil {
			return Outcome{}, err
		}
	}
	return b.begin(ctx, tx, v, s, p, beginning{replaces: replaces, waited: s.ID == waited.ID})
}

// SendAgain sends another code for a session that waits, and returns its verification's id; the code before is no good
// any more. Errors are those of Confirm and of sending.
func (b *Broker) SendAgain(ctx context.Context, v Visit, sessionID, verification string) (string, error) {
	if _, err := b.counterKeys(ctx); err != nil {
		return "", uncounted(err)
	}
	var send sendable
	err := b.store.Update(ctx, func(tx Tx) error {
		held, account, err := holderOfCode(ctx, tx, sessionID)
		if err != nil {
			return err
		}
		now := b.now()
		if held.State != sessions.Pending || !now.Before(held.ExpiresAt) {
			return codeOver("nothing waits for it")
		}
		if err := tx.UseVerification(ctx, verification, now); err != nil && !errors.Is(err, identity.ErrConflict) {
			return err
		}
		send, err = b.putVerification(ctx, tx, v, account, waitingSession(held, ""))
		return err
	})
	if err != nil {
		e := v.event(audit.NotConfirmed, b.now())
		e.SessionID = sessionID
		b.refused(ctx, e, err)
		return "", err
	}
	return send.verification.ID, b.sendVerification(ctx, v, send)
}

// PendingSession says which session of the application waits for its code behind what an API's sign-in was answered with
// (Outcome.Token). That proves who may confirm it, and opens nothing: identity.ErrBadCredentials coded credential_invalid
// for anything else, and once it was confirmed; identity.ErrExpired coded code_expired past CodeLife.
func (b *Broker) PendingSession(ctx context.Context, c Credential, app *Application) (string, error) {
	if c.Carrier != Bearer || !isPending(c.value) {
		return "", publicRefusal(fmt.Errorf("nothing that waits: %w", identity.ErrBadCredentials))
	}
	var s sessions.Session
	err := b.store.View(ctx, func(tx Tx) (err error) {
		s, err = tx.SessionByToken(ctx, c.value)
		return err
	})
	if err == nil && (s.State != sessions.Pending || s.Application != app.ID) {
		err = fmt.Errorf("session %s is %s, of %s: %w", s.ID, s.State, s.Application, identity.ErrBadCredentials)
	}
	if err != nil {
		return "", publicRefusal(err)
	}
	if !b.now().Before(s.CreatedAt.Add(CodeLife)) {
		return "", codeOver("too old")
	}
	return s.ID, nil
}

// isPending reports whether a value has the shape of what PendingSession takes; it proves nothing.
func isPending(raw string) bool { return shaped(raw, pendingPrefix) }
