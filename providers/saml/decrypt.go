package saml

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"errors"

	"github.com/beevik/etree"
)

const (
	nsEncryption   = "http://www.w3.org/2001/04/xmlenc#"
	nsEncryption11 = "http://www.w3.org/2009/xmlenc11#"
	typeElement    = nsEncryption + "Element"
	algOAEPSHA1    = nsEncryption + "rsa-oaep-mgf1p"
	algOAEP        = nsEncryption11 + "rsa-oaep"
)

// content is how an assertion may be encrypted.
type content struct {
	keySize int
	cbc     bool
}

// contentMethod returns what an algorithm is; false for one that is not taken, switch or not.
func contentMethod(algorithm string) (content, bool) {
	switch algorithm {
	case nsEncryption11 + "aes128-gcm":
		return content{keySize: 16}, true
	case nsEncryption11 + "aes192-gcm":
		return content{keySize: 24}, true
	case nsEncryption11 + "aes256-gcm":
		return content{keySize: 32}, true
	case nsEncryption + "aes128-cbc":
		return content{keySize: 16, cbc: true}, true
	case nsEncryption + "aes192-cbc":
		return content{keySize: 24, cbc: true}, true
	case nsEncryption + "aes256-cbc":
		return content{keySize: 32, cbc: true}, true
	default:
		return content{}, false
	}
}

// errDecrypt is the one answer to whatever happens from the first use of a key on. Which step it was would tell an
// attacker who varies the message what our key makes of it (SML-08).
var errDecrypt = errors.New("the encrypted Assertion cannot be decrypted")

// decrypter opens encrypted assertions (saml-core section 2.3.4, xmlenc-core1). Key transport is RSA-OAEP, whatever the
// message says; the content is AES-GCM, or AES-CBC where the operator allowed it.
type decrypter struct {
	keys     []*rsa.PrivateKey
	allowCBC bool
}

// encrypted is what a message says of an encrypted element.
type encrypted struct {
	content         content
	oaep            rsa.OAEPOptions
	wrapped, sealed []byte
}

// decrypt returns the bytes that were encrypted. They are foreign still: nothing but their secrecy was shown. verified says
// that a signature which was checked before covers the element; without it CBC is a padding oracle.
func (d decrypter) decrypt(el *etree.Element, verified bool) ([]byte, error) {
	if len(d.keys) == 0 {
		return nil, errors.New("the Assertion is encrypted, and no decryption key is configured")
	}
	m, err := readEncrypted(el)
	switch {
	case err != nil:
		return nil, err
	case m.content.cbc && !d.allowCBC:
		return nil, errors.New("the Assertion is encrypted with AES-CBC, which is not allowed")
	case m.content.cbc && !verified:
		return nil, errors.New("the Assertion is encrypted with AES-CBC in a Response that is not signed")
	}
	block, err := aes.NewCipher(d.unwrap(m))
	if err != nil {
		return nil, errDecrypt
	}
	if m.content.cbc {
		return openCBC(block, m.sealed)
	}
	return openGCM(block, m.sealed)
}

// unwrap returns the content key. Every key of ours is tried, and where none fits a random one goes on in its place: a
// wrong key and a wrong message then fail at the same step.
func (d decrypter) unwrap(m encrypted) []byte {
	secret := make([]byte, m.content.keySize)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	for _, key := range d.keys {
		if got, err := key.Decrypt(nil, m.wrapped, &m.oaep); err == nil && len(got) == m.content.keySize {
			secret = got
		}
	}
	return secret
}

// openGCM: the nonce of 96 bits stands before the text, the tag of 128 bits after it (xmlenc-core1 section 5.2.4).
func openGCM(block cipher.Block, sealed []byte) ([]byte, error) {
	gcm, err := cipher.NewGCM(block)
	if err != nil || len(sealed) < gcm.NonceSize()+gcm.Overhead() {
		return nil, errDecrypt
	}
	plain, err := gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], nil)
	if err != nil {
		return nil, errDecrypt
	}
	return plain, nil
}

// openCBC: the initialization vector stands before the text, the last byte says how many are padding (section 5.2.2).
func openCBC(block cipher.Block, sealed []byte) ([]byte, error) {
	if len(sealed) < 2*aes.BlockSize || len(sealed)%aes.BlockSize != 0 {
		return nil, errDecrypt
	}
	plain := make([]byte, len(sealed)-aes.BlockSize)
	cipher.NewCBCDecrypter(block, sealed[:aes.BlockSize]).CryptBlocks(plain, sealed[aes.BlockSize:])
	padding := int(plain[len(plain)-1])
	if padding == 0 || padding > aes.BlockSize {
		return nil, errDecrypt
	}
	return plain[:len(plain)-padding], nil
}

