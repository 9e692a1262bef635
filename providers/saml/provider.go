package saml

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"sallyport/identity"
	"sallyport/providers"
)

// Provider is one upstream identity provider. It is made by Config.Open and safe for concurrent use.
type Provider struct {
	info   providers.Info
	config Config
	log    *slog.Logger
	now    func() time.Time
	source *source
	// signing is what requests are signed with, nil for unsigned ones; decryption what assertions may be encrypted for.
	signing    *keyPair
	decryption []keyPair
	// warned is when the log was last told of Warnings, in seconds since 1970.
	warned atomic.Int64
}

var (
	_ providers.PostedProvider = (*Provider)(nil)
	_ providers.OnceProvider   = (*Provider)(nil)
	_ providers.Checker        = (*Provider)(nil)
	_ providers.Warner         = (*Provider)(nil)
	_ providers.Config         = (*Config)(nil)
	_ providers.Warner         = (*Config)(nil)
)

func newProvider(info providers.Info, c Config, env providers.Env) *Provider {
	p := &Provider{info: info, config: c, log: env.Log, now: env.Now}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.now == nil {
		p.now = time.Now
	}
	p.source = &source{now: p.now, log: p.log.With("provider", info.ID)}
	return p
}

// prepare reads the named files and says where the provider is looked up from now on.
func (p *Provider) prepare(dir string) error {
	return errors.Join(p.prepareSource(dir), p.prepareKeys(dir))
}

func (p *Provider) prepareSource(dir string) error {
	m := p.config.Metadata
	p.source.parse = func(raw []byte) (*idp, error) { return parseMetadata(raw, p.config.EntityID, p.now()) }
	switch {
	case m.URL != "":
		roots, err := providers.ReadRoots(dir, m.CAFile)
		if err != nil {
			return fmt.Errorf("metadata.ca_file: %w", err)
		}
		client := providers.NewClient(roots)
		p.source.fetch = func(ctx context.Context) ([]byte, error) { return fetch(ctx, client, m.URL) }
		p.source.name = keptName(p.info.ID, m.URL)
	case m.File != "":
		p.source.fetch = func(context.Context) ([]byte, error) { return providers.ReadFile(dir, m.File, maxMetadata) }
		if _, err := providers.ReadFile(dir, m.File, maxMetadata); err != nil {
			return fmt.Errorf("metadata.file: %w", err)
		}
	default:
		certificates, err := readCertificates(p.config.Certificates, dir)
		if err != nil {
			return fmt.Errorf("certificates: %w", err)
		}
		p.source.current = &idp{
			entityID: p.config.EntityID, ssoURL: p.config.SSOURL, keys: keys{certificates: certificates},
		}
	}
	return nil
}

// keptName is the name of the last good copy. Metadata from another address is another copy, or a changed configuration
// would go on with the old provider's keys.
func keptName(id, address string) string {
	sum := sha256.Sum256([]byte(address))
	return "saml metadata " + id + " " + base64.RawURLEncoding.EncodeToString(sum[:12])
}

func (p *Provider) prepareKeys(dir string) error {
	if p.config.Signing != nil {
		pair, err := p.config.Signing.read(dir)
		if err != nil {
			return fmt.Errorf("signing.%w", err)
		}
		p.signing = &pair
	}
	for i, files := range p.config.Decryption {
		pair, err := files.read(dir)
		if err != nil {
			return fmt.Errorf("decryption[%d].%w", i, err)
		}
		if _, ok := pair.key.(*rsa.PrivateKey); !ok {
			return fmt.Errorf("decryption[%d].key_file: must hold an RSA key", i)
		}
		p.decryption = append(p.decryption, pair)
	}
	return nil
}

// Info names the provider.
func (p *Provider) Info() providers.Info { return p.info }

// pending is what a flow must remember. It travels in the sealed flow cookie.
type pending struct {
	Provider string `json:"provider"`
	Request  string `json:"request"`
	ACS      string `json:"acs"`
}

// minState is the shortest Flow.ID that can hold 128 bits in base64url; maxState what RelayState may have.
const (
	minState = 22
	maxState = 80
)

// Begin returns the authentication request over HTTP-Redirect. It needs the provider's metadata and so fails with
// identity.ErrUnavailable while there is none.
func (p *Provider) Begin(ctx context.Context, f providers.Flow) (providers.Challenge, error) {
	if len(f.ID) < minState || len(f.ID) > maxState {
		return providers.Challenge{}, errors.New("saml: the flow has no unguessable id that fits RelayState")
	}
	own, err := EntityID(p.info.ID, f.CallbackURL)
	if err != nil {
		return providers.Challenge{}, err
	}
	upstream, err := p.source.get(ctx)
	if err != nil {
		return providers.Challenge{}, err
	}
	memory := pending{Provider: p.info.ID, Request: newRequestID(), ACS: f.CallbackURL}
	sealed, err := json.Marshal(memory)
	if err != nil {
		return providers.Challenge{}, fmt.Errorf("saml: %w", err)
	}
	p.warn()
	target, err := redirect(p.request(memory.Request, own, f.CallbackURL, upstream.ssoURL), f.ID, p.signing)
	if err != nil {
		return providers.Challenge{}, fmt.Errorf("saml: %w", err)
	}
	return providers.Challenge{URL: target, Pending: sealed}, nil
}

