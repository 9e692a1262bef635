package configs

import (
	"regexp"
	"strings"
	"time"
)

// CookieSpelling is how an application's cookie on its own host looks.
type CookieSpelling struct {
	// Name; default __Host-sallyport-ID, or __Secure-sallyport-ID with Domain.
	Name string `yaml:"name"`
	// Value is opaque (default) or token: the application's token itself, for applications that verify it there.
	Value string `yaml:"value" enum:"opaque,token"`
	// Domain is a parent of the application's host, every host below which gets the cookie; default: the host alone.
	Domain string `yaml:"domain"`
	// SameSite is lax (default), or strict: the cookie stays behind when somebody follows a link from another site.
	SameSite string `yaml:"same_site" enum:"lax,strict"`
	// RefreshBelow is how little of a token's life may be left before the browser gets a new one with the next answer;
	// default 5m, 0: never. It is for cookies with a token in them.
	RefreshBelow time.Duration `yaml:"refresh_below"`
}

// ValueToken puts the application's token into its cookie.
const ValueToken = "token"

// SameSiteStrict withholds a cookie from navigations that begin on other sites.
const SameSiteStrict = "strict"

// cookieName is what cookies may be called (RFC 6265 section 4.1.1, RFC 9110 section 5.6.2).
var cookieName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")

// reservedCookies begin the names of cookies of ours. Browsers take prefixes in whatever case.
func reservedCookies() []string {
	return []string{"__Host-sallyport", "__Secure-sallyport", "__Host-sp-", "__Secure-sp-"}
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func (d *decoder) checkCookie(path string, c CookieSpelling) {
	name := join(path, "name")
	switch {
	case c.Name == "":
	case !cookieName.MatchString(c.Name):
		d.once(name, "%q is not the name of a cookie: 1 to 64 letters, digits and !#$%%&'*+-.^_`|~", c.Name)
	case hasPrefixFold(c.Name, "__Host-") && c.Domain != "":
		d.once(name, "__Host- is for cookies of one host alone, browsers refuse it together with domain")
	}
	for _, prefix := range reservedCookies() {
		if hasPrefixFold(c.Name, prefix) {
			d.once(name, "names that begin with %s are those of cookies of our own", prefix)
		}
	}
	if c.Name != "" && !hasPrefixFold(c.Name, "__Host-") && c.Domain == "" {
		d.warn(name, "other hosts of the same domain can set a cookie of this name beside it; __Host- in front keeps them from it")
	}
	d.between(join(path, "refresh_below"), c.RefreshBelow, 0, 12*time.Hour)
	domain := join(path, "domain")
	switch {
	case c.Domain == "":
	case !isHost(c.Domain) || isAddress(c.Domain):
		d.once(domain, "%q is no domain, expected one in lower case (punycode) such as example.com", c.Domain)
	case publicSuffix(c.Domain) == c.Domain:
		d.once(domain, "everybody may register a name below %s, browsers refuse cookies for all of it", c.Domain)
	default:
		d.warn(domain, "every host below %s can read and set it: a hole in one of them opens the others", c.Domain)
	}
}

// checkOwnCookie holds the cookie of an application's profile against the application.
func (d *decoder) checkOwnCookie(cfg *Config, path string, a *Application) {
	profile, ok := cfg.Profile(a.Profile)
	if !ok || a.place.host == "" {
		return
	}
	c, key := profile.Cookie, join(path, "profile")
	if c.Domain != "" && !isBelow(a.place.hostname, c.Domain) {
		d.wrong(key, "the cookie of profile %s is for hosts below %s, and %s is none: browsers refuse it", a.Profile, c.Domain,
			a.place.hostname)
	}
	if c.Value == ValueToken && a.TokenLifetime > time.Hour {
		d.warn(key, "its cookie holds the token, which opens the application for %s to whoever has it, signed out or not, "+
			"where the application verifies it offline", short(a.TokenLifetime))
	}
	if c.Value == ValueToken && c.RefreshBelow >= a.TokenLifetime {
		d.warn(join(path, "token_lifetime"), "is not longer than cookie.refresh_below of profile %s, %s: every answer brings a "+
			"new cookie", a.Profile, short(c.RefreshBelow))
	}
}

func isBelow(hostname, domain string) bool { return strings.HasSuffix(hostname, "."+domain) }

// compareCookies: two cookies of one name at one host, and neither application knows which is its own.
func (d *decoder) compareCookies(cfg *Config, a, b *Application) {
	if a.place.host == "" || b.place.host == "" {
		return
	}
	ofA, okA := cfg.Profile(a.Profile)
	ofB, okB := cfg.Profile(b.Profile)
	if !okA || !okB || ofA.Cookie.Name == "" || ofA.Cookie.Name != ofB.Cookie.Name {
		return
	}
	if a.place.hostname == b.place.hostname || reaches(ofA.Cookie, b) || reaches(ofB.Cookie, a) {
		d.wrong(join(join("applications", b.ID), "profile"), "its cookie %s is called like that of %s, and browsers send both",
			ofB.Cookie.Name, a.ID)
	}
}

// reaches reports whether an application's host gets a cookie by its domain.
func reaches(c CookieSpelling, a *Application) bool {
	return c.Domain != "" && (a.place.hostname == c.Domain || isBelow(a.place.hostname, c.Domain))
}
