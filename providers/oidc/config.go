package oidc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"sallyport/identity"
	"sallyport/providers"
)

// Kind is the type name of these providers in configuration.
const Kind = "oidc"

// Config configures one upstream OpenID provider. Issuer and ClientID are required.
type Config struct {
	// Issuer is the provider's issuer, spelled exactly as its discovery document and its tokens spell it. https; http
	// only for localhost, names below it and loopback addresses.
	Issuer string `yaml:"issuer"`
	// ClientID is the name we are registered under.
	ClientID string `yaml:"client_id"`
	// ClientSecret proves it to the token endpoint. Absent for a public client, which has PKCE only.
	ClientSecret identity.Secret `yaml:"client_secret,omitempty"`
	// ClientAuth says how the secret travels: "basic" (default) or "post". Exactly one way is ever tried.
	ClientAuth string `yaml:"client_auth,omitempty"`
	// Scopes are asked for; default openid, profile, email. A refresh token usually needs offline_access.
	Scopes []string `yaml:"scopes,omitempty"`
	// GroupsClaim is the dotted path of the claim that holds the groups: a list of strings, or one string that is one
	// group. Default "groups".
	GroupsClaim string `yaml:"groups_claim,omitempty"`
	// UsernameClaim is the dotted path of the user name. Default "preferred_username".
	UsernameClaim string `yaml:"username_claim,omitempty"`
	// UserInfo merges the claims of the userinfo endpoint; those of the ID token win. Unset: where the provider has
	// such an endpoint. True: a provider without one is an error.
	UserInfo *bool `yaml:"userinfo,omitempty"`
	// Algorithms are the signature algorithms ID tokens may have; default RS256, ES256, PS256, EdDSA. Never symmetric
	// ones.
	Algorithms []string `yaml:"algorithms,omitempty"`
	// Prompt is sent along: login, consent, select_account, or several of them separated by spaces.
	Prompt string `yaml:"prompt,omitempty"`
	// MaxAge is how long ago the person may have proved who they are, in whole seconds ("8h"); the provider must then
	// say when that was. Unset: any time. Zero: always anew.
	MaxAge *time.Duration `yaml:"max_age,omitempty"`
	// ExtraParameters are added to the authorization request, for instance domain_hint. The protocol's own parameters
	// cannot be set here.
	ExtraParameters map[string]string `yaml:"extra_parameters,omitempty"`
	// CAFile names a PEM file of the authorities that are trusted for this provider instead of the system's.
	CAFile string `yaml:"ca_file,omitempty"`
}

// The defaults of Config.
const (
	defaultGroupsClaim   = "groups"
	defaultUsernameClaim = "preferred_username"
	authBasic            = "basic"
	authPost             = "post"
	maxClaimPath         = 256
)

func defaultScopes() []string     { return []string{"openid", "profile", "email"} }
func defaultAlgorithms() []string { return []string{"RS256", "ES256", "PS256", "EdDSA"} }

// knownAlgorithms are all that may be configured: asymmetric ones (RFC 7518 section 3.1, RFC 8037). With a symmetric one
// the provider and everybody who knows our client secret could sign.
func knownAlgorithms() []string {
	return []string{
		"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
	}
}

// ownParameters are the authorization request's own (OAuth 2.0, OpenID Connect Core section 3.1.2.1, PKCE, JAR, PAR) and
// those of the token request: whoever sets one of them by configuration could switch off a check.
func ownParameters() []string {
	return []string{
		"response_type", "response_mode", "client_id", "client_secret", "client_assertion", "client_assertion_type",
		"redirect_uri", "scope", "state", "nonce", "code", "code_challenge", "code_challenge_method", "code_verifier",
		"grant_type", "prompt", "max_age", "login_hint", "id_token_hint", "request", "request_uri", "registration",
		"iss", "error", "id_token", "access_token", "refresh_token", "token", "dpop_jkt",
	}
}

// Validate finds every mistake in the text; it reads no file.
func (c *Config) Validate() error {
	return errors.Join(
		c.validateIssuer(), c.validateClient(), c.validateScopes(), c.validateClaims(), c.validateAlgorithms(),
		c.validatePrompt(), c.validateExtra(),
	)
}

func (c *Config) validateIssuer() error {
	if c.Issuer == "" {
		return errors.New("issuer: is required")
	}
	if err := providers.CheckBareURL(c.Issuer); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if strings.HasSuffix(c.Issuer, wellKnown) {
		return fmt.Errorf("issuer: leave out %s", wellKnown)
	}
	return nil
}

func (c *Config) validateClient() error {
	var errs []error
	if c.ClientID == "" {
		errs = append(errs, errors.New("client_id: is required"))
	}
	if !slices.Contains([]string{"", authBasic, authPost}, c.ClientAuth) {
		errs = append(errs, fmt.Errorf("client_auth: %q is neither basic nor post", c.ClientAuth))
	}
	return errors.Join(errs...)
}

