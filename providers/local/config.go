package local

import (
	"context"
	"crypto/rand"
	"errors"

	"sallyport/providers"
)

// Config is what an administrator may say about a local provider. The zero value, wired, is a good one.
type Config struct {
	// Password is the policy for new passwords.
	Password Policy `yaml:"password"`
	// Argon2 is the cost of one hash. When it rises, each password is hashed anew at its owner's next sign-in.
	Argon2 Params `yaml:"argon2"`

	// People is where the directory is kept; wired by the program, not configured.
	People People `yaml:"-"`
	// Hasher is shared by all local providers of a process; wired by the program, not configured.
	Hasher *Hasher `yaml:"-"`
}

var (
	_ providers.Config = (*Config)(nil)
	_ providers.Warner = (*Config)(nil)
)

// TakesPassword reports that this kind takes a password typed on our page.
func (c *Config) TakesPassword() bool { return true }

// Validate finds values out of bounds.
func (c *Config) Validate() error {
	return errors.Join(c.Password.orDefaults().validate(), c.Argon2.orDefaults().validate())
}

// Warnings lists the settings that weaken the policy.
func (c *Config) Warnings() []string { return c.Password.orDefaults().warnings() }

// Open makes the provider. People and Hasher must be wired.
func (c *Config) Open(_ context.Context, id, title string, env providers.Env) (providers.Provider, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.People == nil || c.Hasher == nil {
		return nil, errors.New("local provider: people and hasher are not wired")
	}
	if title == "" {
		title = id
	}
	return &Provider{
		info:   providers.Info{ID: id, Type: Kind, Title: title},
		policy: c.Password.orDefaults(),
		params: c.Argon2.orDefaults(),
		nobody: nobody(c.Argon2.orDefaults()),
		people: c.People,
		hasher: c.Hasher,
		log:    env.Log,
		now:    env.Now,
	}, nil
}

// nobody makes a hash that no password fits, of the cost of a new one, to be checked where there is nothing to check.
// Its key is drawn and not derived, so it costs nothing at start-up.
func nobody(p Params) phc {
	r := phc{params: p, salt: make([]byte, saltBytes), key: make([]byte, keyBytes)}
	_, _ = rand.Read(r.salt) // never fails: crypto/rand ends the process instead
	_, _ = rand.Read(r.key)
	return r
}
