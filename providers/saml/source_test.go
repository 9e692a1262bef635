package saml

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/identity"
	"sallyport/providers"
)

// remote serves metadata that can be changed while a clock is moved.
type remote struct {
	provider *Provider
	body     atomic.Value
	now      atomic.Int64
	asked    atomic.Int64
	url      string
}

func newRemote(t *testing.T, body string) *remote {
	t.Helper()
	r := &remote{}
	r.body.Store(body)
	r.now.Store(testNow().Unix())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r.asked.Add(1)
		answer, _ := r.body.Load().(string)
		if answer == "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	c := &Config{Metadata: Metadata{URL: server.URL}}
	p, err := c.Open(context.Background(), "corp", "", providers.Env{
		Now: func() time.Time { return time.Unix(r.now.Load(), 0).UTC() },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.provider, _ = p.(*Provider)
	return r
}

func (r *remote) move(d time.Duration) { r.now.Add(int64(d / time.Second)) }

func TestSML10_MetadataIsFetchedWhenNeededAndKept(t *testing.T) {
	ctx := context.Background()
	old, next := ours(t), foreign(t)
	r := newRemote(t, describe(old.descriptor("signing")))
	if r.asked.Load() != 0 {
		t.Error("opening asked for metadata")
	}
	raw := signing{by: old, assertion: true}.sign(t, message())
	for range 3 {
		if _, err := finish(t, r.provider, raw); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.asked.Load(); got != 1 {
		t.Errorf("asked %d times, want once", got)
	}
	r.body.Store("") // the server is down: the last good copy stays
	if err := r.provider.Check(ctx); err == nil {
		t.Error("Check is content with a server that is down")
	} else {
		wantRefused(t, err, identity.ErrUnavailable, providers.CodeUnavailable, "answered 503")
	}
	if _, err := finish(t, r.provider, raw); err != nil {
		t.Error("the last good copy was not kept:", err)
	}
	r.body.Store(describe(next.descriptor(""))) // the old key is gone, the new one is there
	if err := r.provider.Check(ctx); err != nil {
		t.Fatal(err)
	}
	_, err := finish(t, r.provider, raw)
	wantInvalid(t, err, "no configured certificate")
	if _, err := finish(t, r.provider, signing{by: next, assertion: true}.sign(t, message())); err != nil {
		t.Error(err)
	}
	r.body.Store(describe()) // all keys are gone: the provider is off, whatever was known before
	wantRefused(t, r.provider.Check(ctx), identity.ErrUnavailable, providers.CodeUnavailable, "no usable certificate")
	_, err = finish(t, r.provider, raw)
	wantRefused(t, err, identity.ErrUnavailable, providers.CodeUnavailable, "no usable certificate")
}

func TestSML10_MetadataEndsWhenItSaysSo(t *testing.T) {
	ctx := context.Background()
	r := newRemote(t, swap(t, describe(ours(t).descriptor("")), `entityID=`, `validUntil="2026-05-06T12:30:00Z" entityID=`))
	if _, err := r.provider.Begin(ctx, theFlow()); err != nil {
		t.Fatal(err)
	}
	r.body.Store("")
	r.move(29 * time.Minute)
	if _, err := r.provider.Begin(ctx, theFlow()); err != nil {
		t.Error("it has not ended yet:", err)
	}
	r.move(time.Minute)
	_, err := r.provider.Begin(ctx, theFlow())
	wantRefused(t, err, identity.ErrUnavailable, providers.CodeUnavailable, "answered 503")
}

func TestSML10_MetadataIsLookedAtAgainAfterAnHour(t *testing.T) {
	ctx := context.Background()
	r := newRemote(t, describe(ours(t).descriptor("")))
	if _, err := r.provider.Begin(ctx, theFlow()); err != nil {
		t.Fatal(err)
	}
	r.move(time.Hour)
	if _, err := r.provider.Begin(ctx, theFlow()); err != nil { // the old copy, while another look begins
		t.Fatal(err)
	}
	if err := r.provider.Check(ctx); err != nil { // joins that look, or looks once more
		t.Fatal(err)
	}
	if got := r.asked.Load(); got < 2 {
		t.Errorf("asked %d times, want again after an hour", got)
	}
}

// TestREL05_AProviderThatChangesItsKeyWithoutOverlapCostsNoSignIn: the first response by the new key makes us look.
func TestREL05_AProviderThatChangesItsKeyWithoutOverlapCostsNoSignIn(t *testing.T) {
	old, next := ours(t), foreign(t)
	r := newRemote(t, describe(old.descriptor("signing")))
	before := signing{by: old, assertion: true}.sign(t, message())
	after := signing{by: next, response: true}.sign(t, message())
	if _, err := finish(t, r.provider, before); err != nil {
		t.Fatal(err)
	}
	r.body.Store(describe(next.descriptor("signing")))
	if _, err := finish(t, r.provider, after); err != nil {
		t.Fatal("the first response by the new key:", err)
	}
	_, err := finish(t, r.provider, before)
	wantInvalid(t, err, "no configured certificate")
	if got := r.asked.Load(); got != 2 {
		t.Errorf("asked %d times, want twice", got)
	}
}

func TestREL05_BadSignaturesMakeUsLookOnceInAWhileOnly(t *testing.T) {
	by := ours(t)
	r := newRemote(t, describe(by.descriptor("signing")))
	forged := signing{by: foreign(t), assertion: true}.sign(t, message())
	many := func(want int64) {
		t.Helper()
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				if _, err := finish(t, r.provider, forged); err == nil {
					t.Error("a forged response signs in")
				}
			})
		}
		group.Wait()
		if got := r.asked.Load(); got != want {
			t.Errorf("asked %d times, want %d", got, want)
		}
	}
	many(2) // once since nothing was known, once for the key
	r.move(29 * time.Second)
	many(2)
	r.move(time.Second)
	many(3)
	r.body.Store("") // the provider is away: the copy stays good
	r.move(30 * time.Second)
	many(4)
	if _, err := finish(t, r.provider, signing{by: by, assertion: true}.sign(t, message())); err != nil {
		t.Error(err)
	}
	wrong := []byte(swap(t, string(forged), "xmldsig-more#rsa-sha256", "xmldsig-more#rsa-sha999"))
	r.move(time.Minute)
	if _, err := finish(t, r.provider, wrong); err == nil || r.asked.Load() != 4 {
		t.Errorf("err %v, asked %d times: only an unknown key is a reason to look", err, r.asked.Load())
	}
}

