package broker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/tokens"
)

// Carrier is how a credential travelled.
type Carrier byte

// The carriers of a Principal.
const (
	// Cookie is the opaque value of the broker's cookie or of an application's.
	Cookie Carrier = iota + 1
	// Bearer is a JWT of ours.
	Bearer
	// APIKey is an API key.
	APIKey
	// TokenCookie is a JWT of ours in an application's cookie.
	TokenCookie
	// EmbedCookie is the opaque value of an embedder's cookie.
	EmbedCookie
	// Ticket is what a session was given to open one WebSocket with; only TakeTicket makes a credential of it that opens
	// anything.
	Ticket
)

// IsCookie reports whether a browser sends the credential by itself.
func (c Carrier) IsCookie() bool { return c == Cookie || c == TokenCookie || c == EmbedCookie }

// Credential is what a request shows. It is a secret; it prints as [redacted].
type Credential struct {
	Carrier Carrier
	value   string
	// session is what a ticket that was taken belongs to, asked and tokenID (jti; empty without a token) what its holder
	// showed for it.
	session, tokenID string
	asked            Carrier
}

// NewCredential returns the credential with the value as it was sent.
func NewCredential(c Carrier, value string) Credential { return Credential{Carrier: c, value: value} }

// String never shows the value.
func (c Credential) String() string { return "[redacted]" }

// GoString never shows the value.
func (c Credential) GoString() string { return "[redacted]" }

// stands is the carrier that a credential counts as: a ticket opens nothing that what it was got with would not.
func (c Credential) stands() Carrier {
	if c.Carrier == Ticket {
		return c.asked
	}
	return c.Carrier
}

// maxCredential bounds any credential in bytes before anything is computed over it.
const maxCredential = 16 << 10

// Authenticate is the one way back: it says who shows this credential to this application, or why nobody does:
// identity.ErrBadCredentials, identity.ErrExpired, identity.ErrDenied, or identity.ErrUnavailable when the answer is not
// known. Roles come from the session's or key's rows, never from the token. Whether the application admits the
// principal is the application's question (Admits).
func (b *Broker) Authenticate(ctx context.Context, at Visit, c Credential, app *Application) (identity.Principal, error) {
	v, _, err := b.authenticate(ctx, at, c, app)
	if err != nil {
		return identity.Principal{}, publicRefusal(err)
	}
	return v.principal, nil
}

// authenticate judges a credential where nothing is known about who sends the request: an application may ask about a
// token from its own address.
func (b *Broker) authenticate(ctx context.Context, at Visit, c Credential, app *Application) (*view, binding, error) {
	return b.judge(ctx, at, c, app, (*view).travels)
}

// authenticateClient judges a credential that the client itself sends to the application.
func (b *Broker) authenticateClient(ctx context.Context, at Visit, c Credential, app *Application) (*view, binding, error) {
	return b.judge(ctx, at, c, app, (*view).travelsAtClients)
}

// judge is the one judgement; travels says whether the credential may be used from anywhere.
func (b *Broker) judge(
	ctx context.Context, at Visit, c Credential, app *Application, travels func(*view, Credential, *Application) bool,
) (*view, binding, error) {
	bound, err := b.bind(ctx, c, app)
	if err != nil {
		return nil, binding{}, err
	}
	load := loadSession
	if c.Carrier == APIKey {
		load = loadKey
	}
	v, err := b.view(ctx, at.Snapshot, bound.id, load)
	if err != nil {
		return nil, binding{}, err
	}
	if err := v.carriedBy(c.Carrier, bound, app); err != nil {
		return nil, binding{}, err
	}
	if err := b.fits(ctx, at, v, app, travels(v, c, app)); err != nil {
		return nil, binding{}, err
	}
	b.touch(v, b.now())
	return v, bound, nil
}

// carriedBy holds what a credential was proven to belong to against the application it was shown to.
func (v *view) carriedBy(c Carrier, bound binding, app *Application) error {
	p := &v.principal
	switch {
	case p.Application != app.ID || !carries(v.kind, c) || (bound.subject != "" && bound.subject != p.Subject):
		return fmt.Errorf("credential of %s at %s: %w", p.Application, app.ID, identity.ErrBadCredentials)
	case len(v.revoked) > 0 && slices.Contains(v.revoked, bound.tokenID):
		return revoked(bound.tokenID)
	}
	return nil
}

// revoked is the refusal of a token that died before its time.
func revoked(tokenID string) error {
	return identity.WithCode("token_revoked", fmt.Errorf("token %s was revoked: %w", tokenID, identity.ErrExpired))
}

// fits holds where a request comes from against what its session or key allows.
func (b *Broker) fits(ctx context.Context, at Visit, v *view, app *Application, travels bool) error {
	switch {
	case v.key != nil:
		return b.keyMay(at, v)
	case travels:
		return nil
	}
	return b.sameNetwork(ctx, at, v, app)
}

