package local

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"sallyport/identity"
)

// maxPasswordBytes is the longest password anybody may send. Argon2id reads all of it, so it is a bound on work, far
// above the 64 characters that must be accepted (NIST SP 800-63B-4 section 3.1.1.2).
const maxPasswordBytes = 1024

// The lengths a policy may ask for, in characters.
const (
	defaultMinLength = 15
	lowestMinLength  = 8
	highestMinLength = 64
)

// Policy says which new passwords are accepted. It is never applied to a password that is being checked: a policy that
// became stricter must not lock out those who chose under the old one.
type Policy struct {
	// MinLength is counted in characters (code points after NFC): 15 by default; below 15 is warned about, since a
	// password that stands alone needs them, below 8 is refused.
	MinLength int `yaml:"min_length"`
	// CharacterClasses is how many of the four classes (lower case, upper case, digits, anything else) a password must
	// have: 0, the default, asks for none, as NIST SP 800-63B-4 section 3.1.1.2 wants it.
	CharacterClasses int `yaml:"character_classes"`
}

func (p Policy) orDefaults() Policy {
	if p.MinLength == 0 {
		p.MinLength = defaultMinLength
	}
	return p
}

func (p Policy) validate() error {
	var errs []error
	if p.MinLength < lowestMinLength || p.MinLength > highestMinLength {
		errs = append(errs, fmt.Errorf("password.min_length: %d is not between %d and %d",
			p.MinLength, lowestMinLength, highestMinLength))
	}
	if p.CharacterClasses < 0 || p.CharacterClasses > 4 {
		errs = append(errs, fmt.Errorf("password.character_classes: %d is not between 0 and 4", p.CharacterClasses))
	}
	return errors.Join(errs...)
}

func (p Policy) warnings() []string {
	var w []string
	if p.MinLength < defaultMinLength {
		w = append(w, fmt.Sprintf("password.min_length: %d characters are too few for a password that stands alone; "+
			"%d are advised", p.MinLength, defaultMinLength))
	}
	if p.CharacterClasses > 0 {
		w = append(w, "password.character_classes: rules of composition make passwords more alike, not stronger; "+
			"ask for length instead")
	}
	return w
}

// normalize makes one spelling of what different keyboards send for the same text, as RFC 8265 section 4.2 does:
// NFC, and not NFKC, which would make different passwords equal. Every password passes here before it is hashed.
func normalize(password string) string { return norm.NFC.String(password) }

// check returns nil or the one reason why the password is not accepted. A common password is called common even where it
// is too short as well: "make it longer" would lead to password12345678.
func (p Policy) check(password string, about []string) error {
	if len(password) > maxPasswordBytes {
		return refuse("password_too_long", fmt.Sprintf("more than %d bytes", maxPasswordBytes))
	}
	if !typeable(password) {
		return refuse("password_invalid", "bytes that are no text")
	}
	bare := bareForm(password)
	switch {
	case isCommon(bare):
		return refuse("password_common", "one that many people use")
	case isAbout(bare, about):
		return refuse("password_contains_name", "made of the person's or the product's name")
	case utf8.RuneCountInString(normalize(password)) < p.MinLength:
		return refuse("password_too_short", fmt.Sprintf("less than %d characters", p.MinLength))
	case classes(password) < p.CharacterClasses:
		return refuse("password_too_simple", fmt.Sprintf("less than %d classes of characters", p.CharacterClasses))
	}
	return nil
}

func refuse(code, why string) error {
	return identity.WithCode(code, fmt.Errorf("password policy: %s: %w", why, identity.ErrInvalid))
}

// typeable refuses what no keyboard sends and what a decoder leaves behind where it could not read: two passwords that
// differ only there would be the same one.
func typeable(password string) bool {
	return utf8.ValidString(password) && !strings.ContainsFunc(password, func(r rune) bool {
		return r == utf8.RuneError || unicode.IsControl(r)
	})
}

// bareForm is the form in which passwords and words are compared: without case and without white space.
func bareForm(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, normalize(s))
}

//go:embed common.txt
var common string

// isCommon looks the whole password up, and the piece that it repeats. The list is read from end to end: microseconds
// beside a hash, and no table in memory.
func isCommon(bare string) bool {
	piece, times := repeated(bare)
	if times > 1 && utf8.RuneCountInString(piece) <= 4 {
		return true
	}
	for line := range strings.Lines(common) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if line == bare || line == piece {
			return true
		}
	}
	return false
}

// isAbout compares with the words as a whole, and with a word repeated.
func isAbout(bare string, about []string) bool {
	piece, _ := repeated(bare)
	for _, word := range about {
		if w := bareForm(word); w != "" && (w == bare || w == piece) {
			return true
		}
	}
	return false
}

// repeated returns the shortest piece that, written times times, is s: its smallest period.
func repeated(s string) (piece string, times int) {
	for n := 1; n <= len(s)/2; n++ {
		// s has period n exactly when it equals itself moved by n.
		if len(s)%n == 0 && s[n:] == s[:len(s)-n] {
			return s[:n], len(s) / n
		}
	}
	return s, 1
}

// classes counts which of lower case, upper case, digits and anything else occur.
func classes(password string) int {
	var seen [4]int
	for _, r := range password {
		switch {
		case unicode.IsLower(r):
			seen[0] = 1
		case unicode.IsUpper(r):
			seen[1] = 1
		case unicode.IsDigit(r):
			seen[2] = 1
		default:
			seen[3] = 1
		}
	}
	return seen[0] + seen[1] + seen[2] + seen[3]
}