// memory keeps documents, as a store would.
type memory struct {
	mu   sync.Mutex
	data map[string][]byte
	fail error
}

func (m *memory) Keep(ctx context.Context, name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil || ctx.Err() != nil {
		return errors.Join(m.fail, ctx.Err())
	}
	if m.data == nil {
		m.data = map[string][]byte{}
	}
	m.data[name] = bytes.Clone(data)
	return nil
}

func (m *memory) Kept(ctx context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data[name], errors.Join(m.fail, ctx.Err())
}

// restarted opens the provider anew, with the same store and clock.
func (r *remote) restarted(t *testing.T, m *memory, change func(*Config)) *Provider {
	t.Helper()
	c := &Config{Metadata: Metadata{URL: r.url}}
	if change != nil {
		change(c)
	}
	p, err := c.Open(t.Context(), "corp", "", providers.Env{
		Now: func() time.Time { return time.Unix(r.now.Load(), 0).UTC() },
	})
	if err != nil {
		t.Fatal(err)
	}
	own := p.(*Provider)
	own.source.keep = m
	return own
}

func TestREL05_TheLastGoodCopySurvivesARestart(t *testing.T) {
	by := ours(t)
	raw := signing{by: by, assertion: true}.sign(t, message())
	r, m := newRemote(t, describe(by.descriptor("signing"))), &memory{}
	if _, err := finish(t, r.restarted(t, m, nil), raw); err != nil {
		t.Fatal(err)
	}
	r.body.Store("")
	t.Run("and is used while the provider is away", func(t *testing.T) {
		p := r.restarted(t, m, nil)
		if _, err := finish(t, p, raw); err != nil {
			t.Error(err)
		}
		wantRefused(t, p.Check(t.Context()), identity.ErrUnavailable, providers.CodeUnavailable, "answered 503")
	})
	t.Run("but not for metadata from elsewhere", func(t *testing.T) {
		p := r.restarted(t, m, func(c *Config) { c.Metadata.URL += "/other" })
		_, err := finish(t, p, raw)
		wantRefused(t, err, identity.ErrUnavailable, providers.CodeUnavailable, "answered 503")
	})
	t.Run("and not for another entity", func(t *testing.T) {
		p := r.restarted(t, m, func(c *Config) { c.EntityID = "https://other.example.com" })
		_, err := finish(t, p, raw)
		wantRefused(t, err, identity.ErrUnavailable, providers.CodeUnavailable, "answered 503")
	})
	t.Run("nor when the store fails, which is no reason to fail otherwise", func(t *testing.T) {
		broken := &memory{data: m.data, fail: errors.New("disk")}
		_, err := finish(t, r.restarted(t, broken, nil), raw)
		wantRefused(t, err, identity.ErrUnavailable, providers.CodeUnavailable, "answered 503")
		r.body.Store(describe(by.descriptor("")))
		if _, err := finish(t, r.restarted(t, broken, nil), raw); err != nil {
			t.Error(err)
		}
		r.body.Store("")
	})
	t.Run("and a garbled one is none", func(t *testing.T) {
		garbled := &memory{data: map[string][]byte{}}
		for name := range m.data {
			garbled.data[name] = []byte("<x/>")
		}
		_, err := finish(t, r.restarted(t, garbled, nil), raw)
		wantRefused(t, err, identity.ErrUnavailable, providers.CodeUnavailable, "answered 503")
	})
	t.Run("until the provider takes its keys away", func(t *testing.T) {
		r.body.Store(describe())
		wantRefused(t, r.restarted(t, m, nil).Check(t.Context()), identity.ErrUnavailable, providers.CodeUnavailable,
			"no usable certificate")
		r.body.Store("")
		_, err := finish(t, r.restarted(t, m, nil), raw)
		wantRefused(t, err, identity.ErrUnavailable, providers.CodeUnavailable, "answered 503")
	})
}