// carries says which carriers a kind of session has. Cookies and tokens of one session may both exist (forward-auth
// hands an application session's token on); a key is a key.
func carries(kind sessions.Kind, c Carrier) bool {
	switch c {
	case Cookie:
		return kind == sessions.Browser || kind == sessions.App
	case EmbedCookie:
		return kind == sessions.Embed
	case TokenCookie:
		return kind == sessions.App
	case Bearer:
		return kind == sessions.API || kind == sessions.App || kind == sessions.Embed
	case Ticket: // of a session that opens the application, whatever else carries it
		return kind != ""
	case APIKey:
		return kind == ""
	}
	return false
}

// bind proves which session or key a credential belongs to.
func (b *Broker) bind(ctx context.Context, c Credential, app *Application) (binding, error) {
	if c.value == "" || len(c.value) > maxCredential {
		return binding{}, fmt.Errorf("credential of %d bytes: %w", len(c.value), identity.ErrBadCredentials)
	}
	if c.Carrier == Ticket {
		return b.bindTicket(ctx, c)
	}
	key := digestOf(c, app)
	now := b.now()
	if known, ok := b.views.bindings.GetIfPresent(key); ok && b.feed.fresh(now) {
		if !known.expires.IsZero() && !now.Before(known.expires) {
			return binding{}, fmt.Errorf("token: %w", identity.ErrExpired)
		}
		return known, nil
	}
	// A signing key that is withdrawn, or a new configuration, empties the cache; what was proven under the old one must
	// not come back in.
	begun := b.feed.begin()
	var found binding
	var err error
	switch c.Carrier {
	case Bearer, TokenCookie:
		found, err = b.bindToken(ctx, c.value, app)
	case APIKey:
		found, err = b.bindKey(ctx, c.value)
	case Cookie, EmbedCookie:
		found, err = b.bindCookie(ctx, c.value)
	default:
		err = identity.ErrBadCredentials
	}
	if err != nil {
		return binding{}, err
	}
	b.feed.unchanged(allProofs, begun, func() { b.views.bindings.Set(key, found) })
	return found, nil
}

// digestOf keys a proof by everything it used: carrier, value, and for tokens the audience, the kind of key and the key
// it was held against (FWD-05).
func digestOf(c Credential, app *Application) digest {
	buf := make([]byte, 0, 1024)
	buf = append(buf, byte(c.Carrier))
	if c.Carrier == Bearer || c.Carrier == TokenCookie {
		buf = append(buf, app.ID...)
		buf = append(buf, 0)
		buf = append(buf, app.Audience...)
		buf = append(buf, 0)
		buf = append(buf, app.Algorithm...)
		buf = append(buf, 0)
		buf = append(buf, app.Secret...)
		for _, former := range app.FormerSecrets {
			buf = append(append(buf, 0), former...)
		}
	}
	buf = append(buf, 0)
	buf = append(buf, c.value...)
	return sha256.Sum256(buf)
}

func (b *Broker) bindToken(ctx context.Context, raw string, app *Application) (binding, error) {
	claims, err := b.verify(ctx, raw, app)
	if err != nil {
		return binding{}, err
	}
	over, err := b.endings(ctx)
	if err != nil {
		return binding{}, err
	}
	if over.tokens[claims.ID] {
		return binding{}, revoked(claims.ID)
	}
	return binding{
		id: claims.SessionID, expires: claims.ExpiresAt, subject: claims.Subject, tokenID: claims.ID,
	}, nil
}

// verify checks a token of the application's.
func (b *Broker) verify(ctx context.Context, raw string, app *Application) (tokens.Claims, error) {
	sign, err := b.signingFor(ctx, raw, app)
	if err != nil {
		return tokens.Claims{}, err
	}
	return sign.verify(app, raw)
}

func (b *Broker) bindCookie(ctx context.Context, token string) (binding, error) {
	var found binding
	err := b.store.View(ctx, func(tx Tx) error {
		s, err := tx.SessionByToken(ctx, token)
		found = binding{id: s.ID}
		return err
	})
	return found, err
}

func (b *Broker) bindKey(ctx context.Context, raw string) (binding, error) {
	id, secret, err := ParseKey(raw)
	if err != nil {
		return binding{}, err
	}
	err = b.store.View(ctx, func(tx Tx) error {
		_, err := tx.KeyBySecret(ctx, id, secret)
		return err
	})
	return binding{id: id}, err
}

