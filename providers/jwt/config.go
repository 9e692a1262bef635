package jwt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sallyport/identity"
	"sallyport/providers"
)

// Kind is the type name of these providers in configuration.
const Kind = "jwt"

// Config configures one embedding application as a door. Issuer, Audience and at least one source of keys are required.
type Config struct {
	// Issuer is what the embedding application writes into iss, exactly.
	Issuer string `yaml:"issuer"`
	// Audience is what it writes into aud: exactly this house's issuer URL.
	Audience string `yaml:"audience"`
	// Keys verify its signatures. Several may stand here at once, which is how a key is rotated: add the new one, let
	// the application change over, take the old one out.
	Keys []Key `yaml:"keys,omitempty"`
	// JWKSFile names a file with a JWK set of public keys. It is read at the start and at every reload. A JWK is for
	// its alg only; one without is for the asymmetric algorithms of its type.
	JWKSFile string `yaml:"jwks_file,omitempty"`
	// JWKSURL is where the application publishes its JWK set: https, or http on this machine. A copy is kept for ten
	// minutes; a token of an unknown key has it fetched anew, at most every thirty seconds.
	JWKSURL string `yaml:"jwks_url,omitempty"`
	// CAFile names a PEM file of the authorities that are trusted for jwks_url instead of the system's.
	CAFile string `yaml:"ca_file,omitempty"`
	// SubjectKey is the claim that says who the person is, for ever; default "sub". Here and in the keys below, dots walk
	// into objects ("user.id"), and a name may have dots and colons in it ("service:username"); a token in which two
	// claims are meant is refused.
	SubjectKey string `yaml:"subject_key,omitempty"`
	// RolesKey is the claim with the groups: a list of strings, or one string separated by commas or, where it has no
	// comma, by spaces. Default "roles".
	RolesKey string `yaml:"roles_key,omitempty"`
	// NameKey is the claim with the display name; default "name".
	NameKey string `yaml:"name_key,omitempty"`
	// EmailKey is the claim with the address; default "email". An address never counts as verified here.
	EmailKey string `yaml:"email_key,omitempty"`
	// UsernameKey is the claim with the user name; default "preferred_username".
	UsernameKey string `yaml:"username_key,omitempty"`
	// MaxTTL is how long a token may live from iat to exp; default 5m, at most 15m. One that lives longer is refused.
	MaxTTL time.Duration `yaml:"max_ttl,omitempty"`
	// Skew is how far the application's clock and ours may be apart; default 30s, at most 2m.
	Skew *time.Duration `yaml:"skew,omitempty"`
	// Compat takes tokens of older embedding applications.
	Compat Compat `yaml:"compat,omitempty"`
	// Replay is "strict" (default: a token opens the door once) or "off" (as often as it likes until it expires).
	Replay string `yaml:"replay,omitempty" enum:"strict,off"`
}

// Key is one key of the embedding application: exactly one of HMAC, PEM and PEMFile.
type Key struct {
	// ID is the kid that its tokens name it by. A key without one is tried for tokens of any kid.
	ID string `yaml:"id,omitempty"`
	// HMAC is a shared secret: base64 of at least 32 bytes. Whoever knows it can sign.
	HMAC identity.Secret `yaml:"hmac,omitempty"`
	// PEM is a public key or certificate, over several lines.
	PEM string `yaml:"pem,omitempty"`
	// PEMFile names a file with one.
	PEMFile string `yaml:"pem_file,omitempty"`
	// Algorithm is the only one the key is for. Default: HS256 for hmac, RS256 for RSA, ES256, ES384 or ES512 by the
	// curve, EdDSA for Ed25519.
	Algorithm string `yaml:"algorithm,omitempty"`
}

// Compat names what older embedding applications do not do.
type Compat struct {
	// Missing lists the claims that tokens may lack: iss, aud, jti, iat. One that is there is checked as ever. A token
	// without jti is remembered by its digest.
	Missing []string `yaml:"missing,omitempty"`
	// MaxTTL takes the place of max_ttl; at most 15m.
	MaxTTL time.Duration `yaml:"max_ttl,omitempty"`
}

