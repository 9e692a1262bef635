package configs

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// urlPlace is what routing needs of a URL.
type urlPlace struct{ scheme, host, hostname, prefix string }

// hostPattern: names in lower case, IPv4 addresses; IPv6 addresses are checked by netip.
var hostPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// pathPattern is what every proxy reads alike: no escapes, no dots segments (checked apart), nothing encoded.
var pathPattern = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*/?$`)

// parseWebURL accepts https URLs, and http ones for this machine only, in exactly one spelling.
func parseWebURL(raw string) (urlPlace, error) {
	place, err := parsePlainURL(raw)
	if err == nil && place.scheme == "http" && !isLocalHost(place.hostname) {
		return urlPlace{}, errors.New("must be https; http is for localhost, names below it and loopback addresses")
	}
	return place, err
}

// parsePlainURL accepts https and http URLs that every reader takes apart alike.
func parsePlainURL(raw string) (urlPlace, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return urlPlace{}, errors.New("is not a URL, expected one such as https://sso.example.com")
	}
	host := u.Hostname()
	switch {
	case u.Scheme != "https" && u.Scheme != "http", u.Opaque != "", host == "":
		return urlPlace{}, errors.New("expected an absolute URL such as https://sso.example.com")
	case u.User != nil, u.RawQuery != "", u.ForceQuery, strings.Contains(raw, "#"):
		return urlPlace{}, errors.New("must have no user, query or fragment")
	case !isHost(host):
		return urlPlace{}, errors.New("the host must be a name in lower case (punycode) or an address")
	case u.RawPath != "", !pathPattern.MatchString(u.Path), path.Clean("/"+u.Path) != "/"+strings.Trim(u.Path, "/"):
		return urlPlace{}, errors.New("the path must be plain: letters, digits and . _ ~ - between single slashes")
	}
	place := urlPlace{scheme: u.Scheme, hostname: host, prefix: strings.TrimSuffix(u.Path, "/"), host: host}
	if strings.Contains(host, ":") {
		place.host = "[" + host + "]"
	}
	port, err := urlPort(u)
	if err != nil {
		return urlPlace{}, err
	}
	place.host += port
	return place, nil
}

// urlPort is ":port", or "" for the scheme's own.
func urlPort(u *url.URL) (string, error) {
	p := u.Port()
	if p == "" {
		if strings.HasSuffix(u.Host, ":") {
			return "", errors.New("has a colon but no port")
		}
		return "", nil
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != p {
		return "", errors.New("the port must be a number from 1 to 65535")
	}
	if u.Scheme == "https" && n == 443 || u.Scheme == "http" && n == 80 {
		return "", nil
	}
	return ":" + p, nil
}

func isHost(h string) bool {
	if a, err := netip.ParseAddr(h); err == nil {
		return a.Zone() == "" && a.String() == h
	}
	return len(h) <= 253 && hostPattern.MatchString(h)
}

// isLocalHost: names and addresses that never leave the machine, which browsers treat as secure (W3C Secure Contexts
// section 3.1).
func isLocalHost(h string) bool {
	if h == "localhost" || strings.HasSuffix(h, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(h)
	return err == nil && a.IsLoopback()
}

// checkListen: host:port with a numeric port; 0 lets the system choose.
func checkListen(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return errors.New("expected host:port such as 127.0.0.1:8080, or :8080 for every address")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return errors.New("the port must be a number from 0 to 65535")
	}
	if _, err := netip.ParseAddr(host); host != "" && err != nil && !hostPattern.MatchString(host) {
		return errors.New("the host must be an address or a name in lower case")
	}
	return nil
}

// isLocalListen: nobody from outside can connect.
func isLocalListen(s string) bool {
	host, _, err := net.SplitHostPort(s)
	return err == nil && isLocalHost(host)
}
