package storage_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"sallyport/identity"
	"sallyport/storage"
)

func step(t *testing.T, f func() (*storage.MasterKey, error)) *storage.MasterKey {
	t.Helper()
	key, err := f()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keysOf(t *testing.T, key *storage.MasterKey) []storage.KeyInfo {
	t.Helper()
	keys, err := key.Keys()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func opens(t *testing.T, key *storage.MasterKey, sealed []byte) bool {
	t.Helper()
	got, err := sealer(t, key).Open(sealed, here)
	return err == nil && string(got) == "secret"
}

func TestSTO02_AMasterKeyChangesInSteps(t *testing.T) {
	first := newKey(t)
	before := seal(t, first, "secret")
	added := step(t, first.Add)
	if keys := keysOf(t, added); len(keys) != 2 || !keys[0].Primary || keys[1].Primary || keys[0].ID == keys[1].ID {
		t.Fatalf("added: %+v", keys)
	}
	if !opens(t, first, seal(t, added, "secret")) {
		t.Error("what is sealed after adding does not open for those who have not heard of it")
	}
	promoted := step(t, added.Promote)
	if keys := keysOf(t, promoted); keys[0].Primary || !keys[1].Primary {
		t.Fatalf("promoted: %+v", keys)
	}
	after := seal(t, promoted, "secret")
	if opens(t, first, after) || !opens(t, added, after) || !opens(t, promoted, before) {
		t.Error("promoted: the new key seals, both open")
	}
	dropped := step(t, promoted.DropOld)
	if len(keysOf(t, dropped)) != 1 || opens(t, dropped, before) || !opens(t, dropped, after) {
		t.Errorf("dropped: %+v", keysOf(t, dropped))
	}
	if again := step(t, dropped.DropOld); len(keysOf(t, again)) != 1 {
		t.Error("the only key was dropped")
	}
}

func TestSTO02_AStepBeforeItsTimeIsRefused(t *testing.T) {
	added := step(t, newKey(t).Add)
	for name, try := range map[string]func() (*storage.MasterKey, error){"add": added.Add, "drop old": added.DropOld} {
		if _, err := try(); !errors.Is(err, identity.ErrConflict) {
			t.Errorf("%s before the newest was promoted: %v", name, err)
		}
	}
	var none *storage.MasterKey
	for name, try := range map[string]func() (*storage.MasterKey, error){
		"add": none.Add, "promote": none.Promote, "drop old": none.DropOld,
	} {
		if _, err := try(); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("%s without a key: %v", name, err)
		}
	}
}

func TestSTO02_ASealedValueTellsItsKey(t *testing.T) {
	key := step(t, step(t, newKey(t).Add).Promote)
	s := sealer(t, key)
	got, err := storage.SealedWith(seal(t, key, "secret"))
	if err != nil || got != s.Primary() || got != keysOf(t, key)[1].ID {
		t.Errorf("got %s, %v, want %s", got, err, s.Primary())
	}
	for _, not := range [][]byte{nil, {}, {1, 2, 3, 4, 5}, []byte("plain text")} {
		if _, err := storage.SealedWith(not); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("%q: %v", not, err)
		}
	}
}

func TestSTO02_ASealerChangesItsKeyWhileItIsUsed(t *testing.T) {
	first := newKey(t)
	second := step(t, step(t, first.Add).Promote)
	s := sealer(t, first)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				sealed, err := s.Seal([]byte("secret"), here)
				if err == nil {
					_, err = sealer(t, second).Open(sealed, here)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	if err := s.Use(second); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := s.Use(nil); !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("no key: %v", err)
	}
	if s.Primary() != sealer(t, second).Primary() {
		t.Error("another key seals")
	}
}

