package jwt

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"sallyport/identity"
	"sallyport/tokens/jws"
)

// upstream is the memory of this door: what a token is remembered by. It is empty where replay is off.
type upstream struct {
	Replay string `json:"jwt_replay,omitempty"`
	Until  int64  `json:"jwt_replay_until,omitempty"` // seconds since 1970
}

// remember writes down what Replay reads.
func (p *Provider) remember(m jws.Message, t token) ([]byte, error) {
	if p.config.Replay == replayOff {
		return nil, nil
	}
	kept, err := json.Marshal(upstream{
		Replay: replayKey(p.config.Issuer, m, t),
		// Rounded up: the token is refused as expired from exp and skew on, and must not be forgotten before.
		Until: t.expires.Add(*p.config.Skew).Add(time.Second - 1).Unix(),
	})
	if err != nil {
		return nil, fmt.Errorf("jwt: %w", err)
	}
	return kept, nil
}

// replayKey is one key for all spellings of a token: bound to its issuer, and to its jti or else to what was signed.
// The parts are kept apart by NUL, which neither of them can hold, and the kind of the id by its name, so that no jti
// can be made to look like another token's digest.
func replayKey(issuer string, m jws.Message, t token) string {
	kind, id := "jti", t.id
	if id == "" {
		digest := m.Digest()
		kind, id = "digest", base64.RawURLEncoding.EncodeToString(digest[:])
	}
	sum := sha256.Sum256([]byte("sallyport jwt replay\x00" + issuer + "\x00" + kind + "\x00" + id))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Replay returns what a token that VerifyToken accepted is remembered by, and until when: whoever takes the assertion
// inserts the key once under a unique constraint, and refuses the sign-in when it is there already (EMB-02). The key is
// the same for every spelling of a token and differs between issuers. ok is false where replay is off, and for
// assertions of other doors.
func Replay(a identity.Assertion) (key string, until time.Time, ok bool) {
	var u upstream
	if len(a.Upstream) == 0 || jws.StrictObject(a.Upstream, &u) != nil || u.Replay == "" {
		return "", time.Time{}, false
	}
	return u.Replay, time.Unix(u.Until, 0).UTC(), true
}
