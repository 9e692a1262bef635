package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"sallyport/broker"
	"sallyport/identity"
)

// Headers that tell an application who it is (FWD-02).
const (
	headerUser  = "X-Auth-User"
	headerID    = "X-Auth-Id"
	headerName  = "X-Auth-Name"
	headerEmail = "X-Auth-Email"
	headerRoles = "X-Auth-Roles"
	headerToken = "X-Auth-Token"
)

// IdentityHeaders sets all headers that tell an application who it is, those without a value too: what is not set is the
// client's to set (FWD-02). They are empty for nobody in particular. Header values take visible ASCII only; what is
// outside is percent-encoded, so that nothing a person calls themselves can end a header or start another.
func IdentityHeaders(to http.Header, p identity.Principal, token string) {
	to[headerUser] = []string{headerText(p.Username)}
	to[headerID] = []string{p.Subject}
	to[headerName] = []string{headerText(p.Name)}
	to[headerEmail] = []string{headerText(p.Email)}
	to[headerRoles] = []string{strings.Join(p.Roles, ",")}
	to[headerToken] = []string{token}
}

// largestHeaders is how much all identity headers may have together, in bytes: more than that many servers refuse, or
// take for an attack.
const largestHeaders = 15 << 10

// fitsHeaders refuses whom the identity headers cannot tell about in full. A part of somebody's roles is worse than none:
// an application may take one that is missing for a permission.
func fitsHeaders(a broker.Access) error {
	p := &a.Principal
	const names, encoded = 128, 3 // bytes of the headers' names, and of one byte that is percent-encoded
	size := names + encoded*(len(p.Username)+len(p.Name)+len(p.Email)) + len(p.Subject) + len(a.Token) + len(a.NewCookie)
	for _, role := range p.Roles {
		size += len(role) + len(",")
	}
	if size > largestHeaders {
		return identity.WithCode("headers_too_large",
			fmt.Errorf("headers about account %s have %d bytes: %w", a.Principal.Subject, size, identity.ErrDenied))
	}
	return nil
}

func headerText(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '%' {
			return url.PathEscape(s)
		}
	}
	return s
}

// StripIdentity removes every header by which some program or other tells who a client is or where it comes from, in
// every spelling that an application might take for it: CGI makes X_Auth_User of X-Auth-User, and some frameworks take
// any punctuation for the same (FWD-02).
func StripIdentity(h http.Header) {
	for name := range h {
		if tellsIdentity(SameHeader(name)) {
			delete(h, name)
		}
	}
}

// SameHeader is equal for names that an application may take for the same header: lower case, all else than letters and
// digits a hyphen.
func SameHeader(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'A' <= c && c <= 'Z':
			return c + 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			return c
		default:
			return '-'
		}
	}, name)
}