// readEncrypted takes the element apart. The one EncryptedKey stands in the KeyInfo of the data or beside the data; a
// RetrievalMethod that points from one place to the other is not followed, since there is nothing to choose.
func readEncrypted(el *etree.Element) (encrypted, error) {
	data, err := only(el, nsEncryption, "EncryptedData")
	if err != nil {
		return encrypted{}, err
	}
	if hasAttr(data, "Type") && attr(data, "Type") != typeElement {
		return encrypted{}, errors.New("the EncryptedData is not an element")
	}
	method, err := only(data, nsEncryption, "EncryptionMethod")
	if err != nil {
		return encrypted{}, err
	}
	var (
		m  encrypted
		ok bool
	)
	if m.content, ok = contentMethod(attr(method, "Algorithm")); !ok {
		return encrypted{}, errors.New("the Assertion is encrypted by an algorithm that is not taken")
	}
	if m.sealed, err = cipherValue(data); err != nil {
		return encrypted{}, err
	}
	keys := children(el, nsEncryption, "EncryptedKey")
	for _, info := range children(data, nsDsig, "KeyInfo") {
		keys = append(keys, children(info, nsEncryption, "EncryptedKey")...)
	}
	if len(keys) != 1 {
		return encrypted{}, errors.New("the encrypted Assertion does not have exactly one EncryptedKey")
	}
	if m.oaep, err = readTransport(keys[0]); err != nil {
		return encrypted{}, err
	}
	m.wrapped, err = cipherValue(keys[0])
	return m, err
}

// readTransport returns how the content key was encrypted: RSA-OAEP or not at all. PKCS #1 v1.5 cannot be decrypted
// without telling somebody who asks often enough what it says.
func readTransport(key *etree.Element) (rsa.OAEPOptions, error) {
	method, err := only(key, nsEncryption, "EncryptionMethod")
	if err != nil {
		return rsa.OAEPOptions{}, err
	}
	algorithm := attr(method, "Algorithm")
	if algorithm != algOAEP && algorithm != algOAEPSHA1 {
		return rsa.OAEPOptions{}, errors.New("the content key is encrypted by another algorithm than RSA-OAEP")
	}
	options := rsa.OAEPOptions{Hash: crypto.SHA1, MGFHash: crypto.SHA1} // the defaults (xmlenc-core1 section 5.5.2)
	seen := map[string]bool{}
	for _, c := range method.ChildElements() {
		ok := !seen[c.Tag]
		seen[c.Tag] = true
		switch {
		case is(c, nsDsig, "DigestMethod"):
			options.Hash, ok = oaepDigest(attr(c, "Algorithm"), ok)
		case is(c, nsEncryption11, "MGF") && algorithm == algOAEP:
			options.MGFHash, ok = maskFunction(attr(c, "Algorithm"), ok)
		default:
			ok = false
		}
		if !ok {
			return rsa.OAEPOptions{}, errors.New("the parameters of RSA-OAEP are not taken")
		}
	}
	return options, nil
}

// oaepDigest: SHA-1 is no weakness here, nothing depends on its collisions.
func oaepDigest(algorithm string, ok bool) (crypto.Hash, bool) {
	switch algorithm {
	case algSHA1:
		return crypto.SHA1, ok
	case nsEncryption + "sha256":
		return crypto.SHA256, ok
	case nsEncryption + "sha512":
		return crypto.SHA512, ok
	default:
		return 0, false
	}
}

func maskFunction(algorithm string, ok bool) (crypto.Hash, bool) {
	switch algorithm {
	case nsEncryption11 + "mgf1sha1":
		return crypto.SHA1, ok
	case nsEncryption11 + "mgf1sha256":
		return crypto.SHA256, ok
	case nsEncryption11 + "mgf1sha512":
		return crypto.SHA512, ok
	default:
		return 0, false
	}
}

// cipherValue reads the bytes that stand in the message; those that stand elsewhere (CipherReference) are not fetched.
func cipherValue(el *etree.Element) ([]byte, error) {
	data, err := only(el, nsEncryption, "CipherData")
	if err != nil {
		return nil, err
	}
	return bytesOf(data, nsEncryption, "CipherValue")
}
