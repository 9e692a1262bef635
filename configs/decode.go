package configs

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxNodes bounds the values a file amounts to once its aliases are followed.
const maxNodes = 100_000

// maxMistakes bounds what is reported: beyond it the file is something else altogether.
const maxMistakes = 200

// decoder reads nodes into structs and remembers where everything stood. Unlike the library's own decoding it finds all
// mistakes, not the first, and knows the place of each.
type decoder struct {
	name     string
	types    map[string]func() any
	nodes    int
	places   map[string]Place  // by dotted key
	origins  map[string]string // by dotted key, see Config.Origin
	mistakes []Mistake
	warnings []Warning
}

func newDecoder(name string, types map[string]func() any) *decoder {
	return &decoder{name: name, types: types, places: map[string]Place{}, origins: map[string]string{}}
}

func indexed(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func (d *decoder) placeOf(n *yaml.Node) Place {
	return Place{File: d.name, Line: n.Line, Column: n.Column}
}

// place finds where a key stands, or the nearest block around it.
func (d *decoder) place(path string) Place {
	for p := path; p != ""; {
		if at, ok := d.places[p]; ok {
			return at
		}
		p = p[:max(strings.LastIndexAny(p, ".["), 0)]
	}
	return Place{File: d.name}
}

func (d *decoder) has(path string) bool {
	_, ok := d.places[path]
	return ok
}

// faulty reports whether something wrong was found at exactly this key.
func (d *decoder) faulty(path string) bool {
	return slices.ContainsFunc(d.mistakes, func(m Mistake) bool { return m.Key == path })
}

func (d *decoder) wrong(path, format string, args ...any) {
	d.wrongAt(d.place(path), path, format, args...)
}

func (d *decoder) wrongAt(at Place, path, format string, args ...any) {
	if len(d.mistakes) < maxMistakes {
		d.mistakes = append(d.mistakes, Mistake{Place: at, Key: path, Text: fmt.Sprintf(format, args...)})
	}
}

// warn keeps the first warning of a key.
func (d *decoder) warn(path, format string, args ...any) {
	if !slices.ContainsFunc(d.warnings, func(w Warning) bool { return w.Key == path }) {
		d.warnings = append(d.warnings, Warning{Place: d.place(path), Key: path, Text: fmt.Sprintf(format, args...)})
	}
}

// enter follows an alias and counts; nil means that the file is over its bound, which is reported once.
func (d *decoder) enter(path string, n *yaml.Node) *yaml.Node {
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.wrongAt(d.placeOf(n), path, "the file has more than %d values once its aliases are followed", maxNodes)
		}
		return nil
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias // the parser never makes an alias of an alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// decode reads n into v, which must be settable.
func (d *decoder) decode(path string, n *yaml.Node, v reflect.Value) {
	at := d.placeOf(n)
	if n = d.enter(path, n); n == nil {
		return
	}
	if _, known := d.places[path]; !known && path != "" {
		d.places[path] = at
	}
	d.origins[path] = fmt.Sprintf("%s:%d", d.name, at.Line)
	switch t := v.Type(); {
	case t.Kind() == reflect.Pointer:
		if v.IsNil() {
			v.Set(newOf(t.Elem()))
		}
		d.decode(path, n, v.Elem())
	case t == reflect.TypeFor[Provider]():
		d.provider(path, n, v.Addr().Interface().(*Provider)) //nolint:errcheck // the case above says what it is
	case isBlock(t) && (n.Kind != yaml.ScalarNode || !isText(t) || isNull(n)):
		d.block(path, n, v)
	case reflect.PointerTo(t).Implements(reflect.TypeFor[yaml.Unmarshaler]()):
		d.viaYAML(path, n, v)
	case isText(t), isDuration(t):
		d.scalar(path, n, v)
	default:
		d.kind(path, n, v)
	}
}

func (d *decoder) kind(path string, n *yaml.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.Map:
		if v.Type().Key().Kind() == reflect.String {
			d.entries(path, n, v)
			return
		}
		d.viaYAML(path, n, v)
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			d.list(path, n, v)
			return
		}
		d.viaYAML(path, n, v)
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		d.scalar(path, n, v)
	default:
		d.viaYAML(path, n, v)
	}
}

