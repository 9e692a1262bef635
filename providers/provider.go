// Package providers owns what every kind of door has in common: the small interfaces a kind may fill and the running
// set of configured providers. The kinds themselves live in one folder per protocol and never see each other; which
// kinds exist is one table in cmd/sallyport. A provider returns data (an Assertion or a Challenge); it never sees a
// ResponseWriter, a session or a role.
package providers

import (
	"context"
	"log/slog"
	"net/url"
	"time"

	"sallyport/identity"
)

// Info names a configured provider.
type Info struct {
	// ID is the instance, unique in a configuration.
	ID string
	// Type is the kind: local, ldap, oidc …
	Type string
	// Title is what people read on a button; never empty.
	Title string
}

// Provider is what every door is. Abilities are the small interfaces below.
type Provider interface {
	Info() Info
}

// PasswordProvider takes a secret typed on our own page (local, ldap).
//
// Authenticate returns identity.ErrBadCredentials for unknown, wrong, empty and disabled alike, and
// identity.ErrUnavailable (coded provider_unavailable) when upstream gave no answer.
type PasswordProvider interface {
	Provider
	Authenticate(ctx context.Context, username, password string) (identity.Assertion, error)
}

// PasswordKeeper is a PasswordProvider whose passwords are kept by us (local).
//
// HashPassword checks the provider's password policy (identity.ErrInvalid, coded password_too_short, password_too_long,
// password_common or password_contains_name) and returns a PHC string. about holds words the password must not be equal
// to, such as the person's name.
//
// MadeWith reports whether the assertion, one of this provider's, was made by holding a password against this stored
// hash: a password that was replaced while the old one was being checked signs nobody in.
type PasswordKeeper interface {
	PasswordProvider
	MadeWith(a identity.Assertion, hash string) bool
	HashPassword(ctx context.Context, password string, about ...string) (string, error)
}

// RedirectProvider sends the browser away and takes it back (oidc, saml).
//
// Finish returns identity.ErrDenied when upstream refused the person, identity.ErrExpired when the flow is no longer
// valid, identity.ErrBadCredentials when the reply does not verify, identity.ErrUnavailable when upstream is away.
type RedirectProvider interface {
	Provider
	Begin(ctx context.Context, f Flow) (Challenge, error)
	Finish(ctx context.Context, f Flow, pending []byte, reply url.Values) (identity.Assertion, error)
}

// PostedProvider is a RedirectProvider whose reply is a form that the browser posts to us from the provider's site (SAML's
// HTTP-POST binding), and that is told who we are by a document of ours.
type PostedProvider interface {
	RedirectProvider
	// ServiceMetadata returns our SAML metadata for this provider, XML; entityID is its own address, acsURL where the
	// reply is posted to.
	ServiceMetadata(entityID, acsURL string) ([]byte, error)
}

// OnceProvider is a provider whose assertions are bearer things: whoever has seen one could show it again (saml, jwt).
//
// Once says by which id an assertion of this provider must be remembered before it signs anybody in, until when, and
// whether it must be at all. The id is unique in the house: it names the kind, the issuer and the message's own id, or
// its digest. once is false only where an operator has said so. An error refuses the sign-in.
type OnceProvider interface {
	Provider
	Once(a identity.Assertion) (id string, until time.Time, once bool, err error)
}

// TokenProvider takes a token an application already holds (jwt).
//
// VerifyToken returns identity.ErrBadCredentials, or identity.ErrExpired for a token that only comes at the wrong time,
// with the precise code of the kind, and identity.ErrUnavailable when the keys cannot be had. It remembers nothing.
//
// Binding returns what the token of an assertion of this provider says it was made for alone: a challenge (the claim nonce)
// and an application of ours, by id; each "" where it says nothing.
type TokenProvider interface {
	OnceProvider
	VerifyToken(ctx context.Context, raw string) (identity.Assertion, error)
	Binding(a identity.Assertion) (nonce, application string)
}

// Refresher can be asked again about somebody who signed in before. Gone (identity.ErrNotFound) and no answer
// (identity.ErrUnavailable) are different errors, and no answer is never "no groups".
type Refresher interface {
	Refresh(ctx context.Context, last identity.Assertion) (identity.Assertion, error)
}

// Checker reports whether upstream answers now: nil, or an error whose cause an operator can read.
type Checker interface {
	Check(ctx context.Context) error
}

// Flow is the sign-in under way, as far as a provider may know it.
type Flow struct {
	// ID is the state or RelayState that upstream must return: at least 128 random bits.
	ID string
	// CallbackURL is the redirect URI or ACS URL of this provider, absolute.
	CallbackURL string
	// LoginHint is what the person typed as their name, if anything.
	LoginHint string
}

// Challenge is how a redirect begins.
type Challenge struct {
	// URL is where the browser goes.
	URL string
	// Form, when set, is posted to URL by the browser (SAML HTTP-POST); nil means a redirect.
	Form url.Values
	// Pending is the provider's memory of this flow (nonce, PKCE verifier, request id). It travels in the sealed flow
	// cookie and comes back to Finish.
	Pending []byte
}

// Env is what a provider gets from the house.
type Env struct {
	// Log is scoped to the provider.
	Log *slog.Logger
	// Now is the house's clock.
	Now func() time.Time
	// Dir is the folder that relative file names in the configuration start from.
	Dir string
	// Keep, when set, keeps documents of upstream's beyond the process.
	Keep Keeper
	// Heavy, when set, bounds the costly work of all providers together; without it each has slots of its own.
	Heavy *Slots
}

// Keeper keeps a document for as long as the house stands, so that a restart while upstream is away finds the last good
// copy. Kept returns nothing for a name it does not know.
type Keeper interface {
	Keep(ctx context.Context, name string, document []byte) error
	Kept(ctx context.Context, name string) ([]byte, error)
}

// Config is the configuration of one kind: a struct decoded strictly from YAML. Validate finds the mistakes in its text,
// and reads files only where a mistake could not be seen otherwise; its errors start with the key they speak of
// ("url: …"). Open makes the provider. It reads the named files and must not need upstream to be there: what it returns
// although Validate found nothing speaks of what stands outside the text. Both errors start with the key.
type Config interface {
	Validate() error
	Open(ctx context.Context, id, title string, env Env) (Provider, error)
}

// Warner is a Config with settings that weaken it; each warning names the key.
type Warner interface {
	Warnings() []string
}
