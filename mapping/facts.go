package mapping

import (
	"slices"

	"sallyport/identity"
)

// facts is one identity, looked at from the sides that rules ask about; each side is worked out once, when first asked
// for. Empty groups and values are not there at all: empty is not a value.
type facts struct {
	id     identity.Identity
	sorted []string
	names  map[string]string
	claims map[string][]string
}

// groups are sorted, each once.
func (f *facts) groups() []string {
	if f.sorted == nil {
		f.sorted = valuesOf(f.id.Groups)
	}
	return f.sorted
}

// dns are the groups that are distinguished names: normal spelling to the first spelling upstream uses.
func (f *facts) dns() map[string]string {
	if f.names != nil {
		return f.names
	}
	f.names = make(map[string]string, len(f.groups()))
	var scratch []byte
	for _, g := range f.groups() {
		normal, ok := appendNormalDN(scratch[:0], g)
		scratch = normal
		if !ok {
			continue
		}
		if _, again := f.names[string(normal)]; !again {
			f.names[string(normal)] = g
		}
	}
	return f.names
}

// claim is sorted, each value once.
func (f *facts) claim(path string) []string {
	if path == GroupsClaim {
		return f.groups()
	}
	values, ok := f.claims[path]
	if !ok {
		if f.claims == nil {
			f.claims = map[string][]string{}
		}
		values = valuesOf(f.id.Attributes[path])
		f.claims[path] = values
	}
	return values
}

// valuesOf returns a sorted copy without empty and repeated values; never nil.
func valuesOf(values []string) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		if v != "" {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
