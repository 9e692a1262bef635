package configs

import (
	"bytes"
	_ "embed"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed profiles/default.yaml
var defaultProfile []byte

// Profile is an application's dialect: how the API is spelled towards it. It is data that spells and never decides;
// what may be done, and what a token means, is the same in every profile.
type Profile struct {
	// BasePath is what the routes stand under.
	BasePath string `yaml:"base_path"`
	// Routes are the paths below BasePath.
	Routes Routes `yaml:"routes"`
	// Request names the fields of the sign-in request.
	Request RequestNames `yaml:"request"`
	// Reply names the fields of the sign-in reply.
	Reply ReplyNames `yaml:"reply"`
	// User names the fields of a person in replies.
	User UserNames `yaml:"user"`
	// Claims names the claims of tokens beyond the core ones (iss, sub, aud, exp, iat, jti, sid), which are always
	// there under their own names.
	Claims ClaimNames `yaml:"claims"`
	// APIKey says how API keys travel.
	APIKey APIKeySpelling `yaml:"api_key"`
	// CSRFHeader carries the CSRF token.
	CSRFHeader string `yaml:"csrf_header"`
	// Error is the shape of error bodies: problem (RFC 9457).
	Error string `yaml:"error" enum:"problem"`
}

// Routes are paths below Profile.BasePath, each beginning with a slash.
type Routes struct {
	Login       string `yaml:"login"`
	Logout      string `yaml:"logout"`
	CSRF        string `yaml:"csrf"`
	Me          string `yaml:"me"`
	Validate    string `yaml:"validate"`
	Permissions string `yaml:"permissions"`
	Sessions    string `yaml:"sessions"`
	SSOLogin    string `yaml:"sso_login"`
	APIKeys     string `yaml:"api_keys"`
}

// RequestNames are the fields of the sign-in request.
type RequestNames struct {
	Username    string `yaml:"username"`
	Password    string `yaml:"password"`
	Provider    string `yaml:"provider"`
	Application string `yaml:"application"`
}

// ReplyNames are the fields of the sign-in reply.
type ReplyNames struct {
	AccessToken string `yaml:"access_token"`
	TokenType   string `yaml:"token_type"`
	ExpiresIn   string `yaml:"expires_in"`
	User        string `yaml:"user"`
}

// UserNames are the fields of a person.
type UserNames struct {
	ID          string `yaml:"id"`
	Username    string `yaml:"username"`
	Name        string `yaml:"name"`
	Email       string `yaml:"email"`
	Roles       string `yaml:"roles"`
	Permissions string `yaml:"permissions"`
}

// ClaimNames are the claims of tokens that a profile may spell.
type ClaimNames struct {
	Username    Claim `yaml:"username"`
	Name        Claim `yaml:"name"`
	Email       Claim `yaml:"email"`
	Roles       Claim `yaml:"roles"`
	Permissions Claim `yaml:"permissions"`
}

// Claim is a claim's name and shape. In YAML a plain word is the name.
type Claim struct {
	// Name in the token.
	Name string `yaml:"name"`
	// Shape is string (the default for single values), list (the default for roles and permissions), or comma (one
	// string, values separated by commas).
	Shape string `yaml:"shape" enum:"list,string,comma"`
}

// UnmarshalText reads the plain word.
func (c *Claim) UnmarshalText(text []byte) error {
	*c = Claim{Name: string(text)}
	return nil
}

// APIKeySpelling says how API keys travel.
type APIKeySpelling struct {
	// Prefix of newly made keys.
	Prefix string `yaml:"prefix"`
	// Headers a key may come in: Authorization (as bearer), X-API-Key or another of its own.
	Headers []string `yaml:"headers"`
}

// The shapes of claims.
const (
	ShapeList   = "list"
	ShapeString = "string"
	ShapeComma  = "comma"
)

// DefaultProfile is the built-in dialect, that of our own API.
func DefaultProfile() (*Profile, error) {
	return ParseProfile("profiles/default.yaml (built in)", defaultProfile)
}

// ParseProfile reads a profile strictly. Every key is required, since a dialect with a word missing is not one. All
// mistakes come together as Mistakes.
func ParseProfile(name string, data []byte) (*Profile, error) {
	d := newDecoder(name, nil)
	root := d.read(data)
	p := &Profile{}
	if root != nil {
		d.decode("", root, reflect.ValueOf(p).Elem())
		d.requireAll("", reflect.ValueOf(p).Elem())
		p.shapes()
		d.checkProfile(p)
	}
	if len(d.mistakes) > 0 {
		return nil, sortMistakes(d.mistakes)
	}
	return p, nil
}

// String is the profile as YAML.
func (p *Profile) String() string {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(p); err != nil {
		return err.Error()
	}
	return b.String()
}

func (d *decoder) requireAll(path string, v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		key := join(path, f.key)
		switch {
		case !d.has(key):
			d.wrong(key, "is required")
		case isBlock(f.typ) && !isText(f.typ):
			d.requireAll(key, v.FieldByIndex(f.index))
		}
	}
}

