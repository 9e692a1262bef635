package configs

import (
	"encoding"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Print writes the configuration in force as YAML that could be read again: defaults filled in, each value with where
// it comes from, secrets as their references or [redacted].
func Print(w io.Writer, cfg *Config) error {
	p := printer{cfg: cfg}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(p.node("", reflect.ValueOf(cfg).Elem(), false)); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return e.Close()
}

type printer struct{ cfg *Config }

// node spells a value. brief leaves out what is zero and was not said, as in blocks whose defaults others own.
func (p printer) node(path string, v reflect.Value, brief bool) *yaml.Node {
	if text, ok := v.Interface().(encoding.TextMarshaler); ok && !isBlock(v.Type()) {
		b, err := text.MarshalText()
		if err != nil {
			b = nil
		}
		return p.text(path, string(b))
	}
	switch t := v.Type(); {
	case t == reflect.TypeFor[Provider]():
		n := p.block(path, v, true)
		settings := p.node(path, v.FieldByName("Settings").Elem(), true)
		n.Content = append(n.Content, settings.Content...)
		return n
	case t.Kind() == reflect.Pointer && !v.IsNil():
		return p.node(path, v.Elem(), brief)
	case isBlock(t):
		return p.block(path, v, brief)
	case t.Kind() == reflect.Map:
		return p.entries(path, v, brief)
	case t.Kind() == reflect.Slice:
		return p.list(path, v)
	case isDuration(t):
		return p.plain(path, short(time.Duration(v.Int())))
	case t.Kind() == reflect.String:
		return p.text(path, v.String())
	default:
		return p.plain(path, fmt.Sprint(v.Interface()))
	}
}

func (p printer) block(path string, v reflect.Value, brief bool) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fieldsOf(v.Type()) {
		key, value := join(path, f.key), v.FieldByIndex(f.index)
		_, said := p.cfg.origins[key]
		if !said && value.IsZero() && (brief || f.omitEmpty || !isAlwaysShown(value)) {
			continue
		}
		child := p.node(key, value, brief)
		if child.Kind == yaml.MappingNode && len(child.Content) == 0 && !said {
			continue
		}
		n.Content = append(n.Content, p.key(f.key, key, child), child)
	}
	return n
}

// isAlwaysShown: false and 0 are values; an empty text, list or block is none.
func isAlwaysShown(v reflect.Value) bool {
	return v.Kind() == reflect.Bool || v.CanInt() || v.CanUint()
}

func (p printer) entries(path string, v reflect.Value, brief bool) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, key := range sortedKeys(v) {
		entry := v.MapIndex(reflect.ValueOf(key).Convert(v.Type().Key()))
		child := p.node(join(path, key), entry, brief)
		n.Content = append(n.Content, p.key(key, join(path, key), child), child)
	}
	return n
}

func (p printer) list(path string, v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range v.Len() {
		child := p.node(indexed(path, i), v.Index(i), true)
		if child.Kind == yaml.ScalarNode {
			child.LineComment, n.Style = "", yaml.FlowStyle
		}
		n.Content = append(n.Content, child)
	}
	if v.Len() == 0 {
		n.Style = yaml.FlowStyle
	}
	return n
}

// key carries the origin of a list, which has no place for it of its own.
func (p printer) key(name, path string, value *yaml.Node) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(name)
	if value.Kind == yaml.SequenceNode {
		n.HeadComment = p.cfg.Origin(path)
	}
	return n
}

func (p printer) text(path, s string) *yaml.Node {
	n := &yaml.Node{LineComment: p.cfg.Origin(path)}
	n.SetString(s)
	if strings.ContainsAny(s, "\n\r") {
		n.Style, n.LineComment = yaml.DoubleQuotedStyle, ""
	}
	return n
}

func (p printer) plain(path, s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: s, LineComment: p.cfg.Origin(path)}
}
