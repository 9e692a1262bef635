package saml

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/beevik/etree"
)

// The namespaces that are read.
const (
	nsProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsMetadata  = "urn:oasis:names:tc:SAML:2.0:metadata"
	nsDsig      = "http://www.w3.org/2000/09/xmldsig#"
	nsXML       = "http://www.w3.org/XML/1998/namespace"
)

// The bounds of a document. Thousands of group values fit, what makes parsers and canonicalizers slow does not (SML-09).
const (
	maxMessage       = 2 << 20
	maxDepth         = 32
	maxElements      = 50_000
	maxAttributes    = 32 // of one element
	maxAllAttributes = 100_000
	maxInScope       = 32
	maxSignatures    = 2
	maxName          = 256
)

// census is what a scan counted. encrypted are whole assertions, hidden are parts of one.
type census struct {
	assertions, encrypted, hidden, responses, signatures int
}

// scanner walks a document token by token, before anything builds a tree of it.
type scanner struct {
	comments bool
	// around are the prefixes that are declared outside the document.
	around   map[string]string
	stack    []open
	elements int
	attrs    int
	roots    int
	ids      map[string]bool
	found    census
}

// open is an element that has begun: its name as spelled, and the prefixes in scope.
type open struct {
	name  xml.Name
	scope map[string]string
}

// parse bounds a message and returns its root. Comments, CDATA, a document type and processing instructions have no use
// in SAML messages but to make two readers disagree, so none is taken.
func parse(raw []byte) (*etree.Element, census, error) { return parseWithin(raw, nil) }

// parseWithin is parse for what was taken out of another message: the prefixes that are declared around it there hold in
// it, too (xmlenc-core1 section 4.5.3). It says so itself afterwards and stands alone.
func parseWithin(raw []byte, around map[string]string) (*etree.Element, census, error) {
	if bytes.Contains(raw, []byte("<!")) {
		return nil, census{}, errors.New("the document has a comment, CDATA or a document type")
	}
	root, found, err := (&scanner{around: around}).read(raw, maxMessage)
	if err != nil {
		return nil, census{}, err
	}
	declare(root, around)
	return root, found, nil
}

// read is for metadata, which may have comments between elements, see text.
func read(raw []byte, limit int, comments bool) (*etree.Element, census, error) {
	return (&scanner{comments: comments}).read(raw, limit)
}

// read scans and then parses.
func (s *scanner) read(raw []byte, limit int) (*etree.Element, census, error) {
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if len(raw) > limit {
		return nil, census{}, fmt.Errorf("the document is larger than %d bytes", limit)
	}
	if !utf8.Valid(raw) {
		return nil, census{}, errors.New("the document is not UTF-8")
	}
	s.ids = map[string]bool{}
	if err := s.scan(raw); err != nil {
		return nil, census{}, err
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil || doc.Root() == nil {
		return nil, census{}, errors.New("the document is not well-formed")
	}
	return doc.Root(), s.found, nil
}

func (s *scanner) scan(raw []byte) error {
	d := xml.NewDecoder(bytes.NewReader(raw))
	for {
		at := d.InputOffset()
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.New("the document is not well-formed") // the cause quotes the document
		}
		if err := s.token(token, at); err != nil {
			return err
		}
	}
	if len(s.stack) != 0 || s.roots != 1 {
		return errors.New("the document is not one whole element")
	}
	return nil
}

func (s *scanner) token(token xml.Token, at int64) error {
	switch t := token.(type) {
	case xml.StartElement:
		return s.start(t)
	case xml.EndElement:
		if len(s.stack) == 0 || s.stack[len(s.stack)-1].name != t.Name {
			return errors.New("an element ends that did not begin")
		}
		s.stack = s.stack[:len(s.stack)-1]
	case xml.CharData:
		if len(s.stack) == 0 && len(bytes.TrimSpace(t)) != 0 {
			return errors.New("text stands outside the element")
		}
	case xml.ProcInst:
		if t.Target != "xml" || at != 0 {
			return errors.New("the document has a processing instruction")
		}
	case xml.Comment:
		if !s.comments {
			return errors.New("the document has a comment")
		}
	default:
		return errors.New("the document has a document type")
	}
	return nil
}

func (s *scanner) start(t xml.StartElement) error {
	if len(s.stack) == 0 {
		s.roots++
	}
	s.elements++
	s.attrs += len(t.Attr)
	switch {
	case s.roots > 1:
		return errors.New("the document has more than one root")
	case len(s.stack) >= maxDepth:
		return fmt.Errorf("the document is deeper than %d", maxDepth)
	case s.elements > maxElements:
		return fmt.Errorf("the document has more than %d elements", maxElements)
	case len(t.Attr) > maxAttributes:
		return fmt.Errorf("an element has more than %d attributes", maxAttributes)
	case s.attrs > maxAllAttributes:
		return fmt.Errorf("the document has more than %d attributes", maxAllAttributes)
	case !plainName(t.Name):
		return errors.New("an element has no plain name")
	}
	scope, err := s.scope(t.Attr)
	if err != nil {
		return err
	}
	space, ok := scope[t.Name.Space]
	if !ok && t.Name.Space != "" {
		return errors.New("a prefix is not declared")
	}
	if err := s.attributes(t.Attr, scope); err != nil {
		return err
	}
	s.stack = append(s.stack, open{name: t.Name, scope: scope})
	return s.count(space, t.Name.Local)
}

