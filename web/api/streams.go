package api

import (
	"fmt"
	"sync"

	"sallyport/identity"
)

const (
	// maxStreams bounds the streams that one process serves.
	maxStreams = 64
	// streamsKept of them are for whoever administers the broker.
	streamsKept = 8
	// streamsEach bounds those of one account, with all its keys.
	streamsEach = 4
)

// streams counts those that are open. The zero value has none.
type streams struct {
	mu   sync.Mutex
	open int
	of   map[string]int
}

// enter lets a reader open one more: identity.ErrUnavailable coded too_many_streams where there are as many as there may
// be, of theirs or of all. leave is to be called once, at its end.
func (s *streams) enter(r reader) (leave func(), err error) {
	most := maxStreams
	if !r.administers {
		most -= streamsKept
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open >= most || s.of[r.account] >= streamsEach {
		return nil, identity.WithCode("too_many_streams",
			fmt.Errorf("%d streams, %d of account %s: %w", s.open, s.of[r.account], r.account, identity.ErrUnavailable))
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.open++
	s.of[r.account]++
	return func() { s.leave(r.account) }, nil
}

func (s *streams) leave(account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	if s.of[account]--; s.of[account] == 0 {
		delete(s.of, account)
	}
}
