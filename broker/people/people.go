// Package people owns accounts, the identities linked to them, local people and manual grants: who somebody is, for
// years. It knows nothing of sessions. Times are stored as milliseconds since 1970 UTC.
package people

import (
	"context"
	"time"

	"sallyport/identity"
)

// Account is our lasting record of a person. Its ID is the sub of our tokens.
type Account struct {
	// ID is 128 random bits, base64url.
	ID string
	// Username is unique in the house, as it is displayed.
	Username string
	// UsernameKey is the canonical form that uniqueness is judged by, see CanonicalName.
	UsernameKey   string
	Name, Email   string
	EmailVerified bool
	// Disabled closes every door, session and key of this account.
	Disabled   bool
	CreatedAt  time.Time
	SignedInAt time.Time // zero: never
	// Kind is PersonAccount, or ServiceAccount for an account that nobody signs in to: only its API keys act for it.
	Kind AccountKind
	// Roles are a service account's own, given by an administrator; a person's come from the mapping.
	Roles []string
}

// AccountKind tells people from services.
type AccountKind string

// The kinds of account.
const (
	PersonAccount  AccountKind = "person"
	ServiceAccount AccountKind = "service"
)

// LinkedIdentity is an upstream identity that opens an account: (Provider, Subject) → AccountID.
type LinkedIdentity struct {
	Provider, Subject string
	AccountID         string
	// Snapshot is what the provider said last.
	Snapshot identity.Identity
	// UpstreamSession and Upstream are the Assertion's; Upstream is sealed at rest.
	UpstreamSession string
	Upstream        []byte
	FetchedAt       time.Time
	// Generation of the configuration that mapped the snapshot last.
	Generation int64
	CreatedAt  time.Time
}

// LocalPerson is a member of a local provider's own little directory. PasswordHash is a PHC string that only the local
// provider reads; empty means nobody can sign in with a password.
type LocalPerson struct {
	Provider, Subject string
	// Username as given; UsernameKey canonical, unique within the provider.
	Username, UsernameKey string
	Name, Email           string
	EmailVerified         bool
	Groups                []string
	PasswordHash          string
	PasswordSetAt         time.Time
}

// ManualGrant is a permission given to an account by hand, outside the mapping: the broker's own administration.
type ManualGrant struct {
	AccountID  string
	Permission string
	GrantedBy  string
	GrantedAt  time.Time
}

// Store is what people need of a transaction. Look-ups answer identity.ErrNotFound; a taken name, identity or grant
// answers identity.ErrConflict.
type Store interface {
	CreateAccount(ctx context.Context, a Account) error
	Account(ctx context.Context, id string) (Account, error)
	AccountByName(ctx context.Context, usernameKey string) (Account, error)
	// Accounts lists by UsernameKey, starting after the given one.
	Accounts(ctx context.Context, after string, limit int) ([]Account, error)
	// UpdateAccount rewrites everything but ID, Username, UsernameKey, Kind, Roles and CreatedAt.
	UpdateAccount(ctx context.Context, a Account) error

	// SetAccountRoles replaces a service account's roles: identity.ErrNotFound for any other account.
	SetAccountRoles(ctx context.Context, id string, roles []string) error
	CreateIdentity(ctx context.Context, l LinkedIdentity) error
	Identity(ctx context.Context, provider, subject string) (LinkedIdentity, error)
	// Identities lists those of one account, oldest first.
	Identities(ctx context.Context, accountID string) ([]LinkedIdentity, error)
	// UpdateIdentity rewrites snapshot, upstream state, FetchedAt and Generation.
	UpdateIdentity(ctx context.Context, l LinkedIdentity) error

	CreateLocalPerson(ctx context.Context, p LocalPerson) error
	LocalPerson(ctx context.Context, provider, usernameKey string) (LocalPerson, error)
	LocalPersonBySubject(ctx context.Context, provider, subject string) (LocalPerson, error)
	// SetLocalPassword replaces the hash. With ifHash set it does so only while the stored hash is still that one, and
	// answers identity.ErrConflict otherwise.
	SetLocalPassword(ctx context.Context, provider, subject, hash, ifHash string, at time.Time) error
	SetLocalGroups(ctx context.Context, provider, subject string, groups []string) error

	CreateGrant(ctx context.Context, g ManualGrant) error
	Grants(ctx context.Context, accountID string) ([]ManualGrant, error)
	// GrantHolders lists accounts, disabled ones left out, that hold the permission.
	GrantHolders(ctx context.Context, permission string) ([]string, error)
	FailureStore
}
