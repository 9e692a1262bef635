package storage_test

import (
	"bytes"
	"errors"
	"testing"

	"sallyport/identity"
	"sallyport/storage"
)

func TestSTO02_ASealedValueOpensInItsOwnPlaceOnly(t *testing.T) {
	s := sealer(t, newKey(t))
	home := storage.Place{Table: "identities", Row: []string{"corp", "a/b"}, Column: "upstream"}
	sealed, err := s.Seal([]byte("secret"), home)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Open(sealed, home); err != nil || string(got) != "secret" {
		t.Fatalf("at home: got %q, %v", got, err)
	}
	for name, elsewhere := range map[string]storage.Place{
		"another table":              {Table: "settings", Row: home.Row, Column: home.Column},
		"another row":                {Table: home.Table, Row: []string{"corp", "a/c"}, Column: home.Column},
		"another column":             {Table: home.Table, Row: home.Row, Column: "value"},
		"parts cut elsewhere":        {Table: home.Table, Row: []string{"corp/a", "b"}, Column: home.Column},
		"more parts, same spelling":  {Table: home.Table, Row: []string{"corp", "a", "b"}, Column: home.Column},
		"an escape spelled out":      {Table: home.Table, Row: []string{"corp", "a%2Fb"}, Column: home.Column},
		"the row moved to the table": {Table: home.Table + "/corp", Row: []string{"a/b"}, Column: home.Column + "x"},
	} {
		if _, err := s.Open(sealed, elsewhere); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestSTO02_AChangedValueAndAWrongKeyOpenNothing(t *testing.T) {
	s := sealer(t, newKey(t))
	sealed := seal(t, newKey(t), "secret")
	if _, err := s.Open(sealed, here); !errors.Is(err, identity.ErrInvalid) {
		t.Fatalf("wrong key: got %v", err)
	}
	mine, err := s.Seal([]byte("secret"), here)
	if err != nil {
		t.Fatal(err)
	}
	for i := range mine {
		changed := bytes.Clone(mine)
		changed[i] ^= 1
		if _, err := s.Open(changed, here); !errors.Is(err, identity.ErrInvalid) {
			t.Fatalf("byte %d changed: got %v", i, err)
		}
	}
	for _, short := range [][]byte{nil, {}, mine[:5], mine[:len(mine)-1]} {
		if _, err := s.Open(short, here); !errors.Is(err, identity.ErrInvalid) {
			t.Fatalf("%d bytes: got %v", len(short), err)
		}
	}
}

func TestSealingTwiceGivesDifferentValues(t *testing.T) {
	key := newKey(t)
	if bytes.Equal(seal(t, key, "secret"), seal(t, key, "secret")) {
		t.Fatal("equal secrets can be told from their ciphertexts")
	}
}

func TestNoKeySealsNothing(t *testing.T) {
	for _, key := range []*storage.MasterKey{nil, {}} {
		if _, err := storage.NewSealer(key); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("sealer: got %v", err)
		}
		if _, err := key.Encode(); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("encode: got %v", err)
		}
	}
}

func TestSTO04_AHashEqualsItsOwnSecretOnly(t *testing.T) {
	h := storage.Hash("secret")
	if !h.Equal(storage.Hash("secret").Bytes()) {
		t.Fatal("not equal to itself")
	}
	for _, other := range [][]byte{nil, {}, []byte("secret"), h.Bytes()[:31], storage.Hash("Secret").Bytes()} {
		if h.Equal(other) {
			t.Errorf("equal to %x", other)
		}
	}
}
