package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// exchanging serves what do makes of an exchange, over the protocol version and with the patience.
func exchanging(t *testing.T, version int, patience time.Duration, do func(x *exchange)) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := newExchange(r.Context(), w, r, patience)
		var err error
		defer x.finish(&err)
		do(x)
	}))
	s.EnableHTTP2 = version == 2
	s.Config.ReadTimeout, s.Config.WriteTimeout = patience, patience
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

const patience = 50 * time.Millisecond

// think is an application that needs longer than a client may.
func think() { <-time.After(4 * patience) }

func TestAnApplicationMayThinkLongerThanAClientMayBeSilent(t *testing.T) {
	for version := 1; version <= 2; version++ {
		s := exchanging(t, version, patience, func(x *exchange) {
			first := make([]byte, 4)
			_, err := io.ReadFull(x.body, first)
			think()
			rest, restErr := io.ReadAll(x.body)
			if err != nil || restErr != nil || string(first)+string(rest) != "somewhat" {
				t.Errorf("HTTP/%d: the body is %q and %q: %v, %v", version, first, rest, err, restErr)
			}
			think()
			for range 2 {
				_, writeErr := io.WriteString(x, "late ")
				if flushErr := http.NewResponseController(x).Flush(); writeErr != nil || flushErr != nil {
					t.Errorf("HTTP/%d: %v, %v", version, writeErr, flushErr)
				}
				think()
			}
		})
		body, send := io.Pipe()
		go func() {
			_, _ = io.WriteString(send, "some")
			_, _ = io.WriteString(send, "what")
			_ = send.Close()
		}()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.Client().Do(r)
		if err != nil {
			t.Fatalf("HTTP/%d: %v", version, err)
		}
		defer a.Body.Close()
		if all, err := io.ReadAll(a.Body); string(all) != "late late " || err != nil || a.ProtoMajor != version {
			t.Errorf("HTTP/%d: %s %q, %v", version, a.Proto, all, err)
		}
	}
}

func TestABodyThatTricklesBreaksOff(t *testing.T) {
	for version := 1; version <= 2; version++ {
		took := make(chan time.Duration, 1)
		s := exchanging(t, version, patience, func(x *exchange) {
			begun := time.Now()
			if _, err := io.Copy(io.Discard, x.body); err == nil || !x.body.broke.Load() {
				t.Errorf("HTTP/%d: read to its end: %v", version, err)
			}
			took <- time.Since(begun)
		})
		body, send := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if a, err := s.Client().Do(r); err == nil {
				_ = a.Body.Close()
			}
		}()
		tick, bound := time.NewTicker(patience/5), time.After(20*patience)
		for over := false; !over; { // a byte within every patience
			select {
			case total := <-took:
				if over = true; total > 10*patience {
					t.Errorf("HTTP/%d: held for %s", version, total)
				}
			case <-bound:
				t.Errorf("HTTP/%d: held for ever", version)
				over = true
			case <-tick.C:
				go func() { _, _ = send.Write([]byte("x")) }()
			}
		}
		tick.Stop()
		_ = send.Close()
		<-done
	}
}

// TestABodyOwesNothingForTheApplicationsTime holds that a slow application costs its client nothing, and that a client
// that sends fast earns no more than a fresh one has.
func TestABodyOwesNothingForTheApplicationsTime(t *testing.T) {
	b := &clientBody{
		ReadCloser: io.NopCloser(endless{}), control: http.NewResponseController(httptest.NewRecorder()), patience: time.Minute,
	}
	buffer := make([]byte, 2*piece)
	for range 3 {
		if _, err := b.Read(buffer); err != nil || b.owed != 0 {
			t.Fatalf("owes %s, %v", b.owed, err)
		}
		think()
	}
	b.owed = 30 * time.Second
	if _, _ = b.Read(buffer[:piece/4]); b.owed < 15*time.Second || b.owed > 20*time.Second {
		t.Errorf("after a quarter of what a minute wants, %s of 30 s are owed", b.owed)
	}
}

// endless sends without end.
type endless struct{}

// Read see io.Reader.
func (endless) Read(p []byte) (int, error) { return len(p), nil }
