package storage

import (
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/tink"

	"sallyport/identity"
)

// Place is where a sealed value stands. It is bound to the ciphertext, so that a value moved to another table, row or
// column does not open: whoever can write to the database cannot hand one person's upstream token to another.
type Place struct {
	// Table and Column are constants of ours without slashes.
	Table, Column string
	// Row is the row's primary key, one part per column.
	Row []string
}

// associatedData is "table/row/column". Parts of the row are escaped, so that no two places spell the same.
func (p Place) associatedData() []byte {
	parts := make([]string, 0, len(p.Row)+2)
	parts = append(parts, p.Table)
	for _, r := range p.Row {
		parts = append(parts, url.PathEscape(r))
	}
	return []byte(strings.Join(append(parts, p.Column), "/"))
}

// Sealer seals values at rest with AES-256-GCM. Ciphertexts begin with the id of their key. It is safe for concurrent
// use, and its master key can be changed while it is used. The zero value seals nothing: make it with NewSealer.
type Sealer struct {
	inUse atomic.Pointer[sealing]
}

// sealing is one master key, ready to work.
type sealing struct {
	aead    tink.AEAD
	primary KeyID
}

// NewSealer returns the sealer of a master key.
func NewSealer(key *MasterKey) (*Sealer, error) {
	s := &Sealer{}
	if err := s.Use(key); err != nil {
		return nil, err
	}
	return s, nil
}

// Use seals and opens with another master key from now on; calls under way end with the former one.
func (s *Sealer) Use(key *MasterKey) error {
	if key == nil || key.handle == nil {
		return fmt.Errorf("no master key: %w", identity.ErrInvalid)
	}
	primitive, err := aead.New(key.handle)
	if err != nil {
		return fmt.Errorf("master key: %w", err)
	}
	primary, err := key.handle.Primary()
	if err != nil {
		return fmt.Errorf("master key: %w", err)
	}
	s.inUse.Store(&sealing{aead: primitive, primary: KeyID(primary.KeyID())})
	return nil
}

// Primary is the id of the key that seals.
func (s *Sealer) Primary() KeyID { return s.inUse.Load().primary }

// Seal encrypts plain for its place. Equal values give different ciphertexts.
func (s *Sealer) Seal(plain []byte, at Place) ([]byte, error) {
	sealed, err := s.inUse.Load().aead.Encrypt(plain, at.associatedData())
	if err != nil {
		return nil, fmt.Errorf("seal %s.%s: %w", at.Table, at.Column, err)
	}
	return sealed, nil
}

// Open decrypts what Seal made for the same place. A wrong key, a changed value and another place are told apart by
// nobody: identity.ErrInvalid.
func (s *Sealer) Open(sealed []byte, at Place) ([]byte, error) {
	plain, err := s.inUse.Load().aead.Decrypt(sealed, at.associatedData())
	if err != nil {
		return nil, fmt.Errorf("open %s.%s: %w", at.Table, at.Column, identity.ErrInvalid)
	}
	return plain, nil
}

// KeyID names one key of a master key. It is no secret: it stands in front of everything that the key sealed.
type KeyID uint32

// String is the id in eight hexadecimal digits.
func (id KeyID) String() string { return fmt.Sprintf("%08x", uint32(id)) }

const (
	// tinkPrefix is the first byte of every ciphertext of a key with an id; four bytes of the id follow, the highest
	// first.
	tinkPrefix = 1
	prefixSize = 5
)

// SealedWith tells which key a value was sealed with, without opening it: identity.ErrInvalid for what Seal never made.
func SealedWith(sealed []byte) (KeyID, error) {
	if len(sealed) <= prefixSize || sealed[0] != tinkPrefix {
		return 0, fmt.Errorf("not a sealed value: %w", identity.ErrInvalid)
	}
	return KeyID(binary.BigEndian.Uint32(sealed[1:prefixSize])), nil
}
