// Package identity owns the words that every other package shares: what a provider asserts about a person (Identity,
// Assertion), who the broker decided is acting (Principal), the handful of errors that every floor understands, and
// Secret, the one type for secrets in configuration. It imports the standard library only.
package identity

import "time"

// Identity is what a provider asserts about a person. Its words are upstream's words; nothing in it is a decision.
type Identity struct {
	// Provider is the id of the configured provider that asserted this.
	Provider string `json:"provider"`
	// Subject is upstream's stable identifier (OIDC sub, SAML NameID, entryUUID, objectGUID); never an address or a
	// user name. (Provider, Subject) is the key of a linked identity.
	Subject string `json:"subject"`
	// Username is the name the person is known by upstream. It is a wish, not a key.
	Username string `json:"username,omitempty"`
	// Name is the display name.
	Name string `json:"name,omitempty"`
	// Email is the address as upstream spells it.
	Email string `json:"email,omitempty"`
	// EmailVerified is true only where the provider itself says so.
	EmailVerified bool `json:"email_verified,omitempty"`
	// Groups are upstream's group names, spelled as upstream spells them.
	Groups []string `json:"groups,omitempty"`
	// Attributes hold everything else that mapping rules may look at, keyed by name or dotted claim path. They are
	// never copied into a token by themselves.
	Attributes map[string][]string `json:"attributes,omitempty"`
	// AuthTime is when the person proved who they are; zero where upstream does not say.
	AuthTime time.Time `json:"auth_time,omitzero"`
	// AMR says how (RFC 8176): "pwd", "mfa", "otp" …
	AMR []string `json:"amr,omitempty"`
}

// Assertion is what a door returns: an identity together with what is needed to ask about it, or end it, later.
type Assertion struct {
	Identity Identity
	// UpstreamSession is the OIDC sid or SAML SessionIndex, for logout; empty where there is none.
	UpstreamSession string
	// Upstream is the provider's own memory (a refresh token, a NameID). The store seals it; only the provider that
	// wrote it reads it.
	Upstream []byte
}

// Principal is who is acting, as the broker decided. The three carriers (JWT, cookie, API key) are three spellings of
// it. Service accounts have one too, so there is no Identity inside.
type Principal struct {
	// Subject is our own stable account id, the sub of our tokens.
	Subject string
	// Username is unique in the house.
	Username string
	// Name and Email are for display.
	Name, Email string
	// Provider is the id of the door the person came through (the idp claim).
	Provider string
	// Application is the id of the one application this credential opens.
	Application string
	// SessionID or KeyID, never both, names what is ended to end this principal.
	SessionID, KeyID string
	// Roles are all roles held, inherited ones included, sorted.
	Roles []string
	// Permissions are those of the roles (resource:action, with wildcards), sorted.
	Permissions []string
	// AMR and AuthTime are those of the sign-in (RFC 8176; OIDC Core section 2).
	AMR      []string
	AuthTime time.Time
	// ExpiresAt is when the credential's session or key ends at the latest.
	ExpiresAt time.Time
	// ReadOnly is set for an API key that must change nothing.
	ReadOnly bool
	// Embedder is the id of the application whose page frames this one, and Origin that page's; empty for everybody who
	// signed in directly.
	Embedder, Origin string
}
