package jws

import (
	"fmt"

	josejson "github.com/go-jose/go-jose/v4/json"
)

// MaxDepth is how deep JSON may nest: the outermost object is level 1.
const MaxDepth = 32

// CheckJSON accepts exactly one JSON value (RFC 8259) that every reader understands alike. Beyond the grammar it
// refuses duplicate names at any level (compared after unescaping), invalid UTF-8, unpaired surrogates, NUL, nesting
// beyond MaxDepth and anything after the value. Errors wrap ErrMalformed.
func CheckJSON(data []byte) error {
	s := scanner{data: data}
	s.space()
	if err := s.value(); err != nil {
		return err
	}
	return s.end()
}

// StrictObject reads one JSON object into a pointer, after CheckJSON. Unlike encoding/json it matches the names of
// struct fields exactly ("Exp" is not "exp"), so a message has one reading. Unknown names are ignored, as the standards
// ask. The bound on the size is the caller's. encoding/json's Number is not supported in into; RawMessage is. Errors
// wrap ErrMalformed.
func StrictObject(data []byte, into any) error {
	if _, err := scanObject(data, false); err != nil {
		return err
	}
	// This decoder is encoding/json without the case folding.
	if err := josejson.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: a value has the wrong type", ErrMalformed)
	}
	return nil
}

// member is a name of the outermost object with its value as it stands in the input.
type member struct {
	name  string
	value []byte
}

// scanObject checks that data is one strict JSON object and, if asked, collects its outermost members.
func scanObject(data []byte, collect bool) ([]member, error) {
	s := scanner{data: data, collect: collect}
	s.space()
	if s.peek() != '{' {
		return nil, s.fail("not an object")
	}
	if err := s.value(); err != nil {
		return nil, err
	}
	return s.members, s.end()
}
