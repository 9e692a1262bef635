package oidc

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/oauth2"

	"sallyport/providers"
	"sallyport/tokens/jws"
)

// Provider is one upstream OpenID provider. It is made by Config.Open and safe for concurrent use.
type Provider struct {
	info      providers.Info
	config    Config
	client    *http.Client
	log       *slog.Logger
	now       func() time.Time
	discovery *discovery
	keys      *jws.Remote
}

var (
	_ providers.RedirectProvider = (*Provider)(nil)
	_ providers.Refresher        = (*Provider)(nil)
	_ providers.Checker          = (*Provider)(nil)
	_ providers.Config           = (*Config)(nil)
	_ providers.Warner           = (*Config)(nil)
)

func newProvider(info providers.Info, c Config, client *http.Client, env providers.Env) (*Provider, error) {
	p := &Provider{info: info, config: c, client: client, log: env.Log, now: env.Now}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.now == nil {
		p.now = time.Now
	}
	p.discovery = &discovery{
		want:   expectation{issuer: c.Issuer, algorithms: c.Algorithms, userinfo: c.UserInfo != nil && *c.UserInfo},
		client: client, now: p.now, log: p.log.With("provider", info.ID),
	}
	keys, err := jws.NewRemote(jws.RemoteConfig{URL: p.keySetURL, Client: client, Now: p.now})
	if err != nil {
		return nil, err
	}
	p.keys = keys
	return p, nil
}

func (p *Provider) keySetURL(ctx context.Context) (string, error) {
	doc, err := p.discovery.get(ctx)
	if err != nil {
		return "", err
	}
	return doc.jwks, nil
}

// Info names the provider.
func (p *Provider) Info() providers.Info { return p.info }

// pending is what a flow must remember. It travels in the sealed flow cookie.
type pending struct {
	Provider    string `json:"provider"`
	Nonce       string `json:"nonce"`
	Verifier    string `json:"verifier"`
	RedirectURI string `json:"redirect_uri"`
}

// minState is the shortest Flow.ID that can hold 128 bits in base64url.
const minState = 22

// maxHint bounds what a person typed before it goes into a URL.
const maxHint = 256

// Begin returns the authorization request: code flow, PKCE S256, state, nonce. It needs the provider's discovery
// document and so fails with identity.ErrUnavailable while there is none.
func (p *Provider) Begin(ctx context.Context, f providers.Flow) (providers.Challenge, error) {
	if len(f.ID) < minState || f.CallbackURL == "" {
		return providers.Challenge{}, errors.New("oidc: the flow has no unguessable id or no callback url")
	}
	doc, err := p.discovery.get(ctx)
	if err != nil {
		return providers.Challenge{}, err
	}
	memory := pending{
		Provider: p.info.ID, Nonce: newNonce(), Verifier: oauth2.GenerateVerifier(), RedirectURI: f.CallbackURL,
	}
	sealed, err := json.Marshal(memory)
	if err != nil {
		return providers.Challenge{}, fmt.Errorf("oidc: %w", err)
	}
	target := p.oauth(doc, f.CallbackURL).AuthCodeURL(f.ID, p.requestOptions(f, memory)...)
	return providers.Challenge{URL: target, Pending: sealed}, nil
}

func (p *Provider) requestOptions(f providers.Flow, memory pending) []oauth2.AuthCodeOption {
	var opts []oauth2.AuthCodeOption
	for name, value := range p.config.ExtraParameters {
		opts = append(opts, oauth2.SetAuthURLParam(name, value))
	}
	if p.config.Prompt != "" {
		opts = append(opts, oauth2.SetAuthURLParam("prompt", p.config.Prompt))
	}
	if p.config.MaxAge != nil {
		seconds := int64(*p.config.MaxAge / time.Second)
		opts = append(opts, oauth2.SetAuthURLParam("max_age", strconv.FormatInt(seconds, 10)))
	}
	if f.LoginHint != "" && len(f.LoginHint) <= maxHint {
		opts = append(opts, oauth2.SetAuthURLParam("login_hint", f.LoginHint))
	}
	return append(opts, oauth2.SetAuthURLParam("nonce", memory.Nonce), oauth2.S256ChallengeOption(memory.Verifier))
}

// oauth is the client as golang.org/x/oauth2 wants it. AuthStyle is always set: the automatic one tries both ways and
// so may send code and secret twice.
func (p *Provider) oauth(doc *metadata, redirectURI string) *oauth2.Config {
	style := oauth2.AuthStyleInParams
	if p.config.ClientSecret.IsSet() && p.config.ClientAuth == authBasic {
		style = oauth2.AuthStyleInHeader
	}
	return &oauth2.Config{
		ClientID:     p.config.ClientID,
		ClientSecret: p.config.ClientSecret.Reveal(),
		RedirectURL:  redirectURI,
		Scopes:       p.config.Scopes,
		Endpoint:     oauth2.Endpoint{AuthURL: doc.authorization, TokenURL: doc.token, AuthStyle: style},
	}
}

// wantsUserInfo: unset takes what is there; true has insisted on it when the document was read.
func (p *Provider) wantsUserInfo(doc *metadata) bool {
	return doc.userinfo != "" && (p.config.UserInfo == nil || *p.config.UserInfo)
}

// Check asks for the discovery document and the keys now, whatever is cached, and says in words what is wrong.
func (p *Provider) Check(ctx context.Context) error {
	if _, err := p.discovery.refresh(ctx); err != nil {
		return err
	}
	return providers.CheckKeys(ctx, p.keys)
}

// newNonce returns 256 random bits.
func newNonce() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}

// readPending reads what Begin left. The broker's seal has kept it from being changed; that it belongs to this door and
// this redirect URI is checked here.
func (p *Provider) readPending(f providers.Flow, sealed []byte) (pending, error) {
	var memory pending
	switch err := jws.StrictObject(sealed, &memory); {
	case err != nil:
		return pending{}, providers.FlowExpired("the flow's memory cannot be read")
	case memory.Provider != p.info.ID || memory.RedirectURI != f.CallbackURL:
		return pending{}, providers.FlowExpired("the flow began at another door")
	case len(memory.Nonce) < minState || len(memory.Verifier) < minState:
		return pending{}, providers.FlowExpired("the flow's memory is not complete")
	}
	return memory, nil
}
