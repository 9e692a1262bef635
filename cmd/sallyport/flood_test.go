package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/internal/testenv"
)

// flooded is a server as serve runs it, on a real socket, with the cost of real passwords.
type flooded struct {
	t       *testing.T
	address string // host:port
	server  *server
	client  *http.Client
}

func startFlooded(t *testing.T, throttle string) *flooded {
	t.Helper()
	f := &flooded{t: t, address: fmt.Sprintf("localhost:%d", testenv.Port(t))}
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	text := fmt.Sprintf(`server: {issuer: "http://%s", operations_listen: "", trusted_proxies: [127.0.0.1, "::1"]}
providers: {local: {type: local}}
roles: {viewer: {permissions: ["*:read"]}}
mapping: {default_roles: [viewer]}
throttle: {%s}
`, f.address, throttle)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := quiet(io.Discard)
	config, _, err := readConfig(c, file)
	if err != nil {
		t.Fatal(err)
	}
	h, err := openHouse(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.broker.AddPerson(t.Context(), h.visit(), actor, broker.NewPerson{Username: "ada", Password: lockoutPassword}); err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	f.server = &server{house: h, console: c, config: config, file: file, ready: func() { close(ready) }}
	go func() { ended <- errors.Join(f.server.serve(ctx, listener, nil), h.close()) }()
	<-ready
	transport := &http.Transport{MaxIdleConnsPerHost: 600, MaxConnsPerHost: 0}
	f.client = &http.Client{Transport: transport, Timeout: time.Minute}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f
}

// ask returns the status of an answer and how long it took.
func (f *flooded) ask(method, path, from, body string) (int, time.Duration, error) {
	r, err := http.NewRequestWithContext(f.t.Context(), method, "http://"+f.address+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, 0, err
	}
	r.Header.Set("X-Forwarded-For", from)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	begun := time.Now()
	answer, err := f.client.Do(r)
	if err != nil {
		return 0, 0, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, time.Since(begun), errors.Join(err, answer.Body.Close())
}

func (f *flooded) login(from, name, password string) (int, time.Duration, error) {
	return f.ask(http.MethodPost, "/api/auth/login", from, fmt.Sprintf(`{"username": %q, "password": %q}`, name, password))
}

// p99 of some durations.
func p99(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[min(len(all)*99/100, len(all)-1)]
}

// meanwhile asks a route over and over until done, and returns how long each answer took.
func (f *flooded) meanwhile(done <-chan struct{}, ask func() (int, time.Duration, error), want int) []time.Duration {
	var took []time.Duration
	for {
		status, d, err := ask()
		if err != nil || status != want {
			f.t.Errorf("meanwhile: %d, %v", status, err)
			return took
		}
		took = append(took, d)
		select {
		case <-done:
			return took
		default:
		}
	}
}

func TestDOS02_FiveHundredWrongPasswordsAtOnceLeaveMemoryFlatAndOtherRoutesFine(t *testing.T) {
	f := startFlooded(t, "per_source: 100000, requests_per_minute: 1000000")
	if status, _, err := f.login("192.0.2.1", "ada", lockoutPassword); status != http.StatusOK {
		t.Fatalf("%d, %v", status, err)
	}
	peak, stop := make(chan uint64), make(chan struct{})
	go func() { peak <- highest(stop) }()
	done, statuses := make(chan struct{}), make([]int, 500)
	var flood, beside sync.WaitGroup
	for i := range statuses {
		flood.Go(func() {
			status, _, err := f.login(fmt.Sprintf("10.0.%d.%d", i/200, i%200), fmt.Sprintf("person%d", i), "wrong")
			if err != nil {
				t.Error(err)
			}
			statuses[i] = status
		})
	}
	var took []time.Duration
	beside.Go(func() {
		took = f.meanwhile(done, func() (int, time.Duration, error) {
			return f.ask(http.MethodGet, "/login", "192.0.2.1", "")
		}, http.StatusOK)
	})
	flood.Wait()
	close(done)
	beside.Wait()
	close(stop)
	most := <-peak
	count := map[int]int{}
	for _, s := range statuses {
		count[s]++
	}
	t.Logf("answers %v, peak of memory in use %d MiB, p99 of %d other answers %v", count, most>>20, len(took), p99(took))
	if count[http.StatusUnauthorized]+count[http.StatusServiceUnavailable] != len(statuses) || count[http.StatusUnauthorized] == 0 {
		t.Errorf("answers are %v", count)
	}
	if limit := uint64(runtime.GOMAXPROCS(0)*4*19+192) << 20; most > limit {
		t.Errorf("%d MiB in use, more than %d", most>>20, limit>>20)
	}
	if p99(took) > 2*time.Second {
		t.Errorf("p99 of other routes is %v", p99(took))
	}
	if status, _, err := f.login("192.0.2.1", "ada", lockoutPassword); status != http.StatusOK {
		t.Errorf("afterwards: %d, %v", status, err)
	}
}

// highest is the most memory in use until stop, in bytes.
func highest(stop <-chan struct{}) (most uint64) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapInuse+m.StackInuse)
		select {
		case <-stop:
			return most
		case <-tick.C:
		}
	}
}

func TestDOS01_SlowConnectionsDoNotKeepOthersFromSigningIn(t *testing.T) {
	connections, span := 300, 3*time.Second
	if os.Getenv("SALLYPORT_TEST_SWEEP") != "" {
		connections, span = 2000, time.Minute
	}
	f := startFlooded(t, "requests_per_minute: 1000000")
	ctx, stop := context.WithTimeout(t.Context(), span)
	defer stop()
	var slow sync.WaitGroup
	opened := make(chan struct{}, connections)
	for range connections {
		slow.Go(func() { f.dribble(ctx, opened) })
	}
	for range connections {
		<-opened
	}
	var took []time.Duration
	for ctx.Err() == nil {
		status, d, err := f.login("192.0.2.1", "ada", lockoutPassword)
		if err != nil || status != http.StatusOK {
			t.Fatalf("sign-in: %d, %v", status, err)
		}
		took = append(took, d)
	}
	slow.Wait()
	t.Logf("%d slow connections for %v: p99 of %d sign-ins %v", connections, span, len(took), p99(took))
	if p99(took) > time.Second {
		t.Errorf("p99 of sign-ins is %v", p99(took))
	}
}

// dribble sends a request one byte at a time, and another one when it is cut off, until ctx ends.
func (f *flooded) dribble(ctx context.Context, opened chan<- struct{}) {
	const request = "POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	told := false
	for ctx.Err() == nil {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", f.address)
		if !told {
			opened <- struct{}{}
			told = true
		}
		if err != nil {
			continue
		}
		for i := range request {
			if _, err := c.Write([]byte{request[i]}); err != nil {
				break
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
			if ctx.Err() != nil {
				break
			}
		}
		_ = c.Close()
	}
}
