package configs

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds the configuration file in bytes.
const maxFile = 1 << 20

//go:embed default.yaml
var defaultFile []byte

// DefaultName is how the built-in configuration is called in messages.
const DefaultName = "default.yaml (built in)"

// Load reads, completes and checks a configuration file; relative file names in it start from its folder. An empty path
// means the built-in configuration, whose files start from the working directory. types gives, for each provider type,
// a constructor of the pointer to struct that its block is decoded into; env looks up environment variables, nil means
// that there are none.
//
// All mistakes come together as Mistakes; then there is no Config. Warnings come in either case.
func Load(path string, types map[string]func() any, env func(string) (string, bool)) (*Config, []Warning, error) {
	if path == "" {
		return Parse(DefaultName, defaultFile, ".", types, env)
	}
	data, err := readBounded(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data, filepath.Dir(path), types, env)
}

// readBounded reads one byte more than allowed, which Parse then refuses.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// Parse is Load for a file already in memory. name is used in messages, dir is what relative file names start from.
func Parse(
	name string, data []byte, dir string, types map[string]func() any, env func(string) (string, bool),
) (*Config, []Warning, error) {
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	d := newDecoder(name, types)
	root := d.read(data)
	cfg := Defaults()
	cfg.name, cfg.dir, cfg.origins = name, dir, d.origins
	if root != nil {
		d.decode("", root, reflect.ValueOf(cfg).Elem())
	}
	if len(d.mistakes) > 0 && root == nil {
		return nil, nil, sortMistakes(d.mistakes)
	}
	overrides := d.override(cfg, env)
	d.complete(cfg)
	secrets := d.resolve(cfg, env)
	d.validate(cfg)
	if len(d.mistakes) > 0 {
		return nil, sortWarnings(d.warnings), sortMistakes(d.mistakes)
	}
	cfg.hash = digest(data, overrides, secrets)
	return cfg, sortWarnings(d.warnings), nil
}

// read parses the one document of a file; nil without a mistake is an empty one.
func (d *decoder) read(data []byte) *yaml.Node {
	switch {
	case len(data) > maxFile:
		d.wrongAt(Place{File: d.name}, "", "the file is larger than %d bytes", maxFile)
		return nil
	case !utf8.Valid(data):
		d.wrongAt(Place{File: d.name}, "", "the file is not UTF-8")
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if !errors.Is(err, io.EOF) {
			d.notYAML(err)
			return nil
		}
		return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		d.wrongAt(d.placeOf(&second), "", "a second document begins here, expected one")
		return nil
	case !errors.Is(err, io.EOF):
		d.notYAML(err)
		return nil
	}
	return document.Content[0]
}

var yamlLine = regexp.MustCompile(`^yaml: line ([0-9]+): `)

func (d *decoder) notYAML(err error) {
	at, text := Place{File: d.name}, err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		at.Line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	d.wrongAt(at, "", "is not YAML: %s", strings.TrimPrefix(text, "yaml: "))
}

// complete fills in defaults that depend on other keys.
func (d *decoder) complete(cfg *Config) {
	cfg.Server.Issuer = strings.TrimSuffix(cfg.Server.Issuer, "/")
	if cfg.Storage.MasterKey.Reference() == "" {
		_ = cfg.Storage.MasterKey.UnmarshalText([]byte(defaultMasterKey(cfg.Storage.SQLite.Path))) // never fails
	}
	for id, p := range cfg.Providers {
		p.ID = id
		p.Title = orElse(p.Title, id)
	}
	for id, a := range cfg.Applications {
		a.ID = id
		a.Title, a.Audience = orElse(a.Title, id), orElse(a.Audience, id)
		session := join(join("applications", id), "session")
		if !d.has(join(session, "lifetime")) {
			a.Session.Lifetime = cfg.Session.Lifetime
		}
		if !d.has(join(session, "idle")) {
			a.Session.Idle = min(cfg.Session.Idle, a.Session.Lifetime)
		}
		if !d.has(join(session, "address_change")) {
			a.Session.AddressChange = cfg.Session.AddressChange
		}
		if !d.has(join(session, "confirm_by_email")) {
			a.Session.ConfirmByEmail = cfg.Session.ConfirmByEmail
		}
		fillShapes(a.Claims)
	}
	if !d.has("session.remember.idle") {
		cfg.Session.Remember.Idle = cfg.Session.Remember.Lifetime
	}
	for _, p := range cfg.Profiles {
		fillShapes(p.Claims)
	}
	for id, e := range cfg.Embedding.Embedders {
		e.ID, e.DisplayName = id, orElse(e.DisplayName, id)
		if !d.has(join(join(embedders, id), "session.idle")) {
			e.Session.Idle = min(e.Session.Idle, e.Session.Absolute)
		}
	}
	if cfg.Login.DefaultProvider == "" {
		cfg.Login.DefaultProvider = onlyPasswordProvider(cfg)
	}
}

func orElse(value, other string) string {
	if value == "" {
		return other
	}
	return value
}

func onlyPasswordProvider(cfg *Config) string {
	found := ""
	for id, p := range cfg.Providers {
		if p.Settings != nil && !p.Disabled && p.TakesPassword() {
			if found != "" {
				return ""
			}
			found = id
		}
	}
	return found
}

// digest hashes parts with their lengths, so that no two different sets of parts look alike.
func digest(data []byte, lists ...[]string) string {
	h := sha256.New()
	part := func(b []byte) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(b)))
		_, _ = h.Write(size[:]) // a hash never fails
		_, _ = h.Write(b)
	}
	part(data)
	for _, list := range lists {
		part([]byte(strconv.Itoa(len(list))))
		for _, s := range list {
			part([]byte(s))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
