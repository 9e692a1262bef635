package ldap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"

	"sallyport/providers"
)

// Type is the name of this kind of provider.
const Type = "ldap"

// Provider is one directory in use. Open makes it: a *Provider where user_dn is configured, and a *Directory, which can
// also be asked again, where a service account is. Close ends its connections.
type Provider struct {
	info    providers.Info
	config  Config // complete
	subject subjectAttribute
	dialer  *dialer
	log     *slog.Logger
	now     func() time.Time

	// One of the two ways in: people and service, or template.
	people   filterTemplate
	service  *service
	template dnTemplate
}

// Directory is a Provider with a service account.
type Directory struct{ *Provider }

var (
	_ providers.PasswordProvider = (*Provider)(nil)
	_ providers.Checker          = (*Provider)(nil)
	_ io.Closer                  = (*Provider)(nil)
	_ providers.PasswordProvider = (*Directory)(nil)
	_ providers.Refresher        = (*Directory)(nil)
	_ providers.Checker          = (*Directory)(nil)
)

// Open makes the provider without asking any server. It reads the CA file, and refuses a bind password that has not been
// resolved.
func (c *Config) Open(_ context.Context, id, title string, env providers.Env) (providers.Provider, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	full := c.complete()
	d, err := full.dialer(env.Dir, env.Log)
	if err != nil {
		return nil, err
	}
	p := &Provider{
		info:    providers.Info{ID: id, Type: Type, Title: or(title, id)},
		config:  full,
		subject: subjectAttribute(full.Attributes.Subject),
		dialer:  d,
		log:     env.Log,
		now:     env.Now,
	}
	if !full.searches() {
		p.template, err = parseDNTemplate(full.UserDN)
		return p, err
	}
	if !full.BindPassword.IsSet() {
		return nil, errors.New("bind_password: is not set")
	}
	p.service = &service{dialer: d, dn: full.BindDN, password: full.BindPassword, log: env.Log}
	p.people, err = parseFilterTemplate(full.Users.Filter)
	return &Directory{p}, err
}

// Info names the provider.
func (p *Provider) Info() providers.Info { return p.info }

// Close ends idle connections; sign-ins under way end by themselves.
func (p *Provider) Close() error {
	if p.service == nil {
		return nil
	}
	return p.service.close()
}

// Check signs in as the service account and reads the base of users on the first server that answers. With user_dn,
// where there is no account to sign in with, it sees to it that a server answers under TLS.
func (p *Provider) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.config.Timeout.Login)
	defer cancel()
	if p.service != nil {
		return p.checked(p.service.fresh(ctx, func(c *conn) error { return c.readable(ctx, p.config.Users.Base) }))
	}
	return p.checked(p.dialer.each(ctx, func(c *conn) error {
		defer c.close()
		err := c.readable(ctx, "") // the root DSE
		if isTrouble(err) {
			return err
		}
		return nil // any answer shows that the server is there
	}))
}

func (p *Provider) checked(err error) error {
	if err == nil {
		return nil
	}
	return unavailable(err)
}

// readable reads one entry's name.
func (c *conn) readable(ctx context.Context, dn string) error {
	entries, err := c.search(ctx, query{
		base: dn, scope: goldap.ScopeBaseObject, filter: "(objectClass=*)", limit: 1, attributes: []string{"1.1"},
	})
	if err == nil && len(entries) != 1 {
		err = fmt.Errorf("%q cannot be read", dn)
	}
	return err
}

// The bounds on what is typed.
const (
	maxUsernameBytes = 256
	maxPasswordBytes = 4096
)

// refuseTyped returns why a name or password is not worth asking a server about, or "".
func refuseTyped(username, password string) string {
	switch {
	case strings.TrimSpace(username) == "":
		return "empty user name"
	case len(username) > maxUsernameBytes:
		return "user name too long"
	case !utf8.ValidString(username) || strings.ContainsFunc(username, unicode.IsControl):
		return "user name holds control characters"
	case password == "":
		return "empty password"
	case len(password) > maxPasswordBytes:
		return "password too long"
	}
	return ""
}