// scopeToken is RFC 6749 section 3.3.
var scopeToken = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]{1,256}$`)

func (c *Config) validateScopes() error {
	if c.Scopes == nil {
		return nil
	}
	var errs []error
	if !slices.Contains(c.Scopes, "openid") {
		errs = append(errs, errors.New("scopes: openid is missing; without it there is no ID token"))
	}
	for _, s := range c.Scopes {
		if !scopeToken.MatchString(s) {
			errs = append(errs, fmt.Errorf("scopes: %q is not a scope", s))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) validateClaims() error {
	var errs []error
	for key, path := range map[string]string{"groups_claim": c.GroupsClaim, "username_claim": c.UsernameClaim} {
		if path == "" {
			continue
		}
		steps := strings.Split(path, ".")
		if len(path) > maxClaimPath || len(steps) > providers.MaxClaimDepth || slices.Contains(steps, "") {
			errs = append(errs, fmt.Errorf("%s: %q is not a dotted claim path", key, path))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) validateAlgorithms() error {
	if c.Algorithms != nil && len(c.Algorithms) == 0 {
		return errors.New("algorithms: the list is empty")
	}
	var errs []error
	for _, a := range c.Algorithms {
		if !slices.Contains(knownAlgorithms(), a) {
			errs = append(errs, fmt.Errorf("algorithms: %q is none of %s", a, strings.Join(knownAlgorithms(), ", ")))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) validatePrompt() error {
	var errs []error
	for p := range strings.FieldsSeq(c.Prompt) {
		if !slices.Contains([]string{"login", "consent", "select_account"}, p) {
			errs = append(errs, fmt.Errorf("prompt: %q is none of login, consent, select_account", p))
		}
	}
	if c.MaxAge != nil && (*c.MaxAge < 0 || *c.MaxAge%time.Second != 0) {
		errs = append(errs, errors.New("max_age: must be whole seconds, not negative"))
	}
	return errors.Join(errs...)
}

var parameterName = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)

const maxParameter = 2048

func (c *Config) validateExtra() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.ExtraParameters)) {
		switch {
		case !parameterName.MatchString(name):
			errs = append(errs, fmt.Errorf("extra_parameters: %q is not a parameter name", name))
		case slices.Contains(ownParameters(), strings.ToLower(name)):
			errs = append(errs, fmt.Errorf("extra_parameters: %s is the protocol's own", name))
		case len(c.ExtraParameters[name]) > maxParameter || strings.ContainsFunc(c.ExtraParameters[name], unicode.IsControl):
			errs = append(errs, fmt.Errorf("extra_parameters: the value of %s is too long or has control characters", name))
		}
	}
	return errors.Join(errs...)
}

// Warnings name the settings that weaken the door.
func (c *Config) Warnings() []string {
	var out []string
	if u, err := url.Parse(c.Issuer); err == nil && u.Scheme == "http" {
		out = append(out, "issuer: http is for demonstrations on this machine only")
	}
	if c.ClientSecret.Literal() {
		out = append(out, "client_secret: stands in the configuration itself; use env: or file:")
	}
	if c.ClientSecret.Reference() == "" {
		out = append(out, "client_secret: none, so only PKCE protects the code (public client)")
	}
	return out
}

// Open makes the provider. It reads ca_file and asks nothing of the network: after Validate, its errors speak of that
// file.
func (c *Config) Open(_ context.Context, id, title string, env providers.Env) (providers.Provider, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.ClientSecret.Reference() != "" && !c.ClientSecret.IsSet() {
		return nil, errors.New("client_secret: was never resolved")
	}
	roots, err := providers.ReadRoots(env.Dir, c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	info := providers.Info{ID: id, Type: Kind, Title: cmp.Or(title, id)}
	p, err := newProvider(info, c.withDefaults(), newClient(roots), env)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// withDefaults returns a copy in which nothing is left to guess.
func (c *Config) withDefaults() Config {
	d := *c
	d.ClientAuth = cmp.Or(d.ClientAuth, authBasic)
	d.GroupsClaim = cmp.Or(d.GroupsClaim, defaultGroupsClaim)
	d.UsernameClaim = cmp.Or(d.UsernameClaim, defaultUsernameClaim)
	if d.Scopes == nil {
		d.Scopes = defaultScopes()
	}
	if d.Algorithms == nil {
		d.Algorithms = defaultAlgorithms()
	}
	d.Prompt = strings.Join(strings.Fields(d.Prompt), " ")
	d.Scopes, d.Algorithms = slices.Clone(d.Scopes), slices.Clone(d.Algorithms)
	d.ExtraParameters = maps.Clone(d.ExtraParameters)
	return d
}
