package saml

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"sallyport/providers"
)

const (
	// metadataLife is how long a document is used before it is looked at again.
	metadataLife = time.Hour
	// fetchTimeout bounds one look, from dialling to the last byte.
	fetchTimeout = 5 * time.Second
	// firstRetry and lastRetry bound the pause after a failure, which doubles each time.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	// unknownKeyPause is the time between two looks for the key of a signature that nobody knows: whoever can post here
	// can ask for one.
	unknownKeyPause = 30 * time.Second
)

// source knows the provider. It looks when it is first asked, keeps the last good copy, and shares one look among all who
// wait; after a failure it does not look again before the pause is over. Without fetch, current is all there will ever
// be.
type source struct {
	fetch func(context.Context) ([]byte, error)
	parse func([]byte) (*idp, error)
	now   func() time.Time
	log   *slog.Logger

	// keep, when set, has the last good copy under name.
	keep providers.Keeper
	name string

	// steady: configuration does not name the entity, so the one that is found first stays. entity is which, once it is known;
	// only the one look under way reads and writes it.
	steady bool
	entity string

	mu      sync.Mutex
	current *idp
	looked  time.Time
	running *look
	failure error
	failed  time.Time
	pause   time.Duration
	// searched is when an unknown key was last looked for.
	searched time.Time
}

// look is one load under way; done is closed when the result stands. A failed one may have found a copy to go on with.
type look struct {
	done  chan struct{}
	found *idp
	err   error
}

// errOtherEntity: accounts belong to the provider's id, so another entity would inherit all of them.
var errOtherEntity = errors.New("it is of another entity than before; set entity_id to the new one if that is meant")

// get returns what is known: at once where there is a copy that has not ended (an old one is renewed in the background).
func (s *source) get(ctx context.Context) (*idp, error) {
	s.mu.Lock()
	now := s.now()
	current := s.current
	if s.fetch == nil {
		s.mu.Unlock()
		return current, nil
	}
	if current != nil && current.ended(now) {
		current = nil
	}
	waiting := s.failure != nil && !passed(now, s.failed, s.pause)
	if current != nil && (waiting || !passed(now, s.looked, metadataLife)) {
		s.mu.Unlock()
		return current, nil
	}
	if waiting && s.running == nil {
		defer s.mu.Unlock()
		return nil, s.failure
	}
	running := s.start()
	s.mu.Unlock()
	if current != nil {
		return current, nil
	}
	found, err := running.wait(ctx)
	if found != nil {
		return found, nil
	}
	return nil, err
}

// refresh looks now, whatever is kept, or joins a look under way. It may return a copy together with the error.
func (s *source) refresh(ctx context.Context) (*idp, error) {
	s.mu.Lock()
	if s.fetch == nil {
		defer s.mu.Unlock()
		return s.current, nil
	}
	running := s.start()
	s.mu.Unlock()
	return running.wait(ctx)
}

// newer returns what is known after another look, for a signature that no certificate of seen verifies; nil where nothing
// newer than seen can be had now. A provider that changed its key without overlap costs nobody a sign-in (REL-05).
func (s *source) newer(ctx context.Context, seen *idp) *idp {
	s.mu.Lock()
	if s.current != seen {
		defer s.mu.Unlock()
		return s.current // somebody else looked meanwhile
	}
	now := s.now()
	if s.fetch == nil || s.running == nil && !passed(now, s.searched, unknownKeyPause) {
		s.mu.Unlock()
		return nil
	}
	s.searched = now
	running := s.start()
	s.mu.Unlock()
	found, err := running.wait(ctx)
	if err != nil {
		return nil
	}
	return found
}

// known returns what get would return without waiting; nil for nothing.
func (s *source) known() *idp {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// start begins a look unless one is under way. It outlives the request that began it, others may be waiting. The lock is
// held.
func (s *source) start() *look {
	if s.running != nil {
		return s.running
	}
	l := &look{done: make(chan struct{})}
	s.running = l
	go func() {
		l.found, l.err = s.load()
		if l.err != nil && !errors.Is(l.err, errNoCertificate) {
			l.found = s.fallback()
		}
		s.finish(l)
	}()
	return l
}

// load fetches, reads and keeps. That there is no certificate left is kept, too: it must not be forgotten by a restart.
func (s *source) load() (*idp, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	raw, err := s.fetch(ctx)
	if err != nil {
		return nil, err
	}
	found, err := s.parse(raw)
	if err != nil && !errors.Is(err, errNoCertificate) {
		return nil, err
	}
	if !s.same(ctx, entityOf(raw)) {
		return nil, providers.Misconfigured(errOtherEntity)
	}
	if s.keep != nil {
		if err := s.keep.Keep(ctx, s.name, raw); err != nil {
			s.log.Warn("saml metadata cannot be kept", "err", err)
		}
	}
	return found, err
}

// same reports whether an entity is the one that was known before, here or before a restart, and remembers the first one.
func (s *source) same(ctx context.Context, entity string) bool {
	if !s.steady {
		return true
	}
	if s.entity == "" && s.keep != nil {
		if raw, err := s.keep.Kept(ctx, s.name); err == nil {
			s.entity = entityOf(raw)
		}
	}
	if s.entity == "" {
		s.entity = entity
	}
	return s.entity == entity
}

// fallback returns the copy to go on with after a failure: the one in use, else the one that was kept before a restart.
func (s *source) fallback() *idp {
	now := s.now()
	if current := s.known(); current != nil || s.keep == nil {
		if current != nil && current.ended(now) {
			return nil
		}
		return current
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	raw, err := s.keep.Kept(ctx, s.name)
	if err != nil || len(raw) == 0 {
		return nil
	}
	found, err := s.parse(raw)
	if err != nil {
		return nil
	}
	return found
}

func (s *source) finish(l *look) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(l.done)
	s.running = nil
	if l.err == nil {
		s.current, s.looked = l.found, s.now()
		s.failure, s.pause = nil, 0
		return
	}
	if l.found != nil || errors.Is(l.err, errNoCertificate) {
		s.current = l.found
	}
	l.err = providers.Unavailable(fmt.Errorf("metadata: %w", l.err))
	s.pause = min(max(2*s.pause, firstRetry), lastRetry)
	s.failure, s.failed = l.err, s.now()
	s.log.Warn("saml metadata cannot be used", "err", l.err, "last_good_copy", s.current != nil)
}

func (l *look) wait(ctx context.Context) (*idp, error) {
	select {
	case <-l.done:
		return l.found, l.err
	case <-ctx.Done():
		return nil, providers.Unavailable(fmt.Errorf("metadata: %w", ctx.Err()))
	}
}

// passed reports whether d has passed since then. A clock that jumped back counts as passed.
func passed(now, then time.Time, d time.Duration) bool {
	age := now.Sub(then)
	return age < 0 || age >= d
}

// fetch gets the document, bounded.
func fetch(ctx context.Context, client *http.Client, endpoint string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	req.Header.Set("Accept", "application/samlmetadata+xml, application/xml;q=0.9, text/xml;q=0.8")
	body, _, err := providers.Fetch(client, req, maxMetadata)
	return body, err
}
