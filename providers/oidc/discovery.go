package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport/identity"
	"sallyport/providers"
	"sallyport/tokens/jws"
)

const (
	wellKnown = "/.well-known/openid-configuration"
	// discoveryLife is how long a document is used before it is looked at again.
	discoveryLife = time.Hour
	// firstRetry and lastRetry bound the pause after a failure, which doubles each time.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// metadata is what we use of a discovery document (OpenID Connect Discovery 1.0 section 3).
type metadata struct {
	authorization, token, userinfo, jwks string
	// announcesIssuer: every authorization response carries iss (RFC 9207 section 3).
	announcesIssuer bool
}

// expectation is what a document must hold to be of use.
type expectation struct {
	issuer     string
	algorithms []string
	userinfo   bool
}

// discovery fetches the document when it is first needed and keeps the last good copy. Callers that need it at the same
// time share one request; after a failure it is not asked again before the pause is over.
type discovery struct {
	want   expectation
	client *http.Client
	now    func() time.Time
	log    *slog.Logger

	mu      sync.Mutex
	current *metadata
	fetched time.Time
	running *fetch
	// failure, failed and pause are of the latest fetch; pause is zero when it went well.
	failure error
	failed  time.Time
	pause   time.Duration
}

// fetch is one request under way; done is closed when the result stands.
type fetch struct {
	done chan struct{}
	doc  *metadata
	err  error
}

// get returns the document: at once where there is a copy (an old one is renewed in the background), otherwise after
// fetching it.
func (d *discovery) get(ctx context.Context) (*metadata, error) {
	d.mu.Lock()
	now := d.now()
	current, stale := d.current, passed(now, d.fetched, discoveryLife)
	waiting := !passed(now, d.failed, d.pause)
	if current != nil && (!stale || waiting) {
		d.mu.Unlock()
		return current, nil
	}
	if waiting && d.running == nil {
		defer d.mu.Unlock()
		return nil, d.failure
	}
	running := d.start()
	d.mu.Unlock()
	if current != nil {
		return current, nil
	}
	return running.wait(ctx)
}

// refresh fetches the document now, whatever is kept, or joins a fetch under way.
func (d *discovery) refresh(ctx context.Context) (*metadata, error) {
	d.mu.Lock()
	running := d.start()
	d.mu.Unlock()
	return running.wait(ctx)
}

// start begins a fetch unless one is under way. It outlives the request that began it, others may be waiting. The lock
// is held.
func (d *discovery) start() *fetch {
	if d.running != nil {
		return d.running
	}
	f := &fetch{done: make(chan struct{})}
	d.running = f
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), discoveryTimeout)
		defer cancel()
		f.doc, f.err = d.fetch(ctx)
		d.finish(f)
	}()
	return f
}

func (d *discovery) finish(f *fetch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer close(f.done)
	d.running = nil
	if f.err != nil {
		d.pause = min(max(2*d.pause, firstRetry), lastRetry)
		d.failure, d.failed = f.err, d.now()
		if identity.CodeOf(f.err) == providers.CodeMisconfigured {
			d.log.Error("openid provider cannot be used; an operator must act", "err", f.err)
		}
		return
	}
	d.current, d.fetched = f.doc, d.now()
	d.failure, d.pause = nil, 0
}

// passed reports whether d has passed since then. A clock that jumped back counts as passed: one fetch too many does no
// harm, an hour of waiting does.
func passed(now, then time.Time, d time.Duration) bool {
	age := now.Sub(then)
	return age < 0 || age >= d
}

func (f *fetch) wait(ctx context.Context) (*metadata, error) {
	select {
	case <-f.done:
		return f.doc, f.err
	case <-ctx.Done():
		return nil, providers.Unavailable(fmt.Errorf("discovery: %w", ctx.Err()))
	}
}

// fetch gets and checks the document. A wrong document is an operator's matter, coded provider_misconfigured.
func (d *discovery) fetch(ctx context.Context) (*metadata, error) {
	endpoint := strings.TrimSuffix(d.want.issuer, "/") + wellKnown
	body, err := getJSON(ctx, d.client, endpoint, "", maxDiscovery)
	if errors.Is(err, identity.ErrUnavailable) {
		return nil, providers.Unavailable(fmt.Errorf("discovery: %w", err))
	}
	if err != nil {
		return nil, providers.Misconfigured(fmt.Errorf("discovery: %w", err))
	}
	doc, err := parseMetadata(body, d.want)
	if err != nil {
		return nil, providers.Misconfigured(fmt.Errorf("discovery: %w", err))
	}
	return doc, nil
}

// parseMetadata reads a discovery document that must speak of this issuer.
func parseMetadata(body []byte, want expectation) (*metadata, error) {
	members, err := jws.ParseClaims(body)
	if err != nil {
		return nil, fmt.Errorf("not one clear JSON object: %w", err)
	}
	base, err := url.Parse(want.issuer)
	if err != nil {
		return nil, errors.New("the issuer is not a URL")
	}
	// Some providers spell absent members as null.
	maps.DeleteFunc(members, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	r := memberReader{members: members, loopbackHTTP: base.Scheme == "http" && providers.IsLoopback(base)}
	switch got := r.text("issuer"); {
	case got == want.issuer:
	case strings.TrimSuffix(got, "/") == strings.TrimSuffix(want.issuer, "/"):
		return nil, fmt.Errorf("the document's issuer differs from %q in the slash at its end", want.issuer)
	default:
		return nil, fmt.Errorf("the document is for another issuer than %q", want.issuer)
	}
	doc := &metadata{
		authorization:   r.endpoint("authorization_endpoint", true),
		token:           r.endpoint("token_endpoint", true),
		jwks:            r.endpoint("jwks_uri", true),
		userinfo:        r.endpoint("userinfo_endpoint", want.userinfo),
		announcesIssuer: r.flag("authorization_response_iss_parameter_supported"),
	}
	r.oneOf("id_token_signing_alg_values_supported", want.algorithms...)
	r.oneOf("code_challenge_methods_supported", "S256")
	if r.err != nil {
		return nil, r.err
	}
	return doc, nil
}

// memberReader reads members of fixed types; the first mistake stays.
type memberReader struct {
	members      jws.Claims
	loopbackHTTP bool
	err          error
}

func (r *memberReader) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *memberReader) text(name string) string {
	s, err := r.members.String(name)
	r.note(err)
	return s
}

func (r *memberReader) flag(name string) bool {
	b, err := r.members.Bool(name)
	r.note(err)
	return b
}

// oneOf wants a list that is announced to hold something we can use.
func (r *memberReader) oneOf(name string, usable ...string) {
	announced, err := r.members.Strings(name)
	r.note(err)
	if len(announced) > 0 && !slices.ContainsFunc(announced, func(s string) bool { return slices.Contains(usable, s) }) {
		r.note(fmt.Errorf("%s has none of %s", name, strings.Join(usable, ", ")))
	}
}

// endpoint reads a URL: https, or http on loopback where the issuer itself is such.
func (r *memberReader) endpoint(name string, required bool) string {
	s := r.text(name)
	if s == "" {
		if required {
			r.note(fmt.Errorf("%s is missing", name))
		}
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		r.note(fmt.Errorf("%s is not a URL", name))
	case u.Scheme == "http" && !r.loopbackHTTP:
		r.note(fmt.Errorf("%s must be https", name))
	default:
		if err := providers.CheckURL(s); err != nil {
			r.note(fmt.Errorf("%s %w", name, err))
		}
	}
	return s
}
