package broker

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/broker/sessions"
	"sallyport/identity"
)

// keyLimits are what a key may be used for beside its roles.
type keyLimits struct {
	networks []netip.Prefix
	requests int
	per      time.Duration
}

// limitsOfKey returns nil for a key that is limited by nothing here.
func limitsOfKey(k sessions.Key) *keyLimits {
	if len(k.Networks) == 0 && k.Requests == 0 {
		return nil
	}
	return &keyLimits{networks: k.Networks, requests: k.Requests, per: k.Per}
}

// keyMay refuses a key outside of its networks: identity.ErrDenied coded key_network.
func (b *Broker) keyMay(at Visit, v *view) error {
	if !v.key.from(at.Address) {
		return denied("key_network", "key %s from another network", v.principal.KeyID)
	}
	return nil
}

// from reports whether a request from an address may use the key. An address that nobody told is in no network.
func (l *keyLimits) from(address string) bool {
	if len(l.networks) == 0 {
		return true
	}
	a, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(l.networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// Act is Authenticate for a request that does something: it counts against an API key's own limit, and a read-only key
// comes with a method that changes nothing. Errors are those of Authenticate and MayUse, and identity.ErrThrottled coded
// rate_limited. Who only looks whether a credential still holds calls Authenticate.
func (b *Broker) Act(ctx context.Context, at Visit, c Credential, app *Application, method string) (identity.Principal, error) {
	v, _, err := b.authenticate(ctx, at, c, app)
	if err != nil {
		return identity.Principal{}, publicRefusal(err)
	}
	if err := b.act(v, method); err != nil {
		return identity.Principal{}, err
	}
	return v.principal, nil
}

// act lets a view be used for one request.
func (b *Broker) act(v *view, method string) error {
	if err := MayUse(v.principal, method); err != nil {
		return err
	}
	if v.key == nil || v.key.requests == 0 {
		return nil
	}
	key := throttleKey{path: "api key", who: v.principal.KeyID, requests: v.key.requests, per: v.key.per}
	if b.throttle.bucket(key).AllowN(b.throttle.now(), 1) {
		return nil
	}
	return key.exceeded()
}

// MayUse refuses a read-only key at a method that could change something: identity.ErrDenied coded key_read_only. A
// method that nobody told could be any.
func MayUse(p identity.Principal, method string) error {
	if !p.ReadOnly {
		return nil
	}
	switch method {
	case "GET", "HEAD", "OPTIONS":
		return nil
	}
	return denied("key_read_only", "method %q with key %s", method, p.KeyID)
}

// maxNetworks bounds the networks of one key.
const maxNetworks = 50

// ParseNetwork reads a network as CIDR or as one address, IPv4 or IPv6 without a zone: identity.ErrInvalid coded
// network_invalid otherwise. What stands behind the prefix length does not count.
func ParseNetwork(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return netip.Prefix{}, networkInvalid("no network")
		}
		return canonicalNetwork(p)
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, networkInvalid("no address")
	}
	return canonicalNetwork(netip.PrefixFrom(a, a.BitLen()))
}

// canonicalNetwork is the one spelling of a network. IPv4 within IPv6 becomes IPv4, because that is how addresses are
// compared; what reaches beyond it would hold no address at all.
func canonicalNetwork(p netip.Prefix) (netip.Prefix, error) {
	const mapped = 96 // ::ffff:0:0/96 (RFC 4291 section 2.5.5.2)
	if !p.IsValid() {
		return netip.Prefix{}, networkInvalid("no network")
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < mapped {
			return netip.Prefix{}, networkInvalid("IPv4 within IPv6, and more")
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-mapped)
	}
	return p.Masked(), nil
}

// keyNetworks returns the canonical networks of a key, sorted, each once.
func keyNetworks(wanted []netip.Prefix) ([]netip.Prefix, error) {
	if len(wanted) > maxNetworks {
		return nil, networkInvalid(fmt.Sprintf("%d networks", len(wanted)))
	}
	var out []netip.Prefix
	for _, w := range wanted {
		p, err := canonicalNetwork(w)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out), nil
}

func networkInvalid(why string) error {
	return identity.WithCode("network_invalid", fmt.Errorf("%s: %w", why, identity.ErrInvalid))
}

// The bounds of a key's own rate.
const (
	mostRequests      = 1_000_000
	leastPer, mostPer = time.Second, 24 * time.Hour
)

// checkRate takes both halves of a rate or neither: identity.ErrInvalid coded rate_invalid.
func checkRate(requests int, per time.Duration) error {
	if requests == 0 && per == 0 || 0 < requests && requests <= mostRequests && leastPer <= per && per <= mostPer {
		return nil
	}
	return identity.WithCode("rate_invalid", fmt.Errorf("%d requests per %s: %w", requests, per, identity.ErrInvalid))
}
