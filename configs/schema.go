package configs

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// SchemaDialect is the JSON Schema that Schema writes.
const SchemaDialect = "https://json-schema.org/draft/2020-12/schema"

// Schema describes the file as JSON Schema (draft 2020-12), made from the same structs that read it, with the kinds of
// providers it is given. Editors use it to complete and to check while typing; Load checks more.
func Schema(types map[string]func() any) ([]byte, error) {
	s := schemer{types: types, texts: descriptions()}
	root := s.block("", reflect.ValueOf(Defaults()).Elem())
	root["$schema"] = SchemaDialect
	root["title"] = "Sallyport configuration"
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return append(out, '\n'), nil
}

// durationPattern is what time.ParseDuration reads, signs aside.
const durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`

type object = map[string]any

type schemer struct {
	types map[string]func() any
	texts map[string]string // by key, entries of maps and lists as *
}

// of describes a value of which v is the default.
func (s schemer) of(path string, v reflect.Value) object {
	switch t := v.Type(); {
	case t.Kind() == reflect.Pointer:
		return s.of(path, newOf(t.Elem()).Elem())
	case t == reflect.TypeFor[Provider]():
		return s.provider(path)
	case isBlock(t) && isText(t):
		return object{"oneOf": []any{object{"type": "string"}, s.block(path, v)}}
	case isBlock(t):
		return s.block(path, v)
	case isText(t):
		return object{"type": "string"}
	case isDuration(t):
		return withDefault(object{"type": "string", "pattern": durationPattern}, v, short(time.Duration(v.Int())))
	case t.Kind() == reflect.Map:
		entry := s.of(join(path, "*"), reflect.New(t.Elem()).Elem())
		return object{"type": []string{"object", "null"}, "additionalProperties": entry}
	case t.Kind() == reflect.Slice:
		return object{"type": "array", "items": s.of(join(path, "*"), reflect.New(t.Elem()).Elem())}
	case t.Kind() == reflect.String:
		return withDefault(object{"type": []string{"string", "number"}}, v, v.String())
	case t.Kind() == reflect.Bool:
		return withDefault(object{"type": "boolean"}, v, v.Bool())
	case v.CanInt(), v.CanUint():
		return withDefault(object{"type": "integer"}, v, v.Interface())
	default:
		return object{}
	}
}

// withDefault adds a default that is not the zero value.
func withDefault(o object, v reflect.Value, spelled any) object {
	if !v.IsZero() {
		o["default"] = spelled
	}
	return o
}

func (s schemer) block(path string, v reflect.Value) object {
	properties, required := object{}, []string{}
	s.properties(path, v, properties, &required)
	return closed(properties, required)
}

func closed(properties object, required []string) object {
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	} else {
		o["type"] = []string{"object", "null"}
	}
	return o
}

func (s schemer) properties(path string, v reflect.Value, into object, required *[]string) {
	for _, f := range fieldsOf(v.Type()) {
		key := join(path, f.key)
		o := s.of(key, v.FieldByIndex(f.index))
		if f.enum != nil {
			o["type"], o["enum"] = "string", f.enum
		}
		if text := orElse(s.texts[key], f.doc); text != "" {
			o["description"] = text
		}
		if f.required && !strings.HasPrefix(path, "server") { // what the environment may say need not stand in the file
			*required = append(*required, f.key)
		}
		into[f.key] = o
	}
}

// provider has one shape for each kind.
func (s schemer) provider(path string) object {
	var kinds []any
	for _, kind := range slices.Sorted(maps.Keys(s.types)) {
		properties, required := object{}, []string{}
		if settings := reflect.ValueOf(s.types[kind]()); settings.Kind() == reflect.Pointer {
			s.properties(join("providers", kind), settings.Elem(), properties, &required)
		}
		s.properties(path, defaultOf(reflect.TypeFor[Provider]()), properties, &required)
		properties["type"] = object{"const": kind, "description": s.texts[join(path, "type")]}
		kinds = append(kinds, closed(properties, required))
	}
	return object{"oneOf": kinds}
}
