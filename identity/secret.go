package identity

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// Secret is a secret in configuration: "env:NAME", "file:path" or (warned about) a literal. It prints as [redacted]
// everywhere; only Reveal shows the value. The zero value is an unset secret.
type Secret struct {
	ref   string
	value string
}

const redacted = "[redacted]"

// NewSecret returns a resolved secret that holds value, for tests and for values made in memory.
func NewSecret(value string) Secret { return Secret{value: value} }

// UnmarshalText takes the reference as written in configuration (encoding.TextUnmarshaler, so YAML decodes it).
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret{ref: string(text)}
	return nil
}

// Resolve reads the value: from the environment through lookup, or from a file (relative paths start at dir; one
// trailing line end is dropped). An empty or missing source is an error that names the source, never its content.
func (s *Secret) Resolve(dir string, lookup func(string) (string, bool)) error {
	switch {
	case s.ref == "":
		return nil
	case strings.HasPrefix(s.ref, "env:"):
		name := strings.TrimPrefix(s.ref, "env:")
		v, ok := lookup(name)
		if !ok || v == "" {
			return fmt.Errorf("environment variable %s is not set", name)
		}
		s.value = v
	case strings.HasPrefix(s.ref, "file:"):
		path := strings.TrimPrefix(s.ref, "file:")
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		b, err := os.ReadFile(path) //nolint:gosec // the operator names the file
		if err != nil {
			return fmt.Errorf("secret file: %w", err)
		}
		v := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
		if v == "" {
			return errors.New("secret file " + path + " is empty")
		}
		s.value = v
	default:
		s.value = s.ref
	}
	return nil
}

// Literal reports whether the secret stands in the configuration file itself, which deserves a warning.
func (s Secret) Literal() bool {
	return s.ref != "" && !strings.HasPrefix(s.ref, "env:") && !strings.HasPrefix(s.ref, "file:")
}

// IsSet reports whether there is a value.
func (s Secret) IsSet() bool { return s.value != "" }

// Reveal returns the value itself; call it only where the secret is used.
func (s Secret) Reveal() string { return s.value }

// Reference returns "env:NAME" or "file:path", or [redacted] for a literal and "" for an unset secret.
func (s Secret) Reference() string {
	switch {
	case s.ref == "" && s.value == "":
		return ""
	case s.ref == "" || s.Literal():
		return redacted
	default:
		return s.ref
	}
}

// String, GoString, LogValue, MarshalText never show the value.
func (s Secret) String() string { return redacted }

// GoString see String.
func (s Secret) GoString() string { return redacted }

// LogValue see String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText writes the reference, see Reference.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.Reference()), nil }
