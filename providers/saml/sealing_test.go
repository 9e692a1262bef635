package saml

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"
)

// sealing says how an assertion is encrypted. The zero value is AES-256-GCM with RSA-OAEP as the older standard has it.
type sealing struct {
	to signer
	// content and transport are algorithms; the names of digest and mask generation stand in the message where set.
	content, transport, digest, mask string
	// beside puts the EncryptedKey beside the data instead of into its KeyInfo.
	beside bool
	// what is really done, where it differs from what the message says.
	keySize int
	cbc     bool
	pkcs1   bool
	// damage changes the bytes of the content before they are written down.
	damage func([]byte) []byte
	// edit changes the EncryptedAssertion.
	edit func(*etree.Element)
}

func (s sealing) withDefaults() sealing {
	if s.content == "" {
		s.content = nsEncryption11 + "aes256-gcm"
	}
	if s.transport == "" {
		s.transport = algOAEPSHA1
	}
	if m, ok := contentMethod(s.content); ok {
		s.keySize, s.cbc = m.keySize, m.cbc
	}
	return s
}

// seal encrypts the assertion of a message in its place.
func (s sealing) seal(t testing.TB, message []byte) []byte {
	t.Helper()
	doc := document(t, message)
	assertion := doc.FindElement("//saml:Assertion")
	lone := etree.NewDocument()
	lone.SetRoot(detach(assertion))
	box := document(t, s.box(t, serialize(t, lone))).Root()
	if s.edit != nil {
		s.edit(box)
	}
	parent := assertion.Parent()
	parent.InsertChildAt(assertion.Index(), box)
	parent.RemoveChild(assertion)
	return serialize(t, doc)
}

// box returns an EncryptedAssertion of these bytes.
func (s sealing) box(t testing.TB, plain []byte) []byte {
	t.Helper()
	s = s.withDefaults()
	secret := make([]byte, s.keySize)
	_, _ = rand.Read(secret)
	sealed := s.encrypt(t, secret, plain)
	if s.damage != nil {
		sealed = s.damage(sealed)
	}
	parameters := ""
	if s.digest != "" {
		parameters = `<ds:DigestMethod xmlns:ds="` + nsDsig + `" Algorithm="` + s.digest + `"/>`
	}
	if s.mask != "" {
		parameters += `<xenc11:MGF xmlns:xenc11="` + nsEncryption11 + `" Algorithm="` + s.mask + `"/>`
	}
	key := `<xenc:EncryptedKey xmlns:xenc="` + nsEncryption + `"><xenc:EncryptionMethod Algorithm="` + s.transport + `">` +
		parameters + `</xenc:EncryptionMethod>` + cipherData(s.wrap(t, secret)) + `</xenc:EncryptedKey>`
	info, sibling := `<ds:KeyInfo xmlns:ds="`+nsDsig+`">`+key+`</ds:KeyInfo>`, ""
	if s.beside {
		info, sibling = "", key
	}
	return []byte(`<saml:EncryptedAssertion xmlns:saml="` + nsAssertion + `"><xenc:EncryptedData xmlns:xenc="` + nsEncryption +
		`" Type="` + typeElement + `"><xenc:EncryptionMethod Algorithm="` + s.content + `"/>` + info + cipherData(sealed) +
		`</xenc:EncryptedData>` + sibling + `</saml:EncryptedAssertion>`)
}

func cipherData(raw []byte) string {
	encoded := base64.StdEncoding.EncodeToString(raw)
	half := len(encoded) / 2
	return `<xenc:CipherData><xenc:CipherValue>` + encoded[:half] + "\n" + encoded[half:] +
		`</xenc:CipherValue></xenc:CipherData>`
}

func (s sealing) encrypt(t testing.TB, secret, plain []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(secret)
	if err != nil {
		t.Fatal(err)
	}
	if s.cbc {
		iv := make([]byte, aes.BlockSize)
		_, _ = rand.Read(iv)
		n := aes.BlockSize - len(plain)%aes.BlockSize
		padded := append(bytes.Clone(plain), make([]byte, n)...)
		padded[len(padded)-1] = byte(n)
		out := make([]byte, len(padded))
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(out, padded)
		return slices.Concat(iv, out)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, gcm.NonceSize())
	_, _ = rand.Read(nonce)
	return gcm.Seal(nonce, nonce, plain, nil)
}

func (s sealing) wrap(t testing.TB, secret []byte) []byte {
	t.Helper()
	public := &s.to.key.(*rsa.PrivateKey).PublicKey
	var (
		wrapped []byte
		err     error
	)
	if s.pkcs1 {
		wrapped, err = rsa.EncryptPKCS1v15(rand.Reader, public, secret) //nolint:staticcheck // what must be refused
	} else {
		hash := func(name string) crypto.Hash {
			switch {
			case strings.HasSuffix(name, "sha256"):
				return crypto.SHA256
			case strings.HasSuffix(name, "sha512"):
				return crypto.SHA512
			default:
				return crypto.SHA1
			}
		}
		options := &rsa.OAEPOptions{Hash: hash(s.digest), MGFHash: hash(s.mask)}
		wrapped, err = rsa.EncryptOAEPWithOptions(rand.Reader, public, secret, options)
	}
	if err != nil {
		t.Fatal(err)
	}
	return wrapped
}
