package wire

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sallyport/broker"
	"sallyport/identity"
)

// halves are an API key as it looks, cut in two. It opens nothing.
const (
	publicHalf = "aurora_key_aaaaaaaaaaaaaaaaaaaaaaaaaa"
	secretHalf = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" + "aaaaaaa"
)

func TestKEY03_AKeyInTwoHeadersHasOneReading(t *testing.T) {
	app := &broker.Application{ID: "app", Profile: &broker.Profile{
		KeyHeaders: []string{"X-Api-Key", "Authorization"}, KeySecretHeader: "X-Api-Secret",
	}}
	whole := publicHalf + "_" + secretHalf
	key, token := broker.NewCredential(broker.APIKey, whole), broker.NewCredential(broker.Bearer, "a.b.c")
	// A credential that can be nobody's: no key has the shape of it.
	bad := broker.Credential{}
	for _, c := range []struct {
		name    string
		headers []string
		want    broker.Credential
		code    string
	}{
		{"both halves", []string{"X-Api-Key", publicHalf, "X-Api-Secret", secretHalf}, key, ""},
		{"the public half as bearer", []string{"Authorization", "Bearer " + publicHalf, "X-Api-Secret", secretHalf}, key, ""},
		{"a token alone", []string{"Authorization", "Bearer a.b.c"}, token, ""},
		{"nothing", nil, bad, "unauthenticated"},
		{"the public half alone", []string{"X-Api-Key", publicHalf}, bad, ""},
		{"the secret half alone", []string{"X-Api-Secret", secretHalf}, bad, ""},
		{"an empty secret half", []string{"X-Api-Key", publicHalf, "X-Api-Secret", ""}, bad, ""},
		{"an empty public half", []string{"X-Api-Key", "", "X-Api-Secret", secretHalf}, bad, ""},
		{"a whole key in one header", []string{"X-Api-Key", whole}, bad, ""},
		{"a whole key in one header, the other empty", []string{"X-Api-Key", whole, "X-Api-Secret", ""}, bad, ""},
		{"a whole key in the other header", []string{"X-Api-Key", "", "X-Api-Secret", whole}, bad, ""},
		{"a whole key in the other header alone", []string{"X-Api-Secret", whole}, bad, ""},
		{"cut in another place", []string{"X-Api-Key", "aurora", "X-Api-Secret", strings.TrimPrefix(whole, "aurora_")}, bad, ""},
		{"cut in another place still", []string{"X-Api-Key", "aurora_key", "X-Api-Secret", strings.TrimPrefix(whole, "aurora_key_")}, bad, ""},
		{"a token with a secret half", []string{"Authorization", "Bearer a.b.c", "X-Api-Secret", secretHalf}, bad, ""},
		{"the public half twice", []string{"X-Api-Key", publicHalf, "X-Api-Key", publicHalf, "X-Api-Secret", secretHalf}, bad, "two_credentials"},
		{"the secret half twice", []string{"X-Api-Key", publicHalf, "X-Api-Secret", secretHalf, "X-Api-Secret", secretHalf}, bad, "two_credentials"},
		{"a key and a token", []string{"X-Api-Key", publicHalf, "X-Api-Secret", secretHalf, "Authorization", "Bearer a.b.c"}, bad, "two_credentials"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := HeaderCredential(withHeaders(t, c.headers), app)
			if identity.CodeOf(err) != c.code || (err == nil) != (c.code == "") {
				t.Fatalf("%v, want %q", err, c.code)
			}
			if c.want != bad && got != c.want {
				t.Error("it is read as something else")
			}
			if c.want == bad && (got == key || err == nil && got.Carrier != broker.APIKey && got != broker.NewCredential(broker.Bearer, whole)) {
				t.Errorf("it is read as a credential that travelled as %d", got.Carrier)
			}
		})
	}
	t.Run("a whole key as bearer is no key", func(t *testing.T) {
		got, err := HeaderCredential(withHeaders(t, []string{"Authorization", "Bearer " + whole}), app)
		if err != nil || got.Carrier == broker.APIKey {
			t.Errorf("it travelled as %d, %v", got.Carrier, err)
		}
	})
}

func TestKEY03_ASecretHeaderCountsOnlyWhereTheProfileHasIt(t *testing.T) {
	app := &broker.Application{ID: "app", Profile: &broker.Profile{KeyHeaders: []string{"X-Api-Key"}}}
	got, err := HeaderCredential(withHeaders(t, []string{"X-Api-Key", publicHalf, "X-Api-Secret", secretHalf}), app)
	if err != nil || got != broker.NewCredential(broker.APIKey, publicHalf) {
		t.Errorf("it is read otherwise: %v", err)
	}
	if _, err := HeaderCredential(withHeaders(t, []string{"X-Api-Secret", secretHalf}), app); !errors.Is(err, ErrNoCredential) {
		t.Errorf("a header of somebody else's is a credential: %v", err)
	}
	app.Profile.KeySecretHeader = "X-Api-Secret" // Authorization is not among its headers
	_, err = HeaderCredential(withHeaders(t, []string{"Authorization", "Bearer " + publicHalf, "X-Api-Secret", secretHalf}), app)
	if identity.CodeOf(err) != "two_credentials" {
		t.Errorf("a bearer and half a key: %v", err)
	}
}

func withHeaders(t testing.TB, headers []string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}
