package configs

import (
	"bytes"
	_ "embed"
	"maps"
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
	// Claims of tokens by name, beyond the core ones, which are always there under their own names.
	Claims map[string]Claim `yaml:"claims"`
	// Cookie is how an application's cookie on its own host looks.
	Cookie CookieSpelling `yaml:"cookie"`
	// APIKey says how API keys travel.
	APIKey APIKeySpelling `yaml:"api_key"`
	// Refresh says how tokens are renewed.
	Refresh RefreshSpelling `yaml:"refresh"`
	// TokenQuery is the parameter of an address that a WebSocket may bring its token in; default none. Addresses end up in
	// logs: a ticket, which is good once, is better.
	TokenQuery string `yaml:"token_query"`
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
	Refresh     string `yaml:"refresh"`
	Confirm     string `yaml:"confirm"`
	Ticket      string `yaml:"ticket"`
	Revoke      string `yaml:"revoke"`
	Revocations string `yaml:"revocations"`
}

// RefreshSpelling says how tokens are renewed.
type RefreshSpelling struct {
	// EndsToken makes the access token of before die when its refresh token is used; default false: it lives as long as it
	// says.
	EndsToken bool `yaml:"ends_token"`
}

// RequestNames are the fields of the sign-in request.
type RequestNames struct {
	Username       string `yaml:"username"`
	Password       string `yaml:"password"`
	Provider       string `yaml:"provider"`
	Application    string `yaml:"application"`
	RefreshToken   string `yaml:"refresh_token"`
	VerificationID string `yaml:"verification_id"`
	Code           string `yaml:"code"`
}

