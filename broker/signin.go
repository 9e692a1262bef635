package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	"sallyport/audit"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/mapping"
	"sallyport/providers"
)

// flowLife is how long a finished flow's id is remembered: longer than any flow cookie lives.
const flowLife = 15 * time.Minute

// Attempt is what a sign-in is for.
type Attempt struct {
	// FlowID is taken once when the sign-in succeeds; empty where no flow is (API).
	FlowID string
	// Application and Kind of the session to make: Self and Browser for people at our pages, API for tokens.
	Application *Application
	Kind        sessions.Kind
	// Replaces is the session this browser had; it ends when the new one begins (SES-02).
	Replaces string
	// Remember: the browser shall keep its cookie, see Snapshot.Remember.
	Remember bool
	// Device is the browser's id where somebody signed in with this name and this door before; empty otherwise. It gives the
	// browser failures of its own to count, and opens nothing.
	Device string

	embedded *EmbedAttempt // for Kind Embed
	counted  *tries        // by SignInWithPassword
}

// Outcome is a sign-in that holds.
type Outcome struct {
	Principal identity.Principal
	Session   sessions.Session
	// Token is the cookie's value; of an API session, what confirms it while it waits (see PendingSession), else empty.
	Token string
	// Verification is the id of what must be confirmed by a code from an e-mail before the session opens anything; empty
	// where the session holds already. SentTo is the address that the code goes to.
	Verification, SentTo string
	// KeyID is the key that a code from an e-mail activated, see Confirm; empty for a session.
	KeyID string
	// Ended says how many older sessions ended because somebody may have only so many.
	Ended int
}

// takeFlowOf takes a flow once in a transaction of its own: identity.ErrExpired coded flow_finished afterwards.
func (b *Broker) takeFlowOf(ctx context.Context, flowID string) error {
	return b.store.Update(ctx, func(tx Tx) error { return takeFlow(ctx, tx, flowID, b.now()) })
}

func takeFlow(ctx context.Context, tx Tx, flowID string, now time.Time) error {
	err := tx.Consume(ctx, "flow:"+flowID, now.Add(flowLife))
	if errors.Is(err, identity.ErrConflict) {
		return identity.WithCode("flow_finished", fmt.Errorf("flow was finished before: %w", identity.ErrExpired))
	}
	return err
}

// SignIn is the one way in: every door's assertion is mapped, meets its account, passes policy and becomes a session.
// Where it must be confirmed, a code goes out by e-mail and the session waits, see Outcome.Verification and Confirm.
// Refusals are identity.ErrDenied with a code (no_role, denied_by_rule, account_disabled, username_taken, session_limit,
// email_missing), identity.ErrExpired coded flow_finished or assertion_replayed, identity.ErrThrottled coded
// too_many_codes and identity.ErrUnavailable coded mail_unavailable; each leaves an event.
func (b *Broker) SignIn(ctx context.Context, v Visit, at Attempt, a identity.Assertion) (Outcome, error) {
	var out Outcome
	var send sendable
	signIn := func(tx Tx) error {
		now, a := b.now(), a
		if at.FlowID != "" {
			if err := takeFlow(ctx, tx, at.FlowID, now); err != nil {
				return err
			}
		}
		if err := keptFacts(ctx, tx, v, &a); err != nil {
			return err
		}
		h, err := b.admit(ctx, tx, v, a, v.Mapper.Map(a.Identity))
		if err != nil {
			return err
		}
		if out, send, err = b.open(ctx, tx, v, at, h, a.Identity); err != nil {
			return err
		}
		return at.counted.succeeded(ctx, tx)
	}
	err := b.takeOnce(ctx, v, a)
	if err == nil && at.Application.ConfirmByEmail {
		_, err = b.counterKeys(ctx) // at hand before the transaction, in which they could not be made
	}
	if err == nil {
		err = b.store.Update(ctx, signIn)
	}
	if err != nil {
		e := v.event(audit.SignInRefused, b.now())
		e.Provider, e.Application, e.Username = a.Identity.Provider, at.Application.ID, cut(a.Identity.Username, 256)
		if at.embedded != nil {
			e.Detail = at.embedded.detail()
		}
		b.refused(ctx, e, err)
		return Outcome{}, err
	}
	if out.Verification != "" {
		if err := b.sendVerification(ctx, v, send); err != nil {
			return Outcome{}, err
		}
	}
	return out, nil
}

