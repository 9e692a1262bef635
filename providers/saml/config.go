package saml

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"sallyport/providers"
)

// Kind is the type name of these providers in configuration.
const Kind = "saml"

// Config configures one upstream identity provider: by its metadata, or by entity_id, sso_url and certificates.
type Config struct {
	// Metadata says where the provider's metadata is.
	Metadata Metadata `yaml:"metadata,omitempty"`
	// EntityID is the provider's entity id. Together with metadata it must be the one the metadata is of. Where it is not set,
	// the entity that is found first behind metadata.url is the only one that is taken from there later: accounts belong to
	// the provider's id, and setting entity_id is how another entity gets to inherit them.
	EntityID string `yaml:"entity_id,omitempty"`
	// SSOURL is the provider's single sign-on endpoint for HTTP-Redirect: https; http only for localhost.
	SSOURL string `yaml:"sso_url,omitempty"`
	// Certificates are PEM files of the certificates the provider signs with; several while it changes keys.
	Certificates []string `yaml:"certificates,omitempty"`
	// NameIDFormat is asked for and, where the NameID is the subject, insisted on: persistent (the default then),
	// transient, email or unspecified.
	NameIDFormat string `yaml:"name_id_format,omitempty"`
	// Subject says what identifies a person for ever: "name_id" (default) or "attribute NAME". NAME is the attribute's Name
	// (a FriendlyName never counts here), and it must have exactly one value, without white space around it.
	Subject string `yaml:"subject,omitempty"`
	// Attributes names what is read of a person.
	Attributes Attributes `yaml:"attributes,omitempty"`
	// Extra are further attributes for mapping rules.
	Extra []string `yaml:"extra,omitempty"`
	// EmailVerified is the operator's word that addresses of this provider belong to the people they stand at. Without
	// it no address from here is ever taken for verified.
	EmailVerified bool `yaml:"email_verified,omitempty"`
	// Skew is how far the provider's clock may be off, at most 2m; default 1m.
	Skew *time.Duration `yaml:"skew,omitempty"`
	// Decryption are our keys that the provider may encrypt assertions for, RSA of 2048 bits or more; several while they
	// are exchanged. Our metadata offers all of them.
	Decryption []KeyPair `yaml:"decryption,omitempty"`
	// AllowCBC takes assertions encrypted with AES-CBC, too, inside a signed Response.
	AllowCBC bool `yaml:"allow_cbc,omitempty"`
	// Signing is the key that authentication requests are signed with, RSA or ECDSA; without it they are not signed.
	Signing *KeyPair `yaml:"signing,omitempty"`
	// AllowSHA1 takes signatures with SHA-1, which can be forged with effort.
	AllowSHA1 bool `yaml:"allow_sha1,omitempty"`
}

// Metadata says where a provider's metadata is: in a file or at a URL, not both. Its own signature is not looked at: the
// file, or the server behind the URL, is trusted. It is read again every hour.
type Metadata struct {
	// File names the document.
	File string `yaml:"file,omitempty"`
	// URL is where the document is fetched: https; http only for localhost.
	URL string `yaml:"url,omitempty"`
	// CAFile names a PEM file of the authorities that are trusted for URL instead of the system's.
	CAFile string `yaml:"ca_file,omitempty"`
}

// Attributes names attributes of the assertion by Name or, where none has that Name, by FriendlyName; those left empty are
// not read. Of all but groups one attribute is taken, and its first value.
type Attributes struct {
	// Username is the name a person is known by.
	Username string `yaml:"username,omitempty"`
	// Name is the display name.
	Name string `yaml:"name,omitempty"`
	// Email is the address.
	Email string `yaml:"email,omitempty"`
	// Groups holds the group names, one per value.
	Groups string `yaml:"groups,omitempty"`
}

const (
	defaultSkew     = time.Minute
	maxSkew         = 2 * time.Minute
	maxCertificates = 8
	maxDecryption   = 4
	subjectNameID   = "name_id"
	wordPersistent  = "persistent"
	minRSA          = 2048
	maxPEM          = 64 << 10
)

// nameFormat returns the URN of a configured word, "" for none.
func nameFormat(word string) string {
	switch word {
	case wordPersistent:
		return formatPersistent
	case "transient":
		return formatTransient
	case "email":
		return formatEmail
	case "unspecified":
		return formatUnspecified
	default:
		return ""
	}
}

// subjectAttribute returns the attribute that is the subject, and whether one is.
func (c *Config) subjectAttribute() (string, bool) {
	name, ok := strings.CutPrefix(c.Subject, "attribute ")
	return strings.TrimSpace(name), ok
}

// wanted are the attributes that are read at all.
func (c *Config) wanted() map[string]bool {
	subject, _ := c.subjectAttribute()
	out := map[string]bool{}
	for _, name := range append([]string{
		subject, c.Attributes.Username, c.Attributes.Name, c.Attributes.Email, c.Attributes.Groups,
	}, c.Extra...) {
		if name != "" {
			out[name] = true
		}
	}
	return out
}

// Validate finds every mistake that can be seen without the provider.
func (c *Config) Validate() error {
	return errors.Join(c.validateSource(), c.validateSubject(), c.validateAttributes(), c.validateSkew(), c.validateKeys())
}

