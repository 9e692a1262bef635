package providers

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/tokens/jws"
)

func TestAttributes(t *testing.T) {
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
			`{"iss":"x","nonce":{"a":"x"},"acr":"1"}`,
			map[string][]string{"acr": {"1"}},
			nil,
		},
		"but not inside":                    {`{"a":{"nonce":"x"}}`, map[string][]string{"a.nonce": {"x"}}, nil},
		"a dotted name beside a nested one": {`{"a.b":"x","a":{"b":"y"}}`, nil, ErrClaimAmbiguous},
		"a collision with a null":           {`{"a.b":"x","a":{"b":null}}`, nil, ErrClaimAmbiguous},
		"a collision further down":          {`{"a":{"b.c":1,"b":{"c":2}}}`, nil, ErrClaimAmbiguous},
		"a collision with an empty name":    {`{"a.":1,"a":{"":2}}`, nil, ErrClaimAmbiguous},
		"too deep": {
			strings.Repeat(`{"a":`, 9) + `1` + strings.Repeat(`}`, 9), nil, ErrClaimsTooMany,
		},
		"too many values": {
			`{"l":[` + strings.Repeat(`1,`, MaxClaimValues) + `1]}`, nil, ErrClaimsTooMany,
		},
		"too many bytes": {
			`{"l":"` + strings.Repeat(`x`, MaxClaimBytes) + `"}`, nil, ErrClaimsTooMany,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			claims, err := jws.ParseClaims([]byte(test.json))
			if err != nil {
				t.Fatal(err)
			}
			got, err := Attributes(claims, []string{"iss", "nonce"})
			if !errors.Is(err, test.err) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if diff := cmp.Diff(test.want, got); test.err == nil && diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLookUp(t *testing.T) {
	for name, test := range map[string]struct {
		json, path, want string
		err              error
	}{
		"at the top":                 {`{"a":1}`, "a", "1", nil},
		"inside objects":             {`{"a":{"b":{"c":[1]}}}`, "a.b.c", "[1]", nil},
		"a name with dots":           {`{"https://contoso.com/roles":"r"}`, "https://contoso.com/roles", `"r"`, nil},
		"a name with a colon":        {`{"service:username":"ada"}`, "service:username", `"ada"`, nil},
		"dots inside an object":      {`{"a":{"b.c":1}}`, "a.b.c", "1", nil},
		"nothing":                    {`{"b":1}`, "a", "", nil},
		"a null":                     {`{"a":null}`, "a", "", nil},
		"a null inside":              {`{"a":{"b":null}}`, "a.b", "", nil},
		"through a list":             {`{"a":[{"b":1}]}`, "a.b", "", nil},
		"through a text":             {`{"a":"{\"b\":1}"}`, "a.b", "", nil},
		"an empty path":              {`{"":1}`, "", "1", nil},
		"an empty name inside":       {`{"a":{"":1}}`, "a.", "1", nil},
		"a name and a walk":          {`{"a.b":1,"a":{"b":2}}`, "a.b", "", ErrClaimAmbiguous},
		"two walks":                  {`{"a":{"b.c":1},"a.b":{"c":2}}`, "a.b.c", "", ErrClaimAmbiguous},
		"a name, and a walk to null": {`{"a.b":1,"a":{"b":null}}`, "a.b", "1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			claims, err := jws.ParseClaims([]byte(test.json))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := LookUp(claims, test.path); string(got) != test.want || !errors.Is(err, test.err) {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}

func TestTextAt(t *testing.T) {
	claims := jws.Claims{
		"text": []byte(`"x"`), "number": []byte("1"), "list": []byte(`["CANARY"]`), "null": []byte("null"),
		"most": []byte(`"` + strings.Repeat("x", MaxText) + `"`), "more": []byte(`"` + strings.Repeat("x", MaxText+1) + `"`),
		"a.b": []byte("1"), "a": []byte(`{"b":2}`),
	}
	for path, want := range map[string]string{"text": "x", "null": "", "none": "", "most": strings.Repeat("x", MaxText)} {
		if got, err := TextAt(claims, path); err != nil || got != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	for path, words := range map[string]string{
		"number": `claim "number" is not a string`, "list": `claim "list" is not a string`,
		"more": "longer than 1024 bytes", "a.b": `claim "a.b": two claims`,
	} {
		got, err := TextAt(claims, path)
		if err == nil || got != "" || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}

// FuzzAttributes: whatever the claims, the result is bounded, and what is found at a path is what a rule would see.
func FuzzAttributes(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":{"b":[1,true,"x"]}}`, `{"a.b":1,"a":{"b":2}}`, `{"groups":["x"],"iss":"y"}`, `{"a":[[1]],"b":null}`,
		`{"a":{"":{"":1}},"a..":2}`, `{"a":{"":{}},"a.":0}`, `{"https://contoso.com/roles":["r"]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		claims, err := jws.ParseClaims(data)
		if err != nil {
			return // the strict reader's own affair
		}
		flat, err := Attributes(claims, []string{"iss", "nonce"})
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
			raw, err := LookUp(claims, path)
			if err != nil || raw == nil {
				t.Fatalf("%q is flattened, but looked up as %q, %v", path, raw, err)
			}
			if again, ok := scalars(raw); !ok || !cmp.Equal(again, texts) {
				t.Fatalf("%q is flattened to %q and looked up as %q", path, texts, again)
			}
		}
		if values > MaxClaimValues || size > MaxClaimBytes {
			t.Fatalf("%d values of %d bytes", values, size)
		}
	})
}