// keptFacts holds an assertion about people whom we keep ourselves against the transaction, because a password takes a
// while to check: one that was replaced meanwhile signs nobody in (LOC-05), and groups that an administrator changed
// meanwhile count as changed.
func keptFacts(ctx context.Context, tx Tx, v Visit, a *identity.Assertion) error {
	door, _ := v.Providers.Get(a.Identity.Provider)
	keeper, ours := door.(providers.PasswordKeeper)
	if !ours {
		return nil // upstream's facts, known from the assertion only
	}
	kept, err := tx.LocalPersonBySubject(ctx, a.Identity.Provider, a.Identity.Subject)
	if errors.Is(err, identity.ErrNotFound) { // gone meanwhile
		return fmt.Errorf("%w: %w", identity.ErrBadCredentials, err)
	}
	if err != nil {
		return err
	}
	if !keeper.MadeWith(*a, kept.PasswordHash) {
		return fmt.Errorf("password was replaced meanwhile: %w", identity.ErrBadCredentials)
	}
	a.Identity.Groups = kept.Groups
	return nil
}

// admit finds or makes the account of an assertion and brings what we keep of it up to date.
func (b *Broker) admit(ctx context.Context, tx Tx, v Visit, a identity.Assertion, g mapping.Grant) (holder, error) {
	linked, err := tx.Identity(ctx, a.Identity.Provider, a.Identity.Subject)
	if errors.Is(err, identity.ErrNotFound) {
		return b.welcome(ctx, tx, v, a, g)
	}
	if err != nil {
		return holder{}, err
	}
	account, err := tx.Account(ctx, linked.AccountID)
	if err != nil {
		return holder{}, err
	}
	if account.Disabled {
		return holder{}, denied("account_disabled", "account %s", account.ID)
	}
	grants, err := tx.Grants(ctx, account.ID)
	if err != nil {
		return holder{}, err
	}
	h := holder{account: account, linked: linked, grants: grants}
	if h.roles, err = rolesOf(g, grants); err != nil {
		return holder{}, err
	}
	return h, b.bringUpToDate(ctx, tx, v, &h, a)
}

// bringUpToDate keeps the new snapshot. Where it differs, the account's other sessions and keys are worth something
// else from now on, everywhere.
func (b *Broker) bringUpToDate(ctx context.Context, tx Tx, v Visit, h *holder, a identity.Assertion) error {
	now := b.now()
	same := sameFacts(h.linked.Snapshot, a.Identity) && h.account.Name == a.Identity.Name && h.account.Email == a.Identity.Email
	h.linked.Snapshot, h.linked.UpstreamSession, h.linked.Upstream = a.Identity, a.UpstreamSession, a.Upstream
	h.linked.FetchedAt, h.linked.Generation = now, v.Generation
	h.account.Name, h.account.Email, h.account.EmailVerified = a.Identity.Name, a.Identity.Email, a.Identity.EmailVerified
	h.account.SignedInAt = now
	if err := tx.UpdateIdentity(ctx, h.linked); err != nil {
		return err
	}
	if err := tx.UpdateAccount(ctx, h.account); err != nil {
		return err
	}
	if same {
		return nil
	}
	return touchEverything(ctx, tx, h.account.ID, now)
}

// sameFacts reports whether two snapshots lead to the same roles under any rules.
func sameFacts(a, b identity.Identity) bool {
	a.AuthTime, b.AuthTime, a.AMR, b.AMR = time.Time{}, time.Time{}, nil, nil
	return reflect.DeepEqual(a, b)
}

// touchEverything tells every cache that an account's sessions and keys are worth something else now.
func touchEverything(ctx context.Context, tx Tx, accountID string, now time.Time) error {
	open, err := tx.Sessions(ctx, accountID, now.Add(-seenSlack))
	if err != nil {
		return err
	}
	ids := make([]string, 0, len(open))
	for _, s := range open {
		ids = append(ids, s.ID)
	}
	keys, err := tx.Keys(ctx, accountID)
	if err != nil {
		return err
	}
	keyIDs := make([]string, 0, len(keys))
	for _, k := range keys {
		keyIDs = append(keyIDs, k.ID)
	}
	if err := tx.Changed(ctx, ChangeSession, now, ids...); err != nil {
		return err
	}
	return tx.Changed(ctx, ChangeKey, now, keyIDs...)
}