// The defaults and bounds of Config.
const (
	defaultSubjectKey  = "sub"
	defaultRolesKey    = "roles"
	defaultNameKey     = "name"
	defaultEmailKey    = "email"
	defaultUsernameKey = "preferred_username"
	defaultMaxTTL      = 5 * time.Minute
	mostTTL            = 15 * time.Minute
	defaultSkew        = 30 * time.Second
	mostSkew           = 2 * time.Minute
	replayStrict       = "strict"
	replayOff          = "off"
	maxKeys            = 8
	maxClaimPath       = 256
)

// lackable are the claims that compat may let go. Without exp a token would live for ever, and without a subject it is
// about nobody.
func lackable() []string { return []string{"iss", "aud", "jti", "iat"} }

// Validate finds every mistake in the text; it reads no file. Secrets are looked at once they are resolved.
func (c *Config) Validate() error {
	return errors.Join(
		c.validateNames(), c.validateKeys(), c.validateURL(), c.validateClaims(), c.validateTimes(), c.validateCompat(),
	)
}

func (c *Config) validateNames() error {
	var errs []error
	switch {
	case c.Issuer == "":
		errs = append(errs, errors.New("issuer: is required"))
	case !isPlain(c.Issuer, maxSubject):
		errs = append(errs, errors.New("issuer: is too long, or has control characters"))
	}
	if c.Audience == "" {
		errs = append(errs, errors.New("audience: is required: the issuer URL of this house"))
	} else if err := providers.CheckBareURL(c.Audience); err != nil {
		errs = append(errs, fmt.Errorf("audience: %w", err))
	}
	return errors.Join(errs...)
}

