package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"time"

	"sallyport/broker"
	"sallyport/configs"
	"sallyport/providers"
	"sallyport/providers/local"
	"sallyport/tokens"
)

// opener makes providers of their configuration.
type opener struct {
	log    *slog.Logger
	now    func() time.Time
	people local.People
	hasher *local.Hasher
}

// open starts all providers. None of them needs its upstream to be there.
func (o opener) open(ctx context.Context, c *configs.Config) (*providers.Set, error) {
	var all []providers.Provider
	for _, id := range slices.Sorted(maps.Keys(c.Providers)) {
		block := c.Providers[id]
		settings, ok := block.Settings.(providers.Config)
		if !ok {
			return nil, fmt.Errorf("provider %q: type %s cannot be opened", id, block.Type)
		}
		if l, ok := settings.(*local.Config); ok {
			l.People, l.Hasher = o.people, o.hasher
		}
		env := providers.Env{Log: o.log.With("provider", id), Now: o.now, Dir: c.Dir()}
		p, err := settings.Open(ctx, id, block.Title, env)
		if err != nil {
			return nil, fmt.Errorf("provider %q: %w", id, err)
		}
		all = append(all, p)
	}
	return providers.NewSet(all...)
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
		Session: broker.Limits(c.Session),
		Keys:    broker.KeyRules{DefaultLifetime: c.APIKeys.DefaultLifetime, MaxLifetime: c.APIKeys.MaxLifetime},
		Brand:   c.Branding.Title, Support: c.Branding.Support,
	}
	s.SelfApplication = &broker.Application{
		ID: broker.Self, Title: c.Branding.Title, Audience: c.Server.Issuer, Algorithm: tokens.ES256,
		TokenLifetime: 15 * time.Minute, Session: s.Session, Profile: profile,
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

func applicationOf(c *configs.Config, a *configs.Application) (*broker.Application, error) {
	profile, err := profileOf(c, a.Profile)
	if err != nil {
		return nil, err
	}
	made := &broker.Application{
		ID: a.ID, Title: a.Title, Audience: a.Audience, Require: a.Require, Algorithm: tokens.Algorithm(a.Algorithm),
		Secret: []byte(a.Secret.Reveal()), TokenLifetime: a.TokenLifetime, Session: broker.Limits(a.Session),
		ForwardToken: a.ForwardToken, Profile: profile,
	}
	if a.URL != "" {
		if made.URL, err = url.Parse(a.Origin() + a.Prefix() + "/"); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// profileOf spells a configured dialect for the broker.
func profileOf(c *configs.Config, name string) (*broker.Profile, error) {
	p, ok := c.Profile(name)
	if !ok {
		return nil, fmt.Errorf("profile %q is not known", name)
	}
	return spellProfile(name, p, c.APIKeys.Prefix), nil
}
