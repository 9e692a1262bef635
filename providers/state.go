package providers

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
	"unicode"

	"sallyport/identity"
)

// Status is a provider's light on the panel.
type Status string

// The lights.
const (
	// Unknown: it was not asked yet.
	Unknown Status = "unknown"
	// Up: it answered when it was last asked, or cannot be asked at all (local).
	Up Status = "up"
	// Down: it did not answer, or could not be opened.
	Down Status = "down"
)

// State is what is known of a provider's health.
type State struct {
	Info
	Status Status
	// Since is when it took on this status.
	Since time.Time
	// CheckedAt is when it was last asked; zero: never.
	CheckedAt time.Time
	// Error says in words why it is down, on one line of at most maxWords bytes; empty otherwise.
	Error string
}

// CheckTimeout is how long a provider may take to show that it is there.
const CheckTimeout = 10 * time.Second

// maxWords bounds the words of a state, in bytes: a panel is no log.
const maxWords = 300

// Look asks a provider once, now.
func Look(ctx context.Context, p Provider, now func() time.Time) State {
	s := State{Info: p.Info(), Status: Up, Since: now()}
	checker, ok := p.(Checker)
	if !ok {
		return s
	}
	err := Check(ctx, checker)
	s.CheckedAt = now()
	if err != nil {
		s.Status, s.Error = Down, Words(err)
	}
	return s
}

// Check asks within CheckTimeout. A panic is an answer too: no bug of a kind ends the process (DOS-04).
func Check(ctx context.Context, c Checker) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &panicked{value: fmt.Sprint(r), stack: string(debug.Stack())}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, CheckTimeout)
	defer cancel()
	return c.Check(ctx)
}

// panicked is a check that ended in a panic; value and stack are for the log.
type panicked struct{ value, stack string }

func (*panicked) Error() string { return "a fault of ours in the check; the log has more" }

// Words spells an error of a provider for a panel: without its code and its sentinel, which the status says already, on
// one line, in maxWords bytes at most. It is empty for nil.
func Words(err error) string {
	if err == nil {
		return ""
	}
	if coded := (*identity.Coded)(nil); errors.As(err, &coded) {
		err = coded.Err
	}
	text := strings.ToValidUTF8(err.Error(), "?")
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	sentinel := identity.ErrUnavailable.Error()
	text = strings.TrimSuffix(strings.TrimPrefix(text, sentinel+": "), ": "+sentinel)
	text = strings.ReplaceAll(text, ": "+sentinel+": ", ": ")
	if len(text) > maxWords {
		text = strings.ToValidUTF8(text[:maxWords-len("…")], "") + "…"
	}
	return text
}
