package jwt

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sallyport/identity"
	"sallyport/providers"
	"sallyport/tokens/jws"
)

// Provider is one embedding application. It is made by Config.Open and safe for concurrent use.
type Provider struct {
	info   providers.Info
	config Config // complete: withDefaults
	keys   keyring
	now    func() time.Time
}

var (
	_ providers.TokenProvider = (*Provider)(nil)
	_ providers.Checker       = (*Provider)(nil)
	_ providers.Config        = (*Config)(nil)
	_ providers.Warner        = (*Config)(nil)
)

func newProvider(info providers.Info, c Config, env providers.Env) (*Provider, error) {
	p := &Provider{info: info, config: c, now: env.Now}
	if p.now == nil {
		p.now = time.Now
	}
	for i, k := range c.Keys {
		loaded, err := k.load(env.Dir)
		if err != nil {
			return nil, fmt.Errorf("keys[%d].%w", i, err)
		}
		p.keys.configured = append(p.keys.configured, loaded)
	}
	if err := p.readSet(env.Dir); err != nil {
		return nil, fmt.Errorf("jwks_file: %w", err)
	}
	if c.JWKSURL == "" {
		return p, nil
	}
	roots, err := providers.ReadRoots(env.Dir, c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	p.keys.remote, err = jws.NewRemote(jws.RemoteConfig{
		URL: jws.StaticURL(c.JWKSURL), Client: providers.NewClient(roots), Now: p.now,
	})
	return p, err
}

// readSet reads jwks_file. The operator wrote it for this, so one without a usable key is a mistake.
func (p *Provider) readSet(dir string) error {
	if p.config.JWKSFile == "" {
		return nil
	}
	data, err := providers.ReadFile(dir, p.config.JWKSFile, jws.MaxSetBytes)
	if err != nil {
		return err
	}
	if p.keys.file, err = jws.ParseSet(data); err != nil {
		return err
	}
	if p.keys.file.Len() == 0 {
		return fmt.Errorf("no usable key (%s)", strings.Join(p.keys.file.Skipped(), "; "))
	}
	return nil
}

// Info names the provider.
func (p *Provider) Info() providers.Info { return p.info }

// Check fetches the key set now, whatever is cached; without jwks_url there is nothing upstream that could be away.
func (p *Provider) Check(ctx context.Context) error {
	if p.keys.remote == nil {
		return nil
	}
	return providers.CheckKeys(ctx, p.keys.remote)
}

// VerifyToken returns what a token of the embedding application says about a person. It does not remember the token:
// see Once. Errors: identity.ErrBadCredentials coded jwt_malformed, jwt_signature, jwt_alg, jwt_ttl or jwt_claim;
// identity.ErrExpired coded jwt_expired or jwt_not_yet; identity.ErrUnavailable coded provider_unavailable.
func (p *Provider) VerifyToken(ctx context.Context, raw string) (identity.Assertion, error) {
	m, err := jws.Parse(raw)
	if err != nil {
		return identity.Assertion{}, refused(codeMalformed, "%w", err)
	}
	if m.Header.Type != "" && !strings.EqualFold(m.Header.Type, "JWT") {
		// An access token (at+jwt) or a logout token (logout+jwt) of this issuer is no assertion (RFC 8725 section 3.11).
		return identity.Assertion{}, refused(codeMalformed, "it is a token of another kind")
	}
	payload, err := p.keys.verify(ctx, m)
	if err != nil {
		return identity.Assertion{}, p.unverified(m, err)
	}
	claims, err := jws.ParseClaims(payload)
	if err != nil {
		return identity.Assertion{}, refused(codeMalformed, "%w", err)
	}
	who, err := p.identity(claims)
	if err != nil {
		return identity.Assertion{}, refused(codeClaim, "%w", err)
	}
	// Times come last: only a token that is right in all else may be called expired.
	t, err := p.check(claims)
	if err != nil {
		return identity.Assertion{}, err
	}
	who.AuthTime = t.authTime
	a := identity.Assertion{Identity: who, UpstreamSession: t.session}
	a.Upstream, err = p.remember(m, t)
	return a, err
}
