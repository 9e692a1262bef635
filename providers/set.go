package providers

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"sallyport/identity"
)

// Set is the running providers of one configuration, immutable, in the order of their ids. The zero value is empty.
type Set struct {
	byID  map[string]Provider
	order []Provider
}

// NewSet makes a set; two providers with one id are an error.
func NewSet(all ...Provider) (*Set, error) {
	s := &Set{byID: make(map[string]Provider, len(all)), order: slices.Clone(all)}
	for _, p := range all {
		id := p.Info().ID
		if s.byID[id] != nil {
			return nil, fmt.Errorf("provider %q stands twice", id)
		}
		s.byID[id] = p
	}
	slices.SortFunc(s.order, func(a, b Provider) int { return strings.Compare(a.Info().ID, b.Info().ID) })
	return s, nil
}

// All returns the providers in the order of their ids.
func (s *Set) All() []Provider { return s.order }

// Get returns a provider by id, or identity.ErrNotFound coded provider_unknown.
func (s *Set) Get(id string) (Provider, error) {
	if p := s.byID[id]; p != nil {
		return p, nil
	}
	return nil, identity.WithCode("provider_unknown", fmt.Errorf("provider %q: %w", id, identity.ErrNotFound))
}

// Password returns a provider that takes typed passwords; see Get for errors.
func (s *Set) Password(id string) (PasswordProvider, error) { return ability[PasswordProvider](s, id) }

// Redirect returns a provider that sends browsers away; see Get for errors.
func (s *Set) Redirect(id string) (RedirectProvider, error) { return ability[RedirectProvider](s, id) }

// Token returns a provider that takes tokens an application holds; see Get for errors.
func (s *Set) Token(id string) (TokenProvider, error) { return ability[TokenProvider](s, id) }

// Posted returns a provider whose reply is posted to us from its own site; see Get for errors.
func (s *Set) Posted(id string) (PostedProvider, error) { return ability[PostedProvider](s, id) }

// Keeper returns the first provider that keeps passwords itself, or the named one; see Get for errors.
func (s *Set) Keeper(id string) (PasswordKeeper, error) {
	if id != "" {
		return ability[PasswordKeeper](s, id)
	}
	for _, p := range s.order {
		if k, ok := p.(PasswordKeeper); ok {
			return k, nil
		}
	}
	return nil, identity.WithCode("provider_unknown", fmt.Errorf("no local provider: %w", identity.ErrNotFound))
}

// Close releases what the providers hold (connections). Sign-ins under way may fail.
func (s *Set) Close() {
	for _, p := range s.order {
		if c, ok := p.(io.Closer); ok {
			_ = c.Close()
		}
	}
}

func ability[T Provider](s *Set, id string) (T, error) {
	var none T
	p, err := s.Get(id)
	if err != nil {
		return none, err
	}
	t, ok := p.(T)
	if !ok {
		return none, identity.WithCode("provider_unknown",
			fmt.Errorf("provider %q of type %s cannot do this: %w", id, p.Info().Type, identity.ErrNotFound))
	}
	return t, nil
}
