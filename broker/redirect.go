package broker

import (
	"context"
	"net/url"

	"sallyport/audit"
	"sallyport/broker/sessions"
	"sallyport/providers"
)

// Door is a provider as pages need to know it.
type Door struct {
	// ID, Type and Title are the provider's.
	providers.Info
	// Redirects: browsers are sent there. Posts: their answer comes as a form, posted from the provider's site. Typed: a
	// password is typed on our own page. Kept: we keep the passwords.
	Redirects, Posts, Typed, Kept bool
}

// Doors lists the providers in the order of their ids.
func (s *Snapshot) Doors() []Door {
	all := s.Providers.All()
	out := make([]Door, 0, len(all))
	for _, p := range all {
		out = append(out, doorOf(p))
	}
	return out
}

// DoorByID returns one of them, and whether there is one.
func (s *Snapshot) DoorByID(id string) (Door, bool) {
	p, err := s.Providers.Get(id)
	if err != nil {
		return Door{}, false
	}
	return doorOf(p), true
}

// DoorFor says which door a typed name belongs to: the explicit one, else the rule for the name's domain, else the hint,
// else the default. A hint comes from a link, and no link may choose who gets the password of a domain that has a rule.
func (s *Snapshot) DoorFor(explicit, hint, username string) (Door, error) {
	if explicit == "" && s.ruled(username) == "" {
		explicit = hint
	}
	p, err := s.door(explicit, username)
	if err != nil {
		return Door{}, err
	}
	return doorOf(p), nil
}

func doorOf(p providers.Provider) Door {
	d := Door{Info: p.Info()}
	_, d.Redirects = p.(providers.RedirectProvider)
	_, d.Posts = p.(providers.PostedProvider)
	_, d.Typed = p.(providers.PasswordProvider)
	_, d.Kept = p.(providers.PasswordKeeper)
	return d
}

// LeastPassword returns the least number of characters of a local provider's passwords, 0 where that is not known.
func (s *Snapshot) LeastPassword() int {
	keeper, err := s.Providers.Keeper("")
	if err != nil {
		return 0
	}
	if l, ok := keeper.(interface{ MinLength() int }); ok {
		return l.MinLength()
	}
	return 0
}

// Departure is a browser about to leave for a provider.
type Departure struct {
	// Provider's id, FlowID (the state that must come back), the name that was typed if any.
	Provider, FlowID, LoginHint string
}

// Leave says where the browser goes and what the flow must remember until it is back.
func (b *Broker) Leave(ctx context.Context, v Visit, d Departure) (providers.Challenge, error) {
	p, err := v.Providers.Redirect(d.Provider)
	if err != nil {
		return providers.Challenge{}, err
	}
	challenge, err := p.Begin(ctx, v.flow(p, d))
	if err != nil {
		b.upstreamRefused(ctx, v, d.Provider, err)
	}
	return challenge, err
}

// Return takes the browser back: the flow is taken once before anything upstream is asked, so a replay asks nothing;
// then the reply is verified by its provider, and the assertion goes the one way in.
func (b *Broker) Return(ctx context.Context, v Visit, at Attempt, d Departure, pending []byte, reply url.Values) (Outcome, error) {
	p, err := v.Providers.Redirect(d.Provider)
	if err == nil {
		err = b.takeFlowOf(ctx, d.FlowID)
	}
	if err != nil { // the provider is gone, or the flow was finished before
		b.upstreamRefused(ctx, v, d.Provider, err)
		return Outcome{}, err
	}
	a, err := p.Finish(ctx, v.flow(p, d), pending, reply)
	if err != nil {
		b.upstreamRefused(ctx, v, d.Provider, err)
		return Outcome{}, err
	}
	at.FlowID, at.Kind, at.Application = "", sessions.Browser, v.SelfApplication
	return b.SignIn(ctx, v, at, a)
}

// flow is what a provider may know of a departure: one address per provider that replies come to (OID-03, SML-05).
func (v Visit) flow(p providers.Provider, d Departure) providers.Flow {
	path := "/callback/" + d.Provider
	if _, ok := p.(providers.PostedProvider); ok {
		path = "/saml/" + d.Provider + "/acs"
	}
	return providers.Flow{ID: d.FlowID, CallbackURL: v.own(path), LoginHint: d.LoginHint}
}

// own returns the address of a path of ours.
func (v Visit) own(path string) string {
	return (&url.URL{Scheme: v.Issuer.Scheme, Host: v.Issuer.Host, Path: path}).String()
}

// ServiceMetadata returns our SAML metadata for one provider: see Set.Posted for errors.
func (b *Broker) ServiceMetadata(v Visit, provider string) ([]byte, error) {
	p, err := v.Providers.Posted(provider)
	if err != nil {
		return nil, err
	}
	return p.ServiceMetadata(v.own("/saml/"+provider+"/metadata"), v.flow(p, Departure{Provider: provider}).CallbackURL)
}

// upstreamRefused records that a door refused before there was an assertion, and why for the operator.
func (b *Broker) upstreamRefused(ctx context.Context, v Visit, provider string, cause error) {
	e := v.event(audit.SignInRefused, b.now())
	e.Provider, e.Application = provider, Self
	b.refused(ctx, e, cause)
	b.log.InfoContext(ctx, "sign-in at provider failed", "provider", provider, "request_id", v.TraceID, "err", cause)
}
