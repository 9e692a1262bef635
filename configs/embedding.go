package configs

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Embedding is about applications whose pages frame others and vouch for the people in front of them.
type Embedding struct {
	// Embedders by id.
	Embedders map[string]*Embedder `yaml:"embedders"`
}

// Embedder is such an application.
type Embedder struct {
	// ID is its key in the map: a-z, 0-9 and -, at most 32; it stands in the name of a cookie.
	ID string `yaml:"-"`
	// DisplayName is what people read; default the id.
	DisplayName string `yaml:"display_name"`
	// Enabled is true by default. Sessions of an embedder that is not end.
	Enabled bool `yaml:"enabled"`
	// Relation says where its pages stand to the applications: proxied (one origin), same_site or cross_site. Required.
	Relation string `yaml:"relation" required:"true" enum:"proxied,same_site,cross_site"`
	// Origins of its pages: scheme, host and port, as browsers write them. At least one.
	Origins []string `yaml:"origins" required:"true"`
	// Applications it may frame, by id. At least one.
	Applications []string `yaml:"applications" required:"true"`
	// Provider is the id of the jwt provider that verifies its tokens. Required.
	Provider string `yaml:"provider" required:"true"`
	// MaxRoles are the only roles that anybody gets through it; nil: no cap.
	MaxRoles []string `yaml:"max_roles"`
	// Session is that of a frame.
	Session EmbedSession `yaml:"session"`
	// Mount is the path of its origin that the application is below, without a slash at its end; for proxied only.
	// Default "": the whole origin.
	Mount string `yaml:"mount"`
	// CompatGlobal is one more window property with setJWTToken, for pages that were written for another product's frame.
	CompatGlobal string `yaml:"compat_global"`
	// Debug tells the page's developer more about refusals than a code; default false.
	Debug bool `yaml:"debug"`
}

// EmbedSession is how long a frame stays open.
type EmbedSession struct {
	// Idle ends it when nobody was seen for so long; default 30m.
	Idle time.Duration `yaml:"idle"`
	// Absolute ends it in any case; default 8h.
	Absolute time.Duration `yaml:"absolute"`
}

// The relations.
const (
	RelationProxied   = "proxied"
	RelationSameSite  = "same_site"
	RelationCrossSite = "cross_site"
)

// embedders is the dotted key of the map.
const embedders = "embedding.embedders"

var embedderPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

func (d *decoder) checkEmbedding(cfg *Config) {
	owners := map[string]string{} // by provider
	for _, id := range slices.Sorted(maps.Keys(cfg.Embedding.Embedders)) {
		path, e := join(embedders, id), cfg.Embedding.Embedders[id]
		if !embedderPattern.MatchString(id) {
			d.wrong(path, "%q is no id of an embedder: a-z, 0-9 and -, at most 32, beginning with a letter or digit", id)
		}
		d.checkEmbedder(cfg, path, e)
		if other, taken := owners[e.Provider]; taken && e.Provider != "" {
			d.warn(join(path, "provider"), "is that of %s as well: a token made for one is good at the other", other)
		}
		owners[e.Provider] = id
	}
}

func (d *decoder) checkEmbedder(cfg *Config, path string, e *Embedder) {
	d.checkText(join(path, "display_name"), e.DisplayName, 100)
	if e.Relation == "" {
		d.once(join(path, "relation"), "is required; expected one of %s, %s, %s",
			RelationProxied, RelationSameSite, RelationCrossSite)
	}
	origins := d.checkOrigins(join(path, "origins"), e.Origins)
	d.checkEmbedderProvider(cfg, join(path, "provider"), e.Provider)
	d.checkMaxRoles(cfg, join(path, "max_roles"), e.MaxRoles)
	d.checkEmbedSession(join(path, "session"), e.Session)
	d.checkMount(join(path, "mount"), e)
	if e.CompatGlobal != "" && !isFreeGlobal(e.CompatGlobal) {
		d.wrong(join(path, "compat_global"), "%q is no free name of a window property, expected one such as portalEmbedded",
			e.CompatGlobal)
	}
	for i, a := range d.checkFramed(cfg, join(path, "applications"), e.Applications) {
		if a != nil && len(origins) > 0 {
			d.checkRelation(path, indexed(join(path, "applications"), i), e, a, origins)
		}
	}
}

