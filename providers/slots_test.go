package providers_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/identity"
	"sallyport/providers"
)

func wantBusy(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, identity.ErrUnavailable) || identity.CodeOf(err) != "busy" {
		t.Errorf("got %v, want busy", err)
	}
}

func TestDOS02_SlotsAreNeverFewerThanOne(t *testing.T) {
	release, err := providers.NewSlots(0).Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	release()
}

func TestDOS02_NobodyWaitsForASlotLongerThanFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slots := providers.NewSlots(1)
		release, err := slots.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = slots.Take(t.Context())
		wantBusy(t, err)
		if waited := time.Since(began); waited != 5*time.Second {
			t.Errorf("waited %s, want 5s", waited)
		}
		release()
		release, err = slots.Take(t.Context())
		if err != nil {
			t.Fatal("the slot was not given back:", err)
		}
		release()
	})
}

func TestDOS02_OnlySoManyWaitAndWhoLeavesMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slots := providers.NewSlots(1)
		release, err := slots.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		crowd, leave := context.WithCancel(t.Context())
		left := make(chan error, 100)
		for range 100 {
			go func() {
				_, err := slots.Take(crowd)
				left <- err
			}()
		}
		synctest.Wait()
		if len(left) != 68 {
			t.Errorf("%d of 100 were sent away at once, want all but 32", len(left))
		}
		leave()
		synctest.Wait()
		if len(left) != 100 {
			t.Errorf("%d of 100 are gone after all have left", len(left))
		}
		for range len(left) {
			wantBusy(t, <-left)
		}
		got := make(chan error, 1)
		go func() {
			free, err := slots.Take(t.Context())
			if err == nil {
				free()
			}
			got <- err
		}()
		synctest.Wait()
		release()
		if err := <-got; err != nil {
			t.Error("who stayed was sent away:", err)
		}
		_, err = slots.Take(crowd)
		wantBusy(t, err) // who has left takes no slot, though one is free
	})
}
