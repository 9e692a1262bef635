package ldap

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"
)

const (
	entryUUID  = "entryUUID"  // RFC 4530: text
	objectGUID = "objectGUID" // Active Directory: 16 bytes
)

// subjectAttribute says which attribute identifies people; empty means whichever of the two usual ones is there.
type subjectAttribute string

// names returns the attributes to ask for.
func (a subjectAttribute) names() []string {
	if a == "" {
		return []string{entryUUID, objectGUID}
	}
	return []string{string(a)}
}

// of reads the subject of an entry. An entry without exactly one is not let in: without a stable subject the account
// would hang on something that is handed on.
func (a subjectAttribute) of(entry *goldap.Entry) (string, error) {
	for _, name := range a.names() {
		values := rawValues(entry, name)
		switch {
		case len(values) == 0:
			continue
		case len(values) > 1:
			return "", fmt.Errorf("%s has %d values", name, len(values))
		case strings.EqualFold(name, objectGUID):
			return guidText(values[0])
		}
		text := string(values[0])
		if text == "" || len(text) > 255 || !utf8.ValidString(text) {
			return "", fmt.Errorf("%s is not a short text", name)
		}
		return text, nil
	}
	return "", errors.New("the entry shows no " + strings.Join(a.names(), " or ") + "; may the account that asks read it?")
}

// filter finds the entry of a subject again.
func (a subjectAttribute) filter(subject string) (string, error) {
	switch {
	case a == "":
		stored, err := guidBytes(subject)
		if err != nil {
			return "", err
		}
		// Servers take a condition on an attribute they do not know for undefined (RFC 4511 section 4.5.1.7), which
		// leaves the other one to decide.
		return "(|" + equals(entryUUID, subject) + equals(objectGUID, string(stored)) + ")", nil
	case strings.EqualFold(string(a), objectGUID):
		stored, err := guidBytes(subject)
		if err != nil {
			return "", err
		}
		return equals(objectGUID, string(stored)), nil
	}
	return equals(string(a), subject), nil
}

// equals is a condition on one attribute, its value escaped byte by byte where it must be (RFC 4515 section 3).
func equals(attribute, value string) string {
	return "(" + attribute + "=" + goldap.EscapeFilter(value) + ")"
}
