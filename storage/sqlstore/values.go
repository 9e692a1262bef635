package sqlstore

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/identity"
)

// ms is how a time is stored: milliseconds since 1970, cut (never rounded up, so nothing lives longer than it was
// given); the zero time is 0.
func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// at is the reverse of ms, in UTC.
func at(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// when is ms for columns in which NULL means "not yet".
func when(t time.Time) sql.NullInt64 { return sql.NullInt64{Int64: ms(t), Valid: !t.IsZero()} }

// some is a text that narrows a query; the empty one narrows nothing.
func some(text string) sql.NullString { return sql.NullString{String: text, Valid: text != ""} }

// storable reports whether every engine keeps these texts as they are: valid UTF-8 without NUL. PostgreSQL refuses
// anything else, and a text that changes on its way must never be a key.
func storable(texts ...string) bool {
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
			return false
		}
	}
	return true
}

// exact refuses texts that are compared later and could not be kept exactly: identity.ErrInvalid.
func exact(op string, texts ...string) error {
	if !storable(texts...) {
		return fmt.Errorf("%s: text is not UTF-8 or holds NUL: %w", op, identity.ErrInvalid)
	}
	return nil
}

// findable answers identity.ErrNotFound for keys that cannot be stored: nothing has such a name.
func findable(op string, texts ...string) error {
	if !storable(texts...) {
		return fmt.Errorf("%s: %w", op, identity.ErrNotFound)
	}
	return nil
}

// shown makes a text that is only ever displayed storable: what cannot be kept becomes U+FFFD. A browser that sends an
// odd User-Agent may sign in, and an odd user name does not keep its refusal out of the audit.
func shown(s string) string {
	if storable(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// list is how a list of texts is stored: a JSON array.
func list(texts []string) (string, error) {
	if len(texts) == 0 {
		return "[]", nil
	}
	b, err := json.Marshal(texts)
	return string(b), err
}

// unlist is the reverse of list; an empty list is nil.
func unlist(stored string) ([]string, error) {
	if stored == "[]" {
		return nil, nil
	}
	var texts []string
	if err := json.Unmarshal([]byte(stored), &texts); err != nil {
		return nil, fmt.Errorf("stored list: %w", err)
	}
	return texts, nil
}

// each converts rows.
func each[R, T any](rows []R, convert func(R) (T, error)) ([]T, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	out := make([]T, 0, len(rows))
	for _, r := range rows {
		v, err := convert(r)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
