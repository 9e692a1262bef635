package storage_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"sallyport/identity"
	"sallyport/storage"
)

var here = storage.Place{Table: "t", Row: []string{"r"}, Column: "c"}

func TestSTO01_AGeneratedKeyIsOursAloneAndLoads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "master.key")
	made, err := storage.GenerateMasterKey(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if got := mode(t, name); got != want {
			t.Errorf("%s has mode %04o, want %04o", name, got, want)
		}
	}
	loaded, err := storage.LoadMasterKey(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed := seal(t, made, "secret")
	if got, err := sealer(t, loaded).Open(sealed, here); err != nil || string(got) != "secret" {
		t.Fatalf("got %q, %v", got, err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Fatalf("files left beside the key: %v, %v", left, err)
	}
}

func TestSTO01_AKeyFileOpenToOthersIsRefused(t *testing.T) {
	for _, bits := range []fs.FileMode{0o644, 0o640, 0o620, 0o610, 0o604, 0o602, 0o601} {
		t.Run(fmt.Sprintf("%04o", bits), func(t *testing.T) {
			path := generated(t)
			if err := os.Chmod(path, bits); err != nil {
				t.Fatal(err)
			}
			if _, err := storage.LoadMasterKey(path); !errors.Is(err, identity.ErrDenied) {
				t.Fatalf("got %v, want denied", err)
			}
			// Neither is it replaced by a new one.
			if _, err := storage.LoadOrCreateMasterKey(path, true); !errors.Is(err, identity.ErrDenied) {
				t.Fatalf("got %v, want denied", err)
			}
		})
	}
}

func TestSTO01_AnExistingKeyIsNeverReplaced(t *testing.T) {
	path := generated(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storage.GenerateMasterKey(path); !errors.Is(err, identity.ErrConflict) {
		t.Fatalf("got %v, want conflict", err)
	}
	if _, err := storage.LoadOrCreateMasterKey(path, true); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Fatalf("the key changed (%v)", err)
	}
}

func TestSTO01_AMissingKeyIsMadeForAnEmptyStoreOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	if _, err := storage.LoadMasterKey(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("load: got %v", err)
	}
	if _, err := storage.LoadOrCreateMasterKey(path, false); !errors.Is(err, identity.ErrNotFound) {
		t.Fatalf("store with data: got %v, want not found", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a key was made for a store with data (%v)", err)
	}
	if _, err := storage.LoadOrCreateMasterKey(path, true); err != nil {
		t.Fatal(err)
	}
}

func TestSTO01_ProcessesThatStartTogetherShareOneKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	encoded := make([]string, 16)
	var wg sync.WaitGroup
	for i := range encoded {
		wg.Go(func() {
			key, err := storage.LoadOrCreateMasterKey(path, true)
			if err == nil {
				encoded[i], err = key.Encode()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, e := range encoded {
		if e != encoded[0] {
			t.Fatal("two keys were made")
		}
	}
}

func TestMasterKeyForms(t *testing.T) {
	whole := encoded(t, newKey(t))
	raw, err := base64.StdEncoding.DecodeString(whole)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"JSON":                          {whole, nil},
		"JSON between white space":      {"\n " + whole + "\r\n", nil},
		"binary":                        {binaryForm(t, aead.AES256GCMKeyTemplate()), nil},
		"empty":                         {"", identity.ErrInvalid},
		"not base64":                    {"%%%", identity.ErrInvalid},
		"the keyset without base64":     {string(raw), identity.ErrInvalid},
		"cut off":                       {base64Of(string(raw[:len(raw)/2])), identity.ErrInvalid},
		"32 random bytes":               {base64Of(strings.Repeat("\x07", 32)), identity.ErrInvalid},
		"AES-128-GCM":                   {binaryForm(t, aead.AES128GCMKeyTemplate()), identity.ErrInvalid},
		"AES-256-GCM without a key id":  {binaryForm(t, aead.AES256GCMNoPrefixKeyTemplate()), identity.ErrInvalid},
		"another cipher":                {binaryForm(t, aead.ChaCha20Poly1305KeyTemplate()), identity.ErrInvalid},
		"a key that does not seal":      {binaryForm(t, mac.HMACSHA256Tag256KeyTemplate()), identity.ErrInvalid},
		"a keyset without keys":         {base64Of(`{"primaryKeyId":1,"key":[]}`), identity.ErrInvalid},
		"JSON that is no keyset at all": {base64Of(`{"a":1}`), identity.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := storage.ParseMasterKey(c.text)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err != nil && len(c.text) > 3 && strings.Contains(err.Error(), c.text[:4]) {
				t.Fatalf("the error shows the value: %v", err)
			}
			if err == nil {
				seal(t, key, "x")
			}
		})
	}
}

func TestSTO02_ARotatedKeysetOpensWhatTheOldKeySealed(t *testing.T) {
	manager := keyset.NewManager()
	first, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	rotate := func(id uint32) *storage.MasterKey {
		if err := manager.SetPrimary(id); err != nil {
			t.Fatal(err)
		}
		handle, err := manager.Handle()
		if err != nil {
			t.Fatal(err)
		}
		key, err := storage.ParseMasterKey(binaryOf(t, handle))
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	old := rotate(first)
	second, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	rotated := rotate(second)
	if _, err := sealer(t, rotated).Open(seal(t, old, "secret"), here); err != nil {
		t.Fatal(err)
	}
	if _, err := sealer(t, old).Open(seal(t, rotated, "secret"), here); err == nil {
		t.Fatal("the rotated keyset still seals with the old key")
	}
}

func TestLoadMasterKeyRefusesWhatIsNoKeyFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, bytes.Repeat([]byte("A"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"a folder": dir, "a file of a megabyte": big} {
		if _, err := storage.LoadMasterKey(path); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestMasterKeyAndHashNeverPrint(t *testing.T) {
	key := newKey(t)
	for _, v := range []any{key, storage.Hash("secret")} {
		for _, form := range []string{"%v", "%+v", "%s", "%#v"} {
			if got := fmt.Sprintf(form, v); got != "[redacted]" {
				t.Errorf("%T as %s prints %q", v, form, got)
			}
		}
	}
}

func FuzzParseMasterKey(f *testing.F) {
	f.Add(encoded(f, newKey(f)))
	f.Add(binaryForm(f, aead.AES256GCMKeyTemplate()))
	f.Add("e30=")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := storage.ParseMasterKey(text)
		if err != nil {
			if !errors.Is(err, identity.ErrInvalid) {
				t.Fatalf("got %v", err)
			}
			return
		}
		seal(t, key, "x")
	})
}

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func generated(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "master.key")
	if _, err := storage.GenerateMasterKey(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func mode(t testing.TB, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func newKey(t testing.TB) *storage.MasterKey {
	t.Helper()
	key, err := storage.NewMasterKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encoded(t testing.TB, key *storage.MasterKey) string {
	t.Helper()
	e, err := key.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func binaryForm(t testing.TB, template *tinkpb.KeyTemplate) string {
	t.Helper()
	handle, err := keyset.NewHandle(template)
	if err != nil {
		t.Fatal(err)
	}
	return binaryOf(t, handle)
}

func binaryOf(t testing.TB, handle *keyset.Handle) string {
	t.Helper()
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&b)); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func sealer(t testing.TB, key *storage.MasterKey) *storage.Sealer {
	t.Helper()
	s, err := storage.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func seal(t testing.TB, key *storage.MasterKey, plain string) []byte {
	t.Helper()
	sealed, err := sealer(t, key).Seal([]byte(plain), here)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}
