package storage

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"sallyport/identity"
)

// KeyInfo is what may be told of one key of a master key.
type KeyInfo struct {
	ID KeyID
	// Primary: what is sealed now is sealed with it. The others only open.
	Primary bool
}

// Keys lists the keys, oldest first.
func (k *MasterKey) Keys() ([]KeyInfo, error) {
	if k == nil || k.handle == nil {
		return nil, fmt.Errorf("no master key: %w", identity.ErrInvalid)
	}
	keys := make([]KeyInfo, 0, k.handle.Len())
	for i := range k.handle.Len() {
		entry, err := k.handle.Entry(i)
		if err != nil {
			return nil, fmt.Errorf("master key entry %d: %w", i, err)
		}
		keys = append(keys, KeyInfo{ID: KeyID(entry.KeyID()), Primary: entry.IsPrimary()})
	}
	return keys, nil
}

// Add returns the master key with a new key that opens, but does not seal yet: what it seals could not be opened by a
// server that has not heard of it. While an earlier one waits to be promoted the answer is identity.ErrConflict.
func (k *MasterKey) Add() (*MasterKey, error) {
	keys, err := k.Keys()
	if err != nil {
		return nil, err
	}
	if newest := keys[len(keys)-1]; !newest.Primary {
		return nil, fmt.Errorf("key %s was added and not promoted yet: %w", newest.ID, identity.ErrConflict)
	}
	return k.changed(func(m *keyset.Manager) error {
		_, err := m.Add(aead.AES256GCMKeyTemplate())
		return err
	})
}

// Promote returns the master key with the newest key as the one that seals.
func (k *MasterKey) Promote() (*MasterKey, error) {
	keys, err := k.Keys()
	if err != nil {
		return nil, err
	}
	return k.changed(func(m *keyset.Manager) error { return m.SetPrimary(uint32(keys[len(keys)-1].ID)) })
}

// DropOld returns the master key without the keys that do not seal. The caller must know that nothing needs them. While
// the newest key waits to be promoted the answer is identity.ErrConflict.
func (k *MasterKey) DropOld() (*MasterKey, error) {
	keys, err := k.Keys()
	if err != nil {
		return nil, err
	}
	newest := keys[len(keys)-1]
	if !newest.Primary {
		return nil, fmt.Errorf("key %s was added and not promoted yet: %w", newest.ID, identity.ErrConflict)
	}
	return k.changed(func(m *keyset.Manager) error {
		for _, old := range keys[:len(keys)-1] {
			if err := m.Delete(uint32(old.ID)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (k *MasterKey) changed(change func(*keyset.Manager) error) (*MasterKey, error) {
	manager := keyset.NewManagerFromHandle(k.handle)
	if err := change(manager); err != nil {
		return nil, fmt.Errorf("change master key: %w", err)
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("change master key: %w", err)
	}
	return &MasterKey{handle: handle}, nil
}

// ChangeMasterKey replaces the key in a file by what change makes of it, and returns that. The file is replaced as a
// whole, keeps its owner and has mode 0600. The new content stands in path+".new" first, which is also the lock: of two
// who change the key at the same time, one would drop a key that the other has just sealed with. A lock that is held, or
// left behind by a process that died, is identity.ErrConflict.
func ChangeMasterKey(path string, change func(*MasterKey) (*MasterKey, error)) (*MasterKey, error) {
	// A link is followed: the file is replaced where it is, and the link stays.
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("change master key: %w", err)
	}
	lock := path + ".new"
	f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // beside the operator's file
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s exists: another command changes the master key; if none runs, remove it: %w", lock,
			identity.ErrConflict)
	}
	if err != nil {
		return nil, fmt.Errorf("change master key: %w", err)
	}
	made, err := replaceKey(path, f, change)
	if err != nil {
		_ = os.Remove(lock) // gone already when the key was replaced; the first error is the one that tells
		return nil, err
	}
	return made, nil
}

// replaceKey writes the changed key to f, which stands beside path, and moves it there. f is closed.
func replaceKey(path string, f *os.File, change func(*MasterKey) (*MasterKey, error)) (*MasterKey, error) {
	var made *MasterKey
	err := writeSynced(f, func(w io.Writer) error {
		former, err := LoadMasterKey(path)
		if err != nil {
			return err
		}
		if made, err = change(former); err != nil {
			return err
		}
		encoded, err := made.Encode()
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return errors.Join(keepOwner(f, info), writeText(w, encoded))
	})
	if err != nil {
		return nil, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, fmt.Errorf("change master key: %w", err)
	}
	return made, syncDir(filepath.Dir(path))
}

// KeyFile takes a master key into use whenever the content of its file changed. It is not safe for concurrent use.
type KeyFile struct {
	// Path is the file's name.
	Path string
	seen [sha256.Size]byte
}

// Look reads the file and hands its key to use when the content is not that of the last key that was taken; the first
// call always does. It reports whether use took the key. While the file cannot be read, holds no good key, or use answers
// with an error, every call tells so and tries again.
func (f *KeyFile) Look(use func(*MasterKey) error) (taken bool, err error) {
	raw, err := readKeyFile(f.Path)
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(raw)
	if sum == f.seen {
		return false, nil
	}
	key, err := parseKeyFile(f.Path, raw)
	if err != nil {
		return false, err
	}
	if err := use(key); err != nil {
		return false, err
	}
	f.seen = sum
	return true, nil
}