// shapes fills in those left out.
func (p *Profile) shapes() {
	for _, c := range []*Claim{&p.Claims.Username, &p.Claims.Name, &p.Claims.Email} {
		c.Shape = orElse(c.Shape, ShapeString)
	}
	for _, c := range []*Claim{&p.Claims.Roles, &p.Claims.Permissions} {
		c.Shape = orElse(c.Shape, ShapeList)
	}
}

var (
	namePattern   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`)
	headerPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)
)

// coreClaims stay what they are in every profile.
func coreClaims() []string {
	return []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "client_id", "amr", "auth_time", "idp", "azp"}
}

// takenHeaders mean something to others.
func takenHeaders() []string {
	return []string{"Cookie", "Host", "Content-Length", "Content-Type", "Connection", "Origin", "Transfer-Encoding"}
}

func (d *decoder) checkProfile(p *Profile) {
	if !isCleanPath(p.BasePath) {
		d.once("base_path", "expected a plain path such as /api/auth")
	}
	d.checkNames("routes", reflect.ValueOf(p.Routes), isCleanPath, "a plain path such as /login")
	for _, b := range []struct {
		path string
		v    any
	}{{"request", p.Request}, {"reply", p.Reply}, {"user", p.User}} {
		d.checkNames(b.path, reflect.ValueOf(b.v), namePattern.MatchString, "a field name")
	}
	d.checkClaims(p)
	if !prefixPattern.MatchString(p.APIKey.Prefix) {
		d.once("api_key.prefix", "expected 1 to 16 of a-z and 0-9")
	}
	if len(p.APIKey.Headers) == 0 {
		d.once("api_key.headers", "expected at least one header")
	}
	for i, h := range p.APIKey.Headers {
		d.checkHeader(indexed("api_key.headers", i), h)
	}
	d.checkHeader("csrf_header", p.CSRFHeader)
}

// once reports unless something was found at the key before.
func (d *decoder) once(path, format string, args ...any) {
	if !d.faulty(path) {
		d.wrong(path, format, args...)
	}
}

// isCleanPath: one spelling, outside of what is ours on every host.
func isCleanPath(s string) bool {
	return strings.HasPrefix(s, "/") && s != "/" && pathPattern.MatchString(s) && path.Clean(s) == s &&
		s != "/.sallyport" && !strings.HasPrefix(s, "/.sallyport/")
}

// checkNames checks a block of strings, each of which must differ from the others.
func (d *decoder) checkNames(path string, v reflect.Value, ok func(string) bool, want string) {
	seen := map[string]string{}
	for _, f := range fieldsOf(v.Type()) {
		key, s := join(path, f.key), v.FieldByIndex(f.index).String()
		switch before, twice := seen[s]; {
		case !ok(s):
			d.once(key, "%q is not %s", s, want)
		case twice:
			d.once(key, "%q is that of %s as well", s, before)
		}
		seen[s] = f.key
	}
}

func (d *decoder) checkClaims(p *Profile) {
	seen := map[string]string{}
	v := reflect.ValueOf(p.Claims)
	for _, f := range fieldsOf(v.Type()) {
		key := join("claims", f.key)
		c, ok := v.FieldByIndex(f.index).Interface().(Claim)
		if !ok {
			continue
		}
		many := f.key == "roles" || f.key == "permissions"
		switch before, twice := seen[c.Name]; {
		case !namePattern.MatchString(c.Name):
			d.once(key, "%q is not a claim name", c.Name)
		case slices.Contains(coreClaims(), c.Name):
			d.once(key, "%q is a core claim and means the same in every profile", c.Name)
		case twice:
			d.once(key, "%q is that of %s as well", c.Name, before)
		case many && c.Shape == ShapeString, !many && c.Shape != ShapeString:
			d.once(key, "cannot have the shape %s", c.Shape)
		}
		seen[c.Name] = f.key
	}
}

func (d *decoder) checkHeader(path, h string) {
	taken := slices.ContainsFunc(takenHeaders(), func(t string) bool { return strings.EqualFold(t, h) })
	switch {
	case !headerPattern.MatchString(h):
		d.once(path, "%q is not a header name", h)
	case taken:
		d.once(path, "%s already has a meaning", h)
	}
}

// checkProfiles loads the dialects that applications may name.
func (d *decoder) checkProfiles(cfg *Config) {
	p, err := DefaultProfile()
	if err != nil {
		d.wrong("applications", "built-in profile: %v", err)
		return
	}
	cfg.profiles = map[string]*Profile{"default": p}
}
