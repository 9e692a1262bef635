package jws_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/tokens/jws"
)

func nest(depth int) string {
	return strings.Repeat(`{"a":`, depth-1) + `{}` + strings.Repeat(`}`, depth-1)
}

// many returns an object of n names, the last of which is the first one again if asked.
func many(n int, again bool) string {
	var b strings.Builder
	b.WriteString(`{`)
	for i := range n {
		b.WriteString(`"n` + strings.Repeat("x", i) + `":0,`)
	}
	if again {
		return b.String() + `"n":0}`
	}
	return b.String() + `"last":0}`
}

func TestStrictObjectTakesOnlyOneReading(t *testing.T) {
	for name, c := range map[string]struct {
		in string
		ok bool
	}{
		"an empty object":                     {`{}`, true},
		"space around everything":             {" {\t\"a\" :\n1 , \"b\":[ ] }\r\n", true},
		"every kind of value":                 {`{"a":[1,-0.5e+3,true,false,null,"x",{}]}`, true},
		"escapes and a surrogate pair":        {`{"a":"\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00ü"}`, true},
		"one name in two objects":             {`{"a":{"x":1},"b":{"x":1}}`, true},
		"names that differ in case":           {`{"a":1,"A":2}`, true},
		"forty names":                         {many(40, false), true},
		"the greatest depth":                  {nest(jws.MaxDepth), true},
		"one level too deep":                  {nest(jws.MaxDepth + 1), false},
		"lists too deep":                      {`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, false},
		"nothing":                             {``, false},
		"a list":                              {`[]`, false},
		"a string":                            {`"a"`, false},
		"null":                                {`null`, false},
		"a byte order mark":                   {"\ufeff{}", false},
		"a duplicate name":                    {`{"a":1,"a":1}`, false},
		"a duplicate name spelled by escapes": {`{"a":1,"\u0061":2}`, false},
		"a duplicate name deep inside":        {`{"a":[{"b":{"c":1,"c":2}}]}`, false},
		"a duplicate among forty names":       {many(40, true), false},
		"a second object":                     {`{}{}`, false},
		"a trailing letter":                   {`{} x`, false},
		"a trailing NUL":                      {"{}\x00", false},
		"an unfinished object":                {`{"a":1`, false},
		"a trailing comma":                    {`{"a":1,}`, false},
		"a trailing comma in a list":          {`{"a":[1,]}`, false},
		"a missing colon":                     {`{"a" 1}`, false},
		"a name without quotes":               {`{a:1}`, false},
		"single quotes":                       {`{'a':1}`, false},
		"a comment":                           {`{/**/}`, false},
		"a leading zero":                      {`{"a":01}`, false},
		"a bare minus":                        {`{"a":-}`, false},
		"a plus sign":                         {`{"a":+1}`, false},
		"a point without digits":              {`{"a":1.}`, false},
		"an exponent without digits":          {`{"a":1e}`, false},
		"NaN":                                 {`{"a":NaN}`, false},
		"a word in capitals":                  {`{"a":True}`, false},
		"half a word":                         {`{"a":nul`, false},
		"invalid UTF-8":                       {"{\"a\":\"\xff\"}", false},
		"an overlong UTF-8 form":              {"{\"a\":\"\xc0\xaf\"}", false},
		"a surrogate in UTF-8":                {"{\"a\":\"\xed\xa0\x80\"}", false},
		"a lone high surrogate":               {`{"a":"\ud800"}`, false},
		"a high surrogate before a letter":    {`{"a":"\ud800\u0061"}`, false},
		"a high surrogate before a newline":   {`{"a":"\ud800\n"}`, false},
		"a lone low surrogate":                {`{"a":"\udc00"}`, false},
		"an escaped NUL":                      {`{"a":"\u0000"}`, false},
		"a control character":                 {"{\"a\":\"\n\"}", false},
		"an unknown escape":                   {`{"a":"\x41"}`, false},
		"a short escape":                      {`{"a":"\u12"}`, false},
		"an unfinished string":                {`{"a":"`, false},
		"an unfinished escape at the end of the message": {`{"a":"\`, false},
	} {
		t.Run(name, func(t *testing.T) {
			var into map[string]any
			err := jws.StrictObject([]byte(c.in), &into)
			if c.ok != (err == nil) {
				t.Fatalf("error %v, want accepted: %v", err, c.ok)
			}
			if err != nil && !errors.Is(err, jws.ErrMalformed) {
				t.Errorf("%v is not ErrMalformed", err)
			}
		})
	}
}

func TestStrictObjectMatchesNamesExactly(t *testing.T) {
	var got struct {
		Exp   int             `json:"exp"`
		Email string          `json:"email"`
		Raw   json.RawMessage `json:"raw"`
	}
	if err := jws.StrictObject([]byte(`{"Exp":1,"EMAIL":"x","raw":{"k":[1]}}`), &got); err != nil {
		t.Fatal(err)
	}
	if got.Exp != 0 || got.Email != "" || string(got.Raw) != `{"k":[1]}` {
		t.Errorf("got %+v", got)
	}
	if err := jws.StrictObject([]byte(`{"email":7}`), &got); !errors.Is(err, jws.ErrMalformed) {
		t.Errorf("a wrong type gave %v", err)
	}
}

func TestCheckJSONTakesAnyOneValue(t *testing.T) {
	for in, ok := range map[string]bool{`1`: true, ` "a" `: true, `[{"a":1}]`: true, `1 2`: false, `[{"a":1,"a":1}]`: false} {
		if err := jws.CheckJSON([]byte(in)); ok != (err == nil) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestClaimsHaveTypes(t *testing.T) {
	c, err := jws.ParseClaims([]byte(`{"s":"a\u00e4","one":"x","list":["x","y"],"yes":true,"text":"true","null":null,
		"n":1767323045,"half":1.5,"exp":1e9,"neg":-1,"far":100000000000,"mixed":["a",1],"fine":1.0000000001}`))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := c.String("s")
	one, _ := c.Strings("one")
	list, _ := c.Strings("list")
	yes, _ := c.Bool("yes")
	n, _ := c.Time("n")
	half, _ := c.Time("half")
	got := []any{text, one, list, yes, n, half, c.Has("null"), c.Has("S")}
	want := []any{
		"aä", []string{"x"}, []string{"x", "y"}, true, time.Unix(1767323045, 0).UTC(), time.Unix(1, 5e8).UTC(), true, false,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, get := range map[string]func() error{
		"a number as string":       func() error { _, err := c.String("n"); return err },
		"null as string":           func() error { _, err := c.String("null"); return err },
		"null as list":             func() error { _, err := c.Strings("null"); return err },
		"a number in a list":       func() error { _, err := c.Strings("mixed"); return err },
		"the string true":          func() error { _, err := c.Bool("text"); return err },
		"null as boolean":          func() error { _, err := c.Bool("null"); return err },
		"a string as time":         func() error { _, err := c.Time("s"); return err },
		"an exponent in a time":    func() error { _, err := c.Time("exp"); return err },
		"a negative time":          func() error { _, err := c.Time("neg"); return err },
		"a time in the year 5138":  func() error { _, err := c.Time("far"); return err },
		"a time below nanoseconds": func() error { _, err := c.Time("fine"); return err },
	} {
		if err := get(); !errors.Is(err, jws.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s, err := c.String("absent"); s != "" || err != nil {
		t.Errorf("an absent claim gave %q, %v", s, err)
	}
	if at, err := c.Time("absent"); !at.IsZero() || err != nil {
		t.Errorf("an absent time gave %v, %v", at, err)
	}
}

func FuzzStrictObject(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1,"a":2}`, `{"a":"\ud83d\ude00"}`, `{"\u0061":[1e5,{"b":null}]}`, nest(33), many(30, true), "{\"a\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		claims, err := jws.ParseClaims(data)
		if err != nil {
			if !errors.Is(err, jws.ErrMalformed) {
				t.Fatalf("%v is not ErrMalformed", err)
			}
			return
		}
		// What we accept every reader accepts, and reads alike.
		var theirs map[string]json.RawMessage
		if err := json.Unmarshal(data, &theirs); err != nil {
			t.Fatalf("encoding/json refuses: %v", err)
		}
		if diff := cmp.Diff(map[string]json.RawMessage(claims), theirs); diff != "" {
			t.Fatal(diff)
		}
		var ours map[string]any
		if err := jws.StrictObject(data, &ours); err != nil && json.Unmarshal(data, &ours) == nil {
			t.Fatalf("checked but not decoded: %v", err)
		}
	})
}