// ReplyNames are the fields of the sign-in reply.
type ReplyNames struct {
	AccessToken    string `yaml:"access_token"`
	TokenType      string `yaml:"token_type"`
	ExpiresIn      string `yaml:"expires_in"`
	User           string `yaml:"user"`
	RefreshToken   string `yaml:"refresh_token"`
	VerificationID string `yaml:"verification_id"`
	EndedSessions  string `yaml:"ended_sessions"`
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

// ProfileChanges is what a profile of the file has of its own; everything else is the built-in dialect's.
type ProfileChanges struct {
	// Claims by name, in the place of the built-in one's of that name.
	Claims map[string]Claim `yaml:"claims"`
	// Cookie of applications on their own hosts.
	Cookie CookieSpelling `yaml:"cookie"`
	// APIKey says how API keys travel; default: api_keys.prefix, in the built-in dialect's headers.
	APIKey APIKeySpelling `yaml:"api_key"`
	// Refresh says how tokens are renewed.
	Refresh RefreshSpelling `yaml:"refresh"`
	// TokenQuery is the parameter of an address that a WebSocket may bring its token in; default none.
	TokenQuery string `yaml:"token_query"`
}

// APIKeySpelling says how API keys travel.
type APIKeySpelling struct {
	// Prefix of newly made keys.
	Prefix string `yaml:"prefix"`
	// Headers a key may come in: Authorization (as bearer), X-API-Key or another of its own.
	Headers []string `yaml:"headers"`
	// SecretHeader is where the secret half travels when a key comes in two headers, its public half in one of Headers;
	// default none: the whole key stands in one header.
	SecretHeader string `yaml:"secret_header"`
}

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
		fillShapes(p.Claims)
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

var (
	namePattern   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`)
	headerPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)
)

// takenHeaders mean something to others; those with - at the end stand for all that begin so.
func takenHeaders() []string {
	return []string{
		"Cookie", "Host", "Content-Length", "Content-Type", "Connection", "Origin", "Transfer-Encoding",
		"Forwarded", "X-Forwarded-", "X-Original-", "Proxy-", "Sec-",
	}
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
	d.checkClaims("claims", p.Claims)
	d.checkCookie("cookie", p.Cookie)
	d.checkKeySpelling("api_key", p.APIKey)
	d.checkHeader("csrf_header", p.CSRFHeader)
	d.checkTokenQuery("token_query", p.TokenQuery)
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

func (d *decoder) checkHeader(path, h string) {
	taken := slices.ContainsFunc(takenHeaders(), func(t string) bool {
		return strings.EqualFold(t, h) || strings.HasSuffix(t, "-") && hasPrefixFold(h, t)
	})
	switch {
	case !headerPattern.MatchString(h):
		d.once(path, "%q is not a header name", h)
	case taken:
		d.once(path, "%s already has a meaning", h)
	}
}

// checkKeySpelling checks how keys travel. Each header once: a key in one that is read twice would count as two.
func (d *decoder) checkKeySpelling(path string, k APIKeySpelling) {
	if !prefixPattern.MatchString(k.Prefix) {
		d.once(join(path, "prefix"), "expected 1 to 20 of a-z, 0-9 and, within, _")
	}
	headers := join(path, "headers")
	if len(k.Headers) == 0 {
		d.once(headers, "expected at least one header")
	}
	d.checkSecretHeader(join(path, "secret_header"), k)
	for i, h := range k.Headers {
		d.checkHeader(indexed(headers, i), h)
		if slices.ContainsFunc(k.Headers[:i], func(before string) bool { return strings.EqualFold(before, h) }) {
			d.once(indexed(headers, i), "%s stands twice", h)
		}
	}
}

// checkSecretHeader: half a key in Authorization would be read as a bearer token.
func (d *decoder) checkSecretHeader(path string, k APIKeySpelling) {
	switch h := k.SecretHeader; {
	case h == "":
	case strings.EqualFold(h, "Authorization"):
		d.once(path, "%s already has a meaning", h)
	case slices.ContainsFunc(k.Headers, func(other string) bool { return strings.EqualFold(other, h) }):
		d.once(path, "%s is where the other half travels", h)
	default:
		d.checkHeader(path, h)
	}
}

// builtIn is the name of the built-in dialect.
const builtIn = "default"

// checkProfiles completes the dialects that applications may name.
func (d *decoder) checkProfiles(cfg *Config) {
	base, err := DefaultProfile()
	if err != nil {
		d.wrong("profiles", "built-in profile: %v", err)
		return
	}
	base.APIKey.Prefix = cfg.APIKeys.Prefix
	cfg.profiles = map[string]*Profile{builtIn: base}
	for _, name := range slices.Sorted(maps.Keys(cfg.Profiles)) {
		path, changes := join("profiles", name), cfg.Profiles[name]
		switch {
		case name == builtIn:
			d.wrong(path, "the profile %s is built in and stays as it is; give yours another name", name)
			continue
		case !idPattern.MatchString(name):
			d.wrong(path, "%q is no name of a profile: a-z, 0-9 and . _ -, at most 63, beginning with a letter or digit", name)
		}
		d.checkClaims(join(path, "claims"), changes.Claims)
		d.checkClaimValues(cfg, join(path, "claims"), changes.Claims)
		d.checkLeftOut(join(path, "claims"), base.Claims, changes.Claims)
		made := base.with(changes)
		if d.has(join(path, "api_key.headers")) {
			made.APIKey.Headers = changes.APIKey.Headers
		}
		d.checkCookie(join(path, "cookie"), made.Cookie)
		d.checkTokenQuery(join(path, "token_query"), made.TokenQuery)
		d.checkKeySpelling(join(path, "api_key"), made.APIKey)
		cfg.profiles[name] = made
	}
}

// with returns a copy with the changes in it.
func (p *Profile) with(changes *ProfileChanges) *Profile {
	made := *p
	made.Claims = overlay(p.Claims, changes.Claims)
	made.Cookie = CookieSpelling{
		Name: changes.Cookie.Name, Domain: changes.Cookie.Domain, RefreshBelow: changes.Cookie.RefreshBelow,
		Value:    orElse(changes.Cookie.Value, p.Cookie.Value),
		SameSite: orElse(changes.Cookie.SameSite, p.Cookie.SameSite),
	}
	made.APIKey.Prefix = orElse(changes.APIKey.Prefix, p.APIKey.Prefix)
	made.APIKey.SecretHeader = changes.APIKey.SecretHeader
	made.Refresh, made.TokenQuery = changes.Refresh, changes.TokenQuery
	return &made
}
