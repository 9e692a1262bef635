package ldap

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"
)

// complete fetches the rest of every attribute that the server gave in part. Active Directory hands out long attributes
// as "memberOf;range=0-1499" and leaves it to the client to ask on ([MS-ADTS] section 3.1.1.3.1.3.3); whoever does not
// sees a person with no groups at all. More than most values are errTooMany.
func (c *conn) complete(ctx context.Context, entry *goldap.Entry, most int) error {
	for i, attribute := range entry.Attributes {
		name, next, ok := parseRange(attribute.Name)
		if !ok {
			continue
		}
		whole := &goldap.EntryAttribute{Name: name, Values: attribute.Values, ByteValues: attribute.ByteValues}
		for next > 0 {
			part, following, err := c.rangeFrom(ctx, entry.DN, name, next)
			if err != nil {
				return err
			}
			whole.Values = append(whole.Values, part.Values...)
			whole.ByteValues = append(whole.ByteValues, part.ByteValues...)
			if len(whole.ByteValues) > most {
				return fmt.Errorf("%s: %w", name, errTooMany)
			}
			next = following
		}
		entry.Attributes[i] = whole
	}
	return nil
}

// rangeFrom asks for the values from one index on. following is the index to go on at, or zero after the last.
func (c *conn) rangeFrom(ctx context.Context, dn, name string, from int) (
	part *goldap.EntryAttribute, following int, err error,
) {
	entries, err := c.search(ctx, query{
		base: dn, scope: goldap.ScopeBaseObject, filter: "(objectClass=*)", limit: 1,
		attributes: []string{fmt.Sprintf("%s;range=%d-*", name, from)},
	})
	if err != nil {
		return nil, 0, err
	}
	for _, entry := range entries {
		for _, attribute := range entry.Attributes {
			got, following, ok := parseRange(attribute.Name)
			if ok && strings.EqualFold(got, name) && (following == 0 || following > from) {
				return attribute, following, nil
			}
		}
	}
	// Going on without them would take groups away from the person, unnoticed.
	return nil, 0, fmt.Errorf("the values of %s from %d on are missing", name, from)
}

// parseRange takes "memberOf;range=0-1499" apart: the name, and the index that follows (zero when the range ends in *).
func parseRange(description string) (name string, next int, ok bool) {
	name, option, found := strings.Cut(description, ";")
	if !found || len(option) < 6 || !strings.EqualFold(option[:6], "range=") {
		return "", 0, false
	}
	low, high, found := strings.Cut(option[6:], "-")
	start, err := strconv.ParseUint(low, 10, 31)
	if !found || err != nil {
		return "", 0, false
	}
	if high == "*" {
		return name, 0, true
	}
	end, err := strconv.ParseUint(high, 10, 31)
	if err != nil || end < start {
		return "", 0, false
	}
	return name, int(end) + 1, true
}
