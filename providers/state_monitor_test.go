package providers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/testenv"
)

// upstream is what a provider under watch depends on.
type upstream struct {
	mu    sync.Mutex
	wrong error
	asked int
	hangs bool // until the question is given up
}

func (u *upstream) set(wrong error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wrong = wrong
}

func (u *upstream) questions() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked
}

func (u *upstream) check(ctx context.Context) error {
	u.mu.Lock()
	u.asked++
	wrong, hangs := u.wrong, u.hangs
	u.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return Unavailable(ctx.Err())
	}
	return wrong
}

func (u *upstream) provider(id string) Provider {
	return &asked{silent{Info{ID: id, Type: "kind"}}, u.check}
}

// watching is a running monitor in a bubble.
type watching struct {
	*Monitor
	t   *testing.T
	log *bytes.Buffer
	end func()
}

// watchAll must be called in a bubble; the monitor ends with it.
func watchAll(t *testing.T, all ...Provider) *watching {
	t.Helper()
	w := &watching{t: t, log: &bytes.Buffer{}}
	w.Monitor = NewMonitor(slog.New(slog.NewTextHandler(w.log, nil)), time.Now)
	w.swap(all...)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(ctx) }()
	w.end = func() { cancel(); <-ended }
	synctest.Wait()
	return w
}

func (w *watching) swap(all ...Provider) {
	w.t.Helper()
	set, err := NewSet(all...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Watch(set)
}

// pass lets time go by.
func (w *watching) pass(d time.Duration) { <-time.After(d); synctest.Wait() }

func (w *watching) state(id string) State {
	w.t.Helper()
	for _, s := range w.States() {
		if s.ID == id {
			return s
		}
	}
	w.t.Fatalf("no state of %s", id)
	return State{}
}

// expect holds a light, and its words, against what they should be.
func (w *watching) expect(when, id string, status Status, words string) {
	w.t.Helper()
	if s := w.state(id); s.Status != status || s.Error != words {
		w.t.Errorf("%s: %s is %s %q, want %s %q", when, id, s.Status, s.Error, status, words)
	}
}

// told counts lines of the log, and forgets them.
func (w *watching) told(text string) int {
	n := strings.Count(w.log.String(), text)
	w.log.Reset()
	return n
}

func TestAProviderIsAskedAtOnceAndThenInItsRhythm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var u upstream
		w := watchAll(t, u.provider("corp"), &silent{Info{ID: "local"}})
		defer w.end()
		begun := time.Now()
		w.expect("at the start", "corp", Up, "")
		w.expect("at the start", "local", Up, "")
		if s := w.state("local"); !s.CheckedAt.IsZero() {
			t.Errorf("who cannot be asked was asked at %s", s.CheckedAt)
		}

		u.set(Unavailable(errors.New("connection refused")))
		w.pass(59 * time.Second)
		w.expect("before the minute is over", "corp", Up, "")
		w.pass(time.Second)
		w.expect("after a minute", "corp", Down, "connection refused")
		if since := w.state("corp").Since; !since.Equal(begun.Add(time.Minute)) {
			t.Errorf("down since %s", since.Sub(begun))
		}
		w.pass(45 * time.Second)
		if n := u.questions(); n != 5 {
			t.Errorf("asked %d times, want at 0, 60, 75, 90 and 105 s", n)
		}
		if n := w.told(`level=WARN msg="provider is down" provider=corp type=kind err="connection refused"`); n != 1 {
			t.Errorf("the change was told %d times", n)
		}

		u.set(nil)
		w.pass(14 * time.Second)
		w.expect("before it is asked again", "corp", Down, "connection refused")
		w.pass(time.Second)
		w.expect("fifteen seconds later", "corp", Up, "")
		if n := w.told(`level=INFO msg="provider is up again" provider=corp`); n != 1 {
			t.Errorf("the way back was told %d times", n)
		}
		if s := w.state("corp"); !s.CheckedAt.Equal(time.Now()) || !s.Since.Equal(time.Now()) {
			t.Errorf("asked at %s, up since %s, now is %s", s.CheckedAt, s.Since, time.Now())
		}
	})
}

func TestOneThatHangsIsGivenUpAndHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, quick := upstream{hangs: true}, upstream{}
		w := watchAll(t, slow.provider("slow"), quick.provider("quick"))
		defer w.end()
		w.expect("at once", "quick", Up, "")
		w.expect("while it hangs", "slow", Unknown, "")
		w.pass(CheckTimeout)
		w.expect("after ten seconds", "slow", Down, "context deadline exceeded")
		w.pass(time.Minute)
		if n := quick.questions(); n != 2 {
			t.Errorf("the quick one was asked %d times in 70 s, want 2", n)
		}
		if n := slow.questions(); n != 3 {
			t.Errorf("the slow one was asked %d times, want at 0, 25 and 50 s", n)
		}
	})
}

func TestASignInWithoutAnAnswerTurnsTheLightRedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var u upstream
		w := watchAll(t, u.provider("corp"))
		defer w.end()
		w.pass(20 * time.Second)
		u.set(Unavailable(errors.New("connection refused")))
		w.Unanswered("corp")
		w.expect("at once", "corp", Down, "a sign-in got no answer")
		synctest.Wait()
		w.expect("when it was asked why", "corp", Down, "connection refused")
		w.Unanswered("corp")
		w.expect("the next time", "corp", Down, "connection refused")
		if n := w.told("provider is down"); n != 1 {
			t.Errorf("told %d times", n)
		}
		u.set(nil)
		w.pass(10 * time.Second)
		w.Answered("corp")
		synctest.Wait()
		w.expect("when somebody got in", "corp", Up, "")
	})
}

func TestStrangersWhoseSignInsBreakOffKeepNoLightRed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var u upstream
		w := watchAll(t, u.provider("corp"))
		defer w.end()
		w.pass(20 * time.Second)
		for range 600 { // ten a second
			w.Unanswered("corp")
			w.pass(100 * time.Millisecond)
			w.expect("a moment after a sign-in broke off", "corp", Up, "")
		}
		if n := u.questions(); n > 14 {
			t.Errorf("strangers had the provider asked %d times in a minute", n)
		}
		if n := w.told("provider"); n != 0 {
			t.Errorf("strangers wrote %d lines into the log", n)
		}
	})
}

func TestAnAnswerIsNoReasonToAskOneThatIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var u upstream
		w := watchAll(t, u.provider("corp"), &silent{Info{ID: "local"}})
		defer w.end()
		w.pass(30 * time.Second)
		for _, id := range []string{"corp", "local", "nobody", ""} {
			w.Answered(id)
		}
		w.Unanswered("local")
		w.Unanswered("nobody")
		synctest.Wait()
		if n := u.questions(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		w.expect("who cannot be asked", "local", Up, "")
	})
}

func TestALightOutlivesAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var before, after upstream
		before.set(Unavailable(errors.New("connection refused")))
		w := watchAll(t, before.provider("corp"), before.provider("gone"))
		defer w.end()
		since := w.state("corp").Since
		w.told("")
		w.pass(5 * time.Second)

		after.hangs = true
		w.swap(after.provider("corp"), after.provider("new"))
		synctest.Wait()
		w.expect("until the new one has answered", "corp", Down, "connection refused")
		w.expect("one that was not there before", "new", Unknown, "")
		if len(w.States()) != 2 {
			t.Errorf("states: %v", w.States())
		}
		w.pass(CheckTimeout)
		w.expect("when it has not", "corp", Down, "context deadline exceeded")
		if got := w.state("corp").Since; !got.Equal(since) {
			t.Errorf("down since %s, want %s", got, since)
		}
		if n := w.told("provider=corp"); n != 0 {
			t.Errorf("what was known was told %d times", n)
		}
		n := before.questions()
		w.pass(time.Minute)
		if before.questions() != n {
			t.Error("a provider that is no longer there is asked")
		}
	})
}

func TestAnAnswerThatComesAfterAReloadIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, quick := upstream{hangs: true}, upstream{}
		w := watchAll(t, slow.provider("corp"))
		defer w.end()
		w.swap(quick.provider("corp"))
		synctest.Wait()
		w.expect("after the reload", "corp", Up, "")
		w.pass(CheckTimeout)
		w.expect("when the earlier one is given up", "corp", Up, "")
		if n := w.told("provider is down"); n != 0 {
			t.Error("a provider that is no longer there is told about")
		}
	})
}

func TestAnotherKindUnderTheSameIDIsAnotherProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var u upstream
		u.set(Unavailable(errors.New("connection refused")))
		w := watchAll(t, u.provider("corp"))
		defer w.end()
		hanging := upstream{hangs: true}
		w.swap(&asked{silent{Info{ID: "corp", Type: "other"}}, hanging.check})
		synctest.Wait()
		w.expect("before it has answered", "corp", Unknown, "")
	})
}

func TestStoppingSaysNothingAboutAProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := upstream{hangs: true}
		w := watchAll(t, u.provider("corp"))
		w.end()
		w.expect("after the end", "corp", Unknown, "")
		if n := w.told("provider"); n != 0 {
			t.Errorf("%d lines", n)
		}
	})
}

func TestDOS04_APanicInACheckIsCaughtAndToldAndTheOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var u upstream
		w := watchAll(t, u.provider("corp"), &asked{silent{Info{ID: "bad"}}, func(context.Context) error { panic("a test's") }})
		defer w.end()
		w.expect("the one", "bad", Down, "a fault of ours in the check; the log has more")
		w.expect("the other", "corp", Up, "")
		if w.Panics() != 1 || !strings.Contains(w.log.String(), `level=ERROR msg="panic in a provider's check" provider=bad panic="a test's"`) {
			t.Errorf("%d panics; the log says %s", w.Panics(), w.log)
		}
	})
}

func TestABrokenProviderIsARedLight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchAll(t, brokenAs(AsPassword))
		defer w.end()
		w.expect("at the start", "corp", Down, "cannot be opened: ca.pem is not there")
		w.Unanswered("corp")
		w.expect("a sign-in later", "corp", Down, "cannot be opened: ca.pem is not there")
	})
}

// TestREL04_LightsFollowARealListener has a listener go away and come back; the clock is the test's.
func TestREL04_LightsFollowARealListener(t *testing.T) {
	var offset atomic.Int64
	begun := clock()
	m := NewMonitor(slog.New(slog.DiscardHandler), func() time.Time { return begun.Add(time.Duration(offset.Load())) })
	address, hangUp := listen(t, "127.0.0.1:0")
	set, err := NewSet(&asked{silent{Info{ID: "corp"}}, func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return Unavailable(err)
		}
		return c.Close()
	}})
	if err != nil {
		t.Fatal(err)
	}
	m.Watch(set)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { m.Run(ctx) })
	defer running.Wait()
	defer cancel()
	await := func(status Status, words string) {
		t.Helper()
		if err := testenv.Eventually(10*time.Second, nil, func() error {
			if s := m.States()[0]; s.Status != status || !strings.Contains(s.Error, words) {
				return errors.New(string(s.Status) + " " + s.Error)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	await(Up, "")
	hangUp()
	offset.Add(int64(time.Minute))
	m.Unanswered("corp")
	await(Down, "connection refused")
	_, hangUp = listen(t, address)
	defer hangUp()
	offset.Add(int64(time.Minute))
	m.Answered("corp")
	await(Up, "")
}

func listen(t *testing.T, address string) (bound string, hangUp func()) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	return l.Addr().String(), func() { _ = l.Close(); <-ended }
}
