// Package configs owns the one configuration file: its structure, its defaults, reading it strictly, finding every
// mistake in it at once, printing what is in force and describing it as a JSON Schema.
//
// It decides nothing at run time and opens nothing: providers own their blocks (it decodes into structs it is handed),
// mapping owns the meaning of rules, and whoever runs the house reads the values. Accounts, sessions and keys are data,
// not configuration.
package configs

import (
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"sallyport/identity"
	"sallyport/mapping"
)

// Config is everything a file may say, complete with defaults. It is not changed after Load.
type Config struct {
	Server   Server       `yaml:"server"`
	Storage  Storage      `yaml:"storage"`
	Login    Login        `yaml:"login"`
	Session  HouseSession `yaml:"session"`
	Branding Branding     `yaml:"branding"`
	Log      Log          `yaml:"log"`
	// Providers by id; at least one.
	Providers map[string]*Provider `yaml:"providers"`
	// Roles by name.
	Roles   map[string]*Role `yaml:"roles"`
	Mapping Mapping          `yaml:"mapping"`
	// Profiles are dialects beside the built-in one, by name; see Config.Profile for them in full.
	Profiles map[string]*ProfileChanges `yaml:"profiles"`
	// Applications by id.
	Applications map[string]*Application `yaml:"applications"`
	Embedding    Embedding               `yaml:"embedding"`
	APIKeys      APIKeys                 `yaml:"api_keys"`
	Throttle     Throttle                `yaml:"throttle"`
	SigningKeys  SigningKeys             `yaml:"signing_keys"`
	Mail         Mail                    `yaml:"mail"`

	name, dir, hash string
	origins         map[string]string // by dotted key: where a value comes from; absent: a default
	profiles        map[string]*Profile
	mapper          *mapping.Mapper
}

// Server is how the house is reached.
type Server struct {
	// Issuer is the house's own URL and the iss of its tokens: https, or http for localhost, names below it and
	// loopback addresses; no path. Required. Stored without a trailing slash.
	Issuer string `yaml:"issuer" required:"true"`
	// Listen is host:port; default 127.0.0.1:8080.
	Listen string `yaml:"listen"`
	// OperationsListen is host:port of health and metrics; default 127.0.0.1:9464; "" switches them off.
	OperationsListen string `yaml:"operations_listen"`
	// TLS makes the server terminate TLS itself.
	TLS TLS `yaml:"tls"`
	// TrustedProxies are the networks whose forwarded headers count; default none.
	TrustedProxies []Network `yaml:"trusted_proxies"`
}

// TLS names two PEM files, relative to the configuration's folder; both or none.
type TLS struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// Storage is where data is kept.
type Storage struct {
	SQLite SQLite `yaml:"sqlite"`
	// Postgres is a database server, in the place of SQLite when its URL is set.
	Postgres Postgres `yaml:"postgres"`
	// MasterKey seals secrets at rest. Default: the file master.key next to the database. It is the one secret whose
	// file may be missing when the configuration is read, since it is made for an empty store; see MasterKeyFile.
	MasterKey identity.Secret `yaml:"master_key"`
}

// SQLite is the embedded database.
type SQLite struct {
	// Path of the file, relative to the configuration's folder; default data/sallyport.db.
	Path string `yaml:"path"`
}

// Postgres is a PostgreSQL server, or one that speaks its protocol.
type Postgres struct {
	// URL is postgres://user:password@host:port/database?sslmode=verify-full; a secret as a whole.
	URL identity.Secret `yaml:"url"`
	// Notifications wake other nodes at once when something changes; default true. Without them they look each second.
	Notifications bool `yaml:"notifications"`
	// MaxConnections of this node; default 20.
	MaxConnections int `yaml:"max_connections"`
}

// Login says which provider gets a typed name. It goes to exactly one.
type Login struct {
	// DefaultProvider is for names no domain rule covers; default: the only provider that takes passwords, if there is
	// exactly one.
	DefaultProvider string `yaml:"default_provider"`
	// Domains maps the part after the @ of a typed name, in lower case, to a provider id.
	Domains map[string]string `yaml:"domains"`
}

// AtLimitEndOldest makes room for one more session by ending the oldest.
const AtLimitEndOldest = "end_oldest"