func (c *Config) validateKeys() error {
	var errs []error
	if len(c.Keys) == 0 && c.JWKSFile == "" && c.JWKSURL == "" {
		errs = append(errs, errors.New("keys: at least one key, jwks_file or jwks_url is needed"))
	}
	if len(c.Keys) > maxKeys {
		errs = append(errs, fmt.Errorf("keys: at most %d", maxKeys))
	}
	for i, k := range c.Keys {
		if err := k.validate(); err != nil {
			errs = append(errs, prefixed(fmt.Sprintf("keys[%d]", i), err))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) validateURL() error {
	var errs []error
	if c.JWKSURL != "" {
		if err := providers.CheckBareURL(c.JWKSURL); err != nil {
			errs = append(errs, fmt.Errorf("jwks_url: %w", err))
		}
	}
	if c.CAFile != "" && c.JWKSURL == "" {
		errs = append(errs, errors.New("ca_file: is for jwks_url, which is not set"))
	}
	return errors.Join(errs...)
}

func (c *Config) validateClaims() error {
	var errs []error
	for _, k := range []struct{ key, path string }{
		{"subject_key", c.SubjectKey},
		{"roles_key", c.RolesKey},
		{"name_key", c.NameKey},
		{"email_key", c.EmailKey},
		{"username_key", c.UsernameKey},
	} {
		switch {
		case k.path == "":
		case !isPlain(k.path, maxClaimPath):
			errs = append(errs, fmt.Errorf("%s: is too long, or has control characters", k.key))
		case slices.Contains(protocolClaims(), k.path) && k.path != defaultSubjectKey:
			errs = append(errs, fmt.Errorf("%s: %s speaks of the token, not of the person", k.key, k.path))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) validateTimes() error {
	var errs []error
	if c.MaxTTL < 0 || c.MaxTTL > mostTTL {
		errs = append(errs, fmt.Errorf("max_ttl: must be more than 0 and at most %s", mostTTL))
	}
	if c.Skew != nil && (*c.Skew < 0 || *c.Skew > mostSkew) {
		errs = append(errs, fmt.Errorf("skew: must be between 0s and %s", mostSkew))
	}
	if c.Replay != "" && c.Replay != replayStrict && c.Replay != replayOff {
		errs = append(errs, errors.New("replay: must be strict or off"))
	}
	return errors.Join(errs...)
}

func (c *Config) validateCompat() error {
	var errs []error
	for i, name := range c.Compat.Missing {
		switch {
		case !slices.Contains(lackable(), name):
			errs = append(errs, fmt.Errorf("compat.missing[%d]: is none of %s", i, strings.Join(lackable(), ", ")))
		case slices.Contains(c.Compat.Missing[:i], name):
			errs = append(errs, fmt.Errorf("compat.missing[%d]: %s stands twice", i, name))
		}
	}
	if c.Compat.MaxTTL < 0 || c.Compat.MaxTTL > mostTTL {
		errs = append(errs, fmt.Errorf("compat.max_ttl: must be more than 0 and at most %s", mostTTL))
	}
	return errors.Join(errs...)
}

// Warnings name the settings that weaken the door.
func (c *Config) Warnings() []string {
	var out []string
	for i, k := range c.Keys {
		if k.HMAC.Literal() {
			out = append(out, fmt.Sprintf("keys[%d].hmac: stands in the configuration itself; use env: or file:", i))
		}
	}
	if c.MaxTTL > defaultMaxTTL {
		out = append(out, fmt.Sprintf("max_ttl: tokens that live longer than %s have more time to leak", defaultMaxTTL))
	}
	for _, name := range c.Compat.Missing {
		out = append(out, "compat.missing: "+map[string]string{
			"iss": "tokens need not say who made them (iss)",
			"aud": "tokens need not say whom they are for (aud): one made for another application opens this door",
			"jti": "tokens need no jti; they are remembered by their digest",
			"iat": "tokens need not say when they were made (iat)",
		}[name])
	}
	if c.Compat.MaxTTL > defaultMaxTTL {
		out = append(out, fmt.Sprintf(
			"compat.max_ttl: tokens that live longer than %s have more time to leak", defaultMaxTTL))
	}
	if c.Replay == replayOff {
		out = append(out, "replay: off, so whoever sees a token can use it again until it expires")
	}
	if u, err := url.Parse(c.JWKSURL); err == nil && u.Scheme == "http" {
		out = append(out, "jwks_url: http is for demonstrations on this machine only")
	}
	return out
}

// Open makes the provider. It reads the named files and asks nothing of the network: after Validate, its errors speak of
// those files.
func (c *Config) Open(_ context.Context, id, title string, env providers.Env) (providers.Provider, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	info := providers.Info{ID: id, Type: Kind, Title: cmp.Or(title, id)}
	p, err := newProvider(info, c.withDefaults(), env)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// withDefaults returns a copy in which nothing is left to guess.
func (c *Config) withDefaults() Config {
	d := *c
	d.SubjectKey = cmp.Or(d.SubjectKey, defaultSubjectKey)
	d.RolesKey = cmp.Or(d.RolesKey, defaultRolesKey)
	d.NameKey = cmp.Or(d.NameKey, defaultNameKey)
	d.EmailKey = cmp.Or(d.EmailKey, defaultEmailKey)
	d.UsernameKey = cmp.Or(d.UsernameKey, defaultUsernameKey)
	d.MaxTTL = cmp.Or(d.Compat.MaxTTL, d.MaxTTL, defaultMaxTTL)
	d.Replay = cmp.Or(d.Replay, replayStrict)
	skew := defaultSkew
	if c.Skew != nil {
		skew = *c.Skew
	}
	d.Skew = &skew
	d.Keys, d.Compat.Missing = slices.Clone(c.Keys), slices.Clone(c.Compat.Missing)
	return d
}

// prefixed puts a path before every one of the joined errors, so that each names its key.
func prefixed(path string, err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return fmt.Errorf("%s.%w", path, err)
	}
	var errs []error
	for _, e := range joined.Unwrap() {
		errs = append(errs, fmt.Errorf("%s.%w", path, e))
	}
	return errors.Join(errs...)
}

// isPlain accepts text that every log and store takes for the same: not empty, bounded, no control characters.
func isPlain(s string, most int) bool {
	return s != "" && len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