// Finish checks the response that was posted and returns who it speaks of.
//
// Its errors: identity.ErrDenied (provider_refused: upstream said no), ErrExpired (flow_expired), ErrBadCredentials
// (provider_reply_invalid), ErrUnavailable (provider_unavailable: no usable metadata).
func (p *Provider) Finish(
	ctx context.Context, f providers.Flow, sealed []byte, reply url.Values,
) (identity.Assertion, error) {
	memory, err := p.readPending(f, sealed)
	if err != nil {
		return identity.Assertion{}, err
	}
	raw, err := readReply(f, reply)
	if err != nil {
		return identity.Assertion{}, err
	}
	own, err := EntityID(p.info.ID, f.CallbackURL)
	if err != nil {
		return identity.Assertion{}, err
	}
	upstream, err := p.source.get(ctx)
	if err != nil {
		return identity.Assertion{}, err
	}
	e := expectation{audience: own, acs: f.CallbackURL, request: memory.Request, skew: *p.config.Skew}
	v, err := p.accept(upstream, e, raw)
	if errors.Is(err, errUnknownKey) {
		if newer := p.source.newer(ctx, upstream); newer != nil {
			upstream = newer
			v, err = p.accept(upstream, e, raw)
		}
	}
	switch {
	case errors.Is(err, errStatus):
		return identity.Assertion{}, providers.Refused(err.Error())
	case err != nil:
		return identity.Assertion{}, providers.ReplyInvalid("%w", err)
	}
	a, err := p.assertion(upstream.entityID, v)
	if err != nil {
		return identity.Assertion{}, providers.ReplyInvalid("%w", err)
	}
	return a, nil
}

// accept reads a response with what is known of the provider.
func (p *Provider) accept(upstream *idp, e expectation, raw []byte) (verified, error) {
	e.issuer = upstream.entityID
	e.keys = keys{certificates: upstream.keys.certificates, allowSHA1: p.config.AllowSHA1, now: p.now()}
	e.decrypter.allowCBC = p.config.AllowCBC
	for _, pair := range p.decryption {
		if key, ok := pair.key.(*rsa.PrivateKey); ok {
			e.decrypter.keys = append(e.decrypter.keys, key)
		}
	}
	return e.accept(raw)
}

// readPending reads what Begin left. The broker's seal has kept it from being changed; that it belongs to this door and
// this endpoint is checked here.
func (p *Provider) readPending(f providers.Flow, sealed []byte) (pending, error) {
	var memory pending
	d := json.NewDecoder(bytes.NewReader(sealed))
	d.DisallowUnknownFields()
	switch err := d.Decode(&memory); {
	case err != nil:
		return pending{}, providers.FlowExpired("the flow's memory cannot be read")
	case memory.Provider != p.info.ID || memory.ACS != f.CallbackURL:
		return pending{}, providers.FlowExpired("the flow began at another door")
	case len(memory.Request) < minState:
		return pending{}, providers.FlowExpired("the flow's memory is not complete")
	}
	return memory, nil
}

// readReply takes the fields of the form apart (saml-bindings section 3.5.4). Artifacts are refused, nothing is asked
// for them.
func readReply(f providers.Flow, reply url.Values) ([]byte, error) {
	for _, values := range reply {
		if len(values) != 1 {
			return nil, providers.ReplyInvalid("a parameter appears %d times", len(values))
		}
	}
	switch {
	case reply.Has("SAMLart"):
		return nil, providers.ReplyInvalid("artifacts are not taken")
	case !reply.Has("SAMLResponse"):
		return nil, providers.ReplyInvalid("there is no SAMLResponse")
	case f.ID == "" || subtle.ConstantTimeCompare([]byte(reply.Get("RelayState")), []byte(f.ID)) != 1:
		return nil, providers.ReplyInvalid("RelayState is not that of the flow")
	}
	raw, err := decode(reply.Get("SAMLResponse"))
	if err != nil {
		return nil, providers.ReplyInvalid("%w", err)
	}
	return raw, nil
}

// Check looks at the metadata now, whatever is kept, and says in words what is wrong: it cannot be had or used, every
// certificate has expired, or the provider wants what we are not configured for.
func (p *Provider) Check(ctx context.Context) error {
	upstream, err := p.source.refresh(ctx)
	if err != nil {
		return err
	}
	now := p.now()
	if !slices.ContainsFunc(upstream.keys.certificates, func(c *x509.Certificate) bool {
		return !now.Before(c.NotBefore) && !now.After(c.NotAfter)
	}) {
		return providers.Unavailable(errors.New("every certificate of the provider has expired"))
	}
	if upstream.wantsSigned && p.signing == nil {
		return providers.Misconfigured(errUnsignedRequests)
	}
	return nil
}

var errUnsignedRequests = errors.New("the provider wants signed requests (WantAuthnRequestsSigned), and signing is not configured")

// Warnings name what an operator should act upon soon, as far as the provider is known by now: certificates that end
// within 30 days, requests that the provider wants signed. It asks nobody.
func (p *Provider) Warnings() []string {
	upstream := p.source.known()
	if upstream == nil {
		return nil
	}
	out := upstream.ending(p.now())
	if upstream.wantsSigned && p.signing == nil {
		out = append(out, errUnsignedRequests.Error())
	}
	return out
}

// warn tells the log of Warnings, at most once a day.
func (p *Provider) warn() {
	warnings := p.Warnings()
	now, last := p.now().Unix(), p.warned.Load()
	if len(warnings) == 0 || last != 0 && now-last < secondsPerDay || !p.warned.CompareAndSwap(last, now) {
		return
	}
	for _, w := range warnings {
		p.log.Warn("saml provider needs attention", "provider", p.info.ID, "reason", w)
	}
}

const secondsPerDay = 24 * 60 * 60