func (c *Config) validateSource() error {
	m := c.Metadata
	switch {
	case m.File != "" && m.URL != "":
		return errors.New("metadata: has a file and a url; keep one")
	case m.CAFile != "" && m.URL == "":
		return errors.New("metadata.ca_file: is for metadata.url only")
	case m.File != "" || m.URL != "":
		return errors.Join(c.validateMetadata())
	}
	var errs []error
	if c.EntityID == "" {
		errs = append(errs, errors.New("entity_id: is required where there is no metadata"))
	}
	if c.SSOURL == "" {
		errs = append(errs, errors.New("sso_url: is required where there is no metadata"))
	} else if err := providers.CheckURL(c.SSOURL); err != nil {
		errs = append(errs, fmt.Errorf("sso_url: %w", err))
	}
	switch {
	case len(c.Certificates) == 0:
		errs = append(errs, errors.New("certificates: is required where there is no metadata"))
	case len(c.Certificates) > maxCertificates:
		errs = append(errs, fmt.Errorf("certificates: more than %d", maxCertificates))
	}
	return errors.Join(errs...)
}

func (c *Config) validateMetadata() error {
	var errs []error
	if c.SSOURL != "" {
		errs = append(errs, errors.New("sso_url: stands in the metadata already"))
	}
	if len(c.Certificates) != 0 {
		errs = append(errs, errors.New("certificates: stand in the metadata already"))
	}
	if c.Metadata.URL != "" {
		if err := providers.CheckURL(c.Metadata.URL); err != nil {
			errs = append(errs, fmt.Errorf("metadata.url: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) validateSubject() error {
	name, fromAttribute := c.subjectAttribute()
	switch {
	case c.NameIDFormat != "" && nameFormat(c.NameIDFormat) == "":
		return fmt.Errorf("name_id_format: %q is none of persistent, transient, email, unspecified", c.NameIDFormat)
	case fromAttribute && name == "":
		return errors.New("subject: attribute has no name")
	case fromAttribute && (name == c.Attributes.Email || name == c.Attributes.Username):
		return errors.New("subject: names and addresses are handed on from person to person; take another attribute")
	case !fromAttribute && c.Subject != "" && c.Subject != subjectNameID:
		return fmt.Errorf("subject: %q is neither name_id nor attribute NAME", c.Subject)
	case !fromAttribute && nameFormat(c.NameIDFormat) == formatTransient:
		return errors.New("name_id_format: a transient NameID is no subject; take persistent, or subject: attribute NAME")
	default:
		return nil
	}
}

func (c *Config) validateAttributes() error {
	var errs []error
	for name := range c.wanted() {
		if len(name) > maxName || strings.TrimSpace(name) != name {
			errs = append(errs, fmt.Errorf("attributes: %q is too long or has white space around it", name))
		}
	}
	if slices.Contains(c.Extra, "") {
		errs = append(errs, errors.New("extra: a name is empty"))
	}
	return errors.Join(errs...)
}

func (c *Config) validateSkew() error {
	if c.Skew != nil && (*c.Skew < 0 || *c.Skew > maxSkew) {
		return fmt.Errorf("skew: must be between 0 and %s", maxSkew)
	}
	return nil
}

func (c *Config) validateKeys() error {
	var errs []error
	if c.Signing != nil {
		if err := c.Signing.validate(); err != nil {
			errs = append(errs, fmt.Errorf("signing.%w", err))
		}
	}
	for i, pair := range c.Decryption {
		if err := pair.validate(); err != nil {
			errs = append(errs, fmt.Errorf("decryption[%d].%w", i, err))
		}
	}
	if len(c.Decryption) > maxDecryption {
		errs = append(errs, fmt.Errorf("decryption: more than %d keys", maxDecryption))
	}
	if c.AllowCBC && len(c.Decryption) == 0 {
		errs = append(errs, errors.New("allow_cbc: means nothing without decryption"))
	}
	return errors.Join(errs...)
}

// Warnings name the settings that weaken the door.
func (c *Config) Warnings() []string {
	var out []string
	for _, key := range []struct{ name, url string }{{"metadata.url", c.Metadata.URL}, {"sso_url", c.SSOURL}} {
		if u, err := url.Parse(key.url); err == nil && u.Scheme == "http" {
			out = append(out, key.name+": http is for demonstrations on this machine only")
		}
	}
	if c.AllowSHA1 {
		out = append(out, "allow_sha1: signatures with SHA-1 can be forged with effort; have the provider use SHA-256")
	}
	if c.AllowCBC {
		out = append(out, "allow_cbc: AES-CBC does not notice changes to what it hides; have the provider use AES-GCM")
	}
	_, fromAttribute := c.subjectAttribute()
	if !fromAttribute && (c.NameIDFormat == "email" || c.NameIDFormat == "unspecified") {
		out = append(out, "name_id_format: "+c.NameIDFormat+" does not promise that a name is never given to somebody else; "+
			"take persistent")
	}
	return out
}

// withDefaults returns a copy in which nothing is left to guess.
func (c *Config) withDefaults() Config {
	d := *c
	d.Extra, d.Certificates = slices.Clone(c.Extra), slices.Clone(c.Certificates)
	d.Decryption = slices.Clone(c.Decryption)
	if _, fromAttribute := d.subjectAttribute(); !fromAttribute {
		d.NameIDFormat = cmp.Or(d.NameIDFormat, wordPersistent)
	}
	skew := defaultSkew
	if c.Skew != nil {
		skew = *c.Skew
	}
	d.Skew = &skew
	return d
}
