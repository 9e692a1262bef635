package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"sallyport/broker"
	"sallyport/broker/people"
)

// deviceCookie tells which names this browser signed in with. It opens nothing: failures in this browser are counted by
// themselves, so that whoever guesses somebody's password elsewhere does not close their own browser to them (DOS-05).
const deviceCookie = BrokerCookie + "_device"

// deviceLife is how long a browser is known after its last sign-in, in seconds: a year.
const deviceLife = 365 * 24 * 3600

// deviceNames bounds the people of one browser; the one not seen for longest is forgotten first.
const deviceNames = 4

// device is what the cookie says: an id, and for each name and door a proof that we wrote it, the newest first.
type device struct {
	id     string
	proofs []string
}

// deviceParts are an id of 128 bits and proofs of 256, base64url.
var deviceParts = regexp.MustCompile(fmt.Sprintf(`^[A-Za-z0-9_-]{22}(?:\.[A-Za-z0-9_-]{43}){1,%d}$`, deviceNames))

// readDevice reads the cookie as it was sent; false where there is not exactly one of the right shape.
func readDevice(r *http.Request) (device, bool) {
	sent := r.CookiesNamed(deviceCookie)
	if len(sent) != 1 || !deviceParts.MatchString(sent[0].Value) {
		return device{}, false
	}
	id, proofs, _ := strings.Cut(sent[0].Value, ".")
	return device{id, strings.Split(proofs, ".")}, true
}

// KnownDevice returns the id of a browser that somebody signed in with before, by this name and door, and "" of any other.
func (h *House) KnownDevice(r *http.Request, door, username string) string {
	d, ok := readDevice(r)
	if !ok {
		return ""
	}
	want := h.Guard.deviceProof(d.id, door, username)
	if !slices.ContainsFunc(d.proofs, func(p string) bool { return hmac.Equal([]byte(p), []byte(want)) }) {
		return ""
	}
	return d.id
}

// KeepDevice makes the browser known for a name whose password was right at a door.
func (h *House) KeepDevice(w http.ResponseWriter, r *http.Request, door, username string) {
	d, ok := readDevice(r)
	if !ok {
		d = device{id: broker.NewID()}
	}
	proof := h.Guard.deviceProof(d.id, door, username)
	d.proofs = append([]string{proof}, slices.DeleteFunc(d.proofs, func(p string) bool { return p == proof })...)
	d.proofs = d.proofs[:min(len(d.proofs), deviceNames)]
	http.SetCookie(w, &http.Cookie{
		Name: deviceCookie, Value: d.id + "." + strings.Join(d.proofs, "."), Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, MaxAge: deviceLife,
	})
}

// deviceProof binds a browser's id to a name and its door. The same name at another door may be somebody else.
func (g *Guard) deviceProof(id, door, username string) string {
	name, err := people.CanonicalName(username)
	if err != nil {
		name = strings.TrimSpace(username) // a name of a door's own, which ours cannot be
	}
	key := hmac.New(sha256.New, g.key)
	key.Write([]byte("device"))
	mac := hmac.New(sha256.New, key.Sum(nil))
	_, _ = fmt.Fprintf(mac, "%q %q %q", id, door, name) // quoted, so that no two look alike
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
