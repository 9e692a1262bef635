package broker

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"sallyport/identity"
	"sallyport/mapping"
	"sallyport/providers"
)

// Snapshot is one loaded configuration, immutable. Every request is served under one snapshot from its first byte to
// its last.
type Snapshot struct {
	// Generation is the number the store gave this configuration's content.
	Generation int64
	// Hash of the content, see configs.Config.Hash.
	Hash string
	// Issuer is our own address, without a path.
	Issuer    *url.URL
	Mapper    *mapping.Mapper
	Providers *providers.Set
	// QualifyNames lists providers whose newcomers get "name@provider" when their name is taken; others are refused.
	QualifyNames map[string]bool
	// DefaultProvider takes names without a domain rule; Domains sends a typed name's domain (lower case) to a provider.
	DefaultProvider string
	Domains         map[string]string
	// Session limits of the broker's own sign-in.
	Session Limits
	// Remember replaces Idle and Lifetime for those who ask to be remembered; not offered when its Lifetime is zero.
	Remember Limits
	// Throttle bounds guessing, SigningKeys how long a key signs.
	Throttle    ThrottleRules
	SigningKeys SigningKeyRules
	// Keys limits API keys.
	Keys KeyRules
	// Brand and Support are what people read on the pages.
	Brand, Support string
	// Embedders are the applications that may frame others, in the order of their ids.
	Embedders []*Embedder
	// SelfApplication is the broker as an application, see Self.
	SelfApplication *Application

	applications map[string]*Application
	hosts        map[string][]*Application // by host, longest path prefix first
}

// WithApplications fills in the applications; it is called once, before the snapshot is used.
func (s *Snapshot) WithApplications(all []*Application) *Snapshot {
	s.applications = map[string]*Application{Self: s.SelfApplication}
	s.hosts = map[string][]*Application{}
	for _, a := range all {
		s.applications[a.ID] = a
		if a.URL != nil {
			host := strings.ToLower(a.URL.Host)
			s.hosts[host] = append(s.hosts[host], a)
		}
	}
	for _, on := range s.hosts {
		slices.SortFunc(on, func(a, b *Application) int { return len(b.URL.Path) - len(a.URL.Path) })
	}
	return s
}

// Application returns an application by id, Self included; identity.ErrNotFound coded application_unknown otherwise.
func (s *Snapshot) Application(id string) (*Application, error) {
	if a := s.applications[id]; a != nil {
		return a, nil
	}
	return nil, identity.WithCode("application_unknown", fmt.Errorf("application %q: %w", id, identity.ErrNotFound))
}

// Applications returns the configured applications in the order of their ids, without Self.
func (s *Snapshot) Applications() []*Application {
	var all []*Application
	for id, a := range s.applications {
		if id != Self {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b *Application) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// IsIssuer reports whether the host (with port, as in the Host header) is ours.
func (s *Snapshot) IsIssuer(host string) bool { return strings.EqualFold(host, s.Issuer.Host) }

// ApplicationAt returns the application at host and path by the longest prefix, or nil.
func (s *Snapshot) ApplicationAt(host, path string) *Application {
	on := s.hosts[strings.ToLower(host)]
	for _, a := range on {
		if strings.HasPrefix(path, a.URL.Path) || path+"/" == a.URL.Path {
			return a
		}
	}
	return nil
}

// HasHost reports whether any application lives on the host.
func (s *Snapshot) HasHost(host string) bool { return len(s.hosts[strings.ToLower(host)]) > 0 }

// door says which provider a typed name belongs to: the explicit one, else the rule for the name's domain, else the
// default. It depends on the name's spelling only, never on whether anybody has it.
func (s *Snapshot) door(explicit, username string) (providers.Provider, error) {
	id := s.DefaultProvider
	if ruled := s.ruled(username); ruled != "" {
		id = ruled
	}
	if explicit != "" {
		id = explicit
	}
	return s.Providers.Get(id)
}

// ruled returns the provider that a typed name's domain belongs to, or "".
func (s *Snapshot) ruled(username string) string {
	_, domain, _ := strings.Cut(username, "@")
	return s.Domains[strings.ToLower(strings.TrimSpace(domain))]
}
