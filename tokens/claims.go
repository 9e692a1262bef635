package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sallyport/tokens/jws"
)

// typeAccessToken is the typ of our access tokens (RFC 9068 section 2.1). Nothing else carries it, so no other kind of
// token passes for one.
const typeAccessToken = "at+jwt"

// errNotText is for texts that cannot stand in a token.
var errNotText = errors.New("not valid text")

// Spec is what an access token shall say; the issuer adds iss, iat, nbf, exp and jti.
type Spec struct {
	// Subject, Audience, ClientID and SessionID become sub, aud, client_id and sid. All are required: each consumer
	// looks the session up by sid, and a token without audience would open every application.
	Subject, Audience, ClientID, SessionID string
	// Provider is the door the person came through (idp); empty leaves the claim out.
	Provider string
	// AMR (RFC 8176) and ACR say how the person proved who they are; empty leaves the claim out.
	AMR []string
	ACR string
	// AuthTime is when; zero leaves the claim out.
	AuthTime time.Time
	// Claims are the profile's. None may be named like a core claim (iss sub aud exp iat nbf jti sid client_id
	// auth_time amr acr idp), in whatever case.
	Claims map[string]any
	// Lifetime is counted in whole seconds, at least one.
	Lifetime time.Duration
}

// check refuses a Spec from which no sound token can be made.
func (s Spec) check() error {
	for _, required := range [...]struct{ claim, value string }{
		{"sub", s.Subject}, {"aud", s.Audience}, {"client_id", s.ClientID}, {"sid", s.SessionID},
	} {
		if !validText(required.value) {
			return fmt.Errorf("claim %s is empty or %w", required.claim, errNotText)
		}
	}
	if !plain(s.Provider, s.ACR) || !plain(s.AMR...) {
		return fmt.Errorf("claim idp, acr or amr is %w", errNotText)
	}
	if !s.AuthTime.IsZero() && s.AuthTime.Unix() < 0 {
		return errors.New("claim auth_time lies before 1970")
	}
	if s.Lifetime < time.Second {
		return errors.New("lifetime is shorter than a second")
	}
	return nil
}

// Claims are those of an access token of ours that was verified; only Verifier makes them. That says nothing about the
// session, which may have ended since: look it up by SessionID, never by Subject.
type Claims struct {
	Issuer, Subject, Audience string
	// ID is the jti.
	ID string
	// SessionID is the sid, ClientID the client_id, Provider the idp.
	SessionID, ClientID, Provider string
	AMR                           []string
	ACR                           string
	// AuthTime is zero where the token does not say.
	AuthTime time.Time
	// IssuedAt, NotBefore and ExpiresAt are in UTC and whole seconds.
	IssuedAt, NotBefore, ExpiresAt time.Time
	// KeyID is the kid; empty for a token signed with an application's secret without one.
	KeyID string
	// Extra holds the profile's claims.
	Extra map[string]json.RawMessage
}

// readClaims reads the payload of a verified token. Errors say which claim, never its value.
func readClaims(payload []byte) (Claims, error) {
	members, err := jws.ParseClaims(payload)
	if err != nil {
		return Claims{}, err
	}
	r := claimReader{members: members}
	c := Claims{
		Issuer: r.text("iss"), Subject: r.text("sub"), Audience: r.audience(), ID: r.text("jti"),
		SessionID: r.text("sid"), ClientID: r.text("client_id"),
		Provider: r.optional("idp"), ACR: r.optional("acr"), AMR: r.list("amr"),
		AuthTime: r.optionalTime("auth_time"), IssuedAt: r.time("iat"), NotBefore: r.time("nbf"), ExpiresAt: r.time("exp"),
		Extra: r.extra(),
	}
	if r.err != nil {
		return Claims{}, r.err
	}
	return c, nil
}

// claimReader keeps the first mistake.
type claimReader struct {
	members jws.Claims
	err     error
}

func (r *claimReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// text reads a string that must be there and not be empty.
func (r *claimReader) text(name string) string {
	s := r.optional(name)
	if s == "" {
		r.fail(fmt.Errorf("claim %s is missing", name))
	}
	return s
}

func (r *claimReader) optional(name string) string {
	s, err := r.members.String(name)
	if err != nil {
		r.fail(err)
	}
	return s
}

func (r *claimReader) list(name string) []string {
	list, err := r.members.Strings(name)
	if err != nil {
		r.fail(err)
	}
	return list
}

// audience reads exactly one audience: a token that is also meant for others could be replayed here by any of them.
func (r *claimReader) audience() string {
	list := r.list("aud")
	if len(list) != 1 || list[0] == "" {
		r.fail(errors.New("claim aud is not exactly one"))
		return ""
	}
	return list[0]
}

// time reads a required time. Ours have whole seconds; another spelling is not ours.
func (r *claimReader) time(name string) time.Time {
	if !r.members.Has(name) {
		r.fail(fmt.Errorf("claim %s is missing", name))
	}
	return r.optionalTime(name)
}

func (r *claimReader) optionalTime(name string) time.Time {
	t, err := r.members.Time(name)
	if err == nil && t.Nanosecond() != 0 {
		err = fmt.Errorf("claim %s is not in whole seconds", name)
	}
	if err != nil {
		r.fail(err)
	}
	return t
}

// extra returns what is not a core claim, and refuses what a lax reader could take for one.
func (r *claimReader) extra() map[string]json.RawMessage {
	extra := make(map[string]json.RawMessage)
	for name, value := range r.members {
		core, ok := coreClaim(name)
		switch {
		case !ok:
			extra[name] = value
		case core != name:
			r.fail(fmt.Errorf("claim %s in another case", core))
		}
	}
	return extra
}
