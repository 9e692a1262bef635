// Package local is the door for people whose passwords we keep ourselves. It owns the hash, the policy for new
// passwords and the bound on hashing. Who the people are, their groups, whether they are disabled, and how many
// failures are too many is the broker's matter; it hears about people through a small interface of its own.
package local

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"sallyport/identity"
	"sallyport/providers"
)

// Kind is the type's name in configuration.
const Kind = "local"

// productWords are never a password, like the person's own name.
const productWords = "sallyport"

// Person is a member of the directory, as far as signing in needs it.
type Person struct {
	// Subject is stable for life and unique in the provider.
	Subject string
	// Username, Name and Email are for the assertion.
	Username, Name, Email string
	// EmailVerified is true only where we saw the owner use the address.
	EmailVerified bool
	// Groups are what mapping rules look at.
	Groups []string
	// PasswordHash is a PHC string; empty means nobody can sign in as this person with a password.
	PasswordHash string
}

// People is the directory, kept elsewhere. Both methods answer identity.ErrUnavailable when the store does not answer.
type People interface {
	// LocalPerson finds by the name as typed, in whatever canonical form names are compared: identity.ErrNotFound for
	// nobody, also for a name that nobody could have.
	LocalPerson(ctx context.Context, provider, username string) (Person, error)
	// SetPasswordHash replaces the hash only while it still is ifHash: identity.ErrConflict otherwise.
	SetPasswordHash(ctx context.Context, provider, subject, hash, ifHash string) error
}

// Provider is a configured local provider. Make it with Config.Open.
type Provider struct {
	info   providers.Info
	policy Policy
	params Params
	nobody phc
	people People
	hasher *Hasher
	log    *slog.Logger
	now    func() time.Time
}

var _ providers.PasswordKeeper = (*Provider)(nil)

// Info names the provider.
func (p *Provider) Info() providers.Info { return p.info }

// Authenticate checks a name and a password. Whatever is wrong with them, the answer is identity.ErrBadCredentials itself
// and has cost exactly one hash, so that neither the text nor the time tells whether there is such a person. (A hash
// made with lower parameters than today's costs what it cost then, until its owner signs in.) A store that does not
// answer is identity.ErrUnavailable; too many hashes at once are that too, coded busy.
func (p *Provider) Authenticate(ctx context.Context, username, password string) (identity.Assertion, error) {
	person, err := p.people.LocalPerson(ctx, p.info.ID, username)
	if err != nil && !errors.Is(err, identity.ErrNotFound) {
		return identity.Assertion{}, fmt.Errorf("local person: %w", err)
	}
	stored, possible := p.stored(ctx, person, err == nil)
	if password == "" || len(password) > maxPasswordBytes {
		// Not refused earlier: the cost must not depend on the length either. And never hashed as it is, since whoever
		// sends a megabyte pays nothing for it.
		password, possible = "", false
	}
	password = normalize(password)
	right, err := p.hasher.verify(ctx, stored, password)
	if err != nil {
		return identity.Assertion{}, err
	}
	if !right || !possible {
		return identity.Assertion{}, identity.ErrBadCredentials
	}
	if stored.weakerThan(p.params) {
		person.PasswordHash = p.rehash(ctx, person, password)
	}
	return p.assertion(person), nil
}

// stored returns the person's hash; or one that nothing fits, with possible false, where there is no person, no
// password, or a hash that cannot be read.
func (p *Provider) stored(ctx context.Context, person Person, known bool) (stored phc, possible bool) {
	if !known || person.PasswordHash == "" {
		return p.nobody, false
	}
	stored, err := parsePHC(person.PasswordHash)
	if err != nil {
		p.log.ErrorContext(ctx, "stored password hash cannot be read", "subject", person.Subject, "err", err)
		return p.nobody, false
	}
	return stored, true
}

// rehash replaces a hash made with lower parameters. This second run happens only for the right password and only until
// the row is new, so it tells nobody anything. It never stands in the way of the sign-in: where every slot is taken or
// the store refuses, the next sign-in tries again. It returns the hash that is stored now, as far as is known.
func (p *Provider) rehash(ctx context.Context, person Person, password string) string {
	hash, ok := p.hasher.tryHash(p.params, password)
	if !ok {
		return person.PasswordHash
	}
	err := p.people.SetPasswordHash(ctx, p.info.ID, person.Subject, hash, person.PasswordHash)
	if err == nil {
		return hash
	}
	if !errors.Is(err, identity.ErrConflict) { // conflict: the password was changed meanwhile, rightly so
		p.log.WarnContext(ctx, "password hashed anew could not be stored", "subject", person.Subject, "err", err)
	}
	return person.PasswordHash
}

// MadeWith see providers.PasswordKeeper: the assertion carries the digest of the hash its password was held against.
func (p *Provider) MadeWith(a identity.Assertion, hash string) bool {
	return subtle.ConstantTimeCompare(a.Upstream, digestOf(hash)) == 1
}

func digestOf(hash string) []byte {
	sum := sha256.Sum256([]byte(hash))
	return sum[:]
}

func (p *Provider) assertion(person Person) identity.Assertion {
	return identity.Assertion{Upstream: digestOf(person.PasswordHash), Identity: identity.Identity{
		Provider:      p.info.ID,
		Subject:       person.Subject,
		Username:      person.Username,
		Name:          person.Name,
		Email:         person.Email,
		EmailVerified: person.EmailVerified,
		Groups:        slices.Clone(person.Groups),
		AuthTime:      p.now(),
		AMR:           []string{"pwd"},
	}}
}

// HashPassword checks a new password against the policy and returns its PHC string. A refusal is identity.ErrInvalid
// coded password_too_short, password_too_long, password_common, password_contains_name, password_too_simple (only where
// character classes are asked for) or password_invalid (bytes that are no text). about holds words that the password
// may not be equal to; the provider's title and the product's name are always among them.
func (p *Provider) HashPassword(ctx context.Context, password string, about ...string) (string, error) {
	words := append(slices.Clone(about), productWords, p.info.ID, p.info.Title)
	if err := p.policy.check(password, words); err != nil {
		return "", err
	}
	return p.hasher.hash(ctx, p.params, normalize(password))
}

// MinLength is the least number of characters of a password, for the people who choose one.
func (p *Provider) MinLength() int { return p.policy.MinLength }
