package storage

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

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
	entries, err := k.entries()
	if err != nil {
		return nil, err
	}
	keys := make([]KeyInfo, 0, len(entries))
	for _, e := range entries {
		keys = append(keys, KeyInfo{ID: KeyID(e.KeyID()), Primary: e.IsPrimary()})
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

// AddOld returns the master key with those keys of a former one that it lacks. They open, and do not seal; of age they are
// older than all that are there.
func (k *MasterKey) AddOld(former *MasterKey) (*MasterKey, error) {
	old, err := former.lackedBy(k)
	if err != nil {
		return nil, err
	}
	own, err := k.entries()
	if err != nil {
		return nil, err
	}
	primary, err := k.handle.Primary()
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	return keysetOf(append(old, own...), primary.KeyID())
}

func (k *MasterKey) entries() ([]*keyset.Entry, error) {
	if k == nil || k.handle == nil {
		return nil, fmt.Errorf("no master key: %w", identity.ErrInvalid)
	}
	all := make([]*keyset.Entry, 0, k.handle.Len())
	for i := range k.handle.Len() {
		entry, err := k.handle.Entry(i)
		if err != nil {
			return nil, fmt.Errorf("master key entry %d: %w", i, err)
		}
		all = append(all, entry)
	}
	return all, nil
}

// lackedBy returns the keys that another master key does not have.
func (k *MasterKey) lackedBy(other *MasterKey) ([]*keyset.Entry, error) {
	own, err := k.entries()
	if err != nil {
		return nil, err
	}
	theirs, err := other.entries()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(own, func(e *keyset.Entry) bool {
		return slices.ContainsFunc(theirs, func(t *keyset.Entry) bool { return t.Key().Equal(e.Key()) })
	}), nil
}

// keysetOf makes a master key of keys. Two different ones of the same id are an error.
func keysetOf(entries []*keyset.Entry, primary uint32) (*MasterKey, error) {
	return changed(keyset.NewManager(), func(m *keyset.Manager) error {
		for _, e := range entries {
			if _, err := m.AddKey(e.Key()); err != nil {
				return err
			}
		}
		return m.SetPrimary(primary)
	})
}

func (k *MasterKey) changed(change func(*keyset.Manager) error) (*MasterKey, error) {
	return changed(keyset.NewManagerFromHandle(k.handle), change)
}

func changed(manager *keyset.Manager, change func(*keyset.Manager) error) (*MasterKey, error) {
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
//
// No key is destroyed: those that the changed one lacks are kept in OldKeyFile(path), beside those of earlier changes. A
// server that missed the change may have sealed with them.
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
		return errors.Join(keepOwner(f, info), writeText(w, encoded), keepDropped(path, former, made, info))
	})
	if err != nil {
		return nil, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, fmt.Errorf("change master key: %w", err)
	}
	return made, syncDir(filepath.Dir(path))
}

// OldKeyFile is where the keys are kept that were dropped from a key file. A link is followed.
func OldKeyFile(path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("old master keys: %w", err)
	}
	return path + ".old", nil
}

// keepDropped adds the keys that made lacks to those that were dropped before. It is called under the lock of the key
// file, before that is replaced: a key is in both files for a moment, and never in none.
func keepDropped(path string, former, made *MasterKey, owner fs.FileInfo) error {
	gone, err := former.lackedBy(made)
	if err != nil || len(gone) == 0 {
		return err
	}
	dropped, err := keysetOf(gone, gone[len(gone)-1].KeyID())
	if err != nil {
		return err
	}
	file, err := OldKeyFile(path)
	if err != nil {
		return err
	}
	earlier, err := LoadMasterKey(file)
	if err == nil {
		dropped, err = dropped.AddOld(earlier)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return replace(file, dropped, owner)
}

// replace writes a key to a file, as a whole and with mode 0600, whatever stood there.
func replace(file string, key *MasterKey, owner fs.FileInfo) error {
	encoded, err := key.Encode()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".old-*") // O_EXCL, mode 0600
	if err != nil {
		return err
	}
	err = writeSynced(f, func(w io.Writer) error { return errors.Join(keepOwner(f, owner), writeText(w, encoded)) })
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the one that tells
		return err
	}
	return syncDir(filepath.Dir(file))
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
