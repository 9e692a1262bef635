package broker_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/tokens"
	"sallyport/tokens/jws"
)

// offline is a relying party that verifies by itself and asks for the JWK set every five minutes, not once more.
type offline struct {
	h       *house
	set     jws.Set
	fetched time.Time
}

func (o *offline) verify(raw string) error {
	if now := o.h.clock.Now(); o.fetched.IsZero() || now.Sub(o.fetched) >= 5*time.Minute {
		data, err := o.h.JWKS(o.h.t.Context())
		if err != nil {
			return err
		}
		if o.set, err = jws.ParseSet(data); err != nil {
			return err
		}
		o.fetched = now
	}
	m, err := jws.Parse(raw)
	if err != nil {
		return err
	}
	_, err = o.set.Verify(m, "ES256")
	return err
}

// TestSTO03_REL07 lets keys rotate while two processes issue and verify, and applications verify with copies of the JWK
// set that are up to five minutes old. Nothing may fail.
func TestSTO03_REL07_KeysRotateUnderLoadWithoutOneFailure(t *testing.T) {
	const (
		every, before, lifetime = 10 * time.Minute, 6 * time.Minute, 2 * time.Minute
		step, whole, eachStep   = 4 * time.Second, 45 * time.Minute, 60
	)
	change := func(s *settings) {
		s.apps[0].TokenLifetime, s.apps[0].Session = lifetime, broker.Limits{Idle: 24 * time.Hour, Lifetime: 24 * time.Hour}
	}
	h := newHouse(t, change)
	there := h.beside()
	there.reload(change)
	houses := []*house{h, there}
	for _, one := range houses {
		one.keyRules(every, before)
	}
	h.addPerson("ada", "viewers")
	out := h.signInAs(h.atAPI("app"), "", "ada")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	verified := make(chan struct{}, eachStep)
	var kids sync.Map
	var total atomic.Int64
	var workers sync.WaitGroup
	for n := range 4 {
		workers.Go(func() {
			from, to := houses[n%2], houses[(n/2+n+1)%2]
			client := &offline{h: to}
			var kept []tokens.Issued
			for ctx.Err() == nil {
				made, err := from.IssueToken(ctx, out.Principal, from.app("app"))
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				kids.Store(kidOf(t, made.Token), true)
				kept = append(kept, made)
				for _, k := range []tokens.Issued{made, kept[0]} {
					_, err := to.Authenticate(ctx, to.visit(), broker.NewCredential(broker.Bearer, k.Token), to.app("app"))
					if ctx.Err() != nil {
						return
					}
					if err != nil && h.clock.Now().Before(k.ExpiresAt) {
						t.Errorf("a token of %s, kid %s: %v", k.IssuedAt, kidOf(t, k.Token), err)
					}
					if err := client.verify(k.Token); err != nil && h.clock.Now().Before(k.ExpiresAt) {
						t.Errorf("offline, a token of %s with keys of %s: %v", k.IssuedAt, client.fetched, err)
					}
					total.Add(2)
				}
				for len(kept) > 0 && !h.clock.Now().Before(kept[0].ExpiresAt) {
					kept = kept[1:]
				}
				select {
				case verified <- struct{}{}:
				case <-ctx.Done():
				}
			}
		})
	}
	begun := time.Now()
	for at := time.Duration(0); at < whole && !t.Failed(); at += step {
		h.clock.Advance(step)
		for i, one := range houses {
			if int(at/step)%2 == i { // neither is always first
				one.keep()
			}
			one.poll()
		}
		for range eachStep / 4 {
			<-verified
		}
	}
	cancel()
	workers.Wait()
	used := 0
	kids.Range(func(any, any) bool { used++; return true })
	if rotations := len(h.events(audit.SigningKeyRotated)); rotations != 4 || used != 5 {
		t.Fatalf("%d rotations, %d keys signed", rotations, used)
	}
	rate := float64(total.Load()) / time.Since(begun).Seconds()
	t.Logf("%d verifications, %.0f a second", total.Load(), rate)
	if perSecond := float64(total.Load()) / whole.Seconds(); perSecond < 15 {
		t.Errorf("only %.1f verifications in each second of the house", perSecond)
	}
}