// Session is how long a sign-in holds.
type Session struct {
	// Idle ends it when nobody was seen for so long; default 30m.
	Idle time.Duration `yaml:"idle"`
	// Lifetime ends it in any case; default 8h.
	Lifetime time.Duration `yaml:"lifetime"`
	// Concurrent is how many somebody may have at a time; default 0: as many as they like.
	Concurrent int `yaml:"concurrent"`
	// AtLimit says what becomes of one more: end_oldest (default) makes room for it, refuse refuses it.
	AtLimit string `yaml:"at_limit" enum:"end_oldest,refuse"`
	// AddressChange says what happens when a browser's session is used from another network: ignore (default), audit,
	// reauthenticate (there it opens nothing), or end.
	AddressChange string `yaml:"address_change" enum:"ignore,audit,reauthenticate,end"`
	// ConfirmByEmail makes a sign-in wait until a code that went by e-mail is typed in; default false.
	ConfirmByEmail bool `yaml:"confirm_by_email"`
}

// HouseSession is the sign-in at the house itself.
type HouseSession struct {
	Session `yaml:",inline"`
	// Remember is for those who ask that their browser remember them; it is not offered unless its lifetime is set.
	Remember Remember `yaml:"remember"`
}

// Remember is how long a remembered sign-in holds.
type Remember struct {
	// Idle ends it when nobody was seen for so long; default the lifetime.
	Idle time.Duration `yaml:"idle"`
	// Lifetime ends it in any case.
	Lifetime time.Duration `yaml:"lifetime"`
}

// Throttle bounds guessing.
type Throttle struct {
	// Window is how long a failed sign-in counts, and how long nothing more is tried where a limit is reached; default 15m.
	Window time.Duration `yaml:"window"`
	// PerAccountAndSource is how often one name may fail from one address (of IPv6, one /64); default 10.
	PerAccountAndSource int `yaml:"per_account_and_source"`
	// PerAccount is how often one name may fail from everywhere together; default 50. A browser that the person signed in
	// with before is not counted among them.
	PerAccount int `yaml:"per_account"`
	// PerSource is how often one address may fail, whatever the names; default 100.
	PerSource int `yaml:"per_source"`
	// RequestsPerMinute of one address that nobody is signed in with, on each node; default 200, 0: no limit.
	RequestsPerMinute int `yaml:"requests_per_minute"`
}

// SigningKeys says how long a key signs.
type SigningKeys struct {
	// RotateEvery is how long a key signs before the next one does; default 720h (30 days), 0: until it is told to.
	RotateEvery time.Duration `yaml:"rotate_every"`
	// PublishBefore is how long a key is published before it signs, at least; default 24h.
	PublishBefore time.Duration `yaml:"publish_before"`
}

// Mail is the server that takes our mail.
type Mail struct {
	// Host of it; empty: there is no mail.
	Host string `yaml:"host"`
	// Port; default 587.
	Port int `yaml:"port"`
	// TLS is starttls (default), tls from the first byte, or none.
	TLS string `yaml:"tls" enum:"starttls,tls,none"`
	// CAFile is a PEM file with the authorities of its certificate; default the system's.
	CAFile string `yaml:"ca_file"`
	// Username and Password sign in there; both or none.
	Username string          `yaml:"username"`
	Password identity.Secret `yaml:"password"`
	// From is the sender, an address or Name <address>.
	From string `yaml:"from"`
}

// Branding is what people read on the pages.
type Branding struct {
	// Title of the house; default Sallyport.
	Title string `yaml:"title"`
	// Support is a mailto: or https: URL, or a sentence.
	Support string `yaml:"support"`
}

// Log is the log of the process, on standard error.
type Log struct {
	// Level is debug, info (default), warn or error.
	Level string `yaml:"level" enum:"debug,info,warn,error"`
	// Format is text (default) or json.
	Format string `yaml:"format" enum:"text,json"`
}