// TestSML10_AnotherEntityDoesNotInheritTheAccounts: they belong to the provider's id, so who answers at its URL must stay
// who it was, unless configuration says otherwise.
func TestSML10_AnotherEntityDoesNotInheritTheAccounts(t *testing.T) {
	const elsewhere, words = "https://other.example.com", "of another entity than before; set entity_id"
	by, evil := ours(t), foreign(t)
	good, raw := describe(by.descriptor("signing")), signing{by: by, assertion: true}.sign(t, message())
	other := swap(t, describe(evil.descriptor("signing")), testIssuer, elsewhere)
	theirs := signing{by: evil, assertion: true}.sign(t, strings.ReplaceAll(message(), testIssuer, elsewhere))
	wantOld := func(t *testing.T, p *Provider) {
		t.Helper()
		wantRefused(t, p.Check(t.Context()), identity.ErrUnavailable, providers.CodeMisconfigured, words)
		if _, err := finish(t, p, theirs); err == nil {
			t.Error("another entity signs in")
		}
		if _, err := finish(t, p, raw); err != nil {
			t.Error("the old entity does not:", err)
		}
	}
	t.Run("at the next look", func(t *testing.T) {
		r := newRemote(t, good)
		var log bytes.Buffer
		r.provider.source.log = slog.New(slog.NewTextHandler(&log, nil))
		if err := r.provider.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.body.Store(other)
		wantOld(t, r.provider)
		if !strings.Contains(log.String(), words) {
			t.Errorf("the log says %s", &log)
		}
		r.body.Store(swap(t, describe(), testIssuer, elsewhere)) // has no say about the old one's keys either
		wantOld(t, r.provider)
		r.body.Store(list("", good)) // is of many
		if err := r.provider.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "entity_id must say") {
			t.Errorf("a list: %v", err)
		}
		r.body.Store(good)
		if err := r.provider.Check(t.Context()); err != nil {
			t.Error("the old one is back:", err)
		}
	})
	t.Run("when the old one has no keys left", func(t *testing.T) {
		r, m := newRemote(t, good), &memory{}
		p := r.restarted(t, m, nil)
		if err := p.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.body.Store(describe())
		if err := p.Check(t.Context()); err == nil {
			t.Fatal("no keys, no error")
		}
		r.body.Store(other)
		for _, p := range []*Provider{p, r.restarted(t, m, nil)} {
			wantRefused(t, p.Check(t.Context()), identity.ErrUnavailable, providers.CodeMisconfigured, words)
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		r, m := newRemote(t, good), &memory{}
		if err := r.restarted(t, m, nil).Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.body.Store(other)
		wantOld(t, r.restarted(t, m, nil))
		wantOld(t, r.restarted(t, m, nil)) // and what was refused was not kept
		named := r.restarted(t, m, func(c *Config) { c.EntityID = elsewhere })
		if _, err := finish(t, named, theirs); err != nil {
			t.Error("the operator has said so:", err)
		}
	})
	t.Run("after a restart, when the kept copy has ended", func(t *testing.T) {
		r, m := newRemote(t, swap(t, good, `entityID=`, `validUntil="2026-05-06T12:01:00Z" entityID=`)), &memory{}
		if err := r.restarted(t, m, nil).Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.move(time.Hour)
		r.body.Store(other)
		wantRefused(t, r.restarted(t, m, nil).Check(t.Context()), identity.ErrUnavailable, providers.CodeMisconfigured, words)
	})
}

