package samlidp

import (
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/crewjam/saml"
)

// How long things live.
const (
	questionLife = 10 * time.Minute
	sessionLife  = 8 * time.Hour
	// maxKept bounds each kind; beyond it nothing new is kept until something has expired.
	maxKept = 10_000
)

var errFull = errors.New("too much is open; wait a little")

// session is a browser that signed in here.
type session struct {
	// index is what the service provider calls it.
	index    string
	username string
	authTime time.Time
}

// kept is a value that ends by itself.
type kept[T any] struct {
	value T
	ends  time.Time
}

// state is everything that is open, by secret.
type state struct {
	now func() time.Time

	mu        sync.Mutex
	sessions  map[string]kept[session]
	questions map[string]kept[*saml.IdpAuthnRequest]
}

func newState(now func() time.Time) *state {
	return &state{now: now, sessions: map[string]kept[session]{}, questions: map[string]kept[*saml.IdpAuthnRequest]{}}
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
func find[T any](s *state, in map[string]kept[T], secret string) (T, bool) {
	k, ok := in[secret]
	return k.value, ok && s.now().Before(k.ends)
}

func (s *state) openSession(v session) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return put(s, s.sessions, v, sessionLife)
}

func (s *state) session(secret string) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return find(s, s.sessions, secret)
}

func (s *state) endSession(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, secret)
}

// ask keeps a request while somebody types.
func (s *state) ask(q *saml.IdpAuthnRequest) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return put(s, s.questions, q, questionLife)
}

// asked reports whether the request that a form belongs to is still open.
func (s *state) asked(secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := find(s, s.questions, secret)
	return ok
}

// takeQuestion returns it once: a request has one answer.
func (s *state) takeQuestion(secret string) (*saml.IdpAuthnRequest, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, ok := find(s, s.questions, secret)
	delete(s.questions, secret)
	return q, ok
}
