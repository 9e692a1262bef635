package storage

import (
	"fmt"
	"net/url"
	"strings"

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
// use. The zero value seals nothing: make it with NewSealer.
type Sealer struct {
	aead tink.AEAD
}

// NewSealer returns the sealer of a master key.
func NewSealer(key *MasterKey) (*Sealer, error) {
	if key == nil || key.handle == nil {
		return nil, fmt.Errorf("no master key: %w", identity.ErrInvalid)
	}
	primitive, err := aead.New(key.handle)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	return &Sealer{aead: primitive}, nil
}

// Seal encrypts plain for its place. Equal values give different ciphertexts.
func (s *Sealer) Seal(plain []byte, at Place) ([]byte, error) {
	sealed, err := s.aead.Encrypt(plain, at.associatedData())
	if err != nil {
		return nil, fmt.Errorf("seal %s.%s: %w", at.Table, at.Column, err)
	}
	return sealed, nil
}

// Open decrypts what Seal made for the same place. A wrong key, a changed value and another place are told apart by
// nobody: identity.ErrInvalid.
func (s *Sealer) Open(sealed []byte, at Place) ([]byte, error) {
	plain, err := s.aead.Decrypt(sealed, at.associatedData())
	if err != nil {
		return nil, fmt.Errorf("open %s.%s: %w", at.Table, at.Column, identity.ErrInvalid)
	}
	return plain, nil
}
