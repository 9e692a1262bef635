package oidc

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/tokens/jws"
)

func TestFlattenClaims(t *testing.T) {
	tests := map[string]struct {
		json string
		want map[string][]string
		err  error
	}{
		"scalars of every kind": {
			`{"s":"x","n":1.50,"t":true,"f":false}`,
			map[string][]string{"s": {"x"}, "n": {"1.50"}, "t": {"true"}, "f": {"false"}},
			nil,
		},
		"nulls and empty lists are left out":  {`{"a":null,"b":[],"c":{}}`, map[string][]string{}, nil},
		"lists of scalars":                    {`{"l":["x",1, true ]}`, map[string][]string{"l": {"x", "1", "true"}}, nil},
		"lists of anything else are left out": {`{"l":[{"a":1}],"m":[["x"]],"n":["x",null]}`, map[string][]string{}, nil},
		"nested objects are dotted paths": {
			`{"a":{"b":{"c":"x"},"d":"y"}}`, map[string][]string{"a.b.c": {"x"}, "a.d": {"y"}}, nil,
		},
		"escapes are read": {`{"a\u002eb":"\u0041"}`, map[string][]string{"a.b": {"A"}}, nil},
		"the protocol's own are left out": {
			`{"iss":"x","nonce":"x","at_hash":"x","sid":"x","_claim_names":{"a":"b"},"acr":"1"}`,
			map[string][]string{"acr": {"1"}},
			nil,
		},
		"but not inside":                    {`{"a":{"nonce":"x"}}`, map[string][]string{"a.nonce": {"x"}}, nil},
		"a dotted name beside a nested one": {`{"a.b":"x","a":{"b":"y"}}`, nil, errClaimAmbiguous},
		"a collision with a null":           {`{"a.b":"x","a":{"b":null}}`, nil, errClaimAmbiguous},
		"a collision further down":          {`{"a":{"b.c":1,"b":{"c":2}}}`, nil, errClaimAmbiguous},
		"a collision with an empty name":    {`{"a.":1,"a":{"":2}}`, nil, errClaimAmbiguous},
		"too deep": {
			strings.Repeat(`{"a":`, 9) + `1` + strings.Repeat(`}`, 9), nil, errClaimsTooMany,
		},
		"too many values": {
			`{"l":[` + strings.Repeat(`1,`, maxClaimValues) + `1]}`, nil, errClaimsTooMany,
		},
		"too many bytes": {
			`{"l":"` + strings.Repeat(`x`, maxClaimBytes) + `"}`, nil, errClaimsTooMany,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			claims, err := jws.ParseClaims([]byte(test.json))
			if err != nil {
				t.Fatal(err)
			}
			got, err := flattenClaims(claims)
			if !errors.Is(err, test.err) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if diff := cmp.Diff(test.want, got); test.err == nil && diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestClaimsPastTheirBoundsAreRefusedNotCut(t *testing.T) {
	f := newFake(t)
	f.info = map[string]any{"sub": "u-alice"}
	for i := range maxClaimValues {
		f.info[fmt.Sprintf("claim-%d", i)] = true
	}
	_, err := f.signIn(f.open(nil), nil)
	if !errors.Is(err, errClaimsTooMany) {
		t.Errorf("error %v", err)
	}
}

// FuzzFlattenClaims: whatever the claims, the result is bounded, and what is found at a path is what a rule would see.
func FuzzFlattenClaims(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":{"b":[1,true,"x"]}}`, `{"a.b":1,"a":{"b":2}}`, `{"groups":["x"],"iss":"y"}`, `{"a":[[1]],"b":null}`,
		`{"a":{"":{"":1}},"a..":2}`, `{"a":{"":{}},"a.":0}`, `{"https://contoso.com/roles":["r"]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		claims, err := jws.ParseClaims(data)
		if err != nil {
			t.Skip()
		}
		flat, err := flattenClaims(claims)
		if err != nil {
			return
		}
		values, size := 0, 0
		for path, texts := range flat {
			if len(texts) == 0 {
				t.Fatalf("%q has no values", path)
			}
			for _, text := range texts {
				values, size = values+1, size+len(text)
			}
			raw, err := lookUp(claims, path)
			if err != nil || raw == nil {
				t.Fatalf("%q is flattened, but looked up as %q, %v", path, raw, err)
			}
			if again, ok := scalars(raw); !ok || !cmp.Equal(again, texts) {
				t.Fatalf("%q is flattened to %q and looked up as %q", path, texts, again)
			}
		}
		if values > maxClaimValues || size > maxClaimBytes {
			t.Fatalf("%d values of %d bytes", values, size)
		}
	})
}