func tellsIdentity(name string) bool {
	switch name {
	case "forwarded", "proxy", "x-user", "client-ip", "true-client-ip", "x-real-ip", "x-client-ip", "x-cluster-client-ip",
		"cf-connecting-ip", "wl-proxy-client-ip":
		return true
	}
	for _, prefix := range [...]string{
		"x-auth", "remote-", "x-remote-", "x-forwarded", "x-webauth", "x-original-", "x-rewrite-", "x-sallyport",
		"x-ssl-client-", "x-ms-client-principal", "x-goog-authenticated-",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// Canonical reports whether a request target ("/path?query" as it stood in the request, u what we read of it) has a path
// that every reader takes for the same: one that cleans paths, one that decodes twice, one that compares bytes.
func Canonical(u *url.URL, target string) bool {
	raw, _, _ := strings.Cut(target, "?")
	return strings.HasPrefix(raw, "/") && u.EscapedPath() == raw && !TwoReadings(u) && !needless(raw)
}

// TwoReadings reports whether a proxy or an application that cleans or decodes paths may understand another path than we
// do.
func TwoReadings(u *url.URL) bool {
	raw := strings.ToLower(u.EscapedPath())
	if u.Fragment != "" { // to some a part of the path
		return true
	}
	if strings.Contains(raw, "//") || strings.ContainsAny(u.Path, "\\;") || strings.Contains(raw, "%2f") {
		return true
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if strings.HasSuffix(segment, ".") || strings.HasSuffix(segment, " ") { // ".", "..", and "admin." is "admin" on Windows
			return true
		}
	}
	return !wellFormed(u.Path) || twiceEncoded(u.Path)
}

// twiceEncoded finds what a second decoding would turn into something else: "%41", and "%u0041" as IIS writes it.
func twiceEncoded(path string) bool {
	for i := range len(path) {
		if _, ok := encodedAt(path, i); ok {
			return true
		}
		if i+6 <= len(path) && strings.EqualFold(path[i:i+2], "%u") {
			if _, err := hex.DecodeString(path[i+2 : i+6]); err == nil {
				return true
			}
		}
	}
	return false
}

// LeadsAside reports whether an address that a proxy asks about may lead past what is decided about it: to another
// application of its host, or past a rule.
func LeadsAside(f *Facts, app *broker.Application, u *url.URL) bool {
	return TwoReadings(u) && (len(app.Rules) > 0 || shared(f, app)) || CaseLeadsElsewhere(f, app, u.Path)
}

// shared reports whether the path, and not the host alone, chose the application.
func shared(f *Facts, app *broker.Application) bool {
	return app.URL.Path != "/" || slices.ContainsFunc(f.Applications(), func(other *broker.Application) bool {
		return other.ID != app.ID && other.URL != nil && strings.EqualFold(other.URL.Host, app.URL.Host)
	})
}

// CaseLeadsElsewhere reports whether a server that ignores case would take the path of a request to the application for
// another application's on the same host: "/ADMIN/x" is not below "/admin/" for us.
func CaseLeadsElsewhere(f *Facts, app *broker.Application, path string) bool {
	path, own := sameCase(path), sameCase(app.URL.Path)
	return slices.ContainsFunc(f.Applications(), func(other *broker.Application) bool {
		if other.ID == app.ID || other.URL == nil || !strings.EqualFold(other.URL.Host, app.URL.Host) {
			return false
		}
		below := sameCase(other.URL.Path)
		return strings.HasPrefix(below, own) && (strings.HasPrefix(path, below) || path+"/" == below)
	})
}

// sameCase is equal for what differs in case only. By way of capitals, a long s and a dotless i are letters like others.
func sameCase(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// needless finds percent-encoding of what needs none (RFC 3986 section 6.2.2.2): "/%61dmin" is another path to who
// compares bytes.
func needless(raw string) bool {
	for i := range len(raw) {
		if b, ok := encodedAt(raw, i); ok && (isAlphanumeric(b) || strings.IndexByte("-._~", b) >= 0) {
			return true
		}
	}
	return false
}

// encodedAt decodes one "%41".
func encodedAt(s string, i int) (byte, bool) {
	if s[i] != '%' || i+2 >= len(s) {
		return 0, false
	}
	b, err := hex.DecodeString(s[i+1 : i+3])
	if err != nil {
		return 0, false
	}
	return b[0], true
}

func isAlphanumeric(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'z'
}

func wellFormed(path string) bool {
	return utf8.ValidString(path) && !strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f })
}

// OurCookies knows our cookies among those of a request or an answer. The zero value is ready; it is safe for concurrent
// use.
type OurCookies struct{ known atomic.Pointer[cookieNames] }

// cookieNames are the names, in lower case, that the profiles of a configuration give to cookies of ours.
type cookieNames struct {
	of    *broker.Snapshot
	names []string
}

// Without returns the request's cookies as they were sent, less ours (FWD-04). With own, the application's own cookie
// stays where it holds the application's token, which such an application verifies itself; say so only of a request that
// the cookie opened, or an application would believe a token that we no longer do.
func (o *OurCookies) Without(r *http.Request, app *broker.Application, own bool) string {
	lines := r.Header["Cookie"]
	if len(lines) == 0 {
		return ""
	}
	keep := ""
	if own && app.Profile.Cookie.Token {
		keep = CookieName(app)
	}
	names := o.namesIn(Of(r).Snapshot)
	var kept []string
	for pair := range strings.SplitSeq(strings.Join(lines, "; "), ";") {
		pair = strings.TrimSpace(pair)
		name, value, _ := strings.Cut(pair, "=")
		if pair != "" && (!isOurs(pair, names) || name == keep && !isOurs(value, names)) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "; ")
}

// Drop removes those fields of Set-Cookie that would set a cookie of ours: only we do.
func (o *OurCookies) Drop(answer http.Header, snap *broker.Snapshot) {
	const setCookie = "Set-Cookie"
	lines := answer[setCookie]
	if len(lines) == 0 {
		return
	}
	names := o.namesIn(snap)
	lines = slices.DeleteFunc(lines, func(line string) bool {
		pair, _, _ := strings.Cut(line, ";")
		return isOurs(strings.TrimSpace(pair), names)
	})
	if answer[setCookie] = lines; len(lines) == 0 {
		delete(answer, setCookie)
	}
}

func (o *OurCookies) namesIn(snap *broker.Snapshot) []string {
	if known := o.known.Load(); known != nil && known.of == snap {
		return known.names
	}
	found := &cookieNames{of: snap}
	for _, app := range snap.Applications() {
		if name := strings.ToLower(app.Profile.Cookie.Name); name != "" && !slices.Contains(found.names, name) {
			found.names = append(found.names, name)
		}
	}
	o.known.Store(found)
	return found.names
}

// isOurs finds our cookies however they are spelt: some readers ignore case, some take a comma or a quote for the end of
// a cookie, PHP reads other names than were sent. What begins as only ours do is found anywhere; a name that a profile
// chose may be a part of other words.
func isOurs(pair string, names []string) bool {
	pair = strings.ToLower(pair)
	sent, _, _ := strings.Cut(pair, "=")
	php := inPHP(sent)
	for _, prefix := range [...]string{"__host-sallyport", "__secure-sallyport", embedLower, proxiedLower} {
		if strings.Contains(pair, prefix) || strings.Contains(php, prefix) {
			return true
		}
	}
	return slices.ContainsFunc(names, func(name string) bool { return php == inPHP(name) || standsIn(pair, name) })
}

// inPHP is a cookie's name, in lower case, as PHP reads it: decoded (before 7.4.11), with "_" for what its variables
// cannot have.
func inPHP(name string) string {
	plain := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		if b, ok := encodedAt(name, i); ok {
			plain = append(plain, b)
			i += len("41")
		} else {
			plain = append(plain, name[i])
		}
	}
	name, _, _ = strings.Cut(strings.ToLower(string(plain)), "\x00") // to C, the end
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(" +.[", c) {
			return '_'
		}
		return c
	}, strings.TrimLeft(name, " +"))
}

