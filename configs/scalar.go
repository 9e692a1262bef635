package configs

import (
	"encoding"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// decimal is how whole numbers are written; 012 and 0x10 mean different things to different readers.
var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,18})$`)

func (d *decoder) scalar(path string, n *yaml.Node, v reflect.Value) {
	want := expected(v.Type())
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.wrong(path, "expected %s, found %s", want, describe(n))
		return
	}
	if !setScalar(n, v) {
		d.wrong(path, "expected %s, found %s", want, describe(n))
		return
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(n.Value)); err != nil {
			d.wrong(path, "%v", err)
		}
	}
}

// setScalar sets v unless it reads text itself; false: the node is of another type.
func setScalar(n *yaml.Node, v reflect.Value) bool {
	switch t := v.Type(); {
	case isText(t):
		return isPlainText(n)
	case isDuration(t):
		span, err := time.ParseDuration(n.Value)
		v.SetInt(int64(span))
		return err == nil
	case t.Kind() == reflect.String:
		v.SetString(n.Value)
		return isPlainText(n)
	case t.Kind() == reflect.Bool:
		v.SetBool(strings.EqualFold(n.Value, "true"))
		return n.ShortTag() == "!!bool"
	case v.CanInt():
		i, err := strconv.ParseInt(n.Value, 10, t.Bits())
		v.SetInt(i)
		return err == nil && decimal.MatchString(n.Value)
	case v.CanUint():
		i, err := strconv.ParseUint(n.Value, 10, t.Bits())
		v.SetUint(i)
		return err == nil && decimal.MatchString(n.Value)
	}
	return false
}

// isPlainText: numbers and dates may be meant as text, true and false may not.
func isPlainText(n *yaml.Node) bool {
	return slices.Contains([]string{"!!str", "!!int", "!!float", "!!timestamp"}, n.ShortTag())
}

// expected describes a type for people.
func expected(t reflect.Type) string {
	switch {
	case isDuration(t):
		return "a duration such as 15m or 8h"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		return "a whole number"
	default:
		return "text"
	}
}

// describe says what a node is without repeating its value, which may be a secret at the wrong place.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a block of keys"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	}
	switch tag := n.ShortTag(); tag {
	case "!!str":
		return "text"
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "a number"
	default:
		return tag
	}
}
