package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// UnmarshalText reads CIDR or a single address. A range whose address has bits beyond its length is refused: it is
// unclear what was meant.
func (n *Network) UnmarshalText(text []byte) error {
	s := string(text)
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", s)
		}
		a = a.Unmap()
		n.Prefix = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", s)
	case p.Addr().Is4In6():
		return errors.New("write IPv4 networks as such, not inside IPv6")
	case p.Masked() != p:
		return fmt.Errorf("%q has bits beyond its length, expected %s", s, p.Masked())
	}
	n.Prefix = p
	return nil
}

// Holds reports whether the address is in the network; IPv4 inside IPv6 counts as IPv4.
func (n Network) Holds(a netip.Addr) bool { return n.Contains(a.Unmap()) }

// everybody: a range that leaves nobody out.
func (n Network) everybody() bool { return n.Bits() == 0 }
