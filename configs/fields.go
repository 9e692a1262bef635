package configs

import (
	"encoding"
	"reflect"
	"slices"
	"strings"
	"time"
)

// field is a configurable field of a struct.
type field struct {
	key       string
	index     []int
	typ       reflect.Type
	enum      []string
	required  bool
	omitEmpty bool
	doc       string
}

// fieldsOf lists what YAML may set in a struct, with inlined structs spread out, in the order they are declared.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if slices.Contains(strings.Split(options, ","), "inline") && f.Type.Kind() == reflect.Struct {
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				out = append(out, inner)
			}
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		var enum []string
		if e := f.Tag.Get("enum"); e != "" {
			enum = strings.Split(e, ",")
		}
		out = append(out, field{
			key: name, index: []int{i}, typ: f.Type, enum: enum, doc: f.Tag.Get("doc"),
			required: f.Tag.Get("required") == "true", omitEmpty: slices.Contains(strings.Split(options, ","), "omitempty"),
		})
	}
	return out
}

func keysOf(fields []field) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.key
	}
	return out
}

// isText reports whether a value of the type is written as one scalar that it reads itself.
func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// isBlock reports whether a value of the type is written as a block of keys.
func isBlock(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && len(fieldsOf(t)) > 0 && t != reflect.TypeFor[Network]()
}

func isDuration(t reflect.Type) bool { return t == reflect.TypeFor[time.Duration]() }

// join appends a key to a dotted path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// visit calls fn for the value at each path below v that YAML can set: leaves, and entries of maps and lists. Values in
// maps, which cannot be changed in place, are put back. Settings of a provider count as part of its block.
func visit(path string, v reflect.Value, fn func(path string, leaf reflect.Value)) {
	switch t := v.Type(); {
	case t == reflect.TypeFor[Provider]():
		for _, f := range fieldsOf(t) {
			visit(join(path, f.key), v.FieldByIndex(f.index), fn)
		}
		if s := v.FieldByName("Settings"); !s.IsNil() {
			visit(path, s.Elem(), fn)
		}
	case t.Kind() == reflect.Pointer:
		if !v.IsNil() {
			visit(path, v.Elem(), fn)
		}
	case isBlock(t):
		for _, f := range fieldsOf(t) {
			visit(join(path, f.key), v.FieldByIndex(f.index), fn)
		}
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		visitMap(path, v, fn)
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		for i := range v.Len() {
			visit(indexed(path, i), v.Index(i), fn)
		}
	default:
		fn(path, v)
	}
}

func visitMap(path string, v reflect.Value, fn func(path string, leaf reflect.Value)) {
	for _, key := range sortedKeys(v) {
		k := reflect.ValueOf(key).Convert(v.Type().Key())
		entry := reflect.New(v.Type().Elem()).Elem()
		entry.Set(v.MapIndex(k))
		visit(join(path, key), entry, fn)
		v.SetMapIndex(k, entry)
	}
}

func sortedKeys(m reflect.Value) []string {
	keys := make([]string, 0, m.Len())
	for _, k := range m.MapKeys() {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	return keys
}
