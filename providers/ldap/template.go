package ldap

import (
	"errors"
	"fmt"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

// placeholder stands for the typed name in filters and DNs.
const placeholder = "{username}"

// filterTemplate is a filter with a hole in it.
type filterTemplate struct {
	text string
	// anybody is the same filter without the conditions that hold the name: whoever this door admits at all. It is what
	// a refresh asks, for the name may have changed since.
	anybody string
}

// parseFilterTemplate accepts a filter whose placeholder stands inside values only, and at least once.
func parseFilterTemplate(text string) (filterTemplate, error) {
	if strings.Count(text, "{") != strings.Count(text, placeholder) || !strings.Contains(text, placeholder) {
		return filterTemplate{}, errors.New("must contain {username}, and no other placeholder")
	}
	// Braces mean nothing in RFC 4515, so the template itself is a filter.
	packet, err := goldap.CompileFilter(text)
	if err != nil {
		return filterTemplate{}, fmt.Errorf("is not a filter (RFC 4515): %w", err)
	}
	general, err := forget(packet)
	if err != nil {
		return filterTemplate{}, err
	}
	anybody, err := goldap.DecompileFilter(general)
	if err != nil {
		return filterTemplate{}, fmt.Errorf("is not a filter (RFC 4515): %w", err)
	}
	return filterTemplate{text: text, anybody: anybody}, nil
}

// fill puts a name in, escaped so that it can only ever be a value (RFC 4515 section 3).
func (t filterTemplate) fill(username string) string {
	return strings.ReplaceAll(t.text, placeholder, goldap.EscapeFilter(username))
}

// forget returns the filter with every condition on the name replaced by one that always holds.
func forget(packet *ber.Packet) (*ber.Packet, error) {
	switch packet.Tag {
	case goldap.FilterAnd, goldap.FilterOr:
		for i, child := range packet.Children {
			general, err := forget(child)
			if err != nil {
				return nil, err
			}
			packet.Children[i] = general
		}
		return packet, nil
	case goldap.FilterNot:
		if mentions(packet) {
			// Everybody else would match.
			return nil, errors.New("{username} cannot stand under a negation")
		}
		return packet, nil
	}
	if !mentions(packet) {
		return packet, nil
	}
	if !inValueOnly(packet) {
		return nil, errors.New("{username} must stand in the place of a value")
	}
	return goldap.CompileFilter("(objectClass=*)")
}

// inValueOnly reports whether the placeholder of one condition is in its value, and not in its attribute or rule.
func inValueOnly(packet *ber.Packet) bool {
	switch packet.Tag {
	case goldap.FilterEqualityMatch, goldap.FilterApproxMatch, goldap.FilterSubstrings:
		return len(packet.Children) == 2 && !mentions(packet.Children[0])
	case goldap.FilterExtensibleMatch:
		for _, part := range packet.Children {
			if part.Tag != goldap.MatchingRuleAssertionMatchValue && mentions(part) {
				return false
			}
		}
		return true
	}
	return false
}

func mentions(packet *ber.Packet) bool {
	if packet.Data != nil && strings.Contains(packet.Data.String(), placeholder) {
		return true
	}
	if text, ok := packet.Value.(string); ok && strings.Contains(text, placeholder) {
		return true
	}
	for _, child := range packet.Children {
		if mentions(child) {
			return true
		}
	}
	return false
}

// dnTemplate is a DN with a hole in one value.
type dnTemplate string

// parseDNTemplate accepts a DN whose placeholder stands in exactly one value, and nowhere else.
func parseDNTemplate(text string) (dnTemplate, error) {
	if strings.Count(text, placeholder) != 1 || strings.Count(text, "{") != 1 {
		return "", errors.New("must contain {username} once, and no other placeholder")
	}
	dn, err := goldap.ParseDN(text)
	if err != nil {
		return "", fmt.Errorf("is not a DN: %w", err)
	}
	for _, rdn := range dn.RDNs {
		for _, pair := range rdn.Attributes {
			if strings.Contains(pair.Value, placeholder) {
				return dnTemplate(text), nil
			}
		}
	}
	return "", errors.New("{username} must stand in the place of a value")
}

// fill puts a name in, escaped so that it can only ever be part of that value (RFC 4514 section 2.4).
func (t dnTemplate) fill(username string) string {
	return strings.Replace(string(t), placeholder, goldap.EscapeDN(username), 1)
}
