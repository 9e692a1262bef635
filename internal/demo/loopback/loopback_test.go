package loopback

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

func TestOnlyAddressesOfThisMachineAreListenedOn(t *testing.T) {
	for address, fine := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:80": true, "127.8.9.1:1": true,
		"0.0.0.0:0": false, ":0": false, "192.0.2.1:0": false, "localhost:0": false, "nonsense": false,
	} {
		if err := Check(address); (err == nil) != fine {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestAPublicURLIsSchemeAndHost(t *testing.T) {
	for raw, want := range map[string]string{"": "", "http://a.localhost:1": "http://a.localhost:1", "https://a.example/": "https://a.example"} {
		if got, err := PublicURL(raw); err != nil || got != want {
			t.Errorf("%q is %q, %v", raw, got, err)
		}
	}
	for _, raw := range []string{"ftp://a", "http://a/b", "http://a?b", "http://a#b", "http://u@a", "a", "http://"} {
		if got, err := PublicURL(raw); err == nil {
			t.Errorf("%q is taken for %q", raw, got)
		}
	}
}

func TestAServerEndsWithItsContextAndTakesItsRequestsAlong(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	begun, ended := make(chan struct{}), make(chan struct{})
	s := Serve(ctx, l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(ended)
	}), slog.New(slog.DiscardHandler))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		client := &http.Client{Timeout: time.Minute}
		if answer, err := client.Do(r); err == nil {
			_ = answer.Body.Close()
		}
	}()
	<-begun
	cancel()
	<-ended
	<-s.Done()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