// Provider is a configured door. The keys of its kind stand beside these, in the same block.
type Provider struct {
	// ID is its key in the map.
	ID string `yaml:"-"`
	// Type is the kind. Required.
	Type string `yaml:"type" required:"true"`
	// Title is what people read on the button; default the id.
	Title string `yaml:"title"`
	// UsernameConflict says what happens to a newcomer whose name somebody from another provider has: qualify (default)
	// gives name@id, refuse refuses.
	UsernameConflict string `yaml:"username_conflict" enum:"qualify,refuse"`
	// Disabled takes the provider out of service: nobody comes in by it, and the sessions of its people end. Its block is
	// checked all the same.
	Disabled bool `yaml:"disabled"`
	// Settings is what the kind's constructor returned, decoded; never nil.
	Settings any `yaml:"-"`
}

// TakesPassword reports whether the kind says that its people type a password on our page.
func (p *Provider) TakesPassword() bool {
	t, ok := p.Settings.(interface{ TakesPassword() bool })
	return ok && t.TakesPassword()
}

// Role is a role of ours, see mapping.Role.
type Role struct {
	Inherits    []string `yaml:"inherits"`
	Permissions []string `yaml:"permissions"`
}

// Mapping is the way from groups to roles.
type Mapping struct {
	// DefaultRoles are for those whom no rule gave any; default none, which refuses them.
	DefaultRoles []string `yaml:"default_roles"`
	// Rules form a set; order means nothing.
	Rules []mapping.Rule `yaml:"rules"`
}

// Application is a relying party.
type Application struct {
	// ID is its key in the map.
	ID string `yaml:"-"`
	// Title is what people read; default the id.
	Title string `yaml:"title"`
	// URL is where its browsers' pages are: a host of its own, and a path prefix where several share one. Without it the
	// application is for API clients only.
	URL string `yaml:"url"`
	// Require lists roles of which a person needs one; empty: everybody who may sign in.
	Require []string `yaml:"require"`
	// Audience is the aud of its tokens, unlike any other application's and the issuer; default the id.
	Audience string `yaml:"audience"`
	// Profile is its dialect; default "default".
	Profile string `yaml:"profile"`
	// Claims of its tokens by name, in the place of the profile's of that name; see Config.ClaimsOf.
	Claims map[string]Claim `yaml:"claims"`
	// Algorithm signs its tokens: ES256 (default), RS256, EdDSA, or HS256 with Secret.
	Algorithm string `yaml:"algorithm" enum:"ES256,RS256,EdDSA,HS256"`
	// Secret is for HS256 only, at least 32 bytes.
	Secret identity.Secret `yaml:"secret"`
	// FormerSecrets are those of before, which no token is signed with any more and which still verify: one stays here as
	// long as a token lives.
	FormerSecrets []identity.Secret `yaml:"former_secrets"`
	// SigningKey is shared (default), or pinned: a key of its own that only changes when an administrator says so, for
	// applications that were given its public half once.
	SigningKey string `yaml:"signing_key" enum:"shared,pinned"`
	// TokenLifetime is between 1m and 24h; default 15m.
	TokenLifetime time.Duration `yaml:"token_lifetime"`
	// Session is that of its own cookie; default the house's.
	Session Session `yaml:"session"`
	// ForwardToken makes forward-auth hand the application a JWT in X-Auth-Token; default false.
	ForwardToken bool `yaml:"forward_token"`
	// Upstream is its own server, when it stands behind the gateway; nil: it does not.
	Upstream *Upstream `yaml:"upstream"`
	// Rules narrow, path by path, what Require opens. Where two of one path allow a request, the first one's rate counts.
	Rules []AccessRule `yaml:"rules"`

	place urlPlace
}

// Host is host[:port] of the URL in lower case, without the scheme's own port; "" without a URL.
func (a *Application) Host() string { return a.place.host }

// Prefix is the path prefix of the URL without a trailing slash; "" for the whole host.
func (a *Application) Prefix() string { return a.place.prefix }

// Origin is scheme://host[:port] of the URL; "" without one.
func (a *Application) Origin() string {
	if a.place.host == "" {
		return ""
	}
	return a.place.scheme + "://" + a.place.host
}

// APIKeys bounds what people may make for themselves.
type APIKeys struct {
	// DefaultLifetime of a new key; default 2160h (90 days).
	DefaultLifetime time.Duration `yaml:"default_lifetime"`
	// MaxLifetime that may be asked for; default 8760h (a year).
	MaxLifetime time.Duration `yaml:"max_lifetime"`
	// Prefix of every key, 1 to 20 of a-z, 0-9 and, within, _; default sp.
	Prefix string `yaml:"prefix"`
	// NeverExpire lets somebody ask for a key without an end; default false.
	NeverExpire bool `yaml:"never_expire"`
	// ConfirmByEmail makes a new key wait until a code that went by e-mail is typed in; default false.
	ConfirmByEmail bool `yaml:"confirm_by_email"`
}

