package people

import (
	"fmt"
	"strings"

	"golang.org/x/text/secure/precis"

	"sallyport/identity"
)

// maxName bounds a user name in bytes, before and after canonicalisation.
const maxName = 256

// CanonicalName returns the form in which user names are compared and must be unique: PRECIS UsernameCaseMapped
// (RFC 8265 section 3.3), applied once, here. It refuses empty names, spaces, control characters and what is longer
// than 256 bytes with identity.ErrInvalid coded username_invalid.
func CanonicalName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" || len(name) > maxName {
		return "", identity.WithCode("username_invalid", fmt.Errorf("user name of %d bytes: %w", len(name), identity.ErrInvalid))
	}
	key, err := precis.UsernameCaseMapped.String(name)
	if err != nil || key == "" || len(key) > maxName {
		return "", identity.WithCode("username_invalid", fmt.Errorf("user name outside PRECIS: %w", identity.ErrInvalid))
	}
	return key, nil
}