func TestREL05_AKeptCopyEndsWhenItSaysSo(t *testing.T) {
	by := ours(t)
	r := newRemote(t, swap(t, describe(by.descriptor("")), `entityID=`, `validUntil="2026-05-06T12:01:00Z" entityID=`))
	m := &memory{}
	if err := r.restarted(t, m, nil).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.body.Store("")
	r.move(time.Minute)
	_, err := finish(t, r.restarted(t, m, nil), signing{by: by, assertion: true}.sign(t, message()))
	wantRefused(t, err, identity.ErrUnavailable, providers.CodeUnavailable, "answered 503")
}

func TestSML10_AnOperatorIsToldBeforeACertificateEnds(t *testing.T) {
	by := ours(t) // ends a year after testNow
	r := newRemote(t, describe(by.descriptor("")))
	var log bytes.Buffer
	r.provider.log = slog.New(slog.NewTextHandler(&log, nil))
	begin := func() {
		t.Helper()
		if _, err := r.provider.Begin(t.Context(), theFlow()); err != nil {
			t.Fatal(err)
		}
		if err := r.provider.Check(t.Context()); err != nil { // so that the log is written by one goroutine only
			t.Fatal(err)
		}
	}
	if got := r.provider.Warnings(); len(got) != 0 {
		t.Errorf("warnings %q of what nobody knows yet", got)
	}
	begin()
	r.move(by.certificate.NotAfter.Sub(testNow()) - 31*24*time.Hour)
	begin()
	if got := r.provider.Warnings(); len(got) != 0 || log.Len() != 0 {
		t.Errorf("warnings %q, log %s, 31 days before", got, &log)
	}
	r.move(24 * time.Hour)
	for range 3 {
		begin()
		r.move(time.Hour)
	}
	got := r.provider.Warnings()
	if len(got) != 1 || !strings.Contains(got[0], "ends on 2027-05-06") || strings.Count(log.String(), "ends on") != 1 {
		t.Errorf("warnings %q, log %s", got, &log)
	}
	r.move(22 * time.Hour)
	begin()
	if strings.Count(log.String(), "ends on") != 2 {
		t.Errorf("a day later the log is %s", &log)
	}
	r.move(31 * 24 * time.Hour)
	wantRefused(t, r.provider.Check(t.Context()), identity.ErrUnavailable, providers.CodeUnavailable, "has expired")
}

func TestAProviderThatWantsSignedRequestsGetsThemOrIsComplainedOf(t *testing.T) {
	wanting := swap(t, describe(ours(t).descriptor("")), `<md:IDPSSODescriptor `,
		`<md:IDPSSODescriptor WantAuthnRequestsSigned="true" `)
	r := newRemote(t, wanting)
	wantRefused(t, r.provider.Check(t.Context()), identity.ErrUnavailable, providers.CodeMisconfigured,
		"WantAuthnRequestsSigned")
	if got := r.provider.Warnings(); len(got) != 1 {
		t.Errorf("warnings %q", got)
	}
	if _, err := r.provider.Begin(t.Context(), theFlow()); err != nil {
		t.Error("it may be happy all the same:", err)
	}
	pair := mine(t).files(t)
	p := r.restarted(t, nil, func(c *Config) { c.Signing = &pair })
	p.source.keep = nil
	if err := p.Check(t.Context()); err != nil || len(p.Warnings()) != 0 {
		t.Errorf("err %v, warnings %q", err, p.Warnings())
	}
}
