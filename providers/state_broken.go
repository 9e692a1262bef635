package providers

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"sync"
	"time"

	"sallyport/identity"
)

var (
	_ PasswordProvider = brokenPassword{}
	_ RedirectProvider = brokenRedirect{}
	_ PostedProvider   = brokenPosted{}
	_ OnceProvider     = brokenPosted{}
	_ TokenProvider    = brokenToken{}
	_ Refresher        = brokenPassword{}
	_ Refresher        = brokenRedirect{}
)

// Ability is what a broken provider would do if it could be opened.
type Ability int

// The abilities, each named after its interface.
const (
	AsPassword Ability = iota
	AsRedirect
	AsPosted
	AsToken
)

// Broken stands in a set for a provider that could not be opened (cause), so that its door is shown and answers
// identity.ErrUnavailable (provider_unavailable) while the other doors go on. It becomes nothing else: whoever keeps the
// set asks Set.Mended from time to time, and opens the whole configuration again when that says so. So no ability of the
// real provider is missed or made up. open tries again to open it.
func Broken(info Info, as Ability, cause error, open func(context.Context) (Provider, error)) Provider {
	b := &broken{info: info, cause: cause, open: open}
	switch as {
	case AsPassword:
		return brokenPassword{b}
	case AsPosted:
		return brokenPosted{brokenThere{b}}
	case AsToken:
		return brokenToken{b}
	default:
		return brokenRedirect{brokenThere{b}}
	}
}

// BrokenBy returns why a provider of a set could not be opened, nil for one that could.
func BrokenBy(p Provider) error {
	if b, ok := p.(interface{ brokenBy() error }); ok {
		return b.brokenBy()
	}
	return nil
}

// Mended tries again to open the set's broken providers, and reports whether one of them can be opened now.
func (s *Set) Mended(ctx context.Context) bool {
	mended := false
	for _, p := range s.order {
		if b, ok := p.(interface{ opens(context.Context) bool }); ok && b.opens(ctx) {
			mended = true
		}
	}
	return mended
}

// broken is what all broken providers are.
type broken struct {
	info Info
	open func(context.Context) (Provider, error)

	mu    sync.Mutex
	cause error
}

// Info names the provider.
func (b *broken) Info() Info { return b.info }

// Check tells why it could not be opened.
func (b *broken) Check(context.Context) error { return b.unavailable() }

func (b *broken) brokenBy() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cause
}

func (b *broken) unavailable() error {
	return Unavailable(fmt.Errorf("cannot be opened: %w", b.brokenBy()))
}

// opens tries once; the new cause is remembered.
func (b *broken) opens(ctx context.Context) bool {
	p, err := b.open(ctx)
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.cause = err
		return false
	}
	if c, ok := p.(io.Closer); ok {
		_ = c.Close()
	}
	return true
}

type brokenPassword struct{ *broken }

// Authenticate see PasswordProvider.
func (b brokenPassword) Authenticate(context.Context, string, string) (identity.Assertion, error) {
	return identity.Assertion{}, b.unavailable()
}

// Refresh see Refresher: no answer, which is never "no groups".
func (b brokenPassword) Refresh(_ context.Context, last identity.Assertion) (identity.Assertion, error) {
	return last, b.unavailable()
}

// brokenThere is what all share that browsers are sent to.
type brokenThere struct{ *broken }

// Begin see RedirectProvider.
func (b brokenThere) Begin(context.Context, Flow) (Challenge, error) {
	return Challenge{}, b.unavailable()
}

// Finish see RedirectProvider.
func (b brokenThere) Finish(context.Context, Flow, []byte, url.Values) (identity.Assertion, error) {
	return identity.Assertion{}, b.unavailable()
}

type brokenRedirect struct{ brokenThere }

// Refresh see Refresher: no answer, which is never "no groups".
func (b brokenRedirect) Refresh(_ context.Context, last identity.Assertion) (identity.Assertion, error) {
	return last, b.unavailable()
}

type brokenPosted struct{ brokenThere }

// ServiceMetadata see PostedProvider.
func (b brokenPosted) ServiceMetadata(string, string) ([]byte, error) { return nil, b.unavailable() }

// Once see OnceProvider. There is no assertion that it could be asked about.
func (b brokenPosted) Once(identity.Assertion) (string, time.Time, bool, error) {
	return "", time.Time{}, true, b.unavailable()
}

type brokenToken struct{ *broken }

// Once see OnceProvider. There is no assertion that it could be asked about.
func (b brokenToken) Once(identity.Assertion) (string, time.Time, bool, error) {
	return "", time.Time{}, true, b.unavailable()
}

// Binding see TokenProvider.
func (brokenToken) Binding(identity.Assertion) (nonce, application string) { return "", "" }

// VerifyToken see TokenProvider.
func (b brokenToken) VerifyToken(context.Context, string) (identity.Assertion, error) {
	return identity.Assertion{}, b.unavailable()
}