// welcome makes the account of a newcomer who holds a role. Nobody becomes somebody else by spelling their name or
// address: a taken name is qualified with the provider or refused (LDP-03, OID-06).
func (b *Broker) welcome(ctx context.Context, tx Tx, v Visit, a identity.Assertion, g mapping.Grant) (holder, error) {
	roles, err := rolesOf(g, nil)
	if err != nil {
		return holder{}, err
	}
	now := b.now()
	account := people.Account{
		ID: NewID(), Name: a.Identity.Name, Email: a.Identity.Email, EmailVerified: a.Identity.EmailVerified,
		CreatedAt: now, SignedInAt: now,
	}
	if err := b.nameNewcomer(ctx, tx, v, &account, a.Identity); err != nil {
		return holder{}, err
	}
	linked := people.LinkedIdentity{
		Provider: a.Identity.Provider, Subject: a.Identity.Subject, AccountID: account.ID, Snapshot: a.Identity,
		UpstreamSession: a.UpstreamSession, Upstream: a.Upstream, FetchedAt: now, Generation: v.Generation, CreatedAt: now,
	}
	return holder{account: account, linked: linked, roles: roles}, b.createAccount(ctx, tx, v, account, linked)
}

func (b *Broker) createAccount(ctx context.Context, tx Tx, v Visit, a people.Account, l people.LinkedIdentity) error {
	if err := tx.CreateAccount(ctx, a); err != nil {
		return err
	}
	if err := tx.CreateIdentity(ctx, l); err != nil {
		return err
	}
	e := v.event(audit.AccountCreated, a.CreatedAt)
	e.AccountID, e.Username, e.Provider = a.ID, a.Username, l.Provider
	if err := tx.Append(ctx, e); err != nil {
		return err
	}
	e.Type = audit.IdentityLinked
	return tx.Append(ctx, e)
}

// nameNewcomer gives the account a name that is unique in the house.
func (b *Broker) nameNewcomer(ctx context.Context, tx Tx, v Visit, account *people.Account, id identity.Identity) error {
	name, key := "", ""
	wishes := []string{id.Username}
	if id.EmailVerified {
		wishes = append(wishes, id.Email)
	}
	for _, wish := range append(wishes, "user-"+strings.ToLower(account.ID[:8])) {
		if k, err := people.CanonicalName(wish); err == nil {
			name, key = strings.TrimSpace(wish), k
			break
		}
	}
	free, err := nameFree(ctx, tx, key)
	if err != nil {
		return err
	}
	vouched := vouchedFor(v, id.Provider)
	if !free || vouched || speaksForOthers(v, key, id.Provider) {
		if !v.QualifyNames[id.Provider] && !vouched {
			return denied("username_taken", "user name of a newcomer from %s", id.Provider)
		}
		name += "@" + id.Provider
		if key, err = people.CanonicalName(name); err != nil {
			return err
		}
		if free, err = nameFree(ctx, tx, key); err != nil {
			return err
		}
		if !free {
			return denied("username_taken", "qualified user name of a newcomer from %s", id.Provider)
		}
	}
	account.Username, account.UsernameKey = name, key
	return nil
}

// speaksForOthers reports whether a name ends in another provider's id, or in a domain whose people another provider
// answers for: nobody may be called what somebody else would be called there.
func speaksForOthers(v Visit, key, provider string) bool {
	i := strings.LastIndexByte(key, '@')
	if i < 0 {
		return false
	}
	ending := key[i+1:]
	if ruled, ok := v.Domains[ending]; ok {
		return ruled != provider
	}
	_, known := v.DoorByID(ending)
	return known && ending != provider
}

// vouchedFor reports whether people of a provider did not sign in anywhere: another application says who they are, and could
// take the name of anybody who has not been here yet.
func vouchedFor(v Visit, provider string) bool {
	_, err := v.Providers.Token(provider)
	return err == nil
}

