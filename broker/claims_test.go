package broker_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/broker"
)

func TestAnApplicationsClaimsAreSpelledAsItWants(t *testing.T) {
	for _, c := range []struct {
		name  string
		claim broker.Claim
		want  any
	}{
		{"a list", broker.Claim{Source: "roles", Shape: "list"}, []any{"operator", "viewer"}},
		{"a list of none that it may see", broker.Claim{Source: "roles", Shape: "list", Only: []string{"auditor"}}, []any{}},
		{"a comma list", broker.Claim{Source: "roles", Shape: "comma"}, "operator,viewer"},
		{"a list by spaces", broker.Claim{Source: "roles", Shape: "space"}, "operator viewer"},
		{"one of several, by the alphabet", broker.Claim{Source: "roles", Shape: "string"}, "operator"},
		{"one of several, by preference", broker.Claim{Source: "roles", Shape: "string", Prefer: []string{"admin", "viewer", "operator"}}, "viewer"},
		{"one that is renamed", broker.Claim{Source: "roles", Shape: "string", Rename: map[string]string{"operator": "Operations"}}, "Operations"},
		{"renamed in a list", broker.Claim{Source: "roles", Shape: "list", Rename: map[string]string{"viewer": "read"}}, []any{"operator", "read"}},
		{"only some", broker.Claim{Source: "roles", Shape: "comma", Only: []string{"viewer", "admin"}}, "viewer"},
		{"none of them as a string", broker.Claim{Source: "roles", Shape: "string", Only: []string{"auditor"}}, nil},
		{"permissions the other way round", broker.Claim{Source: "permissions", Shape: "list", Template: "{action}:{resource}"}, []any{"read:hosts", "write:hosts"}},
		{"a template around a value", broker.Claim{Source: "username", Template: "user/{value}"}, "user/ada"},
		{"the name", broker.Claim{Source: "name"}, "ADA"},
		{"nothing to say", broker.Claim{Source: "email"}, nil},
		{"nothing to say in a template", broker.Claim{Source: "email", Template: "mailto:{value}"}, nil},
		{"the provider", broker.Claim{Source: "provider"}, "local"},
		{"a fixed value", broker.Claim{Value: "acme"}, "acme"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.claim.Name = "claim"
			h := newHouse(t, func(s *settings) {
				for _, a := range s.apps {
					a.Claims = []broker.Claim{c.claim}
				}
			})
			h.addPerson("ada", "operators")
			out := h.signInAs(h.atAPI("open"), "", "ada")
			if got := claimsOf(t, h.token(out, "open"))["claim"]; !cmp.Equal(got, c.want) {
				t.Errorf("%s", cmp.Diff(c.want, got))
			}
		})
	}
}

func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}
