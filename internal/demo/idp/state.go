package idp

import (
	"errors"
	"maps"
	"sync"
	"time"
)

// How long things live.
const (
	codeLife    = time.Minute
	accessLife  = 10 * time.Minute
	refreshLife = 12 * time.Hour
	sessionLife = 8 * time.Hour
	// maxKept bounds each kind; beyond it nothing new is given out until something has expired.
	maxKept = 10_000
)

var errFull = errors.New("too much is open; wait a little")

// session is a browser that signed in here.
type session struct {
	id       string // the sid claim
	username string
	authTime time.Time
}

// grant is what one person agreed to for one client, by one code.
type grant struct {
	client, username string
	scope            string
	redirectURI      string
	challenge        string
	nonce            string
	session          session
	// ended closes every token that came of it.
	ended bool
}

// kept is a value that ends by itself. spent stays until then, so that a second use is recognised.
type kept[T any] struct {
	value T
	ends  time.Time
	spent bool
}

// state is everything that is open, by secret.
type state struct {
	now func() time.Time

	mu       sync.Mutex
	sessions map[string]kept[session]
	codes    map[string]kept[*grant]
	access   map[string]kept[*grant]
	refresh  map[string]kept[*grant]
}

func newState(now func() time.Time) *state {
	return &state{
		now:      now,
		sessions: map[string]kept[session]{},
		codes:    map[string]kept[*grant]{},
		access:   map[string]kept[*grant]{},
		refresh:  map[string]kept[*grant]{},
	}
}

// put keeps a value under a new secret. The lock is held.
func put[T any](s *state, in map[string]kept[T], value T, life time.Duration) (string, error) {
	now := s.now()
	if len(in) >= maxKept {
		maps.DeleteFunc(in, func(_ string, k kept[T]) bool { return now.After(k.ends) })
	}
	if len(in) >= maxKept {
		return "", errFull
	}
	secret := newSecret()
	in[secret] = kept[T]{value: value, ends: now.Add(life)}
	return secret, nil
}

// find returns what is open under the secret. The lock is held.
func find[T any](s *state, in map[string]kept[T], secret string) (kept[T], bool) {
	k, ok := in[secret]
	return k, ok && s.now().Before(k.ends)
}

func (s *state) openSession(v session) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return put(s, s.sessions, v, sessionLife)
}

func (s *state) session(secret string) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := find(s, s.sessions, secret)
	return k.value, ok
}

func (s *state) endSession(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, secret)
}

func (s *state) openCode(g *grant) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return put(s, s.codes, g, codeLife)
}

// takeCode spends a code. A second use ends everything that came of the first (RFC 6749 section 4.1.2).
func (s *state) takeCode(secret string) (*grant, bool) { return take(s, s.codes, secret) }

// takeRefresh spends a refresh token. A second use ends the family (RFC 9700 section 4.14.2).
func (s *state) takeRefresh(secret string) (*grant, bool) { return take(s, s.refresh, secret) }

func take(s *state, in map[string]kept[*grant], secret string) (*grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := find(s, in, secret)
	if !ok {
		return nil, false
	}
	if k.spent || k.value.ended {
		k.value.ended = true
		return nil, false
	}
	k.spent = true
	in[secret] = k
	return k.value, true
}

// openTokens gives an access token and, where asked for, a refresh token.
func (s *state) openTokens(g *grant, withRefresh bool) (access, refresh string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if access, err = put(s, s.access, g, accessLife); err != nil || !withRefresh {
		return access, "", err
	}
	refresh, err = put(s, s.refresh, g, refreshLife)
	return access, refresh, err
}

// byAccess returns the grant of a living access token.
func (s *state) byAccess(secret string) (*grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := find(s, s.access, secret)
	if !ok || k.value.ended {
		return nil, false
	}
	return k.value, true
}