// The beginnings of embedders' cookies, see EmbedCookieName, in lower case.
const embedLower, proxiedLower = "__host-sp-", "__secure-sp-"

// standsIn reports whether a pair, or something after a separator in it, has the name.
func standsIn(pair, name string) bool {
	for at := 0; ; {
		i := strings.Index(pair[at:], name)
		if i < 0 {
			return false
		}
		i += at
		after := strings.TrimLeft(pair[i+len(name):], " \t\r\n\"")
		if (after == "" || after[0] == '=') && (i == 0 || !inToken(pair[i-1])) {
			return true
		}
		at = i + 1
	}
}

// inToken reports whether a byte can stand in a cookie's name (RFC 9110 section 5.6.2).
func inToken(b byte) bool {
	return isAlphanumeric(b) || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
}

// Refusal tells a no by Authorize as whoever asks for an application understands it: a denial that signing in again may
// cure, because the account was closed or lost all its roles, is a credential that opens nothing any more.
func Refusal(err error) error {
	if !errors.Is(err, identity.ErrDenied) {
		return err
	}
	switch identity.CodeOf(err) {
	case "no_role", "method_denied", "carrier_denied", "path_not_canonical", "csrf", "key_network", "key_read_only",
		"token_too_large", "headers_too_large":
		return err
	default:
		return fmt.Errorf("%w: %w", identity.ErrBadCredentials, err)
	}
}

// The troubles with an application's own server, which are not ours: no answer, and none in time. They are unavailable
// to whoever does not know them.
var (
	errUpstream     = errors.New("application's server does not answer")
	errUpstreamTime = errors.New("application's server does not answer in time")
)

// UpstreamUnavailable says that an application's server does not answer, or not in HTTP: coded upstream_unavailable.
func UpstreamUnavailable(cause error) error {
	return identity.WithCode("upstream_unavailable", fmt.Errorf("%w: %w: %w", errUpstream, identity.ErrUnavailable, cause))
}

// UpstreamTimeout says that an application's server did not answer in time: coded upstream_timeout.
func UpstreamTimeout(cause error) error {
	return identity.WithCode("upstream_timeout", fmt.Errorf("%w: %w: %w", errUpstreamTime, identity.ErrUnavailable, cause))
}
