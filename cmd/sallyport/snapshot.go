package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"sallyport/broker"
	"sallyport/configs"
	"sallyport/identity"
	"sallyport/providers"
	"sallyport/providers/jwt"
	"sallyport/providers/local"
	"sallyport/providers/saml"
	"sallyport/tokens"
	"sallyport/tokens/jws"
	"sallyport/web/wire"
)

// opener makes providers of their configuration.
type opener struct {
	log    *slog.Logger
	now    func() time.Time
	people local.People
	hasher *local.Hasher
	// keep is nil where there is no store.
	keep providers.Keeper
	// heavy bounds the costly work of all providers, those of an earlier configuration included.
	heavy *providers.Slots
}

// open opens all providers. None of them needs its upstream to be there. One that cannot be opened, because a file that
// it needs is missing or no good, is a red light and not a failed start: it stands in the set as a broken one. Local is
// the way in when all others are broken, so its failure is an error.
func (o opener) open(ctx context.Context, c *configs.Config) (*providers.Set, error) {
	var all []providers.Provider
	for _, id := range slices.Sorted(maps.Keys(c.Providers)) {
		block := c.Providers[id]
		if block.Disabled {
			continue
		}
		again := func(ctx context.Context) (providers.Provider, error) { return o.one(ctx, c, block) }
		p, err := again(ctx)
		if err != nil {
			as, ok := abilityOf(block)
			if !ok {
				return nil, fmt.Errorf("provider %q: %w", id, err)
			}
			p = providers.Broken(providers.Info{ID: id, Type: block.Type, Title: block.Title}, as, err, again)
		}
		all = append(all, p)
	}
	return providers.NewSet(all...)
}

// one opens one provider.
func (o opener) one(ctx context.Context, c *configs.Config, block *configs.Provider) (providers.Provider, error) {
	settings, ok := block.Settings.(providers.Config)
	if !ok {
		return nil, fmt.Errorf("type %s cannot be opened", block.Type)
	}
	if l, ok := settings.(*local.Config); ok {
		l.People, l.Hasher = o.people, o.hasher
	}
	env := providers.Env{Log: o.log.With("provider", block.ID), Now: o.now, Dir: c.Dir(), Keep: o.keep, Heavy: o.heavy}
	return settings.Open(ctx, block.ID, block.Title, env)
}

// abilityOf says what a provider would do if it could be opened. There is nothing that could stand in for local.
func abilityOf(block *configs.Provider) (as providers.Ability, ok bool) {
	switch block.Settings.(type) {
	case *local.Config:
		return 0, false
	case *jwt.Config:
		return providers.AsToken, true
	case *saml.Config:
		return providers.AsPosted, true
	}
	if block.TakesPassword() {
		return providers.AsPassword, true
	}
	return providers.AsRedirect, true
}

// storeless opens providers where there is no store: nobody can sign in at them, but they can be looked at.
func storeless() opener {
	return opener{
		log: slog.New(slog.DiscardHandler), now: time.Now, people: localPeople{},
		hasher: local.NewHasher(local.HasherOptions{}),
	}
}

// snapshotOf turns a configuration into what the broker works with.
func snapshotOf(c *configs.Config, set *providers.Set, generation int64) (*broker.Snapshot, error) {
	issuer, err := url.Parse(c.Server.Issuer)
	if err != nil {
		return nil, err
	}
	profile, err := profileOf(c, "default")
	if err != nil {
		return nil, err
	}
	s := &broker.Snapshot{
		Generation: generation, Hash: c.Hash(), Issuer: issuer, Mapper: c.Mapper(), Providers: set,
		QualifyNames: map[string]bool{}, DefaultProvider: c.Login.DefaultProvider, Domains: c.Login.Domains,
		Session:  limitsOf(c.Session.Session),
		Remember: broker.Limits{Idle: c.Session.Remember.Idle, Lifetime: c.Session.Remember.Lifetime},
		Throttle: broker.ThrottleRules(c.Throttle), SigningKeys: broker.SigningKeyRules(c.SigningKeys),
		Keys: broker.KeyRules{
			DefaultLifetime: c.APIKeys.DefaultLifetime, MaxLifetime: c.APIKeys.MaxLifetime,
			NeverExpire: c.APIKeys.NeverExpire, ConfirmByEmail: c.APIKeys.ConfirmByEmail,
		},
		Brand: c.Branding.Title, Support: c.Branding.Support, Embedders: embeddersOf(c),
	}
	s.SelfApplication = &broker.Application{
		ID: broker.Self, Title: c.Branding.Title, Audience: c.Server.Issuer, Algorithm: tokens.ES256,
		TokenLifetime: 15 * time.Minute, Session: s.Session, Profile: profile,
		AddressChange: broker.AddressPolicy(c.Session.AddressChange), ConfirmByEmail: c.Session.ConfirmByEmail,
		Claims: claimsOf(c.ClaimsOf(&configs.Application{Profile: profile.Name})),
	}
	for id, p := range c.Providers {
		s.QualifyNames[id] = p.UsernameConflict == "qualify"
	}
	applications := make([]*broker.Application, 0, len(c.Applications))
	for _, a := range c.Applications {
		made, err := applicationOf(c, a)
		if err != nil {
			return nil, err
		}
		applications = append(applications, made)
	}
	return s.WithApplications(applications), nil
}

func limitsOf(s configs.Session) broker.Limits {
	return broker.Limits{
		Idle: s.Idle, Lifetime: s.Lifetime, Concurrent: s.Concurrent, EndOldest: s.AtLimit == "end_oldest",
	}
}