// scope returns the prefixes in scope inside an element with these attributes.
func (s *scanner) scope(attrs []xml.Attr) (map[string]string, error) {
	outer := map[string]string{"xml": nsXML}
	if n := len(s.stack); n > 0 {
		outer = s.stack[n-1].scope
	} else {
		maps.Copy(outer, s.around)
	}
	inner, copied := outer, false
	for _, a := range attrs {
		prefix := ""
		switch {
		case a.Name.Space == "xmlns":
			prefix = a.Name.Local
		case a.Name.Space != "" || a.Name.Local != "xmlns":
			continue
		}
		switch {
		case prefix == "xml" || prefix == "xmlns" || a.Value == nsXML || a.Value == "http://www.w3.org/2000/xmlns/":
			return nil, errors.New("a reserved namespace is declared")
		case a.Value == "" || len(a.Value) > maxName:
			return nil, errors.New("a namespace is empty or too long")
		}
		if !copied {
			inner, copied = make(map[string]string, len(outer)+2), true
			maps.Copy(inner, outer)
		}
		inner[prefix] = a.Value
	}
	if len(inner) > maxInScope {
		return nil, fmt.Errorf("more than %d namespaces are in scope", maxInScope)
	}
	return inner, nil
}

// attributes refuses names that appear twice, however they are spelled, and identifiers that do.
func (s *scanner) attributes(attrs []xml.Attr, scope map[string]string) error {
	seen := make(map[xml.Name]bool, len(attrs))
	for _, a := range attrs {
		if !plainName(a.Name) {
			return errors.New("an attribute has no plain name")
		}
		name := a.Name
		if name.Space != "" && name.Space != "xmlns" {
			space, ok := scope[name.Space]
			if !ok {
				return errors.New("a prefix is not declared")
			}
			name.Space = "{" + space + "}"
		}
		if seen[name] {
			return errors.New("an attribute appears twice")
		}
		seen[name] = true
		if name.Space != "xmlns" && strings.EqualFold(name.Local, "id") {
			if a.Value == "" || len(a.Value) > maxName || s.ids[a.Value] {
				return errors.New("an identifier is empty, too long or appears twice")
			}
			s.ids[a.Value] = true
		}
	}
	return nil
}

// count notes the elements of which there may be few. Names count in any namespace: nobody else's Assertion has a place
// in a message.
func (s *scanner) count(space, local string) error {
	switch local {
	case "Assertion":
		s.found.assertions++
	case "EncryptedAssertion":
		s.found.encrypted++
	case "EncryptedID", "NewEncryptedID", "EncryptedAttribute":
		s.found.hidden++
	case "Response":
		s.found.responses++
	case "Signature":
		s.found.signatures++
	case "Object":
		if space == nsDsig {
			return errors.New("a signature has an Object")
		}
	}
	if s.found.signatures > maxSignatures {
		return fmt.Errorf("the document has more than %d signatures", maxSignatures)
	}
	return nil
}

// plainName: prefix and local name are ASCII names without colon. Other names are legal XML, but libraries disagree about
// them.
func plainName(n xml.Name) bool {
	return plain(n.Local) && (n.Space == "" || plain(n.Space))
}

func plain(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '.' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// is reports whether an element has this expanded name.
func is(el *etree.Element, space, local string) bool {
	return el.Tag == local && el.NamespaceURI() == space
}

// children returns the direct children of this name.
func children(el *etree.Element, space, local string) []*etree.Element {
	var out []*etree.Element
	for _, c := range el.ChildElements() {
		if is(c, space, local) {
			out = append(out, c)
		}
	}
	return out
}

// only returns the one direct child of this name.
func only(el *etree.Element, space, local string) (*etree.Element, error) {
	all := children(el, space, local)
	if len(all) != 1 {
		return nil, fmt.Errorf("there are %d %s elements in %s, not one", len(all), local, kindOf(el))
	}
	return all[0], nil
}

// kindOf names an element in an error: its tag where it is one of those we look for.
func kindOf(el *etree.Element) string {
	switch el.Tag {
	case "Response", "Assertion", "Status", "Subject", "SubjectConfirmation", "Conditions", "AudienceRestriction",
		"AuthnStatement", "Signature", "SignedInfo", "Reference", "Transforms", "EntityDescriptor",
		"EncryptedAssertion", "EncryptedData", "EncryptedKey", "CipherData":
		return el.Tag
	default:
		return "an element"
	}
}

// attr returns an attribute without namespace; a prefixed namesake is another attribute.
func attr(el *etree.Element, name string) string {
	for _, a := range el.Attr {
		if a.Space == "" && a.Key == name {
			return a.Value
		}
	}
	return ""
}

func hasAttr(el *etree.Element, name string) bool {
	for _, a := range el.Attr {
		if a.Space == "" && a.Key == name {
			return true
		}
	}
	return false
}

// text returns the characters of an element that holds nothing else: whatever else stands between them, a comment or an
// element, is where readers begin to disagree about the value.
func text(el *etree.Element) (string, error) {
	var b strings.Builder
	for _, c := range el.Child {
		data, ok := c.(*etree.CharData)
		if !ok {
			return "", errors.New("a value has something else than text in it")
		}
		b.WriteString(data.Data)
	}
	return b.String(), nil
}

// bytesOf returns what the one child of this name holds in base64. People indent that with white space.
func bytesOf(el *etree.Element, space, local string) ([]byte, error) {
	value, err := only(el, space, local)
	if err != nil {
		return nil, err
	}
	encoded, err := text(value)
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(encoded), ""))
	if err != nil {
		return nil, errors.New("the " + local + " is not base64")
	}
	return raw, nil
}
