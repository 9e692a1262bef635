package storage

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"sallyport/identity"
)

const (
	keyBytes = 32
	// maxKeyFile bounds what is read: a keyset of hundreds of keys is smaller.
	maxKeyFile = 64 << 10
	openToAll  = 0o077
)

// MasterKey is the keyset that everything sealed in the store is sealed with: the primary key seals, all enabled keys
// open, so that a key can be changed without a stop. It prints as [redacted]. The zero value opens nothing.
type MasterKey struct {
	handle *keyset.Handle
}

// ParseMasterKey reads a master key as it stands in a file or an environment variable: the base64 (standard alphabet,
// white space around it is dropped) of a Tink keyset of AES-256-GCM keys, in Tink's JSON or binary form. Anything else
// is identity.ErrInvalid; the error never shows the value.
func ParseMasterKey(encoded string) (*MasterKey, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil || len(raw) == 0 {
		// The decoder's own error is left out: it tells about bytes of the key.
		return nil, fmt.Errorf("master key is not base64: %w", identity.ErrInvalid)
	}
	var reader keyset.Reader = keyset.NewBinaryReader(bytes.NewReader(raw))
	if raw[0] == '{' {
		reader = keyset.NewJSONReader(bytes.NewReader(raw))
	}
	handle, err := insecurecleartextkeyset.Read(reader)
	if err != nil {
		return nil, fmt.Errorf("master key is not a keyset: %w", identity.ErrInvalid)
	}
	if err := onlyAES256GCM(handle); err != nil {
		return nil, err
	}
	return &MasterKey{handle: handle}, nil
}

// onlyAES256GCM keeps weaker keys out, and keys without an id in front of the ciphertext: without the id nobody could
// tell after a rotation which rows still wait for the new key.
func onlyAES256GCM(handle *keyset.Handle) error {
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return fmt.Errorf("master key entry %d: %w", i, identity.ErrInvalid)
		}
		params, ok := entry.Key().Parameters().(*aesgcm.Parameters)
		if !ok || params.KeySizeInBytes() != keyBytes || params.Variant() != aesgcm.VariantTink {
			return fmt.Errorf("master key entry %d is not a Tink AES-256-GCM key: %w", i, identity.ErrInvalid)
		}
	}
	return nil
}

// LoadMasterKey reads a master key from a file that group and others have no rights to; any such right (mode & 077) is
// identity.ErrDenied, because a key that others could read is no longer ours alone. A missing file is fs.ErrNotExist.
func LoadMasterKey(path string) (*MasterKey, error) {
	raw, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	return parseKeyFile(path, raw)
}

func parseKeyFile(path string, raw []byte) (*MasterKey, error) {
	key, err := ParseMasterKey(string(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	defer func() { _ = f.Close() }()
	// The open file is judged, not the name, which could point elsewhere a moment later.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("master key %s is not a regular file: %w", path, identity.ErrInvalid)
	}
	if mode := info.Mode().Perm(); mode&openToAll != 0 {
		return nil, fmt.Errorf("master key %s is open to others (mode %04o, want 0600): %w", path, mode,
			identity.ErrDenied)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	if len(raw) > maxKeyFile {
		return nil, fmt.Errorf("master key %s is larger than %d bytes: %w", path, maxKeyFile, identity.ErrInvalid)
	}
	return raw, nil
}

// NewMasterKey makes a keyset with one new AES-256-GCM key.
func NewMasterKey() (*MasterKey, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("new master key: %w", err)
	}
	return &MasterKey{handle: handle}, nil
}

// GenerateMasterKey makes a new key and writes it to path with mode 0600, in folders made with mode 0700. The file
// appears whole or not at all. An existing file is never replaced: identity.ErrConflict.
func GenerateMasterKey(path string) (*MasterKey, error) {
	key, err := NewMasterKey()
	if err != nil {
		return nil, err
	}
	encoded, err := key.Encode()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("write master key: %w", err)
	}
	if err := WriteNew(path, func(w io.Writer) error { return writeText(w, encoded) }); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("master key %s exists: %w", path, identity.ErrConflict)
		}
		return nil, fmt.Errorf("write master key: %w", err)
	}
	return key, nil
}

// LoadOrCreateMasterKey loads the key at path. A missing one is generated for an empty store only; with a store that
// holds data the answer is identity.ErrNotFound, since a new key could not open what the lost one sealed.
func LoadOrCreateMasterKey(path string, storeEmpty bool) (*MasterKey, error) {
	key, err := LoadMasterKey(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if !storeEmpty {
		return nil, fmt.Errorf("the store holds data, but its master key %s is missing: %w", path, identity.ErrNotFound)
	}
	key, err = GenerateMasterKey(path)
	if errors.Is(err, identity.ErrConflict) {
		// Another process that started at the same moment was first; its key counts.
		return LoadMasterKey(path)
	}
	return key, err
}

// Encode writes the key in the form that ParseMasterKey reads. The result is the secret itself.
func (k *MasterKey) Encode() (string, error) {
	if k == nil || k.handle == nil {
		return "", fmt.Errorf("no master key: %w", identity.ErrInvalid)
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(k.handle, keyset.NewJSONWriter(&b)); err != nil {
		return "", fmt.Errorf("encode master key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

// String never shows the key.
func (*MasterKey) String() string { return "[redacted]" }

// GoString never shows the key.
func (*MasterKey) GoString() string { return "[redacted]" }
