package jwt_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sallyport/identity"
	"sallyport/providers/jwt"
)

// attempt is one verification under load.
type attempt struct {
	door       *jwt.Provider
	signer     string
	began, end int32 // the steps of the rotation
	err        error
}

// rotation is a door under load from two signers while its keys change.
type rotation struct {
	door     atomic.Pointer[jwt.Provider]
	step     atomic.Int32
	attempts chan attempt
}

// run starts two workers for each signer. They stop with the test.
func (r *rotation) run(t *testing.T, signers map[string]func() string) {
	ctx, cancel := context.WithCancel(t.Context())
	r.attempts = make(chan attempt)
	var wg sync.WaitGroup
	for name, sign := range signers {
		for range 2 {
			wg.Go(func() {
				for ctx.Err() == nil {
					a := attempt{signer: name, began: r.step.Load(), door: r.door.Load()}
					_, a.err = a.door.VerifyToken(t.Context(), sign())
					a.end = r.step.Load()
					select {
					case r.attempts <- a:
					case <-ctx.Done():
					}
				}
			})
		}
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// watch holds the next attempts to what may be; must says whether one has to verify or has to fail; where neither, both are right.
func (r *rotation) watch(t *testing.T, must func(attempt) (verify, fail bool)) {
	t.Helper()
	for range 200 {
		a := <-r.attempts
		verify, fail := must(a)
		switch {
		case verify && a.err != nil:
			t.Fatalf("step %d: %s was refused: %v", a.began, a.signer, a.err)
		case fail && identity.CodeOf(a.err) != "jwt_signature":
			t.Fatalf("step %d: %s: %v", a.began, a.signer, a.err)
		}
	}
}

func TestEMB01_ConfiguredKeysRotateUnderLoadAndARemovedOneEndsAtOnce(t *testing.T) {
	c := newClock()
	was, is := ecdsaEmbedder(t), ecdsaEmbedder(t)
	oldKey, newKey := jwt.Key{ID: "k1", PEM: publicPEM(t, was.public)}, jwt.Key{ID: "k2", PEM: publicPEM(t, is.public)}
	before := open(t, c, config(oldKey))
	both := open(t, c, config(oldKey, newKey))
	after := open(t, c, config(newKey))
	sign := map[string]func() string{
		"old": func() string { return was.sign(t, good(c)) }, "new": func() string { return is.sign(t, good(c)) },
	}
	must := func(a attempt) (bool, bool) {
		takes := a.door == both || a.door == before && a.signer == "old" || a.door == after && a.signer == "new"
		return takes, !takes
	}
	var r rotation
	r.door.Store(before)
	r.run(t, sign)
	r.watch(t, must)
	for _, next := range []*jwt.Provider{both, after} { // each as a reload puts it in the other's place
		r.door.Store(next)
		r.watch(t, must)
	}
	mustRefuse(t, r.door.Load(), sign["old"](), wantSignature, "")
}

func TestEMB01_PublishedKeysRotateUnderLoadAndARemovedOneEndsAtOnce(t *testing.T) {
	c := newClock()
	was, is := ecdsaEmbedder(t), ecdsaEmbedder(t)
	k1 := jose.JSONWebKey{Key: was.public, KeyID: "k1", Use: "sig", Algorithm: "ES256"}
	k2 := jose.JSONWebKey{Key: is.public, KeyID: "k2", Use: "sig", Algorithm: "ES256"}
	sign := map[string]func() string{
		"old": func() string { return was.signAs(t, map[string]any{"alg": "ES256", "kid": "k1"}, good(c)) },
		"new": func() string { return is.signAs(t, map[string]any{"alg": "ES256", "kid": "k2"}, good(c)) },
	}
	const onlyOld, overlap, onlyNew = 1, 3, 5 // between them the set changes, and either answer is right
	must := func(a attempt) (verify, fail bool) {
		if a.signer == "old" {
			return a.end <= overlap, a.began >= onlyNew
		}
		return a.began >= overlap, a.end <= onlyOld
	}
	s := newPublished(t, k1)
	p := open(t, c, jwt.Config{Issuer: portal, Audience: house, JWKSURL: s.URL})
	var r rotation
	r.door.Store(p)
	r.step.Store(onlyOld)
	r.run(t, sign)
	r.watch(t, must)

	r.step.Add(1)
	s.put(publish(t, k1, k2))
	c.advance(31 * time.Second) // the door looks for an unknown key every thirty seconds
	mustVerify(t, p, sign["new"]())
	r.step.Store(overlap)
	r.watch(t, must)

	r.step.Add(1)
	s.put(publish(t, k2))
	if err := p.Check(t.Context()); err != nil { // or ten minutes later: TestEMB01_APublishedKeySetIsFetched…
		t.Fatal(err)
	}
	r.step.Store(onlyNew)
	mustRefuse(t, p, sign["old"](), wantSignature, "unknown key")
	r.watch(t, must)
	if n := s.fetches.Load(); n > 5 {
		t.Errorf("the load had the set fetched %d times", n)
	}
}
