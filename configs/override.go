package configs

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// envPrefix begins the names of the environment variables that override scalars under server and storage.
const envPrefix = "SALLYPORT_"

// EnvName is the environment variable that overrides a dotted key: server.tls.key is SALLYPORT_SERVER_TLS_KEY. Only
// single values under server and storage have one.
func EnvName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// override takes values from the environment; an empty variable counts as unset. It returns what it took, sorted, as
// NAME=value.
func (d *decoder) override(cfg *Config, env func(string) (string, bool)) []string {
	var taken []string
	for path, block := range map[string]reflect.Value{
		"server":  reflect.ValueOf(&cfg.Server).Elem(),
		"storage": reflect.ValueOf(&cfg.Storage).Elem(),
	} {
		scalars(path, block, func(key string, v reflect.Value) {
			name := EnvName(key)
			value, ok := env(name)
			if !ok || value == "" {
				return
			}
			taken = append(taken, name+"="+value)
			d.mistakes = slices.DeleteFunc(d.mistakes, func(m Mistake) bool { return m.Key == key })
			d.places[key], d.origins[key] = Place{File: name}, name
			d.scalar(key, envNode(value, v), v)
		})
	}
	slices.Sort(taken)
	return taken
}

// envNode spells a variable as YAML would. Text stays text, whatever it looks like.
func envNode(value string, v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: value}
	if v.Kind() == reflect.String || isText(v.Type()) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// scalars calls fn for each single value of a block, whether set or not; lists and maps have no place in a variable.
func scalars(path string, v reflect.Value, fn func(key string, v reflect.Value)) {
	for _, f := range fieldsOf(v.Type()) {
		key, value := join(path, f.key), v.FieldByIndex(f.index)
		switch {
		case isBlock(f.typ):
			scalars(key, value, fn)
		case f.typ.Kind() != reflect.Slice && f.typ.Kind() != reflect.Map:
			fn(key, value)
		}
	}
}
