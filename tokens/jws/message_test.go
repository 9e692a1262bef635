package jws_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/tokens/jws"
)

func TestParseReadsACompactMessage(t *testing.T) {
	raw := newEd25519(t).compact(t, `{"alg":"EdDSA","kid":"k1","typ":"JWT","jku":"https://evil.example/","x":1}`, `{"sub":"a"}`)
	m := mustParse(t, raw)
	if diff := cmp.Diff(jws.Header{Algorithm: "EdDSA", KeyID: "k1", Type: "JWT"}, m.Header); diff != "" {
		t.Error(diff)
	}
	c, err := m.Claims()
	if err != nil {
		t.Fatal(err)
	}
	if sub, _ := c.String("sub"); sub != "a" || string(m.Payload) != `{"sub":"a"}` {
		t.Errorf("payload %s", m.Payload)
	}
}

func TestParseRefuses(t *testing.T) {
	const header, payload = `{"alg":"EdDSA"}`, `{"a":1}`
	s := newEd25519(t)
	good := s.compact(t, header, payload)
	h, rest, _ := strings.Cut(good, ".")
	p, sig, _ := strings.Cut(rest, ".")
	last := sig[len(sig)-1]
	// 64 bytes leave four spare bits in the last letter.
	spare := sig[:len(sig)-1] + string(last+1)
	for name, raw := range map[string]string{
		"nothing":                         "",
		"two parts":                       h + "." + p,
		"four parts":                      good + ".AA",
		"five parts, as in JWE":           good + ".AA.AA",
		"an empty signature":              h + "." + p + ".",
		"an empty payload":                h + ".." + sig,
		"an empty header":                 "." + p + "." + sig,
		"trailing bytes":                  good + "!",
		"a trailing line end":             good + "\n",
		"a line end inside":               h + "." + p[:4] + "\r\n" + p[4:] + "." + sig,
		"a leading space":                 " " + good,
		"padding":                         good + "==",
		"spare bits":                      h + "." + p + "." + spare,
		"the other base64 alphabet":       h + "." + base64.RawStdEncoding.EncodeToString([]byte(`{"a":"ü>?>?>?"}`)) + "." + sig,
		"a bearer prefix":                 "Bearer " + good,
		"a JSON serialisation":            `{"payload":"` + p + `","signatures":[{"protected":"` + h + `","signature":"` + sig + `"}]}`,
		"a huge message":                  h + "." + strings.Repeat("A", jws.MaxMessage) + "." + sig,
		"a header that is a list":         s.compact(t, `["alg"]`, payload),
		"no alg":                          s.compact(t, `{}`, payload),
		"an empty alg":                    s.compact(t, `{"alg":""}`, payload),
		"a number as alg":                 s.compact(t, `{"alg":1}`, payload),
		"null as alg":                     s.compact(t, `{"alg":null}`, payload),
		"two alg":                         s.compact(t, `{"alg":"EdDSA","alg":"none"}`, payload),
		"two alg, one spelled by escapes": s.compact(t, `{"alg":"EdDSA","\u0061lg":"none"}`, payload),
		"alg in another case beside":      s.compact(t, `{"alg":"EdDSA","Alg":"none"}`, payload),
		"alg in another case":             s.compact(t, `{"ALG":"EdDSA"}`, payload),
		"kid with a Kelvin sign":          s.compact(t, `{"alg":"EdDSA","\u212aid":"x"}`, payload),
		"crit":                            s.compact(t, `{"alg":"EdDSA","crit":["exp"],"exp":1}`, payload),
		"an empty crit":                   s.compact(t, `{"alg":"EdDSA","crit":[]}`, payload),
		"b64 false":                       s.compact(t, `{"alg":"EdDSA","b64":false}`, payload),
		"b64 true":                        s.compact(t, `{"alg":"EdDSA","b64":true}`, payload),
		"a number as kid":                 s.compact(t, `{"alg":"EdDSA","kid":7}`, payload),
		"an empty kid":                    s.compact(t, `{"alg":"EdDSA","kid":""}`, payload),
		"a list as typ":                   s.compact(t, `{"alg":"EdDSA","typ":["JWT"]}`, payload),
		"a payload that is a string":      s.compact(t, header, `"a"`),
		"a payload that is a token":       s.compact(t, `{"alg":"EdDSA","cty":"JWT"}`, good),
		"a duplicate claim":               s.compact(t, header, `{"sub":"a","sub":"b"}`),
		"a duplicate claim deep inside":   s.compact(t, header, `{"a":[{"b":1,"b":2}]}`),
		"a payload with trailing data":    s.compact(t, header, `{} {}`),
		"a payload in invalid UTF-8":      s.compact(t, header, "{\"sub\":\"\xff\"}"),
		"a payload nested too deeply":     s.compact(t, header, nest(jws.MaxDepth+1)),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := jws.Parse(raw); !errors.Is(err, jws.ErrMalformed) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDigestIsThatOfWhatWasSigned(t *testing.T) {
	s := newEd25519(t)
	a := mustParse(t, s.compact(t, `{"alg":"EdDSA"}`, `{"a":1}`))
	b := mustParse(t, newEd25519(t).compact(t, `{"alg":"EdDSA"}`, `{"a":1}`))
	c := mustParse(t, s.compact(t, `{"alg":"EdDSA"}`, `{"a":2}`))
	if a.Digest() != b.Digest() || a.Digest() == c.Digest() {
		t.Error("the digest depends on the signature, or not on the payload")
	}
}

func FuzzParse(f *testing.F) {
	s := newEd25519(f)
	good := s.compact(f, `{"alg":"EdDSA","kid":"k"}`, `{"sub":"a"}`)
	set := mustSet(f, jws.Key{ID: "k", Public: s.public})
	for _, raw := range []string{good, good + "=", b64(`{"alg":"none"}`) + "." + b64(`{}`) + ".", "a.b.c", "..", strings.ToUpper(good)} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		m, err := jws.Parse(raw)
		if err != nil {
			if !errors.Is(err, jws.ErrMalformed) {
				t.Fatalf("%v is not ErrMalformed", err)
			}
			return
		}
		parts := strings.Split(raw, ".")
		if len(parts) != 3 || base64.RawURLEncoding.EncodeToString(m.Payload) != parts[1] ||
			base64.RawURLEncoding.EncodeToString(m.Signature()) != parts[2] {
			t.Fatal("a second spelling was accepted")
		}
		if m.Header.Algorithm == "" {
			t.Fatal("no algorithm")
		}
		if _, err := set.Verify(m, jws.Asymmetric()...); err == nil && raw != good {
			t.Fatal("another message verifies")
		}
	})
}