// checkOrigins returns those that are right.
func (d *decoder) checkOrigins(path string, list []string) []urlPlace {
	if len(list) == 0 {
		d.once(path, "is required: where the embedding pages are, such as https://portal.example.com")
	}
	var places []urlPlace
	for i, raw := range list {
		place, err := parseOrigin(raw)
		switch {
		case err != nil:
			d.wrong(indexed(path, i), "%v", err)
		case slices.Contains(list[:i], raw):
			d.wrong(indexed(path, i), "%s stands twice", raw)
		default:
			places = append(places, place)
		}
	}
	return places
}

// appScheme is the scheme of pages that a mobile or desktop application brings along.
var appScheme = regexp.MustCompile(`^([a-z][a-z0-9+.-]*)://([^/?#@]+)$`)

// foreignSchemes have no origin, or one that anybody can have.
func foreignSchemes() []string {
	return []string{"about", "blob", "data", "file", "filesystem", "ftp", "javascript", "ws", "wss"}
}

// parseOrigin accepts an origin as browsers write it: it is compared byte for byte.
func parseOrigin(raw string) (urlPlace, error) {
	scheme, _, _ := strings.Cut(raw, ":")
	switch {
	case strings.Contains(raw, "*"):
		return urlPlace{}, errors.New("no pattern is possible, each origin must be named")
	case raw == "null" || slices.Contains(foreignSchemes(), strings.ToLower(scheme)):
		return urlPlace{}, fmt.Errorf("%q is no origin that one application alone can have", raw)
	}
	if m := appScheme.FindStringSubmatch(raw); m != nil && scheme != "https" && scheme != "http" {
		if !isHost(m[2]) {
			return urlPlace{}, errors.New("expected an origin such as capacitor://localhost")
		}
		return urlPlace{scheme: m[1], host: m[2], hostname: m[2]}, nil
	}
	place, err := parseWebURL(raw)
	if err != nil {
		return urlPlace{}, err
	}
	if origin := place.scheme + "://" + place.host; raw != origin {
		return urlPlace{}, fmt.Errorf("must be written as browsers do, without a path; expected %s", origin)
	}
	return place, nil
}

// checkFramed returns the applications in their places; nil for one that cannot be framed.
func (d *decoder) checkFramed(cfg *Config, path string, ids []string) []*Application {
	if len(ids) == 0 {
		d.once(path, "is required: which applications its pages may frame")
	}
	out := make([]*Application, len(ids))
	for i, id := range ids {
		key := indexed(path, i)
		switch a, ok := cfg.Applications[id]; {
		case !ok:
			d.wrong(key, "there is no application %q%s", id, suggestion(id, slices.Sorted(maps.Keys(cfg.Applications))))
		case slices.Contains(ids[:i], id):
			d.wrong(key, "%s stands twice", id)
		case a.URL == "":
			d.wrong(key, "application %s has no url, and so no pages to frame", id)
		case a.place.host != "":
			out[i] = a
		}
	}
	return out
}

func (d *decoder) checkEmbedderProvider(cfg *Config, key, id string) {
	switch p, ok := cfg.Providers[id]; {
	case id == "":
		d.once(key, "is required: the provider of type jwt that verifies its tokens")
	case !ok:
		d.wrong(key, "there is no provider %q%s", id, suggestion(id, slices.Sorted(maps.Keys(cfg.Providers))))
	case p.Type != kindJWT:
		d.wrong(key, "provider %s is of type %s, expected one of type jwt", id, p.Type)
	case p.Disabled:
		d.warn(key, "provider %s is disabled: nobody comes in through this embedder", id)
	}
}

func (d *decoder) checkMaxRoles(cfg *Config, path string, roles []string) {
	if roles != nil && len(roles) == 0 {
		d.wrong(path, "leaves nobody a role; without the key there is no cap, enabled: false closes the embedder")
	}
	d.checkRoles(cfg, path, roles)
}

func (d *decoder) checkEmbedSession(path string, s EmbedSession) {
	d.between(join(path, "absolute"), s.Absolute, time.Minute, 30*24*time.Hour)
	d.between(join(path, "idle"), s.Idle, time.Second, 30*24*time.Hour)
	if s.Idle > s.Absolute && s.Absolute > 0 {
		d.wrong(join(path, "idle"), "%s is longer than absolute, %s", short(s.Idle), short(s.Absolute))
	}
	if s.Absolute > 24*time.Hour {
		d.warn(join(path, "absolute"), "a frame that stays open longer than a day")
	}
}

