package jwt

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
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
	roots, err := readRoots(c.CAFile, env.Dir)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	p.keys.remote, err = jws.NewRemote(jws.RemoteConfig{
		URL: jws.StaticURL(c.JWKSURL), Client: newClient(roots), Now: p.now,
	})
	return p, err
}

// readSet reads jwks_file. The operator wrote it for this, so one without a usable key is a mistake.
func (p *Provider) readSet(dir string) error {
	if p.config.JWKSFile == "" {
		return nil
	}
	data, err := readBounded(p.config.JWKSFile, dir, jws.MaxSetBytes)
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

// readRoots reads a PEM file of authorities; an empty name means the system's.
func readRoots(file, dir string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	data, err := readBounded(file, dir, 1<<20)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, errors.New("holds no certificate")
	}
	return pool, nil
}

// Info names the provider.
func (p *Provider) Info() providers.Info { return p.info }

// MaxRoles returns the only roles that anybody may get through this door, and whether there is such a cap at all. The
// provider knows groups and no roles, so whoever maps them holds the result to it.
func (p *Provider) MaxRoles() (roles []string, capped bool) {
	return slices.Clone(p.config.MaxRoles), p.config.MaxRoles != nil
}

// Check fetches the key set now, whatever is cached; without jwks_url there is nothing upstream that could be away.
func (p *Provider) Check(ctx context.Context) error {
	if p.keys.remote == nil {
		return nil
	}
	if err := p.keys.remote.Refresh(ctx); err != nil {
		return unavailable("key set: " + cause(err))
	}
	if s := p.keys.remote.Status(); s.Keys == 0 {
		return unavailable("key set: no usable key (" + strings.Join(s.Skipped, "; ") + ")")
	}
	return nil
}

// VerifyToken returns what a token of the embedding application says about a person. It does not remember the token:
// see Replay. Errors: identity.ErrBadCredentials coded token_invalid, identity.ErrExpired coded token_expired,
// identity.ErrUnavailable coded provider_unavailable.
func (p *Provider) VerifyToken(ctx context.Context, raw string) (identity.Assertion, error) {
	m, err := jws.Parse(raw)
	if err != nil {
		return identity.Assertion{}, invalid("%w", err)
	}
	if m.Header.Type != "" && !strings.EqualFold(m.Header.Type, "JWT") {
		// An access token (at+jwt) or a logout token (logout+jwt) of this issuer is no assertion (RFC 8725 section 3.11).
		return identity.Assertion{}, invalid("it is a token of another kind")
	}
	payload, err := p.keys.verify(ctx, m)
	switch {
	case errors.Is(err, jws.ErrUnavailable):
		return identity.Assertion{}, unavailable("the embedding application's keys cannot be read")
	case err != nil:
		return identity.Assertion{}, invalid("%w", err)
	}
	claims, err := jws.ParseClaims(payload)
	if err != nil {
		return identity.Assertion{}, invalid("%w", err)
	}
	who, err := p.identity(claims)
	if err != nil {
		return identity.Assertion{}, invalid("%w", err)
	}
	session, err := claims.String("sid")
	if err != nil || claims.Has("sid") && !isPlain(session, maxSubject) {
		return identity.Assertion{}, invalid("sid is no plain text")
	}
	// Times come last: only a token that is right in all else may be called expired.
	t, err := p.check(claims)
	if err != nil {
		return identity.Assertion{}, err
	}
	who.AuthTime = t.authTime
	a := identity.Assertion{Identity: who, UpstreamSession: session}
	a.Upstream, err = p.remember(m, t)
	return a, err
}