// publicRefusal turns "there is no such session" into bad credentials; whoever shows a credential learns no more. A
// fault of the store becomes unavailable: no answer is never a yes.
func publicRefusal(err error) error {
	switch {
	case identity.CodeOf(err) == codeTicket:
		return err
	case errors.Is(err, identity.ErrNotFound):
		return identity.WithCode("credential_invalid", fmt.Errorf("%w: %w", identity.ErrBadCredentials, err))
	case errors.Is(err, identity.ErrBadCredentials):
		return identity.WithCode("credential_invalid", err)
	case errors.Is(err, identity.ErrExpired), errors.Is(err, identity.ErrDenied),
		errors.Is(err, identity.ErrUnavailable), errors.Is(err, context.Canceled):
		return err
	default:
		return fmt.Errorf("%w: %w", identity.ErrUnavailable, err)
	}
}

// ForwardToken returns the token that forward-auth hands to the application with this principal: one per session, made
// again when less than half of its life is left. Keys have none.
func (b *Broker) ForwardToken(ctx context.Context, snap *Snapshot, p identity.Principal, app *Application) (string, error) {
	made, err := b.forwardToken(ctx, snap, p, app)
	return made.Token, err
}

func (b *Broker) forwardToken(
	ctx context.Context, snap *Snapshot, p identity.Principal, app *Application,
) (tokens.Issued, error) {
	if p.KeyID != "" {
		return tokens.Issued{}, nil
	}
	if p.Application != app.ID { // also where one is at hand
		return tokens.Issued{}, denied("wrong_application", "token for %s from %s", app.ID, p.Application)
	}
	v, err := b.view(ctx, snap, p.SessionID, loadSession)
	if err != nil {
		return tokens.Issued{}, err
	}
	now := b.now()
	if have := v.forward.Load(); have != nil && have.ExpiresAt.Sub(now) > have.ExpiresAt.Sub(have.IssuedAt)/2 {
		return *have, nil
	}
	made, err := b.IssueToken(ctx, p, app)
	if err != nil {
		return tokens.Issued{}, err
	}
	v.forward.Store(&made)
	return made, nil
}

// renewedCookie returns the token that should take the place of the one in an application's cookie, because little of its
// life is left: the one of ForwardToken, so that requests side by side set the same. Empty where the cookie may stay, and
// where there is no better one: then it is good for what is left of it.
func (b *Broker) renewedCookie(
	ctx context.Context, snap *Snapshot, c Credential, bound binding, p identity.Principal, app *Application,
) string {
	if c.Carrier != TokenCookie || bound.expires.Sub(b.now()) >= app.Profile.Cookie.RefreshBelow {
		return ""
	}
	made, err := b.forwardToken(ctx, snap, p, app)
	if err != nil {
		b.log.DebugContext(ctx, "cookie not renewed", "session_id", p.SessionID, "err", err)
		return ""
	}
	if !made.ExpiresAt.After(bound.expires) {
		return ""
	}
	return made.Token
}

// RenewedCookie says what the application's cookie should hold from now on, where Authorize is not asked: empty for a
// cookie that may stay, or that opens nothing.
func (b *Broker) RenewedCookie(ctx context.Context, v Visit, c Credential, app *Application) string {
	if c.Carrier != TokenCookie {
		return ""
	}
	known, bound, err := b.authenticate(ctx, v, c, app)
	if err != nil {
		return ""
	}
	return b.renewedCookie(ctx, v.Snapshot, c, bound, known.principal, app)
}

// IssueToken makes an access token of the principal for the application it holds (RFC 9068), in the application's
// spelling. It ends with the session at the latest. identity.ErrDenied coded token_too_large for somebody who has more
// roles than a token can say.
func (b *Broker) IssueToken(ctx context.Context, p identity.Principal, app *Application) (tokens.Issued, error) {
	if p.Application != app.ID || p.SessionID == "" {
		return tokens.Issued{}, denied("wrong_application", "token for %s from %s", app.ID, p.Application)
	}
	sign, err := b.signingNow(ctx)
	if err != nil {
		return tokens.Issued{}, err
	}
	spec := tokens.Spec{
		Subject: p.Subject, Audience: app.Audience, ClientID: app.ID, SessionID: p.SessionID, Provider: p.Provider,
		AMR: p.AMR, AuthTime: p.AuthTime, Claims: app.claims(p),
		Lifetime: min(app.TokenLifetime, p.ExpiresAt.Sub(b.now()).Truncate(time.Second)),
	}
	if spec.Lifetime <= 0 {
		return tokens.Issued{}, fmt.Errorf("session %s: %w", p.SessionID, identity.ErrExpired)
	}
	made, err := sign.issue(app, spec)
	if errors.Is(err, tokens.ErrTooLong) || err == nil && len(made.Token) > maxCredential { // we would not read it either
		return tokens.Issued{}, denied("token_too_large", "token of account %s for %s", p.Subject, app.ID)
	}
	return made, err
}
