package providers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/identity"
)

// silent is a provider that cannot be asked.
type silent struct{ info Info }

func (s *silent) Info() Info { return s.info }

// asked is a provider whose check is the test's.
type asked struct {
	silent
	check func(context.Context) error
}

func (a *asked) Check(ctx context.Context) error { return a.check(ctx) }

func clock() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func TestWordsAreForAPanelAndNotForALog(t *testing.T) {
	long := strings.Repeat("ä", maxWords)
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"nothing wrong":               {nil, ""},
		"plain":                       {errors.New("connection refused"), "connection refused"},
		"code and sentinel before":    {Unavailable(errors.New("connection refused")), "connection refused"},
		"code and sentinel after":     {identity.WithCode("x", fmt.Errorf("no server: %w", identity.ErrUnavailable)), "no server"},
		"sentinel in the middle":      {fmt.Errorf("discovery: %w", fmt.Errorf("%w: no route", identity.ErrUnavailable)), "discovery: no route"},
		"nothing but the sentinel":    {identity.ErrUnavailable, "unavailable"},
		"lines and control letters":   {errors.New("one\ntwo\r\n\tthree\x1b[31m\x00\u202eend"), "one two three [31m end"},
		"bytes that are no text":      {errors.New("a\xffb"), "a?b"},
		"joined errors":               {errors.Join(errors.New("one"), errors.New("two")), "one two"},
		"longer than a panel is wide": {errors.New(long), long[:maxWords-4] + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Words(tc.err)
			if got != tc.want {
				t.Errorf("words are %q, want %q", got, tc.want)
			}
			if len(got) > maxWords {
				t.Errorf("%d bytes", len(got))
			}
		})
	}
}

func TestLookAsksOnce(t *testing.T) {
	info := Info{ID: "corp", Type: "ldap", Title: "Corp"}
	for name, tc := range map[string]struct {
		provider Provider
		want     State
	}{
		"one that cannot be asked is up": {
			&silent{info},
			State{Info: info, Status: Up, Since: clock()},
		},
		"one that answers is up": {
			&asked{silent{info}, func(context.Context) error { return nil }},
			State{Info: info, Status: Up, Since: clock(), CheckedAt: clock()},
		},
		"one that does not is down": {
			&asked{silent{info}, func(context.Context) error { return Unavailable(errors.New("connection refused")) }},
			State{Info: info, Status: Down, Since: clock(), CheckedAt: clock(), Error: "connection refused"},
		},
		"DOS-04: one whose check panics is down": {
			&asked{silent{info}, func(context.Context) error { panic("a test's secret") }},
			State{Info: info, Status: Down, Since: clock(), CheckedAt: clock(), Error: "a fault of ours in the check; the log has more"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Look(t.Context(), tc.provider, clock); got != tc.want {
				t.Errorf("state is %+v, want %+v", got, tc.want)
			}
		})
	}
}