func revealed(secrets []identity.Secret) [][]byte {
	var out [][]byte
	for _, s := range secrets {
		out = append(out, []byte(s.Reveal()))
	}
	return out
}

func applicationOf(c *configs.Config, a *configs.Application) (*broker.Application, error) {
	profile, err := profileOf(c, a.Profile)
	if err != nil {
		return nil, err
	}
	made := &broker.Application{
		ID: a.ID, Title: a.Title, Audience: a.Audience, Require: a.Require, Algorithm: tokens.Algorithm(a.Algorithm),
		Secret: []byte(a.Secret.Reveal()), TokenLifetime: a.TokenLifetime, Session: limitsOf(a.Session),
		AddressChange: broker.AddressPolicy(a.Session.AddressChange), ConfirmByEmail: a.Session.ConfirmByEmail,
		FormerSecrets: revealed(a.FormerSecrets), Pinned: a.SigningKey == "pinned",
		ForwardToken: a.ForwardToken, Claims: claimsOf(c.ClaimsOf(a)), Rules: rulesOf(a.Rules), Profile: profile,
	}
	if made.Algorithm == tokens.HS256 {
		for _, secret := range append([][]byte{made.Secret}, made.FormerSecrets...) {
			if err := jws.CheckSecret(secret); err != nil {
				return nil, fmt.Errorf("applications.%s.secret: %w", a.ID, err)
			}
		}
	}
	if a.URL != "" {
		if made.URL, err = url.Parse(a.Origin() + a.Prefix() + "/"); err != nil {
			return nil, err
		}
	}
	made.Upstream, err = upstreamOf(c, a)
	return made, err
}

// upstreamOf reads the file of the upstream's authorities, so that one that is no good keeps the configuration out.
func upstreamOf(c *configs.Config, a *configs.Application) (*broker.Upstream, error) {
	u := a.Upstream
	if u == nil {
		return nil, nil
	}
	address, err := url.Parse(u.URL)
	if err != nil {
		return nil, fmt.Errorf("applications.%s.upstream.url: %w", a.ID, err)
	}
	made := &broker.Upstream{
		URL: &url.URL{Scheme: address.Scheme, Host: address.Host}, PassHost: u.PassHost, HeaderTimeout: u.HeaderTimeout,
	}
	if u.CAFile == "" {
		return made, nil
	}
	if made.Roots, err = os.ReadFile(c.File(u.CAFile)); err != nil {
		return nil, fmt.Errorf("applications.%s.upstream.ca_file: %w", a.ID, err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(made.Roots) {
		return nil, fmt.Errorf("applications.%s.upstream.ca_file: has no certificate in PEM", a.ID)
	}
	return made, nil
}

func rulesOf(rules []configs.AccessRule) []*broker.Rule {
	spelled := map[string]broker.Carrier{
		configs.CarrierCookie: broker.Cookie, configs.CarrierBearer: broker.Bearer, configs.CarrierKey: broker.APIKey,
	}
	out := make([]*broker.Rule, 0, len(rules))
	for _, r := range rules {
		made := &broker.Rule{Path: r.Path, Methods: r.Methods, Require: r.Require, Public: r.Public}
		for _, carrier := range r.Carriers {
			made.Carriers = append(made.Carriers, spelled[carrier])
		}
		if r.Rate != nil {
			made.Requests, made.Per = r.Rate.Requests, r.Rate.Per
		}
		out = append(out, made)
	}
	return out
}

// embeddersOf leaves out those that are not enabled: sessions of an embedder that is not there end.
func embeddersOf(c *configs.Config) []*broker.Embedder {
	var out []*broker.Embedder
	for _, id := range slices.Sorted(maps.Keys(c.Embedding.Embedders)) {
		e := c.Embedding.Embedders[id]
		if !e.Enabled {
			continue
		}
		out = append(out, &broker.Embedder{
			ID: id, Title: e.DisplayName, Relation: broker.Relation(e.Relation), Origins: e.Origins, Applications: e.Applications,
			Provider: e.Provider, MaxRoles: e.MaxRoles, Mount: e.Mount, Global: e.CompatGlobal, Debug: e.Debug,
			Session: broker.Limits{Idle: e.Session.Idle, Lifetime: e.Session.Absolute},
		})
	}
	return out
}

// embeddingSummary says, for each embedder and what it may frame, which header lets its pages do so and which cookie opens
// the frame: what an administrator compares with what the browser shows.
func embeddingSummary(s *broker.Snapshot) []string {
	var lines []string
	for _, e := range s.Embedders {
		for _, app := range s.Applications() {
			if e.May(app) {
				lines = append(lines,
					fmt.Sprintf("embedder %s, application %s: Content-Security-Policy: frame-ancestors %s", e.ID, app.ID,
						strings.Join(ancestors(s, app), " ")),
					fmt.Sprintf("embedder %s, application %s: Set-Cookie: %s", e.ID, app.ID, wire.EmbedCookieLine(e)))
			}
		}
	}
	return lines
}

// ancestors lists the origins of all who may frame the application, each once.
func ancestors(s *broker.Snapshot, app *broker.Application) []string {
	var origins []string
	for _, e := range s.EmbeddersOf(app) {
		for _, o := range e.Origins {
			if !slices.Contains(origins, o) {
				origins = append(origins, o)
			}
		}
	}
	return origins
}

// profileOf spells a configured dialect for the broker.
func profileOf(c *configs.Config, name string) (*broker.Profile, error) {
	p, ok := c.Profile(name)
	if !ok {
		return nil, fmt.Errorf("profile %q is not known", name)
	}
	return spellProfile(name, p), nil
}
