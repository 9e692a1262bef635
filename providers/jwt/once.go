package jwt

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sallyport/identity"
	"sallyport/tokens/jws"
)

// upstream is the memory of this door: what a token is remembered by, and what it is bound to.
type upstream struct {
	Once  string `json:"jwt_once"`
	Until int64  `json:"jwt_until"` // seconds since 1970
	Nonce string `json:"jwt_nonce,omitempty"`
	// Application is the id of the only one that the token is for; empty: any.
	Application string `json:"jwt_application,omitempty"`
}

// remember writes down what Once and Binding read.
func (p *Provider) remember(m jws.Message, t token) ([]byte, error) {
	kept, err := json.Marshal(upstream{
		Once: onceID(p.config.Issuer, m, t),
		// Rounded up: the token is refused as expired from exp and skew on, and must not be forgotten before.
		Until: t.expires.Add(*p.config.Skew).Add(time.Second - 1).Unix(),
		Nonce: t.nonce, Application: t.application,
	})
	if err != nil {
		return nil, fmt.Errorf("jwt: %w", err)
	}
	return kept, nil
}

// onceID is one id for all spellings of a token: bound to its issuer, and to its jti or else to what was signed. The
// parts are kept apart by NUL, which neither of them can hold, and the kind of the id by its name, so that no jti can be
// made to look like another token's digest.
func onceID(issuer string, m jws.Message, t token) string {
	kind, id := "jti", t.id
	if id == "" {
		digest := m.Digest()
		kind, id = "digest", base64.RawURLEncoding.EncodeToString(digest[:])
	}
	sum := sha256.Sum256([]byte(issuer + "\x00" + kind + "\x00" + id))
	return Kind + ":" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// errForeign: signing somebody in by an assertion whose origin is not known would pass by every check of this door.
var errForeign = errors.New("jwt: the assertion is not of this door")

// Once says by which id a token that VerifyToken accepted is remembered, and until when; see providers.OnceProvider. The
// id is the same for every spelling of a token and on every node, and differs between issuers. once is false where
// replay is off.
func (p *Provider) Once(a identity.Assertion) (id string, until time.Time, once bool, err error) {
	memory, err := p.recall(a)
	switch {
	case err != nil:
		return "", time.Time{}, false, err
	case p.config.Replay == replayOff:
		return "", time.Time{}, false, nil
	}
	return memory.Once, time.Unix(memory.Until, 0).UTC(), true, nil
}

// Binding returns the token's nonce and application, which bind it to a challenge and to one application; "" for a claim
// that it does not have.
func (p *Provider) Binding(a identity.Assertion) (nonce, application string) {
	memory, err := p.recall(a)
	if err != nil {
		return "", "" // Once refuses the sign-in
	}
	return memory.Nonce, memory.Application
}

func (p *Provider) recall(a identity.Assertion) (upstream, error) {
	var u upstream
	if a.Identity.Provider != p.info.ID || jws.StrictObject(a.Upstream, &u) != nil || u.Once == "" || u.Until <= 0 {
		return upstream{}, errForeign
	}
	return u, nil
}
