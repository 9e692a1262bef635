package jws_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"

	"sallyport/tokens/jws"
)

var _ goidc.KeySet = jws.KeySet{}

// clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// issuer publishes keys and counts how often it is asked.
type issuer struct {
	server  *httptest.Server
	asked   atomic.Int64
	mu      sync.Mutex
	answer  http.HandlerFunc
	remote  *jws.Remote
	clock   *clock
	urlFail atomic.Bool
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{clock: &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	i.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		i.mu.Lock()
		answer := i.answer
		i.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(i.server.Close)
	var err error
	i.remote, err = jws.NewRemote(jws.RemoteConfig{
		URL: func(context.Context) (string, error) {
			if i.urlFail.Load() {
				return "", errors.New("discovery: no answer")
			}
			return i.server.URL + "/jwks", nil
		},
		Client: i.server.Client(), Now: i.clock.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *issuer) answers(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = h
}

func (i *issuer) publishes(t *testing.T, keys ...jws.Key) {
	t.Helper()
	data := publish(t, keys...)
	i.answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) })
}

func (i *issuer) isDown() {
	i.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
}

func (i *issuer) verify(t *testing.T, m jws.Message) error {
	t.Helper()
	_, err := i.remote.Verify(t.Context(), m, "EdDSA")
	return err
}

// named returns a key under a kid and a message signed with it.
func named(t *testing.T, kid string) (jws.Key, jws.Message) {
	t.Helper()
	s := newEd25519(t)
	return jws.Key{ID: kid, Public: s.public}, mustParse(t, s.compact(t, fmt.Sprintf(`{"alg":"EdDSA","kid":%q}`, kid), `{"sub":"a"}`))
}

func TestOID04_FiveHundredBadTokensCauseTwoFetchesAtMost(t *testing.T) {
	i := newIssuer(t)
	known, good := named(t, "known")
	i.publishes(t, known)
	_, unknown := named(t, "unknown")
	_, forged := named(t, "known")
	for range 250 {
		if err := i.verify(t, unknown); !errors.Is(err, jws.ErrUnknownKey) {
			t.Fatal(err)
		}
		if err := i.verify(t, forged); !errors.Is(err, jws.ErrSignature) {
			t.Fatal(err)
		}
	}
	if n := i.asked.Load(); n > 2 {
		t.Errorf("%d fetches", n)
	}
	i.clock.move(29 * time.Second)
	before := i.asked.Load()
	_ = i.verify(t, unknown)
	if i.asked.Load() != before {
		t.Error("asked again before 30 s")
	}
	i.clock.move(time.Second)
	_ = i.verify(t, unknown)
	if i.asked.Load() != before+1 {
		t.Error("not asked again after 30 s")
	}
	if err := i.verify(t, good); err != nil {
		t.Error(err)
	}
}

func TestOID04_AnAlgorithmThatIsNotAllowedCausesNoFetch(t *testing.T) {
	i := newIssuer(t)
	known, good := named(t, "known")
	i.publishes(t, known)
	if err := i.verify(t, good); err != nil {
		t.Fatal(err)
	}
	if _, err := i.remote.Verify(t.Context(), good, "ES256"); !errors.Is(err, jws.ErrAlgorithm) {
		t.Error(err)
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestOID04_KnownKeysWorkWhileTheIssuerIsAway(t *testing.T) {
	i := newIssuer(t)
	known, good := named(t, "known")
	i.publishes(t, known)
	if err := i.verify(t, good); err != nil {
		t.Fatal(err)
	}
	fetched := i.remote.Status().FetchedAt
	i.isDown()
	for range 40 {
		i.clock.move(30 * time.Second)
		if err := i.verify(t, good); err != nil {
			t.Fatal(err)
		}
	}
	s := i.remote.Status()
	if s.LastError == nil || s.Age != 20*time.Minute || s.Keys != 1 || !s.FetchedAt.Equal(fetched) || !s.LastErrorAt.Equal(i.clock.now()) {
		t.Errorf("status %+v", s)
	}
	i.publishes(t, known)
	i.clock.move(30 * time.Second)
	if err := i.verify(t, good); err != nil {
		t.Fatal(err)
	}
	if s := i.remote.Status(); s.LastError != nil || !s.LastErrorAt.IsZero() || s.Age != 0 {
		t.Errorf("status after recovery %+v", s)
	}
}

func TestOID04_AnIssuerThatIsAwayIsNotAskedForEveryToken(t *testing.T) {
	i := newIssuer(t)
	_, m := named(t, "k")
	i.isDown()
	for range 100 {
		if err := i.verify(t, m); !errors.Is(err, jws.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	// The wait doubles and ends at 30 s.
	for _, wait := range []int{1, 2, 4, 8, 16, 30, 30} {
		before := i.asked.Load()
		i.clock.move(time.Duration(wait)*time.Second - time.Millisecond)
		_ = i.verify(t, m)
		if i.asked.Load() != before {
			t.Errorf("asked before %d s", wait)
		}
		i.clock.move(time.Millisecond)
		_ = i.verify(t, m)
		if i.asked.Load() != before+1 {
			t.Errorf("not asked after %d s", wait)
		}
	}
}

func TestOID04_FetchesAreBounded(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the other host was asked")
	}))
	defer elsewhere.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"too long an answer": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[]}` + strings.Repeat(" ", jws.MaxSetBytes)))
		},
		"an endless answer": func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
		"a redirect to another host": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/jwks", http.StatusFound)
		},
		"a redirect to another scheme": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+r.Host+"/jwks", http.StatusFound)
		},
		"redirects without end": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/jwks", http.StatusFound) },
		"status 404": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"keys":[]}`))
		},
		"a broken set": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`<html>`)) },
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			i.answers(answer)
			_, m := named(t, "k")
			if err := i.verify(t, m); !errors.Is(err, jws.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
			if n := i.asked.Load(); n > 4 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestARedirectOnTheSameHostIsFollowed(t *testing.T) {
	i := newIssuer(t)
	known, good := named(t, "k")
	data := publish(t, known)
	i.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/jwks" {
			http.Redirect(w, r, "/keys", http.StatusFound)
			return
		}
		_, _ = w.Write(data)
	})
	if err := i.verify(t, good); err != nil {
		t.Error(err)
	}
}

