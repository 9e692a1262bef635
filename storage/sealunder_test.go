package storage

import (
	"bytes"
	"errors"
	"testing"

	"sallyport/identity"
)

const bearerSecret = "srt_0123456789abcdefghijklmnopqrstuvwxyzABCDEF"

func TestSTO01_ASecretOfItsHolderSealsAndOpensAValue(t *testing.T) {
	t.Parallel()
	at := Place{Table: "refresh_tokens", Row: []string{"r1"}, Column: "answer_sealed"}
	for name, plain := range map[string][]byte{"a value": []byte("the answer"), "an empty value": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, err := SealUnder(bearerSecret, plain, at)
			if err != nil {
				t.Fatal(err)
			}
			second, err := SealUnder(bearerSecret, plain, at)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(first, second) {
				t.Error("two seals of one value are equal: a nonce came twice")
			}
			if got, err := OpenUnder(bearerSecret, first, at); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("OpenUnder = %q, %v, want %q", got, err, plain)
			}
		})
	}
}

func TestSTO01_AValueSealedUnderASecretOpensNowhereElse(t *testing.T) {
	t.Parallel()
	at := Place{Table: "refresh_tokens", Row: []string{"r1"}, Column: "answer_sealed"}
	sealed, err := SealUnder(bearerSecret, []byte("the answer"), at)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("the answer")) {
		t.Fatal("the value stands in its ciphertext")
	}
	changed := bytes.Clone(sealed)
	changed[len(changed)-1] ^= 1
	for name, tc := range map[string]struct {
		secret string
		sealed []byte
		at     Place
	}{
		"with another secret":   {bearerSecret + "x", sealed, at},
		"with a short secret":   {"password", sealed, at},
		"without a secret":      {"", sealed, at},
		"in another row":        {bearerSecret, sealed, Place{Table: at.Table, Row: []string{"r2"}, Column: at.Column}},
		"in another table":      {bearerSecret, sealed, Place{Table: "codes", Row: at.Row, Column: at.Column}},
		"with a changed byte":   {bearerSecret, changed, at},
		"cut off":               {bearerSecret, sealed[:len(sealed)-1], at},
		"shorter than a nonce":  {bearerSecret, sealed[:5], at},
		"with nothing to open":  {bearerSecret, nil, at},
		"with bytes behind it":  {bearerSecret, append(bytes.Clone(sealed), 0), at},
		"with the parts joined": {bearerSecret, sealed, Place{Table: "refresh_tokens/r1", Column: at.Column + "/"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := OpenUnder(tc.secret, tc.sealed, tc.at); !errors.Is(err, identity.ErrInvalid) {
				t.Errorf("OpenUnder: %v, want identity.ErrInvalid", err)
			}
		})
	}
}

func TestSTO01_AShortSecretSealsNothing(t *testing.T) {
	t.Parallel()
	_, err := SealUnder("correct horse battery", []byte("x"), Place{Table: "t", Row: []string{"1"}, Column: "c"})
	if !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("SealUnder: %v, want identity.ErrInvalid", err)
	}
}
