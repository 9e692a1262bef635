package saml

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	crewjam "github.com/crewjam/saml"

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
}

var (
	_ providers.RedirectProvider = (*Provider)(nil)
	_ providers.Checker          = (*Provider)(nil)
	_ providers.Config           = (*Config)(nil)
	_ providers.Warner           = (*Config)(nil)
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
	m := p.config.Metadata
	switch {
	case m.URL != "":
		roots, err := readRoots(m.CAFile, dir)
		if err != nil {
			return fmt.Errorf("metadata.ca_file: %w", err)
		}
		client := newClient(roots)
		p.source.load = func(ctx context.Context) (*idp, error) {
			raw, err := fetch(ctx, client, m.URL)
			if err != nil {
				return nil, err
			}
			return parseMetadata(raw, p.config.EntityID, p.now())
		}
	case m.File != "":
		name := inDir(m.File, dir)
		p.source.load = func(context.Context) (*idp, error) {
			raw, err := readFile(name)
			if err != nil {
				return nil, err
			}
			return parseMetadata(raw, p.config.EntityID, p.now())
		}
		if _, err := readFile(name); err != nil {
			return fmt.Errorf("metadata.file: %w", err)
		}
	default:
		certificates, err := readCertificates(p.config.Certificates, dir)
		if err != nil {
			return fmt.Errorf("certificates: %w", err)
		}
		known := &idp{
			entityID: p.config.EntityID, ssoURL: p.config.SSOURL, keys: keys{certificates: certificates},
		}
		p.source.load = func(context.Context) (*idp, error) { return known, nil }
	}
	return nil
}

// Info names the provider.
func (p *Provider) Info() providers.Info { return p.info }

// Metadata returns our own metadata as this provider needs it: XML that describes the service provider entityID with its
// one assertion consumer service.
func (p *Provider) Metadata(entityID, acsURL string) ([]byte, error) {
	for name, value := range map[string]string{"entity id": entityID, "acs url": acsURL} {
		if err := checkEndpoint(value); err != nil {
			return nil, fmt.Errorf("saml: the %s %w", name, err)
		}
	}
	return ownMetadata(entityID, acsURL, nameFormat(p.config.NameIDFormat))
}

// EntityID returns our entity id towards the provider with this id: the address of our metadata on the host of the
// callback URL.
func EntityID(id, callbackURL string) (string, error) {
	u, err := url.Parse(callbackURL)
	if err != nil || checkEndpoint(callbackURL) != nil {
		return "", errors.New("saml: the callback url is no https URL")
	}
	own := url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/saml/" + id + "/metadata"}
	return own.String(), nil
}

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
	request := crewjam.AuthnRequest{
		ID: memory.Request, Version: version, IssueInstant: p.now().UTC(), Destination: upstream.ssoURL,
		ProtocolBinding: bindingPOST, AssertionConsumerServiceURL: f.CallbackURL,
		Issuer: &crewjam.Issuer{Format: formatEntity, Value: own},
	}
	if format := nameFormat(p.config.NameIDFormat); format != "" {
		create := true
		request.NameIDPolicy = &crewjam.NameIDPolicy{Format: &format, AllowCreate: &create}
	}
	// Redirect takes the RelayState as it will stand in the query.
	target, err := request.Redirect(url.QueryEscape(f.ID), &crewjam.ServiceProvider{})
	if err != nil {
		return providers.Challenge{}, fmt.Errorf("saml: %w", err)
	}
	return providers.Challenge{URL: target.String(), Pending: sealed}, nil
}

// newRequestID returns 256 random bits as an XML identifier, which may not begin with a digit.
func newRequestID() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return "_" + hex.EncodeToString(b)
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
	e := expectation{
		keys:   keys{certificates: upstream.keys.certificates, allowSHA1: p.config.AllowSHA1, now: p.now()},
		issuer: upstream.entityID, audience: own, acs: f.CallbackURL, request: memory.Request, skew: *p.config.Skew,
	}
	v, err := e.accept(raw)
	switch {
	case errors.Is(err, errStatus):
		return identity.Assertion{}, refused(err.Error())
	case err != nil:
		return identity.Assertion{}, replyInvalid("%w", err)
	}
	a, err := p.assertion(upstream.entityID, v)
	if err != nil {
		return identity.Assertion{}, replyInvalid("%w", err)
	}
	return a, nil
}

// readPending reads what Begin left. The broker's seal has kept it from being changed; that it belongs to this door and
// this endpoint is checked here.
func (p *Provider) readPending(f providers.Flow, sealed []byte) (pending, error) {
	var memory pending
	d := json.NewDecoder(bytes.NewReader(sealed))
	d.DisallowUnknownFields()
	switch err := d.Decode(&memory); {
	case err != nil:
		return pending{}, flowExpired("the flow's memory cannot be read")
	case memory.Provider != p.info.ID || memory.ACS != f.CallbackURL:
		return pending{}, flowExpired("the flow began at another door")
	case len(memory.Request) < minState:
		return pending{}, flowExpired("the flow's memory is not complete")
	}
	return memory, nil
}

// readReply takes the fields of the form apart (saml-bindings section 3.5.4). Artifacts are refused, nothing is asked
// for them.
func readReply(f providers.Flow, reply url.Values) ([]byte, error) {
	for _, values := range reply {
		if len(values) != 1 {
			return nil, replyInvalid("a parameter appears %d times", len(values))
		}
	}
	switch {
	case reply.Has("SAMLart"):
		return nil, replyInvalid("artifacts are not taken")
	case !reply.Has("SAMLResponse"):
		return nil, replyInvalid("there is no SAMLResponse")
	case f.ID == "" || subtle.ConstantTimeCompare([]byte(reply.Get("RelayState")), []byte(f.ID)) != 1:
		return nil, replyInvalid("RelayState is not that of the flow")
	}
	raw, err := decode(reply.Get("SAMLResponse"))
	if err != nil {
		return nil, replyInvalid("%w", err)
	}
	return raw, nil
}

// Check looks at the metadata now, whatever is kept, and says in words what is wrong.
func (p *Provider) Check(ctx context.Context) error {
	upstream, err := p.source.refresh(ctx)
	if err != nil {
		return err
	}
	now := p.now()
	for _, c := range upstream.keys.certificates {
		if !now.Before(c.NotBefore) && !now.After(c.NotAfter) {
			return nil
		}
	}
	return unavailable(errors.New("every certificate of the provider has expired"))
}