// Network is a range of addresses, written as CIDR or as one address.
type Network struct{ netip.Prefix }

// Defaults is what an empty file means, before anything that depends on other keys is filled in.
func Defaults() *Config {
	return &Config{
		Server: Server{Listen: "127.0.0.1:8080", OperationsListen: "127.0.0.1:9464"},
		Storage: Storage{
			SQLite:   SQLite{Path: "data/sallyport.db"},
			Postgres: Postgres{Notifications: true, MaxConnections: 20},
		},
		Session: HouseSession{Session: Session{
			Idle: 30 * time.Minute, Lifetime: 8 * time.Hour, AtLimit: AtLimitEndOldest, AddressChange: "ignore",
		}},
		Branding: Branding{Title: "Sallyport"},
		Log:      Log{Level: "info", Format: "text"},
		APIKeys:  APIKeys{DefaultLifetime: 90 * 24 * time.Hour, MaxLifetime: 365 * 24 * time.Hour, Prefix: "sp"},
		Throttle: Throttle{
			Window: 15 * time.Minute, PerAccountAndSource: 10, PerAccount: 50, PerSource: 100, RequestsPerMinute: 200,
		},
		SigningKeys: SigningKeys{RotateEvery: 30 * 24 * time.Hour, PublishBefore: 24 * time.Hour},
		Mail:        Mail{Port: 587, TLS: "starttls"},
	}
}

// defaultOf is what an empty block of a type means where that is not its zero value.
func defaultOf(t reflect.Type) reflect.Value {
	switch t {
	case reflect.TypeFor[Provider]():
		return reflect.ValueOf(Provider{UsernameConflict: "qualify"})
	case reflect.TypeFor[Application]():
		return reflect.ValueOf(Application{
			Profile: builtIn, Algorithm: "ES256", SigningKey: "shared", TokenLifetime: 15 * time.Minute,
			Session: Session{AtLimit: AtLimitEndOldest},
		})
	case reflect.TypeFor[ProfileChanges]():
		return reflect.ValueOf(ProfileChanges{Cookie: CookieSpelling{RefreshBelow: 5 * time.Minute}})
	case reflect.TypeFor[Upstream]():
		return reflect.ValueOf(Upstream{HeaderTimeout: time.Minute})
	case reflect.TypeFor[Embedder]():
		return reflect.ValueOf(Embedder{
			Enabled: true, Session: EmbedSession{Idle: 30 * time.Minute, Absolute: 8 * time.Hour},
		})
	}
	return reflect.Zero(t)
}

// Name is the file as it was named when loading.
func (c *Config) Name() string { return c.name }

// Dir is the folder that relative file names start from.
func (c *Config) Dir() string { return c.dir }

// File makes a file name of the configuration usable from anywhere: relative ones start from Dir. "" stays "".
func (c *Config) File(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}

// MasterKeyFile is the file that holds, or for an empty store shall hold, the master key; "" when it comes from
// elsewhere.
func (c *Config) MasterKeyFile() string {
	name, ok := strings.CutPrefix(c.Storage.MasterKey.Reference(), "file:")
	if !ok {
		return ""
	}
	return c.File(name)
}

// Mapper is the compiled mapping.
func (c *Config) Mapper() *mapping.Mapper { return c.mapper }

// Profile returns an application dialect by name, complete.
func (c *Config) Profile(name string) (*Profile, bool) {
	p, ok := c.profiles[name]
	return p, ok
}

// Hash is SHA-256, in hex, over what matters: the file's bytes, values overridden by the environment, and resolved
// secrets. Two processes with equal hashes behave alike. It depends on secrets, so show it to operators only.
func (c *Config) Hash() string { return c.hash }

// Origin says where the value of a dotted key comes from: "file:line", an environment variable, or "default".
func (c *Config) Origin(key string) string {
	if o, ok := c.origins[key]; ok {
		return o
	}
	return "default"
}
