package configs

import (
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// site is what browsers mean by "same site" (HTML section 7.1.1.1): scheme and registrable domain.
func site(scheme, hostname string) string { return scheme + "://" + registrableDomain(hostname) }

// registrableDomain is the public suffix of a name and the label before it; an address, and a name that is a suffix
// itself, stand for themselves.
func registrableDomain(hostname string) string {
	suffix := publicSuffix(hostname)
	rest, cut := strings.CutSuffix(hostname, "."+suffix)
	if !cut || isAddress(hostname) {
		return hostname
	}
	return rest[strings.LastIndexByte(rest, '.')+1:] + "." + suffix
}

// publicSuffix is the part of a name below which everybody registers (publicsuffix.org); a name outside the list ends in
// one label that is.
func publicSuffix(hostname string) string {
	suffix, _ := publicsuffix.PublicSuffix(hostname)
	return suffix
}

func isAddress(hostname string) bool {
	_, err := netip.ParseAddr(hostname)
	return err == nil
}
