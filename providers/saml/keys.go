package saml

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"sallyport/providers"
)

// KeyPair names a private key of ours and its certificate. The certificate is only how keys travel in metadata; its dates
// and names mean nothing here.
type KeyPair struct {
	// KeyFile is a PEM file with one private key, PKCS #8, PKCS #1 or SEC 1, that only we can read.
	KeyFile string `yaml:"key_file,omitempty"`
	// CertificateFile is a PEM file with the key's certificate.
	CertificateFile string `yaml:"certificate_file,omitempty"`
}

// keyPair is a KeyPair that was read.
type keyPair struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

// openToOthers are the modes that a private key's file must not have.
const openToOthers = 0o007

// validate finds what is missing. Its errors name the file's key.
func (k KeyPair) validate() error {
	var errs []error
	if k.KeyFile == "" {
		errs = append(errs, errors.New("key_file: is required"))
	}
	if k.CertificateFile == "" {
		errs = append(errs, errors.New("certificate_file: is required"))
	}
	return errors.Join(errs...)
}

// read reads both files and wants them to belong together.
func (k KeyPair) read(dir string) (keyPair, error) {
	name := k.KeyFile
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	key, err := readKey(name)
	if err != nil {
		return keyPair{}, fmt.Errorf("key_file: %w", err)
	}
	certificates, err := readCertificates([]string{k.CertificateFile}, dir)
	if err != nil {
		return keyPair{}, fmt.Errorf("certificate_file: %w", err)
	}
	if len(certificates) != 1 {
		return keyPair{}, errors.New("certificate_file: holds more than one certificate")
	}
	// Every public key of the standard library has Equal; usable has judged this one's strength.
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(certificates[0].PublicKey) {
		return keyPair{}, errors.New("certificate_file: the certificate is of another key")
	}
	return keyPair{key: key, certificate: certificates[0]}, nil
}

// readKey reads one private key. A key that everybody on the machine can read is not ours alone any more.
func readKey(name string) (crypto.Signer, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	// The open file is judged, not the name, which could point elsewhere a moment later.
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", name)
	case info.Mode().Perm()&openToOthers != 0:
		return nil, fmt.Errorf("%s is open to everybody (mode %04o, want 0600)", name, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPEM))
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", name)
	}
	if second, _ := pem.Decode(rest); second != nil {
		return nil, fmt.Errorf("%s holds more than a key", name)
	}
	key, err := parseKey(block)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return key, nil
}

// parseKey reads the three spellings of an unencrypted key. The parsers' errors are dropped: they could quote the key.
func parseKey(block *pem.Block) (crypto.Signer, error) {
	var (
		key any
		err error
	)
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, errors.New("not a private key without passphrase")
	}
	if err != nil {
		return nil, errors.New("the private key cannot be read")
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		return key, nil
	default:
		return nil, errors.New("the private key is neither RSA nor ECDSA")
	}
}

// readCertificates reads PEM files.
func readCertificates(files []string, dir string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for _, file := range files {
		data, err := providers.ReadFile(dir, file, maxPEM)
		if err != nil {
			return nil, err
		}
		before := len(out)
		for {
			var block *pem.Block
			if block, data = pem.Decode(data); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				return nil, fmt.Errorf("%s holds something else than certificates", file)
			}
			certificate, err := usable(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			out = append(out, certificate)
		}
		if len(out) == before {
			return nil, fmt.Errorf("%s holds no certificate", file)
		}
	}
	if len(out) > maxCertificates {
		return nil, fmt.Errorf("more than %d certificates", maxCertificates)
	}
	return out, nil
}

// usable parses a certificate and refuses keys that are weak, or of a kind no allowed algorithm has.
func usable(der []byte) (*x509.Certificate, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errors.New("a certificate cannot be read")
	}
	switch key := certificate.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSA {
			return nil, fmt.Errorf("a certificate has an RSA key of less than %d bits", minRSA)
		}
	case *ecdsa.PublicKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, key.Curve) {
			return nil, errors.New("a certificate has a key on a curve that is not supported")
		}
	default:
		return nil, errors.New("a certificate has neither an RSA nor an ECDSA key")
	}
	return certificate, nil
}
