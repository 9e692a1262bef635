package tokens

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"sallyport/identity"
	"sallyport/tokens/jws"
)

// PublishedKey is what everybody may know of a signing key.
type PublishedKey struct {
	// ID is the kid.
	ID        string
	Algorithm Algorithm
	State     KeyState
	// Application is the id of the one application whose tokens it signs; empty: all that have no key of their own.
	Application string
	CreatedAt   time.Time
	// CurrentAt and RetiredAt are zero until then.
	CurrentAt, RetiredAt time.Time
	// Public is *ecdsa.PublicKey, *rsa.PublicKey or ed25519.PublicKey.
	Public crypto.PublicKey
}

// Keyring holds the signing keys of one moment, parsed once. It never changes and is safe for concurrent use.
type Keyring struct {
	keys    []ringKey // oldest first
	current map[keyUse]*ringKey
	set     jws.Set
	jwks    []byte
}

// keyUse is what one key at a time signs for.
type keyUse struct {
	algorithm   Algorithm
	application string
}

// ringKey is a key ready to sign.
type ringKey struct {
	PublishedKey
	private crypto.Signer
	method  jwt.SigningMethod
	header  string // of an access token: base64url with the dot that follows
}

// NewKeyring parses the keys. A key that cannot be read, whose id is not its thumbprint, or that occurs twice is an
// error that names its id. Should two keys of one use be current, the one that became so last signs. No keys at all make
// a Keyring that can neither sign nor verify.
func NewKeyring(keys []StoredKey) (*Keyring, error) {
	ring := &Keyring{current: make(map[keyUse]*ringKey)}
	for _, stored := range keys {
		k, err := newRingKey(stored)
		if err != nil {
			return nil, fmt.Errorf("signing key %q: %w", stored.ID, err)
		}
		ring.keys = append(ring.keys, k)
	}
	slices.SortFunc(ring.keys, func(a, b ringKey) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	for i := range ring.keys {
		k := &ring.keys[i]
		use := keyUse{k.Algorithm, k.Application}
		old := ring.current[use]
		if k.State == KeyCurrent && (old == nil || !k.CurrentAt.Before(old.CurrentAt)) {
			ring.current[use] = k
		}
	}
	return ring, ring.publish()
}

func newRingKey(stored StoredKey) (ringKey, error) {
	if stored.State != KeyNext && stored.State != KeyCurrent && stored.State != KeyRetired {
		return ringKey{}, fmt.Errorf("unknown state %q", stored.State)
	}
	private, err := parsePrivate(stored)
	if err != nil {
		return ringKey{}, err
	}
	id, err := thumbprint(private.Public())
	if err != nil {
		return ringKey{}, err
	}
	if id != stored.ID {
		// Under a foreign id it would answer for another key's tokens.
		return ringKey{}, errors.New("its id is not its thumbprint")
	}
	return ringKey{
		PublishedKey: PublishedKey{
			ID: id, Algorithm: stored.Algorithm, State: stored.State, Application: stored.Application,
			CreatedAt: stored.CreatedAt, CurrentAt: stored.CurrentAt, RetiredAt: stored.RetiredAt,
			Public: private.Public(),
		},
		private: private,
		method:  signingMethod(stored.Algorithm),
		header:  encodeHeader(stored.Algorithm, typeAccessToken, id),
	}, nil
}

// publish makes the public views.
func (r *Keyring) publish() error {
	verifying := make([]jws.Key, 0, len(r.keys))
	published := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for i, k := range r.keys {
		if i > 0 && slices.ContainsFunc(r.keys[:i], func(o ringKey) bool { return o.ID == k.ID }) {
			return fmt.Errorf("signing key %q: occurs twice", k.ID)
		}
		verifying = append(verifying, jws.Key{ID: k.ID, Algorithm: string(k.Algorithm), Public: k.Public})
		published.Keys = append(published.Keys,
			jose.JSONWebKey{Key: k.Public, KeyID: k.ID, Algorithm: string(k.Algorithm), Use: "sig"})
	}
	var err error
	if r.set, err = jws.NewSet(verifying...); err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	if r.jwks, err = json.Marshal(published); err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	return nil
}

// JWKS returns the JWK set to publish (RFC 7517 section 5): every key, whatever its state and whosever tokens it signs,
// oldest first, so that equal keyrings give equal bytes.
func (r *Keyring) JWKS() []byte { return bytes.Clone(r.jwks) }

// Published returns every key, whatever its state, oldest first.
func (r *Keyring) Published() []PublishedKey {
	all := make([]PublishedKey, len(r.keys))
	for i := range r.keys {
		all[i] = r.keys[i].PublishedKey
	}
	return all
}

// PEM returns a public key as PKIX PEM, for verifiers that cannot read a JWK set. An unknown kid is
// identity.ErrNotFound.
func (r *Keyring) PEM(kid string) ([]byte, error) {
	k, ok := r.Lookup(kid)
	if !ok {
		return nil, fmt.Errorf("signing key: %w", identity.ErrNotFound)
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		return nil, fmt.Errorf("signing key %q: %w", kid, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// Lookup finds a key by its kid.
func (r *Keyring) Lookup(kid string) (PublishedKey, bool) {
	for i := range r.keys {
		if r.keys[i].ID == kid {
			return r.keys[i].PublishedKey, true
		}
	}
	return PublishedKey{}, false
}

// Current returns the key that signs with an algorithm now: the application's own one, or with an empty id the one that
// all others share.
func (r *Keyring) Current(alg Algorithm, application string) (PublishedKey, bool) {
	if k := r.current[keyUse{alg, application}]; k != nil {
		return k.PublishedKey, true
	}
	return PublishedKey{}, false
}

// signingMethod is the library's signer for our algorithms; nil for others.
func signingMethod(alg Algorithm) jwt.SigningMethod {
	switch alg {
	case ES256:
		return jwt.SigningMethodES256
	case RS256:
		return jwt.SigningMethodRS256
	case EdDSA:
		return jwt.SigningMethodEdDSA
	case HS256:
		return jwt.SigningMethodHS256
	default:
		return nil
	}
}

// encodeHeader returns the JOSE header as base64url with the dot that follows it. kid may be empty.
func encodeHeader(alg Algorithm, typ, kid string) string {
	b := appendMember([]byte{'{'}, "alg", string(alg))
	b = appendMember(b, "typ", typ)
	if kid != "" {
		b = appendMember(b, "kid", kid)
	}
	return base64.RawURLEncoding.EncodeToString(append(b, '}')) + "."
}
