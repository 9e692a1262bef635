package configs

import (
	"errors"
	"io/fs"
	"path"
	"reflect"
	"strings"

	"sallyport/identity"
)

// masterKeyPath is the one secret that may not exist yet.
const masterKeyPath = "storage.master_key"

// resolve reads every secret of the configuration and returns what the hash needs: keys and values, in order.
func (d *decoder) resolve(cfg *Config, env func(string) (string, bool)) []string {
	var out []string
	visit("", reflect.ValueOf(cfg).Elem(), func(path string, leaf reflect.Value) {
		s, ok := secretAt(leaf)
		if !ok {
			return
		}
		if err := s.Resolve(cfg.dir, env); err != nil {
			// The master key is made together with the empty store; what a missing one means there is the store's say.
			if path == masterKeyPath && errors.Is(err, fs.ErrNotExist) {
				return
			}
			d.wrong(path, "%v", err)
			return
		}
		if s.Literal() && s.Reveal() == s.String() {
			d.wrong(path, "is what is printed in place of a secret; expected env:NAME or file:path")
			return
		}
		if s.Literal() && !strings.HasPrefix(d.origins[path], envPrefix) {
			d.warn(path, "stands in the configuration itself; use env:NAME or file:path")
		}
		// The master key is left out: it is read at the start only, and made after this for an empty store.
		if s.IsSet() && path != masterKeyPath {
			out = append(out, path, s.Reveal())
		}
	})
	return out
}

func secretAt(v reflect.Value) (*identity.Secret, bool) {
	if v.Type() != reflect.TypeFor[identity.Secret]() || !v.CanAddr() {
		return nil, false
	}
	s, ok := v.Addr().Interface().(*identity.Secret)
	return s, ok
}

// defaultMasterKey is the reference used when none is configured: next to the database. The format uses slashes.
func defaultMasterKey(database string) string {
	return "file:" + path.Join(path.Dir(strings.ReplaceAll(database, "\\", "/")), "master.key")
}
