package jws

import (
	"bytes"
	"context"
	"time"
)

// Status is a Remote's health.
type Status struct {
	// FetchedAt is the time of the copy in use; zero when there is none.
	FetchedAt time.Time
	// Age is how old the copy is; zero when there is none.
	Age time.Duration
	// Keys counts the usable keys; Skipped says why others are not.
	Keys    int
	Skipped []string
	// LastError is why the latest fetch failed; nil when it succeeded. It is for operators only.
	LastError   error
	LastErrorAt time.Time
}

// Status tells how old the copy is and whether the latest fetch failed. It fetches nothing.
func (r *Remote) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{LastError: r.lastErr}
	if r.lastErr != nil {
		s.LastErrorAt = r.lastErrorAt
	}
	if r.copy != nil {
		s.FetchedAt, s.Age = r.copy.at, r.now().Sub(r.copy.at)
		s.Keys, s.Skipped = r.copy.set.Len(), r.copy.set.Skipped()
	}
	return s
}

// Snapshot returns the last good key set as it was received and when, to be kept across a restart; nil when there is
// none.
func (r *Remote) Snapshot() ([]byte, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.copy == nil {
		return nil, time.Time{}
	}
	return bytes.Clone(r.copy.raw), r.copy.at
}

// Restore puts back a Snapshot from before a restart, for an issuer that is away now. It keeps its age, so the next use
// tries to fetch if it is old. It does nothing when a copy is there already.
func (r *Remote) Restore(jwks []byte, fetchedAt time.Time) error {
	set, err := ParseSet(jwks)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.copy == nil {
		r.copy = &copied{set: set, raw: bytes.Clone(jwks), at: fetchedAt}
	}
	return nil
}

// KeySet is a Remote narrowed to some algorithms. It fills go-oidc's interface of that name.
type KeySet struct {
	remote  *Remote
	allowed []string
}

// KeySet returns a KeySet that verifies with the allowed algorithms only.
func (r *Remote) KeySet(allowed ...string) KeySet { return KeySet{remote: r, allowed: allowed} }

// VerifySignature parses a compact JWS strictly and returns its payload if the signature is right.
func (k KeySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	m, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	return k.remote.Verify(ctx, m, k.allowed...)
}
