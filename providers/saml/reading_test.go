package saml

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"sallyport/identity"
	"sallyport/providers"
)

func TestSML09_WhoHasLeftKeepsNobodyWaiting(t *testing.T) {
	by := ours(t)
	p, slots := openProvider(t, nil, by), providers.NewSlots(1)
	p.heavy = slots
	reply := replyWith(signing{by: by, assertion: true}.sign(t, message()))
	release, err := slots.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gone, leave := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	for range 60 {
		crowd.Go(func() {
			_, err := p.Finish(gone, theFlow(), testPending(), reply)
			wantRefused(t, err, identity.ErrUnavailable, "busy", "")
		})
	}
	leave()
	crowd.Wait() // nobody waits for the slot, which is taken still
	release()
	if _, err := p.Finish(t.Context(), theFlow(), testPending(), reply); err != nil {
		t.Error("behind those who have left:", err)
	}
	_, err = p.Finish(gone, theFlow(), testPending(), reply)
	wantRefused(t, err, identity.ErrUnavailable, "busy", "")
}

// TestSML09_TheHouseReadsSoManyResponsesAtATime: whichever provider they are of.
func TestSML09_TheHouseReadsSoManyResponsesAtATime(t *testing.T) {
	by := ours(t)
	p, slots := openProvider(t, nil, by), providers.NewSlots(1)
	reply := replyWith(signing{by: by, assertion: true}.sign(t, message()))
	if other := newProvider(p.info, p.config, providers.Env{Heavy: slots}); other.heavy != slots || p.heavy == nil {
		t.Fatal("the house's slots are not those that are used, or without a house there are none")
	}
	p.heavy = slots
	release, err := slots.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithTimeout(t.Context(), time.Millisecond)
	defer leave()
	_, err = p.Finish(ctx, theFlow(), testPending(), reply)
	if !errors.Is(err, identity.ErrUnavailable) || errors.Is(err, identity.ErrBadCredentials) || identity.CodeOf(err) != "busy" {
		t.Errorf("got %v, want busy", err)
	}
	release()
	if _, err := p.Finish(t.Context(), theFlow(), testPending(), reply); err != nil {
		t.Error(err)
	}
}
