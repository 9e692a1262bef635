package configs

import (
	"crypto/tls"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// idPattern is what ids of providers and applications look like: they stand in paths, cookie names and claims.
var idPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// reservedIDs are taken by our own paths and names.
func reservedIDs() []string {
	return []string{"admin", "api", "callback", "idp", "login", "me", "sallyport", "setup"}
}

// validate finds what the types alone cannot see.
func (d *decoder) validate(cfg *Config) {
	d.checkServer(&cfg.Server)
	d.checkStorage(cfg.Storage)
	d.checkFiles(cfg)
	d.checkProviders(cfg)
	d.checkLogin(cfg)
	d.checkSession("session", cfg.Session.Session)
	d.checkRemember(cfg)
	d.checkThrottle(cfg.Throttle)
	d.checkSigningKeys(cfg.SigningKeys)
	d.checkMail(cfg)
	d.checkText("branding.title", cfg.Branding.Title, 100)
	d.checkSupport(cfg.Branding.Support)
	d.checkAPIKeys(cfg.APIKeys)
	d.checkMapping(cfg)
	d.checkProfiles(cfg)
	d.checkApplications(cfg)
	d.checkEmbedding(cfg)
}

func (d *decoder) checkServer(s *Server) {
	if s.Issuer == "" {
		if !d.faulty("server.issuer") {
			d.wrong("server.issuer", "is required: the URL people reach this server at, such as https://sso.example.com")
		}
	} else if place, err := parseWebURL(s.Issuer); err != nil {
		d.wrong("server.issuer", "%v", err)
	} else if place.prefix != "" {
		d.wrong("server.issuer", "must have no path, expected %s://%s", place.scheme, place.host)
	} else if canonical := place.scheme + "://" + place.host; s.Issuer != canonical {
		d.wrong("server.issuer", "must be written as browsers do, expected %s", canonical)
	}
	if err := checkListen(s.Listen); err != nil {
		d.wrong("server.listen", "%v", err)
	}
	if err := checkListen(s.OperationsListen); s.OperationsListen != "" && err != nil {
		d.wrong("server.operations_listen", "%v; \"\" switches it off", err)
	}
	if s.OperationsListen == s.Listen && !strings.HasSuffix(s.Listen, ":0") {
		d.wrong("server.operations_listen", "must not be the same as server.listen: health and metrics have their own")
	}
	d.checkTLS(s)
	for i, n := range s.TrustedProxies {
		if n.IsValid() && n.everybody() {
			d.warn(indexed("server.trusted_proxies", i), "trusts everybody: anyone can claim any address")
		}
	}
}

func (d *decoder) checkTLS(s *Server) {
	t := s.TLS
	switch {
	case t.Certificate == "" && t.Key == "":
		if len(s.TrustedProxies) == 0 && !isLocalListen(s.Listen) && !d.faulty("server.listen") {
			d.warn("server.listen", "plain HTTP from outside this machine; set server.tls, or server.trusted_proxies "+
				"for the proxy that terminates TLS")
		}
	case t.Certificate == "":
		d.wrong("server.tls.certificate", "is required with server.tls.key")
	case t.Key == "":
		d.wrong("server.tls.key", "is required with server.tls.certificate")
	}
}

// checkFiles tries the certificate, so that a wrong one is found before the old process has gone.
func (d *decoder) checkFiles(cfg *Config) {
	t := cfg.Server.TLS
	if t.Certificate == "" || t.Key == "" {
		return
	}
	missing := false
	for _, f := range [][2]string{{"certificate", t.Certificate}, {"key", t.Key}} {
		if _, err := os.Stat(cfg.File(f[1])); err != nil {
			d.wrong("server.tls."+f[0], "%v", err)
			missing = true
		}
	}
	if missing {
		return
	}
	if _, err := tls.LoadX509KeyPair(cfg.File(t.Certificate), cfg.File(t.Key)); err != nil {
		d.wrong("server.tls", "certificate and key do not load: %v", err)
	}
}

// checkID reports ids that cannot be; places of the entries are those of their keys.
func (d *decoder) checkID(path, id string) {
	switch {
	case !idPattern.MatchString(id):
		d.wrong(path, "%q is no id: a-z, 0-9 and . _ -, at most 63, beginning with a letter or digit", id)
	case slices.Contains(reservedIDs(), id):
		d.wrong(path, "the id %q is reserved, as are %s", id, strings.Join(without(reservedIDs(), id), ", "))
	}
}

func without(list []string, s string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(e string) bool { return e == s })
}

func (d *decoder) checkProviders(cfg *Config) {
	if len(cfg.Providers) == 0 {
		d.wrong("providers", "at least one provider is needed, or nobody can sign in")
	} else if !slices.ContainsFunc(slices.Collect(maps.Values(cfg.Providers)), func(p *Provider) bool { return !p.Disabled }) {
		d.wrong("providers", "all are disabled, so nobody could sign in")
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Providers)) {
		path, p := join("providers", id), cfg.Providers[id]
		d.checkID(path, id)
		d.checkText(join(path, "title"), p.Title, 100)
		if v, ok := p.Settings.(interface{ Validate() error }); ok {
			d.adopt(path, v.Validate())
		}
		if p.Type == kindJWT {
			d.checkAudience(cfg, join(path, "audience"), p.Settings)
		}
		if w, ok := p.Settings.(interface{ Warnings() []string }); ok {
			for _, s := range w.Warnings() {
				key, text := splitKey(path, s)
				d.warn(key, "%s", text)
			}
		}
	}
}

// kindJWT is the kind of the providers that embedding applications name.
const kindJWT = "jwt"

