package saml

import (
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sallyport/providers"
)

// Open makes the provider. It reads the named files and asks nothing of the network.
func (c *Config) Open(_ context.Context, id, title string, env providers.Env) (providers.Provider, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p := newProvider(providers.Info{ID: id, Type: Kind, Title: cmp.Or(title, id)}, c.withDefaults(), env)
	if err := errors.Join(p.prepareSource(env), p.prepareKeys(env.Dir)); err != nil {
		return nil, err
	}
	return p, nil
}

func newProvider(info providers.Info, c Config, env providers.Env) *Provider {
	p := &Provider{info: info, config: c, log: env.Log, now: env.Now, heavy: env.Heavy}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.now == nil {
		p.now = time.Now
	}
	if p.heavy == nil {
		p.heavy = providers.NewSlots(0)
	}
	p.source = &source{now: p.now, log: p.log.With("provider", info.ID)}
	return p
}

// prepareSource says where the provider is looked up from now on.
func (p *Provider) prepareSource(env providers.Env) error {
	m, dir := p.config.Metadata, env.Dir
	p.source.parse = func(raw []byte) (*idp, error) { return parseMetadata(raw, p.config.EntityID, p.now()) }
	switch {
	case m.URL != "":
		roots, err := providers.ReadRoots(dir, m.CAFile)
		if err != nil {
			return fmt.Errorf("metadata.ca_file: %w", err)
		}
		client := providers.NewClient(roots)
		p.source.fetch = func(ctx context.Context) ([]byte, error) { return fetch(ctx, client, m.URL) }
		p.source.name, p.source.keep = keptName(p.info.ID, m.URL), env.Keep
		p.source.steady = p.config.EntityID == ""
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

// prepareKeys reads our own keys.
func (p *Provider) prepareKeys(dir string) error {
	if p.config.Signing != nil {
		pair, err := p.config.Signing.read(dir)
		if err != nil {
			return fmt.Errorf("signing.%w", err)
		}
		p.signing = &pair
	}
	p.decrypter.allowCBC = p.config.AllowCBC
	for i, files := range p.config.Decryption {
		pair, err := files.read(dir)
		if err != nil {
			return fmt.Errorf("decryption[%d].%w", i, err)
		}
		key, ok := pair.key.(*rsa.PrivateKey)
		if !ok {
			return fmt.Errorf("decryption[%d].key_file: must hold an RSA key", i)
		}
		p.decryption, p.decrypter.keys = append(p.decryption, pair), append(p.decrypter.keys, key)
	}
	return nil
}
