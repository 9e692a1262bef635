package configs

import (
	"maps"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"
)

// provider decodes a block that two own: the keys of Provider are ours, the rest belongs to the kind.
func (d *decoder) provider(path string, n *yaml.Node, p *Provider) {
	pairs := d.pairs(path, n)
	own := fieldsOf(reflect.TypeFor[Provider]())
	var ours, theirs []pair
	for _, e := range pairs {
		if slices.Contains(keysOf(own), e.key) {
			ours = append(ours, e)
		} else {
			theirs = append(theirs, e)
		}
	}
	d.fill(path, ours, reflect.ValueOf(p).Elem(), own, keysOf(own))
	settings, ok := d.settings(path, p.Type)
	if !ok {
		return // without the kind nobody can say which keys it knows
	}
	p.Settings = settings.Interface()
	fields := fieldsOf(settings.Elem().Type())
	d.fill(path, theirs, settings.Elem(), fields, append(keysOf(own), keysOf(fields)...))
}

// settings makes the struct of a kind.
func (d *decoder) settings(path, kind string) (reflect.Value, bool) {
	key := join(path, "type")
	known := slices.Sorted(maps.Keys(d.types))
	construct, ok := d.types[kind]
	switch {
	case kind == "":
		if !d.faulty(key) {
			d.wrong(key, "is required%s", suggestion("", known))
		}
		return reflect.Value{}, false
	case !ok:
		d.wrong(key, "unknown provider type %q%s", kind, suggestion(kind, known))
		return reflect.Value{}, false
	}
	v := reflect.ValueOf(construct())
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		d.wrong(key, "provider type %q has no settings to decode into", kind)
		return reflect.Value{}, false
	}
	return v, true
}
