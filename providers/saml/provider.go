package saml

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
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
	decrypter  decrypter
	// heavy bounds how many responses are read at a time.
	heavy *providers.Slots
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
// (provider_reply_invalid), ErrUnavailable (provider_unavailable: no usable metadata; busy: too many responses at once).
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
	v, err := p.accept(ctx, upstream, e, raw)
	if errors.Is(err, errUnknownKey) {
		if newer := p.source.newer(ctx, upstream); newer != nil {
			upstream = newer
			v, err = p.accept(ctx, upstream, e, raw)
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

// accept reads a response with what is known of the provider. A hostile one of 2 MiB may take some hundred MiB in passing,
// so the house reads only so many at a time, of all its providers.
func (p *Provider) accept(ctx context.Context, upstream *idp, e expectation, raw []byte) (verified, error) {
	release, err := p.heavy.Take(ctx)
	if err != nil {
		return verified{}, err
	}
	defer release()
	e.issuer = upstream.entityID
	e.keys = keys{certificates: upstream.keys.certificates, allowSHA1: p.config.AllowSHA1, now: p.now()}
	e.decrypter = p.decrypter
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

// readReply takes the form apart. It has these two fields and no other (saml-bindings section 3.5.4): whoever adds one means
// something that we would not know of. Artifacts are refused, nothing is asked for them.
func readReply(f providers.Flow, reply url.Values) ([]byte, error) {
	if reply.Has("SAMLart") {
		return nil, providers.ReplyInvalid("artifacts are not taken")
	}
	for field, values := range reply {
		switch {
		case field != "SAMLResponse" && field != "RelayState":
			return nil, providers.ReplyInvalid("the form has a field that does not belong there")
		case len(values) != 1:
			return nil, providers.ReplyInvalid("a parameter appears %d times", len(values))
		}
	}
	switch {
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
