package providers

import (
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/identity"
)

// canary is what a peer writes and no error of ours may repeat.
const canary = "CANARY"

func get(t *testing.T, client *http.Client, address string, limit int) (string, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, mediaType, err := Fetch(client, req, limit)
	if err != nil && strings.Contains(err.Error(), canary) {
		t.Errorf("error %q holds what the peer wrote", err)
	}
	return string(body), mediaType, err
}

func serve(t *testing.T, answer http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return s
}

func TestFetch_TakesOneBoundedAnswerOfTheHostItWasSentTo(t *testing.T) {
	const limit = 100
	other := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("another host was asked") })
	raw := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, text)
			_ = c.Close()
		}
	}
	body := func(size int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", size)) }
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   error // nil: taken
	}{
		"as long as may be":  {body(limit), nil},
		"a byte more":        {body(limit + 1), ErrTooLarge},
		"more than anything": {body(maxAnswer + 1), ErrTooLarge},
		"not found": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, canary, http.StatusNotFound)
		}, identity.ErrUnavailable},
		"nothing to see":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, identity.ErrUnavailable},
		"no http":              {raw(canary + "\r\n\r\n"), ErrNoAnswer},
		"a broken header":      {raw("HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n"), ErrNoAnswer},
		"half of what it says": {raw("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n" + canary), ErrNoAnswer},
		"headers without end":  {raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat(canary, 20_000) + "\r\n\r\n"), ErrNoAnswer},
		"a redirect to another host": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/"+canary, http.StatusFound)
		}, ErrRedirect},
		"a redirect to https": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+r.Host+"/"+canary, http.StatusFound)
		}, ErrRedirect},
		"a redirect to a file": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/"+canary, http.StatusFound)
		}, ErrRedirect},
		"redirects without end": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
		}, ErrRedirect},
		"a redirect within": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/here" {
				http.Redirect(w, r, "/here", http.StatusFound)
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := get(t, NewClient(nil), serve(t, tt.answer).URL+"/x", limit)
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestFetch_ReturnsTheMediaTypeWithoutItsParameters(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "Application/JSON; charset=utf-8")
		_, _ = io.WriteString(w, "{}")
	})
	body, mediaType, err := get(t, NewClient(nil), s.URL, 10)
	if err != nil || body != "{}" || mediaType != "application/json" {
		t.Errorf("got %q of type %q, %v", body, mediaType, err)
	}
}

func TestNewClient_NeverRepeatsAPost(t *testing.T) {
	for _, status := range []int{http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect} {
		asked := 0
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked++
			http.Redirect(w, r, "/again", status)
		})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, strings.NewReader("code=x"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := NewClient(nil).Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		if !errors.Is(err, ErrRedirect) || asked != 1 {
			t.Errorf("%d: %v after %d requests", status, err, asked)
		}
	}
}

func TestNewClient_TakesLocalhostNamesForThisMachine(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	for _, host := range []string{"localhost", "keys.localhost", "KEYS.LocalHost."} {
		if body, _, err := get(t, NewClient(nil), "http://"+host+":"+port, 100); err != nil || body == "" {
			t.Errorf("%s: %q, %v", host, body, err)
		}
	}
}

func TestNewClient_TrustsTheNamedAuthoritiesOnly(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of the handshake that we refuse
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	roots, err := ReadRoots(dir, "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := get(t, NewClient(roots), s.URL, 10); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("with its authority: %v", err)
	}
	if _, _, err := get(t, NewClient(nil), s.URL, 10); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with the system's: %v", err)
	}
}

func TestTransportCause_SaysWhyInOurOwnWords(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	s.Close()
	if _, _, err := get(t, NewClient(nil), s.URL, 10); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody there: %v", err)
	}
	for _, err := range []error{errors.New(canary), &url.Error{Op: "Get", URL: canary, Err: errors.New(canary)}} {
		if got := TransportCause(err); !errors.Is(got, ErrNoAnswer) || strings.Contains(got.Error(), canary) {
			t.Errorf("%v became %v", err, got)
		}
	}
}
