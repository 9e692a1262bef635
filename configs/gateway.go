package configs

import (
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Upstream is an application's own server, as the gateway reaches it.
type Upstream struct {
	// URL is http or https, host and port; requests keep their path. Required.
	URL string `yaml:"url" required:"true"`
	// CAFile is a PEM file of the authorities that are trusted instead of the system's; relative to the configuration's
	// folder.
	CAFile string `yaml:"ca_file"`
	// PassHost hands on the Host header as the client sent it; default false: the upstream gets its own.
	PassHost bool `yaml:"pass_host"`
	// HeaderTimeout is how long it may take to begin an answer; default 60s.
	HeaderTimeout time.Duration `yaml:"header_timeout"`
}

// AccessRule says what may be asked below a path. Of the rules that fit a request those with the longest path count, and
// one of them must allow it.
type AccessRule struct {
	// Path is a prefix where it ends in "/", else that one path. Required.
	Path string `yaml:"path" required:"true"`
	// Methods that it allows; empty: all. GET stands for HEAD too.
	Methods []string `yaml:"methods"`
	// Carriers of credentials that it allows: cookie, bearer, key; empty: all.
	Carriers []string `yaml:"carriers"`
	// Require lists roles of which one is needed, beside those of the application; empty: none.
	Require []string `yaml:"require"`
	// Public lets everybody in, whoever they are.
	Public bool `yaml:"public"`
	// Rate limits each session, key and unknown address; nil: not at all.
	Rate *Rate `yaml:"rate"`
}

// Rate is how many requests are allowed in a time.
type Rate struct {
	// Requests, at least 1. Required.
	Requests int `yaml:"requests" required:"true"`
	// Per is 1s to 24h. Required.
	Per time.Duration `yaml:"per" required:"true"`
}

// The carriers of credentials.
const (
	CarrierCookie = "cookie"
	CarrierBearer = "bearer"
	CarrierKey    = "key"
)

func carriers() []string { return []string{CarrierCookie, CarrierBearer, CarrierKey} }

func (d *decoder) checkUpstream(cfg *Config, path string, a *Application) {
	u := a.Upstream
	if u == nil {
		return
	}
	if a.URL == "" {
		d.wrong(path, "needs the application's url: the gateway knows an application by its host")
	}
	d.between(join(path, "header_timeout"), u.HeaderTimeout, time.Second, 10*time.Minute)
	key := join(path, "url")
	place, err := parsePlainURL(u.URL)
	switch {
	case u.URL == "":
		d.once(key, "is required, expected the application's own server such as http://127.0.0.1:8081")
	case err != nil:
		d.wrong(key, "%v", err)
	case place.prefix != "":
		d.wrong(key, "must have no path, since requests keep theirs; expected %s://%s", place.scheme, place.host)
	case leadsBack(cfg, place):
		d.wrong(key, "leads back to the gateway, expected the application's own server")
	case isMetadata(place.hostname):
		d.warn(key, "is where a cloud tells machines their secrets: whoever may use the application reads them")
	case place.scheme == "http" && !isNearby(place.hostname):
		d.warn(key, "plain HTTP: whoever sees the traffic sees who asks, and tokens; use https")
	}
	if u.CAFile != "" && err == nil && place.scheme == "http" {
		d.wrong(join(path, "ca_file"), "is for https")
	}
}

// leadsBack reports whether an address is one that this server answers at: its own listeners, its issuer, or the host of
// an application, in front of which the gateway stands.
func leadsBack(cfg *Config, place urlPlace) bool {
	if cfg.Server.Issuer == place.scheme+"://"+place.host {
		return true
	}
	for _, a := range cfg.Applications {
		if a.place.host != "" && a.place.host == place.host {
			return true
		}
	}
	_, port, err := net.SplitHostPort(place.host)
	if err != nil {
		port = map[string]string{"http": "80", "https": "443"}[place.scheme]
	}
	return slices.ContainsFunc([]string{cfg.Server.Listen, cfg.Server.OperationsListen}, func(listen string) bool {
		at, listens, err := net.SplitHostPort(listen)
		return err == nil && listens == port && listens != "0" && (at == place.hostname || isHere(at) && isHere(place.hostname))
	})
}

// isHere: a name or address of this machine, whichever of them was meant.
func isHere(hostname string) bool {
	a, err := netip.ParseAddr(hostname)
	return hostname == "" || isLocalHost(hostname) || err == nil && (a.IsLoopback() || a.IsUnspecified())
}

// isMetadata: where clouds answer whoever asks from inside.
func isMetadata(hostname string) bool {
	a, err := netip.ParseAddr(hostname)
	return err == nil && a.IsLinkLocalUnicast() || hostname == "metadata.google.internal"
}

// isNearby: this machine, private addresses, and names that mean nothing outside of a network of one's own.
func isNearby(hostname string) bool {
	if a, err := netip.ParseAddr(hostname); err == nil {
		return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()
	}
	return isLocalHost(hostname) || !strings.Contains(hostname, ".") || strings.HasSuffix(hostname, ".internal")
}

func (d *decoder) checkAccessRules(cfg *Config, path string, a *Application) {
	if len(a.Rules) > 0 && a.URL == "" {
		d.wrong(path, "need the application's url: rules speak of its paths")
	}
	if len(a.Rules) > maxAccessRules {
		d.wrong(path, "are more than %d", maxAccessRules)
		return
	}
	for i, r := range a.Rules {
		key := indexed(path, i)
		d.checkRulePath(join(key, "path"), a, r.Path)
		d.checkAccess(cfg, key, a, r)
		d.compareRules(key, a.Rules[:i], r)
	}
	d.checkSilentRules(path, a.Rules)
}

// maxAccessRules bounds the rules of an application: each is looked at for each request.
const maxAccessRules = 500

func (d *decoder) checkRulePath(key string, a *Application, p string) {
	switch {
	case p == "":
		d.once(key, "is required, expected a path such as /admin/")
	case !strings.HasPrefix(p, "/"):
		d.wrong(key, "must begin with /")
	case strings.ContainsAny(p, "%\\;?#*") || strings.ContainsFunc(p, unicode.IsControl):
		d.wrong(key, "is compared with decoded paths as it stands: no %%, \\, ;, query or pattern; one that ends in / is a prefix")
	case !isCanonical(p):
		d.wrong(key, "has empty or dot segments, which no request that we let through has")
	case p == "/.sallyport" || strings.HasPrefix(p, "/.sallyport/"):
		d.wrong(key, "the path /.sallyport is this server's own on every application's host")
	case a.place.host != "" && p != a.Prefix() && !strings.HasPrefix(p, a.Prefix()+"/"):
		d.wrong(key, "lies outside of the application, which is at %s/", a.Prefix())
	}
}

// isCanonical: no two readers take the path for different ones.
func isCanonical(p string) bool {
	for segment := range strings.SplitSeq(strings.TrimSuffix(p[1:], "/"), "/") {
		if segment == "." || segment == ".." || segment == "" && p != "/" {
			return false
		}
	}
	return true
}

var methodPattern = regexp.MustCompile(`^[A-Z]+(-[A-Z]+)*$`)

func (d *decoder) checkAccess(cfg *Config, path string, a *Application, r AccessRule) {
	for i, m := range r.Methods {
		if !methodPattern.MatchString(m) {
			d.wrong(indexed(join(path, "methods"), i), "%q is no method, expected one in capitals such as GET", m)
		}
	}
	for i, c := range r.Carriers {
		if !slices.Contains(carriers(), c) {
			d.wrong(indexed(join(path, "carriers"), i), "unknown carrier %q%s", c, suggestion(c, carriers()))
		}
	}
	d.checkRoles(cfg, join(path, "require"), r.Require)
	if r.Public && len(r.Carriers)+len(r.Require) > 0 {
		d.wrong(join(path, "public"), "lets everybody in and goes with neither carriers nor require")
	}
	if r.Public && r.Path == a.Prefix()+"/" {
		d.warn(join(path, "public"), "opens the whole application to everybody")
	}
	if r.Rate == nil {
		return
	}
	rate := join(path, "rate")
	if n := r.Rate.Requests; n < 1 || n > 1_000_000 {
		d.once(join(rate, "requests"), "expected a number from 1 to 1000000")
	}
	d.between(join(rate, "per"), r.Rate.Per, time.Second, 24*time.Hour)
}

func (d *decoder) compareRules(path string, before []AccessRule, r AccessRule) {
	for j, other := range before {
		if other.Path == r.Path && reflect.DeepEqual(normal(other), normal(r)) {
			d.wrong(path, "is the same as rules[%d]", j)
			return
		}
	}
}

// normal makes rules that say the same equal.
func normal(r AccessRule) AccessRule {
	set := func(list []string) []string {
		sorted := slices.Clone(list)
		slices.Sort(sorted)
		return append([]string{}, slices.Compact(sorted)...)
	}
	r.Methods, r.Carriers, r.Require = set(r.Methods), set(r.Carriers), set(r.Require)
	return r
}

// checkSilentRules finds rules that another one of the same path makes silent: rules of one path are alternatives, so
// one that asks for more than another asks for nothing.
func (d *decoder) checkSilentRules(path string, rules []AccessRule) {
	for i, r := range rules {
		for j, other := range rules {
			if i == j || !other.covers(r) || reflect.DeepEqual(normal(other), normal(r)) {
				continue
			}
			if j < i || other.Public && !r.Public || other.Rate == nil && r.Rate == nil {
				d.warn(indexed(path, i), "never counts: rules[%d] allows all of it, and one rule is enough", j)
			}
		}
	}
}

// covers reports whether the rule allows whatever the other one does.
func (r AccessRule) covers(other AccessRule) bool {
	switch {
	case r.Path != other.Path || !within(other.Methods, r.Methods):
		return false
	case r.Public || other.Public:
		return r.Public
	default:
		return within(other.Carriers, r.Carriers) && within(other.Require, r.Require)
	}
}

// within reports whether a list, of which none means all, lies in another.
func within(inner, outer []string) bool {
	if len(inner) == 0 || len(outer) == 0 {
		return len(outer) == 0
	}
	return !slices.ContainsFunc(inner, func(s string) bool {
		return !slices.Contains(outer, s) && (s != "HEAD" || !slices.Contains(outer, "GET"))
	})
}
