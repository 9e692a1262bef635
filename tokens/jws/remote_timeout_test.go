package jws_test

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/tokens/jws"
)

// silent is a peer that never answers.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestOID04_AFetchEndsAfterFiveSeconds(t *testing.T) {
	_, m := named(t, "k")
	synctest.Test(t, func(t *testing.T) {
		r, err := jws.NewRemote(jws.RemoteConfig{
			URL: jws.StaticURL("https://issuer.example/jwks"), Client: &http.Client{Transport: silent{}}, Now: time.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := r.Verify(t.Context(), m, "EdDSA"); !errors.Is(err, jws.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