func nameFree(ctx context.Context, tx Tx, key string) (bool, error) {
	_, err := tx.AccountByName(ctx, key)
	if errors.Is(err, identity.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// open makes the session of a holder, or one that waits for a code from an e-mail.
func (b *Broker) open(
	ctx context.Context, tx Tx, v Visit, at Attempt, h holder, id identity.Identity,
) (Outcome, sendable, error) {
	s := b.newSession(v, at, h, id)
	p, err := h.principalOf(v.Snapshot, s)
	if err != nil {
		return Outcome{}, sendable{}, err
	}
	if !at.Application.Admits(p) {
		return Outcome{}, sendable{}, denied("no_role", "account %s at %s", h.account.ID, at.Application.ID)
	}
	if at.Application.ConfirmByEmail && at.embedded == nil { // whoever a page vouches for signed in there
		return b.openPending(ctx, tx, v, h.account, s, p, at.Device)
	}
	begun := beginning{replaces: at.Replaces}
	if at.embedded != nil {
		begun.detail = at.embedded.detail()
	}
	out, err := b.begin(ctx, tx, v, s, p, begun)
	return out, sendable{}, err
}

// newSession spells the session that an attempt is to open.
func (b *Broker) newSession(v Visit, at Attempt, h holder, id identity.Identity) sessions.Session {
	now := b.now()
	s := sessions.Session{
		ID: NewID(), Kind: at.Kind, State: sessions.Active, AccountID: h.account.ID, Provider: h.linked.Provider,
		Subject: h.linked.Subject, Application: at.Application.ID, AMR: id.AMR, AuthTime: id.AuthTime, CreatedAt: now,
		LastSeenAt: now, Address: v.Address, UserAgent: cut(v.UserAgent, 512),
		Remembered: at.Remember && at.Kind == sessions.Browser && v.Remember.Lifetime > 0,
	}
	s.IdleTimeout, s.ExpiresAt = lasts(v, at.Application, s.Remembered, now)
	if s.AuthTime.IsZero() || s.AuthTime.After(now) {
		s.AuthTime = now
	}
	if at.embedded != nil {
		s.Embedder, s.Origin, s.AMR = at.embedded.Embedder.ID, at.embedded.Origin, []string{amrExternal}
		limits := at.embedded.Embedder.Session
		s.IdleTimeout, s.ExpiresAt = limits.Idle, now.Add(limits.Lifetime)
	}
	return s
}

// beginning is what there is to know of a session's begin beside the session.
type beginning struct {
	// replaces is the session that ends with it, waited that it is on record already and waited for a code.
	replaces string
	waited   bool
	// detail is kept by the audit log.
	detail map[string]string
}

// begin lets a session hold: what it replaces ends (SES-02), there is room for it, and it is on record.
func (b *Broker) begin(
	ctx context.Context, tx Tx, v Visit, s sessions.Session, p identity.Principal, begun beginning,
) (Outcome, error) {
	if begun.replaces != "" {
		if err := b.end(ctx, tx, v, begun.replaces, reasonReplaced, p.Subject); err != nil {
			return Outcome{}, err
		}
	}
	ended, err := b.roomFor(ctx, tx, v, s)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Principal: p, Session: s, Ended: ended}
	if s.Kind != sessions.API {
		out.Token = NewSecret()
	}
	if err := b.keep(ctx, tx, s, out.Token, begun.waited); err != nil {
		return Outcome{}, err
	}
	e := v.event(audit.SignInSucceeded, s.LastSeenAt)
	e.Actor, e.AccountID, e.Username, e.Provider = p.Subject, p.Subject, p.Username, p.Provider
	e.Application, e.SessionID = s.Application, s.ID
	e.Detail = map[string]string{"kind": string(s.Kind), "roles": cut(strings.Join(p.Roles, ","), 1024)}
	maps.Copy(e.Detail, begun.detail)
	return out, tx.Append(ctx, e)
}

// keep stores a session that begins, or lets one that waited hold from now on.
func (b *Broker) keep(ctx context.Context, tx Tx, s sessions.Session, token string, waited bool) error {
	if !waited {
		return tx.CreateSession(ctx, s, token)
	}
	if err := tx.ActivateSession(ctx, s.ID, token); err != nil {
		return err
	}
	// However long the e-mail took, that was no idle time.
	if err := tx.TouchSessions(ctx, map[string]time.Time{s.ID: s.LastSeenAt}); err != nil {
		return err
	}
	return tx.Changed(ctx, ChangeSession, s.LastSeenAt, s.ID)
}