func (d *decoder) checkMount(key string, e *Embedder) {
	switch {
	case e.Mount == "":
	case e.Relation != RelationProxied:
		d.wrong(key, "is for relation proxied: other applications have origins of their own")
	case !isCleanPath(e.Mount) || strings.HasSuffix(e.Mount, "/"):
		d.wrong(key, "expected a plain path without a slash at its end, such as /reports")
	}
}

// checkRelation holds what is said of the application's place against where it is.
func (d *decoder) checkRelation(path, key string, e *Embedder, a *Application, origins []urlPlace) {
	if e.Relation == RelationProxied {
		d.checkProxied(path, key, e, a, origins)
		return
	}
	for _, o := range origins {
		same := site(o.scheme, o.hostname) == site(a.place.scheme, a.place.hostname)
		switch at := o.scheme + "://" + o.host; {
		case o.scheme == a.place.scheme && o.host == a.place.host:
			d.warn(join(path, "relation"), "%s is the application's own origin: proxied keeps the cookie from the pages around it", at)
		case e.Relation == RelationSameSite && !same:
			d.warn(join(path, "relation"), "%s and %s look like different sites: browsers do not send the cookie into that frame, "+
				"so cross_site is meant", at, a.Origin())
		case e.Relation == RelationCrossSite && same:
			d.warn(join(path, "relation"), "%s and %s look like one site: same_site works in browsers that refuse cookies of "+
				"other sites, too", at, a.Origin())
		}
	}
}

func (d *decoder) checkProxied(path, key string, e *Embedder, a *Application, origins []urlPlace) {
	at := slices.IndexFunc(origins, func(o urlPlace) bool { return o.scheme == a.place.scheme && o.host == a.place.host })
	switch {
	case at < 0:
		d.wrong(key, "relation proxied means one origin for both: %s is at %s, which is none of origins", a.ID, a.Origin())
	case a.Prefix() != e.Mount && !d.faulty(join(path, "mount")):
		d.wrong(key, "is at the path %s/ and mount is %q: with relation proxied its url must be %s%s/", a.Prefix(), e.Mount,
			a.Origin(), e.Mount)
	}
}

var identifier = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]{0,63}$`)

// takenGlobals are words of JavaScript, and properties that every window has: to overwrite one breaks the page.
const takenGlobals = ` abstract arguments async await boolean break byte case catch char class const continue debugger default
delete do double else enum eval export extends false final finally float for function get goto if implements import in
instanceof int interface let long native new null of package private protected public return set short static super switch
synchronized this throw throws transient true try typeof var void volatile while with yield
AbortController AbortSignal Array ArrayBuffer BigInt Blob Boolean CustomEvent DataView Date Document Element Error Event
EventTarget FormData Function Headers Infinity Int8Array Intl Iterator JSON Map Math MessageChannel MessageEvent MessagePort NaN
Node Number Object Promise Proxy Reflect RegExp Request Response Set String Symbol TextDecoder TextEncoder TypeError Uint8Array
URL URLSearchParams WeakMap WeakRef WeakSet WebAssembly WebSocket Window Worker XMLHttpRequest undefined
addEventListener alert atob blur btoa caches cancelAnimationFrame chrome clearInterval clearTimeout close closed confirm
console constructor cookieStore crypto customElements decodeURI decodeURIComponent dispatchEvent document encodeURI
encodeURIComponent escape event external fetch find focus frameElement frames getComputedStyle getSelection globalThis
hasOwnProperty history indexedDB innerHeight innerWidth isFinite isNaN isSecureContext
isPrototypeOf length localStorage location locationbar matchMedia menubar moveBy moveTo name navigation navigator
onbeforeunload onblur onerror onfocus onload onmessage onunload open opener origin outerHeight outerWidth pageXOffset
pageYOffset parent parseFloat parseInt performance personalbar postMessage print
prompt queueMicrotask removeEventListener reportError requestAnimationFrame resizeBy resizeTo screen scroll scrollBy scrollTo
scrollX scrollY scrollbars self sessionStorage setInterval setJWTToken setTimeout speechSynthesis status statusbar stop
structuredClone toString toolbar top trustedTypes unescape valueOf visualViewport window SallyportEmbed SallyportEmbedded `

func isFreeGlobal(name string) bool {
	return identifier.MatchString(name) && !strings.HasPrefix(name, "__") &&
		!slices.Contains(strings.Fields(takenGlobals), name)
}
