package configs

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// minSecret is the least length of an HS256 secret in bytes (RFC 7518 section 3.2).
const minSecret = 32

var audiencePattern = regexp.MustCompile(`^[\x21-\x7e]{1,200}$`)

func (d *decoder) checkApplications(cfg *Config) {
	ids := slices.Sorted(maps.Keys(cfg.Applications))
	for _, id := range ids {
		d.checkApplication(cfg, join("applications", id), cfg.Applications[id])
	}
	for i, id := range ids {
		for _, other := range ids[:i] {
			d.comparePair(cfg, cfg.Applications[other], cfg.Applications[id])
		}
	}
}

func (d *decoder) checkApplication(cfg *Config, path string, a *Application) {
	d.checkID(path, a.ID)
	d.checkText(join(path, "title"), a.Title, 100)
	d.checkURL(cfg, path, a)
	d.checkRoles(cfg, join(path, "require"), a.Require)
	switch {
	case !audiencePattern.MatchString(a.Audience):
		d.wrong(join(path, "audience"), "expected 1 to 200 visible ASCII characters")
	case strings.TrimSuffix(a.Audience, "/") == cfg.Server.Issuer:
		// A token for the issuer opens our own API; an application that holds an HS256 secret could make one.
		d.wrong(join(path, "audience"), "must not be the issuer: its tokens would open this server's own API")
	}
	if _, ok := cfg.Profile(a.Profile); !ok && !d.faulty(join(path, "profile")) {
		d.wrong(join(path, "profile"), "there is no profile %q%s", a.Profile,
			suggestion(a.Profile, slices.Sorted(maps.Keys(cfg.profiles))))
	}
	d.checkOwnClaims(cfg, join(path, "claims"), a)
	d.checkOwnCookie(cfg, path, a)
	d.checkSigning(path, a)
	d.between(join(path, "token_lifetime"), a.TokenLifetime, time.Minute, 24*time.Hour)
	if a.TokenLifetime > 15*time.Minute {
		d.warn(join(path, "token_lifetime"),
			"whoever verifies tokens offline keeps letting people in for %s after they were shut out", short(a.TokenLifetime))
	}
	d.checkSession(join(path, "session"), a.Session)
	if a.ForwardToken && a.URL == "" {
		d.wrong(join(path, "forward_token"), "needs url: forward-auth knows an application by its host")
	}
	d.checkUpstream(cfg, join(path, "upstream"), a)
	d.checkAccessRules(cfg, join(path, "rules"), a)
}

func (d *decoder) checkOwnClaims(cfg *Config, path string, a *Application) {
	d.checkClaims(path, a.Claims)
	d.checkClaimValues(cfg, path, a.Claims)
	if p, ok := cfg.Profile(a.Profile); ok {
		d.checkLeftOut(path, p.Claims, a.Claims)
	}
}

func (d *decoder) checkURL(cfg *Config, path string, a *Application) {
	if a.URL == "" {
		return
	}
	key := join(path, "url")
	place, err := parseWebURL(a.URL)
	if err != nil {
		d.wrong(key, "%v", err)
		return
	}
	issuer, err := parseWebURL(cfg.Server.Issuer)
	switch {
	case err == nil && issuer.hostname == place.hostname:
		// Cookies know no ports: the broker's would reach the application.
		d.wrong(key, "must be on another host than the issuer, whatever the port: browsers would send it our cookie")
		return
	case place.prefix == "/.sallyport" || strings.HasPrefix(place.prefix, "/.sallyport/"):
		d.wrong(key, "the path /.sallyport is this server's own on every application's host")
		return
	}
	a.place = place
}

func (d *decoder) checkSigning(path string, a *Application) {
	key := join(path, "secret")
	switch set := a.Secret.Reference() != ""; {
	case a.Algorithm == "HS256" && !set:
		d.wrong(key, "is required with algorithm HS256: env:NAME or file:path of at least %d bytes", minSecret)
	case a.Algorithm == "HS256" && !d.faulty(key) && len(a.Secret.Reveal()) < minSecret:
		d.wrong(key, "is shorter than %d bytes", minSecret)
	case a.Algorithm != "HS256" && set:
		d.wrong(key, "belongs to algorithm HS256, this application has %s", a.Algorithm)
	}
	d.checkFormerSecrets(path, a)
	if a.SigningKey == "pinned" && a.Algorithm == "HS256" {
		d.wrong(join(path, "signing_key"), "tokens of this application are signed with its secret (HS256), there is no key to pin")
	}
	if a.Algorithm == "HS256" {
		d.warn(join(path, "algorithm"), "whoever verifies these tokens can also make them; prefer ES256")
	}
}

func (d *decoder) checkFormerSecrets(path string, a *Application) {
	for i, former := range a.FormerSecrets {
		key := indexed(join(path, "former_secrets"), i)
		switch {
		case a.Algorithm != "HS256":
			d.wrong(key, "belongs to algorithm HS256, this application has %s", a.Algorithm)
		case d.faulty(key):
		case len(former.Reveal()) < minSecret:
			d.wrong(key, "is shorter than %d bytes", minSecret)
		case former.Reveal() == a.Secret.Reveal():
			d.wrong(key, "is the secret that signs now")
		}
	}
}

// hmacSecrets are all that verify an application's tokens.
func (a *Application) hmacSecrets() []string {
	if a.Algorithm != "HS256" || !a.Secret.IsSet() {
		return nil
	}
	all := []string{a.Secret.Reveal()}
	for _, former := range a.FormerSecrets {
		all = append(all, former.Reveal())
	}
	return all
}

// comparePair finds what two applications may not share. The later one by id is told.
func (d *decoder) comparePair(cfg *Config, a, b *Application) {
	path := join("applications", b.ID)
	if a.Audience == b.Audience {
		d.wrong(join(path, "audience"), "%q is the audience of %s as well: tokens of one would open the other",
			b.Audience, a.ID)
	}
	if slices.ContainsFunc(a.hmacSecrets(), func(s string) bool { return slices.Contains(b.hmacSecrets(), s) }) {
		d.wrong(join(path, "secret"), "is the same as that of %s: each could make the other's tokens", a.ID)
	}
	d.compareCookies(cfg, a, b)
	if a.place.host == "" || b.place.hostname != a.place.hostname {
		return
	}
	key := join(path, "url")
	switch {
	case a.place.host == b.place.host && a.place.prefix == b.place.prefix:
		d.wrong(key, "is the same host and path as that of %s", a.ID)
	default:
		d.warn(key, "shares a host with %s: browsers do not keep their cookies and pages apart", a.ID)
	}
}