// checkAudience: a token that embedding applications make for us names us, as nobody else is named. The kind does not
// know who we are.
func (d *decoder) checkAudience(cfg *Config, key string, settings any) {
	audience := textOf(settings, "audience")
	if audience != "" && audience != cfg.Server.Issuer && cfg.Server.Issuer != "" && !d.faulty(key) {
		d.wrong(key, "must be server.issuer, %s", cfg.Server.Issuer)
	}
}

// textOf reads a text of a kind's own block, "" where it has none.
func textOf(settings any, key string) string {
	v := reflect.ValueOf(settings)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return ""
	}
	for _, f := range fieldsOf(v.Elem().Type()) {
		if f.key == key && f.typ.Kind() == reflect.String {
			return v.Elem().FieldByIndex(f.index).String()
		}
	}
	return ""
}

// adopt gives the errors of a kind, which begin with their key, their places. What was already found at a key is not
// said twice.
func (d *decoder) adopt(path string, err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			d.adopt(path, e)
		}
		return
	}
	if key, text := splitKey(path, err.Error()); !d.faulty(key) {
		d.wrong(key, "%s", text)
	}
}

var keyed = regexp.MustCompile(`^([a-z0-9_]+(?:\[[0-9]+\]|\.[a-z0-9_]+)*): `)

// splitKey cuts "key: text".
func splitKey(path, s string) (key, text string) {
	m := keyed.FindStringSubmatch(s)
	if m == nil {
		return path, s
	}
	return join(path, m[1]), s[len(m[0]):]
}

func (d *decoder) checkLogin(cfg *Config) {
	ids := slices.Sorted(maps.Keys(cfg.Providers))
	l := cfg.Login
	switch p, exists := cfg.Providers[l.DefaultProvider]; {
	case l.DefaultProvider != "" && !exists:
		d.wrong("login.default_provider", "there is no provider %q%s", l.DefaultProvider, suggestion(l.DefaultProvider, ids))
	case exists && p.Disabled:
		d.warn("login.default_provider", "provider %s is disabled: a name without a domain rule goes nowhere", p.ID)
	case l.DefaultProvider == "" && passwordProviders(cfg) > 1:
		d.warn("login.default_provider", "is not set though several providers take passwords: "+
			"a name without a domain rule goes nowhere")
	}
	for _, domain := range slices.Sorted(maps.Keys(l.Domains)) {
		path, id := join("login.domains", domain), l.Domains[domain]
		if !isHost(domain) || !strings.Contains(domain, ".") {
			d.wrong(path, "%q is no domain, expected one in lower case (punycode) such as corp.example", domain)
		}
		switch p, exists := cfg.Providers[id]; {
		case !exists:
			d.wrong(path, "there is no provider %q%s", id, suggestion(id, ids))
		case p.Disabled:
			d.warn(path, "provider %s is disabled: names of this domain go nowhere", id)
		}
	}
}

func passwordProviders(cfg *Config) (n int) {
	for _, p := range cfg.Providers {
		if p.Settings != nil && !p.Disabled && p.TakesPassword() {
			n++
		}
	}
	return n
}

const year = 365 * 24 * time.Hour

func (d *decoder) checkSession(path string, s Session) {
	d.between(join(path, "lifetime"), s.Lifetime, time.Second, year)
	d.between(join(path, "idle"), s.Idle, time.Second, year)
	if s.Idle > s.Lifetime && s.Lifetime > 0 {
		d.wrong(join(path, "idle"), "%s is longer than the lifetime of %s", short(s.Idle), short(s.Lifetime))
	}
	if s.Lifetime > 24*time.Hour {
		d.warn(join(path, "lifetime"), "a sign-in that holds longer than a day")
	}
	d.number(join(path, "concurrent"), s.Concurrent, 0, 1000)
}

// between says so when a duration is out of its bounds.
func (d *decoder) between(path string, got, least, most time.Duration) {
	if (got < least || got > most) && !d.faulty(path) {
		d.wrong(path, "%s is out of bounds, expected %s to %s", short(got), short(least), short(most))
	}
}

// short writes a duration without its zero parts: 15m, not 15m0s.
func short(t time.Duration) string {
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// checkText: one line that people read.
func (d *decoder) checkText(path, s string, most int) {
	switch {
	case utf8.RuneCountInString(s) > most:
		d.wrong(path, "is longer than %d characters", most)
	case strings.ContainsFunc(s, unicode.IsControl):
		d.wrong(path, "must be one line without control characters")
	}
}

var schemeLike = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:\S`)

// checkSupport: it becomes a link, so a javascript: URL would become a script.
func (d *decoder) checkSupport(s string) {
	d.checkText("branding.support", s, 500)
	if schemeLike.MatchString(s) && !strings.HasPrefix(s, "mailto:") && !strings.HasPrefix(s, "https://") {
		d.wrong("branding.support", "expected a mailto: or https:// URL, or a sentence")
	}
}

var prefixPattern = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9_]{0,18}[a-z0-9])?$`)

func (d *decoder) checkAPIKeys(k APIKeys) {
	if !prefixPattern.MatchString(k.Prefix) {
		d.wrong("api_keys.prefix", "expected 1 to 20 of a-z, 0-9 and, within, _")
	}
	d.between("api_keys.default_lifetime", k.DefaultLifetime, time.Minute, 10*year)
	d.between("api_keys.max_lifetime", k.MaxLifetime, time.Minute, 10*year)
	if k.DefaultLifetime > k.MaxLifetime {
		d.wrong("api_keys.default_lifetime", "%s is longer than api_keys.max_lifetime, %s",
			short(k.DefaultLifetime), short(k.MaxLifetime))
	}
	if k.MaxLifetime > year {
		d.warn("api_keys.max_lifetime", "keys may live longer than a year (%s)", short(k.MaxLifetime))
	}
}
