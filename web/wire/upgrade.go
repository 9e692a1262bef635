package wire

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"sallyport/broker"
	"sallyport/identity"
)

// ticketName is the parameter that a WebSocket brings its ticket in.
const ticketName = "ticket"

// shown reads the one credential of a request to an application. A WebSocket, for which a browser's script can set no
// header, may have it in its address, and then its cookies are ignored as with one in a header: a ticket, or at the
// gateway alone, and where the application's profile has a name for it, a token. It is used up by being shown.
func (h *House) shown(r *http.Request, q Question) (broker.Credential, error) {
	c, err := Credential(r, q.Application)
	if !upgrades(r, q.Method) {
		return c, err
	}
	name, value, count := inAddress(q.Application, q.Address.RawQuery, q.Gateway)
	if count == 0 {
		return c, err
	}
	if _, inHeader := HeaderCredential(r, q.Application); count > 1 || !errors.Is(inHeader, ErrNoCredential) {
		return broker.Credential{}, two("credential in the address")
	}
	if name != ticketName || !broker.IsTicket(value) {
		return broker.NewCredential(broker.Bearer, value), nil
	}
	c, err = h.Broker.TakeTicket(r.Context(), q.Application, value)
	if errors.Is(err, identity.ErrBadCredentials) { // it opens nothing, and who it is may not matter
		return broker.NewCredential(broker.Ticket, value), nil
	}
	if err != nil {
		return broker.Credential{}, fmt.Errorf("ticket: %w", err)
	}
	return c, nil
}

// upgrades reports whether a request, whose method a proxy may not have told, is one that may become a WebSocket.
func upgrades(r *http.Request, method string) bool {
	return IsWebSocket(r) && (method == "" || method == http.MethodGet)
}

// inAddress finds the parameters that are credentials, and says how many. What an application calls "ticket" itself is
// none, unless it looks like ours.
func inAddress(app *broker.Application, query string, tokens bool) (name, value string, count int) {
	for part := range strings.SplitSeq(query, "&") {
		n, v, ok := credentialParameter(app, part, tokens)
		if ok {
			name, value = n, v
			count++
		}
	}
	return name, value, count
}

func credentialParameter(app *broker.Application, part string, tokens bool) (name, value string, ok bool) {
	rawName, rawValue, _ := strings.Cut(part, "=")
	name, err := url.QueryUnescape(rawName)
	if err != nil {
		return "", "", false
	}
	value, err = url.QueryUnescape(rawValue)
	ok = err == nil && name == ticketName && broker.IsTicket(value) ||
		tokens && name != "" && name == app.Profile.TokenQuery
	return name, value, ok
}

// WithoutCredential returns the query of a request to the gateway as it was sent, less the credentials that a WebSocket
// brought in it. Everything else keeps its query whole.
func WithoutCredential(r *http.Request, app *broker.Application) string {
	query := r.URL.RawQuery
	if query == "" || !upgrades(r, r.Method) {
		return query
	}
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		if _, _, ok := credentialParameter(app, part, true); !ok {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}
