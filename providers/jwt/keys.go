package jwt

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/providers"
	"sallyport/tokens/jws"
)

// maxPEM bounds a key in PEM, in bytes.
const maxPEM = 64 << 10

// validate finds what is wrong without reading pem_file.
func (k Key) validate() error {
	given := 0
	for _, is := range []bool{k.HMAC.Reference() != "", k.PEM != "", k.PEMFile != ""} {
		if is {
			given++
		}
	}
	if given != 1 {
		return errors.New("hmac: exactly one of hmac, pem and pem_file is needed")
	}
	var errs []error
	if k.ID != "" && !isPlain(k.ID, maxClaimPath) {
		errs = append(errs, errors.New("id: is too long, or has control characters"))
	}
	allowed := jws.Asymmetric()
	if k.HMAC.Reference() != "" {
		allowed = symmetric()
	}
	if k.Algorithm != "" && !slices.Contains(allowed, k.Algorithm) {
		errs = append(errs, fmt.Errorf("algorithm: is none of %s, which such a key is for", strings.Join(allowed, ", ")))
	} else if k.HMAC.IsSet() || k.PEM != "" {
		_, err := k.load("")
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func symmetric() []string { return []string{"HS256", "HS384", "HS512"} }

// key is a configured key, ready to verify: secret or public is set. Its algorithm is fixed.
type key struct {
	id, algorithm string
	secret        []byte
	public        any
}

// load makes the key ready. Errors begin with the key they speak of.
func (k Key) load(dir string) (key, error) {
	loaded := key{id: k.ID, algorithm: k.Algorithm}
	var err error
	switch {
	case k.HMAC.IsSet():
		if loaded.secret, err = decodeSecret(k.HMAC.Reveal()); err != nil {
			return key{}, fmt.Errorf("hmac: %w", err)
		}
		if loaded.algorithm == "" {
			loaded.algorithm = "HS256"
		}
		return loaded, nil
	case k.HMAC.Reference() != "":
		return key{}, errors.New("hmac: was never resolved")
	case k.PEMFile != "":
		data, err := providers.ReadFile(dir, k.PEMFile, maxPEM)
		if err != nil {
			return key{}, fmt.Errorf("pem_file: %w", err)
		}
		if err := loaded.setPublic(data); err != nil {
			return key{}, fmt.Errorf("pem_file: %w", err)
		}
	default:
		if err := loaded.setPublic([]byte(k.PEM)); err != nil {
			return key{}, fmt.Errorf("pem: %w", err)
		}
	}
	return loaded, nil
}

// setPublic reads the key, finds its algorithm where none is configured, and refuses what must not verify anything.
func (k *key) setPublic(data []byte) error {
	public, err := parsePublic(data)
	if err != nil {
		return err
	}
	k.public = public
	if k.algorithm == "" {
		k.algorithm = defaultAlgorithm(public)
	}
	if _, err = jws.NewSet(jws.Key{Algorithm: k.algorithm, Public: public}); err != nil {
		return fmt.Errorf("cannot be used with algorithm %q: %w", k.algorithm, err)
	}
	return nil
}

func defaultAlgorithm(public any) string {
	switch p := public.(type) {
	case *rsa.PublicKey:
		return "RS256"
	case *ecdsa.PublicKey:
		return map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[p.Curve.Params().BitSize]
	case ed25519.PublicKey:
		return "EdDSA"
	default:
		return ""
	}
}

// parsePublic reads exactly one PEM block. A certificate stands for its key; its dates and its issuer say nothing here,
// since the operator has named it.
func parsePublic(data []byte) (any, error) {
	if len(data) > maxPEM {
		return nil, fmt.Errorf("is longer than %d bytes", maxPEM)
	}
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, errors.New("is not PEM")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("holds more than one PEM block; name each key by itself")
	case strings.Contains(block.Type, "PRIVATE KEY"):
		return nil, errors.New("is a private key; only the public one belongs here")
	}
	var public any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = c.PublicKey
		}
	default:
		err = errors.ErrUnsupported
	}
	if err != nil {
		return nil, errors.New("is neither a public key nor a certificate")
	}
	return public, nil
}

// decodeSecret reads base64 in either alphabet, padded or not, in one spelling: no line ends, no spare bits.
func decodeSecret(text string) ([]byte, error) {
	if !strings.ContainsAny(text, "\r\n") {
		for _, e := range []*base64.Encoding{
			base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding,
		} {
			if secret, err := e.Strict().DecodeString(text); err == nil {
				return secret, jws.CheckSecret(secret)
			}
		}
	}
	return nil, fmt.Errorf("must be base64 of at least %d bytes", jws.MinSecret)
}

// verify returns the payload of a message that this key signed.
func (k key) verify(m jws.Message) ([]byte, error) {
	switch {
	case k.id != "" && m.Header.KeyID != "" && k.id != m.Header.KeyID:
		return nil, jws.ErrUnknownKey
	case m.Header.Algorithm != k.algorithm:
		return nil, jws.ErrAlgorithm
	case k.secret != nil:
		return jws.VerifyHMAC(m, k.secret, k.algorithm)
	}
	// A set of its own: many embedders name no kid, and a key that is being replaced must verify beside its successor.
	set, err := jws.NewSet(jws.Key{ID: m.Header.KeyID, Algorithm: k.algorithm, Public: k.public})
	if err != nil {
		return nil, err
	}
	return set.Verify(m, k.algorithm)
}

// keyring is all the keys of one embedding application.
type keyring struct {
	configured []key
	file       jws.Set
	remote     *jws.Remote // nil without jwks_url
}

// verify returns the payload of a message that one of the keys signed; each only ever with its own algorithm. The error
// is that of the key that came closest.
func (r *keyring) verify(ctx context.Context, m jws.Message) ([]byte, error) {
	closest := jws.ErrUnknownKey
	try := func(payload []byte, err error) ([]byte, bool) {
		if err != nil && (errors.Is(err, jws.ErrSignature) || errors.Is(closest, jws.ErrUnknownKey)) {
			closest = err
		}
		return payload, err == nil
	}
	for _, k := range r.configured {
		if payload, ok := try(k.verify(m)); ok {
			return payload, nil
		}
	}
	// Key sets hold public keys only, so a message with HMAC has no business there, and causes no fetch.
	public := jws.Asymmetric()
	if !slices.Contains(public, m.Header.Algorithm) {
		if len(r.configured) == 0 {
			return nil, jws.ErrAlgorithm
		}
		return nil, closest
	}
	if r.file.Len() > 0 {
		if payload, ok := try(r.file.Verify(m, public...)); ok {
			return payload, nil
		}
	}
	if r.remote != nil {
		payload, err := r.remote.Verify(ctx, m, public...)
		if errors.Is(err, jws.ErrUnavailable) {
			return nil, err
		}
		if payload, ok := try(payload, err); ok {
			return payload, nil
		}
	}
	return nil, closest
}

// algorithms are those that a token may be signed with, as a list for people.
func (r *keyring) algorithms() []string {
	var all []string
	for _, k := range r.configured {
		all = append(all, k.algorithm)
	}
	if r.file.Len() > 0 || r.remote != nil {
		all = append(all, jws.Asymmetric()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
