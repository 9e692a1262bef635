package tokens

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sallyport/tokens/jws"
)

// ErrTooLong says that a token would be longer than anybody reads, jws.MaxMessage.
var ErrTooLong = errors.New("token too long")

// Issued is a signed token and what its maker must remember of it.
type Issued struct {
	// Token is the compact JWS: a secret.
	Token string
	// ID is the jti: 128 random bits as base64url.
	ID string
	// IssuedAt and ExpiresAt are in UTC and whole seconds.
	IssuedAt, ExpiresAt time.Time
}

// Issuer signs tokens with the current keys of one Keyring. Safe for concurrent use.
type Issuer struct {
	url         string
	ring        *Keyring
	application string
	now         func() time.Time
	newID       func() string
}

// NewIssuer returns an Issuer whose tokens carry url as iss. It signs with the keys that applications share.
func NewIssuer(url string, ring *Keyring, now func() time.Time) *Issuer {
	return &Issuer{url: url, ring: ring, now: now, newID: randomID}
}

// Pinned returns an Issuer that signs with the application's own keys and no others.
func (i *Issuer) Pinned(application string) *Issuer {
	own := *i
	own.application = application
	return &own
}

// current returns the key that signs with an algorithm.
func (i *Issuer) current(alg Algorithm) (*ringKey, error) {
	k := i.ring.current[keyUse{alg, i.application}]
	switch {
	case k != nil:
		return k, nil
	case i.application != "":
		return nil, fmt.Errorf("application %q has no current signing key for %q", i.application, alg)
	default:
		return nil, fmt.Errorf("no current signing key for %q", alg)
	}
}

// Issue signs an access token with the current key of an algorithm (not HS256). Every error is a fault of ours: a Spec
// from which no sound token can be made, or no current key.
func (i *Issuer) Issue(alg Algorithm, spec Spec) (Issued, error) {
	k, err := i.current(alg)
	if err != nil {
		return Issued{}, err
	}
	return i.issue(k.header, k.method, k.private, spec)
}

// IssueHMAC signs an access token with HS256 and an application's own secret (jws.CheckSecret says what a secret must
// be). Such a token proves something to that application only. keyID becomes the kid unless it is empty.
func (i *Issuer) IssueHMAC(secret []byte, keyID string, spec Spec) (Issued, error) {
	if err := jws.CheckSecret(secret); err != nil {
		return Issued{}, err
	}
	if !plain(keyID) {
		return Issued{}, fmt.Errorf("key id is %w", errNotText)
	}
	return i.issue(encodeHeader(HS256, typeAccessToken, keyID), jwt.SigningMethodHS256, secret, spec)
}

func (i *Issuer) issue(header string, m jwt.SigningMethod, key any, spec Spec) (Issued, error) {
	now := i.now().Unix()
	expires := now + int64(spec.Lifetime/time.Second)
	out := Issued{ID: i.newID(), IssuedAt: time.Unix(now, 0).UTC(), ExpiresAt: time.Unix(expires, 0).UTC()}
	payload, err := i.payload(spec, out)
	if err != nil {
		return Issued{}, fmt.Errorf("access token: %w", err)
	}
	if out.Token, err = sign(header, payload, m, key); err != nil {
		return Issued{}, fmt.Errorf("access token: %w", err)
	}
	return out, nil
}

func (i *Issuer) payload(spec Spec, out Issued) ([]byte, error) {
	if !validText(i.url) {
		return nil, errors.New("claim iss is empty")
	}
	if err := spec.check(); err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, 768), '{')
	b = appendMember(b, "iss", i.url)
	b = appendMember(b, "sub", spec.Subject)
	b = appendMember(b, "aud", spec.Audience)
	b = appendSeconds(b, "exp", out.ExpiresAt.Unix())
	b = appendSeconds(b, "iat", out.IssuedAt.Unix())
	b = appendSeconds(b, "nbf", out.IssuedAt.Unix())
	b = appendMember(b, "jti", out.ID)
	b = appendMember(b, "sid", spec.SessionID)
	b = appendMember(b, "client_id", spec.ClientID)
	b = appendSignIn(b, spec)
	b, err := appendExtra(b, spec.Claims)
	if err != nil {
		return nil, err
	}
	return append(b, '}'), nil
}

// appendSignIn appends how the person signed in, as far as it is known.
func appendSignIn(b []byte, spec Spec) []byte {
	if !spec.AuthTime.IsZero() {
		b = appendSeconds(b, "auth_time", spec.AuthTime.Unix())
	}
	if len(spec.AMR) > 0 {
		b = appendStrings(appendName(b, "amr"), spec.AMR)
	}
	if spec.ACR != "" {
		b = appendMember(b, "acr", spec.ACR)
	}
	if spec.Provider != "" {
		b = appendMember(b, "idp", spec.Provider)
	}
	return b
}

// sign returns the compact JWS. header is encoded already and ends in a dot.
func sign(header string, payload []byte, m jwt.SigningMethod, key any) (string, error) {
	signed := make([]byte, 0, len(header)+base64.RawURLEncoding.EncodedLen(len(payload)))
	signed = base64.RawURLEncoding.AppendEncode(append(signed, header...), payload)
	input := string(signed)
	signature, err := m.Sign(input, key)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	if m == jwt.SigningMethodES256 {
		lowerS(signature)
	}
	token := input + "." + base64.RawURLEncoding.EncodeToString(signature)
	if len(token) > jws.MaxMessage {
		// Nobody, we included, would read it.
		return "", fmt.Errorf("%w: more than %d bytes", ErrTooLong, jws.MaxMessage)
	}
	return token, nil
}

// randomID is 128 random bits as base64url.
func randomID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}
