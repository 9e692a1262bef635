package wire

import (
	"net/http"

	"sallyport/broker"
	"sallyport/identity"
)

// readsOnly refuses a connection that turns into another one to an API key that must change nothing: it begins with a GET,
// and then anything can be sent over it. Our own gateway passes on no upgrade but to WebSocket; what a proxy that asks us
// does with the others nobody knows.
func readsOnly(r *http.Request, q Question, p identity.Principal) error {
	if IsWebSocket(r) || !q.Gateway && len(r.Header["Upgrade"]) > 0 {
		return broker.MayUse(p, "") // it could be any method
	}
	return nil
}
