package configs

import (
	"maps"
	"net/mail"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

func (d *decoder) checkStorage(s Storage) {
	if strings.TrimSpace(s.SQLite.Path) == "" {
		d.wrong("storage.sqlite.path", "is required, expected a file such as data/sallyport.db")
	}
	d.number("storage.postgres.max_connections", s.Postgres.MaxConnections, 4, 1000)
	if !s.Postgres.URL.IsSet() || d.faulty("storage.postgres.url") {
		return
	}
	// The value never stands in a message: it holds a password.
	u, err := url.Parse(s.Postgres.URL.Reveal())
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") || u.Hostname() == "" && u.Query().Get("host") == "" ||
		strings.Trim(u.Path, "/") == "" {
		d.wrong("storage.postgres.url", "expected postgres://user:password@host:port/database")
		return
	}
	switch u.Query().Get("sslmode") {
	case "verify-full", "verify-ca":
	default:
		if !isLoopback(u.Hostname()) && !strings.HasPrefix(u.Query().Get("host"), "/") {
			d.warn("storage.postgres.url", "sslmode is not verify-full: whoever is on the way there can read and change everything")
		}
	}
}

func isLoopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// number says so when a whole number is out of its bounds.
func (d *decoder) number(path string, got, least, most int) {
	if (got < least || got > most) && !d.faulty(path) {
		d.wrong(path, "%d is out of bounds, expected %d to %d", got, least, most)
	}
}

func (d *decoder) checkRemember(cfg *Config) {
	r := cfg.Session.Remember
	if r == (Remember{}) {
		return
	}
	d.between("session.remember.lifetime", r.Lifetime, cfg.Session.Lifetime, year)
	d.between("session.remember.idle", r.Idle, time.Minute, year)
	if r.Idle > r.Lifetime && r.Lifetime > 0 {
		d.wrong("session.remember.idle", "%s is longer than the lifetime of %s", short(r.Idle), short(r.Lifetime))
	}
	if r.Lifetime > 90*24*time.Hour {
		d.warn("session.remember.lifetime", "browsers stay signed in for longer than 90 days")
	}
}

// mostFailures: a limit that lets somebody guess a hundred times is none (NIST SP 800-63B-4 section 3.2.2).
const mostFailures = 100

func (d *decoder) checkThrottle(t Throttle) {
	d.between("throttle.window", t.Window, time.Minute, 24*time.Hour)
	d.number("throttle.per_account_and_source", t.PerAccountAndSource, 1, mostFailures)
	d.number("throttle.per_account", t.PerAccount, 1, mostFailures)
	d.number("throttle.per_source", t.PerSource, 1, 100_000)
	d.number("throttle.requests_per_minute", t.RequestsPerMinute, 0, 1_000_000)
	if t.PerAccount < t.PerAccountAndSource && !d.faulty("throttle.per_account") {
		d.wrong("throttle.per_account", "%d is less than per_account_and_source, %d: whoever guesses from one address "+
			"would lock the account for everybody", t.PerAccount, t.PerAccountAndSource)
	}
	if t.RequestsPerMinute == 0 {
		d.warn("throttle.requests_per_minute", "anybody can ask as often as they like")
	}
}

func (d *decoder) checkSigningKeys(k SigningKeys) {
	if k.RotateEvery == 0 {
		d.warn("signing_keys.rotate_every", "keys sign until somebody runs signing-key rotate")
	} else {
		d.between("signing_keys.rotate_every", k.RotateEvery, time.Hour, 2*year)
	}
	d.between("signing_keys.publish_before", k.PublishBefore, 0, 30*24*time.Hour)
	if k.RotateEvery > 0 && k.PublishBefore > k.RotateEvery {
		d.wrong("signing_keys.publish_before", "%s is longer than rotate_every, %s", short(k.PublishBefore), short(k.RotateEvery))
	}
	if k.PublishBefore < time.Hour {
		d.warn("signing_keys.publish_before", "applications that keep the JWK set for longer refuse tokens after a rotation")
	}
}

func (d *decoder) checkMail(cfg *Config) {
	d.checkConfirmation(cfg)
	m := cfg.Mail
	if m.Host == "" {
		if m.From != "" || m.Username != "" || m.Password.Reference() != "" || m.CAFile != "" {
			d.once("mail.host", "is required with the other keys of mail: the server that takes it")
		}
		d.withoutMail(cfg)
		return
	}
	if !isHost(m.Host) && !isAddress(m.Host) {
		d.once("mail.host", "%q is no host name", m.Host)
	}
	d.number("mail.port", m.Port, 1, 65535)
	if from, err := mail.ParseAddress(m.From); err != nil || strings.ContainsAny(m.From, "\r\n") || from.Address == "" {
		d.once("mail.from", "expected an address such as sso@example.com or Sign-in <sso@example.com>")
	}
	if (m.Username == "") != (m.Password.Reference() == "") {
		d.once("mail.username", "username and password belong together")
	}
	if m.TLS == "none" && !isLoopback(m.Host) {
		d.warn("mail.tls", "codes that let somebody in travel unencrypted")
	}
	if m.CAFile != "" {
		if _, err := os.Stat(cfg.File(m.CAFile)); err != nil {
			d.wrong("mail.ca_file", "%v", err)
		}
	}
}

// checkConfirmation: browsers sign in at the house, and go on to every application from there. One that asks for a code where
// the house does not would be opened without.
func (d *decoder) checkConfirmation(cfg *Config) {
	if cfg.Session.ConfirmByEmail {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Applications)) {
		if a := cfg.Applications[id]; a.Session.ConfirmByEmail && a.URL != "" {
			d.once(join(join("applications", id), "session.confirm_by_email"),
				"needs session.confirm_by_email: browsers sign in at the house, which would ask for no code")
		}
	}
}

// withoutMail: what waits for a mail that never goes out locks everybody out.
func (d *decoder) withoutMail(cfg *Config) {
	const why = "needs mail.host: nobody would ever get the code"
	if cfg.Session.ConfirmByEmail {
		d.once("session.confirm_by_email", why)
	}
	if cfg.APIKeys.ConfirmByEmail {
		d.once("api_keys.confirm_by_email", why)
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Applications)) {
		key := join(join("applications", id), "session.confirm_by_email")
		if cfg.Applications[id].Session.ConfirmByEmail && d.has(key) {
			d.once(key, why)
		}
	}
}

// checkTokenQuery checks the parameter that a token may travel in.
func (d *decoder) checkTokenQuery(path, name string) {
	switch {
	case name == "":
	case !namePattern.MatchString(name):
		d.once(path, "%q is no name of a parameter", name)
	default:
		d.warn(path, "tokens in addresses end up in logs; let applications ask for a ticket")
	}
}
