package providers

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

// CheckURL accepts addresses that we may ask, or send a browser to: absolute https URLs without user and fragment, and
// such http ones on this machine. Its errors follow a key or a name ("must be …") and do not repeat the text, which may
// hold a password.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("must be a URL")
	case u.Hostname() == "" || u.Opaque != "":
		return errors.New("must be an absolute URL with a host")
	case u.User != nil || strings.Contains(text, "#"):
		return errors.New("must have no user or fragment")
	case u.Scheme == "https" || u.Scheme == "http" && IsLoopback(u):
		return nil
	default:
		return errors.New("must be https; http is for localhost only")
	}
}

// CheckBareURL is CheckURL for what names somebody (an issuer, an audience) and so has no query either.
func CheckBareURL(text string) error {
	if err := CheckURL(text); err != nil {
		return err
	}
	if strings.Contains(text, "?") {
		return errors.New("must have no query")
	}
	return nil
}

// IsLoopback reports whether a URL's host is this machine: a loopback address, localhost, or a name below it.
func IsLoopback(u *url.URL) bool {
	if isLocalhostName(u.Hostname()) {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}

func isLocalhostName(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