func TestSTO01_AChangedKeyFileIsReplacedAsAWhole(t *testing.T) {
	path := generated(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	made, err := storage.ChangeMasterKey(link, (*storage.MasterKey).Add)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := storage.LoadMasterKey(path)
	if err != nil || len(keysOf(t, loaded)) != 2 || !opens(t, loaded, seal(t, made, "secret")) {
		t.Fatalf("loaded: %v", err)
	}
	if got := mode(t, path); got != 0o600 {
		t.Errorf("mode %04o", got)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left beside the key: %v, %v", left, err)
	}
}

func TestSTO01_AKeyFileThatIsNotChangedStaysAsItIs(t *testing.T) {
	path := generated(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	mine := errors.New("mine")
	if _, err := storage.ChangeMasterKey(path, func(*storage.MasterKey) (*storage.MasterKey, error) { return nil, mine }); !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
	if _, err := storage.ChangeMasterKey(path, func(k *storage.MasterKey) (*storage.MasterKey, error) {
		if _, err := storage.ChangeMasterKey(path, (*storage.MasterKey).Add); !errors.Is(err, identity.ErrConflict) {
			t.Errorf("while another changes it: %v", err)
		}
		return nil, mine
	}); !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("it changed, %v", err)
	}
	if _, err := storage.ChangeMasterKey(path+".missing", (*storage.MasterKey).Add); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := storage.ChangeMasterKey(path, (*storage.MasterKey).Add); !errors.Is(err, identity.ErrDenied) {
		t.Errorf("a file open to others: %v", err)
	}
}

func change(t *testing.T, path string, f func(*storage.MasterKey) (*storage.MasterKey, error)) *storage.MasterKey {
	t.Helper()
	return step(t, func() (*storage.MasterKey, error) { return storage.ChangeMasterKey(path, f) })
}

// rotated changes the key in a file for a new one.
func rotated(t *testing.T, path string) *storage.MasterKey {
	t.Helper()
	change(t, path, (*storage.MasterKey).Add)
	change(t, path, (*storage.MasterKey).Promote)
	return change(t, path, (*storage.MasterKey).DropOld)
}

func TestSTO02_KeysThatWereDroppedAreKeptAndComeBack(t *testing.T) {
	path := generated(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	var sealed [][]byte
	for range 3 {
		key, err := storage.LoadMasterKey(path)
		if err != nil {
			t.Fatal(err)
		}
		sealed = append(sealed, seal(t, key, "secret")) // by a server that hears of no change
		rotated(t, link)
	}
	file, err := storage.OldKeyFile(link)
	if err != nil || mode(t, file) != 0o600 {
		t.Fatalf("%s: %v", file, err)
	}
	old, err := storage.LoadMasterKey(file)
	if err != nil || len(keysOf(t, old)) != 3 {
		t.Fatalf("old keys: %v", err)
	}
	present, err := storage.LoadMasterKey(path)
	if err != nil || len(keysOf(t, present)) != 1 {
		t.Fatalf("present: %v", err)
	}
	mine := seal(t, present, "secret")
	if opens(t, old, mine) {
		t.Error("the key that is in use is among the old ones")
	}
	for i, value := range sealed {
		if opens(t, present, value) || !opens(t, old, value) {
			t.Errorf("value %d: opens with the present key, or not with the old ones", i)
		}
	}
	both := change(t, path, func(k *storage.MasterKey) (*storage.MasterKey, error) { return k.AddOld(old) })
	keys := keysOf(t, both)
	if len(keys) != 4 || !keys[3].Primary || keys[3].ID != keysOf(t, present)[0].ID {
		t.Fatalf("keys are %+v", keys)
	}
	for i, value := range append(sealed, mine) {
		if !opens(t, both, value) {
			t.Errorf("value %d is lost", i)
		}
	}
	t.Run("once, however often", func(t *testing.T) {
		change(t, path, func(k *storage.MasterKey) (*storage.MasterKey, error) { return k.AddOld(old) })
		change(t, path, (*storage.MasterKey).DropOld)
		again, err := storage.LoadMasterKey(file)
		if err != nil || len(keysOf(t, again)) != 3 {
			t.Fatalf("old keys: %v", err)
		}
	})
	t.Run("and where they cannot be kept nothing is dropped", func(t *testing.T) {
		change(t, path, (*storage.MasterKey).Add)
		change(t, path, (*storage.MasterKey).Promote)
		for name, spoil := range map[string]func() error{
			"the file is open to others": func() error { return os.Chmod(file, 0o644) },
			"it holds something else": func() error {
				return errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, []byte("not keys"), 0o600))
			},
		} {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			if _, err := storage.ChangeMasterKey(path, (*storage.MasterKey).DropOld); err == nil {
				t.Errorf("%s: dropped", name)
			}
			if key, err := storage.LoadMasterKey(path); err != nil || len(keysOf(t, key)) != 2 {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("and no key is no key", func(t *testing.T) {
		var none *storage.MasterKey
		for _, try := range []func() (*storage.MasterKey, error){
			func() (*storage.MasterKey, error) { return none.AddOld(present) },
			func() (*storage.MasterKey, error) { return present.AddOld(none) },
		} {
			if _, err := try(); !errors.Is(err, identity.ErrInvalid) {
				t.Errorf("got %v", err)
			}
		}
	})
	if _, err := storage.OldKeyFile(path + ".missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestSTO02_AKeyFileTellsWhenItChanged(t *testing.T) {
	path := generated(t)
	file := storage.KeyFile{Path: path}
	look := func(use error, want bool, wantErr error) {
		t.Helper()
		got, err := file.Look(func(*storage.MasterKey) error { return use })
		if got != want || !errors.Is(err, wantErr) {
			t.Errorf("got %v, %v", got, err)
		}
	}
	look(nil, true, nil)
	look(nil, false, nil)
	if _, err := storage.ChangeMasterKey(path, (*storage.MasterKey).Add); err != nil {
		t.Fatal(err)
	}
	busy := errors.New("the store does not answer")
	look(busy, false, busy)
	look(nil, true, nil) // it was not taken, so it comes again
	look(nil, false, nil)
	if err := os.WriteFile(path, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	look(nil, false, identity.ErrInvalid)
	look(nil, false, identity.ErrInvalid)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look(nil, false, fs.ErrNotExist)
}

func TestANewFileAppearsWholeOrNotAtAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	mine := errors.New("mine")
	if err := storage.WriteNew(path, func(w io.Writer) error { _, _ = w.Write([]byte("half")); return mine }); !errors.Is(err, mine) {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("half a file: %v", err)
	}
	for i, want := range []error{nil, fs.ErrExist} {
		if err := storage.WriteNew(path, func(w io.Writer) error { _, err := w.Write([]byte{'0' + byte(i)}); return err }); !errors.Is(err, want) {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "0" || mode(t, path) != 0o600 {
		t.Fatalf("%q, %04o, %v", got, mode(t, path), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left beside it: %v, %v", left, err)
	}
}
