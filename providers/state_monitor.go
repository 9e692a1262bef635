package providers

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// The rhythm of a Monitor. One that is down is asked more often, so that its light goes green soon after it is back.
const (
	askUp   = time.Minute
	askDown = 15 * time.Second
	// askAgain is the least time between two questions to one provider, however often sign-ins ask for one.
	askAgain = 5 * time.Second
)

// Monitor knows which of the running providers answer. It asks each by itself, in the background and all at once, so no
// sign-in waits for it; what happens to real sign-ins makes it ask sooner (Answered, Unanswered). Only a question turns
// a light green, and only one that keeps failing keeps it red: strangers whose sign-ins break off do neither. It is safe
// for concurrent use.
type Monitor struct {
	log    *slog.Logger
	now    func() time.Time
	wake   chan struct{}
	panics atomic.Uint64

	mu      sync.Mutex
	watched []*watched // in the order of ids
}

// watched is a provider under watch; Monitor.mu guards what changes.
type watched struct {
	checker Checker // nil: it cannot be asked, and is up
	state   State
	told    Status    // as the log was told last
	due     time.Time // when to ask
	asked   time.Time // when the last question began
	asking  bool
	gone    bool // the set it was in is no longer watched
}

// NewMonitor returns a monitor that watches nothing yet. Changes from up to down are logged as warnings, those back as
// info.
func NewMonitor(log *slog.Logger, now func() time.Time) *Monitor {
	return &Monitor{log: log, now: now, wake: make(chan struct{}, 1)}
}

// Watch makes the set the one that is watched from now on. Its providers are asked at once; until they have answered,
// those that were watched before under the same id and type keep their light.
func (m *Monitor) Watch(s *Set) {
	now := m.now()
	m.mu.Lock()
	before := make(map[string]*watched, len(m.watched))
	for _, w := range m.watched {
		w.gone = true
		before[w.state.ID] = w
	}
	m.watched = nil
	for _, p := range s.All() {
		m.watched = append(m.watched, watch(p, before[p.Info().ID], now))
	}
	m.mu.Unlock()
	m.look()
}

func watch(p Provider, before *watched, now time.Time) *watched {
	w := &watched{state: State{Info: p.Info(), Status: Up, Since: now}}
	checker, ok := p.(Checker)
	if !ok {
		return w
	}
	w.checker, w.due = checker, now
	w.state.Status, w.told = Unknown, Unknown
	if before != nil && before.checker != nil && before.state.Type == w.state.Type {
		w.state, w.told = before.state, before.told
		w.state.Info = p.Info()
	}
	return w
}

// States returns what is known of each provider, in the order of their ids.
func (m *Monitor) States() []State {
	m.mu.Lock()
	defer m.mu.Unlock()
	states := make([]State, 0, len(m.watched))
	for _, w := range m.watched {
		states = append(states, w.state)
	}
	return states
}

// Panics counts those caught in checks.
func (m *Monitor) Panics() uint64 { return m.panics.Load() }

// Answered tells that somebody signed in through the provider. Where its light is not green it is asked at once.
func (m *Monitor) Answered(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.find(id); w != nil && w.state.Status != Up {
		m.hasten(w)
	}
}

// Unanswered tells that a sign-in ended in identity.ErrUnavailable. The light goes red at once and the provider is asked
// to find out why; one that has just been asked keeps its light until it can be asked again.
func (m *Monitor) Unanswered(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.find(id)
	if w == nil || w.state.Status == Down {
		return
	}
	if now := m.now(); now.Sub(w.asked) >= askAgain {
		w.state.turn(Down, now, "a sign-in got no answer")
	}
	m.hasten(w)
}

// find returns the provider with this id if there is one and it can be asked.
func (m *Monitor) find(id string) *watched {
	for _, w := range m.watched {
		if w.state.ID == id && w.checker != nil {
			return w
		}
	}
	return nil
}

// hasten has a provider asked as soon as it may be.
func (m *Monitor) hasten(w *watched) {
	if soon := w.asked.Add(askAgain); soon.Before(w.due) {
		w.due = soon
		m.look()
	}
}

// look makes Run look at what is due.
func (m *Monitor) look() {
	select {
	case m.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Run asks until ctx ends, and returns when the last question has ended.
func (m *Monitor) Run(ctx context.Context) {
	var questions sync.WaitGroup
	defer questions.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-m.wake:
		}
		due, pause := m.due()
		for _, w := range due {
			questions.Go(func() { m.ask(ctx, w) })
		}
		timer.Reset(pause)
	}
}

// due takes those that are to be asked now, and says how long the next may wait.
func (m *Monitor) due() (due []*watched, pause time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	pause = askUp
	for _, w := range m.watched {
		switch {
		case w.checker == nil || w.asking:
		case w.due.After(now):
			pause = min(pause, w.due.Sub(now))
		default:
			w.asking, w.asked = true, now
			due = append(due, w)
		}
	}
	return due, pause
}

// ask puts one question and keeps the answer.
func (m *Monitor) ask(ctx context.Context, w *watched) {
	err := Check(ctx, w.checker)
	if ctx.Err() != nil {
		return // we are stopping, which says nothing about the provider
	}
	if p := (*panicked)(nil); errors.As(err, &p) {
		m.panics.Add(1)
		m.log.ErrorContext(ctx, "panic in a provider's check", "provider", w.state.ID, "panic", p.value, "stack", p.stack)
	}
	if before, now, ok := m.keep(w, err); ok {
		m.tell(ctx, before, now)
	}
	m.look() // when it is due again is news
}

// keep writes down an answer. It returns the status that was told last and the state, and whether anybody still wants to
// know.
func (m *Monitor) keep(w *watched, err error) (told Status, now State, wanted bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, status, pause := m.now(), Up, askUp
	if err != nil {
		status, pause = Down, askDown
	}
	w.asking, w.due = false, at.Add(pause)
	w.state.turn(status, at, Words(err))
	w.state.CheckedAt = at
	told, w.told = w.told, status
	return told, w.state, !w.gone
}

func (s *State) turn(status Status, at time.Time, words string) {
	if s.Status != status {
		s.Status, s.Since = status, at
	}
	s.Error = words
}

// tell logs a change once.
func (m *Monitor) tell(ctx context.Context, before Status, s State) {
	switch {
	case s.Status == Down && before != Down:
		m.log.WarnContext(ctx, "provider is down", "provider", s.ID, "type", s.Type, "err", s.Error)
	case s.Status == Up && before == Down:
		m.log.InfoContext(ctx, "provider is up again", "provider", s.ID, "type", s.Type)
	}
}