func TestAddressesAreCheckedBeforeTheyAreAsked(t *testing.T) {
	for _, address := range []string{"", "/jwks", "file:///etc/passwd", "https://user:pw@host/", "ftp://host/", "https:///x", "://"} {
		r, err := jws.NewRemote(jws.RemoteConfig{URL: jws.StaticURL(address), Client: &http.Client{}, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "no plain http or https URL") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestOID05_ARemovedKeyIsRefusedAfterTheNextRefresh(t *testing.T) {
	i := newIssuer(t)
	old, signedByOld := named(t, "old")
	fresh, signedByFresh := named(t, "fresh")
	i.publishes(t, old)
	if err := i.verify(t, signedByOld); err != nil {
		t.Fatal(err)
	}
	i.publishes(t, fresh)
	i.clock.move(jws.DefaultRefresh - time.Second)
	if err := i.verify(t, signedByOld); err != nil {
		t.Errorf("before the refresh: %v", err)
	}
	i.clock.move(time.Second)
	if err := i.verify(t, signedByOld); !errors.Is(err, jws.ErrUnknownKey) {
		t.Errorf("after the refresh: %v", err)
	}
	if err := i.verify(t, signedByFresh); err != nil {
		t.Error(err)
	}
}

func TestOID05_AnIssuerThatWithdrawsAllKeysIsBelieved(t *testing.T) {
	i := newIssuer(t)
	known, good := named(t, "k")
	i.publishes(t, known)
	if err := i.verify(t, good); err != nil {
		t.Fatal(err)
	}
	i.publishes(t)
	i.clock.move(jws.DefaultRefresh)
	if err := i.verify(t, good); !errors.Is(err, jws.ErrUnknownKey) {
		t.Errorf("got %v", err)
	}
}

func TestOID05_AnIssuerThatPublishesItsPrivateKeysIsTrustedNoMore(t *testing.T) {
	i := newIssuer(t)
	known, good := named(t, "k")
	i.publishes(t, known)
	if err := i.verify(t, good); err != nil {
		t.Fatal(err)
	}
	leaked := publish(t, jws.Key{ID: "k", Public: newEd25519(t).private})
	i.answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(leaked) })
	i.clock.move(jws.DefaultRefresh)
	if err := i.verify(t, good); !errors.Is(err, jws.ErrUnknownKey) {
		t.Errorf("got %v", err)
	}
	if err := i.remote.Status().LastError; !errors.Is(err, jws.ErrSecretKey) {
		t.Errorf("status says %v", err)
	}
}

func TestOID05_OneKidAtTwoIssuersIsTwoKeys(t *testing.T) {
	a, b := newIssuer(t), newIssuer(t)
	keyA, signedByA := named(t, "same")
	keyB, signedByB := named(t, "same")
	a.publishes(t, keyA)
	b.publishes(t, keyB)
	if err := a.verify(t, signedByA); err != nil {
		t.Error(err)
	}
	if err := a.verify(t, signedByB); !errors.Is(err, jws.ErrSignature) {
		t.Errorf("got %v", err)
	}
}

func TestREL05_ANewKeyWithoutOverlapWorksAtOnce(t *testing.T) {
	i := newIssuer(t)
	old, signedByOld := named(t, "old")
	fresh, signedByFresh := named(t, "fresh")
	i.publishes(t, old)
	if err := i.verify(t, signedByOld); err != nil {
		t.Fatal(err)
	}
	i.publishes(t, fresh)
	if err := i.verify(t, signedByFresh); err != nil {
		t.Error(err)
	}
}

func TestREL05_AKeyReplacedUnderItsKidWorksAtOnce(t *testing.T) {
	i := newIssuer(t)
	old, signedByOld := named(t, "k")
	fresh, signedByFresh := named(t, "k")
	i.publishes(t, old)
	if err := i.verify(t, signedByOld); err != nil {
		t.Fatal(err)
	}
	i.publishes(t, fresh)
	if err := i.verify(t, signedByFresh); err != nil {
		t.Error(err)
	}
}

func TestREL05_TheLastGoodCopySurvivesARestart(t *testing.T) {
	before, after := newIssuer(t), newIssuer(t)
	known, good := named(t, "k")
	before.publishes(t, known)
	if raw, at := before.remote.Snapshot(); raw != nil || !at.IsZero() {
		t.Error("a snapshot of nothing")
	}
	if err := before.verify(t, good); err != nil {
		t.Fatal(err)
	}
	raw, at := before.remote.Snapshot()
	after.isDown()
	if err := after.remote.Restore([]byte(`{}`), at); err == nil {
		t.Error("a broken snapshot was restored")
	}
	if err := after.remote.Restore(raw, at.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := after.verify(t, good); err != nil {
		t.Error(err)
	}
	if s := after.remote.Status(); s.LastError == nil || s.Age != time.Hour {
		t.Errorf("status %+v", s)
	}
	// A copy that is there already is newer.
	if err := after.remote.Restore([]byte(`{"keys":[]}`), at); err != nil {
		t.Fatal(err)
	}
	if err := after.verify(t, good); err != nil {
		t.Errorf("the copy was replaced: %v", err)
	}
}

func TestREL06_AClockThatJumpsBackCausesARefresh(t *testing.T) {
	i := newIssuer(t)
	old, signedByOld := named(t, "old")
	i.publishes(t, old)
	if err := i.verify(t, signedByOld); err != nil {
		t.Fatal(err)
	}
	i.publishes(t)
	i.clock.move(-time.Hour)
	if err := i.verify(t, signedByOld); !errors.Is(err, jws.ErrUnknownKey) {
		t.Errorf("got %v", err)
	}
}

func TestDiscoveryMayFailAndComeBack(t *testing.T) {
	i := newIssuer(t)
	known, good := named(t, "k")
	i.publishes(t, known)
	i.urlFail.Store(true)
	if err := i.verify(t, good); !errors.Is(err, jws.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	i.urlFail.Store(false)
	i.clock.move(time.Second)
	if err := i.verify(t, good); err != nil {
		t.Error(err)
	}
}

func TestManyAtOnceShareOneFetchAndNobodyHoldsTheOthers(t *testing.T) {
	i := newIssuer(t)
	known, good := named(t, "k")
	data := publish(t, known)
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	i.answers(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		_, _ = w.Write(data)
	})
	// The first one goes away while it waits; the fetch goes on for the others.
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := i.remote.Verify(ctx, good, "EdDSA")
		gone <- err
	}()
	<-arrived
	cancel()
	if err := <-gone; !errors.Is(err, jws.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("the one who left got %v", err)
	}
	// Status does not wait for the fetch.
	if s := i.remote.Status(); s.Keys != 0 {
		t.Errorf("status %+v", s)
	}
	results := make(chan error)
	for range 32 {
		go func() {
			_, err := i.remote.Verify(t.Context(), good, "EdDSA")
			results <- err
		}()
	}
	close(release)
	for range 32 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestAPanicWhileDiscoveringIsAnError(t *testing.T) {
	r, err := jws.NewRemote(jws.RemoteConfig{
		URL: func(context.Context) (string, error) { panic("discovery") }, Client: &http.Client{}, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("got %v", err)
	}
}

func TestNewRemoteNeedsAllItsParts(t *testing.T) {
	url, client := jws.StaticURL("https://issuer.example/"), &http.Client{}
	for name, cfg := range map[string]jws.RemoteConfig{
		"no URL":    {Client: client, Now: time.Now},
		"no client": {URL: url, Now: time.Now},
		"no clock":  {URL: url, Client: client},
	} {
		if _, err := jws.NewRemote(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestKeySetVerifiesRawTokensForGoOIDC(t *testing.T) {
	i := newIssuer(t)
	s := newEd25519(t)
	i.publishes(t, jws.Key{ID: "k", Public: s.public})
	raw := s.compact(t, `{"alg":"EdDSA","kid":"k"}`, `{"sub":"a"}`)
	payload, err := i.remote.KeySet("EdDSA").VerifySignature(t.Context(), raw)
	if err != nil || string(payload) != `{"sub":"a"}` {
		t.Errorf("%s, %v", payload, err)
	}
	if _, err := i.remote.KeySet("EdDSA").VerifySignature(t.Context(), raw+"="); !errors.Is(err, jws.ErrMalformed) {
		t.Errorf("padding: %v", err)
	}
	if _, err := i.remote.KeySet("ES256").VerifySignature(t.Context(), raw); !errors.Is(err, jws.ErrAlgorithm) {
		t.Errorf("another algorithm: %v", err)
	}
}
