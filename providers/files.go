package providers

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxRoots bounds a file of authorities, in bytes; the system's own is a quarter of it.
const maxRoots = 1 << 20

// ReadFile reads a file that the operator named, of at most limit bytes. Relative names start at dir (Env.Dir).
func ReadFile(dir, name string, limit int) ([]byte, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	f, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > limit:
		return nil, fmt.Errorf("is longer than %d bytes", limit)
	}
	return data, nil
}

// ReadRoots reads a PEM file of authorities, as ReadFile does. An empty name means the system's, which is a nil pool.
func ReadRoots(dir, name string) (*x509.CertPool, error) {
	if name == "" {
		return nil, nil
	}
	data, err := ReadFile(dir, name, maxRoots)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, errors.New("holds no certificate")
	}
	return pool, nil
}
