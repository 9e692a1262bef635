package saml

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"

	"sallyport/providers"
)

const secondsPerDay = 24 * 60 * 60

// Check looks at the metadata now, whatever is kept, and says in words what is wrong: it cannot be had or used, every
// certificate has expired, or the provider wants what we are not configured for.
func (p *Provider) Check(ctx context.Context) error {
	upstream, err := p.source.refresh(ctx)
	if err != nil {
		return err
	}
	now := p.now()
	if !slices.ContainsFunc(upstream.keys.certificates, func(c *x509.Certificate) bool {
		return !now.Before(c.NotBefore) && !now.After(c.NotAfter)
	}) {
		return providers.Unavailable(errors.New("every certificate of the provider has expired"))
	}
	if upstream.wantsSigned && p.signing == nil {
		return providers.Misconfigured(errUnsignedRequests)
	}
	return nil
}

var errUnsignedRequests = errors.New(
	"the provider wants signed requests (WantAuthnRequestsSigned), and signing is not configured")

// Warnings name what an operator should act upon soon, as far as the provider is known by now: certificates that end
// within 30 days, requests that the provider wants signed. It asks nobody.
func (p *Provider) Warnings() []string {
	upstream := p.source.known()
	if upstream == nil {
		return nil
	}
	out := upstream.ending(p.now())
	if upstream.wantsSigned && p.signing == nil {
		out = append(out, errUnsignedRequests.Error())
	}
	return out
}

// warn tells the log of Warnings, at most once a day.
func (p *Provider) warn() {
	warnings := p.Warnings()
	now, last := p.now().Unix(), p.warned.Load()
	if len(warnings) == 0 || last != 0 && now-last < secondsPerDay || !p.warned.CompareAndSwap(last, now) {
		return
	}
	for _, w := range warnings {
		p.log.Warn("saml provider needs attention", "reason", w)
	}
}