// viaYAML is for kinds of values that no configuration of ours has so far.
func (d *decoder) viaYAML(path string, n *yaml.Node, v reflect.Value) {
	if err := n.Decode(v.Addr().Interface()); err != nil {
		d.wrong(path, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
}

// pair is one entry of a mapping.
type pair struct {
	key   string
	at    Place
	value *yaml.Node
}

// pairs lists the entries of a mapping, merged ones ("<<") last. Keys that stand twice are a mistake: two readers would
// take different ones.
func (d *decoder) pairs(path string, n *yaml.Node) []pair {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		d.wrong(path, "expected a block of keys, found %s", describe(n))
		return nil
	}
	return d.merged(path, n, 0)
}

func (d *decoder) merged(path string, n *yaml.Node, depth int) []pair {
	var out, later []pair
	first := map[string]Place{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge":
			later = append(later, d.merge(path, v, depth)...)
		case k.Kind != yaml.ScalarNode:
			d.wrongAt(d.placeOf(k), path, "a key must be a plain word")
		default:
			if before, twice := first[k.Value]; twice {
				d.wrongAt(d.placeOf(k), join(path, k.Value), "stands twice, first in line %d", before.Line)
				continue
			}
			first[k.Value] = d.placeOf(k)
			out = append(out, pair{k.Value, d.placeOf(k), v})
		}
	}
	for _, p := range later {
		if _, own := first[p.key]; !own {
			first[p.key] = p.at
			out = append(out, p)
		}
	}
	return out
}

// merge reads the value of "<<": a mapping or a list of mappings, usually by alias.
func (d *decoder) merge(path string, n *yaml.Node, depth int) []pair {
	at := d.placeOf(n)
	if n = d.enter(path, n); n == nil {
		return nil
	}
	switch {
	case depth > 8:
		d.wrongAt(at, path, "<< is nested too deeply")
	case n.Kind == yaml.MappingNode:
		return d.merged(path, n, depth+1)
	case n.Kind == yaml.SequenceNode:
		var out []pair
		for _, item := range n.Content {
			out = append(out, d.merge(path, item, depth+1)...)
		}
		return out
	default:
		d.wrongAt(at, path, "<< needs a block of keys, found %s", describe(n))
	}
	return nil
}

func (d *decoder) block(path string, n *yaml.Node, v reflect.Value) {
	fields := fieldsOf(v.Type())
	d.fill(path, d.pairs(path, n), v, fields, keysOf(fields))
}

// fill sets the fields the pairs name; known are the keys to suggest for others.
func (d *decoder) fill(path string, pairs []pair, v reflect.Value, fields []field, known []string) {
	for _, p := range pairs {
		key := join(path, p.key)
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == p.key })
		if i < 0 {
			d.wrongAt(p.at, key, "%s", unknownKey(v.Type(), p.key, known))
			continue
		}
		d.places[key] = p.at
		target := v.FieldByIndex(fields[i].index)
		before := len(d.mistakes)
		d.decode(key, p.value, target)
		if e := fields[i].enum; e != nil && before == len(d.mistakes) && !slices.Contains(e, target.String()) {
			d.wrong(key, "unknown value %q%s", target.String(), suggestion(target.String(), e))
		}
	}
}

// unknownKey says what is wrong with a key that the block does not have.
func unknownKey(t reflect.Type, key string, known []string) string {
	if t == reflect.TypeFor[ProfileChanges]() && slices.Contains(keysOf(fieldsOf(reflect.TypeFor[Profile]())), key) {
		return "is the same for every application; a profile changes " + strings.Join(known, ", ")
	}
	return "unknown key" + suggestion(key, known)
}

func (d *decoder) entries(path string, n *yaml.Node, v reflect.Value) {
	pairs := d.pairs(path, n)
	v.Set(reflect.MakeMapWithSize(v.Type(), len(pairs)))
	for _, p := range pairs {
		key := join(path, p.key)
		d.places[key] = p.at
		entry := newEntry(v.Type().Elem())
		d.decode(key, p.value, entry)
		v.SetMapIndex(reflect.ValueOf(p.key).Convert(v.Type().Key()), entry)
	}
}

// newEntry makes an entry with its defaults; never a nil pointer, whatever becomes of decoding it.
func newEntry(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	if t.Kind() == reflect.Pointer {
		v.Set(newOf(t.Elem()))
	}
	return v
}

// newOf makes a pointer to a value of the type with its defaults.
func newOf(t reflect.Type) reflect.Value {
	v := reflect.New(t)
	v.Elem().Set(defaultOf(t))
	return v
}

func (d *decoder) list(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		// Nothing is not an empty list: "require:" without a value would let everybody in.
		d.wrong(path, "expected a list such as [a, b], found %s", describe(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), 0, len(n.Content))
	for i, item := range n.Content {
		entry := reflect.New(v.Type().Elem()).Elem()
		d.decode(indexed(path, i), item, entry)
		out = reflect.Append(out, entry)
	}
	v.Set(out)
}
